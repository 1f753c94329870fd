//! The inventory that the lab hands over: the only thing the product learns of it. Pure.

use std::fmt::Write as _;
use std::path::PathBuf;

use kubewan_core::versions::{Release, Version};

use crate::{LabHost, LabInfo};

/// Which Kubernetes the inventory asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesChoice {
    /// `1.36.2`.
    pub version: String,
    /// The folder that everything comes from.
    pub bundle: PathBuf,
    /// The bundle's containerd: 1 or 2. The name of its CRI plugin changed in between.
    pub containerd_major: u32,
}

/// Writes `cluster.yaml`. What is in it because the hosts share one machine is an ordinary
/// setting with its reason beside it, so that a user sees how to set such things.
pub fn render_inventory(lab: &LabInfo, kubernetes: &KubernetesChoice) -> String {
    let mut yaml = format!(
        "# Made by `kubewan lab up`: servers in clouds that share nothing but the lab's Internet.\n\
         # An ordinary inventory; settings that a usual server doesn't need say why they are here.\n\
         name: {}\n\n",
        plain_or_quoted(&lab.name)
    );
    kubernetes_block(&mut yaml, lab, kubernetes);
    runtime_block(&mut yaml, lab, kubernetes);
    network_block(&mut yaml, lab);
    yaml.push_str("# The hosts' clock is this machine's: there is nothing to synchronise.\n");
    yaml.push_str("time: keep\n\nhosts:\n");
    for (index, host) in lab.hosts.iter().filter(|host| host.reachable).enumerate() {
        host_block(&mut yaml, index, host);
    }
    for host in lab.hosts.iter().filter(|host| !host.reachable) {
        let _ = writeln!(
            yaml,
            "  # {} in cloud {} is none of them: there is no way in ({})",
            host.name, host.cloud, host.cloud_behaviour
        );
    }
    yaml
}

fn kubernetes_block(yaml: &mut String, lab: &LabInfo, kubernetes: &KubernetesChoice) {
    let version = &kubernetes.version;
    let bundle = quoted(&kubernetes.bundle.to_string_lossy());
    let _ = writeln!(yaml, "kubernetes:\n  version: {}\n  bundle: {bundle}", quoted(version));
    let mut kubelet = String::from(
        "    # The hosts share this machine's disk, whose fill level is none of their doing: a kubelet\n    \
         # would evict pods and remove images long before it is full.\n    \
         evictionHard: { memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1% }\n    \
         imageGCHighThresholdPercent: 100\n",
    );
    if lab.kernel.cgroup_v1() && wants_fail_cgroup_v1(version) {
        kubelet.push_str(
            "    # This machine has version 1 control groups, which a kubelet refuses from 1.35 on.\n    \
             failCgroupV1: false\n",
        );
    }
    if !lab.kernel.may_raise_limits {
        kubelet.push_str(
            "    # Root lacks CAP_SYS_RESOURCE here, so no process may protect itself from the\n    \
             # kernel's out-of-memory killer.\n    oomScoreAdj: 0\n",
        );
    }
    let _ = write!(yaml, "  kubelet:\n{kubelet}");
    yaml.push_str(
        "  kubeProxy:\n    \
         # The size of the connection table belongs to the whole machine; a host can't set it.\n    \
         conntrack: { maxPerCore: 0, min: 0 }\n",
    );
    if !lab.kernel.may_raise_limits {
        yaml.push_str("    # As for the kubelet.\n    oomScoreAdj: 0\n");
    }
    yaml.push_str(
        "  kubeadm:\n    \
         # This check reads the kernel's configuration, which lab hosts don't have.\n    \
         ignorePreflightErrors: [SystemVerification]\n\n",
    );
}

fn runtime_block(yaml: &mut String, lab: &LabInfo, kubernetes: &KubernetesChoice) {
    yaml.push_str("runtime:\n  source: bundle\n");
    if !lab.kernel.may_raise_limits {
        let plugin = match kubernetes.containerd_major {
            0 | 1 => "io.containerd.grpc.v1.cri",
            _ => "io.containerd.cri.v1.runtime",
        };
        let _ = write!(
            yaml,
            "  # Containers ask for a better standing with the out-of-memory killer than root\n  \
             # may give here.\n  containerd:\n    plugins:\n      {}:\n        \
             restrict_oom_score_adj: true\n",
            quoted(plugin)
        );
    }
    yaml.push('\n');
}

fn network_block(yaml: &mut String, lab: &LabInfo) {
    yaml.push_str("network:\n  mode: public\n");
    if lab.kernel.wireguard {
        yaml.push_str("  backend: wireguard\n\n");
    } else {
        yaml.push_str(
            "  # This machine's kernel has no WireGuard. Between real servers, this is plaintext.\n  \
             backend: vxlan\n\n",
        );
    }
}

fn host_block(yaml: &mut String, index: usize, host: &LabHost) {
    let name = plain_or_quoted(&host.name);
    let roles = if index == 0 { "[control-plane, worker]" } else { "[worker]" };
    let _ = writeln!(
        yaml,
        "  # cloud {}: {}; on the network card is {} only\n  \
         - name: {}\n    address: {}\n    roles: {roles}\n    ssh:\n      user: {}",
        host.cloud, host.cloud_behaviour, host.private, name, host.address, host.ssh_user
    );
    if host.ssh_port != 22 {
        let _ = writeln!(yaml, "      port: {}", host.ssh_port);
    }
    let key = host.ssh_key.file_name().unwrap_or_default().to_string_lossy();
    let _ = writeln!(yaml, "      key: {}", quoted(&key));
    let _ = writeln!(yaml, "      hostKey: {}", quoted(&host.host_key));
}

/// Whether the kubelet has to be told that it starts on cgroup v1.
fn wants_fail_cgroup_v1(version: &str) -> bool {
    let version: Option<Version> = version.trim_start_matches('v').parse().ok();
    version.and_then(Version::release).is_some_and(Release::refuses_cgroup_v1)
}

/// A name as people write it, unless YAML takes that for a number, `true` or nothing.
fn plain_or_quoted(name: &str) -> String {
    let read = serde_saphyr::from_str::<serde_json::Value>(name);
    let is_itself = read.is_ok_and(|value| value.as_str() == Some(name));
    // Which words are booleans depends on the reader (YAML 1.1 has more of them).
    let is_word = matches!(name, "yes" | "no" | "on" | "off" | "y" | "n");
    if is_itself && !is_word { name.to_owned() } else { quoted(name) }
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::topology::Subnet;
    use crate::{CgroupLayout, ImageChoice, KernelFacts};

    fn lab(kernel: KernelFacts) -> LabInfo {
        let host = |number: u8, name: &str, ssh_user: &str, ssh_port| LabHost {
            name: name.into(),
            address: Ipv4Addr::new(198, 51, 100, number * 10),
            private: Subnet::new(Ipv4Addr::new(10, 0, 4, 7), 24),
            cloud: char::from(b'@' + number).into(),
            cloud_behaviour: "1:1 NAT".into(),
            image: ImageChoice::default(),
            reachable: true,
            ssh_user: ssh_user.into(),
            ssh_port,
            ssh_key: "/lab/id_ed25519".into(),
            host_key: format!("ssh-ed25519 KEY{number}"),
            console: "/console".into(),
        };
        LabInfo {
            name: "lab".into(),
            dir: "/lab".into(),
            hosts: vec![host(1, "master01", "root", 22), host(2, "node01", "admin", 2222)],
            kernel,
        }
    }

    fn choice(version: &str) -> KubernetesChoice {
        KubernetesChoice { version: version.into(), bundle: "/b".into(), containerd_major: 1 }
    }

    #[test]
    fn a_usual_kernel_needs_little() {
        let kernel = KernelFacts {
            cgroups: CgroupLayout::V2Systemd("/sys/fs/cgroup".into()),
            wireguard: true,
            may_raise_limits: true,
        };
        let expected = r#"# Made by `kubewan lab up`: servers in clouds that share nothing but the lab's Internet.
# An ordinary inventory; settings that a usual server doesn't need say why they are here.
name: lab

kubernetes:
  version: "1.36.2"
  bundle: "/b"
  kubelet:
    # The hosts share this machine's disk, whose fill level is none of their doing: a kubelet
    # would evict pods and remove images long before it is full.
    evictionHard: { memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1% }
    imageGCHighThresholdPercent: 100
  kubeProxy:
    # The size of the connection table belongs to the whole machine; a host can't set it.
    conntrack: { maxPerCore: 0, min: 0 }
  kubeadm:
    # This check reads the kernel's configuration, which lab hosts don't have.
    ignorePreflightErrors: [SystemVerification]

runtime:
  source: bundle

network:
  mode: public
  backend: wireguard

# The hosts' clock is this machine's: there is nothing to synchronise.
time: keep

hosts:
  # cloud A: 1:1 NAT; on the network card is 10.0.4.7/24 only
  - name: master01
    address: 198.51.100.10
    roles: [control-plane, worker]
    ssh:
      user: root
      key: "id_ed25519"
      hostKey: "ssh-ed25519 KEY1"
  # cloud B: 1:1 NAT; on the network card is 10.0.4.7/24 only
  - name: node01
    address: 198.51.100.20
    roles: [worker]
    ssh:
      user: admin
      port: 2222
      key: "id_ed25519"
      hostKey: "ssh-ed25519 KEY2"
"#;
        assert_eq!(render_inventory(&lab(kernel), &choice("1.36.2")), expected);
    }

    #[test]
    fn names_are_read_as_they_are() {
        for name in ["2", "true", "null", "1e5", "0x1f", "on", "1-2", "0o7", "12e03"] {
            let read: serde_json::Value =
                serde_saphyr::from_str(&format!("name: {}\n", plain_or_quoted(name))).unwrap();
            assert_eq!(read["name"].as_str(), Some(name));
        }
        assert_eq!(plain_or_quoted("true"), "\"true\"");
        assert_eq!(plain_or_quoted("node01"), "node01");
    }

    #[test]
    fn a_poor_kernel_gets_settings_with_reasons() {
        let kernel = KernelFacts {
            cgroups: CgroupLayout::V1(vec![]),
            wireguard: false,
            may_raise_limits: false,
        };
        let yaml = render_inventory(&lab(kernel.clone()), &choice("1.36.2"));
        for setting in
            ["failCgroupV1: false", "oomScoreAdj: 0", "restrict_oom_score_adj", "backend: vxlan"]
        {
            assert!(yaml.contains(setting), "{setting}");
        }
        let older = render_inventory(&lab(kernel), &choice("1.34.1"));
        assert!(!older.contains("failCgroupV1"));
    }
}
