//! `kubewan ssh` and `kubewan kubectl`: the operator himself on a host, by the inventory's login. All streams and the exit
//! code are those of what runs there.

use std::io::{self, IsTerminal};
use std::process::ExitStatus;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewan_core::inventory::Host;
use kubewan_core::shell;
use kubewan_fleet::ssh::FarTerminal;

use crate::args::{KubectlArgs, SshArgs};
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;
use crate::site::Site;

/// The cluster's own kubectl, whose version is the cluster's, and its admin, on a control plane. As the agent's it leaves
/// nothing in root's home.
const KUBECTL: &str = "env PATH=/usr/local/bin:/usr/bin:/bin kubectl --kubeconfig /etc/kubernetes/admin.conf \
    --cache-dir /var/lib/kubewan/kubectl-cache";

/// Logs in to a host, or runs a command there; returns only where that could not be tried.
pub fn run(args: &SshArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    let inventory = &site.inventory;
    let host = inventory.hosts.iter().find(|host| host.name == args.host).ok_or_else(|| {
        let names: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
        let said = format!("no host `{}` in {}", args.host, args.file.file.display());
        Failure::new(Code::Refused, said, format!("there are {}", names.join(", ")))
    })?;
    end(by_hand(&site, host, FarTerminal::AsSsh, &args.command)?)
}

/// Runs kubectl on the first control plane; returns only where that could not be tried.
pub fn kubectl(args: &KubectlArgs) -> Result<Code, Failure> {
    let site = Site::read(&args.file.file)?;
    // There sudo can ask for a password, and `exec -it` and `edit` have a screen.
    let terminal = match io::stdin().is_terminal() && io::stdout().is_terminal() {
        true => FarTerminal::Always,
        false => FarTerminal::AsSsh,
    };
    let command = [remote(&args.args)];
    let host = site.inventory.first_control_plane();
    let status = by_hand(&site, host, terminal, &command)?;
    // On a terminal of the far side ssh keeps its own last word to itself, which is most often of no use.
    if status.code() == Some(255) && terminal == FarTerminal::Always {
        let next = format!("`kubewan ssh {} true` says why, if it was the connection", host.name);
        report::failure(&Failure::new(Code::Unreachable, "ssh or kubectl ended with 255", next));
    }
    end(status)
}

fn by_hand(
    site: &Site,
    host: &Host,
    terminal: FarTerminal,
    command: &[String],
) -> Result<ExitStatus, Failure> {
    site.dial()
        .by_hand(host, terminal, command)
        .map_err(|error| Failure::unreachable(std::slice::from_ref(&error)))
}

/// Ends with the exit code of what ran.
fn end(status: ExitStatus) -> Result<Code, Failure> {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    let code = code.unwrap_or(1);
    report::log("end", &format!("exit {code}"));
    std::process::exit(code)
}

/// A remote command line that every login shell hands on as it is, whatever the arguments hold.
fn remote(args: &[String]) -> String {
    let args: Vec<String> = args.iter().map(|arg| shell::quoted(arg)).collect();
    let kubectl = format!("{KUBECTL} {}", args.join(" "));
    let script =
        format!("if [ \"$(id -u)\" = 0 ]; then exec {kubectl}; else exec sudo {kubectl}; fi");
    format!("sh -c 'eval \"$(echo {} | base64 -d)\"'", STANDARD.encode(script))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn arguments_arrive_as_they_were_typed() {
        let odd =
            ["get", "-o", "jsonpath={.a['b'].c}", "", "it's $HOME; `id` \"x\" \\n !! *", "ü\nz"];
        let odd = odd.map(str::to_owned);
        let line = remote(&odd);
        assert!(!line.contains(['!', '\n', '\\']), "{line}");
        let encoded = line.split_whitespace().nth(4).unwrap();
        let script = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        // Whoever runs the test, the words come to a program in kubectl's place.
        let script = script.replace(KUBECTL, "printf '<%s>'").replace("exec sudo", "exec");
        let said = Command::new("sh").args(["-c", &script]).output().unwrap();
        let expected: String = odd.iter().map(|word| format!("<{word}>")).collect();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
        let said = Command::new("sh").args(["-n", "-c", &line]).status().unwrap();
        assert!(said.success());
    }
}
