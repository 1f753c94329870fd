//! Latency and loss by the kernel's netem, where it has one: a class for each way on the Internet's interfaces, and
//! under it a netem that delays and drops. The commands are text, as those of [`crate::network`].
//!
//! A way's packets are told by a rule of netfilter's, which sees both interfaces and names the class as the
//! packet's priority: HTB takes a priority with its own handle for a class (`htb_classify` in
//! net/sched/sch_htb.c), so that no classifier is needed. What has no class passes HTB untouched.

use serde::{Deserialize, Serialize};

use crate::LabError;
use crate::call::Call;
use crate::network::Way;
use crate::topology::{Impairment, Path};

/// How the names of the Internet's tables begin that lead one way's packets to its class.
pub(crate) const CLASS_PATH: &str = "class_";
/// As many packets as a path may hold at once, as with the forwarder.
const PACKETS_MAX: u32 = 65_536;
/// A class has to have a rate: one that no path of the lab comes near. It is what 32 bits of bytes per second hold,
/// and without a quantum of its own the kernel would complain of one derived from it.
const UNLIMITED: &str = "rate 32gbit burst 1mb cburst 1mb quantum 60000";
/// The one link that every namespace has.
const PROBE_LINK: &str = "lo";

/// What holds and drops the packets of a lab's slow and lossy ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The kernel's netem.
    Netem,
    /// The lab's own program, through packet queues ([`crate::forward`]).
    #[default]
    Forwarder,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Netem => "netem",
            Self::Forwarder => "the forwarder",
        })
    }
}

/// Chooses by what is asked for and what the kernel has; `probe` tries a netem and says why there is none.
///
/// # Errors
/// Fails where netem is asked for and there is none.
pub(crate) fn choose(
    asked: Impairment,
    probe: impl FnOnce() -> Result<(), LabError>,
) -> Result<Holder, LabError> {
    match asked {
        Impairment::Forwarder => Ok(Holder::Forwarder),
        Impairment::Auto => Ok(probe().map_or(Holder::Forwarder, |()| Holder::Netem)),
        Impairment::Netem => probe().map(|()| Holder::Netem).map_err(|error| LabError::BadOption {
            option: "impairment",
            value: "netem".into(),
            why: format!("this machine's kernel makes none: {error}"),
            next: "leave `impairment` out of the topology file: the lab has a forwarder of its own"
                .into(),
        }),
    }
}

/// Tries a class with a netem in a network namespace that is thrown away.
pub(crate) fn probe() -> Result<(), LabError> {
    // Two commands may look at once.
    let namespace = format!("kwprobe{}", std::process::id());
    let attempted = "make a namespace to try netem in";
    Call::new("ip", attempted).args(["netns", "add", &namespace]).run()?;
    let lines = [root(PROBE_LINK)].into_iter().chain(class(PROBE_LINK, "1:1", &Path::default()));
    let tried = tc(&namespace, "try netem", &lines.collect::<Vec<_>>());
    let _ = Call::new("ip", "remove it").args(["netns", "del", &namespace]).succeeds();
    tried
}

/// Makes a way's classes, or makes them anew, and leads its packets there.
pub(crate) fn hold(internet: &str, way: &Way, path: &Path) -> Result<(), LabError> {
    for (_, link) in way.links() {
        // Another way of this end may have made it; where it can't be made, the class says why.
        let _ = tc(internet, "make the root of classes", &[root(link)]);
    }
    tc(internet, "have packets held", &classes(way, path))?;
    crate::namespace::nft(internet, &rules(way))
}

/// Takes away what [`hold`] made, where it did.
pub(crate) fn release(internet: &str, way: &Way) -> Result<(), LabError> {
    let table = format!("{CLASS_PATH}{}", way.name());
    let gone = format!("table ip {table} {{ }}\ndelete table ip {table}\n");
    crate::namespace::nft(internet, &gone)?;
    for line in without_classes(way) {
        let _ = tc(internet, "let packets pass", &[line]);
    }
    Ok(())
}

/// Whether a way's packets have their netem, in both directions.
pub(crate) fn is_held(internet: &str, way: &Way) -> bool {
    way.links().iter().all(|(_, link)| {
        let listed = Call::new("tc", "look for netem")
            .args(["-n", internet, "qdisc", "show", "dev", link, "parent", &way.class()])
            .run();
        listed.is_ok_and(|listed| listed.contains("netem"))
    })
}

fn tc(namespace: &str, attempted: &str, lines: &[String]) -> Result<(), LabError> {
    let mut input = lines.join("\n");
    input.push('\n');
    Call::new("tc", attempted).args(["-n", namespace, "-batch", "-"]).input(input).run().map(drop)
}

fn root(link: &str) -> String {
    format!("qdisc add dev {link} root handle 1: htb")
}

/// A packet is delayed where it leaves the Internet, so each direction has its class on the other end's link.
fn classes(way: &Way, path: &Path) -> Vec<String> {
    way.links().iter().flat_map(|(_, link)| class(link, &way.class(), path)).collect()
}

fn class(link: &str, class: &str, path: &Path) -> [String; 2] {
    let mut netem = format!("limit {PACKETS_MAX} delay {}us", path.latency.0.as_micros());
    if path.loss.0 > 0 {
        netem += &format!(" loss random {}", path.loss);
    }
    [
        format!("class replace dev {link} parent 1: classid {class} htb {UNLIMITED}"),
        format!("qdisc replace dev {link} parent {class} netem {netem}"),
    ]
}

/// The netem goes with its class.
fn without_classes(way: &Way) -> [String; 2] {
    way.links().map(|(_, link)| format!("class del dev {link} classid {}", way.class()))
}

/// After cuts (-400) and black holes (-390): what those drop is in no queue.
fn rules(way: &Way) -> String {
    let [(a, b), _] = way.links();
    let class = way.class();
    format!(
        "table ip {CLASS_PATH}{} {{
  chain forward {{
    type filter hook forward priority -380; policy accept;
    iifname \"{a}\" oifname \"{b}\" meta priority set {class}
    iifname \"{b}\" oifname \"{a}\" meta priority set {class}
  }}
}}
",
        way.name()
    )
}

#[cfg(test)]
mod tests;
