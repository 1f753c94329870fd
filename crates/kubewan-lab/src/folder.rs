//! The user's folder: what a lab writes there, and what it leaves alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::LabError;
use crate::keys::{CLIENT_KEY, CLIENT_KEY_PUBLIC, KNOWN_HOSTS};
use crate::state::{State, Written};

/// The inventory.
pub(crate) const INVENTORY: &str = "cluster.yaml";
/// Everything that a lab writes there.
const FILES: [&str; 4] = [INVENTORY, CLIENT_KEY, CLIENT_KEY_PUBLIC, KNOWN_HOSTS];

/// Refuses a folder with files of a lab's names that this lab did not write: they are about other servers, and
/// a lab neither writes over them nor builds a cluster by them.
pub(crate) fn refuse_foreign(dir: &Path, written: &[Written]) -> Result<(), LabError> {
    let ours = |name: &str| written.iter().any(|written| written.name == name);
    let mut foreign = FILES.into_iter().filter(|name| !ours(name)).map(|name| dir.join(name));
    // A link that leads nowhere is a file too: writing would follow it.
    match foreign.find(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => Err(LabError::NotOurs {
            path,
            why: "is there already, and this lab did not write it".into(),
            next: "move it away, or name another folder: `kubewan lab up --dir DIR`".into(),
        }),
    }
}

/// Refuses a folder that another lab has its files in.
pub(crate) fn refuse_anothers(lab: &str, dir: &Path, labs: &[State]) -> Result<(), LabError> {
    let mut others = labs.iter().filter(|other| other.name() != lab);
    match others.find(|other| is_same(&other.dir, dir)) {
        None => Ok(()),
        Some(other) => Err(LabError::NotOurs {
            path: dir.to_owned(),
            why: format!("is the folder of the lab `{}`", other.name()),
            next: "name another one: `kubewan lab up --dir DIR`".into(),
        }),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    a == b || place(a).is_some_and(|place_of_a| Some(place_of_a) == place(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Spec, Topology};

    #[test]
    fn files_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(refuse_foreign(dir, &[]).is_ok());
        assert!(refuse_foreign(&dir.join("none"), &[]).is_ok());
        for name in FILES {
            let path = dir.join(name);
            fs::write(&path, "mine").unwrap();
            let refused = refuse_foreign(dir, &[]).unwrap_err().to_string();
            assert!(
                refused.starts_with(&format!("{} is there already", path.display())),
                "{refused}"
            );
            let written = [Written { name: name.into(), sha256: None }];
            assert!(refuse_foreign(dir, &written).is_ok());
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/nonexistent/file", &path).unwrap();
            assert!(refuse_foreign(dir, &[]).is_err(), "a link to nowhere");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_folder_is_one_labs() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("shared");
        fs::create_dir(&dir).unwrap();
        let topology = Topology::lay_out("one", &Spec::usual(1), &[]).unwrap();
        let labs = [State::new(dir.clone(), topology, Default::default())];
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(refuse_anothers("one", &dir, &labs).is_ok());
        assert!(refuse_anothers("two", &folder.path().join("other"), &labs).is_ok());
        for path in [&dir, &link] {
            let refused = refuse_anothers("two", path, &labs).unwrap_err().to_string();
            assert!(refused.contains("is the folder of the lab `one`"), "{refused}");
        }
    }
}
