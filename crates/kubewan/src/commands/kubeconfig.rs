//! `kubewan kubeconfig`: the admin's way to the API, from the operator's machine.

mod merge;

use std::path::Path;

use kubewan_core::shell;
use kubewan_fleet::resolve;
use serde_json::{Value, json};

use crate::args::{KubeconfigArgs, Output};
use crate::cluster;
use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, progress::Progress};
use crate::site::Site;

const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// Prints the kubeconfig, or merges it into a file. It holds a private key: it goes nowhere else.
pub fn run(args: &KubeconfigArgs) -> Result<Code, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let refused = |said: String| {
        let help = "`--merge=FILE` names a file; `kubewan kubeconfig` alone prints it";
        Failure::new(Code::Refused, format!("{said}; nothing was written"), help)
    };
    // Before any host is asked.
    let file = match &args.merge {
        Some(Some(file)) => Some(file.clone()),
        Some(None) => {
            let (kubeconfig, home) = (variable("KUBECONFIG"), variable("HOME"));
            let file = merge::usual_file(kubeconfig.as_deref(), home.as_deref());
            Some(file.map_err(refused)?)
        }
        None => None,
    };
    let site = Site::read(&args.file.file)?;
    let dial = site.dial();
    // No other host is needed, and one of them may be the reason why somebody wants to look at the cluster.
    let first = site.inventory.first_control_plane();
    let alone = std::slice::from_ref(first);
    let address = resolve::addresses(alone)
        .map_err(|findings| Failure::findings(Code::Refused, findings))?[&first.name];
    let mut fleet = {
        let progress = Progress::new(Output::Table, alone);
        cluster::connect(&dial, alone, &|event| progress.hear(&event))?
    };
    let control_plane = fleet.member(&first.name).expect("it was just connected to");
    let text = control_plane.read(ADMIN)?.ok_or_else(|| {
        let said = format!("{}: there is no {ADMIN}", first.name);
        Failure::new(Code::Refused, said, "`kubewan up` makes the cluster")
    })?;
    let port = kubewan_core::render::kubeadm::API_PORT;
    let server = format!("https://{address}:{port}");
    let failed = |said| {
        let next = "`kubewan plan` says what differs on that host, and `kubewan up` puts it right";
        Failure::new(Code::Failed, format!("{}: {ADMIN}: {said}", first.name), next)
    };
    let config = for_operator(&text, &site.inventory.name, &server).map_err(failed)?;
    if let Some(file) = file {
        let merged = merge::into_file(&file, &config).map_err(refused)?;
        let (kubeconfig, home) = (variable("KUBECONFIG"), variable("HOME"));
        let read = merge::reads(kubeconfig.as_deref(), home.as_deref(), &file);
        tell(&site.inventory.name, &file, &merged, read);
        return Ok(Code::Done);
    }
    report::secret_data(&yaml(&config).map_err(failed)?).map_err(|error| {
        let said = format!(
            "the kubeconfig holds a private key, and the file that it goes to can't be closed to others: {error}"
        );
        Failure::new(Code::Refused, said, "let it go to a file of your own")
    })?;
    Ok(Code::Done)
}

fn tell(cluster: &str, file: &Path, merged: &merge::Merged, read: merge::Read) {
    if let Some(kept) = &merged.kept {
        report::note(&format!("The file as it was: {}", kept.display()));
    }
    let command = command(cluster, file, merged.is_current, read);
    report::note(&format!("{} has the cluster: {command}", file.display()));
}

/// How kubectl is called, for it to take this file and this cluster.
fn command(cluster: &str, file: &Path, is_current: bool, read: merge::Read) -> String {
    let file = match read {
        merge::Read::No => {
            format!(" --kubeconfig {}", shell::quoted(&file.display().to_string()))
        }
        merge::Read::Alone | merge::Read::WithOthers => String::new(),
    };
    // Of several files, the first that names a current context decides.
    let is_current = is_current && read != merge::Read::WithOthers;
    let context = if is_current { String::new() } else { format!(" --context {cluster}") };
    format!("kubectl{file}{context} get nodes")
}

/// The admin's kubeconfig as the operator needs it: hosts reach the API by a name of ours in their /etc/hosts, the
/// operator by the public address, which is in its certificate; and the context has the cluster's name.
fn for_operator(text: &str, cluster: &str, server: &str) -> Result<Value, String> {
    let admin: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let part = |pointer: &str| {
        admin.pointer(pointer).cloned().ok_or(format!("it has no {}", pointer.replace('/', ".")))
    };
    let user = format!("{cluster}-admin");
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": {
            "certificate-authority-data": part("/clusters/0/cluster/certificate-authority-data")?,
            "server": server,
        } }],
        "users": [{ "name": user, "user": part("/users/0/user")? }],
        "contexts": [{ "name": cluster, "context": { "cluster": cluster, "user": user } }],
        "current-context": cluster,
    }))
}

fn yaml(config: &Value) -> Result<String, String> {
    // One line per value, as kubectl itself writes it: scripts cut keys out of it.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(config, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_called_so_that_it_takes_the_file() {
        use merge::Read;
        let file = Path::new("/home/me/its mine");
        let said = |is_current, read| command("home", file, is_current, read);
        assert_eq!(said(true, Read::Alone), "kubectl get nodes");
        assert_eq!(said(false, Read::Alone), "kubectl --context home get nodes");
        assert_eq!(said(true, Read::WithOthers), "kubectl --context home get nodes");
        assert_eq!(said(true, Read::No), "kubectl --kubeconfig '/home/me/its mine' get nodes");
    }

    #[test]
    fn the_operator_gets_the_public_address_and_the_clusters_name() {
        let admin = "apiVersion: v1\nkind: Config\nclusters:\n- name: kubernetes\n  cluster: {certificate-authority-data: \
            Q0E=, server: https://api.home.kubewan:6443}\nusers:\n- name: kubernetes-admin\n  user: \
            {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}\n";
        let long = "A".repeat(1000);
        let config =
            for_operator(&admin.replace("Q0E=", &long), "home", "https://198.51.100.10:6443");
        let text = yaml(&config.unwrap()).unwrap();
        assert!(text.contains(&format!("certificate-authority-data: {long}\n")), "{text}");
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://198.51.100.10:6443");
        assert_eq!(config["users"][0]["user"]["client-key-data"], "S0VZ");
        assert_eq!(config["current-context"], "home");
        assert_eq!(config["contexts"][0]["context"]["user"], config["users"][0]["name"]);
        assert!(for_operator("kind: Config", "home", "x").unwrap_err().contains("it has no"));
    }
}
