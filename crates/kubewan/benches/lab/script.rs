//! The kubeadm and kubectl commands that any way to this cluster has to wait for, and nothing else, joins side by side.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{HOSTS, Stage};

/// Where the plan has kubeadm look for the discovery file.
const PLANNED_FILE: &str = "/run/kubewan-batch/discovery.conf";

const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";

/// The same configuration and objects that `kubewan plan` shows, as input of bare commands.
pub struct Script {
    init: String,
    endpoint: String,
    /// Host and configuration.
    joins: Vec<(String, String)>,
    objects: String,
    marks: Vec<(String, String)>,
    /// What flannel has to announce: node and address.
    announced: Vec<(String, String)>,
    ignore: String,
}

/// How long it took until…
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// … all nodes were ready,
    pub ready: Duration,
    /// … and flannel had announced all of them, so that pods reach each other.
    pub network: Duration,
}

impl Script {
    /// Reads what a plan for these hosts would have kubeadm and kubectl do.
    pub fn of(stage: &Stage) -> Script {
        let said = stage.kubewan(&["plan", "-o", "json"]);
        let plan: Value =
            serde_json::from_str(&said.expect_code(0).stdout).expect("a plan in JSON");
        let steps = || plan["steps"].as_array().expect("steps").iter();
        let of_kind = |kind: &'static str| {
            steps().filter_map(move |step| {
                let action = step["action"].get(kind)?;
                Some((step["host"].as_str().expect("a host").to_owned(), action.clone()))
            })
        };
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (_, init) = of_kind("kubeadm-init").next().expect("an init");
        let ignored = init["ignore_preflight_errors"].as_array().expect("a list");
        let ignored: Vec<String> = ignored.iter().map(&text).collect();
        let mut objects = String::new();
        for (_, object) in of_kind("object") {
            objects += &format!("---\n{}\n", object["manifest"]);
        }
        Script {
            init: text(&init["config"]),
            endpoint: text(&init["endpoint"]).trim_start_matches("https://").to_owned(),
            joins: of_kind("kubeadm-join")
                .map(|(host, join)| (host, text(&join["config"])))
                .collect(),
            objects,
            marks: of_kind("node-meta")
                .map(|(_, mark)| (text(&mark["node"]), patch(&mark)))
                .collect(),
            announced: of_kind("announced")
                .map(|(_, goal)| (text(&goal["node"]), text(&goal["address"])))
                .collect(),
            ignore: format!("--ignore-preflight-errors={},", ignored.join(",")),
        }
    }

    /// Runs it.
    pub fn run(&self, stage: &Stage) -> Took {
        let begun = Instant::now();
        let first = HOSTS[0];
        let ignore = &self.ignore;
        let init = format!(
            "cat > /run/init.yaml && kubeadm init --config /run/init.yaml {ignore} > /run/init.log 2>&1 && \
             kubeadm token create --kubeconfig /etc/kubernetes/admin.conf --ttl 15m && \
             openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum"
        );
        let said = ssh(stage, first, &init, &self.init);
        let mut lines = said.lines();
        let token = lines.next().expect("a token").trim().to_owned();
        let hash = lines.next().and_then(|line| line.split_whitespace().next()).expect("a hash");
        ssh(stage, first, &format!("{KUBECTL} apply --server-side -f - "), &self.objects);
        std::thread::scope(|scope| {
            for (host, config) in &self.joins {
                let lines = format!(
                    "cat > /run/join.yaml <<'END'\n{}\nEND\n\
                     kubeadm join --config /run/join.yaml {ignore} > /run/join.log 2>&1\n",
                    filled(&by_token(config, &self.endpoint, hash), &token),
                );
                scope.spawn(move || ssh(stage, host, "sh -s", &lines));
            }
        });
        let marks: Vec<String> = self
            .marks
            .iter()
            .map(|(node, patch)| {
                // kubeadm is through with a join before the kubelet has made its node.
                let made = format!("{KUBECTL} wait --for=create node/{node} --timeout=60s");
                format!("{made} && {KUBECTL} patch node {node} -p '{patch}'")
            })
            .collect();
        ssh(stage, first, &marks.join(" && "), "");
        let ready = format!("{KUBECTL} wait node --all --for=condition=Ready --timeout=180s");
        ssh(stage, first, &ready, "");
        let ready = begun.elapsed();
        let announced = self.announced.iter().map(|(node, address)| {
            let annotation = "{.metadata.annotations.flannel\\.alpha\\.coreos\\.com/public-ip}";
            format!(
                "{KUBECTL} wait node {node} --for=jsonpath='{annotation}'={address} --timeout=180s"
            )
        });
        ssh(stage, first, &announced.collect::<Vec<_>>().join(" && "), "");
        Took { ready, network: begun.elapsed() }
    }
}

/// Labels and annotations of a node as a patch, and no taint.
fn patch(mark: &Value) -> String {
    serde_json::json!({
        "metadata": { "labels": mark["labels"], "annotations": mark["annotations"] },
        "spec": { "taints": [] },
    })
    .to_string()
}

/// The configuration of a join with the token's discovery in place of the file's.
fn by_token(config: &str, endpoint: &str, hash: &str) -> String {
    let file = format!("  file:\n    kubeConfigPath: {PLANNED_FILE}\n");
    assert!(config.contains(&file), "{config}");
    let token = format!(
        "  bootstrapToken:\n    apiServerEndpoint: {endpoint}\n    token: \"@secret(join-token)@\"\n    \
         caCertHashes: [\"sha256:{hash}\"]\n"
    );
    config.replace(&file, &token)
}

/// A configuration with its markers `@secret(…)@` filled in.
fn filled(config: &str, token: &str) -> String {
    let mut out = String::new();
    for (at, part) in config.split('@').enumerate() {
        match part {
            _ if part.starts_with("secret(") => out += token,
            // What else stands between two signs of that kind is no marker.
            _ => {
                out +=
                    &if at == 0 { part.to_owned() } else { part.trim_start_matches('@').to_owned() }
            }
        }
    }
    out
}

fn ssh(stage: &Stage, host: &str, line: &str, input: &str) -> String {
    let argv = stage.lab.ssh_command(host).expect("a host of the lab");
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .arg(format!("sudo sh -c {}", quoted(line)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ssh starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("ssh ends");
    assert!(output.status.success(), "{host}: `{line}` ended with {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', "'\\''"))
}
