//! What a host says about itself, gathered by the agent in one round trip. Plain data: it was read at
//! [`Facts::clock_unix_ms`] and may have changed since; every step observes again before it acts.

pub mod taken;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::action::docker::DockerEngineSeen;
pub use taken::{ChronyFolder, Taken};

/// Everything the planner may ask about one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The distribution.
    pub os: Os,
    /// The kernel and what it supports.
    pub kernel: Kernel,
    /// Which cgroup hierarchies systemd's services live in.
    pub cgroup: CgroupVersion,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// IPv4 addresses with the interface they are on.
    pub addresses: Vec<InterfaceAddress>,
    /// The IPv4 default route with the lowest metric.
    pub default_route: Option<DefaultRoute>,
    /// IPv4 neighbours that have answered on an interface's wire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<(String, Ipv4Addr)>,
    /// Addresses that files of network stacks give the host at boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured_addresses: Vec<ConfiguredAddress>,
    /// Destinations of all IPv4 routes but the default one.
    pub routes: Vec<Route>,
    /// Name servers of /etc/resolv.conf (and of systemd-resolved's upstream file where that is used).
    pub resolvers: Vec<IpAddr>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processors that this host may use.
    pub cores: u32,
    /// Active swap areas, as in /proc/swaps.
    pub swaps: Vec<String>,
    /// Lines of /etc/fstab that would bring swap back, and systemd swap units.
    pub swap_configured: Vec<String>,
    /// What would bring swap back at boot although those lines and units are switched off.
    pub swap_returns: Vec<SwapSource>,
    /// SELinux' mode; `None` where there is none.
    pub selinux: Option<Selinux>,
    /// Whether AppArmor is enabled in the kernel.
    pub apparmor: bool,
    /// The host's clock when the facts were read, milliseconds since 1970 UTC.
    pub clock_unix_ms: i64,
    /// Kernel host name.
    pub hostname: String,
    /// Whether the host's own name resolves (through NSS).
    pub hostname_resolves: bool,
    /// /etc/machine-id.
    pub machine_id: String,
    /// /sys/class/dmi/id/product_uuid, lower case; empty where there is none.
    pub product_uuid: String,
    /// Sockets that listen.
    pub listeners: Vec<Listener>,
    /// The container runtimes.
    pub runtime: RuntimeFacts,
    /// kubeadm, kubelet and etcd on this host.
    pub kubernetes: KubernetesFacts,
    /// Firewalls found on the host.
    pub firewalls: Vec<FirewallFacts>,
    /// cloud-init's hold on names; `None` where it is not installed.
    pub cloud_init: Option<CloudInit>,
    /// Whether NetworkManager is installed.
    pub network_manager: bool,
    /// Time synchronisation.
    pub time_sync: TimeSyncFacts,
    /// Free bytes where /var/lib lives.
    pub disk_free_bytes: u64,
    /// Folders that a run writes to and that lie on a file system mounted read-only.
    pub read_only: Vec<String>,
    /// Where it takes things from.
    #[serde(default)]
    pub taken: Taken,
    /// What kubewan itself has done here.
    pub own: OwnFacts,
}

/// The distribution, from /etc/os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// `ID`, as `debian`.
    pub id: String,
    /// `VERSION_ID`, as `12`; empty for rolling releases.
    pub version_id: String,
    /// `VERSION_CODENAME`, as `bookworm`; empty where there is none.
    pub codename: String,
    /// `PRETTY_NAME`.
    pub pretty_name: String,
    /// The release in full where that file says the series only: `7.9.2009` of CentOS 7, from /etc/centos-release; else
    /// empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// systemd's version number; 0 where there is none.
    pub systemd: u32,
}

impl Os {
    /// What /etc/os-release says (os-release(5)); the rest is left empty.
    pub fn of_release(text: &str) -> Os {
        let release = assignments(text);
        let get = |key: &str| release.get(key).cloned().unwrap_or_default();
        Os {
            id: get("ID"),
            version_id: get("VERSION_ID"),
            codename: get("VERSION_CODENAME"),
            pretty_name: get("PRETTY_NAME"),
            ..Os::default()
        }
    }

    /// The name that packages in a bundle carry, as `debian-12`.
    pub fn distribution(&self) -> String {
        format!("{}-{}", self.id, self.version_id)
    }
}

/// `KEY=value` lines, values with or without quotes.
pub fn assignments(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| !key.starts_with('#'))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// The kernel and what it supports (built in, loaded, or loadable).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Go's name of the architecture, as `amd64`.
    pub arch: String,
    /// `dummy` links.
    pub dummy: bool,
    /// `bridge` links.
    pub bridge: bool,
    /// `vxlan` links.
    pub vxlan: bool,
    /// `wireguard` links.
    pub wireguard: bool,
    /// Bridged packets pass iptables.
    pub br_netfilter: bool,
    /// Overlay file systems.
    pub overlay: bool,
    /// Modules that are already part of the kernel or loaded, of those kubewan asks for.
    pub present_modules: Vec<String>,
}

/// Which cgroup hierarchies systemd's services live in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupVersion {
    /// Controllers on version 1 (legacy or hybrid).
    V1,
    /// The unified hierarchy.
    #[default]
    V2,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// `IFLA_INFO_KIND` as `ip -details link` shows it; empty for hardware.
    pub kind: String,
}

/// An IPv4 address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// Address and prefix.
    pub address: Ipv4Net,
}

/// An IPv4 address that a file gives an interface at boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredAddress {
    /// The file.
    pub path: String,
    /// The line that has the mask, from 1.
    pub line: u32,
    /// Its text.
    pub text: String,
    /// Address and mask.
    pub address: Ipv4Net,
}

/// The IPv4 default route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRoute {
    /// The interface that packets leave by: the NIC.
    pub interface: String,
    /// The router, where there is one.
    pub gateway: Option<Ipv4Addr>,
}

/// A route that is not the default one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: Ipv4Net,
    /// By which interface.
    pub interface: String,
}

/// Something that switches swap on and that kubewan can't mask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwapSource {
    /// A unit whose own file lies where a mask would have to be.
    Unit {
        /// Its name, as `swapfile.swap`.
        name: String,
        /// Its file.
        path: String,
    },
    /// A line of a script or table that runs at boot.
    Line {
        /// The file.
        path: String,
        /// The line.
        text: String,
    },
    /// An area in use that no unit, line of /etc/fstab or known service has switched on.
    Area {
        /// As in /proc/swaps.
        name: String,
    },
}

/// SELinux' mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selinux {
    /// Denies.
    Enforcing,
    /// Only logs.
    Permissive,
    /// Off.
    Disabled,
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Local address.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Name of the process that owns it; empty where unknown.
    pub process: String,
}

/// The container runtimes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFacts {
    /// containerd's version, as `1.6.20`; `None` where it is not installed.
    pub containerd: Option<String>,
    /// The version that the distribution's package manager would install, as `1.6.20`; asked for only where
    /// containerd is not installed.
    pub containerd_offered: Option<String>,
    /// The `containerd.service` of the host is active.
    pub containerd_active: bool,
    /// Text of /etc/containerd/config.toml.
    pub containerd_config: Option<String>,
    /// What `containerd config default` prints on the host; asked for only where that file is there.
    pub containerd_defaults: Option<String>,
    /// containerd's folder of registries holds some.
    pub registry_folders: bool,
    /// Containers that run in this containerd and are not the kubelet's.
    pub others: Vec<Container>,
    /// Docker's own package of containerd is installed, beside which the distribution's can't be.
    pub containerd_io: bool,
    /// Docker.
    #[serde(default)]
    pub docker: DockerFacts,
    /// Files below /etc/systemd/system that systemd reads for containerd's, Docker's and the kubelet's units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unit_files: Vec<String>,
    /// Package sources of apt's, yum's or dnf's that kubewan did not write.
    pub package_sources: Vec<PackageSource>,
}

/// Docker on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerFacts {
    /// `dockerd` or its unit is there.
    pub installed: bool,
    /// The package that brings it: `docker.io` (the distribution's) or `docker-ce` (Docker's); `None` where none of them.
    pub package: Option<String>,
    /// /etc/docker/daemon.json, where it is there.
    pub config: Option<ConfigFile>,
    /// Arguments of the running daemon.
    pub args: Vec<String>,
    /// What the daemon says of itself; `None` where it does not run or does not answer.
    pub engine: Option<DockerEngineSeen>,
    /// Containers that it runs and that are not the kubelet's.
    pub others: Vec<Container>,
    /// What kubewan has added to lists in that file, by their keys: what was there before is its owner's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub added: BTreeMap<String, BTreeSet<String>>,
    /// What came back instead of a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_unknown: Option<String>,
    /// The configuration changed after the daemon started, which has not read it yet.
    #[serde(default)]
    pub stale: bool,
}

/// A configuration file of someone's that is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Its text.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
    /// `uid:gid`.
    pub owner: (u32, u32),
    /// Why `text` is not what stands there, as a byte that is not UTF-8: nothing may be merged into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// A place that packages are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageSource {
    /// The file that names it.
    pub path: String,
    /// Its URI, without a password and without a slash at its end.
    pub uri: String,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// containerd's namespace, as `moby` (Docker's) or `default`.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// Name of its first process; empty where unknown.
    pub program: String,
}

/// kubeadm, kubelet and etcd on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesFacts {
    /// What `kubeadm version -o short` printed, without `v`.
    pub kubeadm: Option<String>,
    /// What `kubelet --version` printed, without `v`.
    pub kubelet: Option<String>,
    /// Paths of kubeadm, kubelet, kubectl found on PATH.
    pub binaries: Vec<String>,
    /// `kubelet.service` is active.
    pub kubelet_active: bool,
    /// Arguments of the running kubelet.
    pub kubelet_args: Vec<String>,
    /// Every file that feeds kubelet arguments (units, drop-ins, environment files), with its text.
    pub kubelet_arg_files: Vec<TextFile>,
    /// How far a cluster has got here.
    pub state: ClusterState,
    /// /var/lib/etcd/member exists.
    pub etcd_data: bool,
    /// Static pod manifests in /etc/kubernetes/manifests.
    pub manifests: Vec<String>,
    /// The `server:` of /etc/kubernetes/kubelet.conf or admin.conf.
    pub api_server: Option<String>,
    /// The pin of the authority that /etc/kubernetes/pki/ca.crt has.
    #[serde(default)]
    pub ca_hash: Option<String>,
    /// Where etcd's static pod is told to listen to other members, as `https://127.0.0.1:2380`. Of hosts whose cluster somebody made
    /// by hand alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_listens: Option<String>,
    /// Keys that sign what a control plane needs later, and that are not in /etc/kubernetes/pki: paths, in kubeadm's order. Of
    /// hosts with an API server's static pod alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys_gone: Vec<String>,
    /// The files of its configuration that the kubelet reads, in the order in which later ones win. Of hosts whose cluster
    /// somebody made by hand alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubelet_config: Vec<TextFile>,
    /// The cluster was made by hand, and taken over by kubewan.
    #[serde(default)]
    pub adopted: bool,
    /// Where the state is [`ClusterState::Foreign`]: it is surely a `kubeadm init` that never ended.
    #[serde(default)]
    pub stuck_init: Option<StuckInit>,
}

/// A `kubeadm init` that somebody ran by hand and that never ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckInit {
    /// The pin (`sha256:…`) of the authority that it made.
    pub ca_hash: String,
    /// The node's name.
    pub node: Option<String>,
    /// Where its etcd was told to listen to other members, as `https://198.51.100.10:2380`.
    pub etcd_listens: Option<String>,
    /// The address that its API server was told to announce.
    pub advertises: Option<String>,
    /// Addresses of its Services.
    pub service_subnet: Option<String>,
    /// Addresses of its pods, where it was given any.
    pub pod_subnet: Option<String>,
    /// etcd's last complaint.
    pub said: Option<String>,
}

/// A file with its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    /// Its path.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// How far a cluster has got on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// Nothing of Kubernetes' state is there.
    #[default]
    None,
    /// Our journal has begun an `init` or join that has not ended.
    Begun,
    /// Our journal has ended an `init` or join.
    Done,
    /// There is state, and no journal of ours knows it.
    Foreign,
}

/// A firewall found on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallFacts {
    /// Which.
    pub tool: FirewallTool,
    /// It filters now (for `nftables` and `iptables`: some input chain drops or rejects).
    pub active: bool,
    /// It will be started at boot.
    pub enabled: bool,
}

/// A host firewall's own tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirewallTool {
    /// ufw.
    Ufw,
    /// firewalld.
    Firewalld,
    /// iptables-persistent / netfilter-persistent.
    IptablesPersistent,
    /// nftables.service.
    Nftables,
}

/// cloud-init's hold on names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudInit {
    /// `preserve_hostname` in force.
    pub preserve_hostname: bool,
    /// `manage_etc_hosts` in force, as far as files in `/etc/cloud` say; a provider's user data may say otherwise.
    pub manage_etc_hosts: bool,
    /// What it makes `/etc/hosts` from where it manages the file.
    pub hosts_template: Option<String>,
}

/// Time synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSyncFacts {
    /// The time service that is active, as `systemd-timesyncd.service`.
    pub active: Option<String>,
    /// A time service that is installed, active or not.
    pub installed: Option<String>,
    /// The kernel says that the clock is synchronised.
    pub synchronised: bool,
    /// The folder that chrony reads beside its own file, where it reads one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chrony_folder: Option<ChronyFolder>,
}

/// What kubewan itself has done on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFacts {
    /// Entries in the journal.
    pub journal_entries: u64,
    /// The cluster that the host belongs to; `None` where nothing that kubewan did still stands.
    pub cluster: Option<String>,
    /// The run whose batch is in progress now.
    pub running: Option<String>,
    /// What kubewan may have left in each file that it wrote, as SHA-256s: what is there else, someone wrote.
    #[serde(default)]
    pub left: BTreeMap<String, BTreeSet<String>>,
    /// Logins that kubewan gave the kubelet for the inventory's registries: the registry as the kubelet's file has it, and the
    /// user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logins: BTreeMap<String, String>,
    /// Names of the certificates that kubewan added to the system's store.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub trusts: BTreeSet<String>,
    /// What was chosen of several mirrors, as the host keeps it ([`crate::mirror::Record`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrors: Option<String>,
    /// Ids of steps that took something from elsewhere, were begun and did not come to their end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unended: Vec<String>,
    /// Marker of a kubewan lab host exists: rehearsal stand-ins may run here.
    pub rehearsal_allowed: bool,
}

impl Facts {
    /// The interface that carries this address, if any.
    pub fn interface_with(&self, address: Ipv4Addr) -> Option<&str> {
        self.addresses.iter().find(|a| a.address.addr() == address).map(|a| a.interface.as_str())
    }

    /// The NIC: the interface of the default route.
    pub fn nic(&self) -> Option<&Interface> {
        let name = &self.default_route.as_ref()?.interface;
        self.interfaces.iter().find(|i| &i.name == name)
    }

    /// The NIC's first address.
    pub fn nic_address(&self) -> Option<Ipv4Addr> {
        let nic = self.nic()?;
        self.addresses.iter().find(|a| a.interface == nic.name).map(|a| a.address.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_os_release() {
        let read = Os::of_release(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n#ID=x\nVERSION_ID='12'\n",
        );
        assert_eq!(read.pretty_name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(read.distribution(), "debian-12");
    }

    /// Recorded on such hosts: see `samples` of the core.
    #[test]
    fn reads_every_family() {
        let read = |text: &str| {
            let read = Os::of_release(text);
            [read.id, read.version_id, read.pretty_name]
        };
        let centos = "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\n\
            VERSION_ID=\"7\"\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\nANSI_COLOR=\"0;31\"\n\
            CPE_NAME=\"cpe:/o:centos:centos:7\"\n\nCENTOS_MANTISBT_PROJECT=\"CentOS-7\"\n";
        assert_eq!(read(centos), ["centos", "7", "CentOS Linux 7 (Core)"]);
        let openeuler = "NAME=\"openEuler\"\nVERSION=\"22.03 (LTS-SP2)\"\nID=\"openEuler\"\n\
            VERSION_ID=\"22.03\"\nPRETTY_NAME=\"openEuler 22.03 (LTS-SP2)\"\nANSI_COLOR=\"0;31\"\n\n";
        assert_eq!(read(openeuler), ["openEuler", "22.03", "openEuler 22.03 (LTS-SP2)"]);
        let amazon = "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\n\
            VERSION_ID=\"2023\"\nPLATFORM_ID=\"platform:al2023\"\nPRETTY_NAME=\"Amazon Linux 2023.4.20240416\"\n";
        assert_eq!(read(amazon), ["amzn", "2023", "Amazon Linux 2023.4.20240416"]);
    }
}
