//! Readers of what hosts say about themselves.

use std::net::IpAddr;

use super::text;
use crate::act::{alias, firewall, system, unit};
use crate::facts::kubelet::{flag_in_text, flag_value, split_cmdline, with_flag, without_flag};
use crate::facts::{kernel, kubernetes, memory, names, network as net, os, runtime, systemd};
use crate::relay;

/// Links, addresses, routes and name servers: `ip -json` and `ip`, `/proc/net/route`, `resolv.conf`.
pub fn network(bytes: &[u8]) {
    let said = text(bytes);
    if let Ok(links) = net::parse_links(&said) {
        let on_a_link = |name: &str| links.interfaces.iter().any(|link| link.name == name);
        assert!(links.addresses.iter().all(|address| on_a_link(&address.interface)));
    }
    if let Ok(routes) = net::parse_routes(&said) {
        assert!(routes.default.is_none_or(|route| !route.interface.is_empty()));
        for (index, route) in routes.others.iter().enumerate() {
            assert!(!routes.others[..index].contains(route), "{route:?} twice");
        }
    }
    let plain = net::links_of(net::text::parse_links(&said, &said));
    assert!(plain.interfaces.iter().all(|link| !link.name.contains(char::is_whitespace)));
    assert!(net::text::parse_routes(&said).len() <= said.lines().count());
    let on_card = alias::parse(&said);
    assert!(on_card.iter().all(|(address, _)| !address.contains(char::is_whitespace)));
    for each in net::files::parse("f", &said) {
        assert!(said.lines().nth(each.line as usize - 1).is_some(), "{each:?}");
    }
    assert!(net::files::parse_neighbours(&said).len() <= said.lines().count());
    let resolvers = net::parse_resolvers(&said);
    assert!(resolvers.len() <= said.lines().count());
    if let Ok(seen) = unit::parse_link(&said) {
        assert!(seen.exists || seen == Default::default());
    }
    if let Some(name) = firewall::default_route_interface(&said) {
        assert!(!name.is_empty() && !name.contains(char::is_whitespace));
    }
}

/// `/proc/net/tcp` and its like.
pub fn sockets(bytes: &[u8]) {
    let said = text(bytes);
    for state in ["0A", "07"] {
        let found = crate::facts::sockets::parse(&said, state);
        assert!(found.len() <= said.lines().count());
    }
    for word in said.split([' ', ':']) {
        let digits = match crate::facts::sockets::parse_address(word) {
            Some(IpAddr::V4(_)) => 8,
            Some(IpAddr::V6(_)) => 32,
            None => continue,
        };
        let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(word.len() == digits && hex, "`{word}` is no address");
    }
}

/// `systemctl show`.
pub fn units(bytes: &[u8]) {
    let said = text(bytes);
    let all = systemd::parse(&said);
    for line in said.lines() {
        let Some((_, names)) = line.split_once('=') else { continue };
        for unit in names.split_whitespace().map(|name| all.get(name)) {
            assert!(!unit.masked() || unit.loaded());
            assert!(unit.main_pid() != Some(0));
            assert!(unit.files().iter().all(|file| file.starts_with('/')));
        }
    }
    let block = unit::parse_properties(&said);
    assert!(block.len() <= said.lines().count());
    let get = |key: &str| block.get(key).map(String::as_str).unwrap_or_default();
    relay::state_of(get("LoadState"), get("ActiveState"), get("Result"), get("Description"));
    let swaps = memory::swap_units(&all);
    assert!(swaps.iter().all(|name| name.ends_with(".swap")));
}

/// Files of the host: os-release, meminfo, fstab and more.
pub fn host_files(bytes: &[u8]) {
    let said = text(bytes);
    assert!(crate::seen::count(bytes) <= bytes.len());
    kernel::shows_link(&said, "kw-veth");
    let release = kubewan_core::facts::assignments(&said);
    assert!(release.keys().all(|key| !key.starts_with('#')));
    memory::mem_total(&said);
    said.lines().map(memory::count_cpus).for_each(drop);
    assert_eq!(memory::parse_swaps(&said).len(), system::active_swaps(&said).len());
    // Facts and the goal have to be of one mind, or a host is told of swap that no step takes away.
    let trimmed = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|line| line.trim().to_owned()).collect()
    };
    assert_eq!(trimmed(memory::parse_fstab(&said)), system::fstab_swaps(&said), "in fstab");
    let without = system::fstab_without_swap(&said);
    assert_eq!(system::fstab_swaps(&without), Vec::<String>::new(), "left in fstab");
    assert_eq!(without.lines().count(), said.lines().count());
    for (before, after) in said.split_inclusive('\n').zip(without.split_inclusive('\n')) {
        assert!(after.ends_with(before), "{before:?} became {after:?}");
    }
    kernel::lists(&said, "br_netfilter");
    system::is_builtin(&said, "br_netfilter");
    names::parse_cloud(&[said.clone(), said.clone()]);
    said.lines().map(system::says_enforcing).for_each(drop);
    for key in said.split_whitespace() {
        if let Ok(path) = system::sysctl_path(key) {
            let up = std::path::Path::new(&path).components();
            assert!(
                path.starts_with("/proc/sys/") && up.into_iter().all(|c| c.as_os_str() != "..")
            );
        }
    }
}

/// Versions, as each program prints its own.
pub fn versions(bytes: &[u8]) {
    let said = text(bytes);
    os::systemd_version(&said);
    let containerd = runtime::containerd_version(&said);
    assert!(!containerd.contains(char::is_whitespace));
    if let Some(version) = kubernetes::last_version(&said) {
        assert!(!version.contains(char::is_whitespace));
    }
    if let Some(server) = kubernetes::server_of(&said) {
        assert_eq!(server.trim(), server);
    }
}

/// The kubelet's arguments in unit and environment files: a flag that is set is there, one that is taken out is not,
/// and the others stay.
pub fn kubelet_flags(bytes: &[u8]) {
    let (name, value) = ("node-ip", "198.51.100.10");
    let said = text(bytes);
    let args = split_cmdline(bytes);
    flag_value(&args, name);
    let without = without_flag(&said, name);
    assert_eq!(flag_in_text(&without, name), None, "{said:?} → {without:?}");
    assert_eq!(without_flag(&without, name), without, "taken out twice");
    for other in ["v", "max-pods"] {
        let (before, after) = (flag_in_text(&said, other), flag_in_text(&without, other));
        // A flag without a value of its own takes the next word, which may be another one now.
        let own = |value: &String| {
            let flag = format!("--{other}={value}");
            said.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).any(|w| w == flag)
        };
        if before.as_ref().is_none_or(own) {
            assert_eq!(before, after, "--{other}: {said:?} → {without:?}");
        }
    }
    let with = with_flag(&said, name, value);
    assert_eq!(flag_in_text(&with, name).as_deref(), Some(value), "{said:?} → {with:?}");
    assert_eq!(with_flag(&with, name, value), with, "set twice");
}
