//! Host firewalls, through their own tool.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};
use crate::facts::FirewallTool;

/// A host firewall that lets our ports in, or is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallGoal {
    /// Its tool.
    pub tool: FirewallTool,
    /// Ports to let in, as `6443/tcp` or `30000-32767/tcp`; `None`: the firewall is off, now and at boot.
    pub open: Option<Vec<String>>,
    /// Subnets whose packets it lets in and forwards (pods and Services).
    pub trusted: Vec<String>,
}

/// A firewall's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallSeen {
    /// It filters now.
    pub active: bool,
    /// It starts at boot.
    pub enabled: bool,
    /// Ports it lets in from anywhere, in the goal's notation.
    pub open: Vec<String>,
    /// Subnets it lets in and forwards.
    pub trusted: Vec<String>,
}

impl FirewallGoal {
    /// The tool's name.
    pub fn tool_name(&self) -> &'static str {
        match self.tool {
            FirewallTool::Ufw => "ufw",
            FirewallTool::Firewalld => "firewalld",
            FirewallTool::IptablesPersistent => "netfilter-persistent",
            FirewallTool::Nftables => "nftables.service",
        }
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &FirewallSeen) -> Option<Change> {
        let Some(open) = &self.open else {
            return (seen.active || seen.enabled).then(|| {
                Change::new(ChangeKind::Update, format!("switch {} off", self.tool_name()))
            });
        };
        if !seen.active {
            return None;
        }
        let mut details: Vec<String> = open
            .iter()
            .filter(|port| !seen.open.contains(port))
            .map(|port| format!("allow {port}"))
            .collect();
        details.extend(
            self.trusted
                .iter()
                .filter(|s| !seen.trusted.contains(s))
                .map(|s| format!("allow from {s}")),
        );
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, format!("open ports in {}", self.tool_name()))
                .with_details(details)
        })
    }
}
