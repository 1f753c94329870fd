//! Our cluster among those that the operator's kubectl knows already. What is there stays, and the file as it was is kept
//! beside it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The lists of a kubeconfig, each of entries with names.
const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// What came of a merge.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    /// The file as it was, where it was there and has changed.
    pub kept: Option<PathBuf>,
    /// Ours is the context that kubectl uses without being told.
    pub is_current: bool,
}

/// The file that kubectl writes to: the one of `KUBECONFIG`, else `~/.kube/config`.
///
/// # Errors
/// Says what is missing where neither tells of one file.
pub fn usual_file(kubeconfig: Option<&str>, home: Option<&str>) -> Result<PathBuf, String> {
    let mut files = kubeconfig.unwrap_or_default().split(':').filter(|path| !path.is_empty());
    match (files.next(), files.next(), home) {
        (Some(_), Some(_), _) => Err("KUBECONFIG names several files; name one of them".into()),
        (Some(path), None, _) => Ok(path.into()),
        (None, _, Some(home)) => Ok(Path::new(home).join(".kube/config")),
        (None, _, None) => Err("neither KUBECONFIG nor HOME is set; name the file".into()),
    }
}

/// Whether kubectl reads a file without being told its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// It reads this one and no other.
    Alone,
    /// It is one of several of `KUBECONFIG`.
    WithOthers,
    /// It does not.
    No,
}

/// Whether kubectl reads this file: one of `KUBECONFIG`, else `~/.kube/config` (client-go, `tools/clientcmd/loader.go`).
pub fn reads(kubeconfig: Option<&str>, home: Option<&str>, file: &Path) -> Read {
    let same = |path: &Path| {
        let real = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
        real(path).is_some_and(|path| Some(path) == real(file))
    };
    let files: Vec<&str> =
        kubeconfig.unwrap_or_default().split(':').filter(|path| !path.is_empty()).collect();
    let is_read = match files.is_empty() {
        true => home.is_some_and(|home| same(&Path::new(home).join(".kube/config"))),
        false => files.iter().any(|path| same(Path::new(path))),
    };
    match (is_read, files.len() > 1) {
        (false, _) => Read::No,
        (true, true) => Read::WithOthers,
        (true, false) => Read::Alone,
    }
}

/// Adds a kubeconfig with one cluster to a file, 0600, whole or not at all.
///
/// # Errors
/// Says why the file stays as it is.
pub fn into_file(path: &Path, ours: &Value) -> Result<Merged, String> {
    // A link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        format!("can't {what} {}: {error}", path.display())
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(|e| failed("make room for", &e))?;
    let _lock = Lock::take(&path)?;
    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &error)),
    };
    let text = before.as_deref().unwrap_or_default();
    let theirs = match text.trim() {
        "" => json!({}),
        text => serde_saphyr::from_str(text).map_err(|error| failed("understand", &error))?,
    };
    let merged = merged(&theirs, ours).map_err(|error| failed("merge into", &error))?;
    let is_current = merged["current-context"] == ours["current-context"];
    if merged == theirs {
        return Ok(Merged { kept: None, is_current });
    }
    let kept = match &before {
        Some(text) if !text.is_empty() => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut name = path.clone().into_os_string();
            name.push(format!(".before-kubewan-{}", since.as_nanos()));
            let kept = PathBuf::from(name);
            write_new(&kept, text).map_err(|e| format!("can't keep {}: {e}", kept.display()))?;
            Some(kept)
        }
        _ => None,
    };
    let mut new = tempfile::Builder::new();
    let mut new =
        new.prefix(".kubeconfig-").tempfile_in(folder).map_err(|e| failed("write", &e))?;
    let written = new.write_all(super::yaml(&merged)?.as_bytes());
    written.and_then(|()| new.as_file().sync_all()).map_err(|e| failed("write", &e))?;
    new.persist(&path).map_err(|e| failed("write", &e.error))?;
    Ok(Merged { kept, is_current })
}

/// Their kubeconfig with our cluster, user and context in it. Entries of our names are ours if they lead to the same server (a
/// cluster that was built anew has other certificates); what else a context of ours has, such as a namespace, stays.
fn merged(theirs: &Value, ours: &Value) -> Result<Value, String> {
    let Value::Object(theirs) = theirs else { return Err("it is no kubeconfig".into()) };
    let mut merged: Map<String, Value> = theirs.clone();
    merged.entry("apiVersion").or_insert_with(|| "v1".into());
    merged.entry("kind").or_insert_with(|| "Config".into());
    let cluster = &ours["clusters"][0]["name"];
    let uses = |context: &Value, user: &Value| {
        context["context"]["cluster"] == *cluster && context["context"]["user"] == *user
    };
    let contexts = theirs.get("contexts").and_then(Value::as_array).cloned().unwrap_or_default();
    for list in LISTS {
        let entry = &ours[list][0];
        let name = &entry["name"];
        let place = merged.entry(list).or_insert(Value::Null);
        if place.is_null() {
            *place = json!([]);
        }
        let entries = place.as_array_mut().ok_or(format!("its `{list}` is no list"))?;
        let Some(other) = entries.iter_mut().find(|other| other["name"] == *name) else {
            entries.push(entry.clone());
            continue;
        };
        match list {
            "clusters" => {
                let server = |entry: &Value| entry["cluster"]["server"].clone();
                if server(other) != server(entry) {
                    return Err(format!(
                        "it has a cluster {name} already, at {}, and ours is at {}",
                        server(other),
                        server(entry)
                    ));
                }
                *other = entry.clone();
            }
            "users" => {
                if !contexts.iter().any(|context| uses(context, name)) {
                    return Err(format!(
                        "it has a user {name} already, whom no context uses with the cluster {cluster}; \
                         `kubectl config delete-user` takes one out that is not needed any more"
                    ));
                }
                *other = entry.clone();
            }
            _ => {
                let of = &other["context"]["cluster"];
                if of != cluster {
                    return Err(format!(
                        "it has a context {name} already, for the cluster {of}; `kubectl config rename-context` \
                         gives that another name"
                    ));
                }
                other["context"]["user"] = entry["context"]["user"].clone();
            }
        }
    }
    let current = merged.entry("current-context").or_insert(Value::Null);
    if current.as_str().is_none_or(str::is_empty) {
        *current = ours["current-context"].clone();
    }
    Ok(Value::Object(merged))
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// kubectl's own lock of a kubeconfig (client-go, `tools/clientcmd/config.go`, `lockFile`).
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Lock, String> {
        let mut name = path.to_owned().into_os_string();
        name.push(".lock");
        let lock = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
            Ok(_) => Ok(Lock(lock)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(format!(
                "{} is there: someone else writes to the file now; if nobody does, remove it",
                lock.display()
            )),
            Err(error) => Err(format!("can't make {}: {error}", lock.display())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ours(ca: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "home",
            "clusters": [{ "name": "home", "cluster": { "server": "https://198.51.100.10:6443", "certificate-authority-data": ca } }],
            "users": [{ "name": "home-admin", "user": { "client-key-data": "S0VZ" } }],
            "contexts": [{ "name": "home", "context": { "cluster": "home", "user": "home-admin" } }],
        })
    }

    const THEIRS: &str = "\
# mine
apiVersion: v1
kind: Config
preferences: {}
current-context: work
clusters:
- name: work
  cluster: {server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}
users:
- name: me
  user: {username: 'yes', password: '0123', token: '1e3', exec: {args: ['on', '12:30']}}
contexts:
- name: work
  context: {cluster: work, user: me, namespace: 'null'}
";

    #[test]
    fn what_was_there_stays_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, THEIRS).unwrap();
        let first = into_file(&path, &ours("Q0E=")).unwrap();
        assert!(!first.is_current);
        let kept = first.kept.unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), THEIRS);
        let text = fs::read_to_string(&path).unwrap();
        let config: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(config["current-context"], "work");
        assert_eq!(config["users"][0]["user"]["exec"]["args"], json!(["on", "12:30"]));
        // kubectl reads YAML 1.1, in which such words are no texts unless they are quoted.
        for quoted in ["yes", "0123", "1e3", "on", "12:30", "null"] {
            let is_quoted = |quote| text.contains(&format!("{quote}{quoted}{quote}"));
            assert!(is_quoted('\'') || is_quoted('"'), "{quoted} in\n{text}");
        }
        assert_eq!(config["contexts"][1]["name"], "home");
        for file in [&path, &kept] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let again = into_file(&path, &ours("Q0E=")).unwrap();
        assert_eq!(again, Merged { kept: None, is_current: false }, "nothing to change");
        into_file(&path, &ours("TkVX")).unwrap();
        let anew: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(anew["clusters"][1]["cluster"]["certificate-authority-data"], "TkVX");
        assert_eq!(anew["clusters"].as_array().unwrap().len(), 2);
        let mut of_a_namespace = anew.clone();
        of_a_namespace["contexts"][1]["context"]["namespace"] = "mine".into();
        fs::write(&path, super::super::yaml(&of_a_namespace).unwrap()).unwrap();
        into_file(&path, &ours("Q0E=")).unwrap();
        let kept: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(kept["contexts"][1]["context"]["namespace"], "mine");
        assert!(!folder.path().join("config.lock").exists());
    }

    #[test]
    fn the_first_cluster_is_the_current_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config");
        let merged = into_file(&path, &ours("Q0E=")).unwrap();
        assert_eq!(merged, Merged { kept: None, is_current: true });
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn what_can_not_be_merged_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let refused = |text: &str, why: &str| {
            fs::write(&path, text).unwrap();
            let error = into_file(&path, &ours("Q0E=")).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        };
        refused("clusters: [", "can't understand");
        refused("- a\n", "it is no kubeconfig");
        refused("users: 3\n", "its `users` is no list");
        let other = "clusters:\n- name: home\n  cluster: {server: https://192.0.2.9:6443}\n";
        refused(other, "it has a cluster \"home\" already, at \"https://192.0.2.9:6443\"");
        let other = "contexts:\n- name: home\n  context: {cluster: work, user: me}\n";
        refused(other, "it has a context \"home\" already, for the cluster \"work\"");
        let other = "users:\n- name: home-admin\n  user: {token: abc}\n";
        refused(other, "it has a user \"home-admin\" already, whom no context uses");
        fs::write(folder.path().join("config.lock"), "").unwrap();
        let error = into_file(&path, &ours("Q0E=")).unwrap_err();
        assert!(error.contains("config.lock is there"), "{error}");
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("config"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        into_file(&link, &ours("Q0E=")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("home-admin"));
    }

    #[test]
    fn kubectl_reads_what_it_was_told_of() {
        let home = Some("/home/me");
        let usual = Path::new("/home/me/.kube/config");
        assert_eq!(reads(None, home, usual), Read::Alone);
        assert_eq!(reads(None, home, Path::new("/home/me/other")), Read::No);
        assert_eq!(reads(Some("/a"), home, usual), Read::No);
        assert_eq!(reads(Some("/a:/b"), home, Path::new("/b")), Read::WithOthers);
        let here = std::env::current_dir().unwrap();
        assert_eq!(reads(Some("x"), None, &here.join("x")), Read::Alone);
        assert_eq!(reads(None, None, usual), Read::No);
    }

    #[test]
    fn the_usual_file_is_kubectls() {
        let home = Some("/home/me");
        assert_eq!(usual_file(None, home), Ok("/home/me/.kube/config".into()));
        assert_eq!(usual_file(Some(""), home), Ok("/home/me/.kube/config".into()));
        assert_eq!(usual_file(Some("/a"), home), Ok("/a".into()));
        assert!(usual_file(Some("/a:/b"), home).is_err() && usual_file(None, None).is_err());
    }
}
