//! Docker's daemon as it runs: whether what its configuration says is in force.

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind};

/// A daemon that answers, with these drivers in force. Its configuration is a step of its own; an argument in its unit or a
/// file that was changed and not read yet would go before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerEngine {
    /// What it makes control groups with.
    pub cgroup_driver: String,
    /// What it keeps images with; `None`: not our affair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_driver: Option<String>,
}

/// What `docker info` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerEngineSeen {
    /// The daemon's version; `None` where it does not answer.
    pub version: Option<String>,
    /// What it makes control groups with.
    pub cgroup_driver: String,
    /// What it keeps images with.
    pub storage_driver: String,
}

impl DockerEngine {
    /// What has to change; see [`super::diff`].
    pub fn diff(&self, seen: &DockerEngineSeen) -> Option<Change> {
        let wanted = format!("Docker with the cgroup driver {}", self.cgroup_driver);
        if seen.version.is_none() {
            let summary = format!("have {wanted} answer");
            return Some(Change::new(ChangeKind::Run, summary));
        }
        let pairs = [
            ("cgroup driver", Some(&self.cgroup_driver), &seen.cgroup_driver),
            ("storage driver", self.storage_driver.as_ref(), &seen.storage_driver),
        ];
        let details: Vec<String> = pairs
            .into_iter()
            .filter_map(|(what, wanted, now)| Some((what, wanted?, now)))
            .filter(|(_, wanted, now)| wanted != now)
            .map(|(what, wanted, now)| format!("`docker info`: {what} {now} -> {wanted}"))
            .collect();
        (!details.is_empty()).then(|| {
            let summary = format!("start {wanted} again");
            Change::new(ChangeKind::Run, summary).with_details(details)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_says_of_itself_is_compared() {
        let goal = DockerEngine {
            cgroup_driver: "systemd".into(),
            storage_driver: Some("overlay2".into()),
        };
        let seen = |cgroup: &str, storage: &str| DockerEngineSeen {
            version: Some("20.10.24".into()),
            cgroup_driver: cgroup.into(),
            storage_driver: storage.into(),
        };
        let details = |seen: &DockerEngineSeen| goal.diff(seen).map(|change| change.details);
        assert_eq!(details(&seen("systemd", "overlay2")), None);
        assert_eq!(
            details(&seen("cgroupfs", "vfs")),
            Some(vec![
                "`docker info`: cgroup driver cgroupfs -> systemd".into(),
                "`docker info`: storage driver vfs -> overlay2".into()
            ])
        );
        assert_eq!(details(&DockerEngineSeen::default()), Some(Vec::new()));
        let any = DockerEngine { storage_driver: None, ..goal.clone() };
        assert_eq!(any.diff(&seen("systemd", "btrfs")), None);
    }
}
