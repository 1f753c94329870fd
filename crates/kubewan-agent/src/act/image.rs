//! Container images: in containerd's `k8s.io` namespace, through its own `ctr`, or in Docker's store, through `docker`.

use std::path::Path;
use std::time::Duration;

use kubewan_core::action::package::ImageSeen;
use kubewan_core::action::{Artifact, Image, ImageStore};
use kubewan_core::render::containerd::CERTS_D;

use super::{Host, Performing, docker};
use crate::command::{Program, exists};
use crate::disk;
use crate::facts::systemd::Unit;

/// Where containerd answers.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// How long an import may take; slow disks unpack a gigabyte in minutes.
const IMPORT_MAX: Duration = Duration::from_secs(900);

/// Tries to pull an image: registries break off, and say "too many requests".
const PULLS: u32 = 3;

/// Tries to look at an image, and the time in between: a busy containerd may need a moment.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

fn ctr(args: &[&str]) -> Program {
    Program::new("ctr").args(["--namespace", "k8s.io"]).args(args.iter().copied())
}

/// Looks whether the image is there with all its layers. Without containerd there is no image; one that runs and gives
/// no answer has said nothing of its images.
///
/// # Errors
/// Fails where a running containerd does not answer.
pub fn observe_image(goal: &Image, host: &Host) -> Result<ImageSeen, String> {
    let seen = observe_images(&[goal], host)?.pop();
    Ok(seen.unwrap_or(ImageSeen { present: false }))
}

/// As [`observe_image`] for several, in their order, with one question.
///
/// # Errors
/// As [`observe_image`].
pub fn observe_images(goals: &[&Image], host: &Host) -> Result<Vec<ImageSeen>, String> {
    // A host has one runtime.
    if goals.iter().any(|goal| goal.store == ImageStore::Docker) {
        return docker::observe_images(goals, host);
    }
    let seen = |text: &str| -> Vec<ImageSeen> {
        let present = |goal: &&Image| is_complete(text, &goal.reference);
        goals.iter().map(|goal| ImageSeen { present: present(goal) }).collect()
    };
    if !Path::new(SOCKET).exists() || !exists("ctr") {
        return Ok(seen(""));
    }
    let filters = goals.iter().map(|goal| format!("name=={}", goal.reference));
    let check = ctr(&["images", "check"]).args(filters);
    let mut tries = 0;
    loop {
        let output = check.output()?;
        let found = seen(&output.stdout);
        // The socket stays behind when containerd is stopped.
        if output.code == 0
            || found.iter().all(|image| image.present)
            || !Unit::load("containerd.service").active()
        {
            return Ok(found);
        }
        tries += 1;
        if tries == LOOKS {
            let error = check.checked(output).expect_err("the code is not 0");
            let names: Vec<&str> = goals.iter().map(|goal| goal.reference.as_str()).collect();
            return Err(format!("can't look for the image {}: {error}", names.join(", ")));
        }
        std::thread::sleep(PAUSE);
    }
}

/// `ctr images check`: reference, type, digest, status, size, unpacked. Whether it is unpacked depends on the
/// snapshotter, and the runtime unpacks what is not.
pub(crate) fn is_complete(text: &str, reference: &str) -> bool {
    text.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(reference) && fields.nth(2) == Some("complete")
    })
}

/// Brings the image into containerd's store.
pub fn perform_image(
    goal: &Image,
    _seen: &ImageSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    if goal.store == ImageStore::Containerd && !Path::new(SOCKET).exists() {
        return Err(format!(
            "containerd does not answer at {SOCKET}, so {} can't be had; see `systemctl status containerd`",
            goal.reference
        ));
    }
    match &goal.artifact {
        Some(artifact) => import(goal, artifact, cx),
        None => pull(goal, cx),
    }
}

/// Pulls the image from its registry, or from the mirror that the runtime's configuration names.
fn pull(goal: &Image, cx: &mut Performing<'_>) -> Result<(), String> {
    (cx.progress)(&format!("pulls {}", goal.reference));
    let program = match goal.store {
        ImageStore::Containerd => ctr(&["images", "pull", "--hosts-dir", CERTS_D, &goal.reference]),
        ImageStore::Docker => docker::docker(&["pull", "--quiet", &goal.reference]),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        match program.clone().timeout(IMPORT_MAX).stdout() {
            Ok(_) => return Ok(()),
            Err(error) if tries == PULLS => {
                return Err(format!(
                    "can't pull {}: {error}\nsee whether this host reaches that registry; `mirrors: {{ images: … }}` of \
                     the inventory names another, `kubernetes.imageRepository` another name, and a bundle needs none",
                    goal.reference
                ));
            }
            Err(_) => std::thread::sleep(PAUSE * tries),
        }
    }
}

/// Imports the image, and gives it its reference where the archive has another name for it.
fn import(goal: &Image, from: &Artifact, cx: &mut Performing<'_>) -> Result<(), String> {
    let archive = cx.host.artifact(&from.sha256);
    let path = archive.to_string_lossy().into_owned();
    let found = disk::sha256_of(&archive)
        .map_err(|e| format!("can't take {} of the bundle from {path}: {e}", from.name))?;
    if found != from.sha256 {
        let _ = std::fs::remove_file(&archive);
        return Err(format!(
            "{} of the bundle was damaged on this host (sha256 {found}); run kubewan again, and it is \
             uploaded anew",
            from.name
        ));
    }
    (cx.progress)(&format!("imports {}", goal.reference));
    if goal.store == ImageStore::Docker {
        return load(goal, from, &path, cx);
    }
    let said = ctr(&["images", "import", &path]).timeout(IMPORT_MAX).stdout()?;
    if observe_image(goal, cx.host)?.present {
        return Ok(());
    }
    let list = ctr(&["images", "list"]).stdout()?;
    match named(&list, &digests(&said)).as_slice() {
        [] => Err(format!(
            "{} was imported and holds no image that fits {}; check the bundle with `kubewan bundle check`",
            from.name, goal.reference
        )),
        [name, ..] => ctr(&["images", "tag", "--force", name, &goal.reference]).stdout().map(drop),
    }
}

/// The same into Docker's store.
fn load(goal: &Image, from: &Artifact, path: &str, cx: &mut Performing<'_>) -> Result<(), String> {
    let said = docker::docker(&["load", "--input", path]).timeout(IMPORT_MAX).stdout()?;
    if observe_image(goal, cx.host)?.present {
        return Ok(());
    }
    match docker::loaded(&said).as_slice() {
        [] => Err(format!(
            "Docker took no image that fits {} from {}: before Docker 25 it reads docker archives alone; check the bundle with \
             `kubewan bundle check`",
            goal.reference, from.name
        )),
        [name, ..] => docker::docker(&["tag", name, &goal.reference]).stdout().map(drop),
    }
}

/// Digests in what `ctr images import` says. Its names can't be relied on: containerd 2.1 prints spaces for
/// the dashes in them where there is no terminal.
pub(crate) fn digests(said: &str) -> Vec<&str> {
    const LENGTH: usize = "sha256:".len() + 64;
    let hex = |digest: &&str| digest["sha256:".len()..].bytes().all(|b| b.is_ascii_hexdigit());
    said.match_indices("sha256:")
        .filter_map(|(at, _)| said.get(at..at + LENGTH))
        .filter(hex)
        .collect()
}

/// References that `ctr images list` shows with one of these digests, without those that the runtime makes
/// from digests itself.
pub(crate) fn named<'a>(list: &'a str, digests: &[&str]) -> Vec<&'a str> {
    list.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, digest) = (fields.next()?, fields.nth(1)?);
            (digests.contains(&digest) && !name.starts_with("sha256:")).then_some(name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_complete() {
        let text = "\
REF                           TYPE                                       DIGEST          STATUS           SIZE                UNPACKED 
registry.k8s.io/pause:3.10.2  application/vnd.oci.image.manifest.v1+json sha256:be4ba2ec complete (2/2)   670.5 KiB/670.5 KiB true
registry.k8s.io/etcd:3.5      application/vnd.oci.image.manifest.v1+json sha256:8d4107aa incomplete (1/2) 1.0 KiB/314.0 KiB   false
";
        assert!(is_complete(text, "registry.k8s.io/pause:3.10.2"));
        assert!(!is_complete(text, "registry.k8s.io/etcd:3.5"));
        assert!(!is_complete(text, "registry.k8s.io/pause:3.10"));
    }

    #[test]
    fn finds_what_was_imported_by_its_digest() {
        let digest = format!("sha256:{}", "06".repeat(32));
        // containerd 2.1.9 and 1.6.20
        for said in [
            format!(
                "ghcr.io/flannel io/flannel cni plugin:v1\tsaved\t\n\
                 application/vnd.oci.image.manifest.v1+json {digest}\n\
                 Importing\telapsed: 0.2 s\ttotal:   0.0 B\t(0.0 B/s)\t\n"
            ),
            format!("unpacking ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1 ({digest})...done\n"),
        ] {
            let list = format!(
                "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
                 ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1 application/x {digest} 4.7 MiB linux/amd64 -\n\
                 sha256:{} application/x {digest} 4.7 MiB linux/amd64 -\n",
                "ab".repeat(32)
            );
            let found = digests(&said);
            assert_eq!(found, [&digest]);
            assert_eq!(named(&list, &found), ["ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1"]);
        }
    }
}
