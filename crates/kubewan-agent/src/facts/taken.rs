//! Where this host takes things from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kubewan_core::facts::taken::{Taken, image_in, server_in};
use kubewan_core::render::containerd::CERTS_D;

use super::runtime::own_sources;

/// Registries whose files are read.
const REGISTRIES_MAX: usize = 64;

pub(super) fn taken() -> Taken {
    Taken {
        api_server_image: fs::read_to_string("/etc/kubernetes/manifests/kube-apiserver.yaml")
            .ok()
            .and_then(|manifest| image_in(&manifest)),
        registries: registries(Path::new(CERTS_D)),
        packages: own_sources(Path::new("/etc")),
    }
}

/// The servers that containerd asks in registries' place.
fn registries(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let server = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("hosts.toml")).ok()?;
        Some((entry.file_name().into_string().ok()?, server_in(&text)?))
    };
    entries.take(REGISTRIES_MAX).filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_read_from_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("ghcr.io", "server = \"https://m.example\"\n"), ("torn", "server = ")]
        {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("hosts.toml"), text).unwrap();
        }
        let all = [("ghcr.io".to_owned(), "https://m.example".to_owned())].into();
        assert_eq!(registries(dir.path()), all);
        assert_eq!(registries(&dir.path().join("none")), BTreeMap::new());
    }
}
