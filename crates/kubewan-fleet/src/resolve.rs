//! Addresses of hosts that the inventory names by DNS. The product carries no DNS: the operator's own system resolves,
//! with its hosts file and its resolvers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;

use kubewan_core::finding::Finding;
use kubewan_core::inventory::Host;

/// The public IPv4 address of every host, by its name.
///
/// # Errors
/// Fails with a finding for every name without one.
pub fn addresses(hosts: &[Host]) -> Result<BTreeMap<String, Ipv4Addr>, Vec<Finding>> {
    let mut addresses = BTreeMap::new();
    let mut findings = Vec::new();
    for host in hosts {
        match address(&host.address) {
            Ok(address) => {
                addresses.insert(host.name.clone(), address);
            }
            Err(said) => findings.push(Finding::error(
                "address-unknown",
                &host.name,
                format!("its address {} can't be resolved here: {said}", host.address),
                "correct `address` in the inventory, or give an IPv4 address",
            )),
        }
    }
    if findings.is_empty() { Ok(addresses) } else { Err(findings) }
}

fn address(text: &str) -> Result<Ipv4Addr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let output = Command::new("getent")
        .args(["ahostsv4", text])
        .output()
        .map_err(|error| format!("getent can't be run: {error}"))?;
    first_of(&String::from_utf8_lossy(&output.stdout)).ok_or("no IPv4 address".into())
}

/// getent sorts as `getaddrinfo` does, so the first is the one that programs take.
pub(crate) fn first_of(output: &str) -> Option<Ipv4Addr> {
    output.lines().find_map(|line| line.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getents_lines_are_read() {
        let output = "198.51.100.7    STREAM host.example\n198.51.100.7    DGRAM  \n";
        assert_eq!(first_of(output), Some(Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!(first_of(""), None);
    }

    #[test]
    fn an_address_needs_no_resolver() {
        assert_eq!(address("192.0.2.1"), Ok(Ipv4Addr::new(192, 0, 2, 1)));
    }
}
