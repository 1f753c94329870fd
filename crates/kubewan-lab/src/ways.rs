//! Cutting, healing and impairing: what a lab's users do to the ways between its clouds.

use crate::lab::Lab;
use crate::netem::Holder;
use crate::network::Way;
use crate::topology::{Cloud, Host, OPERATOR, Path, ends};
use crate::{LabError, namespace, paths, state};

/// How a way between two ends is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayStatus {
    /// Clouds, or `operator`.
    pub ends: [String; 2],
    /// Whether it is cut.
    pub cut: bool,
    /// How slow, lossy and narrow it is.
    pub path: Path,
    /// Whether it does so: not where it was half made, or what holds its packets has ended. Packets vanish then, or
    /// pass untouched, until it is healed.
    pub sound: bool,
    /// What holds its packets, where it is slow or lossy.
    pub holder: Holder,
}

impl Lab {
    /// The ways that are cut, not plain or not sound, each with its two ends.
    pub fn ways(&self) -> Vec<WayStatus> {
        let status = |way: Way| {
            let now = paths::condition(self, &way);
            let cut = paths::is_cut(self, &way);
            WayStatus {
                cut,
                ends: way.ends,
                path: now.path,
                sound: now.sound,
                holder: self.state.holder,
            }
        };
        let all = self.all_ways().into_iter().map(status);
        all.filter(|way| way.cut || !way.path.is_plain() || !way.sound).collect()
    }

    /// Cuts a cloud, or a host's, off the Internet: packets vanish both ways.
    pub fn cut(&self, end: &str) -> Result<(), LabError> {
        if end == OPERATOR {
            return Err(LabError::BadOption {
                option: "the end",
                value: end.into(),
                why: "it is cut from one cloud at a time".into(),
                next: "name the cloud too, as `kubewan lab cut operator A`".into(),
            });
        }
        let cloud = self.cloud(end)?;
        let _lock = state::lock(self.name())?;
        namespace::cut(cloud)
    }

    /// Cuts the way between two ends (clouds, hosts in them, or `operator`) and no other.
    pub fn cut_between(&self, a: &str, b: &str) -> Result<(), LabError> {
        let way = paths::way(self, a, b)?;
        let _lock = state::lock(self.name())?;
        paths::cut(self, &way)
    }

    /// Undoes cuts at a cloud, a host's, or the operator, and takes its ways back to what the topology says.
    pub fn heal(&self, end: &str) -> Result<(), LabError> {
        let cloud = if end == OPERATOR { None } else { Some(self.cloud(end)?) };
        let _lock = state::lock(self.name())?;
        cloud.map_or_else(|| self.heal_ways_of(OPERATOR), |cloud| self.heal_cloud(cloud))
    }

    /// The same for one way.
    pub fn heal_between(&self, a: &str, b: &str) -> Result<(), LabError> {
        let way = paths::way(self, a, b)?;
        let _lock = state::lock(self.name())?;
        self.heal_way(&way)
    }

    /// The same for all clouds and ways.
    pub fn heal_all(&self) -> Result<(), LabError> {
        let _lock = state::lock(self.name())?;
        self.state.topology.clouds.iter().try_for_each(namespace::heal)?;
        self.all_ways().iter().try_for_each(|way| self.heal_way(way))
    }

    /// Makes a way between two ends slow, lossy or narrow, whatever it was before.
    ///
    /// # Errors
    /// Fails where there are no such ends, the path is none that can be, or packets can't be held.
    pub fn impair(&self, a: &str, b: &str, path: &Path) -> Result<(), LabError> {
        let way = paths::way(self, a, b)?;
        path.check().map_err(|why| LabError::BadOption {
            option: "the path",
            value: path.to_string(),
            why,
            next: "see `kubewan lab impair --help`".into(),
        })?;
        let _lock = state::lock(self.name())?;
        paths::impair(self, &way, path)
    }

    /// Closes ports of a host, as `6443/tcp`, at its cloud's own firewall, and opens all others.
    pub fn close(&self, host: &str, ports: &[&str]) -> Result<(), LabError> {
        let ports: Vec<String> = ports.iter().map(|port| (*port).to_owned()).collect();
        let cloud = self.cloud(host)?;
        let _lock = state::lock(self.name())?;
        namespace::filter(cloud, &ports)
    }

    /// [`Lab::heal`] for whoever holds the lock already.
    pub(crate) fn heal_cloud(&self, cloud: &Cloud) -> Result<(), LabError> {
        namespace::heal(cloud)?;
        self.heal_ways_of(&cloud.name)
    }

    /// Whether the operator should get through to a host's sshd without delay.
    pub(crate) fn operator_reaches(&self, cloud: &Cloud, host: &Host) -> bool {
        let topology = &self.state.topology;
        let way = Way::find(topology, &ends(&[cloud.name.clone(), OPERATOR.to_owned()]));
        let is_plain = |way: &Way| {
            let now = paths::condition(self, way);
            now.sound && now.path.is_plain() && !paths::is_cut(self, way)
        };
        topology.is_reachable(host)
            && !namespace::is_cut(cloud)
            && !namespace::is_filtered(cloud)
            && way.is_some_and(|way| is_plain(&way))
    }

    fn heal_ways_of(&self, end: &str) -> Result<(), LabError> {
        let ways = self.all_ways().into_iter();
        ways.filter(|way| way.ends.iter().any(|named| named == end))
            .try_for_each(|way| self.heal_way(&way))
    }

    /// A way back to what the topology says, and not cut.
    fn heal_way(&self, way: &Way) -> Result<(), LabError> {
        paths::heal(self, way)?;
        let first = self.state.topology.paths.iter().find(|(ends, _)| *ends == way.ends);
        let first = first.map(|(_, path)| *path).unwrap_or_default();
        let now = paths::condition(self, way);
        if now.sound && now.path == first { Ok(()) } else { paths::impair(self, way, &first) }
    }

    /// The ways between all clouds and the operator.
    fn all_ways(&self) -> Vec<Way> {
        let topology = &self.state.topology;
        let mut names: Vec<&str> = topology.clouds.iter().map(|c| c.name.as_str()).collect();
        names.push(OPERATOR);
        let pair = |(index, a): (usize, &&str)| {
            let others = names[index + 1..].iter();
            let ways = others.map(|b| ends(&[(*a).to_owned(), (*b).to_owned()]));
            ways.collect::<Vec<_>>()
        };
        let pairs = names.iter().enumerate().flat_map(pair);
        pairs.filter_map(|ends| Way::find(topology, &ends)).collect()
    }
}
