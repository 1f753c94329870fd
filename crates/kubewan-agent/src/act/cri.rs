//! Whether containerd serves the kubelet, which is a plugin of its own: containerd runs well where that one could not start.

use std::time::Duration;

use kubewan_core::render::containerd::HEADER;

use super::Performing;
use super::cluster::wait_for;
use crate::command::{Program, exists};

/// containerd's configuration.
const CONFIG: &str = "/etc/containerd/config.toml";
/// How long the plugin may take after containerd has said that it is ready.
const MAX: Duration = Duration::from_secs(30);

/// Waits until the kubelet can speak to containerd, where its configuration is kubewan's: somebody's own, which a reset puts back,
/// may have the plugin off.
///
/// # Errors
/// What containerd says of its plugin when the time is over.
pub(super) fn wait_for_plugin(cx: &mut Performing<'_>) -> Result<(), String> {
    let config = std::fs::read_to_string(CONFIG).unwrap_or_default();
    if !config.starts_with(HEADER) || !exists("ctr") {
        return Ok(());
    }
    (cx.progress)("waiting until containerd serves the kubelet");
    let mut last = String::new();
    let serves = wait_for(MAX, Duration::from_millis(500), || {
        let listed = Program::new("ctr").args(["plugins", "ls"]).timeout(MAX).stdout();
        last = match listed.as_deref().map(state) {
            Ok(Some("ok")) => return Ok(Some(())),
            Ok(Some(state)) => format!("its state is `{state}`"),
            Ok(None) => "there is none".into(),
            Err(error) => error.clone(),
        };
        Ok(None)
    })?;
    serves.ok_or_else(|| {
        format!(
            "containerd runs, and its CRI plugin, by which the kubelet starts containers, does not: {last}; \
             `ctr plugins ls -d id==cri` and `journalctl -u containerd` tell why. Containers that run go on"
        )
    })
}

/// The state of the plugin that serves the CRI, in the words of `ctr plugins ls`: `io.containerd.grpc.v1  cri  linux/amd64  ok`
/// (containerd, `cmd/ctr/commands/plugins`; the same name in 1.x and 2.x).
fn state(listed: &str) -> Option<&str> {
    listed.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("io.containerd.grpc.v1") && words.next() == Some("cri");
        is_it.then(|| words.last()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ctr_prints() {
        let listed = "\
TYPE                                   ID                       PLATFORMS         STATUS
io.containerd.snapshotter.v1           overlayfs                linux/amd64       ok
io.containerd.cri.v1                   runtime                  linux/amd64       ok
io.containerd.grpc.v1                  cri                      -                 error
";
        assert_eq!(state(listed), Some("error"));
        assert_eq!(state(&listed.replace("error", "ok")), Some("ok"));
        assert_eq!(state("io.containerd.grpc.v1 containers - ok\n"), None);
    }
}
