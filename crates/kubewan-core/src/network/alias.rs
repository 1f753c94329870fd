//! The usual recipe's virtual NIC: the public address on a network card, with the mask of a network that is not there.

use std::net::Ipv4Addr;

use crate::facts::{Facts, InterfaceAddress};

/// The public address of a host beside a private one on a network card, with the mask of a network that is not there. The host
/// looks for its neighbours in that range on its own wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WideAlias<'a> {
    /// The address with its mask, and the card.
    pub on: &'a InterfaceAddress,
    /// The private address beside it.
    pub beside: Ipv4Addr,
    /// No other address of the card is in that network, which the kernel might take away with this one.
    pub is_alone: bool,
}

/// Those of a host whose public address is `own`. Where the router is in that network, or anybody has answered there on this
/// wire, it is one.
pub fn wide(own: Ipv4Addr, facts: &Facts) -> Vec<WideAlias<'_>> {
    if own.is_private() {
        return Vec::new();
    }
    let alias = |on: &'_ InterfaceAddress| -> Option<(Ipv4Addr, bool)> {
        let network = on.address.trunc();
        let mut others = facts.addresses.iter().filter(|other| other.interface == on.interface);
        let beside = others.clone().find(|other| other.address.addr().is_private())?;
        let is_alone = !others
            .any(|other| other.address.addr() != own && network.contains(&other.address.addr()));
        // Sure is it only where everything leaves by the private address beside it: else the kernel may need this one.
        let route = facts.default_route.as_ref().filter(|route| route.interface == on.interface);
        let gateway = route.and_then(|route| route.gateway);
        let by_the_other = gateway.is_some_and(|gateway| beside.address.contains(&gateway));
        let answers = |(interface, address): &(String, Ipv4Addr)| {
            *interface == on.interface && network.contains(address)
        };
        let is_real = gateway.is_some_and(|gateway| network.contains(&gateway))
            || facts.neighbours.iter().any(answers);
        (by_the_other && !is_real).then(|| (beside.address.addr(), is_alone))
    };
    let same = facts.addresses.iter().filter(|on| on.address.addr() == own);
    same.filter(|on| on.address.prefix_len() < 32)
        .filter_map(|on| alias(on).map(|(beside, is_alone)| WideAlias { on, beside, is_alone }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::DefaultRoute;

    fn host(addresses: &[(&str, &str)], gateway: &str) -> Facts {
        let on = |(interface, address): &(&str, &str)| InterfaceAddress {
            interface: (*interface).into(),
            address: address.parse().expect("an address"),
        };
        Facts {
            addresses: addresses.iter().map(on).collect(),
            default_route: Some(DefaultRoute {
                interface: "eth0".into(),
                gateway: gateway.parse().ok(),
            }),
            ..Facts::default()
        }
    }

    fn found(facts: &Facts) -> Vec<String> {
        let own = "198.51.100.10".parse().expect("an address");
        let shown = |a: &WideAlias| format!("{} {} {}", a.on.address, a.beside, a.is_alone);
        wide(own, facts).iter().map(shown).collect()
    }

    #[test]
    fn a_mask_that_no_network_has_is_told_from_one_that_has() {
        let alias = [("eth0", "10.0.4.7/24"), ("eth0", "198.51.100.10/24")];
        let mut facts = host(&alias, "10.0.4.1");
        assert_eq!(found(&facts), ["198.51.100.10/24 10.0.4.7 true"]);
        assert!(found(&host(&alias, "198.51.100.1")).is_empty(), "the router is in it");
        assert!(found(&host(&alias[1..], "10.0.4.1")).is_empty(), "no private address");
        let own = [("eth0", "10.0.4.7/24"), ("eth0", "198.51.100.10/32")];
        assert!(found(&host(&own, "10.0.4.1")).is_empty(), "a mask of its own");
        let more = [&alias[..], &[("eth0", "198.51.100.99/24")]].concat();
        assert_eq!(found(&host(&more, "10.0.4.1")), ["198.51.100.10/24 10.0.4.7 false"]);
        facts.neighbours = vec![("eth1".into(), [198, 51, 100, 1].into())];
        assert_eq!(found(&facts).len(), 1);
        facts.neighbours = vec![("eth0".into(), [198, 51, 100, 1].into())];
        assert!(found(&facts).is_empty(), "somebody answers there");
    }
}
