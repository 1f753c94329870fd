//! An address on a network card with the mask of a network that is not there: taken away, and given back as it was.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};

/// A network card without this address. The address itself stays on the host: with another mask, or on another interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasOff {
    /// The card, as `eth0`.
    pub interface: String,
    /// The address with its mask, as `198.51.100.10/24`.
    pub address: Ipv4Net,
}

/// Whether the address is on the card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasSeen {
    /// How it is there; `None`: it is not.
    pub there: Option<AddressSettings>,
}

/// What an address on a card is beside itself, in the words of ip-address(8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSettings {
    /// Its label, as `eth0:1`; empty where it has none.
    pub label: String,
    /// Its scope, as `global`.
    pub scope: String,
    /// Its broadcast address, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<String>,
    /// The priority of its route, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// The kernel makes no route for its network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_prefix_route: bool,
    /// Seconds that it is valid for; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u32>,
    /// Seconds that new connections may use it for; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_s: Option<u32>,
}

impl AliasOff {
    /// What the goal is about.
    pub fn subject(&self) -> String {
        format!("{} {}", self.interface, self.address)
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &AliasSeen) -> Option<Change> {
        let there = seen.there.as_ref()?;
        let label = match there.label.as_str() {
            "" => String::new(),
            label if label == self.interface => String::new(),
            label => format!(" ({label})"),
        };
        let mut details = vec![format!("ip address del {} dev {}", self.address, self.interface)];
        if !there.no_prefix_route {
            let network = self.address.trunc();
            details.push(format!(
                "the kernel's route to {network} by {} goes with it",
                self.interface
            ));
        }
        let summary = format!("take {} off {}{label}", self.address, self.interface);
        Some(Change::new(ChangeKind::Delete, summary).with_details(details))
    }
}

/// The address on its card again, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasOn {
    /// The card.
    pub interface: String,
    /// The address with its mask.
    pub address: Ipv4Net,
    /// How it was there.
    pub settings: AddressSettings,
}

/// Whether the address can be put on the card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasOnSeen {
    /// The card is there.
    pub card: bool,
    /// The address is on it, with whatever mask: somebody may have given it another one meanwhile.
    pub there: bool,
}

impl AliasOn {
    /// What the goal is about.
    pub fn subject(&self) -> String {
        format!("{} {}", self.interface, self.address)
    }

    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &AliasOnSeen) -> Option<Change> {
        let summary = format!("put {} on {} again", self.address, self.interface);
        let details = vec![format!("ip address add {}", self.arguments().join(" "))];
        (seen.card && !seen.there)
            .then(|| Change::new(ChangeKind::Create, summary).with_details(details))
    }

    /// What `ip address add` is given.
    pub fn arguments(&self) -> Vec<String> {
        let settings = &self.settings;
        let seconds = |seconds: Option<u32>| seconds.map_or("forever".into(), |s| s.to_string());
        let mut arguments = vec![self.address.to_string()];
        let mut say = |key: &str, value: &str| {
            if !value.is_empty() {
                arguments.extend([key.to_owned(), value.to_owned()]);
            }
        };
        say("brd", settings.broadcast.as_deref().unwrap_or_default());
        say("dev", &self.interface);
        say("label", &settings.label);
        say("scope", &settings.scope);
        say("metric", &settings.metric.map(|metric| metric.to_string()).unwrap_or_default());
        if settings.valid_s.is_some() || settings.preferred_s.is_some() {
            say("valid_lft", &seconds(settings.valid_s));
            say("preferred_lft", &seconds(settings.preferred_s));
        }
        if settings.no_prefix_route {
            arguments.push("noprefixroute".into());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal() -> AliasOff {
        AliasOff { interface: "eth0".into(), address: "198.51.100.10/24".parse().expect("a net") }
    }

    #[test]
    fn an_alias_that_is_there_is_taken_off_with_its_route() {
        assert_eq!(goal().diff(&AliasSeen::default()), None);
        let there = AddressSettings { label: "eth0:1".into(), ..AddressSettings::default() };
        let change = goal().diff(&AliasSeen { there: Some(there.clone()) }).expect("a change");
        assert_eq!(change.summary, "take 198.51.100.10/24 off eth0 (eth0:1)");
        assert_eq!(
            change.details,
            [
                "ip address del 198.51.100.10/24 dev eth0",
                "the kernel's route to 198.51.100.0/24 by eth0 goes with it"
            ]
        );
        let routeless = AddressSettings { no_prefix_route: true, ..there };
        let change = goal().diff(&AliasSeen { there: Some(routeless) }).expect("a change");
        assert_eq!(change.details.len(), 1);
    }

    #[test]
    fn it_comes_back_as_it_was_unless_somebody_gave_it_another_mask() {
        let AliasOff { interface, address } = goal();
        let settings = AddressSettings {
            label: "eth0:1".into(),
            scope: "global".into(),
            broadcast: Some("198.51.100.255".into()),
            metric: Some(100),
            no_prefix_route: true,
            valid_s: Some(3600),
            preferred_s: None,
        };
        let goal = AliasOn { interface, address, settings };
        let seen = |card, there| goal.diff(&AliasOnSeen { card, there });
        assert_eq!((seen(false, false), seen(true, true)), (None, None));
        assert_eq!(
            seen(true, false).expect("a change").details,
            [
                "ip address add 198.51.100.10/24 brd 198.51.100.255 dev eth0 label eth0:1 scope global metric 100 \
              valid_lft 3600 preferred_lft forever noprefixroute"
            ]
        );
        let plain = AliasOn { settings: AddressSettings::default(), ..goal };
        assert_eq!(plain.arguments().join(" "), "198.51.100.10/24 dev eth0");
    }
}
