//! Container runtimes.

use std::fs;
use std::path::Path;

use kubewan_core::facts::{Container, PackageSource, RuntimeFacts};
use kubewan_core::packages::PackageManager;
use kubewan_core::plan::SYSTEMD;
use kubewan_core::render::containerd::{CERTS_D, HEADER};

use super::docker;
use super::systemd::Units;
use crate::act::Host;
use crate::act::package::{Known, manager, parse_known};
use crate::act::rpm;
use crate::command::{Program, exists};

/// The kubelet's namespace in containerd (`k8sContainerdNamespace`, internal/cri/constants/constants.go).
const KUBERNETES: &str = "k8s.io";

/// Where containerd keeps a folder for every container that runs, `NAMESPACE/ID`, with its first process in `init.pid`;
/// the second one is that of 1.x's older shim.
const TASKS: [&str; 2] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/containerd/io.containerd.runtime.v1.linux",
];

pub(super) fn runtime(host: &Host, units: &Units) -> RuntimeFacts {
    let printed = exists("containerd").then(|| host.seen().version("containerd", &["--version"]));
    let config = fs::read_to_string("/etc/containerd/config.toml").ok();
    let foreign = config.as_ref().is_some_and(|text| !text.starts_with(HEADER));
    let defaults = || Program::new("containerd").args(["config", "default"]).stdout().ok();
    RuntimeFacts {
        containerd_defaults: (foreign && printed.is_some()).then(defaults).flatten(),
        registry_folders: fs::read_dir(CERTS_D).is_ok_and(|mut all| all.next().is_some()),
        others: others(&TASKS.map(Path::new), Path::new("/proc")),
        containerd_io: installed("containerd.io"),
        containerd_offered: if printed.is_some() { None } else { offered() },
        containerd: printed.map(|printed| containerd_version(&printed.unwrap_or_default())),
        containerd_active: units.get("containerd.service").active(),
        containerd_config: config,
        docker: docker::docker(host, &units.get(docker::UNIT)),
        unit_files: unit_files(units),
        package_sources: [
            package_sources(Path::new("/etc/apt")),
            yum_sources(Path::new("/etc/yum.repos.d")),
        ]
        .concat(),
    }
}

/// An administrator's files for the units of the runtime and the kubelet. A mask is none.
fn unit_files(units: &Units) -> Vec<String> {
    ["containerd.service", docker::UNIT, "kubelet.service"]
        .into_iter()
        .map(|name| units.get(name))
        .filter(|unit| !unit.masked())
        .flat_map(|unit| unit.files())
        .filter(|path| path.starts_with(SYSTEMD))
        .collect()
}

/// Where apt takes packages from, but for kubewan's own files. Passwords in them are nobody's business.
fn package_sources(apt: &Path) -> Vec<PackageSource> {
    let entries = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten();
    let others = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let read = name.ends_with(".list") || name.ends_with(".sources");
        read && !name.starts_with("kubewan-")
    });
    let mut sources: Vec<PackageSource> = others
        .chain([apt.join("sources.list")])
        .flat_map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let source = |uri| PackageSource { path: path.display().to_string(), uri };
            uris(&text).into_iter().map(source).collect::<Vec<_>>()
        })
        .collect();
    sources.sort();
    sources
}

/// Where yum and dnf take packages from, but for kubewan's own files.
fn yum_sources(folder: &Path) -> Vec<PackageSource> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let others = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".repo") && !name.starts_with("kubewan-")
    });
    let mut sources: Vec<PackageSource> = others
        .flat_map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let source = |uri| PackageSource { path: path.display().to_string(), uri };
            repository_urls(&text).into_iter().map(source).collect::<Vec<_>>()
        })
        .collect();
    sources.sort();
    sources
}

/// Package sources in kubewan's own files.
pub(super) fn own_sources(etc: &Path) -> Vec<PackageSource> {
    let folders =
        ["apt/sources.list.d", "yum.repos.d"].map(|folder| fs::read_dir(etc.join(folder)));
    let files = folders.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
    let ours = files.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubewan-"))
    });
    let mut sources: Vec<PackageSource> = ours
        .flat_map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let is_yum = path.extension().is_some_and(|ending| ending == "repo");
            let all = if is_yum { repository_urls(&text) } else { uris(&text) };
            let source = |uri| PackageSource { path: path.display().to_string(), uri };
            all.into_iter().map(source).collect::<Vec<_>>()
        })
        .collect();
    sources.sort();
    sources
}

/// Where repositories that are on have their packages (yum.conf(5), dnf.conf(5)): their `baseurl`s, or of one without any its
/// list of mirrors; further ones stand on lines that begin with a blank.
pub(crate) fn repository_urls(text: &str) -> Vec<String> {
    #[derive(Default)]
    struct Repository {
        off: bool,
        base: Vec<String>,
        mirrors: Vec<String>,
    }
    let mut all: Vec<Repository> = Vec::new();
    let mut key = "";
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        if line.starts_with('[') {
            all.push(Repository::default());
            key = "";
            continue;
        }
        let Some(repository) = all.last_mut() else { continue };
        let value = match line.split_once('=') {
            _ if line.starts_with(char::is_whitespace) => line,
            Some((name, value)) => {
                key = name.trim();
                value
            }
            None => continue,
        };
        match key {
            "enabled" => repository.off |= matches!(value.trim(), "0" | "false" | "no"),
            "baseurl" => repository.base.extend(uris(value)),
            "mirrorlist" | "metalink" => repository.mirrors.extend(uris(value)),
            _ => {}
        }
    }
    let urls = |repository: Repository| match repository.base.is_empty() {
        true => repository.mirrors,
        false => repository.base,
    };
    all.into_iter().filter(|repository| !repository.off).flat_map(urls).collect()
}

/// The URIs in a file of either form (sources.list(5)).
pub(crate) fn uris(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(str::split_whitespace);
    words
        .filter_map(|word| {
            let (scheme, rest) = word.split_once("://")?;
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            Some(format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned())
        })
        .collect()
}

/// Containers that run and are not the kubelet's, from the folders that containerd has for them: no program of the host
/// is asked, and containerd need not answer.
fn others(tasks: &[&Path], proc: &Path) -> Vec<Container> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut found = Vec::new();
    for root in tasks {
        for namespace in names(root).into_iter().filter(|namespace| namespace != KUBERNETES) {
            for id in names(&root.join(&namespace)) {
                let pid = root.join(&namespace).join(&id).join("init.pid");
                let Ok(pid) = fs::read_to_string(pid) else { continue };
                let comm = proc.join(pid.trim()).join("comm");
                let Ok(program) = fs::read_to_string(comm) else { continue };
                let (namespace, program) = (namespace.clone(), program.trim().to_owned());
                found.push(Container { namespace, id, program });
            }
        }
    }
    found.sort_by(|a, b| (&a.namespace, &a.id).cmp(&(&b.namespace, &b.id)));
    found
}

pub(super) fn installed(package: &str) -> bool {
    match manager() {
        Ok(PackageManager::Apt) => {}
        Ok(PackageManager::Yum | PackageManager::Dnf) => {
            let query = Program::new("rpm").args(["--query", package]).output();
            return query.is_ok_and(|output| output.code == 0);
        }
        Err(_) => return false,
    }
    let format = "--showformat=${Package}\\t${db:Status-Abbrev}\\t${Version}\\n";
    let shown = Program::new("dpkg-query").args(["--show", format, package]).stdout();
    // A package that dpkg has never heard of is an error to it.
    shown.is_ok_and(|text| parse_known(&text).iter().any(Known::installed))
}

/// `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2`; upstream writes `v2.1.3`.
pub(crate) fn containerd_version(printed: &str) -> String {
    let version = printed.split_whitespace().nth(2).unwrap_or_default();
    let version = version.strip_prefix('v').unwrap_or(version);
    version.split(['~', '+', '-']).next().unwrap_or_default().to_owned()
}

/// What the package manager would install, from the lists that it has. It is not to keep what it reads out of them: looking changes
/// nothing.
fn offered() -> Option<String> {
    match manager().ok()? {
        PackageManager::Apt => {}
        other => return rpm::offered(other, "containerd"),
    }
    let keeps_nothing = ["--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache="];
    let policy = Program::new("apt-cache").args(["policy", "containerd"]).args(keeps_nothing);
    candidate(&policy.stdout().ok()?)
}

/// `  Candidate: 1.6.20~ds1-1+deb12u2`; `(none)` where no list names the package. An epoch goes before a colon
/// (deb-version(7)).
fn candidate(policy: &str) -> Option<String> {
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    let version = line.split_once(':').map_or(line, |(_, version)| version);
    let version = version.split(['~', '+', '-']).next().unwrap_or_default();
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_sources_are_read_in_both_forms_and_without_passwords() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "sources.list",
            "# deb http://old.example/debian x\ndeb http://deb.debian.org/debian bookworm main\n",
        );
        write(
            "sources.list.d/docker.list",
            "deb [signed-by=/k.asc] https://user:pw@download.docker.com/linux/debian/ bookworm stable\n",
        );
        write(
            "sources.list.d/kubernetes.sources",
            "Types: deb\nURIs: https://pkgs.k8s.io/core:/stable:/v1.36/deb/\nSuites: /\n",
        );
        write(
            "sources.list.d/kubewan-docker.list",
            "deb https://download.docker.com/linux/debian bookworm stable\n",
        );
        write("sources.list.d/old.list.save", "deb https://gone.example/x y\n");
        let uris: Vec<String> = package_sources(dir.path()).into_iter().map(|s| s.uri).collect();
        assert_eq!(
            uris,
            [
                "http://deb.debian.org/debian",
                "https://download.docker.com/linux/debian",
                "https://pkgs.k8s.io/core:/stable:/v1.36/deb",
            ]
        );
    }

    /// Docker's own file, shortened; the usual recipe's; and one that is switched off.
    #[test]
    fn yum_sources_are_those_that_are_on() {
        let docker = "[docker-ce-stable]\nname=Docker CE Stable - $basearch\n\
            baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/stable\nenabled=1\ngpgcheck=1\n\
            gpgkey=https://download.docker.com/linux/centos/gpg\n\n[docker-ce-test]\n\
            baseurl=https://download.docker.com/linux/centos/$releasever/$basearch/test\nenabled=0\n";
        let stable = "https://download.docker.com/linux/centos/$releasever/$basearch/stable";
        assert_eq!(repository_urls(docker), [stable]);
        let recipe = "[kubernetes]\nname=Kubernetes\n#baseurl=https://gone.example/x\n\
            baseurl=https://mirrors.aliyun.com/kubernetes/yum/repos/kubernetes-el7-x86_64/\n  http://user:pw@b.example/k\n\
            enabled = 1\ngpgcheck=0\ngpgkey=https://mirrors.aliyun.com/kubernetes/yum/doc/yum-key.gpg\n\
            \thttps://mirrors.aliyun.com/kubernetes/yum/doc/rpm-package-key.gpg\n";
        let expected = [
            "https://mirrors.aliyun.com/kubernetes/yum/repos/kubernetes-el7-x86_64",
            "http://b.example/k",
        ];
        assert_eq!(repository_urls(recipe), expected);
        // CentOS 7's own and EPEL's, shortened: a list of mirrors counts where there is nothing else.
        let lists = "[base]\nname=CentOS-$releasever - Base\n\
            mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os&infra=$infra\n\
            #baseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/\n[extras]\n\
            mirrorlist=http://mirrorlist.centos.org/?repo=extras\nbaseurl=http://vault.centos.org/centos/7/extras/\n\
            [epel]\nmetalink=https://mirrors.example/metalink?repo=epel-7&arch=$basearch\n\
            [epel-source]\nmetalink=https://mirrors.example/metalink?repo=epel-source-7\nenabled=0\n";
        let expected = [
            "http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os&infra=$infra",
            "http://vault.centos.org/centos/7/extras",
            "https://mirrors.example/metalink?repo=epel-7&arch=$basearch",
        ];
        assert_eq!(repository_urls(lists), expected);
        let dir = tempfile::tempdir().unwrap();
        for name in ["kubernetes.repo", "kubewan-kubernetes.repo", "kubernetes.repo.rpmsave"] {
            fs::write(dir.path().join(name), recipe).unwrap();
        }
        let found = yum_sources(dir.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|source| source.path.ends_with("/kubernetes.repo")), "{found:?}");
    }

    #[test]
    fn reads_debian_s_and_upstream_s_version() {
        let debian =
            "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2\n";
        assert_eq!(containerd_version(debian), "1.6.20");
        let upstream = "containerd github.com/containerd/containerd/v2 v2.1.3 c787fb98911740dd3ff2d0e45ce88cdf01410486";
        assert_eq!(containerd_version(upstream), "2.1.3");
        assert_eq!(containerd_version(""), "");
    }

    #[test]
    fn sees_containers_that_run_and_are_not_the_kubelets() {
        let dir = tempfile::tempdir().unwrap();
        let (tasks, proc) = (dir.path().join("tasks"), dir.path().join("proc"));
        let runs = |namespace: &str, id: &str, pid: &str| {
            fs::create_dir_all(tasks.join(namespace).join(id)).unwrap();
            fs::write(tasks.join(namespace).join(id).join("init.pid"), pid).unwrap();
        };
        runs("moby", "3f2a", "17");
        runs("default", "web", "18\n");
        // The kubelet's, one that has ended, and one that has not begun.
        runs("k8s.io", "pause", "17");
        runs("moby", "ended", "99");
        fs::create_dir_all(tasks.join("moby/begins")).unwrap();
        for (pid, comm) in [("17", "nginx\n"), ("18", "sleep\n")] {
            fs::create_dir_all(proc.join(pid)).unwrap();
            fs::write(proc.join(pid).join("comm"), comm).unwrap();
        }
        let found = others(&[&tasks, &dir.path().join("none")], &proc);
        let shown: Vec<String> =
            found.iter().map(|c| format!("{}/{} {}", c.namespace, c.id, c.program)).collect();
        assert_eq!(shown, ["default/web sleep", "moby/3f2a nginx"]);
    }

    #[test]
    fn reads_what_apt_would_install() {
        let policy = |candidate: &str| {
            format!(
                "containerd:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n"
            )
        };
        assert_eq!(candidate(&policy("1.6.20~ds1-1+deb12u2")).as_deref(), Some("1.6.20"));
        assert_eq!(candidate(&policy("1:2.1.3-0ubuntu1")).as_deref(), Some("2.1.3"));
        assert_eq!(candidate(&policy("(none)")), None);
        assert_eq!(candidate("N: Unable to locate package containerd\n"), None);
    }
}
