//! A host with a cluster on it, without what is random: certificates by what they say, keys by their modes, the
//! cluster's objects without the server's own fields.

use std::thread::sleep;
use std::time::{Duration, Instant};

use kubewan_lab::{Allow, HostSnapshot};
use serde_json::Value;

use crate::support::looks::{allow, look};
use crate::support::{HOSTS, Stage};

/// What two runs that nobody stopped leave differently too, and why.
pub const LEFT_OUT: &[Allow<'static>] = &[
    allow("file /var/lib/kubewan/runs/**", "a run's events, below its name"),
    allow(
        "file /var/lib/kubewan/journal.jsonl",
        "holds the times; that it leads back, `reset` shows",
    ),
    allow("file /var/lib/kubewan/blobs/**", "as the journal"),
    allow("file /var/lib/kubewan/agent/seen.json", "what it saw of files, with inodes and times"),
    allow("file /var/lib/kubewan/agent/*/whole", "when the agent was found whole, as it is"),
    allow("file /var/lib/kubewan/kubectl-cache/**", "what kubectl found out, with times"),
    allow("file /var/lib/etcd/**", "the database of a cluster of its own"),
    allow("file /var/lib/containerd/**", "names and databases made at random; images are compared"),
    allow("mount /run/containerd/**", "of containers, which have random names"),
    allow("unit run-containerd-**", "the same mounts as units"),
    allow("file /var/lib/kubelet/pods/**", "below the pods' random names"),
    allow("mount /var/lib/kubelet/pods/**", "the same"),
    allow("unit var-lib-kubelet-pods-**", "the same mounts as units"),
    allow("file /var/lib/kubelet/checkpoints/**", "of pods"),
    allow("file /var/lib/kubelet/a*ated_pods_state", "what pods were given, by their random names"),
    allow("file /var/lib/cni**", "of pods, which the scheduler puts on any node"),
    allow(
        "process ip*tables*",
        "kube-proxy, the kubelet and flannel run it for a moment now and then",
    ),
    allow("process coredns", "a pod that the scheduler puts on any node"),
    allow("mount /run/netns/cni-*", "of pods"),
    allow("unit run-netns-cni**", "the same mounts as units"),
    allow("link veth*", "of pods"),
    allow("link cni0", "made with a node's first pod"),
    allow("address cni0 **", "the same"),
    allow("route -4 ** dev cni0 **", "the same"),
    allow("nft ip nat", "kube-proxy's chains are named after pods' addresses"),
    allow("file /var/log/**", "what programs tell, with times"),
    allow("file /var/cache/apt/**", "apt's indexes of files, with their times"),
    allow("file /var/lib/apt/**", "apt's own notes"),
    allow("file /var/tmp/systemd-private-**", "systemd names these anew at every boot"),
    allow("file /home/admin/.sudo_as_admin_successful", "sudo's mark at somebody's first use"),
    allow("object ** .metadata.uid", "made at random"),
    allow("object ** .metadata.resourceVersion", "counts the server's writes"),
    allow("object ** .metadata.generation", "counts writes"),
    allow("object ** .metadata.creationTimestamp", "a time"),
    allow("object ** .metadata.managedFields**", "who wrote which field, with times"),
    allow("object nodes ** .status.conditions[*].last*Time", "a time"),
    allow("object deployments.apps ** .status.conditions[*].last*Time", "a time"),
    allow("object nodes ** .status.nodeInfo.bootID", "made at every boot"),
    allow(
        "object nodes ** .status.images**",
        "in the order of sizes and times; images are compared",
    ),
    allow("object nodes ** .spec.podCIDR*", "given in the order in which nodes ask"),
    allow(
        "object nodes ** .metadata.annotations.flannel.alpha.coreos.com|backend-data",
        "a random MAC address",
    ),
    allow(
        "object configmaps kube-public/cluster-info .data.**",
        "the random authority, signed with random tokens",
    ),
    allow("object configmaps */kube-root-ca.crt .data.ca.crt", "the random authority"),
    allow(
        "object configmaps kube-system/extension-apiserver-authentication .data.*-ca-file",
        "random authorities",
    ),
];

/// How long pods may take that a stop has started anew: `up` waits for what it has to do, not for Kubernetes' own rounds.
const SETTLES: Duration = Duration::from_secs(120);

/// Waits until all pods that there are to be are available; what never is shows in the look.
fn settle(stage: &Stage) {
    let began = Instant::now();
    while began.elapsed() < SETTLES {
        let json = stage.kubectl("get daemonsets.apps,deployments.apps -A -o json");
        let list: Value = serde_json::from_str(&json).expect("a list in JSON");
        let waits = |object: &&Value| {
            let of = |field: &str| object["status"][field].as_u64();
            of("desiredNumberScheduled") > of("numberAvailable").or(Some(0))
                || of("replicas") > of("availableReplicas").or(Some(0))
        };
        let waiting = list["items"].as_array().expect("a list").iter().find(waits);
        let Some(object) = waiting else { break };
        eprintln!("  waiting for {}", object["metadata"]["name"]);
        sleep(Duration::from_secs(3));
    }
    // kube-proxy writes its rules at most once a second.
    sleep(Duration::from_secs(2));
}

/// One look at every host, and at the cluster from the first.
pub fn looks(stage: &Stage) -> Vec<HostSnapshot> {
    settle(stage);
    let mut looks: Vec<HostSnapshot> = HOSTS.iter().map(|host| canonical(stage, host)).collect();
    objects(stage, &mut looks[0]);
    let subnets = pod_subnets(stage);
    for seen in &mut looks {
        let named = |text: String| subnets.iter().fold(text, |t, (from, to)| t.replace(from, to));
        let items = std::mem::take(&mut seen.items);
        seen.items = items.into_iter().map(|(item, value)| (named(item), named(value))).collect();
    }
    looks
}

/// Nodes get their part of the pod subnet in the order in which they ask: `10.244.2.` is `pods-of-node01.`
fn pod_subnets(stage: &Stage) -> Vec<(String, String)> {
    let each = "{range .items[*]}{.metadata.name} {.spec.podCIDR}{\"\\n\"}{end}";
    let said = stage.kubectl(&format!("get nodes -o 'jsonpath={each}'"));
    let parts = said.lines().filter_map(|line| {
        let (node, subnet) = line.split_once(' ')?;
        Some((subnet.strip_suffix("0/24")?.to_owned(), format!("pods-of-{node}.")))
    });
    parts.collect()
}

fn canonical(stage: &Stage, host: &str) -> HostSnapshot {
    let mut seen = HostSnapshot::default();
    for (item, value) in look(stage, host).items {
        if let Some(path) = item.strip_prefix("file ").filter(|path| holds_keys(path)) {
            // `file 0600 0:0 HASH` without the hash; a link without the time in its target's name.
            let end = if value.starts_with("file ") { value.rfind(' ') } else { None };
            let value = without_time(&value[..end.unwrap_or(value.len())]);
            seen.items.insert(format!("file {}", without_time(path)), value);
        } else if item.starts_with("nft ") {
            // The kubelet and kube-proxy both write this rule, by iptables of different versions, of which nft can read the newer
            // one's target only: who came last is anyone's guess.
            seen.items.insert(item, value.replace("counter masquerade fully-random", "counter"));
        } else {
            seen.items.insert(item, value);
        }
    }
    for image in stage.on(host, "ctr -n k8s.io images ls -q").lines() {
        // Names only: each image has its digest as a name too.
        if !image.starts_with("sha256:") && !image.contains('@') {
            seen.items.insert(format!("image {image}"), "there".into());
        }
    }
    for line in stage.on(host, CERTIFICATES).lines() {
        if let Some((path, said)) = line.split_once('|') {
            seen.items.insert(format!("certificate {}", without_time(path)), without_time(said));
        }
    }
    seen
}

fn holds_keys(path: &str) -> bool {
    path.starts_with("/etc/kubernetes/pki/")
        || path.starts_with("/var/lib/kubelet/pki/")
        || (path.starts_with("/etc/kubernetes/") && path.ends_with(".conf"))
}

/// Every certificate of Kubernetes', in files of its own and in kubeconfigs, by what it says; and whether the cluster's
/// authority made it.
const CERTIFICATES: &str = r#"
say() {
  openssl x509 -noout -subject -issuer -ext subjectAltName,keyUsage,extendedKeyUsage,basicConstraints 2> /dev/null |
    tr -s ' \n' ' '
}
made_by() { openssl verify -CAfile "$1" 2> /dev/null | grep -q OK && printf ' made by %s' "$1"; }
cd /
for file in etc/kubernetes/pki/*.crt etc/kubernetes/pki/etcd/*.crt var/lib/kubelet/pki/*.crt var/lib/kubelet/pki/*.pem; do
  [ -f "$file" ] || continue
  echo "/$file|$(say < "$file")$(for ca in etc/kubernetes/pki/*ca.crt etc/kubernetes/pki/etcd/ca.crt; do
    made_by "$ca" < "$file"; done)"
done
for file in etc/kubernetes/*.conf; do
  [ -f "$file" ] || continue
  echo "/$file|$(grep -E '^ *(server|namespace|client-certificate|client-key): ' "$file" | tr -s ' \n' ' ')$(
    sed -n 's/.*client-certificate-data: //p' "$file" | base64 -d | say)"
done
"#;

/// Names of the kubelet's files carry the time (`kubelet-client-2026-01-02-03-04-05.pem`), the name in its own
/// certificate too (`master01@1790000000`).
fn without_time(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        let digits = run.chars().filter(char::is_ascii_digit).count();
        let is_time = (digits == 10 && !run.contains('-')) || (digits == 14 && run.contains('-'));
        out += before;
        out += if is_time { "TIME" } else { run };
        rest = after;
    }
    out + rest
}

/// Kinds of the cluster's objects that are compared.
const KINDS: [&str; 4] = ["nodes", "configmaps", "daemonsets.apps", "deployments.apps"];

fn objects(stage: &Stage, seen: &mut HostSnapshot) {
    for kind in KINDS {
        let json = stage.kubectl(&format!("get {kind} -A -o json"));
        let list: Value = serde_json::from_str(&json).expect("a list in JSON");
        for object in list["items"].as_array().expect("a list") {
            let metadata = &object["metadata"];
            let place = metadata["namespace"].as_str().unwrap_or("-");
            let name = metadata["name"].as_str().expect("a name");
            let mut leaves = Vec::new();
            flatten(object, String::new(), &mut leaves);
            for (path, value) in leaves {
                seen.items.insert(format!("object {kind} {place}/{name} {path}"), value);
            }
        }
    }
}

/// One line per value: `.spec.replicas` is `2`.
fn flatten(value: &Value, path: String, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                // A slash would end what `*` of an allowance covers.
                flatten(value, format!("{path}.{}", key.replace('/', "|")), leaves);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                flatten(value, format!("{path}[{at}]"), leaves);
            }
        }
        Value::String(text) => leaves.push((path, text.clone())),
        other => leaves.push((path, other.to_string())),
    }
}

#[test]
fn times_are_taken_out_and_nothing_else() {
    assert_eq!(without_time("kubelet-client-2026-01-02-03-04-05.pem"), "kubelet-client-TIME.pem");
    assert_eq!(without_time("subject=CN = master01@1790000000 x"), "subject=CN = master01@TIME x");
    assert_eq!(without_time("file 0600 0:0"), "file 0600 0:0");
    assert_eq!(without_time("IP Address:198.51.100.10, 10-4"), "IP Address:198.51.100.10, 10-4");
}
