//! What a provider's image has for its network stack: the one network card with a fixed address. Pure.

use crate::image::NetworkStack;
use crate::topology::{Cloud, Host, Nat};

/// A file of a host: its path, its text, its mode.
pub(crate) type StackFile = (&'static str, String, u32);

/// The files from which a host's network stack configures its network card.
pub(crate) fn files(cloud: &Cloud, host: &Host) -> Vec<StackFile> {
    let (address, gateway) = (host.private, cloud.gateway.address);
    // Without NAT the router is no neighbour by its address.
    let on_link = cloud.nat == Nat::None;
    match host.image.network {
        NetworkStack::Lab => Vec::new(),
        NetworkStack::Networkd => {
            // Without IPv6, which the clouds haven't, or the card would be waited for.
            let mut text = format!(
                "[Match]\nName=eth0\n\n[Network]\nAddress={address}\nLinkLocalAddressing=no\n\
                 IPv6AcceptRA=no\n"
            );
            text += &format!("\n[Route]\nGateway={gateway}\n");
            if on_link {
                text += "GatewayOnLink=yes\n";
            }
            vec![("etc/systemd/network/20-eth0.network", text, 0o644)]
        }
        NetworkStack::Netplan => {
            let on_link = if on_link { ", on-link: true" } else { "" };
            let text = format!(
                "network:
  version: 2
  renderer: networkd
  ethernets:
    eth0:
      addresses: [{address}]
      accept-ra: false
      link-local: []
      routes: [{{ to: default, via: {gateway}{on_link} }}]
"
            );
            vec![("etc/netplan/50-cloud-init.yaml", text, 0o600)]
        }
        NetworkStack::Ifupdown => {
            let route = if on_link {
                format!("    up ip route add default via {gateway} dev eth0 onlink\n")
            } else {
                format!("    gateway {gateway}\n")
            };
            let text = format!(
                "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n    \
                 address {address}\n{route}"
            );
            vec![("etc/network/interfaces", text, 0o644)]
        }
        NetworkStack::NetworkManager => {
            let mut text = format!(
                "[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n\n[ipv4]\n\
                 method=manual\naddress1={address}\n"
            );
            text += &if on_link {
                format!("route1={gateway}/32\nroute2=0.0.0.0/0,{gateway}\n")
            } else {
                format!("gateway={gateway}\n")
            };
            text += "\n[ipv6]\nmethod=disabled\n";
            vec![("etc/NetworkManager/system-connections/eth0.nmconnection", text, 0o600)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Topology, parse};

    #[test]
    fn every_stack_has_the_address_and_the_router() {
        for stack in ["networkd", "netplan", "ifupdown", "network-manager"] {
            let text = format!(
                "clouds:
  - {{ name: A, subnet: 10.0.4.0/24, hosts: [{{ name: a, address: 10.0.4.7, network: {stack} }}] }}
  - {{ name: B, nat: none, hosts: [{{ name: b, network: {stack} }}] }}
"
            );
            let lab = Topology::lay_out("lab", &parse("t", &text).unwrap(), &[]).unwrap();
            let text = |cloud: &Cloud| files(cloud, &cloud.hosts[0])[0].1.clone();
            let behind = text(&lab.clouds[0]);
            assert!(behind.contains("10.0.4.7/24") && behind.contains("10.0.4.1"), "{behind}");
            assert!(!behind.contains("198.51.100"), "the public address is on no card: {behind}");
            let bare = text(&lab.clouds[1]);
            assert!(bare.contains("198.51.100.20/32") && bare.contains("169.254.1.3"), "{bare}");
        }
    }
}
