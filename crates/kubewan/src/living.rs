//! What a cluster that somebody made by hand says of itself, asked by its own kubectl on its control plane.

use kubewan_core::finding::Finding;
use kubewan_core::inventory::adopt::Answers;
use kubewan_fleet::fleet::Member;
use serde_json::Value;

use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report;

/// Seconds that kubectl may take for one answer.
const ANSWER_S: u64 = 30;

/// Asks for everything that tells what the cluster was made with.
pub fn answers(member: &mut Member) -> Result<Answers, Failure> {
    let _busy = report::busy("asking the cluster's API");
    let nodes = ask(member, &["get", "nodes", "-o", "json"], None)?;
    let get = ["get", "-f", "-", "-o", "json", "--ignore-not-found"];
    let config_maps = ask(member, &get, Some(Answers::asked().to_string()))?;
    let daemon_sets = ask(member, &["get", "daemonsets", "-A", "-o", "json"], None)?;
    Ok(Answers { nodes, config_maps, daemon_sets })
}

fn ask(member: &mut Member, args: &[&str], stdin: Option<String>) -> Result<Value, Failure> {
    let output = member.kubectl(args, stdin, ANSWER_S)?;
    let host = &member.host.name;
    let refused = |said: &str| {
        let message =
            format!("the cluster's API does not answer `kubectl {}`: {said}", args.join(" "));
        let remedy = "what is healthy is taken over: see to it that kubectl works there with /etc/kubernetes/admin.conf";
        let finding = Finding::error("adopt-no-api", host, message, remedy);
        Failure::findings(Code::Refused, vec![finding])
    };
    if output.code != 0 {
        return Err(refused(output.stderr.trim()));
    }
    if output.stdout.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&output.stdout).map_err(|error| refused(&error.to_string()))
}
