//! Container images from registries, as archives that containerd imports: the pull half of the OCI distribution
//! specification, spoken through curl. Everything but the first manifest is asked for by its digest and checked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use kubewan_core::inventory::Servers;
use kubewan_core::mirror::answer::{MANIFESTS, token, token_url};
use serde_json::{Value, json};

use super::fetch::{self, FetchError};

/// An image's name, taken apart (github.com/distribution/reference).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry's name, as `registry.k8s.io`.
    pub registry: String,
    /// The path in it.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

impl Reference {
    /// Takes a full name apart; `None` where it lacks a registry or a tag.
    pub fn parse(text: &str) -> Option<Reference> {
        let (name, tag) = text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
        let (registry, repository) = name.split_once('/')?;
        let is_host = registry.contains(['.', ':']) || registry == "localhost";
        (is_host && !repository.is_empty() && !tag.is_empty()).then(|| Reference {
            registry: registry.into(),
            repository: repository.into(),
            tag: tag.into(),
        })
    }

    /// Where its registry answers: a mirror, Docker Hub's own name, or its name.
    fn server(&self, mirrors: &BTreeMap<String, Servers>) -> String {
        match mirrors.get(&self.registry) {
            Some(mirror) => mirror.trim_end_matches('/').to_owned(),
            None if self.registry == "docker.io" => "https://registry-1.docker.io".into(),
            None => format!("https://{}", self.registry),
        }
    }
}

/// One registry's repository, and the right to read it.
struct Repository {
    base: String,
    /// What curl reads: the token, which has no place among arguments.
    config: String,
}

/// Pulls an image for an architecture into an archive; `progress` hears the bytes of each part that has come. Parts
/// that an earlier try brought into `parts` are not fetched again.
///
/// # Errors
/// Fails where it can't be had, or a part is something else than its digest says.
pub fn pull(
    name: &str,
    arch: &str,
    mirrors: &BTreeMap<String, Servers>,
    parts: &Path,
    archive: &Path,
    progress: &dyn Fn(u64),
) -> Result<(), FetchError> {
    let wrong = |said: &str| FetchError::new(name, said);
    let reference =
        Reference::parse(name).ok_or_else(|| wrong("it is no full name of an image"))?;
    let base = format!("{}/v2/{}", reference.server(mirrors), reference.repository);
    let (repository, first) = Repository::open(base, &reference.tag)?;
    let mut manifest = first;
    let parsed = parse(name, &manifest)?;
    if let Some(list) = parsed["manifests"].as_array() {
        let digest =
            of_arch(list, arch).ok_or_else(|| wrong(&format!("there is none for {arch}")))?;
        manifest = repository.manifest(&digest)?;
        expect(name, &digest, &manifest)?;
    }
    let digests = digests(name, &manifest)?;
    for digest in &digests {
        let sha256 = hex_of(name, digest)?;
        let url = format!("{}/blobs/{digest}", repository.base);
        fetch::checked(&url, &parts.join(sha256), sha256, &repository.config, progress)?;
    }
    let config = hex_of(name, digests.last().expect("the config is one of them"))?;
    let config = fs::read(parts.join(config)).map_err(|error| wrong(&error.to_string()))?;
    let made_for = parse(name, &config)?["architecture"].as_str().unwrap_or_default().to_owned();
    if made_for != arch {
        return Err(wrong(&format!("it is made for `{made_for}`, not for {arch}")));
    }
    write(name, &reference, &manifest, &digests, parts, archive)
        .map_err(|error| wrong(&error.to_string()))
}

/// The layers that a manifest names, and its configuration last.
pub(crate) fn digests(name: &str, manifest: &[u8]) -> Result<Vec<String>, FetchError> {
    let parsed = parse(name, manifest)?;
    let layers = parsed["layers"].as_array().into_iter().flatten();
    let mut digests = Vec::new();
    for blob in layers.chain([&parsed["config"]]) {
        let digest = blob["digest"].as_str().unwrap_or_default();
        hex_of(name, digest)?;
        digests.push(digest.to_owned());
    }
    if digests.len() < 2 {
        return Err(FetchError::new(name, "its manifest names no layers"));
    }
    Ok(digests)
}

impl Repository {
    /// Reads the first manifest, and gets a token where the registry wants one, as all do that serve anyone
    /// (distribution's docs/spec/auth/token.md).
    fn open(base: String, tag: &str) -> Result<(Repository, Vec<u8>), FetchError> {
        let mut repository = Repository { base, config: String::new() };
        match repository.manifest(tag) {
            Ok(manifest) => return Ok((repository, manifest)),
            Err(error) if error.said.contains("401") => {}
            Err(error) => return Err(error),
        }
        let url = format!("{}/manifests/{tag}", repository.base);
        let challenge = repository.challenge(&url)?;
        // A token that came in the clear would be everybody's.
        let encrypted =
            |realm: &String| realm.starts_with("https://") || url.starts_with("http://");
        let token_url = token_url(&challenge)
            .filter(encrypted)
            .ok_or_else(|| FetchError::new(&url, "it wants a password"))?;
        let answer = fetch::text(&token_url)?;
        let token = token(&answer)
            .ok_or_else(|| FetchError::new(&token_url, "there is no token in the answer"))?;
        repository.config = format!("header = \"Authorization: Bearer {token}\"\n");
        let manifest = repository.manifest(tag)?;
        Ok((repository, manifest))
    }

    fn manifest(&self, tag_or_digest: &str) -> Result<Vec<u8>, FetchError> {
        let url = format!("{}/manifests/{tag_or_digest}", self.base);
        let mut args = kubewan_core::download::text_args(&url);
        args.extend(["--header".into(), format!("Accept: {}", MANIFESTS.join(", "))]);
        let ran = fetch::curl(&args, &self.config).map_err(|error| {
            FetchError::new(&url, format!("curl could not be started: {error}"))
        })?;
        if ran.code == 0 {
            return Ok(ran.stdout);
        }
        Err(FetchError::new(&url, kubewan_core::download::said(&ran.stderr)))
    }

    /// The header that says where a token is given.
    fn challenge(&self, url: &str) -> Result<String, FetchError> {
        let mut args = kubewan_core::download::text_args(url);
        // The answer that is asked for is a refusal.
        args.retain(|arg| arg != "--fail");
        args.push("--head".into());
        let ran = fetch::curl(&args, "")
            .map_err(|error| FetchError::new(url, format!("curl could not be started: {error}")))?;
        let head = String::from_utf8_lossy(&ran.stdout).into_owned();
        let challenge = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("www-authenticate").then(|| value.trim().to_owned())
        });
        challenge.ok_or_else(|| FetchError::new(url, "it does not say who may read it"))
    }
}

fn parse(name: &str, manifest: &[u8]) -> Result<Value, FetchError> {
    serde_json::from_slice(manifest)
        .map_err(|error| FetchError::new(name, format!("its manifest is no JSON: {error}")))
}

/// The digest of the manifest for Linux on an architecture.
fn of_arch(list: &[Value], arch: &str) -> Option<String> {
    let fits = |entry: &&Value| {
        entry["platform"]["architecture"] == arch && entry["platform"]["os"] == "linux"
    };
    Some(list.iter().find(fits)?["digest"].as_str()?.to_owned())
}

fn hex_of<'a>(name: &str, digest: &'a str) -> Result<&'a str, FetchError> {
    let hex = digest.strip_prefix("sha256:");
    let hex = hex.filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    hex.ok_or_else(|| FetchError::new(name, format!("`{digest}` is no SHA-256 digest")))
}

fn expect(name: &str, digest: &str, bytes: &[u8]) -> Result<(), FetchError> {
    let found = format!("sha256:{}", kubewan_core::sha256_hex(bytes));
    if found == digest {
        return Ok(());
    }
    Err(FetchError::new(name, format!("the registry gave a manifest {found} for {digest}")))
}

/// An OCI layout as a tar archive (opencontainers/image-spec image-layout.md). The same image gives the same bytes.
fn write(
    name: &str,
    reference: &Reference,
    manifest: &[u8],
    digests: &[String],
    parts: &Path,
    archive: &Path,
) -> io::Result<()> {
    let folder = archive.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let layout = tempfile::Builder::new().prefix(".layout").tempdir_in(parts)?;
    let blobs = layout.path().join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    for digest in digests {
        let hex = digest.trim_start_matches("sha256:");
        let blob = blobs.join(hex);
        // An image may have one layer twice.
        if !blob.exists() {
            fs::hard_link(parts.join(hex), blob)?;
        }
    }
    let hex = kubewan_core::sha256_hex(manifest);
    fs::write(blobs.join(&hex), manifest)?;
    let parsed: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let media_type = parsed["mediaType"].as_str().unwrap_or(MANIFESTS[2]);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MANIFESTS[0],
        "manifests": [{
            "mediaType": media_type,
            "digest": format!("sha256:{hex}"),
            "size": manifest.len(),
            "annotations": {
                // The one is containerd's, the other the specification's.
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": reference.tag,
            },
        }],
    });
    fs::write(layout.path().join("index.json"), index.to_string())?;
    fs::write(layout.path().join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    let mut part = archive.as_os_str().to_owned();
    part.push(".part");
    let output = Command::new("tar")
        .args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
        .args(["--numeric-owner", "--mode=u=rwX,go=rX", "--hard-dereference", "--file"])
        .arg(&part)
        .arg("--directory")
        .arg(layout.path())
        .args(["oci-layout", "index.json", "blobs"])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("tar: {}", said.trim())));
    }
    fs::rename(part, archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let of = |text: &str| Reference::parse(text).map(|r| (r.registry, r.repository, r.tag));
        let some = |a: &str, b: &str, c: &str| Some((a.into(), b.into(), c.into()));
        assert_eq!(of("registry.k8s.io/pause:3.10"), some("registry.k8s.io", "pause", "3.10"));
        assert_eq!(of("r.example:5000/a/b:v1"), some("r.example:5000", "a/b", "v1"));
        for bad in
            ["pause:3.10", "registry.k8s.io/pause", "r.example:5000/pause", "library/nginx:1", ""]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn servers_are_mirrors_or_the_registries_themselves() {
        let hub = Reference::parse("docker.io/library/nginx:1").unwrap();
        assert_eq!(hub.server(&BTreeMap::new()), "https://registry-1.docker.io");
        let mirrors = BTreeMap::from([("docker.io".to_owned(), "http://192.0.2.1:5000/".into())]);
        assert_eq!(hub.server(&mirrors), "http://192.0.2.1:5000");
    }

    #[test]
    fn the_manifest_of_the_architecture_is_chosen() {
        let entry = |arch: &str, os: &str, digest: &str| json!({ "digest": digest, "platform": { "architecture": arch, "os": os } });
        let list = [
            entry("amd64", "windows", "w"),
            entry("arm64", "linux", "a"),
            entry("amd64", "linux", "l"),
        ];
        assert_eq!(of_arch(&list, "amd64").as_deref(), Some("l"));
        assert_eq!(of_arch(&list, "s390x"), None);
    }
}
