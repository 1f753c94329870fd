//! Readers of what programs print that are asked before, while and after something is changed.

use kubewan_core::action::cluster::{MANAGED_ANNOTATION, NodeMeta};
use kubewan_core::action::firewall::{FirewallGoal, FirewallState, Opening};
use kubewan_core::container_log::in_cri_format;
use kubewan_core::evidence::{LOG_BYTES, LOG_LINES};
use kubewan_core::facts::FirewallTool;
use kubewan_core::inventory::{Taint, TaintEffect};
use kubewan_core::pin;
use kubewan_core::token::{self, Token};
use serde_json::{Value, json};

use super::{json, text};
use crate::act::cluster::{self, node, spread};
use crate::act::kubeadm::config::Config;
use crate::act::kubeadm::rules::{self, Ruleset};
use crate::act::kubeadm::{etcd, failure, parts, stuck, traces};
use crate::act::{docker, file, firewall, image, package, rpm};
use crate::evidence::{certificates, logs};
use crate::facts::firewall as rulesets;

/// ufw, firewalld, `iptables-save` and `nft -j`, as facts and goals read them.
pub fn firewalls(bytes: &[u8]) {
    let said = text(bytes);
    rulesets::iptables_filters(&said);
    let ruleset = json(bytes);
    // What does not filter when more tables count, does not when fewer do.
    assert!(!rulesets::nft_filters(&ruleset, true) || rulesets::nft_filters(&ruleset, false));
    let seen = firewall::parse_ufw(&said);
    for opening in &seen.open {
        let (range, protocol) = opening.port.split_once('/').expect("a protocol");
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let port = |text: &str| text.parse::<u16>().ok();
        assert!(port(first) <= port(last) && port(first).is_some(), "{opening}: no ports");
        assert!(matches!(protocol, "tcp" | "udp"));
    }
    let ports = vec![Opening::to_anyone("22/tcp"), Opening::to_anyone("30000-32767/tcp")];
    let state = FirewallState::Open { ports, trusted: vec!["10.244.0.0/16".into()] };
    let _ = FirewallGoal { tool: FirewallTool::Ufw, state }.diff(&seen);
    firewall::ufw_starts_at_boot(&said);
    let added = firewall::ufw_added(&said);
    for rule in &added {
        assert_eq!(rule.trim_end(), *rule);
        if let Some(other) = firewall::ufw_same(&added, rule) {
            assert_ne!(other, *rule);
        }
    }
    assert!(firewall::options(&said).all(|option| option.starts_with("--")));
    assert!(firewall::list(&said).iter().all(|item| !item.contains(char::is_whitespace)));
}

/// Scripts that take Kubernetes' rules out of the packet filter: nothing of others, and nothing but what they say.
pub fn packet_filter(bytes: &[u8]) {
    const THEIRS: [&str; 3] = ["KUBE-", "FLANNEL-", "CNI-"];
    let said = text(bytes);
    let theirs = |chain: &str| THEIRS.iter().any(|prefix| chain.starts_with(prefix));
    assert!(rules::their_chains(&said).values().flatten().all(|chain| theirs(chain)));
    for line in rules::removal(&said).unwrap_or_default().lines() {
        let chain = line.strip_prefix(':').or(line.strip_prefix("-X "));
        let ours = chain.is_some_and(theirs)
            || line.strip_prefix("-D ").is_some_and(|rule| rule.split(' ').any(theirs))
            || line.starts_with('*')
            || line == "COMMIT";
        assert!(ours, "{line:?} is in the script");
    }
    let ruleset = Ruleset(json(bytes));
    let tables = ruleset.their_tables();
    for line in (ruleset.removal() + &ruleset.empty_tables(&tables)).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let whole = match words.as_slice() {
            ["delete", "table", family, name] => !family.is_empty() && !name.is_empty(),
            ["flush" | "delete", "chain", _, _, chain] => theirs(chain),
            ["delete", "rule", _, _, _, "handle", handle] => handle.parse::<u64>().is_ok(),
            _ => false,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || " -_./\\".contains(c);
        assert!(whole && line.chars().all(plain), "{line:?} is in the script");
    }
}

/// Lists of package managers.
pub fn packages(bytes: &[u8]) {
    let said = text(bytes);
    for known in package::parse_known(&said) {
        assert!(!(known.installed() && known.halfway()), "{known:?}");
        known.held();
    }
    let came = package::newly_installed(&said);
    let gone = package::removed(&said);
    for name in came.iter().chain(&gone) {
        assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{name:?} is a package");
    }
    assert_eq!(package::refuse_removals(&said).is_err(), !gone.is_empty());
    package::parse_fields(&said);
    assert!(package::complaints(&said, &said).lines().count() <= 9, "a message without an end");
    said.lines().map(package::is_progress).for_each(drop);
    rpm_packages(&said);
}

/// rpm's, dnf's and yum's lists.
fn rpm_packages(said: &str) {
    assert!(rpm::parse_installed(said).iter().all(|(n, v)| !n.is_empty() && !v.is_empty()));
    if let Some(table) = rpm::parse_transaction(said) {
        for name in table.installed.iter().chain(&table.removed) {
            assert!(!name.contains(char::is_whitespace), "{name:?} is a package");
        }
        assert_eq!(rpm::refuse_removals(&table).is_err(), !table.removed.is_empty());
    }
    let offered = rpm::parse_offered(said, "containerd");
    assert!(offered.is_none_or(|version| version.starts_with(|c: char| c.is_ascii_digit())));
    said.lines().map(rpm::is_progress).for_each(drop);
}

/// containerd's lists of images.
pub fn images(bytes: &[u8]) {
    let said = text(bytes);
    image::is_complete(&said, "registry.k8s.io/pause:3.10");
    let digests = image::digests(&said);
    for digest in &digests {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
    }
    if let Ok(engine) = docker::parse_info(&said) {
        assert!(engine.version.is_some_and(|version| !version.is_empty()));
    }
    docker::has(&said, "docker.io/library/nginx:1");
    assert!(docker::loaded(&said).len() <= said.lines().count());
    crate::facts::docker::parse(&said);
    assert!(image::named(&said, &digests).iter().all(|name| !name.starts_with("sha256:")));
}

/// A path as the kernel writes it into its tables (`mangle` in fs/proc_namespace.c).
fn mangled(path: &str) -> String {
    path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// `/proc/self/mountinfo` and `mounts`: whatever a folder is called, its mount is found under its name.
pub fn mounts(bytes: &[u8]) {
    let said = text(bytes);
    let points: Vec<String> = file::mount_points(&said).collect();
    assert!(points.len() <= said.lines().count());
    for path in file::mounts_below(&said, "/var/lib/kubelet/") {
        assert!(path.starts_with("/var/lib/kubelet/"));
    }
    let name = said.replace(['\r', '\0'], "");
    let path = format!("/var/lib/kubelet/{name}x");
    let line = format!("36 35 98:0 / {} rw,noatime - ext4 /dev/x rw\n", mangled(&path));
    assert_eq!(file::mount_points(&line).collect::<Vec<_>>(), [path.as_str()]);
    assert!(file::is_mount(&line, &path));
    assert_eq!(file::mounts_below(&line, "/var/lib/kubelet"), [path.as_str()]);
    let line = format!("/dev/x {} ext4 rw 0 0\n", mangled(&path));
    assert_eq!(traces::below(&line, "/var/lib/kubelet/"), [path.as_str()]);
    let line = format!("Filename Type\n{} file 1 0 -2\n", mangled(&path));
    assert_eq!(crate::act::system::active_swaps(&line), [path.as_str()]);
    for word in said.split_whitespace() {
        let up = |path: &str| path.split('/').any(|part| part == "..");
        assert!(file::refuse_unsafe(word).is_err() || !up(word), "{word} would be removed");
    }
}

/// kubeadm's configuration, manifests and logs.
pub fn kubeadm_files(bytes: &[u8]) {
    let said = text(bytes);
    let config = Config(&said);
    config.bind_port();
    config.minor();
    config.has_external_etcd();
    assert!(config.cri_socket().is_none_or(|socket| !socket.is_empty()));
    for phase in ["addon/kube-proxy", "addon/coredns", "mark-control-plane", ""] {
        config.skips(phase);
    }
    etcd::configured_argument(&said, "listen-peer-urls");
    stuck::argument(&said, "listen-peer-urls");
    stuck::node_of(&said);
    failure::meaning(&said);
    for complains in [failure::is_etcd_complaint, failure::is_klog_error] {
        assert!(failure::complaints(&said, complains).len() <= 2);
    }
    // What is no token may be another secret, so it does not show.
    let refused = Token::parse("").err();
    for word in said.split_whitespace() {
        let error = Token::parse(word).err();
        assert!(error.is_none() || error == refused, "{error:?}");
    }
}

/// A CA's certificate: a pin has its form, and damage gives none.
pub fn certificate(bytes: &[u8]) {
    if let Some(pin) = pin::of_pem(&text(bytes)) {
        let hex = pin.strip_prefix("sha256:").unwrap_or_default();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{pin}");
    }
    if let Some(info) = pin::public_key_info(bytes) {
        assert!(!info.is_empty() && info.len() < bytes.len());
    }
    let path = std::path::Path::new("a.crt");
    let of_kubeconfig = certificates::of_kubeconfig(&text(bytes), path);
    for read in certificates::of_pem(&text(bytes), path).into_iter().chain(of_kubeconfig) {
        assert!(!read.subject.contains(char::is_control), "{read:?} steers the terminal");
    }
}

/// What logs and units say: the end of it, in whole lines, without tokens.
pub fn evidence(bytes: &[u8]) {
    let said = text(bytes);
    let in_one_format = in_cri_format(&said);
    assert_eq!(in_one_format.lines().count(), said.lines().count(), "a line became several");
    assert_eq!(in_cri_format(&in_one_format), in_one_format, "read, and not for good");
    let kept = logs::bounded(&in_one_format);
    // A mask may be longer than what it stands for by some bytes, and there are not more of them than words.
    assert!(
        kept.lines().count() <= LOG_LINES && kept.len() <= 2 * LOG_BYTES,
        "{} bytes",
        kept.len()
    );
    assert_eq!(
        logs::bounded(&kept).lines().count(),
        kept.lines().count(),
        "bounded, and not for good"
    );
    crate::evidence::parse_units(&said);
    crate::evidence::udp_checksum_errors(&said);
}

/// What kubectl prints: whatever a node says of itself, one patch makes it as it should be.
pub fn kubectl(bytes: &[u8]) {
    if cluster::parse(&text(bytes)).is_err() {
        return;
    }
    let object = json(bytes);
    let taint = |key: &str, value: Option<&str>| Taint {
        key: key.into(),
        value: value.map(str::to_owned),
        effect: TaintEffect::NoSchedule,
    };
    let goal = NodeMeta {
        node: "n".into(),
        labels: [("a".to_owned(), "2".to_owned())].into(),
        annotations: [(MANAGED_ANNOTATION.to_owned(), "{}".to_owned())].into(),
        taints: vec![taint("gpu", Some("new")), taint("bare", None)],
        untainted: vec!["node-role.kubernetes.io/control-plane".into()],
    };
    let mut patched = object.clone();
    merge(&mut patched, &node::patch(&goal, &object));
    let left = goal.diff(&node::seen(&patched));
    assert_eq!(left, None, "{object} was patched to {patched}");
    let pods = spread::staying(&object);
    for nodes in [0, 1, 2] {
        spread::next(&pods, nodes);
    }
    spread::open_nodes(&object);
    parts::missing_of(&object, "master01", Some(23));
    let token = Token::parse("abcdef.0123456789abcdef").expect("a token");
    token::is_good(&object, token, "2026-01-01T00:00:00Z");
    token::listed(&object, &object, "2026-01-01T00:00:00Z");
    assert_eq!(token::ca_hash(&object).is_ok(), token::authority(&object).is_ok());
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
