//! What stood in the inventory and does not any more.

use super::*;

const HOSTS: &str = "/etc/containerd/certs.d/gone.example/hosts.toml";
const CA: &str = "/etc/containerd/certs.d/gone.example/ca.crt";
const TIME: &str = "/etc/systemd/timesyncd.conf.d/60-kubewan.conf";

/// One host that an inventory with a registry and time servers was applied to; the one of now names neither.
fn host() -> (Inventory, BTreeMap<String, Facts>) {
    let inventory = samples::inventory(1);
    let mut facts = samples::all_facts(&inventory);
    let master = facts.get_mut("master01").expect("a host");
    master.kubernetes.state = ClusterState::Done;
    master.runtime.registry_folders = true;
    master.time_sync.active = Some("systemd-timesyncd.service".into());
    let sha256 = crate::sha256_hex(b"ours");
    for path in [HOSTS, CA, TIME] {
        master.own.left.insert(path.into(), [sha256.clone()].into());
    }
    master.own.logins.insert("gone.example".into(), "puller".into());
    master.own.trusts.insert("kubewan-gone.example".into());
    (inventory, facts)
}

fn plan_of(text: Option<&str>, there: bool) -> Plan {
    let (inventory, facts) = host();
    let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
    let planned = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle));
    let see = |step: &Step| match &step.action {
        Action::File(file) if there && [HOSTS, CA, TIME].contains(&file.path.as_str()) => {
            let text = text.filter(|_| file.path == HOSTS).unwrap_or("ours");
            let sha256 = Some(crate::sha256_hex(text.as_bytes()));
            Observed::File(FileSeen { sha256, text: Some(text.into()), ..FileSeen::default() })
        }
        Action::RegistryLogins(goal) if there => Observed::RegistryLogins(LoginsSeen {
            exists: true,
            mode: LOGINS_MODE,
            gone: goal.gone.keys().cloned().collect(),
            ..LoginsSeen::default()
        }),
        Action::SystemTrust(_) if there => {
            let sha256 = Some(crate::sha256_hex(b"ours"));
            Observed::SystemTrust(TrustSeen { sha256, trusted: true })
        }
        other => reached(other),
    };
    let seen = planned.steps.iter().map(|step| (step.id.clone(), Ok(see(step)))).collect();
    let (steps, left) = but_what_stays(&facts, planned.steps, &seen);
    let mut findings: Vec<Finding> =
        left.into_iter().filter(|finding| finding.code == "left-in-force").collect();
    findings.extend(edited(&facts, &steps, &seen));
    Plan::new("home", false, steps, &seen, findings).expect("all observed")
}

fn shown(plan: &Plan) -> String {
    let change = |p: &PlannedStep| {
        let change = p.change.as_ref().expect("a change");
        let details: String = change.details.iter().map(|line| format!("    {line}\n")).collect();
        format!("{}: {}\n{details}", p.step.phase.name(), change.summary)
    };
    let findings =
        plan.findings.iter().map(|f| format!("{}: {}\n  {}\n", f.code, f.message, f.remedy));
    plan.changes().map(change).chain(findings).collect()
}

#[test]
fn what_left_the_inventory_is_taken_away_and_the_plan_shows_it() {
    insta::assert_snapshot!(shown(&plan_of(None, true)));
    let after = plan_of(None, false);
    assert!(after.is_empty() && after.findings.is_empty(), "{}", shown(&after));
}

#[test]
fn what_someone_edited_or_an_older_configuration_said_stays() {
    let edited = plan_of(Some("theirs"), true);
    assert!(!edited.changes().any(|p| p.step.id.ends_with(HOSTS)), "{}", shown(&edited));
    let codes: Vec<&str> = edited.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["left-in-force"]);
    let carried = format!("{}server = \"x\"\n", crate::render::registry::CARRIED);
    let carried = plan_of(Some(&carried), true);
    assert!(!carried.changes().any(|p| p.step.id.ends_with(HOSTS)), "{}", shown(&carried));
    assert!(carried.findings.is_empty());
    assert!(carried.changes().any(|p| p.step.id.ends_with(CA)), "the authority is ours");
}

/// An inventory that names all of it takes nothing away.
#[test]
fn what_the_inventory_still_names_stays() {
    let (mut inventory, facts) = host();
    inventory.mirrors.images.insert("gone.example".into(), "https://m.example".into());
    inventory.time_servers = vec!["ntp.example".into()];
    let (addresses, bundle) = (samples::addresses(&inventory), samples::bundle());
    let planned = steps(&inventory, &facts, &Inputs::new(&addresses, &bundle));
    let removed: Vec<&str> = planned
        .steps
        .iter()
        .filter(|step| matches!(&step.action, Action::File(f) if f.state == FileState::Absent))
        .map(|step| step.id.as_str())
        .collect();
    // The mirror has no authority of its own.
    assert_eq!(removed, [format!("master01/file:{CA}")]);
}
