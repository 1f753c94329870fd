//! What the doctor looks at.

use std::net::Ipv4Addr;

use kubewan_core::container_log::{in_cri_format, message};
use kubewan_core::evidence::{Component, HostEvidence, Log};
use kubewan_core::facts::{ClusterState, Facts};
use kubewan_core::inventory::{Acceptance, Firewall, Host, Inventory, Network};
use kubewan_core::versions::Version;

use crate::cluster::{Cluster, NodeState};
use crate::date::stamp;
use crate::diagnosis::Quote;

/// Age in seconds of a line that tells of now: kubelets try again at least every two minutes.
const NOW_S: i64 = 120;

/// The same of a container that ends again and again: the kubelet waits up to five minutes before it starts it anew.
const LATELY_S: i64 = 400;

/// Where kubeadm writes the kubelet's configuration.
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// All evidence there is.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The hosts, in the operator's order; the one nameless host of a text that was pasted.
    pub hosts: Vec<HostCase>,
    /// What the API said; `None` where it was not asked.
    pub cluster: Option<Cluster>,
    /// The operator's clock, seconds since 1970.
    pub now_unix: i64,
}

/// One host's evidence.
#[derive(Clone, Debug, Default)]
pub struct HostCase {
    /// Its name; `None` for a text that was pasted.
    pub name: Option<String>,
    /// Its public address.
    pub address: Option<Ipv4Addr>,
    /// It is to run a control plane.
    pub is_control_plane: bool,
    /// What the inventory says about its firewall.
    pub firewall: Option<Firewall>,
    /// The inventory lives with its swap.
    pub may_swap: bool,
    /// Addresses and backend of the cluster's networks.
    pub network: Option<Network>,
    /// Kubernetes' version that the inventory asks for.
    pub kubernetes: String,
    /// The inventory has Docker run its pods.
    pub is_to_use_docker: bool,
    /// What it said of itself; `None` for a text that was pasted.
    pub facts: Option<Facts>,
    /// Logs and the rest.
    pub evidence: HostEvidence,
    /// How far its clock is ahead of the operator's for certain, milliseconds.
    pub clock_offset_ms: i64,
    /// Whether it reaches the API at its own public address, or why not; `None` where that was not tried.
    pub own_api: Option<Result<(), String>>,
    /// Why it could not be asked: a code and what came back.
    pub unreachable: Option<(String, String)>,
}

impl Case {
    /// A text that someone pasted: lines of journals, JSON of etcd, output of kubeadm, files, in any mixture.
    pub fn pasted(source: &str, text: &str) -> Case {
        let log = Log {
            component: Component::Pasted,
            source: source.into(),
            text: in_cri_format(text).into_owned(),
            recent: true,
        };
        let evidence = HostEvidence { logs: vec![log], ..HostEvidence::default() };
        Case { hosts: vec![HostCase { evidence, ..HostCase::default() }], ..Case::default() }
    }

    /// Hosts that could be asked.
    pub fn present(&self) -> impl Iterator<Item = &HostCase> {
        self.hosts.iter().filter(|host| host.unreachable.is_none())
    }

    /// A host's node, as the API has it.
    pub fn node(&self, host: &HostCase) -> Option<&NodeState> {
        let name = host.name.as_ref()?;
        self.cluster.as_ref()?.nodes.iter().find(|node| node.name == *name)
    }

    /// The host's pods run by Docker: its kubelet is told so, or its node says so, or else the inventory asks for it.
    pub fn uses_docker(&self, host: &HostCase) -> bool {
        let node = self.node(host).map(|node| node.runtime.as_str());
        let node = node.filter(|runtime| !runtime.is_empty());
        let of_node = || Some(node?.starts_with("docker://"));
        host.is_told_docker().or_else(of_node).unwrap_or(host.is_to_use_docker)
    }

    /// The host's node is not well, or nobody can tell: a text that was pasted, an API that is silent.
    pub fn node_may_be_ill(&self, host: &HostCase) -> bool {
        match (&self.cluster, self.node(host)) {
            _ if host.is_pasted() => true,
            (Some(_), Some(node)) => !node.ready,
            (Some(cluster), None) => cluster.silent.is_some() || host.has_cluster(),
            (None, _) => host.has_cluster(),
        }
    }
}

impl HostCase {
    /// A host of an inventory, before it was asked.
    pub fn new(inventory: &Inventory, host: &Host, address: Option<Ipv4Addr>) -> HostCase {
        HostCase {
            name: Some(host.name.clone()),
            address,
            is_control_plane: host.is_control_plane(),
            firewall: inventory.firewall_of(host),
            may_swap: inventory.accepted(host, Acceptance::SwapReturns).is_some(),
            network: Some(inventory.network.clone()),
            kubernetes: inventory.kubernetes.version.clone(),
            is_to_use_docker: inventory.is_docker(),
            ..HostCase::default()
        }
    }

    /// Its name for a diagnosis.
    pub fn who(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// It is no host but a text.
    pub fn is_pasted(&self) -> bool {
        self.facts.is_none()
    }

    /// kubeadm has made something here.
    pub fn has_cluster(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.kubernetes.state != ClusterState::None)
    }

    /// It runs a control plane, or began to.
    pub fn has_control_plane(&self) -> bool {
        let manifests = |facts: &Facts| !facts.kubernetes.manifests.is_empty();
        self.is_control_plane && self.facts.as_ref().is_some_and(manifests)
    }

    /// Whether its kubelet was told to start containers by Docker; `None` where it was told of no runtime. By its own dockershim it
    /// does so where kubeadm gave it no runtime but a `--network-plugin`, which only dockershim takes
    /// (`buildKubeletArgMapCommon` in cmd/kubeadm/app/phases/kubelet/flags.go, up to 1.23).
    fn is_told_docker(&self) -> Option<bool> {
        let args = self.facts.iter().flat_map(|facts| &facts.kubernetes.kubelet_args);
        let args: Vec<&str> = args.map(String::as_str).collect();
        let config = self.file(KUBELET_CONFIG).into_iter().flat_map(str::lines);
        let sockets: Vec<&str> = { args.iter().copied() }
            .filter(|arg| arg.contains("--container-runtime-endpoint"))
            .chain(config.filter(|line| line.contains("containerRuntimeEndpoint")))
            .chain(args.iter().copied().filter(|arg| arg.starts_with("unix://")))
            .collect();
        let any = |names: &[&str]| sockets.iter().any(|socket| has_any(socket, names));
        if any(&["cri-dockerd.sock", "dockershim.sock"]) {
            return Some(true);
        }
        if any(&["containerd.sock", "crio.sock"]) {
            return Some(false);
        }
        let is_remote = any(&["unix://"]) || args.contains(&"--container-runtime=remote");
        let is_dockershims = |arg: &&str| arg.starts_with("--network-plugin=");
        (!is_remote && args.iter().any(is_dockershims)).then_some(true)
    }

    /// The kubelet itself speaks to Docker, as those up to 1.23 can.
    pub fn has_dockershim(&self) -> bool {
        let kubelet = self.facts.iter().find_map(|facts| facts.kubernetes.kubelet.as_deref());
        let release = kubelet.and_then(|v| v.parse::<Version>().ok()?.release());
        release.is_some_and(|release| release.dockershim)
    }

    /// Nobody listens on a TCP port of a control plane, or it is a text that was pasted.
    pub fn control_plane_lacks(&self, port: u16) -> bool {
        let Some(facts) = &self.facts else { return true };
        let listens = facts.listeners.iter().any(|l| l.protocol == "tcp" && l.port == port);
        self.has_control_plane() && !listens
    }

    /// The last line, of one of these or pasted, that is wanted.
    pub fn said(&self, by: &[Component], wanted: impl Fn(&str) -> bool) -> Option<Quote> {
        self.last_line(by, None, wanted)
    }

    /// The same, but not older than [`NOW_S`]: of what is tried again all the time.
    pub fn says_now(&self, by: &[Component], wanted: impl Fn(&str) -> bool) -> Option<Quote> {
        self.last_line(by, Some(NOW_S), wanted)
    }

    /// The same, but not older than [`LATELY_S`]: of a container that is started again and again.
    pub fn said_lately(&self, by: &[Component], wanted: impl Fn(&str) -> bool) -> Option<Quote> {
        self.last_line(by, Some(LATELY_S), wanted)
    }

    /// When one of these said so last, by its line's own stamp.
    pub fn said_at(&self, by: &[Component], wanted: impl Fn(&str) -> bool) -> Option<i64> {
        let logs = self.evidence.logs.iter().filter(|log| by.contains(&log.component));
        { logs }
            .flat_map(|log| log.text.lines())
            .filter(|line| wanted(message(line)))
            .filter_map(stamp)
            .max()
    }

    fn last_line(
        &self,
        by: &[Component],
        within: Option<i64>,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<Quote> {
        let clock = self.facts.as_ref().map_or(0, |facts| facts.clock_unix_ms / 1000);
        let is_new = |line: &str| {
            let age = |stamp: i64| clock.saturating_sub(stamp);
            within.is_none_or(|most| stamp(line).is_some_and(|stamp| age(stamp) <= most))
        };
        let of = |log: &&Log| log.component == Component::Pasted || by.contains(&log.component);
        for log in self.evidence.logs.iter().filter(of) {
            let pasted = log.component == Component::Pasted;
            let lines: Vec<&str> = log.text.lines().collect();
            let found = lines
                .iter()
                .enumerate()
                .rev()
                .find(|(_, line)| wanted(message(line)) && (pasted || is_new(line)));
            if let Some((number, line)) = found {
                let source = match pasted {
                    true => format!("{}:{}", log.source, number + 1),
                    false => log.source.clone(),
                };
                return Some(Quote::new(source, message(line)));
            }
        }
        None
    }

    /// All lines that are there, of whichever log.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.evidence.logs.iter().flat_map(|log| log.text.lines())
    }

    /// A small file that was read.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.evidence.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// A unit's state, where it was asked for.
    pub fn unit(&self, name: &str) -> Option<&kubewan_core::evidence::UnitState> {
        self.evidence.units.iter().find(|unit| unit.name == name)
    }

    /// Something that the host said of itself.
    pub fn quote(&self, source: &str, text: impl AsRef<str>) -> Quote {
        Quote::new(source, text.as_ref())
    }
}

/// Rows of `kubectl get nodes` in a text: a node's name and its status, the last of each.
pub fn node_rows(host: &HostCase) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in host.lines() {
        // NAME STATUS ROLES AGE VERSION
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, status, _, _, version, ..] = words[..] else { continue };
        let is_row = matches!(status.split(',').next(), Some("Ready" | "NotReady"))
            && version.starts_with("v1.");
        if is_row {
            rows.retain(|(known, _)| known != name);
            rows.push((name.into(), status.into()));
        }
    }
    rows
}

/// All of these words are in a line.
pub fn has_all(line: &str, words: &[&str]) -> bool {
    words.iter().all(|word| line.contains(word))
}

/// Any of these words is in a line.
pub fn has_any(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| line.contains(word))
}

/// The IPv4 addresses in a line, in their order.
pub fn addresses(line: &str) -> impl Iterator<Item = Ipv4Addr> {
    line.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.trim_matches('.').parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_a_line() {
        let found: Vec<Ipv4Addr> = addresses("listen tcp 198.51.100.10:2380: v1.2.3").collect();
        assert_eq!(found, [Ipv4Addr::new(198, 51, 100, 10)]);
    }
}
