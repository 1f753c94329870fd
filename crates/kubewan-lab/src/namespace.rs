//! Network namespaces and what is plugged into them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::call::Call;
use crate::topology::{self, Cloud, Host, Topology};
use crate::{LabError, network};

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
/// What the names of all labs' namespaces begin with.
const NAME_PREFIX: &str = "kwl-";

/// The file that stands for a namespace.
pub(crate) fn path(namespace: &str) -> PathBuf {
    Path::new(NAMESPACES).join(namespace)
}

/// Makes the Internet, the operator's link and every cloud; hosts come with [`make_host`].
pub(crate) fn make_internet(lab: &Topology) -> Result<(), LabError> {
    let internet = lab.internet();
    make(&internet, true)?;
    ip_batch(None, &network::operator(lab))?;
    ip_batch(Some(&internet), &network::internet(lab))?;
    for cloud in &lab.clouds {
        let namespace = &cloud.namespace;
        make(namespace, true)?;
        ip_batch(Some(namespace), &network::cloud(lab, cloud))?;
        ip_batch(Some(&internet), &network::cloud_uplink(cloud))?;
        nft(namespace, &network::cloud_rules(cloud))?;
    }
    Ok(())
}

/// Makes a host's namespace with nothing but its network card.
pub(crate) fn make_host(cloud: &Cloud, host: &Host) -> Result<(), LabError> {
    make(&host.namespace, false)?;
    ip_batch(Some(&cloud.namespace), &network::cable(host))?;
    ip_batch(Some(&host.namespace), &network::network_card(cloud, host))?;
    // Cards of rented servers know nothing of tunnels: what leaves them has all its checksums. A veth would leave the
    // checksum inside a VXLAN packet to whoever comes last, and the kernel's NAT then spoils the outer one
    // (`inet_proto_csum_replace4` in net/core/utils.c takes it for unfinished too).
    inside(&host.namespace, "ethtool", format!("have the card of {} finish checksums", host.name))
        .args(["-K", "eth0", "tx", "off"])
        .run()
        .map(drop)
}

/// Removes a host's namespace and with it everything the host had made in it.
pub(crate) fn remove_host(cloud: &Cloud, host: &Host) -> Result<(), LabError> {
    // The cable first: a namespace lives on while something holds it, and then so would a link.
    let attempt = format!("unplug {}", host.name);
    let _ = Call::new("ip", attempt)
        .args(["-n", &cloud.namespace, "link", "del", &host.cable()])
        .succeeds();
    remove(&host.namespace)
}

/// Removes a namespace if it is there.
pub(crate) fn remove(namespace: &str) -> Result<(), LabError> {
    if !path(namespace).exists() {
        return Ok(());
    }
    Call::new("ip", format!("remove the namespace {namespace}"))
        .args(["netns", "del", namespace])
        .run()
        .map(drop)
}

/// The namespaces of a lab that are there; of all labs where none is named.
pub(crate) fn existing(lab: Option<&str>) -> Vec<String> {
    let prefix = lab.map_or_else(|| NAME_PREFIX.to_owned(), topology::prefix);
    let entries = std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// Removes the operator's link into a lab, and with it the routes over it.
pub(crate) fn remove_operator_link(lab: &str) {
    let link = topology::operator_link(lab);
    let _ = Call::new("ip", "remove the operator's link").args(["link", "del", &link]).succeeds();
}

/// Gives the Internet an address more, which hosts and operator reach.
pub(crate) fn add_site(lab: &Topology, address: Ipv4Addr) -> Result<PathBuf, LabError> {
    let internet = lab.internet();
    ip_batch(Some(&internet), &network::site(address))?;
    ip_batch(None, &network::way_to_site(lab, address))?;
    Ok(path(&internet))
}

/// Cuts a cloud off the Internet.
pub(crate) fn cut(cloud: &Cloud) -> Result<(), LabError> {
    if is_cut(cloud) {
        return Ok(());
    }
    nft(&cloud.namespace, &network::cut_rules())
}

/// Undoes [`cut`].
pub(crate) fn heal(cloud: &Cloud) -> Result<(), LabError> {
    if !is_cut(cloud) {
        return Ok(());
    }
    nft(&cloud.namespace, &format!("delete table ip {}\n", network::CUT_TABLE))
}

/// Has a cloud's own firewall drop what comes from outside to ports, as `6443/tcp`, and to no others.
pub(crate) fn filter(cloud: &Cloud, closed: &[String]) -> Result<(), LabError> {
    let table = network::FILTER_TABLE;
    nft(&cloud.namespace, &format!("table ip {table} {{ }}\ndelete table ip {table}\n"))?;
    if closed.is_empty() { Ok(()) } else { nft(&cloud.namespace, &network::filter_rules(closed)) }
}

/// Whether a cloud is cut off the Internet.
pub(crate) fn is_cut(cloud: &Cloud) -> bool {
    inside(&cloud.namespace, "nft", "look for a cut")
        .args(["list", "table", "ip", network::CUT_TABLE])
        .succeeds()
}

/// Whether a cloud's own firewall drops anything.
pub(crate) fn is_filtered(cloud: &Cloud) -> bool {
    inside(&cloud.namespace, "nft", "look for a filter")
        .args(["list", "table", "ip", network::FILTER_TABLE])
        .succeeds()
}

/// How many packets a cloud has dropped for their source address.
pub(crate) fn spoofed(cloud: &Cloud) -> Result<u64, LabError> {
    let attempted = format!("read how many packets cloud {} dropped", cloud.name);
    let listed = inside(&cloud.namespace, "nft", attempted)
        .args(["list", "counter", "ip", network::CLOUD_TABLE, network::SPOOF_COUNTER])
        .run()?;
    Ok(packets(&listed).unwrap_or(0))
}

/// A program inside a namespace, with this machine's files.
pub(crate) fn inside(namespace: &str, program: &str, attempted: impl Into<String>) -> Call {
    Call::new("ip", attempted).args(["netns", "exec", namespace, program])
}

fn make(namespace: &str, forwards: bool) -> Result<(), LabError> {
    Call::new("ip", format!("make the namespace {namespace}"))
        .args(["netns", "add", namespace])
        .next("`kubewan lab down` removes what an earlier lab left")
        .run()?;
    // A new namespace starts with this machine's settings, which Docker for one changes.
    let forward = format!("net.ipv4.ip_forward={}", u8::from(forwards));
    inside(namespace, "sysctl", format!("set forwarding in {namespace}"))
        .args(["-q", "-w", &forward])
        .run()?;
    if forwards {
        // Neighbours in a cloud talk over its switch, which is no router and filters nothing; packets come by
        // one link and leave by another; and no router tells hosts of a shorter way.
        for setting in [
            "net.bridge.bridge-nf-call-iptables=0",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv4.conf.all.send_redirects=0",
            "net.ipv4.conf.default.send_redirects=0",
        ] {
            let attempt = format!("set {setting} in {namespace}");
            let _ = inside(namespace, "sysctl", attempt).args(["-q", "-w", setting]).succeeds();
        }
    }
    Ok(())
}

pub(crate) fn ip_batch(namespace: Option<&str>, lines: &[String]) -> Result<(), LabError> {
    let place = namespace.unwrap_or("this machine");
    let mut call = Call::new("ip", format!("set up the network of {place}"));
    if let Some(namespace) = namespace {
        call = call.args(["-n", namespace]);
    }
    let mut input = lines.join("\n");
    input.push('\n');
    call.args(["-batch", "-"]).input(input).run().map(drop)
}

pub(crate) fn nft(namespace: &str, rules: &str) -> Result<(), LabError> {
    inside(namespace, "nft", format!("set the rules of {namespace}"))
        .args(["-f", "-"])
        .input(rules)
        .run()
        .map(drop)
}

/// Reads `packets N bytes M`.
fn packets(listed: &str) -> Option<u64> {
    let mut words = listed.split_whitespace();
    words.find(|word| *word == "packets")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read() {
        let listed = "table ip cloud {\n\tcounter spoofed {\n\t\tpackets 3 bytes 252\n\t}\n}\n";
        assert_eq!(packets(listed), Some(3));
        assert_eq!(packets("table ip cloud {}"), None);
    }
}
