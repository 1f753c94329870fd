//! What was seen of packets in front of a host's own firewall, and which ways between hosts that shows. The firewall
//! drops them, since the run has not opened it yet: that they came so far is what counts.

use std::collections::BTreeMap;
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
    let judge = |(way, local): (Way, Option<u16>)| {
        let result = match heard.get(&way.to) {
            Some(Ok(here)) => {
                let whose = Whose { to: &way.to, here, heard, addresses, known };
                let source = whose.source(&way, local);
                let closed = || Missed::Closed("no packet came as far as its own firewall".into());
                source.map(|source| Seen { source: Some(source) }).ok_or_else(closed)
            }
            Some(Err(why)) => Err(Missed::Untried(why.clone())),
            None => Err(Missed::Untried("nobody overheard it".into())),
        };
        (way, result)
    };
    knocked.into_iter().map(judge).collect()
}

/// Whose packets are whose, at one host. A datagram says who sent it; a SYN says nothing, so it is told by where it came
/// from: an address that is known to be a host's, or the very port that the host knocked from.
struct Whose<'a> {
    to: &'a str,
    here: &'a Overheard,
    heard: &'a Heard,
    addresses: &'a BTreeMap<String, Ipv4Addr>,
    known: &'a [Measured],
}

impl Whose<'_> {
    /// Where a way's packets came from; `None` where none came.
    fn source(&self, way: &Way, local: Option<u16>) -> Option<Ipv4Addr> {
        let from = match &way.from {
            Source::Host(name) => Some(name.as_str()),
            Source::Operator | Source::Anyone => None,
        };
        if way.protocol == Protocol::Udp {
            let said = self.here.names.iter().find(|(name, _)| Some(name.as_str()) == from);
            return said.map(|(_, source)| *source);
        }
        let mut knocks: Vec<&Knock> =
            self.here.knocks.iter().filter(|knock| knock.port == way.port).collect();
        knocks.sort_by_key(|knock| (Some(knock.source_port) != local, **knock));
        let is_from = |knock: &&Knock| {
            let is_local = Some(knock.source_port) == local;
            match from {
                Some(name) if self.comes_from(name, knock.source) => true,
                // A host behind the NAT of this one's provider, or another: an address that nobody knew of.
                Some(_) => is_local && !self.is_known(knock.source),
                // The operator's address is nobody's, or that of hosts that have their NAT in common with him.
                None => is_local || !self.is_known(knock.source),
            }
        };
        knocks.into_iter().find(is_from).map(|knock| knock.source)
    }

    fn is_known(&self, source: Ipv4Addr) -> bool {
        self.addresses.keys().any(|name| self.comes_from(name, source))
    }

    /// Whether a host's packets come here from an address: its own, one that it was seen by here, or one that it was
    /// seen by elsewhere. A private one says something only where it was seen: two clouds may use the same.
    fn comes_from(&self, name: &str, source: Ipv4Addr) -> bool {
        let said = |names: &[(String, Ipv4Addr)]| {
            names.iter().any(|(who, address)| who == name && *address == source)
        };
        let elsewhere = || {
            let overheard = self.heard.values().flatten().any(|other| said(&other.names));
            let answered = |(way, result): &Measured| {
                way.from == Source::Host(name.into())
                    && matches!(result, Ok(Seen { source: Some(seen) }) if *seen == source)
            };
            overheard || self.known.iter().any(answered)
        };
        self.addresses.get(name) == Some(&source) && name != self.to
            || said(&self.here.names)
            || (!source.is_private() && elsewhere())
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
        let mut all: Heard = elsewhere.iter().map(|(at, of)| ((*at).into(), Ok(of.clone()))).collect();
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
        let rewritten = Overheard {
            names: vec![("node02".into(), GATEWAY)],
            ..knocks(&[(GATEWAY, 60001)])
        };
        assert_eq!(api(rewritten, &[]), [closed(), closed(), Ok(GATEWAY)]);
        let said = |source| Overheard {
            names: vec![("node02".into(), source)],
            ..Overheard::default()
        };
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
