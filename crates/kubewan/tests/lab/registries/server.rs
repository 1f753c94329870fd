//! Debian's docker-registry on the lab's Internet: one image, a certificate of its own making, and a login.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::sources::tree::sh;
use crate::support::cache;

/// Who may pull.
pub const USER: &str = "puller";
/// The password of that.
pub const PASSWORD: &str = "open-Sesame-4711";
/// The same for htpasswd(1), by bcrypt, as docker-registry reads no other.
const HTPASSWD: &str = "puller:$2b$05$QDSDrKmN.R1YZ0H0mGG.6O4Jt.Mk5AxV1XsyOGK4lPstylEkpcuda\n";

/// Two registries over one store: port 5000 with a login, 5001 without.
pub struct Registry {
    /// Its files: `registry.pem`, `expired.pem`.
    pub dir: PathBuf,
    children: Vec<Child>,
}

/// Debian's program: installed, in the cache, or its package downloaded into the cache. `None` where it can't be had.
pub fn program() -> Option<PathBuf> {
    let installed = PathBuf::from("/usr/bin/docker-registry");
    if installed.exists() {
        return Some(installed);
    }
    let folder = cache().join("kubewan/debian");
    let cached = folder.join("docker-registry/usr/bin/docker-registry");
    if !cached.exists() {
        fs::create_dir_all(&folder).ok()?;
        let line =
            "apt-get download docker-registry && dpkg-deb -x docker-registry_*.deb docker-registry";
        let done = Command::new("sh").args(["-ec", line]).current_dir(&folder).status().ok()?;
        if !done.success() {
            eprintln!("Debian's docker-registry can't be had: not shown");
            return None;
        }
    }
    Some(cached)
}

impl Registry {
    /// Starts both and pushes the pause image of the bundle.
    pub fn start(
        program: &Path,
        namespace: &Path,
        address: Ipv4Addr,
        dir: &Path,
        bundle: &Path,
    ) -> Registry {
        fs::create_dir_all(dir).unwrap();
        let certificate = |name: &str, dates: &str| {
            format!(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={address} \
                 -addext subjectAltName=IP:{address} {dates} -keyout {name}.key -out {name}.pem 2>/dev/null"
            )
        };
        sh(dir, &certificate("registry", "-days 30"));
        // openssl of Debian 12 makes none that has ended already but by a request that is signed.
        sh(
            dir,
            "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=old -keyout old.key -out old.csr 2>/dev/null && \
             touch index.txt && echo 01 > serial && \
             printf '[ca]\\ndefault_ca=x\\n[x]\\ndatabase=index.txt\\nserial=serial\\nnew_certs_dir=.\\ndefault_md=sha256\\npolicy=p\\n[p]\\ncommonName=supplied\\n' > ca.cnf && \
             openssl ca -batch -selfsign -config ca.cnf -in old.csr -keyfile old.key -startdate 20200101000000Z -enddate 20210101000000Z -out expired.pem 2>/dev/null",
        );
        fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        let mut children = Vec::new();
        for (port, auth) in [
            (
                5000,
                format!("auth:\n  htpasswd: {{ realm: lab, path: {}/htpasswd }}\n", dir.display()),
            ),
            (5001, String::new()),
        ] {
            let config = dir.join(format!("{port}.yml"));
            let text = format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {0}/store }}\n\
                 http:\n  addr: {address}:{port}\n  secret: lab\n  tls: {{ certificate: {0}/registry.pem, key: {0}/registry.key }}\n{auth}",
                dir.display()
            );
            fs::write(&config, text).unwrap();
            children.push(serve(program, namespace, &config));
        }
        let registry = Registry { dir: dir.to_owned(), children };
        registry.push(namespace, address, bundle);
        registry
    }

    /// The pause image, by the open one.
    fn push(&self, namespace: &Path, address: Ipv4Addr, bundle: &Path) {
        let work = self.dir.join("image");
        fs::create_dir_all(&work).unwrap();
        let archive = sh(bundle, "grep -o 'images/[^ ,\"]*pause[^ ,\"]*' bundle.yaml | head -1");
        sh(&work, &format!("tar xf {}", bundle.join(archive.trim()).display()));
        let list: serde_json::Value =
            serde_json::from_slice(&fs::read(work.join("manifest.json")).unwrap()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let inside = format!(
            "nsenter --net={} curl -sf --cacert {}/registry.pem",
            namespace.display(),
            self.dir.display()
        );
        let url = format!("https://{address}:5001/v2/kubewan/pause");
        let mut answers = false;
        for _ in 0..1200 {
            if Command::new("sh")
                .args(["-c", &format!("{inside} https://{address}:5001/v2/ >/dev/null")])
                .status()
                .unwrap()
                .success()
            {
                answers = true;
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        assert!(answers, "the registry at {address} does not answer");
        let blob = |name: &str, kind: &str| {
            let file = work.join(name).canonicalize().unwrap();
            let file = file.display();
            let digest = format!("sha256:{}", &sh(&work, &format!("sha256sum {file}"))[..64]);
            let size: u64 = sh(&work, &format!("stat -c %s {file}")).trim().parse().unwrap();
            sh(
                &work,
                &format!(
                    "to=$({inside} -X POST -D - -o /dev/null {url}/blobs/uploads/ | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p') && \
                     {inside} -X PUT -H 'Content-Type: application/octet-stream' --data-binary @{file} \"$to&digest={digest}\""
                ),
            );
            serde_json::json!({ "mediaType": kind, "digest": digest, "size": size })
        };
        let config =
            blob(&text(&list[0]["Config"]), "application/vnd.docker.container.image.v1+json");
        let layers: Vec<serde_json::Value> = list[0]["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| blob(&text(layer), "application/vnd.docker.image.rootfs.diff.tar"))
            .collect();
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        fs::write(work.join("pushed.json"), manifest.to_string()).unwrap();
        sh(
            &work,
            &format!(
                "{inside} -X PUT -H 'Content-Type: {kind}' --data-binary @pushed.json {url}/manifests/1"
            ),
        );
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Debian's docker-registry by this configuration, in a network namespace; what it says goes beside that file.
pub fn serve(program: &Path, namespace: &Path, config: &Path) -> Child {
    let log = fs::File::create(config.with_extension("log")).unwrap();
    Command::new("nsenter")
        .arg(format!("--net={}", namespace.display()))
        .arg(program)
        .args(["serve", &config.to_string_lossy()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("nsenter starts")
}
