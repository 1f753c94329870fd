use super::*;
use crate::namespace;
use crate::network::{CLOUD_TABLE, CUT_PATH, HOLE_PATH};
use crate::topology::{Loss, Spec, Topology, parse};

fn from_file(text: &str) -> Topology {
    Topology::lay_out("lab", &parse("t", text).unwrap(), &[]).unwrap()
}

fn way(lab: &Topology, a: &str, b: &str) -> Way {
    Way::find(lab, &[a.into(), b.into()]).unwrap()
}

fn path(latency: &str, loss: &str) -> Path {
    let (latency, loss) = (latency.parse().unwrap(), loss.parse().unwrap());
    Path { latency, loss, ..Path::default() }
}

#[test]
fn what_is_asked_for_goes_before_what_the_kernel_has() {
    let some = || Ok(());
    let none = || tc("kubewan-no-such-namespace", "try netem", &[]);
    assert_eq!(choose(Impairment::Auto, some).unwrap(), Holder::Netem);
    assert_eq!(choose(Impairment::Auto, none).unwrap(), Holder::Forwarder);
    assert_eq!(choose(Impairment::Netem, some).unwrap(), Holder::Netem);
    let unasked = || panic!("nothing is tried where the forwarder is asked for");
    assert_eq!(choose(Impairment::Forwarder, unasked).unwrap(), Holder::Forwarder);
    let said = choose(Impairment::Netem, none).unwrap_err().to_string();
    assert!(said.contains("this machine's kernel makes none: try netem: `tc "), "{said}");
    assert!(said.contains("next: leave `impairment` out"), "{said}");
    // A lab that an earlier version made has no such note, and a forwarder.
    assert_eq!(Holder::default(), Holder::Forwarder);
}

/// All that tc and nft are told for two ways, one of them the operator's.
#[test]
fn two_ways_have_a_class_each_on_the_links_they_share() {
    let lab = from_file(
        "\
clouds:
  - { name: A, subnet: 10.0.4.0/24, hosts: [{ name: a }] }
  - { name: B, subnet: 10.0.4.0/24, hosts: [{ name: b }] }
paths:
  - { between: [A, B], latency: 80ms, loss: 0.5% }
  - { between: [operator, A], latency: 0.5ms }
",
    );
    let mut told = String::new();
    for (ends, path) in &lab.paths {
        let way = way(&lab, &ends[0], &ends[1]);
        let roots = way.links().map(|(_, link)| root(link)).to_vec();
        let lines = [roots, classes(&way, path), without_classes(&way).to_vec()].concat();
        told += &format!("{}\n{}", lines.join("\n"), rules(&way));
    }
    let expected = "\
qdisc add dev cloudB root handle 1: htb
qdisc add dev cloudA root handle 1: htb
class replace dev cloudB parent 1: classid 1:1 htb rate 32gbit burst 1mb cburst 1mb quantum 60000
qdisc replace dev cloudB parent 1:1 netem limit 65536 delay 80000us loss random 0.5%
class replace dev cloudA parent 1: classid 1:1 htb rate 32gbit burst 1mb cburst 1mb quantum 60000
qdisc replace dev cloudA parent 1:1 netem limit 65536 delay 80000us loss random 0.5%
class del dev cloudB classid 1:1
class del dev cloudA classid 1:1
table ip class_A_B {
  chain forward {
    type filter hook forward priority -380; policy accept;
    iifname \"cloudA\" oifname \"cloudB\" meta priority set 1:1
    iifname \"cloudB\" oifname \"cloudA\" meta priority set 1:1
  }
}
qdisc add dev op root handle 1: htb
qdisc add dev cloudA root handle 1: htb
class replace dev op parent 1: classid 1:2 htb rate 32gbit burst 1mb cburst 1mb quantum 60000
qdisc replace dev op parent 1:2 netem limit 65536 delay 500us
class replace dev cloudA parent 1: classid 1:2 htb rate 32gbit burst 1mb cburst 1mb quantum 60000
qdisc replace dev cloudA parent 1:2 netem limit 65536 delay 500us
class del dev op classid 1:2
class del dev cloudA classid 1:2
table ip class_A_operator {
  chain forward {
    type filter hook forward priority -380; policy accept;
    iifname \"cloudA\" oifname \"op\" meta priority set 1:2
    iifname \"op\" oifname \"cloudA\" meta priority set 1:2
  }
}
";
    assert_eq!(told, expected);
}

/// netfilter calls chains by their priority: a packet that a cut drops never gets a class.
#[test]
fn cuts_and_holes_come_first() {
    let lab = Topology::lay_out("lab", &Spec::usual(2), &[]).unwrap();
    let way = way(&lab, "A", "B");
    let hole = Path { mtu: Some(1300), black_hole: true, ..Path::default() };
    let priority = |rules: String| {
        let (_, rest) = rules.split_once("hook forward priority ").unwrap();
        rest.split_once(';').unwrap().0.parse::<i32>().unwrap()
    };
    let class = priority(rules(&way));
    assert!(priority(way.cut_rules()) < class && priority(way.hole_rules(&hole)) < class);
    assert_ne!(CLASS_PATH, CUT_PATH);
    assert_ne!(CLASS_PATH, HOLE_PATH);
}

/// Everything but netem itself, which this may run without: a FIFO stands in its place. Classes count what goes
/// through them, so it is seen that a way's packets, and no others, get there.
#[test]
#[ignore = "needs root: cargo test -p kubewan-lab --lib -- --ignored"]
fn a_ways_packets_and_no_others_go_through_its_class() {
    let lab = Topology::lay_out("kwclass", &Spec::usual(3), &[]).unwrap();
    let internet = lab.internet();
    namespace::make_internet(&lab).unwrap();
    let made = Made(&lab);
    // Without hosts behind them the routers answer, on the addresses that are theirs.
    for cloud in &lab.clouds {
        namespace::nft(&cloud.namespace, &format!("delete table ip {CLOUD_TABLE}\n")).unwrap();
    }
    let slow = way(&lab, "A", "B");
    for (_, link) in slow.links() {
        tc(&internet, "make the root", &[root(link)]).unwrap();
        assert!(tc(&internet, "make it again", &[root(link)]).is_err());
    }
    let without_netem = |line: String| match line.split_once(" netem ") {
        Some((place, _)) => format!("{place} pfifo limit 100"),
        None => line,
    };
    let lines: Vec<String> =
        classes(&slow, &path("80ms", "2%")).into_iter().map(without_netem).collect();
    // As an impairment that follows another.
    tc(&internet, "make classes", &lines).unwrap();
    tc(&internet, "make them again", &lines).unwrap();
    namespace::nft(&internet, &rules(&slow)).unwrap();
    let address = |cloud: usize| lab.clouds[cloud].public()[0].to_string();
    let ping = |from: &str, to: String| {
        namespace::inside(from, "ping", "ping").args(["-q", "-c3", "-i0.1", "-W1", &to]).succeeds()
    };
    let counted = || packets(&internet, &slow);

    assert!(ping(&lab.clouds[0].namespace, address(1)));
    assert_eq!(counted(), [3, 3], "both directions");
    assert!(ping(&lab.clouds[0].namespace, address(2)));
    assert!(ping(&lab.clouds[2].namespace, address(1)));
    assert_eq!(counted(), [3, 3], "other ways of the same ends");
    namespace::nft(&internet, &slow.cut_rules()).unwrap();
    assert!(!ping(&lab.clouds[0].namespace, address(1)));
    assert_eq!(counted(), [3, 3], "what a cut drops");
    assert!(!is_held(&internet, &slow), "a FIFO is no netem");
    release(&internet, &slow).unwrap();
    assert_eq!(counted(), [0, 0], "the classes are gone");

    let probed = probe();
    let tried = hold(&internet, &slow, &path("80ms", "2%"));
    assert_eq!(probed.is_ok(), tried.is_ok(), "{tried:?}");
    assert_eq!(is_held(&internet, &slow), tried.is_ok());
    println!("netem on this kernel: {probed:?}");
    drop(made);
}

/// How many packets went through the class at each link.
fn packets(internet: &str, way: &Way) -> [u64; 2] {
    way.links().map(|(_, link)| {
        let shown = Call::new("tc", "read the counters")
            .args(["-n", internet, "-s", "class", "show", "dev", link, "classid", &way.class()])
            .run()
            .unwrap();
        let mut words = shown.split_whitespace();
        let at = words.position(|word| word == "bytes");
        at.and_then(|_| words.next()?.parse().ok()).unwrap_or(0)
    })
}

/// Takes the network away however the test ends.
struct Made<'a>(&'a Topology);

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for namespace in namespace::existing(Some(&self.0.lab)) {
            let _ = namespace::remove(&namespace);
        }
        namespace::remove_operator_link(&self.0.lab);
    }
}

#[test]
fn a_loss_is_written_as_tc_reads_it() {
    let lines = class("cloudA", "1:1", &Path { loss: Loss(1), ..Path::default() });
    assert!(lines[1].ends_with("netem limit 65536 delay 0us loss random 0.0001%"), "{lines:?}");
}
