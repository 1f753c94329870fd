//! Packet filter rules that kube-proxy, the kubelet, flannel and CNI plugins leave behind, and nothing else:
//! chains of theirs, rules that lead there, tables of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::command::{Program, exists};

/// Beginnings of the names of chains that are theirs.
const CHAINS: [&str; 3] = ["KUBE-", "FLANNEL-", "CNI-"];

/// The beginning of the names of Docker's chains, and its bridge.
const DOCKERS: &str = "DOCKER";
const DOCKERS_BRIDGE: &str = "docker0";

/// nftables tables that are theirs (`pkg/proxy/nftables/proxier.go`; flannel's
/// `pkg/trafficmngr/nftables`; the CNI plugins' portmap and bridge).
const TABLES: [&str; 5] =
    ["kube-proxy", "flannel-ipv4", "flannel-ipv6", "cni_hostport", "cni_plugins_masquerade"];

/// Tables that iptables-nft makes when it is asked for the first time.
const IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// The network that flannel's CNI configuration names; container tools have others.
const NETWORK: &str = "cbr0";

/// What is there, one line for each table.
pub(super) fn traces() -> Vec<String> {
    let mut found = Vec::new();
    for tool in tools() {
        for (table, chains) in their_chains(&saved(&tool)) {
            found.push(format!("{tool} {table}: {} chains of Kubernetes", chains.len()));
        }
    }
    for table in Ruleset::read().their_tables() {
        found.push(format!("nftables table {table}"));
    }
    found
}

/// Removes it.
pub(super) fn remove() -> Result<(), String> {
    let before = Ruleset::read();
    let held = before.iptables_with_their_chains();
    for tool in tools() {
        if let Some(script) = removal(&saved(&tool)) {
            Program::new(format!("{tool}-restore")).arg("--noflush").stdin(script).stdout()?;
        }
    }
    // What the tools on the host can't see: kube-proxy's image brings its own iptables.
    let script = Ruleset::read().removal();
    if !script.is_empty() {
        Program::new("nft").args(["-f", "-"]).stdin(script).stdout()?;
    }
    let script = Ruleset::read().empty_tables(&held);
    if !script.is_empty() {
        Program::new("nft").args(["-f", "-"]).stdin(script).stdout()?;
    }
    Ok(())
}

/// Removes what Docker leaves behind that is gone: its chains, what leads there, and the rules of its bridge.
///
/// # Errors
/// Says what could not be removed.
pub(in crate::act) fn remove_dockers() -> Result<(), String> {
    let held = Ruleset::read().iptables_with(&|chain| chain.starts_with(DOCKERS));
    for tool in tools() {
        if let Some(script) = dockers_removal(&saved(&tool)) {
            Program::new(format!("{tool}-restore")).arg("--noflush").stdin(script).stdout()?;
        }
    }
    let script = Ruleset::read().empty_tables(&held);
    if !script.is_empty() {
        Program::new("nft").args(["-f", "-"]).stdin(script).stdout()?;
    }
    Ok(())
}

/// iptables programs whose rules may be there. The old kind is asked only where the kernel has its tables:
/// asking would load them.
fn tools() -> Vec<String> {
    let mut tools = Vec::new();
    for (family, names) in
        [("iptables", "/proc/net/ip_tables_names"), ("ip6tables", "/proc/net/ip6_tables_names")]
    {
        let legacy = fs::read_to_string(names).is_ok_and(|names| !names.trim().is_empty());
        for (tool, wanted) in
            [(format!("{family}-nft"), true), (format!("{family}-legacy"), legacy)]
        {
            if wanted && exists(&format!("{tool}-save")) {
                tools.push(tool);
            }
        }
        let either = tools.iter().any(|tool| tool.starts_with(family));
        if !either && exists(&format!("{family}-save")) {
            tools.push(family.to_owned());
        }
    }
    tools
}

fn saved(tool: &str) -> String {
    Program::new(format!("{tool}-save")).stdout().unwrap_or_default()
}

/// Whether a chain is theirs, among the rules of its table.
fn is_theirs(chain: &str, rules: &[&str]) -> bool {
    if !CHAINS.iter().any(|prefix| chain.starts_with(prefix)) {
        return false;
    }
    // Podman and nerdctl use the same plugins: `-m comment --comment "name: \"cbr0\" id: \"…\""`.
    let named = |rule: &&&str| rule.contains("name: \\\"");
    let ours = |rule: &&str| rule.contains(&format!("name: \\\"{NETWORK}\\\""));
    let own: Vec<&&str> =
        rules.iter().filter(|r| r.starts_with(&format!("-A {chain} "))).filter(named).collect();
    if own.is_empty() {
        // The shared chains in front of them: as long as others have rules there, they stay.
        return !chain.starts_with("CNI-") || !rules.iter().filter(named).any(|r| !ours(r));
    }
    own.iter().all(|rule| ours(rule))
}

/// Their chains by table, in the output of iptables-save.
pub(crate) fn their_chains(saved: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for block in saved.split("\n*").map(|block| block.trim_start_matches('*')) {
        let table = block.lines().next().unwrap_or_default().to_owned();
        let rules: Vec<&str> = block.lines().filter(|line| line.starts_with("-A ")).collect();
        for line in block.lines() {
            let Some(chain) = line.strip_prefix(':').and_then(|l| l.split(' ').next()) else {
                continue;
            };
            if is_theirs(chain, &rules) {
                found.entry(table.clone()).or_default().insert(chain.to_owned());
            }
        }
    }
    found
}

/// A script for `iptables-restore --noflush` that takes their chains out, and leaves everything else with
/// its counters as it is.
pub(crate) fn removal(saved: &str) -> Option<String> {
    removal_of(saved, &their_chains(saved), &|_| false)
}

/// The same for Docker.
pub(crate) fn dockers_removal(saved: &str) -> Option<String> {
    let mut chains: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for block in saved.split("\n*").map(|block| block.trim_start_matches('*')) {
        let table = block.lines().next().unwrap_or_default().to_owned();
        let named = block.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
        let dockers: BTreeSet<String> =
            named.filter(|chain| chain.starts_with(DOCKERS)).map(str::to_owned).collect();
        if !dockers.is_empty() {
            chains.insert(table, dockers);
        }
    }
    removal_of(saved, &chains, &|words| words.contains(&DOCKERS_BRIDGE))
}

/// A script that takes chains out, with the rules that lead there, and of their tables those rules that `also` names.
fn removal_of(
    saved: &str,
    theirs: &BTreeMap<String, BTreeSet<String>>,
    also: &dyn Fn(&[&str]) -> bool,
) -> Option<String> {
    let mut script = String::new();
    for block in saved.split("\n*").map(|block| block.trim_start_matches('*')) {
        let table = block.lines().next().unwrap_or_default();
        let Some(chains) = theirs.get(table) else { continue };
        script.push_str(&format!("*{table}\n"));
        // To declare a chain empties it.
        chains.iter().for_each(|chain| script.push_str(&format!(":{chain} - [0:0]\n")));
        for rule in block.lines().filter_map(|line| line.strip_prefix("-A ")) {
            let mut words = rule.split(' ');
            let chain = words.next().unwrap_or_default();
            let words: Vec<&str> = words.collect();
            let leads =
                words.windows(2).any(|w| matches!(w[0], "-j" | "-g") && chains.contains(w[1]));
            if !chains.contains(chain) && (leads || also(&words)) {
                script.push_str(&format!("-D {rule}\n"));
            }
        }
        chains.iter().for_each(|chain| script.push_str(&format!("-X {chain}\n")));
        script.push_str("COMMIT\n");
    }
    (!script.is_empty()).then_some(script)
}

/// What `nft -j -a list ruleset` prints.
pub(crate) struct Ruleset(pub(crate) Value);

impl Ruleset {
    fn read() -> Ruleset {
        if !exists("nft") {
            return Ruleset(Value::Null);
        }
        let printed = Program::new("nft").args(["-j", "-a", "list", "ruleset"]).stdout();
        Ruleset(serde_json::from_str(&printed.unwrap_or_default()).unwrap_or_default())
    }

    /// Those that can be named in a script: `nft` takes no other names, but whoever speaks to the kernel without it may
    /// give any.
    fn items(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        let list = self.0["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
        let plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '\\');
        let named = move |item: &&Value| {
            let names: &[&str] = match kind {
                "table" => &["family", "name"],
                "chain" => &["family", "table", "name"],
                _ => &["family", "table", "chain"],
            };
            names.iter().all(|field| {
                let name = item[field].as_str().unwrap_or_default();
                !name.is_empty() && name.chars().all(plain)
            })
        };
        list.iter().filter_map(move |item| item.get(kind)).filter(named)
    }

    /// `ip kube-proxy` and the like, and iptables' tables as long as they have chains of theirs.
    pub(crate) fn their_tables(&self) -> Vec<String> {
        let mut found: Vec<String> = self
            .items("table")
            .filter(|table| TABLES.iter().any(|name| table["name"] == *name))
            .map(|table| format!("{} {}", text(table, "family"), text(table, "name")))
            .collect();
        found.extend(self.iptables_with_their_chains());
        found
    }

    fn is_theirs(chain: &str) -> bool {
        // CNI chains are iptables' own; they are told apart by the comments that only iptables-save shows.
        chain.starts_with("KUBE-") || chain.starts_with("FLANNEL-")
    }

    pub(crate) fn iptables_with_their_chains(&self) -> Vec<String> {
        self.iptables_with(&Self::is_theirs)
    }

    fn iptables_with(&self, is: &dyn Fn(&str) -> bool) -> Vec<String> {
        let tables: BTreeSet<String> = self
            .items("chain")
            .filter(|chain| is(&text(chain, "name")))
            .map(|chain| format!("{} {}", text(chain, "family"), text(chain, "table")))
            .collect();
        tables.into_iter().collect()
    }

    /// A script for `nft -f -`.
    pub(crate) fn removal(&self) -> String {
        let mut script = String::new();
        for table in self.items("table").filter(|t| TABLES.iter().any(|name| t["name"] == *name)) {
            script.push_str(&format!(
                "delete table {} {}\n",
                text(table, "family"),
                text(table, "name")
            ));
        }
        let place = |item: &Value| format!("{} {}", text(item, "family"), text(item, "table"));
        let leads = |expression: &Value| {
            ["jump", "goto"].iter().any(|verb| Self::is_theirs(&text(&expression[verb], "target")))
        };
        for rule in self.items("rule").filter(|rule| !Self::is_theirs(&text(rule, "chain"))) {
            if rule["expr"].as_array().into_iter().flatten().any(leads) {
                let Some(handle) = rule["handle"].as_u64() else { continue };
                script.push_str(&format!(
                    "delete rule {} {} handle {handle}\n",
                    place(rule),
                    text(rule, "chain")
                ));
            }
        }
        for verb in ["flush", "delete"] {
            for chain in self.items("chain").filter(|chain| Self::is_theirs(&text(chain, "name"))) {
                script.push_str(&format!(
                    "{verb} chain {} {}\n",
                    place(chain),
                    text(chain, "name")
                ));
            }
        }
        script
    }

    /// A script that deletes those of iptables' tables, among the given ones, that hold nothing any more:
    /// built-in chains that accept, and no rule.
    pub(crate) fn empty_tables(&self, among: &[String]) -> String {
        let mut script = String::new();
        for table in self.items("table") {
            let (family, name) = (text(table, "family"), text(table, "name"));
            let of = |item: &Value| text(item, "family") == family && text(item, "table") == name;
            let bare = !self.items("rule").any(of)
                && self.items("chain").filter(|c| of(c)).all(|c| c["policy"] == "accept");
            let place = format!("{family} {name}");
            if IPTABLES.contains(&name.as_str()) && among.contains(&place) && bare {
                script.push_str(&format!("delete table {place}\n"));
            }
        }
        script
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables)
*nat
:PREROUTING ACCEPT [12:720]
:POSTROUTING ACCEPT [3:180]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-X - [0:0]
:FLANNEL-POSTRTG - [0:0]
:CNI-6f1 - [0:0]
:DOCKER - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -p tcp -j DOCKER
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -s 10.244.0.5/32 -m comment --comment "name: \"cbr0\" id: \"f\"" -j CNI-6f1
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-SVC-X
-A CNI-6f1 -d 10.244.0.0/24 -m comment --comment "name: \"cbr0\" id: \"f\"" -j ACCEPT
COMMIT
*filter
:INPUT ACCEPT [0:0]
COMMIT
"#;

    #[test]
    fn takes_out_their_chains_only() {
        assert_eq!(
            removal(SAVED).unwrap(),
            "*nat\n:CNI-6f1 - [0:0]\n:FLANNEL-POSTRTG - [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-X - [0:0]\n\
             -D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -D POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n\
             -D POSTROUTING -s 10.244.0.5/32 -m comment --comment \"name: \\\"cbr0\\\" id: \\\"f\\\"\" -j CNI-6f1\n\
             -X CNI-6f1\n-X FLANNEL-POSTRTG\n-X KUBE-SERVICES\n-X KUBE-SVC-X\nCOMMIT\n"
        );
        assert_eq!(removal("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"), None);
    }

    #[test]
    fn takes_out_what_docker_left() {
        let saved = "*nat\n:POSTROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:DOCKER - [0:0]\n\
            -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n\
            -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
            -A POSTROUTING -s 10.8.0.0/24 -j MASQUERADE\n-A DOCKER -i docker0 -j RETURN\nCOMMIT\n\
            *mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i docker0 -j MARK\nCOMMIT\n";
        assert_eq!(
            dockers_removal(saved).unwrap(),
            "*nat\n:DOCKER - [0:0]\n\
             -D OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER\n\
             -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n-X DOCKER\nCOMMIT\n"
        );
        assert_eq!(dockers_removal(SAVED.replace("DOCKER", "OTHER").as_str()), None);
    }

    #[test]
    fn leaves_other_tools_networks() {
        let podman = "*nat\n:CNI-aa - [0:0]\n:CNI-HOSTPORT-DNAT - [0:0]\n:CNI-bb - [0:0]\n\
            -A CNI-aa -m comment --comment \"name: \\\"podman\\\" id: \\\"1\\\"\" -j ACCEPT\n\
            -A CNI-bb -m comment --comment \"name: \\\"cbr0\\\" id: \\\"2\\\"\" -j ACCEPT\nCOMMIT\n";
        let chains = their_chains(podman);
        assert_eq!(chains["nat"].iter().collect::<Vec<_>>(), ["CNI-bb"]);
    }

    #[test]
    fn takes_out_what_only_nft_sees() {
        let ruleset = Ruleset(
            serde_json::from_str(
                r#"{"nftables":[{"table":{"family":"ip","name":"kube-proxy"}},
                {"table":{"family":"ip","name":"nat"}},{"table":{"family":"inet","name":"mine"}},
                {"chain":{"family":"ip","table":"nat","name":"POSTROUTING","hook":"postrouting","policy":"accept"}},
                {"chain":{"family":"ip","table":"nat","name":"KUBE-POSTROUTING"}},
                {"rule":{"family":"ip","table":"nat","chain":"POSTROUTING","handle":7,"expr":[{"jump":{"target":"KUBE-POSTROUTING"}}]}},
                {"rule":{"family":"ip","table":"nat","chain":"KUBE-POSTROUTING","handle":9,"expr":[{"return":null}]}}]}"#,
            )
            .unwrap(),
        );
        assert_eq!(ruleset.their_tables(), ["ip kube-proxy", "ip nat"]);
        assert_eq!(
            ruleset.removal(),
            "delete table ip kube-proxy\ndelete rule ip nat POSTROUTING handle 7\n\
             flush chain ip nat KUBE-POSTROUTING\ndelete chain ip nat KUBE-POSTROUTING\n"
        );
        let names = r#"{"nftables":[{"table":{"family":"ip","name":"kube-proxy"}},
            {"chain":{"family":"ip","table":"nat","name":"KUBE-X\\ndelete table inet host"}},
            {"rule":{"family":"ip","table":"nat","chain":"x","handle":-0,"expr":[{"jump":{"target":"KUBE-Y"}}]}}]}"#;
        let names = Ruleset(serde_json::from_str(names).unwrap());
        assert_eq!(names.removal(), "delete table ip kube-proxy\n");
        let bare = Ruleset(
            serde_json::from_str(
                r#"{"nftables":[{"table":{"family":"ip","name":"nat"}},{"table":{"family":"ip","name":"filter"}},
                {"chain":{"family":"ip","table":"nat","name":"POSTROUTING","hook":"postrouting","policy":"accept"}}]}"#,
            )
            .unwrap(),
        );
        assert_eq!(bare.empty_tables(&["ip nat".into()]), "delete table ip nat\n");
    }
}
