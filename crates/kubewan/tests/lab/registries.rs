//! A private registry with a certificate of its own making and a login: refused, then trusted, then let in, and pulled from on
//! every node. One host comes with the recipe's settings for containerd, which are carried over and put back.

pub mod server;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{HOSTS, Kubernetes, Said, Stage, lab_name, the_way_to_a_site};
use crate::{docker, doctor};
use server::{PASSWORD, Registry, USER};

/// Where the registries are.
const SITE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

/// The one with a login; the one without has the next port.
const PRIVATE: &str = "192.0.2.200:5000";

/// A registry of which nothing is needed, and its mirror.
const MIRRORED: &str = "quay.io";

/// The image that both have.
const IMAGE: &str = "kubewan/pause:1";

/// What the recipe has people write, with its placeholders filled in; a login as Harbor's users add it.
const RECIPE: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = ""
  [plugins."io.containerd.grpc.v1.cri".registry.auths]
  [plugins."io.containerd.grpc.v1.cri".registry.configs]
    [plugins."io.containerd.grpc.v1.cri".registry.configs."192.0.2.200:5001".tls]
      ca_file = "/data/cert/harbor.crt"
    [plugins."io.containerd.grpc.v1.cri".registry.configs."harbor.example".auth]
      username = "robot"
      password = "carried-Over-0815"
  [plugins."io.containerd.grpc.v1.cri".registry.headers]
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
      endpoint = ["https://192.0.2.200:5001"]
    [plugins."io.containerd.grpc.v1.cri".registry.mirrors."k8s.gcr.io"]
      endpoint = ["https://registry.aliyuncs.com/k8sxio"]
"#;

struct Scene {
    stage: Stage,
    /// The inventory as the lab wrote it.
    plain: String,
    registry: Registry,
    _way: File,
}

impl Scene {
    /// `None` where there is no real Kubernetes or no registry.
    fn set() -> Option<Scene> {
        if Kubernetes::told() != [Kubernetes::Bundle] {
            eprintln!("no real Kubernetes that could pull: not shown");
            return None;
        }
        server::program()?;
        Scene::of(Stage::hosts_only(Kubernetes::Bundle))
    }

    /// The registries, on the Internet of that lab.
    fn of(stage: Stage) -> Option<Scene> {
        let program = server::program()?;
        let way = the_way_to_a_site();
        let plain = fs::read_to_string(stage.inventory()).unwrap();
        let bundle = plain.lines().find_map(|line| line.trim().strip_prefix("bundle:")).unwrap();
        let bundle = PathBuf::from(bundle.trim().trim_matches('"'));
        let dir = stage.claim.lab_dir().with_file_name("registry");
        let namespace = stage.lab.add_site(SITE).unwrap();
        let registry = Registry::start(&program, &namespace, SITE, &dir, &bundle);
        Some(Scene { stage, plain, registry, _way: way })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.stage.claim.lab_dir().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.beside(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Has the inventory say this of the private registry.
    fn say(&self, of: &str) {
        let text = format!(
            "{}\nregistries:\n  - {{ address: \"{PRIVATE}\", probe: \"{IMAGE}\"{of} }}\n",
            self.plain
        );
        fs::write(self.stage.inventory(), text).unwrap();
    }

    /// And this besides.
    fn also(&self, lines: &str) {
        let text = fs::read_to_string(self.stage.inventory()).unwrap();
        fs::write(self.stage.inventory(), text + lines).unwrap();
    }

    fn up(&self, code: i32) -> Said {
        let up = self.stage.kubewan(&["up", "--yes"]);
        up.expect_code(code);
        up
    }

    /// Every node fails to pull, in these words.
    fn no_node_pulls(&self, up: &Said, words: &[&str]) {
        for host in HOSTS {
            let begin = format!("registry-pull {host} <- {PRIVATE}/{IMAGE}");
            let line = up.stderr.lines().find(|line| {
                let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
                line.contains(&begin) && line.contains("FAILED")
            });
            let line = line.unwrap_or_else(|| panic!("{host} pulled:\n{}", up.stderr));
            let at = up.stderr.find(line).unwrap();
            let said: String = up.stderr[at..].chars().take(2000).collect();
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for word in words {
                assert!(said.contains(word), "no `{word}` in {said}");
            }
            eprintln!("  {}", said.chars().take(400).collect::<String>());
        }
    }

    /// `up` shows that every node pulls, and leaves nothing to do.
    fn every_node_pulls(&self) {
        let up = self.up(0);
        let flat = up.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for host in HOSTS {
            let proof = format!("registry-pull {host} <- {PRIVATE}/{IMAGE}");
            assert!(flat.contains(&proof) && flat.contains("pulled sha256:"), "{}", up.stderr);
        }
        assert!(!flat.contains("FAILED registry-pull"), "{}", up.stderr);
        self.is_at_rest();
    }

    fn is_at_rest(&self) {
        self.stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    }

    fn is_refused(&self, words: &[&str]) {
        let said = self.stage.kubewan(&["up", "--yes"]);
        said.expect_code(3);
        for word in words {
            assert!(said.stderr.contains(word), "no `{word}` in:\n{}", said.stderr);
        }
    }
}

#[test]
#[ignore = "needs root and a lab: cargo xtask lab"]
fn a_private_registry_is_trusted_let_in_to_and_pulled_from_on_every_node() {
    let Some(scene) = Scene::set() else { return };
    let ca = scene.beside("ca.pem");
    fs::copy(scene.registry.dir.join("registry.pem"), &ca).unwrap();
    let pem = fs::read_to_string(&ca).unwrap();
    scene.stage.on(
        "node02",
        &format!(
            "mkdir -p /etc/containerd /data/cert && cat > /data/cert/harbor.crt <<'E'\n{pem}E\n\
             cat > /etc/containerd/config.toml <<'E'\n{RECIPE}E\n"
        ),
    );
    bad_files_are_refused(&scene);

    // Nobody knows who has signed its certificate.
    scene.say("");
    let up = scene.up(6);
    scene.no_node_pulls(&up, &["x509: certificate signed by unknown authority", "`caFile`"]);
    carried_over(&scene, &up);
    a_pod_pulls(&scene, &["node01 registry-certificate"]);

    // It is trusted, and asks who is there.
    scene.say(", caFile: ca.pem");
    let up = scene.up(6);
    scene.no_node_pulls(&up, &["auth", "`username` and `passwordFile`"]);

    // Somebody else's password.
    scene.write("password", "not-the-Password\n", 0o600);
    let login = format!(", caFile: ca.pem, username: {USER}, passwordFile: password");
    scene.say(&login);
    let up = scene.up(6);
    scene.no_node_pulls(&up, &["auth", "`username` and `passwordFile`"]);

    scene.write("password", &format!("{PASSWORD}\n"), 0o600);
    let plan = scene.stage.kubewan(&["plan", "--detailed-exitcode"]);
    plan.expect_code(2);
    assert!(plan.stdout.contains(&format!("{USER} with another password")), "{}", plan.stdout);
    scene.every_node_pulls();
    nothing_is_on_show(&scene);
    a_pod_pulls(&scene, &[]);

    // Every program of the hosts trusts it once that is asked for.
    let ask = format!("curl -s -o /dev/null -w '%{{http_code}}' https://{PRIVATE}/v2/ || true");
    assert_eq!(scene.stage.on("node01", &ask), "000");
    scene.say(&format!("{login}, trustInSystem: true"));
    scene.also(&format!("mirrors:\n  images:\n    {MIRRORED}: http://{PRIVATE}\n"));
    scene.up(0);
    for host in HOSTS {
        assert_eq!(scene.stage.on(host, &ask), "401", "{host}");
    }
    scene.stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    what_leaves_the_inventory_leaves_the_hosts(&scene);
    for host in HOSTS {
        assert_eq!(scene.stage.on(host, &ask), "000", "{host}");
    }

    scene.stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    for host in HOSTS {
        let gone = "test ! -e /var/lib/kubelet/config.json && test ! -e /etc/containerd/certs.d && \
                    ! ls /usr/local/share/ca-certificates/kubewan-* 2>/dev/null";
        scene.stage.on(host, gone);
        assert_eq!(scene.stage.on(host, &ask), "000", "{host}");
    }
    assert_eq!(scene.stage.on("node02", "cat /etc/containerd/config.toml"), RECIPE);
    scene.stage.on("node01", "test ! -e /etc/containerd");
}

#[test]
#[ignore = "needs root, a lab and a bundle with Docker: KUBEWAN_DOCKER_BUNDLE, or the one in the cache"]
fn long_docker_trusts_a_private_registry_and_pulls_from_it_on_every_node() {
    let Some(bundle) = docker::bundle_with_docker() else {
        eprintln!("no bundle with Docker in the cache: not shown");
        return;
    };
    let Some(scene) = Scene::of(docker::stage(&bundle)) else { return };
    fs::copy(scene.registry.dir.join("registry.pem"), scene.beside("ca.pem")).unwrap();
    let (ca, daemon) = ("/etc/docker/certs.d/192.0.2.200:5000/ca.crt", "/etc/docker/daemon.json");

    scene.say("");
    let up = scene.up(6);
    scene.no_node_pulls(&up, &["x509: certificate signed by unknown authority", "`caFile`"]);
    scene.say(", caFile: ca.pem");
    let up = scene.up(6);
    scene.no_node_pulls(&up, &["auth", "`username` and `passwordFile`"]);
    scene.write("password", &format!("{PASSWORD}\n"), 0o600);
    let login = format!("username: {USER}, passwordFile: password");
    scene.say(&format!(", caFile: ca.pem, {login}"));
    scene.every_node_pulls();
    nothing_is_on_show(&scene);

    // As the recipe has it: nobody checks the certificate.
    scene.say(&format!(", skipVerify: true, {login}"));
    scene.every_node_pulls();
    for host in HOSTS {
        scene.stage.on(host, &format!("test ! -e {ca} && grep -q '\"{PRIVATE}\"' {daemon}"));
    }

    // Nothing of it is left in force once the inventory has it no more.
    fs::write(scene.stage.inventory(), &scene.plain).unwrap();
    scene.up(0);
    scene.is_at_rest();
    for host in HOSTS {
        let none = format!("! grep -q 192.0.2.200 {daemon} /var/lib/kubelet/config.json");
        scene.stage.on(host, &format!("test ! -e /etc/docker/certs.d && {none} 2>&1"));
    }
    scene.stage.kubewan(&["reset", "--confirm", &lab_name()]).expect_code(0);
    for host in HOSTS {
        scene.stage.on(host, "test ! -e /var/lib/kubelet/config.json && test ! -e /etc/docker");
    }
}

/// Of all that stands in the inventory no more the plan says that it goes, `up` takes that away and nothing else, and then there is
/// nothing left to do. What somebody edited stays, and what was carried over.
fn what_leaves_the_inventory_leaves_the_hosts(scene: &Scene) {
    let certs_d = "/etc/containerd/certs.d";
    let edited = format!("{certs_d}/{MIRRORED}/hosts.toml");
    scene.stage.on("node01", &format!("echo '# mine' >> {edited}"));
    fs::write(scene.stage.inventory(), &scene.plain).unwrap();
    let plan = scene.stage.kubewan(&["plan"]);
    plan.expect_code(0);
    let stays = format!("warning[left-in-force]: node01: {edited} stays in force");
    assert!(plan.stderr.contains(&stays), "no `{stays}`:\n{}", plan.stderr);
    let gone = [
        format!("file:{certs_d}/{PRIVATE}/hosts.toml"),
        format!("file:{certs_d}/{PRIVATE}/ca.crt"),
        format!("file:{edited}"),
        "registry-logins:/var/lib/kubelet/config.json".into(),
        format!("system-trust:kubewan-{}", PRIVATE.replace(':', "-")),
        // It reads its logins when it starts.
        "unit:kubelet.service".into(),
    ];
    let mut wanted: Vec<String> = Vec::new();
    for host in HOSTS {
        wanted.extend(gone.iter().map(|goal| format!("{host}/{goal}")));
    }
    wanted.retain(|id| *id != format!("node01/file:{edited}"));
    let mut planned = scene.stage.planned();
    wanted.sort();
    planned.sort();
    assert_eq!(planned, wanted);
    scene.stage.kubewan(&["up", "--yes", "--no-smoke"]).expect_code(0);
    scene.stage.kubewan(&["plan", "--detailed-exitcode"]).expect_code(0);
    for host in HOSTS {
        let gone = format!(
            "test ! -e '{certs_d}/{PRIVATE}' && ! grep -s {PRIVATE} /var/lib/kubelet/config.json"
        );
        scene.stage.on(host, &gone);
    }
    scene.stage.on("node02", &format!("test -e {certs_d}/docker.io/hosts.toml"));
    scene.stage.on("node01", &format!("test -e {edited}"));
    scene.stage.on("node01", &format!("rm {edited}"));
}

/// What the doctor says of a pod of Kubernetes' own that is to have the image.
fn a_pod_pulls(scene: &Scene, found: &[&str]) {
    let name = "-n kube-system pod puller";
    scene.stage.kubectl(&format!("delete --ignore-not-found --now {name}"));
    let node = r#"{"spec":{"nodeName":"node01","containers":[{"name":"puller","image":"IMAGE","imagePullPolicy":"Always"}]}}"#;
    let node = node.replace("IMAGE", &format!("{PRIVATE}/{IMAGE}"));
    let run = format!(
        "-n kube-system run puller --image={PRIVATE}/{IMAGE} --restart=Never --overrides='{node}'"
    );
    scene.stage.kubectl(&run);
    if found.is_empty() {
        scene.stage.kubectl("-n kube-system wait --for=condition=Ready --timeout=300s pod/puller");
    }
    doctor::settles(&scene.stage, &doctor::set(found));
    scene.stage.kubectl(&format!("delete --now {name}"));
}

/// What is none of the kind is refused before anything is changed.
fn bad_files_are_refused(scene: &Scene) {
    scene.write("no.pem", "<html>not here</html>\n", 0o644);
    scene.say(", caFile: no.pem");
    scene.is_refused(&["error[ca-file-unusable]", "no.pem", "no certificate in PEM"]);
    fs::copy(scene.registry.dir.join("expired.pem"), scene.beside("expired.pem")).unwrap();
    scene.say(", caFile: expired.pem");
    scene.is_refused(&["error[ca-file-unusable]", "expired on"]);
    scene.write("open", PASSWORD, 0o644);
    scene.say(&format!(", username: {USER}, passwordFile: open"));
    scene.is_refused(&["error[password-file-unusable]", "chmod 600"]);
    for host in HOSTS {
        scene
            .stage
            .on(host, "test ! -e /etc/containerd/certs.d && test ! -e /usr/local/bin/kubeadm");
    }
}

/// The recipe's settings are named, and what they said is so: a mirror with its authority, and a login.
fn carried_over(scene: &Scene, up: &Said) {
    let flat = up.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in [
        "warning[registry-settings-carried]",
        "docker.io: its mirror https://192.0.2.200:5001 to /etc/containerd/certs.d/docker.io/hosts.toml",
        "k8s.gcr.io: its mirror https://registry.aliyuncs.com/v2/k8sxio",
        "harbor.example: the login of robot to /var/lib/kubelet/config.json",
    ] {
        assert!(flat.contains(word), "no `{word}` in:\n{}", up.stderr);
    }
    assert!(!up.stderr.contains("carried-Over-0815") && !up.stdout.contains("carried-Over-0815"));
    // containerd's CRI plugin runs, and Docker's name leads to the mirror.
    let pull = format!(
        "ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d docker.io/{IMAGE}"
    );
    scene.stage.on("node02", &pull);
    let files = scene
        .stage
        .on("node02", "stat -c %a /var/lib/kubelet/config.json; cat /var/lib/kubelet/config.json");
    // robot:carried-Over-0815
    assert!(
        files.starts_with("600\n") && files.contains("cm9ib3Q6Y2FycmllZC1PdmVyLTA4MTU="),
        "{files}"
    );
    assert!(scene.stage.on("node02", "cat /etc/containerd/config.toml").contains("config_path"));
}

/// The password is in the kubelet's own file, for root alone, and nowhere else.
fn nothing_is_on_show(scene: &Scene) {
    // puller:open-Sesame-4711
    let encoded = "cHVsbGVyOm9wZW4tU2VzYW1lLTQ3MTE=";
    for host in HOSTS {
        let find = format!(
            "grep -rlF -e {PASSWORD} -e {encoded} /etc /var/lib/kubewan /var/lib/kubelet /var/log /run /tmp /root 2>/dev/null | sort"
        );
        let found = scene.stage.on(host, &format!("{{ {find}; }} || true"));
        assert_eq!(found, "/var/lib/kubelet/config.json\n", "{host}");
        let mode = scene.stage.on(host, "stat -c '%a %u:%g' /var/lib/kubelet/config.json");
        assert_eq!(mode, "600 0:0\n", "{host}");
        let journal = scene.stage.on(
            host,
            &format!("journalctl --no-pager | grep -cF -e {PASSWORD} -e {encoded} || true"),
        );
        assert_eq!(journal, "0\n", "{host}");
    }
    for arguments in [&["plan", "-o", "json"][..], &["-vv", "plan"]] {
        let said = scene.stage.kubewan(arguments);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(!text.contains(PASSWORD) && !text.contains(encoded), "{arguments:?}");
    }
}
