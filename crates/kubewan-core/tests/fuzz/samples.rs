//! Messages and journals of the right form, for a corpus.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use kubewan_core::action::{self, Action, Change, ChangeKind, Observed};
use kubewan_core::bundle;
use kubewan_core::facts::Facts;
use kubewan_core::inventory::{Inventory, Recorded};
use kubewan_core::journal::{Begun, Entry, FORMAT};
use kubewan_core::plan::{Inputs, Step, steps};
use kubewan_core::protocol::{
    BatchEnd, BatchEvent, BatchNews, OrderedStep, Orders, Request, Response,
};
use serde::Serialize;
use serde_json::json;

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

/// Lines of JSON.
fn lines(values: &[impl Serialize]) -> Vec<u8> {
    values.iter().map(json).collect::<Vec<_>>().join(&b'\n')
}

fn inventory() -> Inventory {
    let hosts = json!([
        { "name": "master01", "address": "198.51.100.10", "roles": ["control-plane", "worker"] },
        { "name": "node01", "address": "198.51.100.20", "roles": ["worker"], "firewall": "open",
          "labels": { "example.org/disk": "ssd" }, "kubeletArgs": { "v": "2" },
          "taints": [{ "key": "gpu", "effect": "NoSchedule" }] },
        { "name": "master02", "address": "198.51.100.30", "roles": ["control-plane"] },
        { "name": "master03", "address": "198.51.100.40", "roles": ["control-plane"] },
    ]);
    let text = json!({ "name": "home", "kubernetes": { "version": "1.36.2" }, "hosts": hosts,
        "network": { "backend": "vxlan" }, "hostname": "set" });
    serde_json::from_value(text.clone()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Facts of a host that has all that makes work.
pub fn host_facts() -> Facts {
    let mut facts = Facts::default();
    facts.os.id = "debian".into();
    facts.os.version_id = "12".into();
    facts.os.systemd = 252;
    facts.kernel.release = "6.1.0-37-amd64".into();
    facts.kernel.arch = "amd64".into();
    (facts.kernel.dummy, facts.kernel.bridge, facts.kernel.vxlan) = (true, true, true);
    facts.swaps = vec!["/dev/vdb".into()];
    facts.memory_bytes = 4 << 30;
    facts.cores = 2;
    facts.disk_free_bytes = 20 << 30;
    facts.clock_unix_ms = 1_767_225_600_000;
    facts
}

/// Facts, as they come over the wire.
pub fn facts() -> Vec<Vec<u8>> {
    let full = json!({
        "interfaces": [{ "name": "eth0", "mtu": 1500, "up": true, "kind": "" }],
        "addresses": [{ "interface": "eth0", "address": "10.0.4.7/24" }],
        "default_route": { "interface": "eth0", "gateway": "10.0.4.1" },
        "routes": [{ "destination": "10.0.4.0/24", "interface": "eth0" }],
        "resolvers": ["10.0.4.2"],
        "listeners": [{ "protocol": "tcp", "address": "0.0.0.0", "port": 6443, "process": "x" }],
        "firewalls": [{ "tool": "ufw", "active": true, "enabled": true }],
        "selinux": "enforcing",
        "cloud_init": { "preserve_hostname": false, "manage_etc_hosts": true, "hosts_template": null },
    });
    let mut facts = serde_json::to_value(host_facts()).expect("JSON");
    for (key, value) in full.as_object().expect("a map") {
        facts[key] = value.clone();
    }
    facts["runtime"]["containerd_config"] = json!(
        "version = 2\nroot = \"/data\"\n[debug]\nlevel = \"debug\"\n[a.\"b.c\"]\nx = [1, \"y\"]\n"
    );
    facts["runtime"]["others"] = json!([{ "namespace": "moby", "id": "3f2a", "program": "nginx" }]);
    facts["own"]["left"] = json!({ "/etc/x": ["0".repeat(64)] });
    // Or the sample says less than it seems to.
    let read: Facts =
        serde_json::from_value(facts.clone()).unwrap_or_else(|e| panic!("{e}: {facts}"));
    vec![json(&read), json(&host_facts()), json(&Facts::default())]
}

/// What a plan for three control planes and a worker wants.
fn goals() -> Vec<Step> {
    let inventory = inventory();
    let address = |(host, n): (&kubewan_core::inventory::Host, u8)| {
        (host.name.clone(), Ipv4Addr::new(198, 51, 100, n))
    };
    let addresses = inventory.hosts.iter().zip(10..).map(address).collect();
    let artifact = |kind: &str, name: &str| {
        json!({ "kind": kind, "name": name, "version": "1.36.2", "arch": "amd64", "path": name,
            "size": 1, "sha256": "0".repeat(64), "distribution": "debian-12" })
    };
    let bundle = json!({ "format": 1, "kubernetes": "1.36.2", "artifacts": [
        artifact("binary", "kubeadm"), artifact("package", "runc"), artifact("cni-plugin", "bridge"),
        artifact("image", "registry.k8s.io/pause:3.10.2"),
    ] });
    let bundle: bundle::Bundle = serde_json::from_value(bundle).expect("a bundle");
    let inputs = Inputs::new(&addresses, &bundle);
    let facts = inventory.hosts.iter().map(|host| (host.name.clone(), host_facts())).collect();
    steps(&inventory, &facts, &inputs).steps
}

/// What an agent may have seen of each kind.
fn observed() -> Vec<Observed> {
    let live = json!({ "kind": "ConfigMap", "data": { "a": 1.5 } });
    let rest = [
        Observed::SwapOff(action::system::SwapSeen {
            active: vec!["/dev/vdb".into()],
            ..action::system::SwapSeen::default()
        }),
        Observed::File(action::file::FileSeen {
            sha256: Some("ab".repeat(32)),
            text: Some("a\nb\n".into()),
            mode: 0o644,
            ..action::file::FileSeen::default()
        }),
        Observed::Object(action::cluster::ObjectSeen { live: Some(live) }),
        Observed::Package(action::package::PackageSeen {
            installed: vec![("runc".into(), Some("1.1.5".into())), ("containerd".into(), None)],
            held: vec!["runc".into()],
        }),
    ];
    let mut all: Vec<Observed> = goals().iter().filter_map(|step| nothing(&step.action)).collect();
    all.extend(rest);
    all
}

/// Nothing, seen of a goal.
fn nothing(goal: &Action) -> Option<Observed> {
    macro_rules! nothing {
        ($($kind:ident),+ $(,)?) => {
            match goal { $(Action::$kind(_) => Some(Observed::$kind(Default::default())),)+ }
        };
    }
    nothing!(
        File,
        Block,
        Removed,
        Module,
        Sysctl,
        SwapOff,
        SwapOn,
        SelinuxPermissive,
        SelinuxEnforcing,
        Hostname,
        TimeSyncOn,
        Package,
        Unheld,
        Image,
        RegistryLogins,
        SystemTrust,
        Unit,
        DockerEngine,
        Unmasked,
        Link,
        AliasOff,
        AliasOn,
        KubeletFlag,
        Firewall,
        KubeadmInit,
        BootstrapToken,
        EtcdListens,
        UploadedCerts,
        KubeadmJoin,
        KubeadmReset,
        Object,
        NodeMeta,
        Announced,
        Spread,
    )
}

/// Lines that actions add to a journal, of every word.
const ALONG: [&str; 13] = [
    "dir:/opt/cni",
    "dir:/opt/cni/bin",
    "tree:/var/lib/containerd",
    "contents:/etc/cni",
    "foreign:/etc/cni",
    "kept:644,0,0:ab:/etc/fstab",
    "left:cd:/etc/fstab",
    "package:runc",
    "enabled:x.service",
    "started:x.service",
    "masked:z.swap",
    "ufw:allow 22/tcp",
    "firewalld:--zone=x --add-port=1/tcp",
];

/// Entries of a journal in which every action of a plan was performed, some twice, one taken back.
fn entries() -> Vec<Entry> {
    let mut entries = vec![Entry::Opened { format: FORMAT, cluster: "home".into() }];
    let goals = goals();
    for (number, step) in (1..).zip(goals.iter().chain(goals.iter().step_by(3))) {
        let Some(seen) = nothing(&step.action) else { continue };
        entries.push(Entry::Begun(Box::new(Begun {
            number,
            run: "r".into(),
            step: step.id.clone(),
            action: step.action.clone(),
            before: seen.clone(),
            unix_s: 1_767_225_600,
            reset: number % 9 == 0,
        })));
        let line = ALONG[number as usize % ALONG.len()].to_owned();
        entries.push(match number % 4 {
            0 => Entry::Along { number, along: vec![line] },
            _ => Entry::Ended { number, after: seen, along: vec![line] },
        });
    }
    entries.push(Entry::Undone { number: 2 });
    entries
}

/// Journals: a whole one and parts of it, of which mutations hit more.
pub fn journals() -> Vec<Vec<u8>> {
    let entries = entries();
    let mut all: Vec<Vec<u8>> = entries.chunks(5).map(lines).collect();
    all.extend(entries.chunks(2).step_by(2).map(lines));
    all.push(lines(&entries[..entries.len().min(20)]));
    let words: Vec<Entry> = ALONG
        .iter()
        .map(|line| Entry::Along { number: 1, along: vec![(*line).to_owned()] })
        .collect();
    all.push(lines(&[&entries[1..2], &words].concat()));
    all
}

fn news() -> Vec<BatchEvent> {
    let step = || "master01/file:/etc/x".to_owned();
    let outputs = BTreeMap::from([("hash".to_owned(), "sha256:ab".to_owned())]);
    let news = [
        BatchNews::Started { step: step() },
        BatchNews::Progress { step: step(), line: "[preflight] runs".into() },
        BatchNews::Done { step: step(), changed: true, outputs },
        BatchNews::Failed { step: step(), error: "no space left on device".into() },
        BatchNews::Finished,
    ];
    let event = |(seq, what)| BatchEvent { seq, unix_ms: 1_767_225_600_000, what };
    (1..).zip(news).map(event).collect()
}

/// Logs of batches.
pub fn events() -> Vec<Vec<u8>> {
    vec![lines(&news()), lines(&news()[2..3])]
}

fn orders() -> Orders {
    let shown =
        Change { kind: ChangeKind::Create, summary: "x".into(), details: vec![], basis: None };
    let step = |step: &Step| OrderedStep {
        id: step.id.clone(),
        action: step.action.clone(),
        shown: Some(shown.clone()),
    };
    Orders {
        run: "r1".into(),
        cluster: "home".into(),
        batch: "prepare".into(),
        steps: goals().iter().step_by(6).map(step).collect(),
        values: BTreeMap::from([("@secret(token)@".into(), "abcdef.0123456789abcdef".into())]),
        timeout_s: 600,
        undoes: BTreeMap::from([("h/file:/etc/x".into(), vec![1, 2])]),
    }
}

/// Requests, answers and orders.
pub fn messages() -> Vec<Vec<u8>> {
    let some: Vec<Action> = goals().into_iter().map(|step| step.action).collect();
    let mut all: Vec<Vec<u8>> = some
        .chunks(3)
        .map(|goals| json(&Request::Observe { goals: goals.to_vec(), values: BTreeMap::new() }))
        .collect();
    all.extend(observed().chunks(3).map(|seen| {
        json(&Response::Observed(seen.iter().cloned().map(Ok).chain([Err("x".into())]).collect()))
    }));
    let sha256 = || "ab".repeat(32);
    all.extend([
        json(&Request::Gather),
        json(&Request::Upload { sha256: sha256(), offset: 2 << 20, last: true }),
        json(&Request::Offset { sha256: sha256() }),
        json(&Request::Run { orders: Box::new(orders()) }),
        json(&Request::Attach { run: "r1".into(), from: 3 }),
        json(&Request::Journal { from: 0 }),
        json(&Request::Kubectl { args: vec!["get".into()], stdin: None, timeout_s: 20 }),
        json(&Request::Probe { targets: vec!["198.51.100.10:6443".into()], timeout_ms: 2000 }),
        json(&Request::Farewell),
        json(&orders()),
        json(&Response::Facts(Box::new(host_facts()))),
        json(&Response::Stored { bytes: 1, complete: false }),
        json(&Response::Journal { entries: entries()[..6].to_vec(), whole: 6 }),
        json(&Response::Output { code: -1, stdout: "{}".into(), stderr: String::new() }),
        json(&Response::Text(None)),
        json(&Response::Probed(vec![Ok("connected".into()), Err("refused".into())])),
        json(&Response::Ran(BatchEnd::Busy { run: "r1".into() })),
        json(&Response::Gone),
        json(&Response::Failed("x".into())),
    ]);
    all.extend(news().into_iter().map(|event| json(&Response::Event(event))));
    all
}

/// Frames, one after the other.
pub fn frames() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for frame in [&b""[..], b"\"gather\"", b"{\"failed\":\"x\"}"] {
        kubewan_core::frame::write(&mut stream, frame).expect("a frame");
    }
    vec![
        stream,
        b"Segmentation fault\n".to_vec(),
        b"\0\x80\0\0x".to_vec(),
        b"\0\x80\0\x01".to_vec(),
    ]
}

/// What kubectl prints of a cluster that somebody made.
pub fn living() -> Vec<Vec<u8>> {
    let node = json!({
        "metadata": { "name": "cp", "labels": { "node-role.kubernetes.io/control-plane": "", "disk": "ssd" } },
        "spec": { "taints": [{ "key": "gpu", "value": "yes", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z" }] },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "198.51.100.10" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
            "nodeInfo": { "kubeletVersion": "v1.36.2", "containerRuntimeVersion": "containerd://1.7.24", "machineID": "m" },
        },
    });
    let config = "kubernetesVersion: v1.36.2\nclusterName: shop\netcd: {local: {}}\nnetworking: {podSubnet: 10.244.0.0/16, \
        serviceSubnet: 10.96.0.0/12, dnsDomain: cluster.local}\n";
    let conf = r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}"#;
    let map = |name: &str, key: &str, text: &str| json!({ "metadata": { "name": name }, "data": { key: text } });
    let mut flannel = kubewan_core::render::flannel::cni();
    flannel["data"]["net-conf.json"] = conf.into();
    let maps = [
        map("kubeadm-config", "ClusterConfiguration", config),
        map("kubelet-config", "kubelet", "cgroupDriver: systemd\nmaxPods: 110\n"),
        map("kube-proxy", "config.conf", "mode: iptables\nconntrack: {maxPerCore: 0}\n"),
        flannel,
    ];
    let said = json!({
        "nodes": { "items": [node] },
        "configMaps": { "items": maps },
        "daemonSets": { "items": [kubewan_core::render::flannel::daemon_set("i", "p", "{}")] },
    });
    vec![said.to_string().into_bytes()]
}

/// What living clusters were built from.
pub fn records() -> Vec<Vec<u8>> {
    vec![json(&Recorded::of(&inventory(), &BTreeMap::new()))]
}

/// Inventories that are whole, for few mistakes at a time.
pub fn inventories() -> Vec<Vec<u8>> {
    let text = "name: home\nkubernetes: { version: \"1.36.2\" }\nhosts:\n\
        - { name: a, address: 198.51.100.10, roles: [control-plane] }\n";
    vec![
        serde_saphyr_text(&inventory()),
        json(&inventory()),
        text.into(),
        format!("{text}runtime:\n  containerd: {{ version: 3, debug: {{ level: info }} }}\n").into(),
        format!("{text}network: {{ podSubnet: 172.20.0.0/16, serviceSubnet: 172.24.0.0/16, mtu: 1400 }}\n").into(),
    ]
}

/// Block style, as people write it.
fn serde_saphyr_text(inventory: &Inventory) -> Vec<u8> {
    let hosts: Vec<String> = inventory
        .hosts
        .iter()
        .map(|host| {
            let role = if host.is_control_plane() { "control-plane" } else { "worker" };
            let name = &host.name;
            format!(
                "  - name: {name}\n    address: {}\n    roles:\n      - {role}\n    labels:\n      \
                     example.org/disk: ssd\n    ssh:\n      user: ubuntu\n      port: 2222\n",
                host.address
            )
        })
        .collect();
    format!(
        "# a comment\nname: home\nkubernetes:\n  version: 1.36.2\n  kubelet:\n    maxPods: 50\nfirewall: open\nhosts:\n{}",
        hosts.concat()
    )
    .into_bytes()
}

/// Bundles.
pub fn bundles() -> Vec<Vec<u8>> {
    let sha = "0".repeat(64);
    let line = |rest: &str| {
        format!("  - {{ {rest}, version: \"1\", arch: amd64, size: 1, sha256: \"{sha}\" }}\n")
    };
    let lines = line("kind: binary, name: kubeadm, path: bin/kubeadm")
        + &line("kind: package, name: runc, path: packages/runc.deb, distribution: debian-12")
        + &line("kind: image, name: \"registry.k8s.io/pause:3.10\", path: images/pause.tar.zst");
    let text = format!(
        "format: 1\nkubernetes: \"1.36.2\"\nrehearsal: true\nprovenance: |\n  x\nartifacts:\n{lines}"
    );
    vec![text.into_bytes()]
}

/// Configurations of Docker, good ones and one with slips.
pub fn daemons() -> Vec<Vec<u8>> {
    [
        "{\"exec-opts\": [\"native.cgroupdriver=cgroupfs\", \"x\"], \"log-opts\": {\"max-file\": \"3\"}}",
        "{\"log-driver\": \"journald\", \"storage-driver\": \"btrfs\", \"insecure-registries\": [\"192.0.2.9\"]}",
        "{\n  \"registry-mirrors\": [ \"https://192.0.2.9:5000\" ] # mine\n  \"debug\": true // yes\n}\n",
        "",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Files with and without a block of ours.
pub fn hosts_files() -> Vec<Vec<u8>> {
    use kubewan_core::action::Block;
    let (begin, end) = (Block::BEGIN, Block::END);
    let hosts = "127.0.0.1 localhost\n::1 ip6-localhost\n";
    let block = format!("{begin}\n198.51.100.10 a\n{end}\n");
    [
        hosts.to_owned(),
        format!("{hosts}{block}"),
        format!("{block}{hosts}"),
        format!("{hosts}{block}192.0.2.1 x\n{block}"),
        format!("{hosts}{begin}\n192.0.2.1 x\n"),
        format!("{end}\n{hosts}"),
        "x".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// The outline of a certificate in DER: elements in elements.
pub fn certificates() -> Vec<Vec<u8>> {
    let element = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let inner = [&[0xa0_u8, 1, 2][..], &[2, 1, 7].repeat(6), &[0x30, 2, 5, 0]].concat();
    let short = element(0x30, &element(0x30, &inner));
    let long = [&[0x30, 0x81, inner.len() as u8][..], &inner].concat();
    vec![element(0x30, &long), short]
}

/// Objects of the API.
pub fn nodes() -> Vec<Vec<u8>> {
    let taint =
        |key: &str, value: &str| json!({ "key": key, "value": value, "effect": "NoSchedule" });
    let condition = json!([{ "type": "Ready", "status": "True" }]);
    let node = json!({
        "kind": "Node",
        "metadata": { "name": "n", "resourceVersion": "7", "labels": { "a": "1" },
            "annotations": { "kubewan/managed": "{\"labels\":[\"b\"],\"taints\":[[\"gpu\",\"NoSchedule\"]]}" } },
        "spec": { "unschedulable": true, "taints": [taint("gpu", "old"), taint("theirs", "x"),
            { "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" },
            { "key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z" }] },
        "status": { "conditions": condition },
    });
    let pod = json!({
        "metadata": { "name": "coredns-1" }, "spec": { "nodeName": "n" },
        "status": { "phase": "Running", "conditions": condition },
    });
    let secret = json!({ "data": { "token-secret": "MDEyMzQ1Njc4OWFiY2RlZg==", "expiration": "MjAyNg==",
        "usage-bootstrap-authentication": "dHJ1ZQ==", "usage-bootstrap-signing": "dHJ1ZQ==" } });
    [node.clone(), secret, json!({ "items": [pod.clone(), pod] }), json!({ "items": [node] })]
        .iter()
        .map(json)
        .collect()
}

/// IPv4 packets with a UDP datagram that says a name, and with the first segment of a TCP connection, its options among
/// them; the same cut to pieces, IPv6, and the answers.
pub fn datagrams() -> Vec<Vec<u8>> {
    let header = [0x45, 0, 0, 41, 0, 1, 0x40, 0, 64, 17, 0, 0, 203, 0, 113, 7, 10, 0, 4, 7];
    let datagram = [0xc3, 0x50, 0x21, 0x18, 0, 14, 0, 0];
    let tcp = [0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 203, 0, 113, 7, 10, 0, 4, 7];
    let syn = [0x9c, 0x40, 0x19, 0x2b, 1, 2, 3, 4, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0];
    let options = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
    let knock = [&tcp[..], &syn[..], &options[..]].concat();
    let with_ip_options = [&[0x46, 0, 0, 64], &tcp[4..], &[1, 1, 1, 0], &knock[20..]].concat();
    let first_piece = [&knock[..6], &[0x20, 0], &knock[8..]].concat();
    let ipv6 = [&[0x60, 0, 0, 0, 0, 40, 6, 64][..], &[0xfd; 32], &knock[20..]].concat();
    vec![
        [&header[..], &datagram[..], b" node1"].concat(),
        b" 203.0.113.7\n".to_vec(),
        knock[..43].to_vec(),
        knock,
        with_ip_options,
        first_piece,
        ipv6,
    ]
}

/// What registries and servers answer, with their heads, and a record.
pub fn mirrors() -> Vec<Vec<u8>> {
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let sum = "a1".repeat(32);
    [
        format!("HTTP/1.1 200 OK\r\nDocker-Content-Digest: sha256:{sum}\r\n\r\n{manifest}"),
        "HTTP/1.1 401 Unauthorized\r\nWww-Authenticate: Bearer realm=\"https://r.example/token\",service=\"r\"\r\n\r\n{}".to_owned(),
        format!("HTTP/1.0 200 Connection established\r\n\r\nHTTP/2 302 \r\nlocation: /x\r\n\r\nHTTP/2 200 \r\n\r\n{sum}  kubeadm\n"),
        "HTTP/1.1 200 OK\n\n-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: x\nSHA256:\n".to_owned(),
        r#"{"token":"abc","expires_in":300}"#.to_owned(),
        r#"{"format":1,"mirrors":{"mirrors.images: ghcr.io":{"server":"https://m","why":"the first of 2","digests":{"flannel:v1":"sha256:00"}}}}"#.to_owned(),
        "spec:\n  containers:\n  - image: r.example/k8s/kube-apiserver:v1.36.2\n".to_owned(),
        "server = \"https://m.example\"\n[host.\"https://m.example\"]\n".to_owned(),
        "confdir /etc/chrony/conf.d\nsourcedir /run/chrony-dhcp\nsourcedir /etc/chrony/sources.d\n".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
