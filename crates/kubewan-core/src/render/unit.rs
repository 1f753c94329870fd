//! systemd units and drop-ins, and the files that keep kernel settings.

use std::net::Ipv4Addr;

/// Name of our interface.
pub const LINK: &str = "kubewan0";
/// Unit that brings it up.
pub const ADDRESS_UNIT: &str = "kubewan-address.service";

/// Unit that has the host's network stacks read that our interfaces are none of theirs.
pub const UNMANAGED_UNIT: &str = "kubewan-unmanaged.service";

/// Kernel modules of the container runtime and of bridged pods.
pub const MODULES: [&str; 2] = ["overlay", "br_netfilter"];

/// Kernel settings: pods are routed, and bridged packets pass kube-proxy's rules
/// (kubernetes.io, "Container Runtimes", network configuration).
pub const SYSCTLS: [(&str, &str); 3] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
];

/// The unit that puts the public address as /32 on an interface of our own. Plain `ip` commands that an
/// administrator can read; nothing of the NIC or of another network stack is touched.
pub fn address_unit(address: Ipv4Addr, kind: &str) -> String {
    format!(
        "# Written by kubewan.
[Unit]
Description=Public address {address} on {LINK}
Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
After=systemd-modules-load.service network-pre.target
Before=containerd.service kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/sbin/ip link add {LINK} type {kind}
ExecStart=/sbin/ip address replace {address}/32 dev {LINK}
ExecStart=/sbin/ip link set {LINK} up
ExecStop=-/sbin/ip link delete {LINK}

[Install]
WantedBy=multi-user.target
"
    )
}

/// The unit that a run restarts when [`networkd_unmanaged`] or [`network_manager_unmanaged`] was written: stacks read
/// them at their own start and when they are told to, and the interface itself is left as it is.
pub fn unmanaged_unit() -> String {
    "# Written by kubewan.
[Unit]
Description=Network stacks leave kubewan's interfaces alone

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/bin/networkctl reload
ExecStart=-/usr/bin/timeout 10 /usr/bin/nmcli general reload conf

[Install]
WantedBy=multi-user.target
"
    .into()
}

/// Leave for our interface under systemd-networkd, which may take addresses off links that it believes to be its own.
pub fn networkd_unmanaged() -> String {
    format!("# Written by kubewan.\n[Match]\nName={LINK}\n\n[Link]\nUnmanaged=yes\n")
}

/// Leave for our interface and the pods' under NetworkManager: it holds those that others have made for its own too,
/// and takes their addresses off at `nmcli networking off`. A list that others give is added to.
pub fn network_manager_unmanaged() -> String {
    let links = format!("interface-name:{LINK};interface-name:cni0;interface-name:flannel*");
    format!("# Written by kubewan.\n[keyfile]\nunmanaged-devices+={links}\n")
}

/// `kubelet.service`, after kubernetes/release's package. `runtime`: the runtime's units.
pub fn kubelet_unit(runtime: &str) -> String {
    format!(
        "# Written by kubewan.
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target {runtime}
After=network-online.target {runtime} {ADDRESS_UNIT}

[Service]
ExecStart=/usr/local/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"
    )
}

/// `containerd.service`, after the one in containerd's own source (`containerd.service`).
pub fn containerd_unit() -> String {
    "# Written by kubewan.
[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network.target dbus.service

[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
"
    .into()
}

/// `cri-docker.service`, after the one in cri-dockerd's own source (packaging/systemd). The pause image is the one that
/// kubeadm expects, and what `kubectl exec` goes through answers on this host alone: without the last argument it would listen
/// on all addresses (config/options.go, `streaming-bind-addr`).
pub fn cri_dockerd_unit(pause: &str) -> String {
    format!(
        "# Written by kubewan.
[Unit]
Description=CRI Interface for Docker Application Container Engine
Documentation=https://mirantis.github.io/cri-dockerd/
After=network-online.target firewalld.service docker.service
Wants=network-online.target docker.service
Requires={CRI_DOCKERD_SOCKET_UNIT}

[Service]
Type=notify
ExecStart=/usr/local/bin/cri-dockerd --container-runtime-endpoint fd:// --network-plugin=cni --pod-infra-container-image={pause} --streaming-bind-addr=127.0.0.1
ExecReload=/bin/kill -s HUP $MAINPID
TimeoutSec=0
RestartSec=2
Restart=always
StartLimitBurst=3
StartLimitInterval=60s
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
Delegate=yes
KillMode=process

[Install]
WantedBy=multi-user.target
"
    )
}

/// The unit of [`cri_dockerd_socket`].
pub const CRI_DOCKERD_SOCKET_UNIT: &str = "cri-docker.socket";

/// `cri-docker.socket`, after the one in cri-dockerd's own source; for root alone, since whoever reaches it has the host.
pub fn cri_dockerd_socket() -> String {
    "# Written by kubewan.
[Unit]
Description=CRI Docker Socket for the API
PartOf=cri-docker.service

[Socket]
ListenStream=/run/cri-dockerd.sock
SocketMode=0600
SocketUser=root
SocketGroup=root
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"
    .into()
}

/// `kubelet.service.d/10-kubeadm.conf`, after kubernetes/release's package: kubeadm's own arguments, and after
/// them the administrator's in /etc/default/kubelet (Debian) or /etc/sysconfig/kubelet (rpm).
pub fn kubelet_drop_in() -> String {
    "# Written by kubewan.
[Service]
Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"
Environment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStart=
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"
    .into()
}

/// `/etc/modules-load.d/kubewan.conf`.
pub fn modules_load() -> String {
    let modules: String = MODULES.iter().map(|m| format!("{m}\n")).collect();
    format!("# Written by kubewan.\n{modules}")
}

/// Kernel settings for every boot: the name sorts after `99-sysctl.conf`, which is /etc/sysctl.conf.
pub const SYSCTL_CONF: &str = "/etc/sysctl.d/99-zz-kubewan.conf";

/// The text of [`SYSCTL_CONF`].
pub fn sysctl_conf() -> String {
    let settings: String =
        SYSCTLS.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    format!("# Written by kubewan.\n{settings}")
}
