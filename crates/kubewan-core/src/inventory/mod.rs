//! What the operator wrote in `cluster.yaml`, checked. Nothing here has been measured;
//! facts about hosts live in [`crate::facts`].

mod accept;
pub mod adopt;
pub mod draft;
mod error;
mod guest;
pub mod host_key;
mod hosts;
mod mirrors;
mod names;
mod parse;
mod profile;
mod recorded;
mod registries;
mod reserved;
mod schema;
mod shape;
mod subnets;
mod suggest;
mod tree;
mod validate;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use accept::{Acceptance, KubeletSwitch};
pub use adopt::Adopt;
pub use error::{Code, InventoryError, InventoryErrors};
pub use mirrors::{GpgCheck, Mirrors, PackagesLayout, Servers};
pub use parse::{parse, parse_bytes};
pub use profile::{Profile, Setting};
pub use recorded::{Recorded, RecordedHost, compare_with_living};
pub use registries::Registry;
pub use schema::schema;

use crate::versions::{Release, Version};

/// Settings handed through to another program's configuration exactly as the user wrote them.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// One cluster: `cluster.yaml` with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inventory {
    /// The cluster's name: a DNS label. It names the kubeconfig context and the API's host name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Servers for a region: what is written in its own key wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Which Kubernetes, and from where.
    pub kubernetes: Kubernetes,
    /// The container runtime and where its packages come from.
    #[serde(default)]
    pub runtime: Runtime,
    /// Servers that things are downloaded from, where the publishers' own are slow or can't be reached.
    #[serde(default)]
    pub mirrors: Mirrors,
    /// Registries of one's own: whom their certificates are signed by, and who logs in.
    #[serde(default)]
    pub registries: Vec<Registry>,
    /// Addresses and encapsulation of the cluster's networks.
    #[serde(default)]
    pub network: Network,
    /// What to do with a host firewall that is active. Not set: such a host is refused, with the
    /// commands that would open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    /// Whether kubewan switches time synchronisation on.
    #[serde(default)]
    pub time: TimeSync,
    /// Servers that hosts ask the time of, where kubewan knows their time service's own folder for it: systemd-timesyncd's, and the
    /// one below /etc that chrony's own file reads.
    #[serde(default)]
    pub time_servers: Vec<String>,
    /// Whether hosts are renamed to their inventory name.
    #[serde(default)]
    pub hostname: HostnamePolicy,
    /// Findings to live with on every host, by their codes: each becomes a warning, and kubeadm and the kubelet are
    /// told. Only what is listed here may be accepted.
    #[serde(default)]
    pub accept: Vec<Acceptance>,
    /// A cluster that somebody made with kubeadm by hand, and that kubewan takes into its care as it is. Written by
    /// `kubewan adopt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// The servers, in the operator's order. The first with the role `control-plane` runs `kubeadm init`.
    #[schemars(length(min = 1))]
    pub hosts: Vec<Host>,
}

/// `kubernetes:` which release, where it comes from, and settings for its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {
    /// The release, `MAJOR.MINOR.PATCH`, as in `1.36.2`.
    #[schemars(regex(pattern = r"^1\.[1-9][0-9]*\.(0|[1-9][0-9]*)$"))]
    pub version: String,
    /// Where binaries and images come from. Default: `bundle` where `bundle` is given, else `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<KubernetesSource>,
    /// The bundle's folder; a relative path is taken from the inventory's folder. Where `source` is `bundle`, the default
    /// is the bundle cache, by version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The registry that the control plane's images are named by. Of several the first that serves them is taken when the
    /// cluster is built, and kept.
    #[serde(default = "default_image_repository")]
    pub image_repository: Servers,
    /// Extra settings for kubeadm.
    #[serde(default)]
    pub kubeadm: Kubeadm,
    /// Extra fields of the `KubeletConfiguration` (`kubelet.config.k8s.io/v1beta1`).
    #[serde(default)]
    pub kubelet: Settings,
    /// Extra fields of the `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`).
    #[serde(default)]
    pub kube_proxy: Settings,
}

/// Where Kubernetes' binaries and images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KubernetesSource {
    /// The release servers' binaries, which each host downloads, and images from their registries.
    Release,
    /// Packages of the apt or rpm repositories of Kubernetes, and images from their registries.
    Packages,
    /// A folder on the operator's machine, see docs/bundle.md: hosts need no Internet for it where it has their packages too.
    Bundle,
}

/// Extra settings for kubeadm, merged over what kubewan writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubeadm {
    /// Names for `--ignore-preflight-errors`, as `NumCPU`.
    #[serde(default)]
    pub ignore_preflight_errors: Vec<String>,
    /// Extra fields of the `ClusterConfiguration`.
    #[serde(default)]
    pub cluster: Settings,
    /// Extra fields of the `InitConfiguration`.
    #[serde(default)]
    pub init: Settings,
    /// Extra fields of the `JoinConfiguration`.
    #[serde(default)]
    pub join: Settings,
}

/// `runtime:` the container runtime.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Runtime {
    /// Which runtime.
    #[serde(default)]
    pub kind: RuntimeKind,
    /// Where its packages come from.
    #[serde(default)]
    pub source: RuntimeSource,
    /// Extra settings merged over the `config.toml` that kubewan writes.
    #[serde(default)]
    pub containerd: Settings,
    /// Extra settings merged over what stands in the hosts' `/etc/docker/daemon.json`; lists of registries are added to.
    #[serde(default)]
    pub docker: Settings,
}

/// Which container runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// containerd, 1.6 or later.
    #[default]
    Containerd,
    /// Docker: by the kubelet's own dockershim up to Kubernetes 1.23, by cri-dockerd from 1.24 on.
    Docker,
}

/// Where the runtime's packages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeSource {
    /// The host's own distribution, by its package manager.
    #[default]
    Distribution,
    /// Docker's apt or rpm repository: its package containerd.io, with `kind: docker` docker-ce too.
    Docker,
    /// The release archives of containerd and runc; there are none of Docker's that anyone vouches for.
    Release,
    /// The packages in the Kubernetes bundle.
    Bundle,
}

/// `network:` addresses and encapsulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// How hosts find each other.
    #[serde(default)]
    pub mode: NetworkMode,
    /// How pod traffic crosses the Internet.
    #[serde(default)]
    pub backend: Backend,
    /// Addresses of pods; every node gets a /24 of it.
    #[serde(default = "default_pod_subnet")]
    #[schemars(with = "String", regex(pattern = r"^[0-9.]+/[0-9]+$"))]
    pub pod_subnet: Ipv4Net,
    /// Addresses of Services.
    #[serde(default = "default_service_subnet")]
    #[schemars(with = "String", regex(pattern = r"^[0-9.]+/[0-9]+$"))]
    pub service_subnet: Ipv4Net,
    /// The cluster's DNS domain.
    #[serde(default = "default_dns_domain")]
    pub dns_domain: String,
    /// The largest packet that leaves a NIC, in bytes, where a path carries less than the NIC says. Every IPv4
    /// host takes 576 (RFC 791 §3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576))]
    pub mtu: Option<u16>,
}

/// How hosts find each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Nodes are known by their public addresses, which kubewan puts on an interface of its own.
    #[default]
    Public,
}

/// How pod traffic crosses the Internet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// flannel's WireGuard backend: encrypted.
    #[default]
    Wireguard,
    /// flannel's VXLAN backend: plaintext, anyone on the path can read and inject.
    Vxlan,
}

/// What to do with an active host firewall (ufw, firewalld).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firewall {
    /// Open the ports of `kubewan ports` through the firewall's own tool.
    Open,
    /// Switch it off and keep it off.
    Off,
    /// Leave it alone: the operator has opened what is needed.
    Keep,
}

/// Whether kubewan switches time synchronisation on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSync {
    /// Make sure that a time service runs.
    #[default]
    On,
    /// Leave the host's time alone.
    Keep,
}

/// Whether hosts are renamed to their inventory name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostnamePolicy {
    /// Leave host names alone; node names come from kubeadm.
    #[default]
    Keep,
    /// Set the host name to the inventory name.
    Set,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Node name: a DNS-1123 subdomain, unique.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// The address the world reaches it by: an IPv4 address or a DNS name.
    #[schemars(length(min = 1, max = 253))]
    pub address: String,
    /// Its address inside its own site, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_address: Option<Ipv4Addr>,
    /// How to log in. `~/.ssh/config` applies to everything that is not set here.
    #[serde(default)]
    pub ssh: Ssh,
    /// What the host does; at least one role.
    #[schemars(length(min = 1))]
    pub roles: Vec<Role>,
    /// Labels for its node.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints for its node.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Overrides the cluster's `firewall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    /// Overrides the cluster's `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSync>,
    /// Overrides the cluster's `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostnamePolicy>,
    /// Overrides the cluster's `accept`: only what is listed here is accepted on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Vec<Acceptance>>,
    /// Extra command-line arguments of this host's kubelet, by name without dashes.
    #[serde(default)]
    pub kubelet_args: BTreeMap<String, String>,
}

/// How to log in to a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ssh {
    /// What `ssh` is given as destination; default: the host's `address`. May be an alias of `~/.ssh/config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Login name. Other than root needs `sudo`; a password that it asks for is asked on the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Port of the SSH server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Private key file; a relative path is taken from the inventory's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The server's public key (`ssh-ed25519 AAAA…`) or its fingerprint (`SHA256:…`). Where set, that key alone is
    /// accepted; else known_hosts decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
}

/// What a host does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the API server, scheduler, controller manager and etcd.
    ControlPlane,
    /// Runs workloads. A control plane without it is tainted.
    Worker,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// New pods only if nothing else is free.
    PreferNoSchedule,
    /// No pods; those there are evicted.
    NoExecute,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            mode: NetworkMode::default(),
            backend: Backend::default(),
            pod_subnet: default_pod_subnet(),
            service_subnet: default_service_subnet(),
            dns_domain: default_dns_domain(),
            mtu: None,
        }
    }
}

/// kubeadm's default since v1.25 (`cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go`).
fn default_image_repository() -> Servers {
    "registry.k8s.io".into()
}

/// flannel's own default (`Documentation/kube-flannel.yml`).
fn default_pod_subnet() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16)
}

/// kubeadm's default (`cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go`).
fn default_service_subnet() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12)
}

fn default_dns_domain() -> String {
    "cluster.local".into()
}

impl Inventory {
    /// Hosts with the role `control-plane`, in the operator's order.
    pub fn control_planes(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_control_plane())
    }

    /// More than one control plane, so that etcd has members on several hosts.
    pub fn has_several_control_planes(&self) -> bool {
        self.control_planes().nth(1).is_some()
    }

    /// The host that runs `kubeadm init`. Validation guarantees one.
    pub fn first_control_plane(&self) -> &Host {
        self.control_planes().next().expect("a checked inventory has a control plane")
    }

    /// The API's host name: a name of ours in every /etc/hosts, so that the address behind it can
    /// change without new certificates.
    pub fn api_name(&self) -> String {
        format!("api.{}.kubewan", self.name)
    }

    /// The version of Kubernetes. Validation guarantees that it is one.
    pub fn version(&self) -> Version {
        self.kubernetes.version.parse().expect("a checked inventory names a version")
    }

    /// What its Kubernetes' minor release needs. Validation guarantees that it is known.
    pub fn release(&self) -> &'static Release {
        self.version().release().expect("a checked inventory names a known release")
    }

    /// The repository of CoreDNS' image, where kubeadm would look for it in the wrong one.
    pub fn coredns_repository(&self) -> Option<String> {
        self.release().coredns_repository(self.version().patch, &self.kubernetes.image_repository)
    }

    /// Where Kubernetes' binaries and images come from.
    pub fn source(&self) -> KubernetesSource {
        let unsaid = match self.kubernetes.bundle {
            Some(_) => KubernetesSource::Bundle,
            None => KubernetesSource::Release,
        };
        self.kubernetes.source.unwrap_or(unsaid)
    }

    /// The pause image that this release's kubeadm expects: containerd must use the same.
    pub fn pause_image(&self) -> String {
        format!("{}/pause:{}", self.kubernetes.image_repository, self.release().pause)
    }

    /// Docker runs the containers.
    pub fn is_docker(&self) -> bool {
        self.runtime.kind == RuntimeKind::Docker
    }

    /// Docker runs the containers, and the kubelet speaks to it through cri-dockerd: it has no dockershim any more.
    pub fn uses_cri_dockerd(&self) -> bool {
        self.is_docker() && !self.release().dockershim
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// What is to be done with an active firewall on this host.
    pub fn firewall_of(&self, host: &Host) -> Option<Firewall> {
        host.firewall.or(self.firewall)
    }

    /// Whether kubewan cares for this host's clock.
    pub fn time_of(&self, host: &Host) -> TimeSync {
        host.time.unwrap_or(self.time)
    }

    /// Whether this host is renamed.
    pub fn hostname_of(&self, host: &Host) -> HostnamePolicy {
        host.hostname.unwrap_or(self.hostname)
    }
}

impl Host {
    /// Whether it has the role `control-plane`.
    pub fn is_control_plane(&self) -> bool {
        self.roles.contains(&Role::ControlPlane)
    }

    /// Whether it takes workloads.
    pub fn is_worker(&self) -> bool {
        self.roles.contains(&Role::Worker)
    }
}
