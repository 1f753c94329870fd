//! Which mirrors a cluster takes things from: the hosts that will take them ask, side by side, and this machine where it
//! fetches something itself. What is asked and chosen says `kubewan_core::mirror`.

use std::collections::BTreeMap;
use std::thread;

use kubewan_core::facts::Facts;
use kubewan_core::inventory::Inventory;
use kubewan_core::mirror::answer::Answer;
use kubewan_core::mirror::choice::Answers;
use kubewan_core::mirror::{self, Ask, Chosen, HERE};
use kubewan_core::registry::Registries;

use crate::error::HostError;
use crate::fleet::Fleet;

/// Asks from this machine as an agent does from its host: `kubewan_agent::mirrors::ask_all`.
pub type AskHere<'a> = dyn Fn(&[Ask]) -> Vec<Answer> + Sync + 'a;

/// Questions in one request; see the agent's `mirrors::ASKS_MAX`.
const AT_ONCE: usize = 256;

/// Chooses one server for each key of the inventory that names others than the publishers'. Where all was chosen before and no
/// host is about to take anything, nobody is asked. `registries`: what the files of the inventory's own registries hold.
///
/// # Errors
/// Fails with the hosts that could not be asked to ask; a server that does not serve is no error here.
pub fn choose(
    fleet: &mut Fleet,
    inventory: &Inventory,
    facts: &BTreeMap<String, Facts>,
    registries: &Registries,
    ask_here: &AskHere,
) -> Result<Chosen, Vec<HostError>> {
    let before = mirror::recorded(inventory, facts);
    let slots = mirror::slots(inventory, facts, &before);
    let first = mirror::first_round(inventory, facts, &slots, &before);
    let authorities = registries.iter();
    let authorities = authorities.filter_map(|(name, files)| Some((name.clone(), files.ca()?)));
    let authorities = authorities.collect();
    let mut answers = ask(fleet, first, &authorities, ask_here)?;
    let second = mirror::second_round(inventory, facts, &slots, &before, &answers);
    for (who, more) in ask(fleet, second, &authorities, ask_here)? {
        answers.entry(who).or_default().extend(more);
    }
    Ok(mirror::choose(inventory, facts, &slots, &before, &answers))
}

/// Puts questions, all hosts side by side.
fn ask(
    fleet: &mut Fleet,
    asks: BTreeMap<String, Vec<Ask>>,
    authorities: &BTreeMap<String, String>,
    ask_here: &AskHere,
) -> Result<Answers, Vec<HostError>> {
    if asks.is_empty() {
        return Ok(Answers::new());
    }
    let none = Vec::new();
    let of = |name: &str| asks.get(name).unwrap_or(&none);
    let (here, theirs) = thread::scope(|scope| {
        let here = scope.spawn(|| ask_here(of(HERE)));
        let theirs = fleet.each(|member| {
            let name = member.host.name.clone();
            let mut answers = Vec::new();
            for part in of(&name).chunks(AT_ONCE) {
                answers.extend(member.ask(part.to_vec(), authorities)?);
            }
            Ok(answers)
        });
        (here.join().expect("asking does not panic"), theirs)
    });
    let (mut answers, mut errors) = (Answers::new(), Vec::new());
    let mut note = |who: &str, said: Vec<Answer>| {
        answers.insert(who.to_owned(), of(who).iter().cloned().zip(said).collect());
    };
    note(HERE, here);
    for (host, result) in theirs {
        match result {
            Ok(said) => note(&host, said),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(answers) } else { Err(errors) }
}
