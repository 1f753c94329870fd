//! Host firewalls, each asked through its own tool.

use std::fs;
use std::path::Path;

use kubewan_core::facts::{FirewallFacts, FirewallTool};
use serde_json::Value;

use super::systemd::Units;
use crate::command::{Program, exists};

/// Tables that are no host firewall: other tools' own, and what runs on top of the cluster.
const OTHERS_TABLES: &[&str] =
    &["firewalld", "kube-proxy", "flannel-ipv4", "flannel-ipv6", "kubewan", "f2b-table"];

/// Firewalls found on this host.
pub fn firewalls(units: &Units) -> Vec<FirewallFacts> {
    let mut found = Vec::new();
    found.extend(ufw());
    found.extend(firewalld(units));
    // What these two do shows as rules as well, and must be changed through them.
    let managed = found.iter().any(|firewall| firewall.active);
    found.extend(iptables(units, managed));
    found.extend(nftables(units, managed));
    found
}

fn ufw() -> Option<FirewallFacts> {
    if !exists("ufw") {
        return None;
    }
    // What `ufw status` looks at, which is a Python program (ufw 0.36, `backend_iptables.py`, `get_status`).
    let chain = ["-L", "ufw-user-input", "-n"];
    let active = Program::new("iptables").args(chain).output().is_ok_and(|said| said.code == 0);
    let conf = fs::read_to_string("/etc/ufw/ufw.conf").unwrap_or_default();
    Some(FirewallFacts {
        tool: FirewallTool::Ufw,
        active,
        enabled: conf.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")),
    })
}

fn firewalld(units: &Units) -> Option<FirewallFacts> {
    if !exists("firewall-cmd") {
        return None;
    }
    let state = Program::new("firewall-cmd").arg("--state").stdout().unwrap_or_default();
    let (active, enabled) = (state.trim() == "running", units.get("firewalld.service").enabled());
    Some(FirewallFacts { tool: FirewallTool::Firewalld, active, enabled })
}

fn iptables(units: &Units, managed: bool) -> Option<FirewallFacts> {
    let services = [units.get("netfilter-persistent.service"), units.get("iptables.service")];
    let installed = services.iter().any(super::systemd::Unit::loaded);
    let saved = if exists("iptables-save") {
        Program::new("iptables-save").args(["-t", "filter"]).stdout().unwrap_or_default()
    } else {
        String::new()
    };
    let active = !managed && iptables_filters(&saved);
    if !installed && !active {
        return None;
    }
    Some(FirewallFacts {
        tool: FirewallTool::IptablesPersistent,
        active,
        enabled: services.iter().any(super::systemd::Unit::enabled),
    })
}

/// The INPUT chain drops by policy, or ends what comes from anywhere.
pub(crate) fn iptables_filters(saved: &str) -> bool {
    saved.lines().any(|line| {
        if line.starts_with(":INPUT DROP") || line.starts_with(":INPUT REJECT") {
            return true;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let ends = words.windows(2).any(|w| matches!(w, ["-j", "DROP" | "REJECT"]));
        // fail2ban's and others' rules for one sender, or for broken packets, close no port.
        let narrow = words.iter().any(|w| matches!(*w, "-s" | "--match-set" | "INVALID"));
        line.starts_with("-A INPUT ") && ends && !narrow
    })
}

fn nftables(units: &Units, managed: bool) -> Option<FirewallFacts> {
    let unit = units.get("nftables.service");
    let listed = if exists("nft") {
        Program::new("nft").args(["-j", "list", "ruleset"]).stdout().unwrap_or_default()
    } else {
        String::new()
    };
    let ruleset: Value = serde_json::from_str(&listed).unwrap_or_default();
    // Where iptables is iptables-nft, its tables show here too.
    let others_iptables = Path::new("/usr/sbin/iptables-save").exists();
    let active = !managed && nft_filters(&ruleset, others_iptables);
    if !active && !unit.enabled() && !unit.active() {
        return None;
    }
    Some(FirewallFacts { tool: FirewallTool::Nftables, active, enabled: unit.enabled() })
}

/// Items of one kind in the output of `nft -j list ruleset`.
fn items<'a>(ruleset: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let list = ruleset["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(move |item| item.get(kind))
}

/// Family, table and name of the input hook's base chains.
fn input_chains(ruleset: &Value, others_iptables: bool) -> Vec<&Value> {
    items(ruleset, "chain")
        .filter(|chain| chain["hook"] == "input")
        .filter(|chain| {
            let table = chain["table"].as_str().unwrap_or_default();
            let iptables = matches!(chain["family"].as_str(), Some("ip" | "ip6"))
                && matches!(table, "filter" | "nat" | "mangle" | "raw" | "security");
            let others = OTHERS_TABLES.contains(&table) || (others_iptables && iptables);
            !others
        })
        .collect()
}

fn same_chain(rule: &Value, chain: &Value) -> bool {
    rule["family"] == chain["family"]
        && rule["table"] == chain["table"]
        && rule["chain"] == chain["name"]
}

/// An input chain drops by policy, or has a rule that drops whatever came that far.
pub(crate) fn nft_filters(ruleset: &Value, others_iptables: bool) -> bool {
    input_chains(ruleset, others_iptables).iter().any(|chain| {
        let drops_all = |rule: &Value| {
            let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ends =
                expressions.iter().any(|e| e.get("drop").is_some() || e.get("reject").is_some());
            ends && !expressions.iter().any(|e| e.get("match").is_some())
        };
        chain["policy"] == "drop"
            || items(ruleset, "rule").any(|rule| same_chain(rule, chain) && drops_all(rule))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_iptables() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 203.0.113.9/32 -j DROP\n\
            -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n\
            -A INPUT -p tcp -m multiport --dports 80,30000:32767 -j ACCEPT\n\
            -A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 9000 -j ACCEPT\nCOMMIT\n";
        assert!(!iptables_filters(saved));
        let cloud = saved
            .replace("COMMIT", "-A INPUT -j REJECT --reject-with icmp-host-prohibited\nCOMMIT");
        assert!(iptables_filters(&cloud));
        assert!(iptables_filters("*filter\n:INPUT DROP [0:0]\n"));
        assert!(!iptables_filters(
            ":INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate INVALID -j DROP\n"
        ));
    }

    /// `nft -j list ruleset` of nft 1.0.6 over a small default-deny table.
    const NFT: &str = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},
        {"table":{"family":"inet","name":"host"}},
        {"chain":{"family":"inet","table":"host","name":"in","type":"filter","hook":"input","prio":0,"policy":"drop"}},
        {"rule":{"family":"inet","table":"host","chain":"in","expr":[
            {"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[30000,32767]}]}}},{"accept":null}]}},
        {"rule":{"family":"inet","table":"host","chain":"in","expr":[
            {"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.1"}},
            {"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":9000}},{"accept":null}]}}]}"#;

    #[test]
    fn reads_nftables() {
        let ruleset: Value = serde_json::from_str(NFT).unwrap();
        assert!(nft_filters(&ruleset, true));
        let accepting: Value =
            serde_json::from_str(&NFT.replace("\"drop\"", "\"accept\"")).unwrap();
        assert!(!nft_filters(&accepting, true));
        let iptables = NFT.replace("inet", "ip").replace("host", "filter");
        assert!(!nft_filters(&serde_json::from_str(&iptables).unwrap(), true));
        assert!(!nft_filters(&Value::Null, false));
    }
}
