//! `profile:` servers for a region, in one word. It fills in what the inventory does not say itself, before the types read it, so
//! that every key that is written wins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A region with servers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Mainland China.
    Cn,
}

/// What a profile says for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key; of `mirrors.images`, with the registry's name behind it.
    pub key: (&'static str, &'static str, &'static str),
    /// What stands there unless the inventory says otherwise: several servers, the first that serves is taken.
    pub values: &'static [&'static str],
    /// Where that is known from.
    pub source: &'static str,
}

const DAOCLOUD: &str = "github.com/DaoCloud/public-image-mirror, README.md";
const DAOCLOUD_NJU: &str = "github.com/DaoCloud/public-image-mirror, README.md; Nanjing University's (doc.nju.edu.cn); the registry itself";

/// Servers that are reached from mainland China, and the publishers' own after them, which some networks reach.
const CN: [Setting; 10] = [
    Setting {
        key: ("kubernetes", "imageRepository", ""),
        values: &[
            "registry.aliyuncs.com/google_containers",
            "registry.cn-hangzhou.aliyuncs.com/google_containers",
            "k8s.m.daocloud.io",
        ],
        source: "what guides to kubeadm in Chinese use for `--image-repository`; minikube's `--image-mirror-country=cn`; \
                 DaoCloud's mirror of registry.k8s.io. Not with a bundle, whose images have names already",
    },
    Setting {
        key: ("mirrors", "kubernetes", ""),
        values: &["https://files.m.daocloud.io/dl.k8s.io/release", "https://dl.k8s.io"],
        source: "github.com/DaoCloud/public-binary-files-mirror, README.md; the publisher's own",
    },
    Setting {
        key: ("mirrors", "packages", ""),
        values: &[
            "https://mirrors.aliyun.com/kubernetes-new/core/stable",
            "https://mirrors.tuna.tsinghua.edu.cn/kubernetes",
            "https://pkgs.k8s.io",
        ],
        source: "developer.aliyun.com/mirror/kubernetes; mirrors.tuna.tsinghua.edu.cn/help/kubernetes; the publisher's own",
    },
    Setting {
        key: ("mirrors", "docker", ""),
        values: &[
            "https://mirrors.aliyun.com/docker-ce",
            "https://mirrors.tuna.tsinghua.edu.cn/docker-ce",
            "https://download.docker.com",
        ],
        source: "developer.aliyun.com/mirror/docker-ce; mirrors.tuna.tsinghua.edu.cn/help/docker-ce; the publisher's own",
    },
    Setting {
        key: ("mirrors", "github", ""),
        values: &["https://files.m.daocloud.io/github.com", "https://github.com"],
        source: "github.com/DaoCloud/public-binary-files-mirror, README.md; the publisher's own",
    },
    Setting {
        key: ("mirrors", "images", "docker.io"),
        values: &["https://docker.m.daocloud.io", "https://registry-1.docker.io"],
        source: DAOCLOUD,
    },
    Setting {
        key: ("mirrors", "images", "registry.k8s.io"),
        values: &[
            "https://k8s.m.daocloud.io",
            "https://k8s.mirror.nju.edu.cn",
            "https://registry.k8s.io",
        ],
        source: DAOCLOUD_NJU,
    },
    Setting {
        key: ("mirrors", "images", "ghcr.io"),
        values: &["https://ghcr.m.daocloud.io", "https://ghcr.nju.edu.cn", "https://ghcr.io"],
        source: DAOCLOUD_NJU,
    },
    Setting {
        key: ("mirrors", "images", "quay.io"),
        values: &["https://quay.m.daocloud.io", "https://quay.nju.edu.cn", "https://quay.io"],
        source: DAOCLOUD_NJU,
    },
    Setting {
        key: ("", "timeServers", ""),
        values: &["ntp.ntsc.ac.cn", "ntp.aliyun.com", "ntp.tencent.com"],
        source: "the National Time Service Center's, Alibaba Cloud's and Tencent Cloud's public ones; all of them",
    },
];

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 1] = [Profile::Cn];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Cn => "cn",
        }
    }

    /// What it says.
    pub fn settings(self) -> &'static [Setting] {
        match self {
            Profile::Cn => &CN,
        }
    }
}

impl Setting {
    /// The key as people write it.
    pub fn path(&self) -> String {
        let (section, key, registry) = self.key;
        if section.is_empty() {
            key.to_owned()
        } else if registry.is_empty() {
            format!("{section}.{key}")
        } else {
            format!("{section}.{key}: {registry}")
        }
    }
}

/// Fills in what the profile of a checked inventory says and the inventory does not.
pub(super) fn fill_in(inventory: &mut Value) {
    let word = inventory["profile"].as_str();
    let Some(profile) = Profile::ALL.into_iter().find(|profile| Some(profile.name()) == word)
    else {
        return;
    };
    let kubernetes = &inventory["kubernetes"];
    let bundled = kubernetes["source"] == "bundle"
        || (kubernetes["source"].is_null() && kubernetes["bundle"].is_string());
    let is_docker = inventory["runtime"]["kind"] == "docker";
    // Docker asks mirrors of its own registry alone, and flannel's images get the name of theirs.
    let asked = |registry: &str| !is_docker || ["", "docker.io", "ghcr.io"].contains(&registry);
    // A registry that has an entry of its own names its mirrors there.
    let registries = inventory["registries"].as_array().into_iter().flatten();
    let own: Vec<String> =
        registries.filter_map(|registry| registry["address"].as_str().map(str::to_owned)).collect();
    for setting in profile.settings() {
        let (section, key, registry) = setting.key;
        let has_own = own.iter().any(|own| own == registry);
        if (key == "imageRepository" && bundled) || has_own || !asked(registry) {
            continue;
        }
        let section = match section {
            "" => inventory.as_object_mut(),
            section => entry(inventory, section),
        };
        let Some(section) = section else { continue };
        let place = match registry {
            "" => Some(section).map(|section| (section, key)),
            registry => entry_of(section, key).map(|images| (images, registry)),
        };
        if let Some((map, key)) = place {
            map.entry(key).or_insert_with(|| json!(setting.values));
        }
    }
}

fn entry<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    entry_of(value.as_object_mut()?, key)
}

fn entry_of<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(key).or_insert_with(|| json!({})).as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::super::{Inventory, parse};
    use super::*;

    fn read(more: &str) -> Inventory {
        let text = format!(
            "name: home\nprofile: cn\n{more}\nhosts:\n  - {{ name: a, address: 198.51.100.10, roles: [control-plane] }}\n"
        );
        parse("cluster.yaml", &text).unwrap()
    }

    #[test]
    fn a_profile_fills_in_and_what_is_written_wins() {
        let inventory = read("kubernetes: { version: \"1.36.2\" }");
        assert_eq!(inventory.pause_image(), "registry.aliyuncs.com/google_containers/pause:3.10.2");
        assert_eq!(inventory.mirrors.images.len(), 4);
        assert_eq!(inventory.mirrors.docker, "https://mirrors.aliyun.com/docker-ce");
        let own = read(
            "kubernetes: { version: \"1.36.2\", imageRepository: r.example/k8s }\n\
             mirrors: { docker: \"https://d.example\", images: { ghcr.io: \"https://g.example\" } }\n\
             registries: [{ address: docker.io, mirrors: [\"https://hub.example\"] }]",
        );
        assert_eq!(own.kubernetes.image_repository, "r.example/k8s");
        assert_eq!(own.mirrors.docker, "https://d.example");
        assert_eq!(own.mirrors.images["ghcr.io"], "https://g.example");
        assert_eq!(own.mirrors.images["quay.io"], "https://quay.m.daocloud.io");
        assert!(own.mirrors.images["quay.io"].are_several());
        assert_eq!(own.time_servers.len(), 3);
        assert!(!own.mirrors.images.contains_key("docker.io"));
        let bundled = read("kubernetes: { version: \"1.36.2\", source: bundle }");
        assert_eq!(bundled.kubernetes.image_repository, "registry.k8s.io");
        let docker = read("kubernetes: { version: \"1.36.2\" }\nruntime: { kind: docker }");
        assert_eq!(docker.mirrors.images.keys().collect::<Vec<_>>(), ["docker.io", "ghcr.io"]);
        // What is filled in reads the same again.
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(parse("cluster.yaml", &text).unwrap(), own);
    }

    #[test]
    fn every_setting_is_a_url_that_an_inventory_takes() {
        for setting in CN {
            let registry = setting.key.2;
            let is_name = ["imageRepository", "timeServers"].contains(&setting.key.1);
            assert!(setting.values.iter().all(|v| v.starts_with("https://") != is_name));
            assert!(setting.values.len() > 1, "{}: nothing to choose from", setting.path());
            assert_eq!(registry.is_empty(), setting.key.1 != "images", "{}", setting.path());
        }
    }
}
