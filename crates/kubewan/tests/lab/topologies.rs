//! Labs of one's own making: what a topology file says is what packets meet, and labs side by side keep apart.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use kubewan_lab::{Claim, Lab, leftovers};

use crate::support::{program, run};

/// Four kinds of clouds. `home` and `A` have one private subnet.
const TOPOLOGY: &str = "\
clouds:
  - name: A
    subnet: 10.0.4.0/24
    hairpin: true
    spoofFilter: false
    hosts: [{ name: a, address: 10.0.4.7 }]
  - name: bare
    nat: none
    ports: [22/tcp, 7001/tcp, 9000/udp, icmp]
    hosts: [{ name: b }]
  - name: home
    nat: port-restricted
    subnet: 10.0.4.0/24
    hosts:
      - { name: h, address: 10.0.4.7, forward: [22/tcp] }
      - { name: i }
  - name: mobile
    nat: symmetric
    subnet: 10.0.4.0/24
    hosts: [{ name: m, address: 10.0.4.7 }]
paths:
  - { between: [A, bare], latency: 20ms }
";

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn a_topology_of_ones_own() {
    let claim = Claim::new().expect("a folder, and no lab that another story left");
    let file = claim.dir().join("topology.yaml");
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, TOPOLOGY.replace("symmetric", "symetric")).unwrap();
    let refused = run(&["lab", "up", "--name", "own", "--topology", &path]);
    refused.expect_code(3);
    assert!(refused.stderr.contains(&format!("{path}:18:10: ")), "{}", refused.stderr);
    std::fs::write(&file, TOPOLOGY).unwrap();
    let dir = claim.dir().join("own");
    let inventory = dir.join("cluster.yaml");
    let arguments = ["--name", "own", "--topology", &path, "--dir", &dir.to_string_lossy()];
    another_inventory_is_left_alone(&dir, &arguments);
    up(&arguments);
    let own = Seen { lab: Lab::open("own").unwrap() };
    an_edited_inventory_is_not_run(&inventory, &arguments);
    let dir_taken = run(&["lab", "up", "--name", "other", "--dir", &dir.to_string_lossy()]);
    dir_taken.expect_code(3);
    assert!(dir_taken.stderr.contains("is the folder of the lab `own`"), "{}", dir_taken.stderr);

    let inventory = std::fs::read_to_string(inventory).unwrap();
    assert!(inventory.contains("name: own\n") && inventory.contains("- name: h\n"), "{inventory}");
    assert!(inventory.contains("# m in cloud mobile is none of them: there is no way in"));
    own.hosts_are_told_apart();
    own.addresses_are_where_they_belong();
    own.the_way_in_is_what_the_file_says();
    own.nats_map_ports_as_they_say();
    own.ways_are_as_slow_and_lossy_as_said();
    own.narrow_ways_say_so_or_do_not();
    own.cut_ways_are_silent_until_healed();
    a_half_made_lab_hides_none(&claim);
    a_second_lab_keeps_apart(&claim, &own);
}

fn up(arguments: &[&str]) {
    let common = ["lab", "up", "--hosts-only", "--kubernetes", "rehearsal"];
    run(&[&common[..], arguments].concat()).expect_code(0);
}

/// A folder with an inventory of real servers: nothing is made, and nothing happens to them.
fn another_inventory_is_left_alone(dir: &Path, arguments: &[&str]) {
    const OTHERS: &str = "name: production\n";
    let inventory = dir.join("cluster.yaml");
    std::fs::create_dir(dir).unwrap();
    std::fs::write(&inventory, OTHERS).unwrap();
    let refused = run(&[&["lab", "up"], arguments].concat());
    refused.expect_code(3);
    assert!(refused.stderr.contains("this lab did not write it"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&inventory).unwrap(), OTHERS);
    assert_eq!(leftovers(Some("own")), Vec::<String>::new());
    std::fs::remove_dir_all(dir).unwrap();
}

fn an_edited_inventory_is_not_run(inventory: &Path, arguments: &[&str]) {
    let written = std::fs::read_to_string(inventory).unwrap();
    let edited = written.replace("name: own\n", "name: production\n");
    std::fs::write(inventory, &edited).unwrap();
    let common = ["lab", "up", "--kubernetes", "rehearsal"];
    let refused = run(&[&common[..], arguments].concat());
    refused.expect_code(3);
    assert!(refused.stderr.contains("was edited since"), "{}", refused.stderr);
    up(arguments);
    assert_eq!(std::fs::read_to_string(inventory).unwrap(), edited, "kept");
    std::fs::write(inventory, written).unwrap();
}

/// A lab whose packets are looked at.
struct Seen {
    lab: Lab,
}

impl Seen {
    fn on(&self, host: &str, line: &str) -> String {
        let output = self.lab.exec(host, &["sh", "-c", line], &[]).expect("the host runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn address(&self, host: &str) -> Ipv4Addr {
        let hosts = self.lab.info().unwrap().hosts;
        hosts.into_iter().find(|known| known.name == host).expect("a host").address
    }

    fn kubewan(&self, arguments: &[&str]) -> String {
        let all = [&["lab", arguments[0], "--name", self.lab.name()], &arguments[1..]].concat();
        run(&all).expect_code(0).stdout.clone()
    }

    /// What `ping` says; a line with `received` stands in it.
    fn ping(&self, from: &str, to: &str, options: &str) -> String {
        let address = self.address(to);
        self.on(from, &format!("ping -n {options} {address} 2>&1"))
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        // Of three, as a machine that stalls loses some.
        !self.ping(from, to, "-q -c3 -i0.3 -W2").contains(" 0 received")
    }

    /// Waits until something listens: `t` for TCP, `u` for UDP.
    fn await_port(&self, host: &str, kind: &str, port: u16) {
        let listens = format!("ss -Hln{kind} 'sport = :{port}' | grep -q .");
        self.on(host, &format!("timeout 60 sh -c \"until {listens}; do sleep 0.1; done\""));
    }

    /// The TCP port of a host that answers with so many bytes.
    fn serve(&self, host: &str, port: u16, bytes: u32) {
        let listen =
            format!("systemd-socket-activate -l {port} -a --inetd head -c {bytes} /dev/zero");
        self.on(host, &format!("systemd-run --quiet --unit=serve-{port} {listen}"));
        self.await_port(host, "t", port);
    }

    /// How many bytes came within some seconds.
    fn fetch(&self, from: &str, to: &str, port: u16, seconds: u32) -> String {
        let address = self.address(to);
        let read =
            format!("timeout {seconds} bash -c 'cat < /dev/tcp/{address}/{port}' 2>/dev/null");
        self.on(from, &format!("{read} | wc -c"))
    }

    fn hosts_are_told_apart(&self) {
        let told = self.kubewan(&["exec", "i", "--", "hostname"]);
        assert_eq!(told.trim(), "i");
        for host in ["a", "b", "h"] {
            let login = self.lab.ssh_command(host).unwrap();
            let mut ssh = std::process::Command::new(&login[0]);
            let output = ssh.args(&login[1..]).arg("hostname").output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), host, "{output:?}");
        }
    }

    fn addresses_are_where_they_belong(&self) {
        for host in ["a", "h", "m"] {
            assert!(self.on(host, "ip -4 address show dev eth0").contains("10.0.4.7/24"), "{host}");
        }
        assert_eq!(self.address("h"), self.address("i"), "one address for all at home");
        let bare = self.address("b").to_string();
        assert!(self.on("b", "ip -4 address show dev eth0").contains(&bare));
        // The one private network is three: neighbours are those in one's own.
        let neighbour = self.on("i", "ping -q -n -c1 -W1 10.0.4.7 | grep -c ' 1 received'");
        assert_eq!(neighbour, "1");
        let mine = "cat /sys/class/net/eth0/address";
        let seen = self.on("i", "ip neighbour show 10.0.4.7");
        assert!(
            seen.contains(&self.on("h", mine)) && !seen.contains(&self.on("a", mine)),
            "{seen}"
        );
    }

    fn the_way_in_is_what_the_file_says(&self) {
        assert!(self.reaches("a", "a"), "cloud A hairpins");
        assert!(self.reaches("a", "b") && self.reaches("m", "a") && self.reaches("i", "b"));
        assert!(!self.reaches("a", "m"), "nothing comes into a symmetric NAT");
        assert!(!self.reaches("a", "h"), "a home forwards its port and nothing else");
        for (host, port, comes) in [("b", 7001, "10"), ("b", 7002, "0"), ("h", 7001, "0")] {
            self.serve(host, port, 10);
            assert_eq!(self.fetch("a", host, port, 2), comes, "{host} on {port}");
        }
        // A source of one's own making: cloud A passes it, as it was told to, the others don't.
        let a = self.address("a");
        let bare = self.address("b");
        for host in ["a", "h"] {
            let own =
                format!("ip link add k0 type bridge; ip addr add {a}/32 dev k0; ip link set k0 up");
            self.on(host, &own);
            self.on(host, &format!("ping -n -q -c2 -i0.2 -W1 -I {a} {bare}"));
            self.on(host, "ip link del k0");
        }
        let dropped = self.lab.spoof_counters().unwrap();
        assert_eq!((dropped["a"], dropped["h"]), (0, 2));
    }

    /// One socket sends to two servers: which port does each see?
    fn nats_map_ports_as_they_say(&self) {
        const RECEIVE: &str = r#"my $s = IO::Socket::INET->new(LocalPort => 9000, Proto => "udp");
            $s->recv(my $said, 9); open(my $f, ">", "/run/port"); print $f $s->peerport;"#;
        const SEND: &str = r#"my $s = IO::Socket::INET->new(LocalPort => 5555, Proto => "udp");
            for my $to (@ARGV) { $s->send("x", 0, pack_sockaddr_in(9000, inet_aton($to))); }"#;
        let perl = ["perl", "-MIO::Socket", "-e"];
        let [a, b] = ["a", "b"].map(|host| self.address(host).to_string());
        let seen = |from: &str| {
            for host in ["a", "b"] {
                self.on(host, "rm -f /run/port");
                let run = [&["systemd-run", "--quiet"], &perl[..], &[RECEIVE]].concat();
                self.lab.exec(host, &run, &[]).unwrap();
                self.await_port(host, "u", 9000);
            }
            self.lab.exec(from, &[&perl[..], &[SEND, &a, &b]].concat(), &[]).unwrap();
            let come =
                "timeout 60 sh -c 'until [ -s /run/port ]; do sleep 0.1; done'; cat /run/port";
            ["a", "b"].map(|host| self.on(host, come))
        };
        assert_eq!(seen("h"), ["5555", "5555"], "a home keeps the port for every peer");
        let [first, second] = seen("m");
        assert!(first != second && !first.is_empty() && !second.is_empty(), "{first} {second}");
    }

    fn ways_are_as_slow_and_lossy_as_said(&self) {
        // The quickest of ten: a machine that stalls makes some slow.
        let quickest = |from: &str, to: &str| {
            let said = self.ping(from, to, "-q -c10 -i0.2 -W2");
            let times = said.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
            let times = times.unwrap_or_else(|| panic!("{said}"));
            times.split('/').next().and_then(|ms| ms.parse::<f64>().ok()).expect("milliseconds")
        };
        let slow = quickest("a", "b");
        assert!((40.0..80.0).contains(&slow), "20 ms one way, from the file: {slow} ms");
        self.kubewan(&["impair", "--latency", "80ms", "A", "bare"]);
        let slower = quickest("a", "b");
        assert!((160.0..240.0).contains(&slower), "80 ms one way: {slower} ms");
        let other = quickest("h", "b");
        assert!(other < 20.0, "another way: {other} ms");
        assert!(self.kubewan_ls().contains("path A - bare: latency 80ms"));

        self.kubewan(&["impair", "--loss", "20%", "a", "b"]);
        let said = self.ping("a", "b", "-q -c300 -i0.01 -W1");
        let received = said.split(" received").next().and_then(|text| text.rsplit(' ').next());
        let received: u32 =
            received.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        // 0.8 there and 0.8 back, so 192 are expected.
        assert!((150..235).contains(&received), "{received} of 300 came back");
        self.kubewan(&["heal", "a", "b"]);
        assert!((40.0..80.0).contains(&quickest("a", "b")), "as the file says");
        self.end_forwarder("A_bare");
        assert!(!self.reaches("a", "b"), "nobody gives verdicts");
        let told = "path A - bare: latency 20ms; its forwarder is gone: kubewan lab heal --name own A bare";
        assert!(self.kubewan_ls().contains(told), "{}", self.kubewan_ls());
        self.kubewan(&["heal"]);
        assert!((40.0..80.0).contains(&quickest("a", "b")), "healed");
        self.kubewan(&["impair", "A", "bare"]);
        assert!(quickest("a", "b") < 20.0);
        self.kubewan(&["heal"]);
        assert!(self.kubewan_ls().contains("path A - bare: latency 20ms"));
    }

    /// Ends what holds a way's packets, from outside.
    fn end_forwarder(&self, way: &str) {
        let record = format!("/var/lib/kubewan-lab/{}/paths/{way}/process", self.lab.name());
        let record = std::fs::read_to_string(record).expect("a note of the process");
        let pid = record.split(' ').next().expect("its number");
        let kill = std::process::Command::new("kill").args(["-9", pid]).status();
        assert!(kill.expect("kill runs").success());
    }

    fn kubewan_ls(&self) -> String {
        run(&["lab", "ls"]).expect_code(0).stdout.clone()
    }

    fn narrow_ways_say_so_or_do_not(&self) {
        const BYTES: &str = "200000";
        self.on("b", "systemctl stop serve-7001");
        self.serve("b", 7001, BYTES.parse().unwrap());
        assert_eq!(self.fetch("a", "b", 7001, 10), BYTES);
        self.kubewan(&["impair", "--mtu", "1300", "A", "bare"]);
        assert!(self.ping("a", "b", "-c1 -W1 -M do -s 1272").contains(" 1 received"));
        let told = self.ping("a", "b", "-c1 -W1 -M do -s 1273");
        assert!(told.contains("mtu = 1300") || told.contains("mtu=1300"), "{told}");
        assert_eq!(self.fetch("a", "b", 7001, 10), BYTES, "TCP learns the path's MTU");
        for host in ["a", "b"] {
            self.on(host, "ip route flush cache");
        }
        self.kubewan(&["impair", "--mtu", "1300", "--black-hole", "A", "bare"]);
        assert!(self.ping("a", "b", "-c1 -W1 -M do -s 1272").contains(" 1 received"));
        let silent = self.ping("a", "b", "-c1 -W1 -M do -s 1273");
        assert!(silent.contains(" 0 received") && !silent.contains("mtu"), "{silent}");
        assert_ne!(self.fetch("a", "b", 7001, 4), BYTES, "TCP hangs in a black hole");
        self.kubewan(&["heal", "A", "bare"]);
        self.kubewan(&["impair", "A", "bare"]);
        assert_eq!(self.fetch("a", "b", 7001, 10), BYTES);
    }

    fn cut_ways_are_silent_until_healed(&self) {
        self.kubewan(&["cut", "A", "bare"]);
        assert!(!self.reaches("a", "b") && self.reaches("h", "b") && self.reaches("m", "a"));
        assert!(answers(self.address("a")), "the operator has a way of his own");
        assert!(self.kubewan_ls().contains("path A - bare: cut"));
        self.kubewan(&["cut", "operator", "a"]);
        assert!(!answers(self.address("a")) && self.reaches("h", "a"));
        self.kubewan(&["cut", "mobile"]);
        assert!(!self.reaches("m", "a"));
        self.kubewan(&["reboot", "a"]);
        assert!(!answers(self.address("a")), "it boots, though the operator doesn't reach it");
        run(&["lab", "cut", "--name", "own", "operator"]).expect_code(3);
        self.kubewan(&["heal", "operator"]);
        assert!(answers(self.address("a")) && !self.reaches("a", "b"));
        self.kubewan(&["heal"]);
        assert!(self.reaches("a", "b") && self.reaches("m", "a"));
    }
}

/// Whether an sshd answers the operator.
fn answers(address: Ipv4Addr) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((address, 22)), Duration::from_secs(1)).is_ok()
}

/// Whether `lab ls` has a lab's host in its table.
fn lists(listed: &str, lab: &str, host: &str) -> bool {
    listed.lines().any(|line| line.split_whitespace().take(2).eq([lab, host]))
}

fn a_half_made_lab_hides_none(claim: &Claim) {
    let dir = claim.dir().join("half").to_string_lossy().into_owned();
    let list = || run(&["lab", "ls"]).expect_code(0).stdout.clone();
    let mut making = program()
        .args(["lab", "up", "--hosts-only", "--kubernetes", "rehearsal", "--name", "half"])
        .args(["--hosts", "1", "--dir", &dir])
        .spawn()
        .expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !Path::new("/var/lib/kubewan-lab/half/state.json").exists() {
        assert!(Instant::now() < deadline, "it makes nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    let listed = list();
    making.kill().expect("it runs");
    making.wait().expect("it ends");
    assert!(listed.contains("half: being made") && lists(&listed, "own", "a"), "{listed}");
    let listed = list();
    assert!(
        listed.contains("half: half made, and nobody is at it: kubewan lab down half"),
        "{listed}"
    );
    assert!(lists(&listed, "own", "a"), "{listed}");
    run(&["lab", "down", "half"]).expect_code(0);
    assert_eq!(leftovers(Some("half")), Vec::<String>::new());
}

fn a_second_lab_keeps_apart(claim: &Claim, own: &Seen) {
    let dir = claim.dir().join("other").to_string_lossy().into_owned();
    let start = Instant::now();
    up(&["--name", "other", "--hosts", "1", "--dir", &dir]);
    eprintln!("a second lab: {:.1} s", start.elapsed().as_secs_f64());
    let other = Seen { lab: Lab::open("other").unwrap() };
    let listed = run(&["lab", "ls"]).expect_code(0).stdout.clone();
    assert!(lists(&listed, "own", "a") && lists(&listed, "other", "master01"), "{listed}");
    let (here, there) = (own.address("a"), other.address("master01"));
    assert_ne!(here, there);
    assert!(answers(here) && answers(there), "the operator is in both");
    // There is one Internet to each.
    let line = format!("ping -q -n -c1 -W1 {there} | grep -c ' 1 received'");
    assert_eq!(own.on("a", &line), "0");
    assert_eq!(other.on("master01", "hostname"), "master01");

    run(&["lab", "down", "other"]).expect_code(0);
    assert_eq!(leftovers(Some("other")), Vec::<String>::new());
    assert!(answers(here) && own.reaches("a", "b"), "the first lab lives on");
    run(&["lab", "cut", "--name", "other", "A"]).expect_code(1);
    run(&["lab", "down", "own"]).expect_code(0);
    assert_eq!(leftovers(Some("own")), Vec::<String>::new());
}
