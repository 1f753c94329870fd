//! The few things that have to be known of a kubeadm configuration. The planner wrote it and kubeadm reads
//! it; here its lines are only looked through.

/// kubeadm's configuration, several YAML documents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config<'a>(pub(crate) &'a str);

impl<'a> Config<'a> {
    /// The first scalar under a key, wherever it stands.
    fn value(self, key: &str) -> Option<&'a str> {
        self.0.lines().find_map(|line| {
            let rest = line.trim().trim_start_matches("- ").strip_prefix(key)?.strip_prefix(':')?;
            let value = rest.trim().trim_matches(['"', '\'']);
            (!value.is_empty()).then_some(value)
        })
    }

    /// Port of the API server.
    pub(crate) fn bind_port(self) -> u16 {
        self.value("bindPort").and_then(|port| port.parse().ok()).unwrap_or(6443)
    }

    /// The runtime's socket.
    pub(crate) fn cri_socket(self) -> Option<&'a str> {
        self.value("criSocket")
    }

    /// Minor version of Kubernetes, where it is named.
    pub(crate) fn minor(self) -> Option<u32> {
        let version = self.value("kubernetesVersion")?;
        version.split('.').nth(1)?.parse().ok()
    }

    /// etcd is somewhere else.
    pub(crate) fn has_external_etcd(self) -> bool {
        self.0.lines().any(|line| line.trim() == "external:")
    }

    /// Whether a phase, as `addon/kube-proxy`, is left out: named under `skipPhases`, itself or its parent,
    /// or its part switched off (`proxy.disabled`, `dns.disabled`).
    pub(crate) fn skips(self, phase: &str) -> bool {
        let parent = phase.split('/').next().unwrap_or_default();
        let disabled = match phase {
            "addon/kube-proxy" => self.is_disabled("proxy:"),
            "addon/coredns" => self.is_disabled("dns:"),
            _ => false,
        };
        disabled || self.skip_phases().iter().any(|skipped| *skipped == phase || *skipped == parent)
    }

    fn skip_phases(self) -> Vec<&'a str> {
        let mut found = Vec::new();
        let mut lines = self.0.lines().skip_while(|line| !line.starts_with("skipPhases:"));
        let Some(head) = lines.next() else { return found };
        // `skipPhases: [addon/kube-proxy]`, or a list below it.
        let inline = head["skipPhases:".len()..].trim().trim_matches(['[', ']']);
        let items = lines.map_while(|line| line.trim_start().strip_prefix("- "));
        found.extend(
            inline.split(',').chain(items).map(|item| item.trim().trim_matches(['"', '\''])),
        );
        found.retain(|item| !item.is_empty());
        found
    }

    fn is_disabled(self, section: &str) -> bool {
        let mut lines = self.0.lines().skip_while(|line| *line != section).skip(1);
        lines
            .by_ref()
            .take_while(|line| line.starts_with(' '))
            .any(|line| line.trim() == "disabled: true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: &str = "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: 198.51.100.10
  bindPort: 7443
nodeRegistration:
  name: master01
  criSocket: unix:///run/containerd/containerd.sock
skipPhases:
- addon/kube-proxy
- mark-control-plane
---
kind: ClusterConfiguration
kubernetesVersion: v1.36.2
etcd:
  local:
    dataDir: /var/lib/etcd
dns:
  imageRepository: x
  disabled: true
";

    #[test]
    fn looks_through_a_configuration() {
        let config = Config(INIT);
        assert_eq!((config.bind_port(), config.minor()), (7443, Some(36)));
        assert_eq!(config.cri_socket(), Some("unix:///run/containerd/containerd.sock"));
        assert!(config.skips("addon/kube-proxy") && config.skips("addon/coredns"));
        assert!(config.skips("mark-control-plane") && !config.skips("certs/all"));
        assert!(!config.has_external_etcd());
    }

    #[test]
    fn has_defaults() {
        let config = Config("kind: InitConfiguration\nskipPhases: [addon]\nbindPort:\n");
        assert_eq!((config.bind_port(), config.minor(), config.cri_socket()), (6443, None, None));
        assert!(config.skips("addon/coredns") && !config.skips("bootstrap-token"));
        assert!(!Config("").skips("addon/coredns"));
    }
}
