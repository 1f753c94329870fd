//! A host firewall that is on although the inventory has it off, or does not know of it.

use kubewan_core::facts::FirewallTool;
use kubewan_core::inventory::Firewall;

use super::Check;
use crate::diagnosis::{Diagnosis, goal};

pub(super) const CHECK: Check = Check {
    code: "firewall-on-again",
    means: "a host firewall is active that is to be off, or of which the inventory says nothing",
    looks_at: "ufw, firewalld, iptables-persistent, nftables.service; kubeadm's warning `Firewalld`",
    explains: &[],
    explains_everywhere: &[],
    run: |case| {
        let of = |host: &crate::HostCase| {
            let Some(facts) = &host.facts else {
                let quote = host
                    .said(&[], |line| line.contains("firewalld is active, please ensure ports"))?;
                return Some(said(host, quote, Firewall::Open));
            };
            let policy = host.firewall;
            let wrong = |tool: FirewallTool| match policy {
                None | Some(Firewall::Off) => true,
                Some(Firewall::Open) => {
                    !matches!(tool, FirewallTool::Ufw | FirewallTool::Firewalld)
                }
                Some(Firewall::Keep) => false,
            };
            let active =
                facts.firewalls.iter().find(|firewall| firewall.active && wrong(firewall.tool))?;
            let boot = if active.enabled { ", and is switched on at boot" } else { "" };
            let quote = host.quote("firewalls", format!("{:?} filters{boot}", active.tool));
            Some(said(host, quote, policy.unwrap_or(Firewall::Keep)))
        };
        case.present().filter_map(of).collect()
    },
};

fn said(host: &crate::HostCase, quote: crate::Quote, policy: Firewall) -> Diagnosis {
    let remedy = match policy {
        Firewall::Off => "`kubewan up` switches it off again: the inventory says `firewall: off`",
        Firewall::Open => {
            "open the ports of `kubewan ports`, or say `firewall: open` and let `kubewan up` do it"
        }
        Firewall::Keep => {
            "say in the inventory what to do with it: `firewall: open`, `off` or `keep`"
        }
    };
    let diagnosis = Diagnosis::warning(
        "firewall-on-again",
        host.who(),
        "hosts or pods don't reach each other any more",
    )
    .cause("a firewall of the host is active; an update or a reboot may have switched it on")
    .seen([quote])
    .remedy(remedy);
    if policy == Firewall::Off { diagnosis.fix(&[goal("firewall", "")]) } else { diagnosis }
}
