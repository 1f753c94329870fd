//! Reads a topology file: what is wrong with it is said with its line.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_saphyr::{Location, Spanned};

use super::path::OPERATOR;
use super::spec::{CloudSpec, HostSpec, Nat, Spec};
use super::{HOSTS_MAX, PUBLIC_RANGES, Ports, Subnet};

/// The largest file that is read; eight hosts with every key take a tenth of it.
const BYTES_MAX: usize = 1 << 16;
/// The longest name of a cloud: interfaces are called after it, and the kernel takes 15 bytes.
const CLOUD_NAME_MAX: usize = 8;
/// The longest name of a host: a machine's name has the lab's before it and may have 64 bytes.
const HOST_NAME_MAX: usize = 32;
/// [`HOSTS_MAX`] in words.
const SIZE: &str = "a lab has 1 to 8";

/// Networks that are no cloud's to have (RFC 6890), and what for.
const SPECIAL: [(Subnet, &str); 4] = [
    (Subnet::new(Ipv4Addr::new(0, 0, 0, 0), 8), "no host's"),
    (Subnet::new(Ipv4Addr::new(127, 0, 0, 0), 8), "every host's own"),
    (Subnet::new(Ipv4Addr::new(169, 254, 0, 0), 16), "for links; the lab's routers use it"),
    (Subnet::new(Ipv4Addr::new(224, 0, 0, 0), 3), "for multicast, or reserved"),
];

/// Reads a topology file. `name` is only for messages.
///
/// # Errors
/// Says what is wrong, with its line and the line itself.
pub fn parse(name: &str, text: &str) -> Result<Spec, String> {
    let wrong = |fault: &Fault| said(name, text, fault);
    if text.len() > BYTES_MAX {
        let message = format!("it has {} bytes, {BYTES_MAX} are read", text.len());
        return Err(wrong(&Fault::new(Location::UNKNOWN, message)));
    }
    let spec: Spec = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let message = error.without_snippet().to_string();
        // The reader's own place is for people too, and would stand there twice.
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        wrong(&Fault::new(at, message.split(" at line ").next().unwrap_or_default()))
    })?;
    check(&spec).map_err(|fault| wrong(&fault))?;
    Ok(spec)
}

/// Something that is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    at: Location,
    message: String,
}

impl Fault {
    fn new(at: Location, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    fn about<T>(what: &Spanned<T>, message: impl Into<String>) -> Self {
        Self::new(what.referenced, message)
    }
}

fn said(name: &str, text: &str, fault: &Fault) -> String {
    if fault.at == Location::UNKNOWN || fault.at.line() == 0 {
        return format!("{name}: {}", fault.message);
    }
    let (line, column) = (fault.at.line(), fault.at.column());
    let index = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let source = text.lines().nth(index).unwrap_or_default();
    format!("{name}:{line}:{column}: {}\n  {line} | {source}", fault.message)
}

/// What types alone don't say.
fn check(spec: &Spec) -> Result<(), Fault> {
    let mut hosts = spec.clouds.iter().flat_map(|cloud| &cloud.hosts);
    let none = || Fault::new(Location::UNKNOWN, format!("it has 0 hosts: {SIZE}"));
    hosts.clone().next().ok_or_else(none)?;
    if let Some(beyond) = hosts.nth(HOSTS_MAX) {
        let count = HOSTS_MAX + 1 + hosts.count();
        return Err(Fault::about(&beyond.name, format!("it has {count} hosts: {SIZE}")));
    }
    let mut names = BTreeSet::from([OPERATOR]);
    for cloud in &spec.clouds {
        name(&cloud.name, CLOUD_NAME_MAX, false, &mut names)?;
        if cloud.hosts.is_empty() {
            return Err(Fault::about(&cloud.name, "this cloud has no hosts"));
        }
        for host in &cloud.hosts {
            name(&host.name, HOST_NAME_MAX, true, &mut names)?;
        }
        check_cloud(cloud)?;
    }
    check_paths(spec)
}

fn name<'a>(
    name: &'a Spanned<String>,
    longest: usize,
    dashes: bool,
    taken: &mut BTreeSet<&'a str>,
) -> Result<(), Fault> {
    let text = name.value.as_str();
    let allowed = |byte: u8| match byte {
        b'-' => dashes,
        // DNS names, which hosts' are, know no capitals.
        byte if dashes => byte.is_ascii_lowercase() || byte.is_ascii_digit(),
        byte => byte.is_ascii_alphanumeric(),
    };
    let sound = text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-');
    if text.is_empty() || text.len() > longest || !sound {
        let of = if dashes { "small letters, digits and `-`" } else { "letters and digits" };
        let message = format!("`{text}` is no name here: 1 to {longest} {of}");
        return Err(Fault::about(name, message));
    }
    if !taken.insert(text) {
        return Err(Fault::about(name, format!("the name `{text}` is taken")));
    }
    Ok(())
}

fn check_cloud(cloud: &CloudSpec) -> Result<(), Fault> {
    let nat = cloud.nat;
    match (&cloud.subnet, nat) {
        (Some(subnet), Nat::None) => {
            return Err(Fault::about(
                subnet,
                "with `nat: none` the public addresses are on the network cards, and there is no subnet",
            ));
        }
        (None, Nat::None) => {
            if let Some(hairpin) = cloud.hairpin.as_ref().filter(|hairpin| hairpin.value) {
                return Err(Fault::about(hairpin, "with `nat: none` there is nothing to hairpin"));
            }
        }
        (None, _) => {
            let message = "`subnet` is missing: its private network, as 10.0.4.0/24";
            return Err(Fault::about(&cloud.name, message));
        }
        (Some(subnet), _) => check_addresses(cloud, subnet)?,
    }
    if let Some(ports) = cloud.ports.as_ref().filter(|_| nat.shares_an_address()) {
        let message = "this NAT lets nothing in by itself: say `forward` at a host";
        return Err(Fault::about(ports, message));
    }
    let mut forwarded = BTreeSet::new();
    for host in &cloud.hosts {
        check_host(cloud, host)?;
        for ports in &host.forward {
            if !forwarded.insert(ports.value) {
                let message = format!("{} goes to another host already", ports.value);
                return Err(Fault::about(ports, message));
            }
        }
    }
    Ok(())
}

fn check_addresses(cloud: &CloudSpec, subnet: &Spanned<String>) -> Result<(), Fault> {
    let text = &subnet.value;
    let parsed = Subnet::parse(text).filter(|s| (8..=29).contains(&s.prefix) && *s == s.network());
    let Some(network) = parsed else {
        let message = format!("`{text}` is no subnet: write it as 10.0.4.0/24, /8 to /29");
        return Err(Fault::about(subnet, message));
    };
    let of = |(special, what): &(Subnet, &'static str)| special.overlaps(network).then_some(*what);
    let public = PUBLIC_RANGES.iter().any(|range| range.overlaps(network));
    let special = SPECIAL.iter().find_map(of);
    if let Some(what) = special.or(public.then_some("for the lab's public addresses")) {
        return Err(Fault::about(
            subnet,
            format!("{network} is, or has in it, a range that is {what}"),
        ));
    }
    // The first address is the network's, the last for broadcasts, and one is the router's.
    let room = (1_usize << (32 - network.prefix)) - 3;
    if let Some(beyond) = cloud.hosts.get(room) {
        let message = format!("{network} has room for {room} hosts, and this is one more");
        return Err(Fault::about(&beyond.name, message));
    }
    let mut taken = BTreeSet::from([network.nth(0), network.nth(1), network.last()]);
    for address in cloud.hosts.iter().filter_map(|host| host.address.as_ref()) {
        let value = address.value;
        if !network.overlaps(Subnet::new(value, 32)) {
            return Err(Fault::about(address, format!("{value} is not in {network}")));
        }
        if !taken.insert(value) {
            let message = format!(
                "{value} is another host's, the router's ({}) or for broadcasts",
                network.nth(1)
            );
            return Err(Fault::about(address, message));
        }
    }
    Ok(())
}

fn check_host(cloud: &CloudSpec, host: &HostSpec) -> Result<(), Fault> {
    if let Some(address) = host.address.as_ref().filter(|_| cloud.nat == Nat::None) {
        return Err(Fault::about(address, "with `nat: none` the lab chooses the address"));
    }
    let Some(first) = host.forward.first() else { return Ok(()) };
    if !cloud.nat.shares_an_address() {
        let message =
            "`forward` is for NATs with one address for all hosts; say `ports` at the cloud";
        return Err(Fault::about(first, message));
    }
    match host.forward.iter().find(|ports| !ports.value.is_one()) {
        Some(ports) => Err(Fault::about(ports, "one port, as `2222/tcp`")),
        None => Ok(()),
    }
}

fn check_paths(spec: &Spec) -> Result<(), Fault> {
    let known =
        |name: &str| name == OPERATOR || spec.clouds.iter().any(|cloud| cloud.name.value == name);
    let mut seen = BTreeSet::new();
    for path in &spec.paths {
        let mut ends = path.between.value.clone();
        if let Some(end) = ends.iter().find(|end| !known(end)) {
            let message = format!("there is no cloud `{end}`");
            return Err(Fault::about(&path.between, message));
        }
        ends.sort();
        if ends[0] == ends[1] {
            return Err(Fault::about(&path.between, "a way has two ends"));
        }
        if !seen.insert(ends) {
            return Err(Fault::about(&path.between, "this way is described already"));
        }
        path.path().check().map_err(|message| Fault::about(&path.between, message))?;
    }
    Ok(())
}

/// Whether all its ports are ones that the cloud lets in; used where a whole cloud is looked at.
pub(super) fn lets_in(open: Option<&[Ports]>, wanted: Ports) -> bool {
    open.is_none_or(|open| open.iter().any(|ports| ports.cover(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    const TWO: &str = "\
clouds:
  - name: A
    subnet: 10.0.4.0/24
    hosts: [{ name: master01 }]
  - name: home
    nat: port-restricted
    subnet: 10.0.4.0/24
    hosts:
      - name: node01
        address: 10.0.4.7
        user: admin
        sshPort: 2222
        forward: [2222/tcp]
paths:
  - { between: [home, A], latency: 40ms, loss: 1%, mtu: 1400 }
";

    fn refused(from: &str, to: &str) -> String {
        assert!(TWO.contains(from), "{from}");
        parse("t.yaml", &TWO.replacen(from, to, 1)).unwrap_err()
    }

    #[test]
    fn a_whole_file() {
        let spec = parse("t.yaml", TWO).unwrap();
        assert_eq!(spec.clouds[1].nat, Nat::PortRestricted);
        assert_eq!(spec.clouds[1].hosts[0].forward[0].value, Ports::tcp(2222));
        assert_eq!(spec.paths[0].path().to_string(), "latency 40ms, loss 1%, MTU 1400");
        assert!(spec.clouds[0].spoof_filter && spec.clouds[0].hairpin.is_none());
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_line() {
        let said = refused("40ms", "40");
        assert!(said.starts_with("t.yaml:15:"), "{said}");
        assert!(said.contains("`40` is no latency: write it as `80ms`"), "{said}");
        assert!(said.contains("\n  15 |   - { between: [home, A], latency: 40,"), "{said}");
        let said = refused("sshPort", "sshport");
        assert!(said.starts_with("t.yaml:12:"), "{said}");
        assert!(said.contains("sshport"), "{said}");
        assert!(refused("clouds:", "clouds: {").starts_with("t.yaml:"));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let cases = [
            ("name: home", "name: A", "t.yaml:5:11: the name `A` is taken"),
            ("name: home", "name: my-home", "1 to 8 letters and digits"),
            ("name: node01", "name: Node01", "1 to 32 small letters"),
            ("    subnet: 10.0.4.0/24\n    hosts: [", "    hosts: [", "`subnet` is missing"),
            ("10.0.4.0/24", "10.0.4.7/24", "is no subnet"),
            ("10.0.4.0/24", "10.0.4.0/30", "is no subnet"),
            ("10.0.4.7", "10.0.5.7", "10.0.5.7 is not in 10.0.4.0/24"),
            ("10.0.4.7", "10.0.4.1", "the router's"),
            ("port-restricted", "one-to-one", "say `ports` at the cloud"),
            ("port-restricted", "none", "there is no subnet"),
            ("port-restricted", "open", "t.yaml:6:10: "),
            ("[2222/tcp]", "[20-30/tcp]", "one port"),
            ("hosts: [{ name: master01 }]", "hosts: []", "this cloud has no hosts"),
            ("[home, A]", "[home, B]", "there is no cloud `B`"),
            ("[home, A]", "[A, A]", "a way has two ends"),
            ("mtu: 1400", "mtu: 9000", "the MTU is 9000"),
            ("mtu: 1400", "blackHole: true", "a black hole needs an MTU"),
            ("user: admin", "user: pi", "t.yaml:11:"),
            ("clouds:", "impairment: tc\nclouds:", "t.yaml:1:13: "),
            ("10.0.4.0/24", "198.51.100.0/24", "t.yaml:3:13: 198.51.100.0/24 is, or has in it"),
            ("10.0.4.0/24", "192.0.0.0/8", "the lab's public addresses"),
            ("10.0.4.0/24", "169.254.0.0/24", "the lab's routers use it"),
            ("10.0.4.0/24", "127.0.0.0/8", "every host's own"),
            ("10.0.4.0/24", "0.0.0.0/8", "no host's"),
            ("10.0.4.0/24", "240.1.0.0/16", "reserved"),
            ("sshPort: 2222", "sshPort: 0", "t.yaml:12:"),
            (
                "nat: port-restricted\n    subnet: 10.0.4.0/24",
                "nat: none\n    hairpin: true",
                "t.yaml:7:14: with `nat: none` there is nothing to hairpin",
            ),
            (
                "subnet: 10.0.4.0/24\n    hosts: [{ name: master01 }]",
                "subnet: 10.0.4.0/29\n    hosts: [{ name: a }, { name: b }, { name: c }, { name: d }, { name: e },\n      { name: f }]",
                "t.yaml:5:15: 10.0.4.0/29 has room for 5 hosts",
            ),
            (
                "hosts: [{ name: master01 }]",
                "hosts: [{ name: a }, { name: b }, { name: c }, { name: d }, { name: e }, { name: f },\n      { name: g }, { name: h }, { name: i }]",
                "t.yaml:5:41: it has 10 hosts: a lab has 1 to 8",
            ),
        ];
        for (from, to, must) in cases {
            let said = refused(from, to);
            assert!(said.contains(must), "{from} -> {to}: {said}");
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_one() {
        let page = include_str!("../../../../docs/lab.md");
        let (_, rest) = page.split_once("```yaml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let spec = parse("docs/lab.md", example).unwrap();
        let lab = Topology::lay_out("lab", &spec, &[]).unwrap();
        assert_eq!(lab.hosts().filter(|host| lab.is_reachable(host)).count(), 3);
    }

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../../../docs/lab.md");
        // serde names the keys that it knows in its answer to one that it doesn't.
        for (from, to) in [
            ("  - name: A", "  - x: 1\n    name: A"),
            ("{ name: m", "{ x: 1, name: m"),
            ("{ between", "{ x: 1, between"),
            ("clouds:", "x: 1\nclouds:"),
        ] {
            let said = refused(from, to);
            let (_, keys) = said.split_once("expected one of ").unwrap_or_else(|| panic!("{said}"));
            let keys = keys.lines().next().unwrap_or_default().split(", ");
            for key in keys.map(|key| key.trim_matches(|c: char| !c.is_ascii_alphanumeric())) {
                assert!(page.contains(&format!("| `{key}` | ")), "`{key}` is not in docs/lab.md");
            }
        }
    }

    #[test]
    fn an_empty_file_is_none() {
        assert!(parse("t.yaml", "").is_err());
        assert!(parse("t.yaml", "clouds: []").unwrap_err().contains("it has 0 hosts"));
    }
}
