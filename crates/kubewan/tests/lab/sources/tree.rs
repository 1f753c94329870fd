//! What publishers serve, made from the bundle with real Kubernetes: release servers, apt repositories, registries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The folder that is served, and who signs its repositories.
pub struct Tree {
    /// The bundle that it is made from.
    pub bundle: PathBuf,
    /// What is served.
    pub root: PathBuf,
    /// Folder of GnuPG's.
    keys: PathBuf,
}

/// Runs a shell line in a folder; it must succeed.
pub fn sh(dir: &Path, line: &str) -> String {
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", line])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{line}` ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Tree {
    /// Everything that a cluster takes, below one folder.
    pub fn make(bundle: &Path, dir: &Path, version: &str) -> Tree {
        let tree =
            Tree { bundle: bundle.to_owned(), root: dir.join("served"), keys: dir.join("keys") };
        fs::create_dir_all(&tree.root).expect("a folder");
        fs::create_dir_all(&tree.keys).expect("a folder");
        tree.releases(version);
        tree.key("right");
        tree.key("wrong");
        tree.kubernetes_packages(version);
        tree.distribution();
        tree.docker();
        tree.registries();
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        path
    }

    /// The layout of the release servers: programs with checksums, and archives of CNI plugins and containerd.
    fn releases(&self, version: &str) {
        let bundle = self.bundle.display();
        let bin = self.path(&format!("dl/v{version}/bin/linux/amd64/x"));
        let bin = bin.parent().expect("its folder");
        sh(
            bin,
            &format!(
                "cp {bundle}/bin/amd64/kube* . && for f in kube*; do sha256sum $f | cut -d' ' -f1 | tr -d '\\n' > $f.sha256; done"
            ),
        );
        let github = |path: &str| self.path(&format!("github/{path}"));
        let release = |repository: &str, version: &str| {
            let path = github(&format!("{repository}/releases/download/v{version}/x"));
            path.parent().expect("its folder").to_owned()
        };
        let plugins = release("containernetworking/plugins", kubewan_core::supply::CNI_PLUGINS);
        let name = format!("cni-plugins-linux-amd64-v{}.tgz", kubewan_core::supply::CNI_PLUGINS);
        sh(
            &plugins,
            &format!(
                "tar -C {bundle}/cni/amd64 -czf {name} ./ && sha256sum {name} > {name}.sha256"
            ),
        );
        // The distribution's containerd in the publisher's archive: what serves here is the archive.
        let work = self.keys.with_file_name("containerd");
        fs::create_dir_all(&work).expect("a folder");
        sh(
            &work,
            &format!(
                "for d in {bundle}/packages/debian-12/amd64/{{containerd,runc}}_*.deb; do dpkg-deb -x $d .; done"
            ),
        );
        sh(&work, "mkdir bin && mv usr/bin/{containerd,containerd-shim-runc-v2,ctr} bin/");
        let containerd = release("containerd/containerd", kubewan_core::supply::CONTAINERD);
        let name =
            format!("containerd-static-{}-linux-amd64.tar.gz", kubewan_core::supply::CONTAINERD);
        sh(
            &containerd,
            &format!(
                "tar -C {} -czf {name} bin && sha256sum {name} > {name}.sha256sum",
                work.display()
            ),
        );
        let runc = release("opencontainers/runc", kubewan_core::supply::RUNC);
        sh(
            &runc,
            &format!(
                "cp {}/usr/sbin/runc runc.amd64 && sha256sum runc.amd64 > runc.sha256sum",
                work.display()
            ),
        );
    }

    /// Ends GnuPG's agent, and waits for that: who asks one that is on its way out is told `End of file`.
    fn ends_agent(&self) -> String {
        format!(
            "export GNUPGHOME={}; gpgconf --kill all; socket=$(gpgconf --list-dirs agent-socket); \
             for try in $(seq 1200); do [ -S $socket ] || break; sleep 0.1; done; [ ! -S $socket ]",
            self.keys.display()
        )
    }

    fn gpg(&self) -> String {
        format!(
            "GNUPGHOME={} gpg --batch --quiet --pinentry-mode loopback --passphrase ''",
            self.keys.display()
        )
    }

    fn key(&self, name: &str) {
        let gpg = self.gpg();
        sh(
            &self.keys,
            &format!(
                "chmod 700 . && {gpg} --quick-generate-key {name}@repository.test ed25519 sign never"
            ),
        );
        sh(&self.keys, &format!("{gpg} --armor --export {name}@repository.test > {name}.asc"));
        // Its agent would outlive the story.
        sh(&self.keys, &self.ends_agent());
    }

    /// Indexes a folder of packages and signs it.
    pub fn index(&self, folder: &str, packages: &str, signer: &str) {
        let dir = self.root.join(folder);
        let sums = format!(
            "for f in {packages}/Packages; do f=${{f#./}}; echo \" $(sha256sum $f | cut -d' ' -f1) $(stat -c %s $f) $f\"; done"
        );
        sh(
            &dir,
            &format!(
                "dpkg-scanpackages --multiversion {packages} > {packages}/Packages 2>/dev/null"
            ),
        );
        sh(
            &dir,
            &format!(
                "( echo 'Origin: test'; echo \"Date: $(date -Ru)\"; echo 'Architectures: amd64'; echo 'SHA256:'; {sums} ) > Release"
            ),
        );
        sh(
            &dir,
            &format!(
                "{} --yes --clearsign --local-user {signer}@repository.test --output InRelease Release; {}",
                self.gpg(),
                self.ends_agent()
            ),
        );
    }

    /// Kubernetes' packages, as those of pkgs.k8s.io.
    fn kubernetes_packages(&self, version: &str) {
        let minor: String = version.rsplit_once('.').expect("three numbers").0.into();
        let folder = format!("pkgs/core:/stable:/v{minor}/deb");
        let dir = self.path(&format!("{folder}/x"));
        let dir = dir.parent().expect("its folder");
        let bundle = self.bundle.display();
        let unit = "[Unit]\nDescription=kubelet: The Kubernetes Node Agent\nWants=network-online.target\nAfter=network-online.target\n[Service]\nExecStart=/usr/bin/kubelet\nRestart=always\nStartLimitInterval=0\nRestartSec=10\n[Install]\nWantedBy=multi-user.target\n";
        let drop_in = "[Service]\nEnvironment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf\"\nEnvironment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml\"\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nEnvironmentFile=-/etc/default/kubelet\nExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n";
        for (name, depends, files) in [
            (
                "kubernetes-cni",
                "",
                format!("mkdir -p opt/cni/bin && cp {bundle}/cni/amd64/* opt/cni/bin/"),
            ),
            ("kubeadm", "", format!("mkdir -p usr/bin && cp {bundle}/bin/amd64/kubeadm usr/bin/")),
            ("kubectl", "", format!("mkdir -p usr/bin && cp {bundle}/bin/amd64/kubectl usr/bin/")),
            (
                "kubelet",
                "kubernetes-cni",
                format!(
                    "mkdir -p usr/bin usr/lib/systemd/system/kubelet.service.d && cp {bundle}/bin/amd64/kubelet usr/bin/ && \
                 printf %s '{unit}' > usr/lib/systemd/system/kubelet.service && \
                 printf %s '{drop_in}' > usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"
                ),
            ),
        ] {
            self.package(dir, name, &format!("{version}-1.1"), depends, &files);
        }
        fs::copy(self.keys.join("right.asc"), dir.join("Release.key")).expect("the key is there");
        self.index(&folder, ".", "right");
    }

    fn package(&self, dir: &Path, name: &str, version: &str, depends: &str, files: &str) {
        let work = self.keys.with_file_name(format!("package-{name}"));
        fs::create_dir_all(work.join("DEBIAN")).expect("a folder");
        sh(&work, files);
        let depends =
            if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: test\n{depends}Description: test\n"
        );
        fs::write(work.join("DEBIAN/control"), control).expect("a control file");
        sh(
            dir,
            &format!(
                "dpkg-deb -Znone --root-owner-group --build {} {name}_{version}_amd64.deb",
                work.display()
            ),
        );
        fs::remove_dir_all(work).expect("the work is done");
    }

    /// The distribution's packages: what the bundle has of it.
    fn distribution(&self) {
        let folder = self.path("debian/x");
        sh(
            folder.parent().expect("its folder"),
            &format!("cp {}/packages/debian-12/amd64/*.deb .", self.bundle.display()),
        );
        self.index("debian", ".", "right");
        fs::copy(self.keys.join("right.asc"), self.root.join("debian/key.asc"))
            .expect("the key is there");
    }

    /// Docker's repository, with the distribution's containerd and runc as containerd.io.
    fn docker(&self) {
        let pool = self.path("docker/linux/debian/dists/bookworm/stable/binary-amd64/x");
        let pool = pool.parent().expect("its folder");
        let bundle = self.bundle.display();
        let files = format!(
            "for d in {bundle}/packages/debian-12/amd64/{{containerd,runc}}_*.deb; do dpkg-deb -x $d .; done"
        );
        self.package(pool, "containerd.io", "2.1.9-1", "", &files);
        let dists = self.root.join("docker/linux/debian/dists/bookworm");
        let root = self.root.join("docker/linux/debian");
        sh(
            &root,
            "dpkg-scanpackages dists/bookworm/stable/binary-amd64 > dists/bookworm/stable/binary-amd64/Packages 2>/dev/null",
        );
        sh(
            &dists,
            "( echo 'Origin: Docker'; echo 'Suite: bookworm'; echo 'Codename: bookworm'; echo \"Date: $(date -Ru)\"; echo 'Architectures: amd64'; echo 'Components: stable'; echo 'SHA256:'; f=stable/binary-amd64/Packages; echo \" $(sha256sum $f | cut -d' ' -f1) $(stat -c %s $f) $f\" ) > Release",
        );
        sh(
            &dists,
            &format!(
                "{} --yes --clearsign --local-user right@repository.test --output InRelease Release; {}",
                self.gpg(),
                self.ends_agent()
            ),
        );
        fs::copy(self.keys.join("right.asc"), root.join("gpg")).expect("the key is there");
    }

    /// The images as a registry serves them: manifests by tag and digest, and blobs.
    fn registries(&self) {
        let text =
            fs::read_to_string(self.bundle.join("bundle.yaml")).expect("the bundle's description");
        let bundle = kubewan_core::bundle::parse(&text).expect("a bundle");
        fs::create_dir_all(self.root.join("v2")).expect("a folder");
        for image in bundle.of(kubewan_core::bundle::ArtifactKind::Image, "amd64") {
            let (name, tag) = image.name.rsplit_once(':').expect("a tag");
            let repository = name.split_once('/').expect("a registry").1;
            self.image(&self.bundle.join(&image.path), repository, tag);
        }
    }

    fn image(&self, archive: &Path, repository: &str, tag: &str) {
        let work = tempfile::tempdir_in(&self.keys).expect("a folder");
        sh(work.path(), &format!("tar -xf {}", archive.display()));
        let read = |name: &str| fs::read(work.path().join(name)).expect("a file of the image");
        let list: Value = serde_json::from_slice(&read("manifest.json")).expect("a docker archive");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let blobs = self.path(&format!("v2/{repository}/blobs/x"));
        let blobs = blobs.parent().expect("its folder");
        let mut sizes = BTreeMap::new();
        let mut put = |name: &str| -> Value {
            let from = work.path().join(name).canonicalize().expect("a file of the image");
            let sum = sh(work.path(), &format!("sha256sum {}", from.display()));
            let digest = format!("sha256:{}", &sum[..64]);
            let size = fs::metadata(&from).expect("its size").len();
            fs::copy(&from, blobs.join(&digest)).expect("a blob");
            sizes.insert(digest.clone(), size);
            json!({ "digest": digest, "size": size })
        };
        let mut config = put(&text(&list[0]["Config"]));
        config["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        let layers: Vec<Value> = list[0]["Layers"]
            .as_array()
            .expect("layers")
            .iter()
            .map(|layer| {
                let mut layer = put(&text(layer));
                layer["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar");
                layer
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": config,
            "layers": layers,
        })
        .to_string();
        let manifests = self.path(&format!("v2/{repository}/manifests/x"));
        let manifests = manifests.parent().expect("its folder");
        fs::write(manifests.join(tag), &manifest).expect("a manifest");
        let file = manifests.join(tag);
        let sum = sh(manifests, &format!("sha256sum {}", file.display()));
        fs::copy(&file, manifests.join(format!("sha256:{}", &sum[..64]))).expect("a manifest");
    }
}
