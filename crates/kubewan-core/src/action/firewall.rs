//! Host firewalls, through their own tool.

use std::fmt;
use std::net::Ipv4Addr;

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
        /// Ports, and who may reach them.
        ports: Vec<Opening>,
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
    },
}

/// A port that a firewall lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// `6443/tcp` or `30000-32767/tcp`.
    pub port: String,
    /// The only address that may reach it; `None`: anyone may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Ipv4Addr>,
}

impl Opening {
    /// A port for anyone.
    pub fn to_anyone(port: impl Into<String>) -> Self {
        Opening { port: port.into(), from: None }
    }

    /// A port for one address.
    pub fn to_one(port: impl Into<String>, from: Ipv4Addr) -> Self {
        Opening { port: port.into(), from: Some(from) }
    }

    /// Whether this one lets in all that the other does.
    fn covers(&self, other: &Opening) -> bool {
        self.port == other.port && (self.from.is_none() || self.from == other.from)
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "{} from {from}", self.port),
            None => f.write_str(&self.port),
        }
    }
}

/// A firewall's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallSeen {
    /// It filters now.
    pub active: bool,
    /// It starts at boot.
    pub enabled: bool,
    /// Ports it lets in.
    pub open: Vec<Opening>,
    /// Subnets it lets in and forwards.
    pub trusted: Vec<String>,
    /// Those of the goal's rules of ours that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ours: Vec<String>,
    /// Rules that are not ours and say something else of what is asked for, as ufw's `deny 6443/tcp`. One of ours would take their
    /// place: that is for whoever wrote them to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<String>,
}

impl FirewallSeen {
    /// Whether it lets in what is asked for.
    pub fn lets_in(&self, wanted: &Opening) -> bool {
        self.open.iter().any(|open| open.covers(wanted))
    }
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
                let closed = ports.iter().filter(|port| !seen.lets_in(port));
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

/// A port's rule in ufw's words, in the order in which `ufw show added` prints them.
pub fn ufw_rule(opening: &Opening) -> String {
    let port = opening.port.replace('-', ":");
    match opening.from {
        None => format!("allow {port}"),
        Some(from) => {
            let (range, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
            format!("allow from {from} to any port {range} proto {protocol}")
        }
    }
}

/// A port's rule as an option of firewall-cmd and its value; the value of a rich rule holds blanks.
pub fn firewalld_rule(opening: &Opening) -> (&'static str, String) {
    let Some(from) = opening.from else { return ("add-port", opening.port.clone()) };
    let (range, protocol) = opening.port.split_once('/').unwrap_or((&opening.port, "tcp"));
    let rule = format!(
        "rule family=\"ipv4\" source address=\"{from}\" port port=\"{range}\" protocol=\"{protocol}\" accept"
    );
    ("add-rich-rule", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);

    #[test]
    fn what_is_open_to_anyone_is_open_to_a_peer() {
        let goal = FirewallGoal {
            tool: FirewallTool::Ufw,
            state: FirewallState::Open {
                ports: vec![Opening::to_anyone("22/tcp"), Opening::to_one("10250/tcp", PEER)],
                trusted: Vec::new(),
            },
        };
        let seen = |open: &[Opening]| FirewallSeen {
            active: true,
            enabled: true,
            open: open.to_vec(),
            ..FirewallSeen::default()
        };
        let all = [Opening::to_anyone("22/tcp"), Opening::to_anyone("10250/tcp")];
        assert_eq!(goal.diff(&seen(&all)), None);
        let other = Ipv4Addr::new(198, 51, 100, 30);
        let narrow = [Opening::to_one("22/tcp", PEER), Opening::to_one("10250/tcp", other)];
        let change = goal.diff(&seen(&narrow)).unwrap();
        assert_eq!(change.details, ["allow 22/tcp", "allow 10250/tcp from 198.51.100.20"]);
    }

    #[test]
    fn rules_in_the_words_of_their_tools() {
        let peer = Opening::to_one("30000-32767/udp", PEER);
        assert_eq!(ufw_rule(&Opening::to_anyone("30000-32767/tcp")), "allow 30000:32767/tcp");
        assert_eq!(ufw_rule(&peer), "allow from 198.51.100.20 to any port 30000:32767 proto udp");
        assert_eq!(firewalld_rule(&Opening::to_anyone("22/tcp")), ("add-port", "22/tcp".into()));
        let (option, rule) = firewalld_rule(&peer);
        assert_eq!(option, "add-rich-rule");
        assert_eq!(
            rule,
            "rule family=\"ipv4\" source address=\"198.51.100.20\" port port=\"30000-32767\" protocol=\"udp\" accept"
        );
    }
}
