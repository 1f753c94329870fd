//! Host firewalls that are active.

use crate::action::firewall;
use crate::facts::{Facts, FirewallTool};
use crate::finding::Finding;
use crate::inventory::{Firewall, Host};
use crate::network::ports::openings;
use crate::plan::planner::View;

pub(super) fn firewalls(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    let policy = view.inventory.firewall_of(host);
    facts
        .firewalls
        .iter()
        .filter(|firewall| firewall.active)
        .filter_map(|firewall| {
            let own_tool = matches!(firewall.tool, FirewallTool::Ufw | FirewallTool::Firewalld);
            match policy {
                Some(Firewall::Off) => None,
                Some(Firewall::Open) if own_tool => None,
                Some(Firewall::Keep) => Some(Finding::warning(
                    "host-firewall-kept",
                    &host.name,
                    format!("a firewall is active ({:?}) and is left alone", firewall.tool),
                    "make sure that the ports of `kubewan ports` are open",
                )),
                _ => Some(Finding::error(
                    "host-firewall-active",
                    &host.name,
                    format!("a firewall is active ({:?}) and the inventory does not say what to do with it", firewall.tool),
                    firewall_commands(view, host, firewall.tool),
                )),
            }
        })
        .collect()
}

/// A control plane among several, whose etcd and kubelet answer everyone unless its own firewall lets in only the
/// cluster's hosts. What a provider filters outside nobody on the host can tell.
pub(super) fn exposed_control_plane(view: &View, host: &Host, facts: &Facts) -> Vec<Finding> {
    if !host.is_control_plane() || !view.inventory.has_several_control_planes() {
        return Vec::new();
    }
    let active = |tools: &[FirewallTool]| {
        facts.firewalls.iter().any(|f| f.active && tools.contains(&f.tool))
    };
    let policy = view.inventory.firewall_of(host);
    let opened_by_us = active(&[FirewallTool::Ufw, FirewallTool::Firewalld]);
    if policy == Some(Firewall::Open) && opened_by_us {
        return Vec::new();
    }
    let why = match policy {
        Some(Firewall::Off) => "`firewall: off` leaves it without a firewall",
        Some(Firewall::Keep) if facts.firewalls.iter().any(|f| f.active) => {
            "`firewall: keep` leaves it a firewall that kubewan does not know"
        }
        _ if opened_by_us => "the inventory does not say `firewall: open`",
        _ => "it has no active firewall that kubewan can open for single hosts (ufw, firewalld)",
    };
    let message = format!(
        "with several control planes etcd (2379, 2380) listens on all addresses beside the kubelet (10250), and {why}"
    );
    let remedy = "switch ufw on there (`ufw allow` SSH first, then `ufw enable`) and say `firewall: open`: then only \
                  the cluster's hosts are let in";
    vec![Finding::error("control-plane-exposed", &host.name, message, remedy)]
}

/// What an operator would type to open the ports.
fn firewall_commands(view: &View, host: &Host, tool: FirewallTool) -> String {
    let ports = openings(view.inventory, view.inputs.addresses, host);
    let pods = view.inventory.network.pod_subnet;
    let commands: Vec<String> = match tool {
        FirewallTool::Ufw => ports
            .iter()
            .map(|port| format!("ufw {}", firewall::ufw_rule(port)))
            .chain([format!("ufw allow from {pods}"), format!("ufw route allow from {pods}")])
            .collect(),
        FirewallTool::Firewalld => ports
            .iter()
            .map(|port| match firewall::firewalld_rule(port) {
                (option, value) if port.from.is_some() => {
                    format!("firewall-cmd --permanent --{option}='{value}'")
                }
                (option, value) => format!("firewall-cmd --permanent --{option}={value}"),
            })
            .chain([
                format!("firewall-cmd --permanent --zone=trusted --add-source={pods}"),
                "firewall-cmd --reload".to_owned(),
            ])
            .collect(),
        FirewallTool::IptablesPersistent => ports
            .iter()
            .map(|port| {
                let (range, protocol) = port.port.split_once('/').unwrap_or((&port.port, "tcp"));
                let from = port.from.map(|from| format!("-s {from} ")).unwrap_or_default();
                let range = range.replace('-', ":");
                format!("iptables -I INPUT {from}-p {protocol} --dport {range} -j ACCEPT")
            })
            .chain([
                format!("iptables -I FORWARD -s {pods} -j ACCEPT"),
                "netfilter-persistent save".to_owned(),
            ])
            .collect(),
        FirewallTool::Nftables => ports
            .iter()
            .map(|port| {
                let (range, protocol) = port.port.split_once('/').unwrap_or((&port.port, "tcp"));
                let from = port.from.map(|from| format!("ip saddr {from} ")).unwrap_or_default();
                format!(
                    "add to the input chain of /etc/nftables.conf: {from}{protocol} dport {range} accept"
                )
            })
            .collect(),
    };
    let choices = match tool {
        FirewallTool::Ufw | FirewallTool::Firewalld => {
            "`firewall: open` (kubewan runs these) or `firewall: off`"
        }
        _ => "`firewall: keep` (after you ran these) or `firewall: off`",
    };
    format!("say {choices} in the inventory; by hand it would be:\n{}", commands.join("\n"))
}
