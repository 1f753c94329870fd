//! The authorities and keys that control planes share, handed to those that join by kubeadm's own way: encrypted, in a
//! Secret that the cluster forgets after two hours (cmd/kubeadm/app/phases/copycerts/copycerts.go).

use std::time::Duration;

use kubewan_core::action::UploadedCerts;
use kubewan_core::action::kubeadm::CertsSeen;
use kubewan_core::sha256_hex;

use super::super::cluster::{admin, ask, change};
use super::super::{Host, Performing};
use super::{ConfigFile, last_lines};

/// Name of the configuration's file while kubeadm runs; it holds the key.
const CONFIG_FILE: &str = "kubeadm-upload-certs.yaml";

/// kubeadm's name of the Secret.
const SECRET: &str = "kubeadm-certs";

/// Says which key the Secret was encrypted with. Of 32 random bytes a hash tells nothing else; kubeadm, which writes the
/// Secret whole, takes it away.
const KEY_ANNOTATION: &str = "kubewan/key-sha256";

/// One request after another to an API that answers.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Looks whether the Secret is there and encrypted with the key. While a plan is made the key is not known, and then
/// it is not.
///
/// # Errors
/// Fails where the API does not answer although it should.
pub fn observe_uploaded_certs(goal: &UploadedCerts, host: &Host) -> Result<CertsSeen, String> {
    let Some(key) = host.value(&goal.key) else { return Ok(CertsSeen { usable: false }) };
    let get = ["get", "secret", "-n", "kube-system", SECRET, "-o", "json", "--ignore-not-found"];
    let answer = ask(host, &admin(host).args(get))
        .map_err(|e| format!("can't look at the Secret {SECRET}: {e}"))?;
    let usable = answer.object().is_some_and(|secret| {
        secret["metadata"]["annotations"][KEY_ANNOTATION] == sha256_hex(key.as_bytes())
    });
    Ok(CertsSeen { usable })
}

/// Has kubeadm encrypt and store them.
///
/// # Errors
/// kubeadm's last lines, without the key.
pub fn perform_uploaded_certs(
    goal: &UploadedCerts,
    _seen: &CertsSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let key = cx.values.get(&goal.key.marker());
    let key = key.ok_or("the orders carry no value for the certificate key; this is a bug")?;
    let sha256 = sha256_hex(key.as_bytes());
    let file = ConfigFile::write(cx.host, CONFIG_FILE, &goal.config)?;
    let args = ["init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print"];
    let args: Vec<String> =
        args.map(str::to_owned).into_iter().chain(["--config".into(), file.path()]).collect();
    let output = super::run(&args, TIMEOUT, cx)
        .map_err(|e| format!("kubeadm init phase upload-certs failed: {e}"))?;
    if output.code != 0 {
        let said = last_lines(&output);
        return Err(format!(
            "kubeadm init phase upload-certs failed with code {}:{said}",
            output.code
        ));
    }
    let annotation = format!("{KEY_ANNOTATION}={sha256}");
    let note = ["annotate", "secret", "-n", "kube-system", SECRET, "--overwrite", &annotation];
    change(&admin(cx.host).args(note), cx)
        .map_err(|e| format!("can't note at the Secret {SECRET} which key it has: {e}"))?;
    Ok(())
}
