//! Clusters from elsewhere than a bundle: release servers, apt repositories and registries on the lab's Internet, which
//! serve what the bundle with real Kubernetes holds. What they serve wrongly is refused, and named.

pub mod server;
pub mod tree;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use kubewan_lab::{Claim, Lab};

use crate::support::{Kubernetes, Said, Stage, lab_name, run_with, the_way_to_a_site};
use server::Server;
use tree::{Tree, sh};

/// Where the servers are.
const SITE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

/// A lab whose Internet has such servers.
struct Scene {
    stage: Stage,
    tree: Tree,
    server: Server,
    /// The inventory as the lab wrote it.
    plain: String,
    version: String,
    _way: File,
}

impl Scene {
    /// `None` where there is no real Kubernetes to serve.
    fn set() -> Option<Scene> {
        if Kubernetes::told() != [Kubernetes::Bundle] {
            eprintln!("no real Kubernetes that could be served: not shown");
            return None;
        }
        let way = the_way_to_a_site();
        let stage = Stage::hosts(Kubernetes::Bundle, 2);
        let plain = fs::read_to_string(stage.inventory()).unwrap();
        let value = |key: &str| {
            let line = plain.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
            line.trim().trim_matches('"').to_owned()
        };
        let (version, bundle) = (value("version:"), PathBuf::from(value("bundle:")));
        let dir = stage.claim.lab_dir().with_file_name("servers");
        fs::create_dir_all(&dir).unwrap();
        let tree = Tree::make(&bundle, &dir, &version);
        let namespace = stage.lab.add_site(SITE).unwrap();
        let server = Server::start(&namespace, SITE, &tree.root);
        let scene = Scene { stage, tree, server, plain, version, _way: way };
        scene.rent();
        Some(scene)
    }

    /// The hosts have the distribution's repository that their provider's image names.
    fn rent(&self) {
        let url = self.server.url();
        for host in ["master01", "node01"] {
            self.stage.on(
                host,
                &format!(
                    "curl -sf {url}/debian/key.asc -o /etc/apt/trusted.gpg.d/provider.asc && \
                     rm -f /etc/apt/sources.list.d/* && echo 'deb {url}/debian ./' > /etc/apt/sources.list"
                ),
            );
        }
    }

    /// Asks for other sources.
    fn ask_for(&self, kubernetes: &str, runtime: &str) {
        let url = self.server.url();
        let mut text: Vec<String> = Vec::new();
        for line in self.plain.lines() {
            match line.trim() {
                bundle if bundle.starts_with("bundle:") => {
                    text.push(format!("  source: {kubernetes}"))
                }
                "source: bundle" => text.push(format!("  source: {runtime}")),
                _ => text.push(line.to_owned()),
            }
        }
        text.push(format!(
            "mirrors:\n  kubernetes: {url}/dl\n  packages: {url}/pkgs\n  docker: {url}/docker\n  github: {url}/github\n  images:\n    \
             registry.k8s.io: {url}\n    ghcr.io: {url}"
        ));
        fs::write(self.stage.inventory(), text.join("\n") + "\n").unwrap();
    }

    /// The program with a memory of its own for what publishers say.
    fn kubewan(&self, arguments: &[&str]) -> Said {
        let cache = self.tree.root.with_file_name("cache");
        let inventory = self.stage.inventory();
        let mut all = arguments.to_vec();
        all.extend(["-f", &inventory]);
        run_with(&all, &[("XDG_CACHE_HOME", &cache.to_string_lossy())])
    }

    fn forget(&self) {
        let _ = fs::remove_dir_all(self.tree.root.with_file_name("cache"));
    }

    fn file(&self, path: &str) -> PathBuf {
        self.tree.root.join(path)
    }

    /// `up` stops there, and says so.
    fn is_refused(&self, code: i32, words: &[&str]) {
        let said = self.kubewan(&["up", "--yes"]);
        said.expect_code(code);
        for word in words {
            assert!(said.stderr.contains(word), "no `{word}` in:\n{}", said.stderr);
        }
    }

    /// A mirror that is not there is named.
    fn is_refused_where_nobody_answers(&self, mirror: &str) {
        let text = fs::read_to_string(self.stage.inventory()).unwrap();
        let begin = format!("  {mirror}: {}", self.server.url());
        assert!(text.contains(&begin), "{text}");
        fs::write(self.stage.inventory(), text.replacen(&begin, &format!("{begin}:81"), 1))
            .unwrap();
        self.forget();
        self.is_refused(3, &["error[mirror-unusable]", &format!("`mirrors.{mirror}`"), ":81"]);
        fs::write(self.stage.inventory(), text).unwrap();
        self.forget();
    }

    /// A whole cluster, proved, at rest, and given back.
    fn is_a_cluster(&self) {
        let up = self.kubewan(&["up", "--yes"]);
        up.expect_code(0);
        assert!(up.stderr.contains("passed    pod-to-pod"), "{}", up.stderr);
        assert!(up.stdout.contains("node01"), "{}", up.stdout);
        let again = self.kubewan(&["plan", "--detailed-exitcode"]);
        again.expect_code(0);
    }

    fn reset(&self) {
        self.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    }
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn releases_are_downloaded_checked_and_gone_on_with() {
    let Some(scene) = Scene::set() else { return };
    let bin = format!("dl/v{}/bin/linux/amd64", scene.version);
    scene.ask_for("release", "release");

    // Before any host is changed: a checksum that is none, a server that does not answer.
    let sums = scene.file(&format!("{bin}/kubeadm.sha256"));
    let right = fs::read_to_string(&sums).unwrap();
    fs::write(&sums, "<html>blocked by your provider</html>").unwrap();
    scene.is_refused(3, &["error[mirror-unusable]", "there is no SHA-256 of kubeadm in what it"]);
    fs::write(&sums, &right).unwrap();
    let plugins = scene.file("github/containernetworking");
    fs::rename(&plugins, plugins.with_extension("away")).unwrap();
    scene.forget();
    scene.is_refused(3, &["error[mirror-unusable]", "`mirrors.github`", "cni-plugins", "404"]);
    fs::rename(plugins.with_extension("away"), &plugins).unwrap();
    scene.is_refused_where_nobody_answers("kubernetes");
    for host in ["master01", "node01"] {
        scene.stage.on(host, "test ! -e /etc/containerd && test ! -e /usr/local/bin/kubeadm");
    }

    // What hosts download: another file than the checksum is of, and a part of it.
    fs::write(&sums, "0".repeat(64)).unwrap();
    scene.forget();
    scene.is_refused(
        1,
        &["kubeadm from http://192.0.2.200", "is not what its publisher offers", &"0".repeat(64)],
    );
    fs::write(&sums, &right).unwrap();
    scene.forget();
    let kubelet = scene.file(&format!("{bin}/kubelet"));
    sh(kubelet.parent().unwrap(), "mv kubelet whole && head -c 5000000 whole > kubelet");
    scene.is_refused(1, &["kubelet from http://192.0.2.200", "is not what its publisher offers"]);
    scene.stage.on(
        "node01",
        "test ! -e /usr/local/bin/kubelet && ! ls /var/lib/kubewan/artifacts/*.part 2>/dev/null",
    );
    sh(kubelet.parent().unwrap(), "mv whole kubelet");
    // As if the last run had been cut off in the middle of it.
    let sha256 = fs::read_to_string(scene.file(&format!("{bin}/kubelet.sha256"))).unwrap();
    let part = format!("/var/lib/kubewan/artifacts/{}.part", sha256.trim());
    let url = format!("{}/{bin}/kubelet", scene.server.url());
    scene.stage.on("node01", &format!("mkdir -p -m 700 /var/lib/kubewan/artifacts && curl -sf {url} | head -c 10000000 > {part}"));
    let before = scene.server.ranges();

    scene.is_a_cluster();
    assert!(scene.server.ranges() > before, "no download was gone on with");
    let seen = scene
        .stage
        .on("node01", "readlink -f $(which containerd kubelet runc); ls /etc/apt/sources.list.d");
    assert_eq!(seen, "/usr/local/bin/containerd\n/usr/local/bin/kubelet\n/usr/local/bin/runc\n");

    // The same servers fill a bundle; interrupted, it goes on.
    let folder = scene.tree.root.with_file_name("made");
    let target = folder.to_string_lossy().into_owned();
    let flannel = scene.file("v2/flannel-io/flannel");
    fs::rename(&flannel, flannel.with_extension("away")).unwrap();
    let said = scene.kubewan(&["bundle", "create", &target]);
    said.expect_code(1);
    assert!(
        said.stderr.contains("run the same command again") && !folder.join("bundle.yaml").exists(),
        "{}",
        said.stderr
    );
    let kubelet_there = fs::metadata(folder.join("bin/amd64/kubelet")).unwrap().modified().unwrap();
    fs::rename(flannel.with_extension("away"), &flannel).unwrap();
    scene.kubewan(&["bundle", "create", &target]).expect_code(0);
    let unchanged = fs::metadata(folder.join("bin/amd64/kubelet")).unwrap().modified().unwrap();
    assert_eq!(kubelet_there, unchanged, "what was there was downloaded again");
    let check = run_with(&["bundle", "check", &target], &[]);
    check.expect_code(0);
    assert!(check.stdout.contains("every file is as bundle.yaml says"), "{}", check.stdout);
    scene.reset();
    for host in ["master01", "node01"] {
        scene.stage.on(
            host,
            "test ! -e /usr/local/bin/containerd && test ! -e /etc/containerd && \
             test ! -e /etc/systemd/system/containerd.service && \
             test -z \"$(find /var/lib/containerd /run/containerd -mindepth 1 2>/dev/null)\"",
        );
    }

    // And that bundle makes a cluster.
    let text = fs::read_to_string(scene.stage.inventory()).unwrap();
    let text = text.replacen("  source: release\n", &format!("  bundle: {target}\n"), 1).replacen(
        "  source: release\n",
        "  source: bundle\n",
        1,
    );
    fs::write(scene.stage.inventory(), text).unwrap();
    scene.is_a_cluster();
}

/// Packages by this machine's apt: a bundle for hosts that reach no mirror. Lab hosts reach none, and their distribution is this
/// machine's or the story can't be told.
#[test]
#[ignore = "needs root and a lab, and this machine's mirror: cargo xtask lab long"]
fn long_a_bundle_gets_the_packages_of_this_machines_distribution() {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_theirs = release.contains("ID=debian") && release.contains("VERSION_ID=\"12\"");
    let Some(whole) = bundle_in_the_cache().filter(|_| is_theirs) else {
        eprintln!("no real Kubernetes in the cache, or this is not Debian 12: not shown");
        return;
    };
    let claim = Claim::new().expect("a folder, and no lab that another story left");
    let bundle = claim.dir().join("bundle");
    sh(claim.dir(), &format!("cp -r {} {}", whole.display(), bundle.display()));
    sh(
        &bundle,
        "rm -r packages && grep -v 'kind: \"package\"' bundle.yaml > without && mv without bundle.yaml",
    );
    let (path, dir) = (bundle.display().to_string(), claim.lab_dir().display().to_string());
    let check = run_with(&["bundle", "check", &path], &[]);
    let none = "no packages: hosts need a mirror of their distribution";
    assert!(check.expect_code(0).stdout.contains(none), "{}", check.stdout);
    let cache = claim.dir().join("cache").display().to_string();
    run_with(&["bundle", "packages", &path], &[("XDG_CACHE_HOME", &cache)]).expect_code(0);
    let check = run_with(&["bundle", "check", &path], &[]);
    let told = "packages for hosts of debian-12 for amd64 without a mirror\n";
    assert!(check.expect_code(0).stdout.contains(told), "{}", check.stdout);

    let name = lab_name();
    let up = ["lab", "up", "--name", &name, "--hosts-only", "--hosts", "2", "--bundle", &path];
    run_with(&[&up[..], &["--dir", &dir]].concat(), &[]).expect_code(0);
    let stage = Stage { claim, lab: Lab::open(&name).expect("the lab that was just made") };
    let up = stage.kubewan(&["up", "--yes"]);
    assert!(up.expect_code(0).stderr.contains("passed    pod-to-pod"), "{}", up.stderr);
    let seen = stage.on("node01", "readlink -f $(which containerd conntrack socat)");
    assert_eq!(seen, "/usr/bin/containerd\n/usr/sbin/conntrack\n/usr/bin/socat\n");
}

/// A bundle of real Kubernetes.
fn bundle_in_the_cache() -> Option<PathBuf> {
    let folders = fs::read_dir(crate::support::cache().join("kubewan/bundles")).ok()?;
    let mut folders = folders.filter_map(|entry| Some(entry.ok()?.path()));
    folders.find(|folder| folder.join("bundle.yaml").exists())
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn packages_come_signed_in_the_version_that_is_asked_for_and_held() {
    let Some(scene) = Scene::set() else { return };
    scene.ask_for("packages", "docker");
    let minor = scene.version.rsplit_once('.').unwrap().0.to_owned();
    let folder = format!("pkgs/core:/stable:/v{minor}/deb");

    scene.is_refused_where_nobody_answers("packages");
    // Signed by somebody else.
    scene.tree.index(&folder, ".", "wrong");
    scene.is_refused(1, &["error[step-failed]: master01", "is not signed", &folder]);
    scene.stage.on("master01", "test ! -e /usr/bin/kubeadm");
    scene.tree.index(&folder, ".", "right");
    // A package that is not the one that was signed.
    let kubelet = scene.file(&format!("{folder}/kubelet_{}-1.1_amd64.deb", scene.version));
    sh(
        kubelet.parent().unwrap(),
        &format!("mv {0} whole && head -c 3000000 whole > {0}", kubelet.display()),
    );
    scene.is_refused(1, &["error[step-failed]", "kubelet"]);
    sh(kubelet.parent().unwrap(), &format!("mv whole {}", kubelet.display()));

    scene.is_a_cluster();
    let seen = scene.stage.on("node01", "readlink -f $(which kubelet); apt-mark showhold | tr '\\n' ' '; dpkg-query -W -f '${Version}' kubelet");
    assert_eq!(
        seen,
        format!("/usr/bin/kubelet\ncontainerd.io kubeadm kubectl kubelet {}-1.1", scene.version)
    );
    // Somebody upgrades one, held or not.
    scene.stage.on("node01", "apt-mark unhold kubectl");
    let plan = scene.kubewan(&["plan", "--detailed-exitcode"]);
    plan.expect_code(2);
    assert!(plan.stdout.contains("hold kubectl"), "{}", plan.stdout);
    scene.reset();
    scene.stage.on("node01", "test ! -e /usr/bin/kubelet && ! ls /etc/apt/sources.list.d/kubewan-* /etc/apt/keyrings/kubewan-* 2>/dev/null");
}
