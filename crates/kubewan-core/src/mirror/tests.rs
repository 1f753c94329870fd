use super::answer::{Answer, Fault, Reply, Served, Unserved, judge, token_url};
use super::choice::Answers;
use super::*;
use crate::facts::ClusterState;
use crate::finding::Severity;
use crate::inventory::{KubernetesSource, RuntimeKind, RuntimeSource};
use crate::samples;

const DEAD: &str = "http://192.0.2.1";
const OTHER: &str = "http://192.0.2.2";
const RIGHT: &str = "http://192.0.2.3";

/// Two hosts that pull from one of three mirrors of registry.k8s.io.
struct Case {
    inventory: Inventory,
    facts: BTreeMap<String, Facts>,
}

impl Case {
    fn new() -> Case {
        let mut inventory = samples::inventory(2);
        inventory.kubernetes.source = Some(KubernetesSource::Packages);
        inventory.runtime.source = RuntimeSource::Distribution;
        let all = [DEAD, OTHER, RIGHT].map(str::to_owned).to_vec();
        let servers = Servers::of(all).unwrap();
        inventory.mirrors.images = [("registry.k8s.io".to_owned(), servers)].into();
        let facts = [("master01", 0), ("node01", 1)];
        let facts = facts.map(|(name, n)| (name.to_owned(), samples::facts(n))).into();
        Case { inventory, facts }
    }

    fn done(mut self) -> Case {
        for facts in self.facts.values_mut() {
            facts.kubernetes.state = ClusterState::Done;
        }
        self
    }

    /// Every host keeps this.
    fn remembering(mut self, record: &Record) -> Case {
        for facts in self.facts.values_mut() {
            facts.own.mirrors = record.text();
        }
        self
    }

    /// Asks as the fleet does.
    fn chosen(&self, say: &dyn Fn(&str, &Ask) -> Answer) -> (Chosen, Vec<String>) {
        let before = recorded(&self.inventory, &self.facts);
        let slots = slots(&self.inventory, &self.facts, &before);
        let mut answers = Answers::new();
        let mut asked = Vec::new();
        let mut ask = |round: BTreeMap<String, Vec<Ask>>, answers: &mut Answers| {
            for (who, asks) in round {
                asked.extend(asks.iter().map(|ask| format!("{who} {}", ask.url)));
                let said = asks.into_iter().map(|ask| (ask.clone(), say(&who, &ask)));
                answers.entry(who.clone()).or_default().extend(said);
            }
        };
        ask(first_round(&self.inventory, &self.facts, &slots, &before), &mut answers);
        ask(second_round(&self.inventory, &self.facts, &slots, &before, &answers), &mut answers);
        (choose(&self.inventory, &self.facts, &slots, &before, &answers), asked)
    }
}

fn digest(of: &str) -> Answer {
    Ok(Served { digest: Some(format!("sha256:{}", crate::sha256_hex(of.as_bytes()))) })
}

fn silent() -> Answer {
    Err(Unserved::new(Fault::Silent, "curl: (7) Failed to connect"))
}

/// The first is dead, the second has something else than the publisher, the third serves; the publisher can be reached where
/// that is said.
fn world(publisher: bool) -> impl Fn(&str, &Ask) -> Answer {
    move |_, ask| match ask.url.as_str() {
        url if url.starts_with(OTHER) => digest("something else"),
        url if url.starts_with(RIGHT) => digest(&ask.of),
        url if url.starts_with("https://registry.k8s.io") && publisher => digest(&ask.of),
        _ => silent(),
    }
}

fn codes(findings: &[crate::finding::Finding]) -> Vec<(&str, Severity)> {
    findings.iter().map(|finding| (finding.code.as_str(), finding.severity)).collect()
}

#[test]
fn the_first_that_serves_what_the_publisher_does_is_chosen_and_kept() {
    let (chosen, asked) = Case::new().chosen(&world(true));
    assert_eq!(chosen.inventory.mirrors.images["registry.k8s.io"], RIGHT);
    let warning = Severity::Warning;
    assert_eq!(
        codes(&chosen.findings),
        [("mirror-unusable", warning), ("mirror-other-digest", warning)]
    );
    insta::assert_snapshot!(chosen.record.text().unwrap());
    insta::assert_debug_snapshot!(chosen.findings);
    insta::assert_snapshot!(asked.join("\n"));
    // A cluster that stands asks nobody, and the same is chosen.
    let (again, asked) = Case::new().done().remembering(&chosen.record).chosen(&world(false));
    assert_eq!((&again.record, &again.inventory), (&chosen.record, &chosen.inventory));
    assert_eq!((again.findings, asked.as_slice()), (vec![], [].as_slice()));
}

#[test]
fn without_the_publisher_the_first_that_serves_is_trusted_and_others_have_to_be_like_it() {
    let (first, _) = Case::new().chosen(&world(false));
    assert_eq!(first.inventory.mirrors.images["registry.k8s.io"], OTHER);
    // It dies; what is known of what it served, the third has not.
    let dies = |who: &str, ask: &Ask| match ask.url.starts_with(OTHER) {
        true => silent(),
        false => world(false)(who, ask),
    };
    let mut case = Case::new().done().remembering(&first.record);
    case.facts.get_mut("node01").unwrap().kubernetes.state = ClusterState::None;
    let (chosen, _) = case.chosen(&dies);
    assert_eq!(codes(&chosen.findings), [("mirror-other-digest", Severity::Error)]);
    assert_eq!(chosen.record, first.record);
}

#[test]
fn a_choice_that_fails_a_new_host_or_a_run_is_made_again() {
    let (first, _) = Case::new().chosen(&world(true));
    // The second has come to its senses meanwhile.
    let later = |_: &str, ask: &Ask| match ask.url.starts_with(OTHER) {
        true => digest(&ask.of),
        false => silent(),
    };
    let remembering = || Case::new().done().remembering(&first.record);
    let mut joins = remembering();
    joins.facts.get_mut("node01").unwrap().kubernetes.state = ClusterState::None;
    let mut failed = remembering();
    let step = "node01/image:registry.k8s.io/pause:3.10.2";
    failed.facts.get_mut("node01").unwrap().own.unended = vec![step.into()];
    for (case, is_told) in [(joins, false), (failed, true)] {
        let (chosen, asked) = case.chosen(&later);
        assert_eq!(chosen.inventory.mirrors.images["registry.k8s.io"], OTHER);
        assert!(asked.iter().any(|ask| ask.starts_with("master01 ")), "{asked:?}");
        let again: Vec<_> =
            chosen.findings.iter().filter(|f| f.code == "mirror-chosen-again").collect();
        let message = &again[0].message;
        assert!(message.contains(RIGHT) && message.contains("node01: curl: (7)"), "{message}");
        assert_eq!(message.contains(step), is_told, "{message}");
    }
    // A host that finds it well changes nothing.
    let mut joins = remembering();
    joins.facts.get_mut("node01").unwrap().kubernetes.state = ClusterState::None;
    let (chosen, asked) = joins.chosen(&world(false));
    assert_eq!((chosen.record, chosen.findings), (first.record, vec![]));
    assert!(asked.iter().all(|ask| ask.starts_with(&format!("node01 {RIGHT}"))), "{asked:?}");
}

#[test]
fn one_that_is_alone_is_never_replaced() {
    let mut case = Case::new();
    case.inventory.mirrors.images = [("registry.k8s.io".to_owned(), DEAD.into())].into();
    let (chosen, _) = case.chosen(&world(true));
    assert_eq!(codes(&chosen.findings), [("mirror-unusable", Severity::Error)]);
    assert_eq!(chosen.inventory, case.inventory);
    assert_eq!(chosen.record.text(), None);
    // It may have images of its own making.
    case.inventory.mirrors.images = [("registry.k8s.io".to_owned(), OTHER.into())].into();
    let (chosen, _) = case.chosen(&world(true));
    assert_eq!(codes(&chosen.findings), [("mirror-other-digest", Severity::Warning)]);
    // Of what no run needs it is said, too.
    case.inventory.mirrors.images = [("quay.io".to_owned(), DEAD.into())].into();
    let (chosen, _) = case.chosen(&world(true));
    assert_eq!(codes(&chosen.findings), [("mirror-unusable", Severity::Warning)]);
    // Where nobody can ask nothing is known.
    let unasked = |_: &str, _: &Ask| Err(Unserved::new(Fault::Unasked, "there is no curl"));
    let (chosen, _) = Case::new().chosen(&unasked);
    assert_eq!(codes(&chosen.findings), [("mirror-unasked", Severity::Warning)]);
    assert_eq!(chosen.inventory.mirrors.images["registry.k8s.io"], DEAD);
    assert_eq!(chosen.record.text(), None);
}

#[test]
fn a_repository_of_images_stays_once_the_cluster_names_its_images_by_it() {
    let mut case = Case::new();
    case.inventory.mirrors.images.clear();
    let all = ["a.example/k8s", "b.example/k8s"].map(str::to_owned).to_vec();
    case.inventory.kubernetes.image_repository = Servers::of(all).unwrap();
    let only = |server: &'static str| {
        move |_: &str, ask: &Ask| match ask.url.starts_with(server) {
            true => digest(&ask.of),
            false => silent(),
        }
    };
    let (chosen, _) = case.chosen(&only("https://b.example/v2/k8s/"));
    // The pause image follows.
    assert_eq!(chosen.inventory.pause_image(), "b.example/k8s/pause:3.10.2");
    let mut joins = Case { ..case }.done().remembering(&chosen.record);
    joins.facts.get_mut("node01").unwrap().kubernetes.state = ClusterState::None;
    let (later, _) = joins.chosen(&only("https://a.example/v2/k8s/"));
    assert_eq!(codes(&later.findings), [("mirror-unusable", Severity::Error)]);
    assert!(later.findings[0].remedy.contains("b.example"), "{:?}", later.findings);
    assert_eq!(later.record, chosen.record);
    assert_eq!(later.inventory.pause_image(), "b.example/k8s/pause:3.10.2");
}

/// Everything that a profile names, with the questions that are put to it.
#[test]
fn a_profile_is_asked_about_what_the_cluster_takes() {
    let mut text = String::new();
    for (title, more) in [
        ("release", "kubernetes: { version: \"1.36.2\" }\nruntime: { source: release }"),
        (
            "packages",
            "kubernetes: { version: \"1.36.2\", source: packages }\nruntime: { source: docker }",
        ),
        ("docker", "kubernetes: { version: \"1.36.2\" }\nruntime: { kind: docker }"),
        ("bundle", "kubernetes: { version: \"1.36.2\", source: bundle }"),
    ] {
        let yaml = format!(
            "name: home\nprofile: cn\n{more}\nhosts:\n  - {{ name: a, address: 198.51.100.10, roles: [control-plane] }}\n"
        );
        let inventory = crate::inventory::parse("cluster.yaml", &yaml).unwrap();
        let facts: BTreeMap<String, Facts> = [("a".to_owned(), samples::facts(0))].into();
        let before = Record::none();
        let slots = slots(&inventory, &facts, &before);
        text += &format!("## {title}\n");
        for slot in &slots {
            text += &format!(
                "{}: {}{}\n",
                slot.key,
                if slot.needed { "needed, " } else { "" },
                slot.candidates.len()
            );
        }
        for (who, asks) in first_round(&inventory, &facts, &slots, &before) {
            for ask in asks {
                text += &format!("{who}: {} {}\n", ask.of, ask.url);
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn docker_pulls_flannel_by_the_name_of_the_mirror() {
    let mut inventory = Case::new().inventory;
    inventory.runtime.kind = RuntimeKind::Docker;
    let named = |inventory: &Inventory| crate::supply::images(inventory, false).join(" ");
    let mirrored = |url: &str| {
        let mut inventory = inventory.clone();
        inventory.mirrors.images.insert("ghcr.io".into(), url.into());
        named(&inventory)
    };
    assert!(
        mirrored("https://ghcr.m.daocloud.io").contains(" ghcr.m.daocloud.io/flannel-io/flannel:v")
    );
    // Docker would look elsewhere, or not speak to it.
    for url in ["https://m.example/ghcr", "http://m.example"] {
        assert!(mirrored(url).contains(" ghcr.io/flannel-io/flannel:v"), "{url}");
    }
    inventory.runtime.kind = RuntimeKind::Containerd;
    inventory.mirrors.images.insert("ghcr.io".into(), "https://ghcr.m.daocloud.io".into());
    assert!(named(&inventory).contains(" ghcr.io/flannel-io/flannel:v"));
}

#[test]
fn answers_are_read_as_curl_prints_them() {
    let text = "HTTP/1.1 200 Connection established\r\n\r\nHTTP/2 307 \r\nlocation: https://x\r\n\r\n\
                HTTP/2 200 \r\nDocker-Content-Digest: sha256:ab\r\n\r\nHTTP/ is no head";
    let reply = Reply::read(text).unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "HTTP/ is no head"));
    assert_eq!(reply.header("docker-content-digest"), Some("sha256:ab"));
    let by_a_proxy = Reply::read("HTTP/1.1 200 OK\r\n\r\nHTTP/2 404 \r\n\r\n").unwrap();
    assert_eq!(by_a_proxy.status, 404);
    assert_eq!(Reply::read("<html>"), None);
    assert_eq!(Reply::read("HTTP/1.1 \r\n\r\n"), None);
    // ghcr.io
    let challenge = "Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:flannel-io/flannel:pull\"";
    let url =
        "https://ghcr.io/token?service=ghcr.io&scope=repository%3Aflannel-io%2Fflannel%3Apull";
    assert_eq!(token_url(challenge).as_deref(), Some(url));
    assert_eq!(token_url("Basic realm=\"private\""), None);
    assert_eq!(token_url("Bearer realm=\"file:///etc/passwd\""), None);
    let asks_in_the_clear =
        "HTTP/1.1 401 U\r\nWWW-Authenticate: Bearer realm=\"http://x/t\"\r\n\r\n";
    let reply = Reply::read(asks_in_the_clear).unwrap();
    assert_eq!(reply.token_url("https://r.example/v2/"), None);
    assert!(reply.token_url("http://r.example/v2/").is_some());
}

#[test]
fn what_is_no_answer_to_the_question_is_not_taken_for_one() {
    let sum = "a1".repeat(32);
    let is = |what: What, head: &str, body: &str| {
        let reply = Reply::read(&format!("HTTP/1.1 {head}\r\n\r\n{body}")).unwrap();
        let ask = Ask::new(what, "https://r", "x");
        judge(&ask, &reply).map_err(|unserved| unserved.fault)
    };
    let manifest = "{\"layers\":[]}";
    let digest = format!("sha256:{}", crate::sha256_hex(manifest.as_bytes()));
    let served = |digest: &str| Ok(Served { digest: Some(digest.to_owned()) });
    let lacking = Err(Fault::Lacking);
    let right = format!("200 OK\r\nDocker-Content-Digest: {digest}");
    assert_eq!(is(What::Manifest, &right, manifest), served(&digest));
    assert_eq!(is(What::Manifest, "200 OK", manifest), served(&digest));
    let lie = format!("200 OK\r\nDocker-Content-Digest: sha256:{sum}");
    assert_eq!(is(What::Manifest, &lie, manifest), Err(Fault::OtherDigest));
    // A page that asks for a login, or one of a provider that blocks.
    assert_eq!(is(What::Manifest, "200 OK", "<html>"), lacking);
    assert_eq!(is(What::Manifest, "404 Not Found", ""), lacking);
    let bearer = "401 U\r\nWWW-Authenticate: Bearer realm=\"https://x\"";
    assert_eq!(is(What::Registry, bearer, ""), Ok(Served::default()));
    assert_eq!(is(What::Registry, "401 U", ""), lacking);
    assert_eq!(is(What::Registry, "404 Not Found", ""), lacking);
    // Busy, or asked otherwise than it may be: nothing is known.
    let nothing = Err(Fault::Unasked);
    for head in ["502 Bad Gateway", "429 Too Many Requests", "503 S"] {
        assert_eq!(is(What::Registry, head, ""), nothing, "{head}");
        assert_eq!(is(What::Manifest, head, ""), nothing, "{head}");
    }
    assert_eq!(is(What::File, "403 Forbidden", ""), nothing);
    assert_eq!(is(What::Manifest, "403 Forbidden", ""), lacking);
    let kubeadm = || What::Sum("kubeadm".into());
    assert_eq!(is(kubeadm(), "200 OK", &sum), served(&format!("sha256:{sum}")));
    assert_eq!(is(kubeadm(), "200 OK", "<html>"), lacking);
    assert_eq!(is(What::Index, "200 OK", "Origin: x\nSHA256:\n"), Ok(Served::default()));
    assert_eq!(is(What::Index, "200 OK", "<html>"), lacking);
    assert_eq!(is(What::Key, "200 OK", "<html>"), lacking);
}

#[test]
fn a_record_that_nobody_can_read_is_none() {
    let newer = r#"{"format":2,"mirrors":{}}"#;
    for text in ["", "{", "[]", newer] {
        assert_eq!(Record::read(text), None, "{text}");
    }
    let right = r#"{"format":1,"mirrors":{}}"#;
    assert_eq!(Record::read(right), Some(Record::none()));
    assert_eq!(Record::read(&format!("{right}{}", " ".repeat(RECORD_MAX))), None);
}

/// Both hosts are nodes that pull from there.
fn using(case: Case, server: &str) -> Case {
    let mut case = case.done();
    for facts in case.facts.values_mut() {
        facts.taken.registries = [("registry.k8s.io".to_owned(), server.to_owned())].into();
    }
    case
}

#[test]
fn without_a_record_that_can_be_read_what_the_nodes_use_is_the_choice() {
    for record in [None, Some("{\"format\": 2, \"choices\": []}")] {
        let standing = || {
            let mut case = using(Case::new(), RIGHT);
            for facts in case.facts.values_mut() {
                facts.own.mirrors = record.map(str::to_owned);
            }
            case
        };
        // At rest nobody is asked, and nothing else is chosen.
        let (chosen, asked) = standing().chosen(&world(true));
        assert_eq!(chosen.inventory.mirrors.images["registry.k8s.io"], RIGHT);
        assert_eq!((chosen.findings, asked), (vec![], vec![]));
        // The next run reads it as a choice like others, and changes nothing.
        let (again, _) = standing().remembering(&chosen.record).chosen(&world(true));
        assert_eq!(again.record, chosen.record);
        // A host that joins asks it, with the publisher for what is right; then its digests are known too.
        let joins = || {
            let mut case = standing();
            case.facts.get_mut("node01").unwrap().kubernetes.state = ClusterState::None;
            case
        };
        let (kept, asked) = joins().chosen(&world(true));
        assert_eq!(kept.inventory.mirrors.images["registry.k8s.io"], RIGHT);
        assert_eq!(kept.findings, vec![]);
        let digests = &kept.record.mirrors["mirrors.images: registry.k8s.io"].digests;
        assert!(!digests.is_empty(), "{kept:?}");
        assert!(asked.iter().all(|ask| !ask.contains(DEAD) && !ask.contains(OTHER)), "{asked:?}");
        // One that lies, or fails, is not kept because it was in use.
        for (server, dies) in [(OTHER, false), (RIGHT, true)] {
            let mut case = using(joins(), server);
            case.facts.get_mut("node01").unwrap().kubernetes.state = ClusterState::None;
            let say = |who: &str, ask: &Ask| match dies && ask.url.starts_with(RIGHT) {
                true => silent(),
                false => world(true)(who, ask),
            };
            let (chosen, _) = case.chosen(&say);
            let is_told = chosen.findings.iter().any(|finding| {
                ["mirror-chosen-again", "mirror-other-digest"].contains(&finding.code.as_str())
            });
            assert!(is_told, "{server}: {:?}", chosen.findings);
            if !dies {
                assert_eq!(chosen.inventory.mirrors.images["registry.k8s.io"], RIGHT);
            }
        }
    }
    // Whoever names one alone means that one, whatever the nodes use.
    let mut alone = using(Case::new(), RIGHT);
    alone.inventory.mirrors.images = [("registry.k8s.io".to_owned(), OTHER.into())].into();
    let (chosen, _) = alone.chosen(&world(true));
    assert_eq!(chosen.inventory.mirrors.images["registry.k8s.io"], OTHER);
    assert_eq!(chosen.record.text(), None);
}

#[test]
fn each_key_has_its_trace_on_a_node() {
    let mut case = Case::new().done();
    let two = |a: &str, b: &str| Servers::of(vec![a.into(), b.into()]).unwrap();
    case.inventory.kubernetes.image_repository = two("a.example/k8s", "b.example/k8s");
    let mirrors = &mut case.inventory.mirrors;
    mirrors.packages = two("https://a.example/k", "https://a.example/k/stable/");
    mirrors.docker = two("https://a.example/docker", "https://b.example/docker");
    mirrors.images =
        [("docker.io".to_owned(), two("https://a.example", "https://b.example/"))].into();
    let facts = case.facts.get_mut("master01").unwrap();
    facts.taken.api_server_image = Some("b.example/k8s/kube-apiserver:v1.36.2".into());
    let source = |name: &str, uri: &str| crate::facts::PackageSource {
        path: format!("/etc/apt/sources.list.d/kubewan-{name}.list"),
        uri: uri.into(),
    };
    facts.taken.packages = vec![
        source("kubernetes", "https://a.example/k/stable/v1.36/deb"),
        source("docker", "https://b.example/docker/linux/debian"),
    ];
    let text = "{\"registry-mirrors\": [\"https://own.example\", \"https://b.example\"]}";
    facts.runtime.docker.config =
        Some(crate::facts::ConfigFile { text: text.into(), ..Default::default() });
    let record = recorded(&case.inventory, &case.facts);
    let servers: Vec<&str> = record.mirrors.values().map(|one| one.server.as_str()).collect();
    assert_eq!(
        servers,
        [
            "b.example/k8s",
            "https://b.example/docker",
            "https://b.example/",
            "https://a.example/k/stable/"
        ]
    );
    // A host that is no node yet says nothing of what the cluster uses.
    case.facts.values_mut().for_each(|facts| facts.kubernetes.state = ClusterState::None);
    assert_eq!(recorded(&case.inventory, &case.facts), Record::none());
}

#[test]
fn registries_are_asked_as_the_runtime_will_speak_to_them() {
    let asks = |case: &Case| -> Vec<Ask> {
        let before = Record::none();
        let slots = slots(&case.inventory, &case.facts, &before);
        let all = first_round(&case.inventory, &case.facts, &slots, &before);
        all["node01"].clone()
    };
    let own = |address: &str| crate::inventory::Registry {
        address: address.into(),
        ..Default::default()
    };
    let mut case = Case::new();
    case.inventory.mirrors.images =
        [("registry.k8s.io".to_owned(), "https://r.example:5000".into())].into();
    assert!(asks(&case).iter().all(|ask| ask.trust.is_usual()));
    case.inventory.registries = vec![crate::inventory::Registry {
        ca_file: Some("ca.pem".into()),
        ..own("r.example:5000")
    }];
    let asked = asks(&case);
    let mirrors: Vec<&Ask> = asked.iter().filter(|ask| ask.url.contains("r.example")).collect();
    assert!(!mirrors.is_empty());
    let authority = Some("r.example:5000".to_owned());
    assert!(
        mirrors.iter().all(|ask| ask.trust.authorities_of == authority && !ask.trust.skip_verify)
    );
    assert!(asked.iter().all(|ask| mirrors.contains(&ask) || ask.trust.is_usual()), "{asked:?}");
    case.inventory.registries =
        vec![crate::inventory::Registry { skip_verify: true, ..own("r.example:5000") }];
    let skips = asks(&case);
    let skips: Vec<&Trust> = skips.iter().map(|ask| &ask.trust).filter(|t| t.skip_verify).collect();
    assert!(
        !skips.is_empty() && skips.iter().all(|trust| !trust.or_plain),
        "containerd never tries it in the clear"
    );

    // A repository in a registry of one's own is asked too, but for one with a login, which the plan refuses.
    case.inventory.mirrors.images.clear();
    case.inventory.kubernetes.image_repository = "r.example:5000/k8s".into();
    assert!(
        asks(&case).iter().any(|ask| ask.url.starts_with("https://r.example:5000/v2/k8s/pause/")
            && ask.trust.skip_verify)
    );
    case.inventory.registries[0].username = Some("reader".into());
    let before = Record::none();
    let slots = super::slots(&case.inventory, &case.facts, &before);
    assert_eq!(first_round(&case.inventory, &case.facts, &slots, &before), BTreeMap::new());
    // One in the clear is asked in the clear, and nobody asks it otherwise.
    case.inventory.registries.clear();
    case.inventory.mirrors.images =
        [("r.example:5000".to_owned(), "http://r.example:5000".into())].into();
    let plain = asks(&case);
    assert!(plain.iter().all(|ask| ask.url.starts_with("http://r.example:5000/v2/")), "{plain:?}");

    // Docker takes a registry for insecure by what stands in its file or the inventory, by name or by its network.
    case.inventory.mirrors.images.clear();
    case.inventory.runtime.kind = RuntimeKind::Docker;
    let insecure = |case: &Case| {
        let asked = asks(case);
        assert!(!asked.is_empty());
        asked.iter().all(|ask| ask.trust.skip_verify && ask.trust.or_plain)
    };
    assert!(!insecure(&case));
    let list = serde_json::json!(["r.example:5000", "192.0.2.0/24"]);
    case.inventory.runtime.docker.insert("insecure-registries".into(), list.clone());
    assert!(insecure(&case));
    case.inventory.runtime.docker.clear();
    let text = serde_json::json!({ "insecure-registries": list }).to_string();
    for facts in case.facts.values_mut() {
        facts.runtime.docker.config =
            Some(crate::facts::ConfigFile { text: text.clone(), ..Default::default() });
    }
    assert!(insecure(&case));
    case.inventory.kubernetes.image_repository = "192.0.2.9/k8s".into();
    assert!(insecure(&case));
    case.inventory.kubernetes.image_repository = "198.51.100.9/k8s".into();
    assert!(!insecure(&case));
}

#[test]
fn apt_s_index_may_be_signed_in_a_file_of_its_own() {
    let mut case = Case::new();
    case.inventory.mirrors.images.clear();
    case.inventory.mirrors.packages = "https://m.example/kubernetes/core/stable".into();
    let index = |case: &Case| -> Vec<(What, String)> {
        let before = Record::none();
        let slots = slots(&case.inventory, &case.facts, &before);
        let all = first_round(&case.inventory, &case.facts, &slots, &before);
        let ask = all["node01"].iter().find(|ask| ask.what == What::Index).unwrap();
        ask.instead.iter().map(|ask| (ask.what.clone(), ask.of.clone())).collect()
    };
    let release = (What::Index, "Release".to_owned());
    assert_eq!(index(&case), [release.clone(), (What::Signature, "Release.gpg".to_owned())]);
    // Where nobody checks, apt takes it without.
    case.inventory.mirrors.gpg_check = crate::inventory::GpgCheck::Off;
    assert_eq!(index(&case), [release]);
}
