//! Packages by the real dnf and rpm, of Debian 12 in a folder: signed repositories on this machine's own address, what is
//! installed, held and given back. Needs root, and Debian's packages the first time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kubewan_agent::act::{Host, Performing, package};
use kubewan_core::action::Package;
use kubewan_core::action::package::PackageSeen;
use kubewan_core::facts::Os;
use kubewan_core::inventory::Inventory;
use kubewan_core::packages::PackageManager;
use kubewan_core::supply::{Repository, kubernetes_repository};

const ROOT: &str = include_str!("lab/root.sh");
const PACKAGES: &str = include_str!("lab/packages.sh");
/// The test that runs in the folder.
const INSIDE: &str = "inside_the_root";
/// Set there, so that nobody else runs it.
const MARK: &str = "KUBEWAN_RPM_ROOT";
const PORT: u16 = 18_936;

#[test]
#[ignore = "needs root: cargo xtask lab"]
fn dnf_installs_holds_and_gives_back() {
    assert!(rustix::process::geteuid().is_root(), "needs root: cargo xtask lab");
    let kept = cache().join("rpm/debian-12-1");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", ROOT, "root.sh"])
        .arg(&kept)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", INSIDE, "--nocapture"])
        .env(MARK, "1")
        .status()
        .unwrap();
    assert!(status.success(), "see above, and {}", kept.join("log").display());
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".cache/kubewan")
}

#[test]
#[ignore = "started by dnf_installs_holds_and_gives_back"]
fn inside_the_root() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    run("sh", &["-c", PACKAGES]);
    let server = Server::start();
    fs::create_dir_all("/etc/yum.repos.d").unwrap();
    let base = "[base]\nname=base\nbaseurl=file:///srv/base/\ngpgcheck=1\n\
                gpgkey=file:///srv/base/repodata/repomd.xml.key\n";
    fs::write("/etc/yum.repos.d/base.repo", base).unwrap();

    let before = all();
    let mut came = BTreeSet::new();
    another_ones_packages_are_refused();
    came.extend(all().difference(&before).cloned());
    let repository = lay(&repository("signed"));
    came.extend(the_version_that_is_asked_for_comes(&repository));
    no_upgrade_takes_it(&repository);
    another_version_takes_its_place(&repository);
    came.extend(tools_are_known_by_what_they_provide());
    nothing_is_replaced_unasked(&mut came);
    everything_goes_again(came, &before);
    drop(server);
}

/// The repository as a plan has it, for a host that says it is Rocky Linux.
fn repository(folder: &str) -> Repository {
    let text = format!(
        "name: t\nkubernetes: {{ version: \"1.36.2\", source: packages }}\n\
         mirrors: {{ packages: \"http://127.0.0.1:{PORT}/{folder}\" }}\n\
         hosts: [{{ name: a, address: 198.51.100.10, roles: [control-plane, worker] }}]\n"
    );
    let inventory: Inventory =
        kubewan_core::inventory::parse_bytes("t.yaml", text.as_bytes()).unwrap();
    let os = Os { id: "rocky".into(), version_id: "9.6".into(), systemd: 252, ..Os::default() };
    assert_eq!(PackageManager::of(&os), Some(PackageManager::Dnf));
    kubernetes_repository(&inventory, &os).unwrap()
}

/// Writes its files, the key as the operator's machine would have fetched it.
fn lay(of: &Repository) -> Repository {
    let served = of.key_url.as_ref().unwrap().split_once(&format!(":{PORT}/")).unwrap().1;
    let key = fs::read(Path::new("/srv").join(served)).unwrap();
    for (path, content) in [(&of.key_path, key), (&of.list_path, of.list.clone().into_bytes())] {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    of.clone()
}

fn goal(version: &str, repository: &Repository) -> Package {
    let names = ["kubeadm", "kubectl", "kubelet"].map(str::to_owned);
    Package {
        versions: names.iter().map(|name| (name.clone(), version.to_owned())).collect(),
        names: names.to_vec(),
        repository: repository.id.clone(),
        ..Package::default()
    }
}

fn named(names: &[&str]) -> Package {
    Package { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Package::default() }
}

/// Performs a goal, and answers what came along.
fn perform(goal: &Package) -> Result<BTreeSet<String>, String> {
    let host = Host::at("/var/lib/kubewan");
    let values = Default::default();
    let mut told = |line: &str| println!("  {line}");
    let mut cx = Performing::new(&host, &values, &mut told);
    let seen = package::observe_package(goal, &host)?;
    package::perform_package(goal, &seen, &mut cx)?;
    let names = cx.along.iter().filter_map(|line| line.strip_prefix("package:"));
    Ok(names.map(str::to_owned).collect())
}

fn seen(goal: &Package) -> PackageSeen {
    package::observe_package(goal, &Host::at("/var/lib/kubewan")).unwrap()
}

fn another_ones_packages_are_refused() {
    let forged = lay(&repository("forged"));
    let said = perform(&goal("1.36.2", &forged)).unwrap_err();
    assert!(said.contains("GPG check FAILED") && said.contains("/var/log/dnf.log"), "{said}");
    assert_eq!(seen(&named(&["kubeadm"])).version("kubeadm"), None);
    run("dnf", &["--quiet", "clean", "all"]);
}

fn the_version_that_is_asked_for_comes(repository: &Repository) -> BTreeSet<String> {
    let wanted = goal("1.36.2", repository);
    let came = perform(&wanted).unwrap();
    assert_eq!(wanted.diff(&seen(&wanted)), None);
    assert_eq!(seen(&wanted).version("kubelet"), Some("1.36.2-150500.1.1"));
    for name in ["kubeadm", "kubectl", "kubelet", "kubernetes-cni", "cri-tools", "iptables-nft"] {
        assert!(came.contains(name), "{name} in {came:?}");
    }
    came
}

fn no_upgrade_takes_it(repository: &Repository) {
    let before = all();
    run("dnf", &["--assumeyes", "upgrade"]);
    run("dnf", &["--assumeyes", "install", "cri-tools", "--disableexcludes=other"]);
    assert_eq!(all(), before);
    let wanted = goal("1.36.2", repository);
    assert_eq!(wanted.diff(&seen(&wanted)), None);
}

fn another_version_takes_its_place(repository: &Repository) {
    for version in ["1.36.3", "1.36.1", "1.36.2"] {
        let wanted = goal(version, repository);
        assert!(wanted.diff(&seen(&wanted)).is_some());
        assert_eq!(perform(&wanted).unwrap(), BTreeSet::new(), "nothing comes newly");
        assert_eq!(wanted.diff(&seen(&wanted)), None, "{version}");
    }
}

fn tools_are_known_by_what_they_provide() -> BTreeSet<String> {
    let tools = named(&["conntrack-tools", "iptables", "curl"]);
    let came = perform(&tools).unwrap();
    assert_eq!(came, ["conntrack-tools", "curl-minimal"].map(str::to_owned).into());
    assert_eq!(tools.diff(&seen(&tools)), None);
    assert_eq!(seen(&tools).version("iptables"), Some("1:1.8.8-150500.1.1"));
    let said = perform(&named(&["no-such-package"])).unwrap_err();
    assert!(said.contains("Unable to find a match: no-such-package"), "{said}");
    came
}

fn nothing_is_replaced_unasked(came: &mut BTreeSet<String>) {
    run("dnf", &["--assumeyes", "--quiet", "--setopt=obsoletes=0", "install", "oldrunc"]);
    came.insert("oldrunc".into());
    let said = perform(&named(&["taker"])).unwrap_err();
    assert!(said.starts_with("installing would remove oldrunc, "), "{said}");
}

fn everything_goes_again(came: BTreeSet<String>, before: &BTreeSet<String>) {
    // What another needs stays, and so does all else: nothing is done by halves.
    let some = Package { absent: true, ..named(&["cri-tools", "conntrack-tools"]) };
    let said = perform(&some).unwrap_err();
    assert!(said.contains("cri-tools is needed by (installed) kubeadm"), "{said}");
    assert!(seen(&some).installed.iter().all(|(_, version)| version.is_some()));
    let names: Vec<&str> = came.iter().map(String::as_str).collect();
    assert!(names.iter().any(|name| name.starts_with("gpg-pubkey-")), "{names:?}");
    let gone = Package { absent: true, ..named(&names) };
    perform(&gone).unwrap();
    assert_eq!(gone.diff(&seen(&gone)), None);
    assert_eq!(&all(), before);
}

/// Names and versions of all packages and keys.
fn all() -> BTreeSet<String> {
    let format = "%{NAME}-%{VERSION}-%{RELEASE}\\n";
    let output = Command::new("rpm").args(["-qa", "--queryformat", format]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{program}: {status:?}");
}

/// A web server on what the publishers would serve.
struct Server(Child);

impl Server {
    fn start() -> Self {
        let mut python = Command::new("python3");
        python.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory", "/srv"]);
        let child = python.arg(PORT.to_string()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", PORT)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
