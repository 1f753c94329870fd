//! An address on a network card: taken off where its mask is wrong, and given back as it was.

use std::path::Path;

use kubewan_core::action::alias::{AddressSettings, AliasOnSeen, AliasSeen};
use kubewan_core::action::{AliasOff, AliasOn};

use super::{Host, Performing};
use crate::command::Program;
use crate::facts::network;

/// What stands between an address' scope and its label.
const FLAGS: [&str; 9] = [
    "secondary",
    "tentative",
    "deprecated",
    "home",
    "nodad",
    "mngtmpaddr",
    "noprefixroute",
    "autojoin",
    "dynamic",
];

/// An address of a card, and how it is there.
pub(crate) type OnCard = (String, AddressSettings);

/// Looks whether the address is on the card.
///
/// # Errors
/// Fails where `ip` does. A card that is not there is no error.
pub fn observe_alias_off(goal: &AliasOff, _host: &Host) -> Result<AliasSeen, String> {
    let wanted = goal.address.to_string();
    let there = addresses(&goal.interface)?.into_iter().find(|(address, _)| *address == wanted);
    Ok(AliasSeen { there: there.map(|(_, settings)| settings) })
}

/// Looks whether the address can come back to the card.
///
/// # Errors
/// Fails where `ip` does.
pub fn observe_alias_on(goal: &AliasOn, _host: &Host) -> Result<AliasOnSeen, String> {
    let own = format!("{}/", goal.address.addr());
    let there = addresses(&goal.interface)?.iter().any(|(address, _)| address.starts_with(&own));
    Ok(AliasOnSeen { card: card(&goal.interface).exists(), there })
}

fn card(name: &str) -> std::path::PathBuf {
    Path::new("/sys/class/net").join(name)
}

/// Takes the address off the card. Connections with it go on, since it is on the host elsewhere by then.
///
/// # Errors
/// Fails where it is nowhere else: whoever came by that address would be cut off.
pub fn perform_alias_off(
    goal: &AliasOff,
    _seen: &AliasSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let own = goal.address.addr();
    let elsewhere = network::links()?.addresses.into_iter().find(|on| {
        on.address.addr() == own
            && !(on.interface == goal.interface && on.address == goal.address)
            && on.address.prefix_len() == 32
    });
    let Some(elsewhere) = elsewhere else {
        return Err(format!(
            "{} is left on {}: {own} is on no other interface of this host, and whoever came by it would be cut off. \
             Run kubewan again, which puts it there first",
            goal.address, goal.interface
        ));
    };
    let used =
        Program::new("ip").args(["-4", "neighbour", "show", "dev", &goal.interface]).stdout()?
            + &Program::new("ip").args(["-4", "route", "show", "table", "all"]).stdout()?;
    if let Some(by) = used_by(&used, goal) {
        return Err(format!(
            "{} is left on {}: somebody is reached in that network after all (`{by}`). If it is none of this host's, say \
             `ip address del` yourself",
            goal.address, goal.interface
        ));
    }
    (cx.progress)(&format!("{own} stays on {}", elsewhere.interface));
    let address = goal.address.to_string();
    Program::new("ip").args(["address", "del", &address, "dev", &goal.interface]).stdout().map(drop)
}

/// A neighbour that has answered, or a route by a router, in the network of an address on its card: lines of `ip neighbour` (`A lladdr
/// …`) and of `ip route` (`… via A dev CARD`).
fn used_by<'a>(lines: &'a str, goal: &AliasOff) -> Option<&'a str> {
    let network = goal.address.trunc();
    let is_in = |word: Option<&str>| {
        let address = word.and_then(|word| word.parse::<std::net::Ipv4Addr>().ok());
        address.is_some_and(|address| address != goal.address.addr() && network.contains(&address))
    };
    let after = |words: &[&'a str], key: &str| -> Option<&'a str> {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).copied()
    };
    lines.lines().map(str::trim).find(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answers = words.contains(&"lladdr") && is_in(words.first().copied());
        let leads = after(&words, "dev") == Some(&goal.interface) && is_in(after(&words, "via"));
        answers || leads
    })
}

/// Puts the address back.
///
/// # Errors
/// Fails where `ip` does.
pub fn perform_alias_on(
    goal: &AliasOn,
    _seen: &AliasOnSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Program::new("ip").args(["address", "add"]).args(goal.arguments()).stdout().map(drop)
}

/// IPv4 addresses of a card; none where there is no such card. Every `ip` knows this way of printing them.
fn addresses(interface: &str) -> Result<Vec<OnCard>, String> {
    if !card(interface).exists() {
        return Ok(Vec::new());
    }
    let show = ["-oneline", "-4", "address", "show", "dev", interface];
    Ok(parse(&Program::new("ip").args(show).stdout()?))
}

/// `2: eth0    inet 198.51.100.10/24 metric 100 brd 198.51.100.255 scope global secondary dynamic eth0:1\       valid_lft
/// 86071sec preferred_lft forever` (`print_addrinfo` in iproute2's ip/ipaddress.c): the label is the first line's last word,
/// after the flags. An address with a peer is none of ours.
pub(crate) fn parse(text: &str) -> Vec<OnCard> {
    text.lines().filter_map(address).collect()
}

fn address(line: &str) -> Option<OnCard> {
    let (first, lifetimes) = line.split_once('\\').unwrap_or((line, ""));
    let words: Vec<&str> = first.split_whitespace().skip(2).collect();
    let ["inet", address, rest @ ..] = words.as_slice() else { return None };
    if rest.contains(&"peer") {
        return None;
    }
    let after = |words: &[&str], key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).map(|word| (*word).to_owned())
    };
    let at = rest.iter().position(|word| *word == "scope")?;
    let scope = (*rest.get(at + 1)?).to_owned();
    let label = rest[at + 2..].last().filter(|word| !FLAGS.contains(*word));
    let lifetimes: Vec<&str> = lifetimes.split_whitespace().collect();
    let seconds = |key: &str| after(&lifetimes, key)?.strip_suffix("sec")?.parse::<u32>().ok();
    let settings = AddressSettings {
        label: label.map(|label| (*label).to_owned()).unwrap_or_default(),
        scope,
        broadcast: after(rest, "brd"),
        metric: after(rest, "metric").and_then(|metric| metric.parse().ok()),
        no_prefix_route: rest.contains(&"noprefixroute"),
        valid_s: seconds("valid_lft"),
        preferred_s: seconds("preferred_lft"),
    };
    Some(((*address).to_owned(), settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As iproute2 4.11, 6.1 and 6.15 print it.
    #[test]
    fn an_address_that_somebody_is_reached_by_stays() {
        let goal =
            AliasOff { interface: "eth0".into(), address: "198.51.100.10/24".parse().unwrap() };
        let by = |lines: &'static str| used_by(lines, &goal);
        assert!(by("198.51.100.7 lladdr 02:00:00:00:00:01 STALE\n").is_some());
        assert_eq!(by("198.51.100.7 FAILED\n10.0.4.1 lladdr 02:00:00:00:00:01 REACHABLE\n"), None);
        assert!(by("203.0.113.0/24 via 198.51.100.1 dev eth0 proto static\n").is_some());
        assert_eq!(
            by("default via 10.0.4.1 dev eth0\n192.0.2.0/24 via 198.51.100.1 dev wg0\n"),
            None
        );
        assert_eq!(
            by("198.51.100.0/24 dev eth0 proto kernel scope link src 198.51.100.10\n"),
            None
        );
    }

    #[test]
    fn reads_how_an_address_is_on_its_card() {
        let text = "2: eth0    inet 10.0.4.7/24 metric 100 brd 10.0.4.255 scope global dynamic eth0\\       valid_lft \
             86071sec preferred_lft 86000sec\n\
             2: eth0    inet 198.51.100.10/24 brd 198.51.100.255 scope global eth0:1\\       valid_lft forever \
             preferred_lft forever\n\
             2: eth0    inet 203.0.113.9/24 scope link secondary noprefixroute\\       valid_lft forever preferred_lft forever\n\
             7: tun0    inet 10.9.0.1 peer 10.9.0.2/32 scope global tun0\\       valid_lft forever preferred_lft forever\n";
        let read = parse(text);
        let plain = AddressSettings { scope: "global".into(), ..AddressSettings::default() };
        let expected = [
            (
                "10.0.4.7/24".to_owned(),
                AddressSettings {
                    label: "eth0".into(),
                    broadcast: Some("10.0.4.255".into()),
                    metric: Some(100),
                    valid_s: Some(86071),
                    preferred_s: Some(86000),
                    ..plain.clone()
                },
            ),
            (
                "198.51.100.10/24".to_owned(),
                AddressSettings {
                    label: "eth0:1".into(),
                    broadcast: Some("198.51.100.255".into()),
                    ..plain.clone()
                },
            ),
            (
                "203.0.113.9/24".to_owned(),
                AddressSettings { scope: "link".into(), no_prefix_route: true, ..plain },
            ),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn this_machine_has_a_loopback() {
        if !crate::command::exists("ip") {
            return;
        }
        let host = Host::at("/nonexistent");
        let address = "127.0.0.1/8".parse().unwrap();
        let goal = AliasOff { interface: "lo".into(), address };
        assert_eq!(observe_alias_off(&goal, &host).unwrap().there.unwrap().scope, "host");
        let gone = AliasOff { interface: "nosuch0".into(), address };
        assert_eq!(observe_alias_off(&gone, &host), Ok(AliasSeen::default()));
        let settings = AddressSettings::default();
        let back = AliasOn { interface: "lo".into(), address, settings };
        assert_eq!(observe_alias_on(&back, &host), Ok(AliasOnSeen { card: true, there: true }));
    }
}
