//! A node that joins.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::action::KubeadmJoin;
use kubewan_core::action::kubeadm::JoinSeen;
use kubewan_core::api::is_transient;
use kubewan_core::versions::{Release, Version};

use super::super::cluster::{change, wait_for, with_conf};
use super::super::kubelet;
use super::super::{Host, Performing};
use super::config::Config;
use super::parts::{is_marked, missing_files_of_joined};
use super::{
    BOOTSTRAP_CONF, ConfigFile, KUBELET_CONF, KUBELET_CONFIG, failure, last_lines, remove_file,
    second_run, set_aside,
};
use crate::command::Program;
use crate::facts::systemd::Unit;
use crate::facts::{Ownership, ownership};

/// Name of the configuration's file while kubeadm runs.
const CONFIG_FILE: &str = "kubeadm-join.yaml";
/// Name of the file by which kubeadm finds the cluster.
const DISCOVERY_FILE: &str = "discovery.conf";

/// Where flannel tells its plugin the range of the node's pods.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// The bridge of the node's pods.
const BRIDGE: &str = "/sys/class/net/cni0";

/// How long a kubelet may take to register its node.
const REGISTERS: Duration = Duration::from_secs(90);

/// How long the API server of a control plane may take after its parts were mended: the kubelet may be waiting before it
/// starts one anew that failed without them.
const MENDED: Duration = Duration::from_secs(330);

/// How long a node whose kubelet was stopped may take to be seen as not ready:
/// `--node-monitor-grace-period` is 50 s (40 s before 1.32).
const GOES_UNREADY: Duration = Duration::from_secs(120);

/// The phases that make a node a control plane, each of which may come again; see [`is_member_already`].
const CONTROL_PLANE: [&str; 3] = ["control-plane-prepare/all", ETCD_JOIN, MARK];

/// Adds this host's etcd to the members. Before, it was called [`ETCD_JOIN_BEFORE`] ([`Release::etcd_join`]).
const ETCD_JOIN: &str = "etcd-join";
/// See [`ETCD_JOIN`].
const ETCD_JOIN_BEFORE: &str = "control-plane-join/etcd";
/// The label and the taints.
const MARK: &str = "control-plane-join/mark-control-plane";

/// Runs of `kubeadm join` that a way to the API may fail that comes and goes.
const TRIES: u32 = 3;

/// What the API says of this node.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    There {
        marked: bool,
    },
    Missing,
    Unknown(String),
    /// The API does not know the kubelet's credentials, or the kubelet not the API's.
    Stranger,
}

/// Looks how far the join is.
///
/// # Errors
/// Fails where the journal can't be read.
pub fn observe_kubeadm_join(goal: &KubeadmJoin, host: &Host) -> Result<JoinSeen, String> {
    let owned = ownership(host)?;
    let mut seen = JoinSeen {
        begun: owned.join_begun,
        ended: owned.join_ended,
        foreign: owned.foreign(),
        ..JoinSeen::default()
    };
    for (path, name) in [(KUBELET_CONF, "kubelet.conf"), (KUBELET_CONFIG, "kubelet-config")] {
        if !Path::new(path).exists() {
            seen.missing.push(name.into());
        }
    }
    if seen.begun && goal.control_plane {
        seen.missing.extend(missing_files_of_joined());
    }
    if seen.begun && Path::new(KUBELET_CONF).exists() {
        match node(host, &goal.node) {
            Node::There { marked: false } if goal.control_plane => seen.missing.push(MARK.into()),
            Node::There { .. } => {}
            Node::Missing => seen.missing.push("node".into()),
            // The cluster was made anew, or the certificate has ended: only a new join gives others.
            Node::Stranger => seen.missing.push("credentials".into()),
            Node::Unknown(words) => seen.unreachable = Some(words),
        }
    }
    Ok(seen)
}

/// Asks with the kubelet's own credentials: a node may read itself (`plugin/pkg/auth/authorizer/node`).
fn node(host: &Host, name: &str) -> Node {
    let program = with_conf(host, KUBELET_CONF)
        .args(["--request-timeout=10s", "get", "node", name, "-o", "json"])
        .timeout(Duration::from_secs(20));
    match program.stdout() {
        Ok(text) => {
            let node = serde_json::from_str(&text).unwrap_or_default();
            Node::There { marked: is_marked(&node) }
        }
        Err(error) => classify(error),
    }
}

fn classify(error: String) -> Node {
    let says = |words: &str| error.contains(words);
    if says("(NotFound)") {
        Node::Missing
    } else if says("(Unauthorized)") || says("x509: certificate signed by unknown authority") {
        Node::Stranger
    } else {
        Node::Unknown(error)
    }
}

/// Joins, finishes a join that was cut short, or joins again.
///
/// # Errors
/// kubeadm's last lines and the kubelet's.
pub fn perform_kubeadm_join(
    goal: &KubeadmJoin,
    seen: &JoinSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    super::before_kubeadm(!seen.begun, (&seen.foreign, "join"), goal.control_plane, cx)?;
    cx.refused = false;
    if seen.missing.iter().any(|part| part == "node") {
        leave_former_node(goal, cx)?;
    }
    if seen.begun && goal.control_plane {
        if go_on_as_control_plane(goal, seen, cx)? {
            return Ownership::mark_join(cx.host);
        }
    } else if seen.begun {
        if second_run::clear_other_cluster(&goal.discovery)? {
            (cx.progress)("removed the credentials of another cluster's authority");
        } else if is_joined(seen) && only_node_missing(goal, seen, cx)? {
            return Ownership::mark_join(cx.host);
        }
    }
    run_join(goal, seen.begun, cx)?;
    registered(goal, REGISTERS, cx)?;
    Ownership::mark_join(cx.host)
}

/// A control plane whose kubelet has all it needs lacks only what makes it one: as `kubeadm join` would refuse a node
/// that is ready, the phases for that are run alone. Answers whether that was it; else the whole join comes again.
fn go_on_as_control_plane(
    goal: &KubeadmJoin,
    seen: &JoinSeen,
    cx: &mut Performing<'_>,
) -> Result<bool, String> {
    if second_run::has_other_cluster(&goal.discovery) {
        return Err(
            "this host is a control plane of a cluster that was made before this one, with that one's etcd: give all \
             hosts back with `kubewan reset`, then run `kubewan up`"
                .into(),
        );
    }
    let is_phase = |part: &String| part.contains('/') || part == ETCD_JOIN;
    // The kubelet of a control plane asks the API server beside it, which may be what is missing.
    let node_is_there = seen.ended || seen.unreachable.is_none();
    let mut whole = !node_is_there || !seen.missing.iter().all(is_phase);
    if whole || !seen.ended {
        for path in second_run::clear_remains(false)? {
            (cx.progress)(&format!("removed {path}, left by the run that was cut short"));
            whole |= path == KUBELET_CONF;
        }
    }
    if whole {
        return Ok(false);
    }
    // Of one that was cut short nobody knows how far etcd has taken its member in.
    let (phases, config) = match seen.ended {
        true => (seen.missing.clone(), hasty(&goal.config)),
        false => (CONTROL_PLANE.map(str::to_owned).to_vec(), goal.config.clone()),
    };
    let file = Files::write(goal, &config, cx.host)?;
    for phase in phases {
        run_phase(goal, &phase, &file, cx)?;
    }
    remove_file(BOOTSTRAP_CONF)?;
    registered(goal, MENDED, cx)?;
    Ok(true)
}

/// kubeadm's own name of [`ETCD_JOIN`].
fn etcd_phase() -> Result<&'static str, String> {
    let said = Program::new("kubeadm").args(["version", "-o", "short"]).stdout()?;
    let version = said.trim().trim_start_matches('v');
    let version: Version =
        version.parse().map_err(|e| format!("kubeadm gives its version as {version}: {e}"))?;
    Ok(etcd_phase_of(version.minor))
}

/// The one that does something: the other ends well and has done nothing. `--help` does not tell which one that is.
fn etcd_phase_of(minor: u32) -> &'static str {
    let is_new = Release::of_minor(minor).is_none_or(|release| release.etcd_join);
    if is_new { ETCD_JOIN } else { ETCD_JOIN_BEFORE }
}

/// etcd's words when it is to make a member of one that is. kubeadm asks it to for two minutes and fails, although it saw
/// before that there is nothing to do (`MemberPromote` in cmd/kubeadm/app/util/etcd/etcd.go leaves only its loop); all
/// else of the phase it has done by then.
fn is_member_already(error: &str) -> bool {
    error.contains("can only promote a learner member") && !error.contains("in sync with leader")
}

/// The same configuration with less patience for etcd, which `MemberPromote` would use up whole.
fn hasty(config: &str) -> String {
    let knows_it = config.starts_with("apiVersion: kubeadm.k8s.io/v1beta4\n");
    let has_own = config.lines().any(|line| line.starts_with("timeouts:"));
    let more = if knows_it && !has_own { "timeouts:\n  etcdAPICall: 15s\n" } else { "" };
    format!("{config}{more}")
}

/// What kubeadm reads, for as long as it runs.
struct Files {
    config: ConfigFile,
    _discovery: ConfigFile,
}

impl Files {
    fn write(goal: &KubeadmJoin, config: &str, host: &Host) -> Result<Files, String> {
        let discovery = ConfigFile::write(host, DISCOVERY_FILE, &goal.discovery)?;
        let config = config.replace(KubeadmJoin::DISCOVERY_FILE, &discovery.path());
        Ok(Files { config: ConfigFile::write(host, CONFIG_FILE, &config)?, _discovery: discovery })
    }

    fn path(&self) -> String {
        self.config.path()
    }
}

fn run_phase(
    goal: &KubeadmJoin,
    phase: &str,
    file: &Files,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let phase = if phase == ETCD_JOIN { etcd_phase()? } else { phase };
    let mut args = vec!["join".to_owned(), "phase".into()];
    args.extend(phase.split('/').map(str::to_owned));
    args.extend(["--config".to_owned(), file.path()]);
    let name = phase.replace('/', " ");
    (cx.progress)(&format!("kubeadm join phase {name}"));
    let output = super::run(&args, Duration::from_secs(goal.timeout_s), cx)
        .map_err(|e| format!("kubeadm join phase {name} failed: {e}"))?;
    let said = last_lines(&output);
    if output.code == 0 || is_member_already(&said) {
        return Ok(());
    }
    Err(format!(
        "kubeadm join phase {name} failed with code {}:{said}{}",
        output.code,
        failure::evidence()
    ))
}

/// A node that was deleted comes back as another one, with another range of addresses for its pods. Those that it
/// ran have the former range's, so they go, as the cluster would have had them go in time; and the bridge goes, since
/// its plugin takes none that carries another address (plugins/main/bridge/bridge.go, `ensureAddr`). Without its file
/// flannel's plugin lets no pod start before flannel has been told of the new range.
fn leave_former_node(goal: &KubeadmJoin, cx: &mut Performing<'_>) -> Result<(), String> {
    (cx.progress)("removing the pods and the bridge of the node that was deleted");
    let of_node = format!("spec.nodeName={}", goal.node);
    let delete = with_conf(cx.host, KUBELET_CONF)
        .args(["--request-timeout=15s", "delete", "pod", "--all-namespaces", "--wait=false"])
        .args(["--field-selector", &of_node]);
    change(&delete, cx).map_err(|e| format!("can't remove the former node's pods: {e}"))?;
    remove_file(SUBNET_FILE)?;
    if Path::new(BRIDGE).exists() {
        Program::new("ip").args(["link", "delete", "cni0"]).stdout()?;
    }
    Ok(())
}

/// All that kubeadm makes on the host is there.
fn is_joined(seen: &JoinSeen) -> bool {
    seen.missing.iter().all(|part| part == "node") && seen.unreachable.is_none()
}

/// The kubelet has all it needs: kubeadm would refuse a node that is ready, and has nothing left to do but to
/// remove the token's credentials (`runKubeletWaitBootstrapPhase`). A kubelet registers its node only when it
/// starts, so one whose node was deleted has to start again.
fn only_node_missing(
    goal: &KubeadmJoin,
    seen: &JoinSeen,
    cx: &mut Performing<'_>,
) -> Result<bool, String> {
    remove_file(BOOTSTRAP_CONF)?;
    if seen.missing.is_empty() && Unit::load(kubelet::UNIT).active() {
        return Ok(true);
    }
    (cx.progress)("restarting the kubelet, which then registers its node");
    kubelet::restart()?;
    match registered(goal, REGISTERS, cx) {
        Ok(()) => Ok(true),
        Err(error) => {
            (cx.progress)(&format!("{error}; joining again"));
            Ok(false)
        }
    }
}

fn run_join(goal: &KubeadmJoin, again: bool, cx: &mut Performing<'_>) -> Result<(), String> {
    let file = Files::write(goal, &goal.config, cx.host)?;
    let timeout = Duration::from_secs(goal.timeout_s);
    let first = !again;
    let mut again = again;
    let mut tries = 0;
    let mut unready_until: Option<Instant> = None;
    let mut is_member = false;
    loop {
        let checks = match again {
            true => second_run::join_checks(Config(&goal.config), goal.control_plane),
            false => Vec::new(),
        };
        let mut args = vec!["join".to_owned(), "--config".into(), file.path()];
        args.extend(set_aside(&goal.ignore_preflight_errors, &checks));
        if is_member {
            args.push(format!("--skip-phases={}", etcd_phase()?));
        }
        let error = match super::run(&args, timeout, cx) {
            Ok(output) if output.code == 0 => return Ok(()),
            Ok(output) => format!(" with code {}:{}", output.code, last_lines(&output)),
            Err(error) => format!(": {error}"),
        };
        again = true;
        tries += 1;
        if is_still_ready(&error) {
            let until = *unready_until.get_or_insert_with(|| Instant::now() + GOES_UNREADY);
            if Instant::now() < until {
                // The earlier run's kubelet keeps it ready.
                (cx.progress)("the node is still seen as ready; stopping its kubelet and waiting");
                let _ = Program::new("systemctl").args(["stop", kubelet::UNIT]).output();
                thread::sleep(Duration::from_secs(15));
                continue;
            }
        } else if is_member_already(&error) && !is_member {
            is_member = true;
            // Its kubelet was started meanwhile.
            unready_until = None;
            (cx.progress)("etcd has this host's member already; going on without that phase");
            continue;
        } else if is_transient(&error) && tries < TRIES {
            (cx.progress)(&format!("the API did not answer; trying again ({tries} of {TRIES})"));
            thread::sleep(Duration::from_secs(5));
            continue;
        }
        let is_preflight = error.contains("[ERROR ");
        // Nothing was begun then: a next run has to look as strictly.
        cx.refused = is_preflight && first && tries == 1;
        let evidence = if is_preflight { String::new() } else { failure::evidence() };
        return Err(format!("kubeadm join failed{error}{evidence}"));
    }
}

/// `runKubeletStartJoinPhase` in cmd/kubeadm/app/cmd/phases/join/kubelet.go.
fn is_still_ready(error: &str) -> bool {
    error.contains("a Node with name") && error.contains("already exists in the cluster")
}

/// Waits until the API has the node.
fn registered(
    goal: &KubeadmJoin,
    patience: Duration,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let host = cx.host;
    let mut last = String::from("the API has no such node");
    let found = wait_for(patience, Duration::from_secs(1), || {
        Ok(match node(host, &goal.node) {
            Node::There { .. } => Some(()),
            Node::Missing => None,
            Node::Stranger => {
                last = "the API refuses the kubelet's credentials".into();
                None
            }
            Node::Unknown(words) => {
                last = words;
                None
            }
        })
    })?;
    found.ok_or_else(|| {
        format!(
            "node {} did not register within {} s: {last}{}",
            goal.node,
            patience.as_secs(),
            kubelet::last_lines(5)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_s_own_answer_says_that_a_node_is_missing() {
        let missing =
            "`kubectl` ended with code 1: Error from server (NotFound): nodes \"n2\" not found";
        assert_eq!(classify(missing.into()), Node::Missing);
        let stranger = "error: You must be logged in to the server (Unauthorized)";
        assert_eq!(classify(stranger.into()), Node::Stranger);
        let words = "connection refused";
        assert_eq!(classify(words.into()), Node::Unknown(words.into()));
    }

    #[test]
    fn knows_kubeadm_s_refusal_of_a_ready_node() {
        assert!(is_still_ready(
            "error execution phase kubelet-start: a Node with name \"n2\" and status \"Ready\" already exists in \
             the cluster. You must delete the existing Node or change the name of this new joining Node"
        ));
        assert!(!is_still_ready("nodes \"n2\" not found"));
    }

    #[test]
    fn etcd_s_phase_is_the_one_that_does_something() {
        let names = [29, 31, 32, 33, 34, 36].map(etcd_phase_of);
        let (before, now) = (ETCD_JOIN_BEFORE, ETCD_JOIN);
        assert_eq!(names, [before, before, before, now, now, now]);
    }

    #[test]
    fn a_member_of_etcd_is_not_waited_for() {
        assert!(is_member_already(
            "error: error execution phase etcd-join: error creating local etcd static pod manifest file: etcdserver: \
             can only promote a learner member"
        ));
        assert!(!is_member_already(
            "etcdserver: can only promote a learner member which is in sync with leader"
        ));
        let config = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n";
        assert_eq!(hasty(config), format!("{config}timeouts:\n  etcdAPICall: 15s\n"));
        let own = format!("{config}timeouts:\n  etcdAPICall: 1m0s\n");
        assert_eq!(hasty(&own), own);
        let old = config.replace("v1beta4", "v1beta3");
        assert_eq!(hasty(&old), old);
    }

    #[test]
    fn a_join_is_whole_without_its_node() {
        let seen = |missing: &[&str]| JoinSeen {
            missing: missing.iter().map(|m| (*m).to_owned()).collect(),
            ..JoinSeen::default()
        };
        assert!(is_joined(&seen(&[])) && is_joined(&seen(&["node"])));
        assert!(!is_joined(&seen(&["kubelet.conf", "node"])));
        assert!(!is_joined(&JoinSeen { unreachable: Some("x".into()), ..JoinSeen::default() }));
    }
}
