//! Host firewalls, through their own tool.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};
use crate::facts::FirewallTool;

/// A host firewall that lets our ports in, is off, or is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallGoal {
    /// Its tool.
    pub tool: FirewallTool,
    /// What it is to do.
    pub state: FirewallState,
}

/// What a firewall is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallState {
    /// It lets our packets in. One that does not filter does so already.
    Open {
        /// Ports, as `6443/tcp` or `30000-32767/tcp`.
        ports: Vec<String>,
        /// Subnets whose packets it lets in and forwards (pods and Services).
        trusted: Vec<String>,
    },
    /// It is off, now and at boot.
    Off,
    /// It is as it was before us, but for what others changed since.
    Restored {
        /// It filtered.
        active: bool,
        /// It started at boot.
        enabled: bool,
        /// Rules of ours, in the tool's words: they go.
        ours: Vec<String>,
        /// Rules that ours took the place of: they come back.
        replaced: Vec<String>,
    },
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
    /// Those of the goal's rules of ours that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ours: Vec<String>,
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
        let mut details = Vec::new();
        let summary = match &self.state {
            FirewallState::Off => {
                let summary = format!("switch {} off", self.tool_name());
                return (seen.active || seen.enabled)
                    .then(|| Change::new(ChangeKind::Update, summary));
            }
            FirewallState::Open { .. } if !seen.active => return None,
            FirewallState::Open { ports, trusted } => {
                let closed = ports.iter().filter(|port| !seen.open.contains(port));
                details.extend(closed.map(|port| format!("allow {port}")));
                let shut = trusted.iter().filter(|subnet| !seen.trusted.contains(subnet));
                details.extend(shut.map(|subnet| format!("allow from {subnet}")));
                "open ports in"
            }
            FirewallState::Restored { active, enabled, .. } => {
                if *active && !seen.active {
                    details.push("switch it on".to_owned());
                }
                if *enabled && !seen.enabled {
                    details.push("start it at boot".to_owned());
                }
                details.extend(seen.ours.iter().map(|rule| format!("take back `{rule}`")));
                "restore"
            }
        };
        (!details.is_empty()).then(|| {
            Change::new(ChangeKind::Update, format!("{summary} {}", self.tool_name()))
                .with_details(details)
        })
    }
}
