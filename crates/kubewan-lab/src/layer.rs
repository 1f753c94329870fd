//! A host's disk: the shared image below, a layer of its own above, and folders that need a
//! plain file system.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::call::Call;
use crate::error::OnPath;

/// Folders of a host that are bound to plain folders of this machine: the kernel refuses one
/// overlay as the upper layer of another, and container runtimes stack theirs in the first; etcd
/// and the kubelet want a real disk. They count as part of the host's writable layer.
pub(crate) const VOLUMES: [(&str, &str); 4] = [
    ("containerd", "/var/lib/containerd"),
    ("docker", "/var/lib/docker"),
    ("kubelet", "/var/lib/kubelet"),
    ("etcd", "/var/lib/etcd"),
];

/// Where one host's disk lies on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    folder: PathBuf,
    image: PathBuf,
}

impl Layer {
    pub(crate) fn new(folder: PathBuf, image: PathBuf) -> Self {
        Self { folder, image }
    }

    /// The host's root, once mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// What the host has written over the image.
    pub(crate) fn upper(&self) -> PathBuf {
        self.folder.join("disk/upper")
    }

    /// The image below.
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// The plain folders, each with its place in the host.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = (PathBuf, &'static str)> + '_ {
        let at = |name| self.folder.join("disk/volumes").join(name);
        VOLUMES.into_iter().map(move |(name, place)| (at(name), place))
    }

    /// Makes an empty layer and mounts the root.
    pub(crate) fn make(&self) -> Result<(), LabError> {
        let work = self.folder.join("disk/work");
        let root = self.root();
        let volumes: Vec<PathBuf> = self.volumes().map(|(folder, _)| folder).collect();
        for folder in [&self.upper(), &work, &root].into_iter().chain(&volumes) {
            fs::create_dir_all(folder).on("make the folder", folder)?;
        }
        let [lower, upper, work] = [self.image(), &self.upper(), &work].map(escaped);
        // Everything that a host changed must lie in the upper layer as it is, as the comparison
        // after a reset reads it there.
        let options = format!(
            "lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off,metacopy=off,index=off"
        );
        Call::new("mount", format!("mount the root of {}", self.folder.display()))
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&root)
            .next(
                "the lab's storage must be on a plain file system such as ext4 or xfs, not on \
                 an overlay: in a container, mount a volume there",
            )
            .run()?;
        for (_, place) in self.volumes() {
            let point = root.join(place.trim_start_matches('/'));
            fs::create_dir_all(&point).on("make the folder", &point)?;
        }
        Ok(())
    }

    /// Unmounts the root and puts the layer aside, to be deleted while the host boots again.
    pub(crate) fn put_aside(&self) -> Result<PathBuf, LabError> {
        unmount_below(&self.folder)?;
        let disk = self.folder.join("disk");
        let aside = self.folder.join("discarded");
        if aside.exists() {
            remove_tree(&aside)?;
        }
        if disk.exists() {
            fs::rename(&disk, &aside).on("put aside", &disk)?;
        }
        Ok(aside)
    }
}

/// Unmounts everything at or below a folder, the innermost first.
pub(crate) fn unmount_below(folder: &Path) -> Result<(), LabError> {
    for point in mounts_below(folder).iter().rev() {
        Call::new("umount", format!("unmount {}", point.display())).arg("-l").arg(point).run()?;
    }
    Ok(())
}

/// The mount points at or below a folder, in the order they were mounted.
pub(crate) fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(|point| PathBuf::from(unescaped(point)))
        .filter(|at| at.starts_with(folder))
        .collect()
}

/// Deletes a folder, but never through a mount into something else.
pub(crate) fn remove_tree(folder: &Path) -> Result<(), LabError> {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    unmount_below(folder)?;
    fs::remove_dir_all(folder).on("remove", folder)
}

/// The kernel splits overlay options at commas and colons.
fn escaped(path: &Path) -> String {
    let mut escaped = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, '\\' | ':' | ',') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The kernel writes blanks in mount points as octal.
fn unescaped(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_survive_mount_options() {
        assert_eq!(escaped(Path::new("/a:b,c")), "/a\\:b\\,c");
        assert_eq!(unescaped("/with\\040blank"), "/with blank");
    }

    #[test]
    fn a_root_is_below_itself() {
        assert!(mounts_below(Path::new("/")).contains(&PathBuf::from("/")));
        assert!(mounts_below(Path::new("/nonexistent")).is_empty());
    }
}
