//! What was seen of packets in front of a host's own firewall, and which ways between hosts that shows. The firewall
//! drops them, since the run has not opened it yet: that they came so far is what counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::ports::{Protocol, Source};
use super::reach::{Measured, Missed, Seen, Way};

/// The first packet of a TCP connection (a SYN, RFC 9293) that came to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Knock {
    /// The host's port.
    pub port: u16,
    /// The address that it came from, which NAT may have changed.
    pub source: Ipv4Addr,
    /// The port that it came from, which most NAT leaves as it is.
    pub source_port: u16,
}

/// What came to a host and was noted in front of its firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overheard {
    /// Names that were said after the word, and the addresses that they came from.
    pub names: Vec<(String, Ipv4Addr)>,
    /// First packets of TCP connections.
    pub knocks: Vec<Knock>,
}

/// What of each host was overheard, or why nothing could be.
pub type Heard = BTreeMap<String, Result<Overheard, String>>;

/// What became of ways that end at a firewall. Each comes with the local port that was knocked from; `known` are the ways
/// that were tried otherwise.
pub fn judged(
    knocked: Vec<(Way, Option<u16>)>,
    heard: &Heard,
    addresses: &BTreeMap<String, Ipv4Addr>,
    known: &[Measured],
) -> Vec<Measured> {
    let everywhere = Addresses::new(heard, addresses, known);
    let judge = |(way, local): (Way, Option<u16>)| {
        let result = match heard.get(&way.to) {
            Some(Ok(here)) => {
                let closed = || Missed::Closed("no packet came as far as its own firewall".into());
                let source = source(&way, local, here, &everywhere);
                source.map(|source| Seen { source: Some(source) }).ok_or_else(closed)
            }
            Some(Err(why)) => Err(Missed::Untried(why.clone())),
            None => Err(Missed::Untried("nobody overheard it".into())),
        };
        (way, result)
    };
    knocked.into_iter().map(judge).collect()
}

/// Where a way's packets came from, of those that came to its end; `None` where none came. A datagram says who sent it. A
/// SYN says nothing: it is told by an address that is known to be a host's, or by the very port that was knocked from.
fn source(
    way: &Way,
    local: Option<u16>,
    here: &Overheard,
    everywhere: &Addresses,
) -> Option<Ipv4Addr> {
    let from = match &way.from {
        Source::Host(name) => Some(name.as_str()),
        Source::Operator | Source::Anyone => None,
    };
    if way.protocol == Protocol::Udp {
        let said = here.names.iter().find(|(name, _)| Some(name.as_str()) == from);
        return said.map(|(_, source)| *source);
    }
    let is_from = |knock: &&Knock| {
        let is_local = Some(knock.source_port) == local;
        let said = |name: &str| {
            here.names.iter().any(|(who, source)| *source == knock.source && who == name)
        };
        let is_known = || {
            everywhere.all.contains(&knock.source)
                || here.names.iter().any(|(_, source)| *source == knock.source)
        };
        match from {
            Some(name) if everywhere.of.contains(&(name, knock.source)) || said(name) => true,
            // Behind a NAT gateway, or the NAT of this host's own provider: an address that nobody knew of.
            Some(_) => is_local && !is_known(),
            // The operator's address is nobody's, or that of hosts that have their NAT in common with him.
            None => is_local || !is_known(),
        }
    };
    let knocks = here.knocks.iter().filter(|knock| knock.port == way.port).filter(is_from);
    knocks.min_by_key(|knock| (Some(knock.source_port) != local, **knock)).map(|knock| knock.source)
}

/// Addresses that hosts' packets come from wherever they go: their own, and those that they were seen by. A private one
/// says something only where it was seen, since two clouds may use the same.
struct Addresses<'a> {
    of: BTreeSet<(&'a str, Ipv4Addr)>,
    all: BTreeSet<Ipv4Addr>,
}

impl<'a> Addresses<'a> {
    fn new(
        heard: &'a Heard,
        addresses: &'a BTreeMap<String, Ipv4Addr>,
        known: &'a [Measured],
    ) -> Addresses<'a> {
        let own = addresses.iter().map(|(name, address)| (name.as_str(), *address));
        let said = heard.values().flatten().flat_map(|at| &at.names);
        let said = said.map(|(name, source)| (name.as_str(), *source));
        let answered = known.iter().filter_map(|(way, result)| match (&way.from, result) {
            (Source::Host(name), Ok(Seen { source: Some(source) })) => {
                Some((name.as_str(), *source))
            }
            _ => None,
        });
        let seen = said.chain(answered).filter(|(_, source)| !source.is_private());
        let of: BTreeSet<_> = own.chain(seen).collect();
        let all = of.iter().map(|(_, source)| *source).collect();
        Addresses { of, all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::reach::ways;
    use crate::samples;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

    /// What is told of the ways to the first host's API, whose knocks came from these ports: 1001 of node01's, 1002 of
    /// node02's, 1000 of the operator's.
    fn api(heard: Overheard, elsewhere: &[(&str, Overheard)]) -> Vec<Result<Ipv4Addr, Missed>> {
        let inventory = samples::inventory(3);
        let addresses = samples::addresses(&inventory);
        let mut ways = ways(&inventory);
        ways.retain(|way| way.to == "master01" && way.port == 6443);
        let knocked: Vec<_> = ways.into_iter().zip([1000, 1001, 1002].map(Some)).collect();
        let mut all: Heard =
            elsewhere.iter().map(|(at, of)| ((*at).into(), Ok(of.clone()))).collect();
        all.insert("master01".into(), Ok(heard));
        let judged = judged(knocked, &all, &addresses, &[]);
        judged.into_iter().map(|(_, seen)| seen.map(|seen| seen.source.expect("one"))).collect()
    }

    fn knocks(of: &[(Ipv4Addr, u16)]) -> Overheard {
        let knock = |(source, source_port): &(Ipv4Addr, u16)| Knock {
            port: 6443,
            source: *source,
            source_port: *source_port,
        };
        Overheard { names: Vec::new(), knocks: of.iter().map(knock).collect() }
    }

    fn closed<T>() -> Result<T, Missed> {
        Err(Missed::Closed("no packet came as far as its own firewall".into()))
    }

    fn node(index: usize) -> Ipv4Addr {
        let inventory = samples::inventory(3);
        samples::addresses(&inventory)[&inventory.hosts[index].name]
    }

    #[test]
    fn an_own_address_tells_whose_it_is_whatever_the_port() {
        assert_eq!(api(Overheard::default(), &[]), [closed(), closed(), closed()]);
        let both = knocks(&[(node(1), 40000), (node(2), 1002), (node(2), 1002)]);
        assert_eq!(api(both, &[]), [closed(), Ok(node(1)), Ok(node(2))]);
        let other_port = Overheard {
            knocks: vec![Knock { port: 10250, source: node(1), source_port: 1001 }],
            ..Overheard::default()
        };
        assert_eq!(api(other_port, &[]), [closed(), closed(), closed()]);
    }

    #[test]
    fn the_operator_is_whoever_is_no_host() {
        assert_eq!(api(knocks(&[(GATEWAY, 50000)]), &[]), [Ok(GATEWAY), closed(), closed()]);
        // At home, behind one address with a host.
        let shared = knocks(&[(node(1), 1000), (node(1), 1001)]);
        assert_eq!(api(shared, &[]), [Ok(node(1)), Ok(node(1)), closed()]);
        // A host's own SYN, sent again, is not the operator's.
        assert_eq!(api(knocks(&[(node(2), 1002); 3]), &[]), [closed(), closed(), Ok(node(2))]);
    }

    #[test]
    fn an_address_that_nat_put_there_is_known_by_what_was_said_or_by_the_port() {
        let by_port = knocks(&[(GATEWAY, 1001)]);
        assert_eq!(api(by_port, &[])[1..], [Ok(GATEWAY), closed()]);
        let rewritten =
            Overheard { names: vec![("node02".into(), GATEWAY)], ..knocks(&[(GATEWAY, 60001)]) };
        assert_eq!(api(rewritten, &[]), [closed(), closed(), Ok(GATEWAY)]);
        let said =
            |source| Overheard { names: vec![("node02".into(), source)], ..Overheard::default() };
        let elsewhere = [("node01", said(GATEWAY))];
        assert_eq!(api(knocks(&[(GATEWAY, 60001)]), &elsewhere), [closed(), closed(), Ok(GATEWAY)]);
        // The gateway of another cloud has the same private address.
        let private = Ipv4Addr::new(10, 0, 4, 1);
        let elsewhere = [("node01", said(private))];
        assert_eq!(api(knocks(&[(private, 60001)]), &elsewhere)[1..], [closed(), closed()]);
    }

    #[test]
    fn what_could_not_be_overheard_is_not_called_closed() {
        let inventory = samples::inventory(2);
        let addresses = samples::addresses(&inventory);
        let way = ways(&inventory).remove(1);
        let heard = Heard::from([("master01".into(), Err("Operation not permitted".into()))]);
        let judged = judged(vec![(way, None)], &heard, &addresses, &[]);
        assert_eq!(judged[0].1, Err(Missed::Untried("Operation not permitted".into())));
    }
}
