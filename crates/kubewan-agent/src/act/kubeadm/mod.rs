//! What kubeadm does: init, join, tokens, reset. Paths in comments are of kubernetes/kubernetes at v1.36.

mod certs;
pub(crate) mod config;
pub(crate) mod etcd;
pub(crate) mod failure;
mod folders;
mod init;
mod join;
pub(crate) mod parts;
mod reset;
pub(crate) mod rules;
mod second_run;
pub(crate) mod stuck;
mod token;
pub(crate) mod traces;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewan_core::action::KubeadmInit;

use super::{Host, Performing};
use crate::command::{Output, Program};
use crate::disk::make_private_dir;
use crate::facts::evidence;

pub use certs::{observe_uploaded_certs, perform_uploaded_certs};
pub use etcd::{observe_etcd_listens, perform_etcd_listens};
pub(super) use init::{asks, observe_answered};
pub use init::{observe_kubeadm_init, perform_kubeadm_init};
pub use join::{observe_kubeadm_join, perform_kubeadm_join};
pub use reset::{observe_kubeadm_reset, perform_kubeadm_reset};
pub use token::{observe_bootstrap_token, perform_bootstrap_token};

pub(super) const KUBELET_CONF: &str = "/etc/kubernetes/kubelet.conf";
const BOOTSTRAP_CONF: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
const CA: &str = "/etc/kubernetes/pki/ca.crt";

/// Files that kubeadm writes over whatever is there, of those that are no sign of a cluster
/// (`WriteConfigToDisk`, `WriteInstanceConfigToDisk`, cmd/kubeadm/app/phases/kubelet/config.go).
pub(super) const OVERWRITTEN: [&str; 2] = [KUBELET_CONFIG, "/var/lib/kubelet/instance-config.yaml"];

/// A configuration, readable by root only, for as long as kubeadm runs: that of a join has a token. It lies in the batch's
/// runtime directory, which systemd removes even after a SIGKILL; where an old systemd gives none, with our state.
struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    fn write(host: &Host, name: &str, text: &str) -> Result<ConfigFile, String> {
        // As systemd.exec(5) has it: absolute paths, divided by colons.
        let given = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
        let path = match given.split(':').next().filter(|dir| dir.starts_with('/')) {
            Some(dir) => PathBuf::from(dir).join(name),
            None => {
                make_private_dir(host.root())?;
                host.root().join(name)
            }
        };
        // An earlier one of a killed batch may have other permissions or be a link.
        let _ = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| format!("can't write {}: {e}", path.display()))?;
        Ok(ConfigFile { path })
    }

    fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Runs kubeadm and passes on its phases as progress. Exit codes other than 0 are left to the caller.
fn run(args: &[String], timeout: Duration, cx: &mut Performing<'_>) -> Result<Output, String> {
    let program = Program::new("kubeadm").args(args.iter().cloned()).timeout(timeout);
    program.each_line(&mut |line| {
        if is_progress(line) {
            (cx.progress)(line.trim());
        }
    })
}

/// kubeadm's own lines (`[certs] Generating …`, `[WARNING Swap]: …`), without those that carry a token and
/// the page of advice at the end.
fn is_progress(line: &str) -> bool {
    line.trim_start().starts_with('[') && !has_token(line)
}

fn has_token(line: &str) -> bool {
    ["--token", "--discovery-token", "--certificate-key", "Using token"]
        .iter()
        .any(|word| line.contains(word))
}

/// kubeadm's last lines, for an error.
fn last_lines(output: &Output) -> String {
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty() && !has_token(line))
        // Advice that everyone knows by heart hides the cause.
        .filter(|line| !line.contains("To see the stack trace of this error execute with --v=5"))
        .collect();
    // A program in Go that breaks down says why before where, and where is long.
    let begins = |line: &&str| line.starts_with("panic: ") || line.starts_with("fatal error: ");
    let lines = match lines.iter().position(begins) {
        Some(at) => &lines[at..lines.len().min(at + 12)],
        None => &lines[lines.len().saturating_sub(12)..],
    };
    lines.iter().map(|line| format!("\n  {}", super::kubelet::cut(line, 500))).collect()
}

/// The flag for checks that are set aside; kubeadm refuses `all` together with others
/// (`ValidateIgnorePreflightErrors`, cmd/kubeadm/app/apis/kubeadm/validation/validation.go).
fn set_aside(asked: &[String], ours: &[String]) -> Option<String> {
    let mut names: Vec<&str> = asked.iter().chain(ours).map(String::as_str).collect();
    if names.iter().any(|name| name.eq_ignore_ascii_case("all")) {
        names = vec!["all"];
    }
    names.dedup();
    (!names.is_empty()).then(|| format!("--ignore-preflight-errors={}", names.join(",")))
}

/// Refuses where a kubeadm runs already that is not ours: two of them would write the same files.
fn refuse_a_second_kubeadm() -> Result<(), String> {
    let own = std::process::id();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if pid != own && comm.trim() == "kubeadm" {
            return Err(format!(
                "another kubeadm (process {pid}) runs on this host: wait until it has ended, then try again"
            ));
        }
    }
    Ok(())
}

/// Refuses to have kubeadm change a host whose cluster somebody made by hand and that was adopted: it has settings that kubewan does
/// not know, and authorities that nobody else has.
fn refuse_adopted() -> Result<(), String> {
    if !Path::new(KubeadmInit::ADOPTED).exists() || evidence().is_empty() {
        return Ok(());
    }
    Err(format!(
        "kubeadm is not run on this host: its cluster was made by hand and adopted ({}). What it lacks, whoever made it puts back: \
         `kubeadm init phase …` with the cluster's own configuration (`kubectl -n kube-system get configmap kubeadm-config -o yaml`)",
        KubeadmInit::ADOPTED
    ))
}

/// Refuses to work on a cluster that is not ours.
fn refuse_foreign(foreign: &[String], what: &str) -> Result<(), String> {
    if foreign.is_empty() {
        return Ok(());
    }
    Err(format!(
        "can't {what}: this host has state of a cluster that kubewan did not make ({}). If nobody needs it, \
         run `kubeadm reset` on the host, then try again",
        foreign.join(", ")
    ))
}

/// What has to hold before kubeadm runs, and how its folders are. Until it is started nothing was done: a next run has to look as
/// strictly, and whose cluster it finds is not ours. So `cx.refused` stands where this is the `first` run; who starts kubeadm
/// takes it back.
fn before_kubeadm(
    first: bool,
    (foreign, what): (&[String], &str),
    control_plane: bool,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    cx.refused = first;
    refuse_adopted()?;
    refuse_foreign(foreign, what)?;
    refuse_a_second_kubeadm()?;
    folders::record(control_plane, cx)
}

/// Removes a file that may not be there.
fn remove_file(path: &str) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("can't remove {path}: {e}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tokens_are_no_progress() {
        assert!(is_progress("[certs] Generating \"ca\" certificate and key"));
        assert!(is_progress("\t[WARNING Swap]: swap is supported for cgroup v2 only"));
        assert!(!is_progress("[bootstrap-token] Using token: abcdef.0123456789abcdef"));
        assert!(!is_progress(
            "kubeadm join api.home.kubewan:6443 --token abcdef.0123456789abcdef \\"
        ));
        assert!(!is_progress("\t--discovery-token-ca-cert-hash sha256:00"));
        let output = Output {
            code: 1,
            stdout: String::new(),
            stderr: "error: x\nkubeadm join --token a\nTo see the stack trace of this error execute with --v=5 or higher\n".into(),
        };
        assert_eq!(last_lines(&output), "\n  error: x");
        let trace: String =
            (0..30).map(|n| format!("main.f{n}(0x0)\n\t/f.go:{n} +0x1\n")).collect();
        let stderr = format!(
            "W0000 x\npanic: assignment to entry in nil map\n\ngoroutine 1 [running]:\n{trace}"
        );
        let said = last_lines(&Output { stderr, ..output });
        assert!(
            said.starts_with("\n  panic: assignment to entry in nil map\n  goroutine 1"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 13);
    }

    #[test]
    fn all_stands_alone() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(set_aside(&[], &[]), None);
        assert_eq!(
            set_aside(&names(&["NumCPU"]), &names(&["Port-10250"])).as_deref(),
            Some("--ignore-preflight-errors=NumCPU,Port-10250")
        );
        assert_eq!(
            set_aside(&names(&["all"]), &names(&["Port-10250"])).as_deref(),
            Some("--ignore-preflight-errors=all")
        );
    }

    #[test]
    fn the_configuration_is_private_and_short_lived() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::at(dir.path().join("state"));
        let file = ConfigFile::write(&host, "kubeadm.yaml", "secret").unwrap();
        let path = file.path.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }
}
