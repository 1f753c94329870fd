//! Static pods: each manifest a sandbox and a container, started again when it changes or ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Settings, log};
use crate::client::Kube;
use crate::cri::{Message, Runtime};
use crate::value::{self, Res, at, list, strings, text};
use crate::{LAB_MARK, net};

/// etcd's flags of 3.6 that older ones, as distributions have them, refuse; none is about addresses.
const NEW_ETCD_FLAGS: [&str; 2] = ["--feature-gates=", "--watch-progress-notify-interval="];

struct Pod {
    manifest: Value,
    digest: String,
    sandbox: String,
    container: String,
    started: String,
    restarts: u32,
    wait_until: Instant,
}

/// The static pods of this node.
pub struct Pods {
    runtime: Runtime,
    pods: BTreeMap<String, Pod>,
    clean: bool,
    /// Pods that an earlier kubelet left running, by uid.
    left: BTreeMap<String, (String, String)>,
}

fn digest(content: &str) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
    value::hex(&sum.as_ref()[..16])
}

impl Pods {
    /// No pods yet.
    pub fn new(runtime: Runtime) -> Pods {
        Pods { runtime, pods: BTreeMap::new(), clean: false, left: BTreeMap::new() }
    }

    /// Finds what an earlier kubelet left: what runs goes on, the rest is removed.
    fn adopt(&mut self) -> Res<()> {
        for sandbox in self.runtime.sandboxes()? {
            match sandbox.container {
                Some(container) => drop(self.left.insert(sandbox.uid, (sandbox.id, container))),
                None => self.runtime.remove(&sandbox.id)?,
            }
        }
        self.clean = true;
        Ok(())
    }

    /// Brings what runs in line with the manifests.
    pub fn sync(&mut self, folder: &Path, settings: &Settings) {
        if !self.clean && self.adopt().is_err() {
            return;
        }
        let mut wanted = BTreeMap::new();
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|e| e != "yaml" && e != "json") {
                continue;
            }
            let content = std::fs::read_to_string(&path).unwrap_or_default();
            match value::from_yaml(&content) {
                Ok(pod) if text(&pod, "kind") == "Pod" => {
                    wanted.insert(text(&pod, "metadata.name").to_owned(), (digest(&content), pod));
                }
                Ok(_) => {}
                Err(error) => log(
                    'E',
                    &format!("\"Could not process manifest file\" path={path:?} err={error:?}"),
                ),
            }
        }
        let strange = |uid: &String| wanted.values().all(|(digest, _)| digest != uid);
        let left: Vec<String> = self.left.keys().filter(|u| strange(u)).cloned().collect();
        for (sandbox, _) in left.iter().filter_map(|uid| self.left.remove(uid)) {
            let _ = self.runtime.remove(&sandbox);
        }
        let gone = |name: &String, pod: &Pod| {
            wanted.get(name).is_none_or(|(digest, _)| *digest != pod.digest)
        };
        let gone: Vec<String> =
            self.pods.iter().filter(|(n, p)| gone(n, p)).map(|(n, _)| n.clone()).collect();
        for name in gone {
            if let Some(pod) = self.pods.remove(&name) {
                let _ = self.runtime.remove(&pod.sandbox);
            }
        }
        for (name, (digest, manifest)) in wanted {
            let pod = self.pods.entry(name.clone()).or_insert_with(|| {
                let (sandbox, container) = self.left.remove(&digest).unwrap_or_default();
                let started = if container.is_empty() { String::new() } else { value::now() };
                let wait_until = Instant::now();
                Pod { manifest, digest, sandbox, container, started, restarts: 0, wait_until }
            });
            if let Err(error) = pod.sync(&self.runtime, settings) {
                log(
                    'E',
                    &format!(
                        "\"Error syncing pod, skipping\" err={error:?} pod=\"kube-system/{name}\""
                    ),
                );
                pod.back_off();
            }
        }
    }

    /// Shows the static pods in the API, as far as they run.
    pub fn mirror(&self, api: &Kube, settings: &Settings) -> Res<()> {
        let folder = "/api/v1/namespaces/kube-system/pods";
        let suffix = format!("-{}", settings.name);
        let mirrors =
            api.list(&format!("{folder}?fieldSelector=spec.nodeName={}", settings.name))?;
        for mirror in mirrors.iter().filter(|m| !at(m, "metadata.annotations").is_null()) {
            let name = text(mirror, "metadata.name");
            if !name.strip_suffix(&suffix).is_some_and(|n| self.pods.contains_key(n)) {
                let _ = api.call("DELETE", &format!("{folder}/{name}"), "application/json", None);
            }
        }
        for (name, pod) in &self.pods {
            let mut object = pod.manifest.clone();
            let full = format!("{name}{suffix}");
            object["metadata"]["name"] = full.as_str().into();
            object["metadata"]["annotations"]["kubernetes.io/config.mirror"] =
                pod.digest.as_str().into();
            object["metadata"]["annotations"]["kubernetes.io/config.source"] = "file".into();
            object["spec"]["nodeName"] = settings.name.as_str().into();
            let known = mirrors.iter().find(|m| text(m, "metadata.name") == full);
            let annotation =
                |m: &Value| m["metadata"]["annotations"]["kubernetes.io/config.mirror"].clone();
            if known.is_none_or(|m| annotation(m) != pod.digest.as_str()) {
                api.ensure(folder, &object)?;
            }
            let status = pod.status(name);
            if known.is_none_or(|m| m["status"] != status) {
                api.merge(&format!("{folder}/{full}/status"), &json!({"status": status}))?;
            }
        }
        Ok(())
    }
}

impl Pod {
    fn back_off(&mut self) {
        let seconds = (10u64 << self.restarts.min(5)).min(300);
        self.wait_until = Instant::now() + Duration::from_secs(seconds);
        self.restarts += 1;
    }

    fn sync(&mut self, runtime: &Runtime, settings: &Settings) -> Res<()> {
        if !self.container.is_empty() {
            match runtime.running(&self.container) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(code)) => {
                    log(
                        'I',
                        &format!(
                            "\"Container ended\" pod={:?} exitCode={code}",
                            text(&self.manifest, "metadata.name")
                        ),
                    );
                }
                Err(error) => log('E', &format!("\"ContainerStatus failed\" err={error:?}")),
            }
            runtime.remove(&self.sandbox)?;
            (self.container, self.sandbox) = Default::default();
            // The first restart is at once, as in life.
            match self.restarts {
                0 => self.restarts = 1,
                _ => self.back_off(),
            }
        }
        if Instant::now() < self.wait_until {
            return Ok(());
        }
        if !self.sandbox.is_empty() {
            let _ = runtime.remove(&self.sandbox);
        }
        let pod = self.sandbox_config(settings);
        self.sandbox = runtime.run_sandbox(&pod)?;
        let Some(container) = list(&self.manifest, "spec.containers").first().cloned() else {
            return Err("a static pod without a container".into());
        };
        let image = text(&container, "image");
        if !runtime.has_image(image)? {
            runtime.pull(image).map_err(|e| format!("failed to pull image {image:?}: {e}"))?;
        }
        self.container = runtime.start(&self.sandbox, &self.container_config(&container), &pod)?;
        self.started = value::now();
        Ok(())
    }

    fn log_folder(&self, settings: &Settings) -> String {
        let name = text(&self.manifest, "metadata.name");
        format!("/var/log/pods/kube-system_{name}-{}_{}", settings.name, self.digest)
    }

    /// PodSandboxConfig, in the host's network.
    fn sandbox_config(&self, settings: &Settings) -> Message {
        let name = text(&self.manifest, "metadata.name");
        let full = format!("{name}-{}", settings.name);
        let metadata = Message::default()
            .text(1, &full)
            .text(2, &self.digest)
            .text(3, "kube-system")
            .number(4, u64::from(self.restarts));
        // kubepods.slice is systemd's way to name a parent, /kubepods the other: the runtime must be set alike.
        let parent = match text(&settings.config, "cgroupDriver") {
            "cgroupfs" => "/kubepods",
            _ => "kubepods.slice",
        };
        let namespaces = Message::default().number(1, 2).number(2, 1);
        let security = Message::default().message(1, &namespaces);
        let linux = Message::default().text(1, parent).message(2, &security);
        Message::default()
            .message(1, &metadata)
            .text(3, &self.log_folder(settings))
            .entry(6, "io.kubernetes.pod.name", &full)
            .entry(6, "io.kubernetes.pod.namespace", "kube-system")
            .entry(6, "io.kubernetes.pod.uid", &self.digest)
            .message(8, &linux)
    }

    fn container_config(&self, container: &Value) -> Message {
        let name = text(container, "name");
        let metadata = Message::default().text(1, name).number(2, u64::from(self.restarts));
        let image = Message::default().text(1, text(container, "image"));
        let mut config = Message::default().message(1, &metadata).message(2, &image);
        for word in strings(container, "command") {
            if NEW_ETCD_FLAGS.iter().any(|f| name == "etcd" && word.starts_with(f)) {
                log('W', &format!("[rehearsal] left out for an etcd older than 3.6: {word}"));
                continue;
            }
            config = config.text(3, &word);
        }
        for word in strings(container, "args") {
            config = config.text(4, &word);
        }
        for variable in list(container, "env") {
            let pair =
                Message::default().text(1, text(variable, "name")).text(2, text(variable, "value"));
            config = config.message(6, &pair);
        }
        // The stand-ins inside look for the mark of a lab's host.
        let mut mounts = vec![(LAB_MARK.to_owned(), LAB_MARK.to_owned(), true)];
        for mount in list(container, "volumeMounts") {
            let volume =
                list(&self.manifest, "spec.volumes").iter().find(|v| v["name"] == mount["name"]);
            let Some(path) = volume.map(|v| text(v, "hostPath.path")) else { continue };
            if text(volume.unwrap_or(&Value::Null), "hostPath.type") == "DirectoryOrCreate" {
                let _ = std::fs::create_dir_all(path);
            }
            mounts.push((
                path.to_owned(),
                text(mount, "mountPath").to_owned(),
                mount["readOnly"] == true,
            ));
        }
        for (host, inside, readonly) in mounts {
            let mount =
                Message::default().text(1, &inside).text(2, &host).number(3, u64::from(readonly));
            config = config.message(7, &mount);
        }
        let namespaces = Message::default().number(1, 2).number(2, 1);
        let security = Message::default().message(3, &namespaces);
        config
            .entry(9, "io.kubernetes.container.name", name)
            .text(11, &format!("{name}/{}.log", self.restarts))
            .message(15, &Message::default().message(2, &security))
    }

    fn status(&self, name: &str) -> Value {
        let running = !self.container.is_empty();
        let image = list(&self.manifest, "spec.containers").first().map(|c| c["image"].clone());
        let state = match running {
            true => json!({"running": {"startedAt": self.started}}),
            false => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        };
        let ready = if running { "True" } else { "False" };
        json!({
            "phase": if running { "Running" } else { "Pending" },
            "hostIP": net::default_address().map(|a| a.to_string()),
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": name, "image": image, "ready": running, "started": running,
                "restartCount": self.restarts, "state": state}],
        })
    }
}
