//! Which servers are taken, and why.

use std::collections::BTreeMap;

use super::answer::{Answer, Fault, Served, Unserved, short};
use super::ask::{Ask, Slot, publisher, questions};
use super::{Key, Record, Recorded};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::Inventory;

/// What everybody who asked was answered.
pub type Answers = BTreeMap<String, Vec<(Ask, Answer)>>;

/// What is taken from where.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The inventory with one server for each key.
    pub inventory: Inventory,
    /// What every host is to remember.
    pub record: Record,
    /// What is to be said of servers that are passed over, or that fail where there is no other.
    pub findings: Vec<Finding>,
}

/// How a server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It serves all who asked; digests by name.
    Fit(BTreeMap<String, String>),
    /// Nobody asked, or nobody could.
    Unasked(Option<String>),
    /// Who got what instead.
    Unfit(Vec<Complaint>),
}

/// Someone did not get what he asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    who: String,
    of: String,
    what: Unserved,
}

/// How a server did in the answers; `known`: digests that are right.
pub(super) fn verdict(
    questions: &BTreeMap<String, Vec<Ask>>,
    server: &str,
    answers: &Answers,
    known: &BTreeMap<String, String>,
) -> Verdict {
    let asked = questions.get(server).map(Vec::as_slice).unwrap_or_default();
    let (mut digests, mut complaints, mut unasked, mut served) =
        (known.clone(), Vec::new(), None, BTreeMap::new());
    for (who, answers) in answers {
        for (ask, answer) in answers.iter().filter(|(ask, _)| asked.contains(ask)) {
            let complain =
                |what: Unserved| Complaint { who: who.clone(), of: ask.of.clone(), what };
            match answer {
                Ok(Served { digest: None }) => {
                    served.entry(ask.of.clone()).or_default();
                }
                Ok(Served { digest: Some(digest) }) => {
                    let right = digests.entry(ask.of.clone()).or_insert_with(|| digest.clone());
                    if right == digest {
                        served.insert(ask.of.clone(), digest.clone());
                    } else {
                        let said =
                            format!("it serves {}, and {} is known", short(digest), short(right));
                        complaints.push(complain(Unserved::new(Fault::OtherDigest, said)));
                    }
                }
                Err(what) if what.fault == Fault::Unasked => {
                    unasked = Some(format!("{who}: {}", what.said));
                }
                Err(what) => complaints.push(complain(what.clone())),
            }
        }
    }
    match (complaints.is_empty(), served.is_empty()) {
        (false, _) => Verdict::Unfit(complaints),
        (true, true) => Verdict::Unasked(unasked),
        (true, false) => {
            served.retain(|_, digest| !digest.is_empty());
            Verdict::Fit(served)
        }
    }
}

/// Those that are known, and those that the publisher's own server gives.
pub(super) fn right_digests(
    slot: &Slot,
    questions: &BTreeMap<String, Vec<Ask>>,
    answers: &Answers,
    known: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let publisher = publisher(slot).unwrap_or_default();
    match verdict(questions, &publisher, answers, &BTreeMap::new()) {
        Verdict::Fit(digests) => digests.into_iter().chain(known.clone()).collect(),
        Verdict::Unasked(_) | Verdict::Unfit(_) => known.clone(),
    }
}

/// What was complained of, for people: the same from several is said once.
fn told(complaints: &[Complaint]) -> String {
    let mut grouped: Vec<(&str, Vec<&str>, Vec<&str>)> = Vec::new();
    let add = |list: &mut Vec<_>, one| {
        if !list.contains(&one) {
            list.push(one);
        }
    };
    for Complaint { who, of, what } in complaints {
        match grouped.iter_mut().find(|(said, ..)| *said == what.said) {
            Some((_, names, hosts)) => {
                add(names, of.as_str());
                add(hosts, who.as_str());
            }
            None => grouped.push((what.said.as_str(), vec![of.as_str()], vec![who.as_str()])),
        }
    }
    let some = |list: &[&str], most: usize| {
        let more = if list.len() > most { ", …" } else { "" };
        format!("{}{more}", list[..list.len().min(most)].join(", "))
    };
    let one = |(said, names, hosts): &(&str, Vec<&str>, Vec<&str>)| {
        format!("{}, asked by {}: {said}", some(names, 2), some(hosts, 3))
    };
    let shown: Vec<String> = grouped.iter().take(3).map(one).collect();
    let more = if grouped.len() > 3 { "; …" } else { "" };
    format!("{}{more}", shown.join("; "))
}

/// Chooses for all keys. Pure: the same answers give the same choice.
pub fn choose(
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    slots: &[Slot],
    before: &Record,
    answers: &Answers,
) -> Chosen {
    let mut chosen = Chosen {
        inventory: super::settled(inventory, before),
        record: Record::none(),
        findings: Vec::new(),
    };
    for slot in slots {
        let questions = questions(inventory, facts, slot);
        let one = One { slot, facts, questions: &questions, answers };
        one.choose(before.mirrors.get(&slot.key.to_string()), &mut chosen);
    }
    chosen
}

/// The choice for one key.
struct One<'a> {
    slot: &'a Slot,
    facts: &'a BTreeMap<String, Facts>,
    questions: &'a BTreeMap<String, Vec<Ask>>,
    answers: &'a Answers,
}

impl One<'_> {
    fn choose(&self, before: Option<&Recorded>, chosen: &mut Chosen) {
        let candidates = &self.slot.candidates;
        // Repositories of one's own may have images of their own making: until the cluster stands, another one's count.
        let has_its_own = self.slot.key == Key::ImageRepository && !self.slot.stays;
        let known = before.filter(|_| !has_its_own).map(|before| before.digests.clone());
        let known = known.unwrap_or_default();
        let before = before.filter(|before| candidates.contains(&before.server));
        if let [only] = candidates.as_slice() {
            return self.only(only, before, &known, chosen);
        }
        let mut again = None;
        if let Some(before) = before {
            // What is only known from the nodes' files has no digests yet: the publisher's count, and are remembered.
            let right = if known.is_empty() { self.right_digests(&known) } else { known.clone() };
            match verdict(self.questions, &before.server, self.answers, &right) {
                // What only pods take later is no reason to change anything on hosts now.
                Verdict::Unfit(complaints) if !self.slot.needed => {
                    chosen.findings.push(self.none_serves(&[(before.server.clone(), complaints)]));
                    return self.take(before.clone(), chosen);
                }
                Verdict::Unfit(complaints) => again = Some((before, told(&complaints))),
                Verdict::Fit(digests) if before.digests.is_empty() => {
                    return self.take(Recorded { digests, ..before.clone() }, chosen);
                }
                Verdict::Fit(_) | Verdict::Unasked(_) => return self.take(before.clone(), chosen),
            }
        }
        self.first_that_serves(&known, again.as_ref(), chosen);
    }

    /// A server that is alone is taken whatever it does: nobody said that another would do.
    fn only(
        &self,
        only: &str,
        before: Option<&Recorded>,
        known: &BTreeMap<String, String>,
        chosen: &mut Chosen,
    ) {
        self.slot.key.set(&mut chosen.inventory, only);
        match verdict(self.questions, only, self.answers, &BTreeMap::new()) {
            Verdict::Unfit(complaints) => {
                chosen.findings.push(self.none_serves(&[(only.to_owned(), complaints)]));
            }
            Verdict::Fit(digests) => {
                chosen.findings.extend(self.unlike(only, known, &digests));
                if before.is_none() {
                    let why =
                        format!("the only one that the inventory names; it {}", does(&digests));
                    return self.take(Recorded { server: only.into(), why, digests }, chosen);
                }
            }
            Verdict::Unasked(Some(said)) => chosen.findings.push(self.unasked(only, &said)),
            Verdict::Unasked(None) => {}
        }
        if let Some(before) = before {
            self.take(before.clone(), chosen);
        }
    }

    fn first_that_serves(
        &self,
        known: &BTreeMap<String, String>,
        again: Option<&(&Recorded, String)>,
        chosen: &mut Chosen,
    ) {
        let right = self.right_digests(known);
        let (mut passed, mut unasked) = (Vec::new(), None);
        for server in &self.slot.candidates {
            match verdict(self.questions, server, self.answers, &right) {
                Verdict::Fit(digests) => {
                    let why = self.reason(&passed, again, &digests);
                    self.tell(server, &passed, again, chosen);
                    let digests = digests.into_iter().chain(known.clone()).collect();
                    return self.take(Recorded { server: server.clone(), why, digests }, chosen);
                }
                Verdict::Unfit(complaints) => passed.push((server.clone(), complaints)),
                Verdict::Unasked(said) => {
                    unasked = unasked.or(Some((server.clone(), said.unwrap_or_default())));
                }
            }
        }
        match unasked {
            // Nothing is known against it, and nothing for it: the next run asks again.
            Some((server, said)) => {
                self.tell(&server, &passed, None, chosen);
                if !said.is_empty() {
                    chosen.findings.push(self.unasked(&server, &said));
                }
                self.slot.key.set(&mut chosen.inventory, &server);
            }
            None => chosen.findings.push(self.none_serves(&passed)),
        }
        if let Some((before, _)) = again {
            chosen.record.mirrors.insert(self.slot.key.to_string(), (*before).clone());
        }
    }

    fn take(&self, recorded: Recorded, chosen: &mut Chosen) {
        self.slot.key.set(&mut chosen.inventory, &recorded.server);
        chosen.record.mirrors.insert(self.slot.key.to_string(), recorded);
    }

    fn right_digests(&self, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        right_digests(self.slot, self.questions, self.answers, known)
    }

    fn reason(
        &self,
        passed: &[(String, Vec<Complaint>)],
        again: Option<&(&Recorded, String)>,
        digests: &BTreeMap<String, String>,
    ) -> String {
        let mut why = format!("the first of {} that {}", self.slot.candidates.len(), does(digests));
        for (server, complaints) in passed {
            why += &format!("; not {server} ({})", told(complaints));
        }
        if let Some((before, said)) = again
            && !passed.iter().any(|(server, _)| *server == before.server)
        {
            why += &format!("; {} failed ({said})", before.server);
        }
        why
    }

    /// Of those before the one that is taken.
    fn tell(
        &self,
        taken: &str,
        passed: &[(String, Vec<Complaint>)],
        again: Option<&(&Recorded, String)>,
        chosen: &mut Chosen,
    ) {
        let key = &self.slot.key;
        if let Some((before, said)) = again {
            let message = format!(
                "`{key}`: {} was chosen before and fails now ({said}){}; {taken} takes its place",
                before.server,
                self.last_run()
            );
            let remedy = "nothing has to be done; where it has to be one server alone, write that one into the key";
            chosen
                .findings
                .push(Finding::warning("mirror-chosen-again", "", message, remedy).for_cluster());
        }
        let news =
            passed.iter().filter(|(server, _)| again.is_none_or(|(b, _)| b.server != *server));
        for (server, complaints) in news {
            let message = format!("`{key}`: {server} is passed over: {}", told(complaints));
            let remedy = "nothing has to be done: another was chosen; where it should serve, see why it does not";
            chosen
                .findings
                .push(Finding::warning(code(complaints), "", message, remedy).for_cluster());
        }
    }

    /// What failed in the last run, where something did that may have been for want of a server.
    fn last_run(&self) -> String {
        let failed = self.facts.values().flat_map(|facts| &facts.own.unended);
        let failed: Vec<&str> = failed.map(String::as_str).take(3).collect();
        match failed.is_empty() {
            true => String::new(),
            false => format!("; in the last run {} failed", failed.join(", ")),
        }
    }

    fn none_serves(&self, passed: &[(String, Vec<Complaint>)]) -> Finding {
        let key = &self.slot.key;
        let each =
            passed.iter().map(|(server, complaints)| format!("{server}: {}", told(complaints)));
        let each = each.collect::<Vec<_>>().join("; ");
        let message = match passed.len() {
            1 => format!("`{key}`: {each}"),
            count => format!("`{key}`: none of its {count} servers serves what is asked: {each}"),
        };
        let all: Vec<Complaint> = passed.iter().flat_map(|(_, list)| list.clone()).collect();
        let code = code(&all);
        match (self.slot.needed, self.slot.stays) {
            (true, _) if !self.slot.pressing => {
                let remedy = "all hosts are nodes, so nothing is refused for it; a node more, or an image that is pulled again, will need \
                     it: name another server";
                Finding::warning(code, "", message, remedy)
            }
            (false, _) => {
                let remedy = "nothing that kubewan brings comes from there; pods that need it will not start: name another server";
                Finding::warning(code, "", message, remedy)
            }
            (true, true) => {
                let registry = passed.first().and_then(|(server, _)| server.split('/').next());
                let remedy = format!(
                    "the cluster's objects name their images by it, so it stays: name a server for that registry in `mirrors: {{ images: \
                     {{ {}: https://… }} }}`",
                    registry.unwrap_or_default()
                );
                Finding::error(code, "", message, remedy)
            }
            (true, false) => {
                let remedy = "name another server, or several, in that key; a bundle needs none (docs/bundle.md)";
                Finding::error(code, "", message, remedy)
            }
        }
        .for_cluster()
    }

    fn unasked(&self, server: &str, said: &str) -> Finding {
        let message = format!(
            "`{}`: {server} could not be asked ({said}), and is relied on all the same",
            self.slot.key
        );
        let remedy = "the run tells whether it serves; where the host has no curl yet, install it to know beforehand";
        Finding::warning("mirror-unasked", "", message, remedy).for_cluster()
    }

    /// A server that was named alone may have images of its own making: that is said, and not refused.
    fn unlike(
        &self,
        server: &str,
        known: &BTreeMap<String, String>,
        digests: &BTreeMap<String, String>,
    ) -> Option<Finding> {
        let right = self.right_digests(known);
        let other: Vec<&str> = digests
            .iter()
            .filter(|(of, digest)| right.get(*of).is_some_and(|right| right != *digest))
            .map(|(of, _)| of.as_str())
            .collect();
        let message = format!(
            "`{}`: {server} serves another {} than {}",
            self.slot.key,
            other.join(", "),
            if known.is_empty() { "its publisher" } else { "before" },
        );
        let remedy = "see whether it has images of its own making; else someone changes them";
        (!other.is_empty())
            .then(|| Finding::warning("mirror-other-digest", "", message, remedy).for_cluster())
    }
}

fn does(digests: &BTreeMap<String, String>) -> String {
    match digests.is_empty() {
        true => "answers".to_owned(),
        false => {
            let names: Vec<&str> = digests.keys().map(String::as_str).collect();
            format!("serves what is asked ({})", names.join(", "))
        }
    }
}

fn code(complaints: &[Complaint]) -> &'static str {
    match complaints.iter().any(|complaint| complaint.what.fault == Fault::OtherDigest) {
        true => "mirror-other-digest",
        false => "mirror-unusable",
    }
}
