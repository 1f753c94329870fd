//! The lab as its users see it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io::Write};

use crate::error::OnPath;
use crate::image::ImageChoice;
use crate::layer::Layer;
use crate::machine::Machine;
use crate::seed::Identity;
use crate::snapshot::HostSnapshot;
use crate::state::{self, State, Written};
use crate::topology::{Cloud, Subnet};
use crate::{
    KernelFacts, KubernetesChoice, LabError, down, inventory, keys, layer, namespace, observe, up,
};

/// What lab to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabOptions {
    /// The user's folder: keys, `known_hosts` and `cluster.yaml` go there.
    pub dir: PathBuf,
    /// How many hosts, each in a cloud of its own; the first is the control plane.
    pub hosts: usize,
    /// Which system they run.
    pub image: ImageChoice,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { dir: PathBuf::from("lab"), hosts: 3, image: ImageChoice::default() }
    }
}

/// What the lab is doing, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabEvent {
    /// This machine lacks packages, and they are being installed.
    InstallingPackages(Vec<String>),
    /// The hosts' image is being built, once for this recipe.
    BuildingImage {
        /// Its name.
        image: String,
        /// Where it will be kept.
        folder: PathBuf,
    },
    /// The image was built.
    ImageBuilt {
        /// How long it took.
        took: Duration,
    },
    /// Packages and programs for rehearsals are being downloaded, once for this recipe.
    DownloadingParts {
        /// Where they will be kept.
        folder: PathBuf,
    },
    /// A lab as asked for is up already.
    AlreadyUp,
    /// The Internet and the clouds are there.
    NetworkReady {
        /// How many clouds.
        clouds: usize,
    },
    /// A host is being started.
    Booting {
        /// Its name.
        host: String,
    },
    /// A host has booted and its sshd answers.
    HostReady {
        /// Its name.
        host: String,
        /// How long it took from its start.
        took: Duration,
    },
    /// A host is being stopped.
    Stopping {
        /// Its name.
        host: String,
    },
    /// `up` failed, and what it had made is being removed.
    UndoingFailedUp,
    /// A file that the lab had written was changed since, and is kept.
    Kept {
        /// The file.
        path: PathBuf,
    },
    /// Something could not be given back as it was.
    NotRestored {
        /// What, and how it should be.
        what: String,
    },
}

/// What an inventory needs to know of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabInfo {
    /// The user's folder.
    pub dir: PathBuf,
    /// The hosts in order; the first is the control plane.
    pub hosts: Vec<LabHost>,
    /// What this machine's kernel offers, which is what the hosts' kernel offers.
    pub kernel: KernelFacts,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabHost {
    /// `master01`, `node01`, …
    pub name: String,
    /// The public address, which is on no network card of the host.
    pub address: Ipv4Addr,
    /// The address on its network card.
    pub private: Subnet,
    /// Its cloud's letter.
    pub cloud: char,
    /// What its cloud does, in a few words.
    pub cloud_behaviour: String,
    /// Who logs in: `root`, or a user with `sudo -n`.
    pub ssh_user: String,
    /// Where its sshd listens.
    pub ssh_port: u16,
    /// The private key that is let in.
    pub ssh_key: PathBuf,
    /// The host's public key, as `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// What it printed while booting.
    pub console: PathBuf,
}

/// How a host is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// The host.
    pub host: LabHost,
    /// Whether its machine runs.
    pub running: bool,
    /// Whether it is cut off the Internet.
    pub cut: bool,
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    pub(crate) state: State,
    pub(crate) kernel: KernelFacts,
}

impl Lab {
    /// Makes a lab and waits until its hosts answer. What a failed try has made is removed.
    ///
    /// A lab that is up already and is the one asked for is taken as it is.
    pub fn up(options: &LabOptions, events: &mut dyn FnMut(LabEvent)) -> Result<Self, LabError> {
        up::up(options, events)
    }

    /// Finds the lab that is up.
    pub fn open() -> Result<Self, LabError> {
        let state = State::load()?.ok_or(LabError::NotUp)?;
        Ok(Self { state, kernel: KernelFacts::gather() })
    }

    /// Removes the lab, whatever there is of it. Gives whether there was one.
    pub fn down(events: &mut dyn FnMut(LabEvent)) -> Result<bool, LabError> {
        down::down(events)
    }

    /// The facts that an inventory is made of.
    pub fn info(&self) -> Result<LabInfo, LabError> {
        let clouds = self.state.topology.clouds.iter();
        let hosts = clouds.map(|cloud| self.host_facts(cloud)).collect::<Result<_, _>>()?;
        Ok(LabInfo { dir: self.state.dir.clone(), hosts, kernel: self.kernel.clone() })
    }

    /// Writes `cluster.yaml` into the user's folder, unless the user has edited it since.
    pub fn write_inventory(&mut self, kubernetes: &KubernetesChoice) -> Result<PathBuf, LabError> {
        const NAME: &str = "cluster.yaml";
        let path = self.state.dir.join(NAME);
        let written = self.state.written.iter().find(|written| written.name == NAME);
        if path.exists() && !written.is_some_and(|written| is_unchanged(&path, written)) {
            return Ok(path);
        }
        let yaml = inventory::render_inventory(&self.info()?, kubernetes);
        fs::write(&path, yaml).on("write", &path)?;
        let sha256 = Some(observe::sha256_of(&path).on("read", &path)?);
        self.state.written.retain(|written| written.name != NAME);
        self.state.written.push(Written { name: NAME.into(), sha256 });
        self.state.save()?;
        Ok(path)
    }

    /// How every host is doing.
    pub fn list(&self) -> Result<Vec<HostStatus>, LabError> {
        let clouds = self.state.topology.clouds.iter();
        clouds
            .map(|cloud| {
                Ok(HostStatus {
                    host: self.host_facts(cloud)?,
                    running: self.is_running(cloud),
                    cut: namespace::is_cut(cloud),
                })
            })
            .collect()
    }

    /// The command line that logs in to a host over SSH, as an operator would.
    pub fn ssh_command(&self, host: &str) -> Result<Vec<String>, LabError> {
        let host = self.host_facts(self.cloud(host)?)?;
        let known_hosts = self.state.dir.join(keys::KNOWN_HOSTS);
        let key = host.ssh_key.display();
        let port = host.ssh_port;
        let option = |text: String| ["-o".to_owned(), text];
        let mut argv = vec!["ssh".into(), "-F".into(), "none".into(), "-i".into(), key.to_string()];
        argv.extend(option("IdentitiesOnly=yes".into()));
        argv.extend(option(format!("UserKnownHostsFile=\"{}\"", known_hosts.display())));
        argv.extend(option("StrictHostKeyChecking=yes".into()));
        argv.extend(["-p".into(), port.to_string(), format!("{}@{}", host.ssh_user, host.address)]);
        Ok(argv)
    }

    /// A command that runs a program as root in a host, without the network's help. Its standard
    /// streams are the caller's to set.
    pub fn exec_command(&self, host: &str, argv: &[&str]) -> Result<Command, LabError> {
        self.running_machine(host)?.command(argv)
    }

    /// Runs a program as root in a host and collects what it prints.
    pub fn exec(&self, host: &str, argv: &[&str], input: &[u8]) -> Result<Output, LabError> {
        let failed = |error: std::io::Error| LabError::Program {
            attempted: format!("run a program in {host}"),
            program: argv.join(" "),
            came_back: error.to_string(),
            next: "see whether the host runs: `kubewan lab ls`".into(),
        };
        let mut child = self
            .exec_command(host, argv)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut stdin = child.stdin.take();
        std::thread::scope(|scope| {
            // Beside the reading, as a program may print before it has read everything.
            scope.spawn(move || {
                if let Some(stdin) = stdin.as_mut() {
                    let _ = stdin.write_all(input);
                }
            });
            child.wait_with_output()
        })
        .map_err(failed)
    }

    /// Shuts a host down, takes its network namespace away with everything the host had made in
    /// it, and starts it again with nothing but its network card.
    pub fn reboot(&self, host: &str, events: &mut dyn FnMut(LabEvent)) -> Result<(), LabError> {
        let cloud = self.cloud(host)?;
        let _lock = state::lock()?;
        let machine = self.machine(cloud);
        events(LabEvent::Stopping { host: host.into() });
        machine.shut_down()?;
        namespace::remove_host(cloud)?;
        namespace::make_host(cloud)?;
        self.boot(&[cloud], events)
    }

    /// Takes hosts back to their first state, all of them when none is named: an empty disk over
    /// the image, the same keys as before.
    pub fn rewind(&self, hosts: &[&str], events: &mut dyn FnMut(LabEvent)) -> Result<(), LabError> {
        let clouds: Vec<&Cloud> = if hosts.is_empty() {
            self.state.topology.clouds.iter().collect()
        } else {
            hosts.iter().map(|host| self.cloud(host)).collect::<Result<_, _>>()?
        };
        let _lock = state::lock()?;
        let mut discarded = Vec::new();
        for cloud in &clouds {
            events(LabEvent::Stopping { host: cloud.host.name.clone() });
            let machine = self.machine(cloud);
            machine.end()?;
            namespace::remove_host(cloud)?;
            namespace::heal(cloud)?;
            discarded.push(machine.layer.put_aside()?);
            up::make_disk(self, cloud)?;
            namespace::make_host(cloud)?;
        }
        let booted = self.boot(&clouds, events);
        for folder in discarded {
            layer::remove_tree(&folder)?;
        }
        booted
    }

    /// Cuts a host's cloud off the Internet: packets vanish both ways.
    pub fn cut(&self, host: &str) -> Result<(), LabError> {
        namespace::cut(self.cloud(host)?)
    }

    /// Undoes [`Lab::cut`].
    pub fn heal(&self, host: &str) -> Result<(), LabError> {
        namespace::heal(self.cloud(host)?)
    }

    /// Closes ports of a host, as `6443/tcp`, at its cloud's own firewall, and opens all others.
    pub fn close(&self, host: &str, ports: &[&str]) -> Result<(), LabError> {
        let ports: Vec<String> = ports.iter().map(|port| (*port).to_owned()).collect();
        namespace::filter(self.cloud(host)?, &ports)
    }

    /// Gives the lab's Internet an address more, for a server that hosts and operator reach, and answers the file of the
    /// network namespace that the server has to listen in.
    pub fn add_site(&self, address: Ipv4Addr) -> Result<PathBuf, LabError> {
        namespace::add_site(address)
    }

    /// How many packets each host's cloud has dropped for a source address that isn't the host's.
    pub fn spoof_counters(&self) -> Result<BTreeMap<String, u64>, LabError> {
        let clouds = self.state.topology.clouds.iter();
        clouds.map(|cloud| Ok((cloud.host.name.clone(), namespace::spoofed(cloud)?))).collect()
    }

    /// Looks at a host from outside the product, to compare it with a later look.
    pub fn observe_host(&self, host: &str) -> Result<HostSnapshot, LabError> {
        observe::look(&self.running_machine(host)?)
    }

    /// Folders of this machine with all that a host has written to its disk, each with its place in the host.
    pub fn disks(&self, host: &str) -> Result<Vec<(PathBuf, String)>, LabError> {
        let machine = self.machine(self.cloud(host)?);
        let volumes = machine.layer.volumes().map(|(folder, place)| (folder, place.to_owned()));
        Ok([(machine.layer.upper(), String::new())].into_iter().chain(volumes).collect())
    }

    /// The host's first process, by its number on this machine.
    pub fn first_process(&self, host: &str) -> Result<i32, LabError> {
        let gone = || LabError::NotRunning {
            host: host.into(),
            detail: "its first process is gone".into(),
        };
        let leader = self.running_machine(host)?.leader().ok_or_else(gone)?;
        Ok(leader.as_raw_nonzero().get())
    }

    /// Starts machines whose disks and namespaces are there, all at once, and waits for them.
    pub(crate) fn boot(
        &self,
        clouds: &[&Cloud],
        events: &mut dyn FnMut(LabEvent),
    ) -> Result<(), LabError> {
        let start = Instant::now();
        for cloud in clouds {
            events(LabEvent::Booting { host: cloud.host.name.clone() });
            self.machine(cloud).start()?;
        }
        for cloud in clouds {
            self.machine(cloud).await_ready()?;
            events(LabEvent::HostReady { host: cloud.host.name.clone(), took: start.elapsed() });
        }
        Ok(())
    }

    pub(crate) fn machine<'a>(&'a self, cloud: &'a Cloud) -> Machine<'a> {
        let folder = state::host_folder(&cloud.host.name);
        Machine {
            cloud,
            layer: Layer::new(folder.clone(), self.state.image.clone()),
            product_uuid: self.identity(cloud).product_uuid(),
            cgroups: &self.kernel.cgroups,
            folder,
        }
    }

    pub(crate) fn identity(&self, cloud: &Cloud) -> Identity {
        Identity::at(state::host_folder(&cloud.host.name).join("identity"))
    }

    pub(crate) fn is_running(&self, cloud: &Cloud) -> bool {
        !self.state.is_of_earlier_boot() && self.machine(cloud).leader().is_some()
    }

    fn running_machine(&self, host: &str) -> Result<Machine<'_>, LabError> {
        let cloud = self.cloud(host)?;
        if self.is_running(cloud) {
            return Ok(self.machine(cloud));
        }
        let detail = if self.state.is_of_earlier_boot() {
            "this machine was restarted since; only `kubewan lab down` is left".into()
        } else {
            "its first process is gone".into()
        };
        Err(LabError::NotRunning { host: host.into(), detail })
    }

    fn cloud(&self, host: &str) -> Result<&Cloud, LabError> {
        self.state.topology.cloud_of(host).ok_or_else(|| {
            let names: Vec<&str> =
                self.state.topology.hosts().map(|host| host.name.as_str()).collect();
            LabError::UnknownHost { name: host.into(), known: names.join(", ") }
        })
    }

    fn host_facts(&self, cloud: &Cloud) -> Result<LabHost, LabError> {
        let host = &cloud.host;
        Ok(LabHost {
            name: host.name.clone(),
            address: host.public,
            private: host.private,
            cloud: cloud.letter,
            cloud_behaviour: cloud.describe().into(),
            ssh_user: host.ssh_user.clone(),
            ssh_port: host.ssh_port,
            ssh_key: self.state.dir.join(keys::CLIENT_KEY),
            host_key: keys::public(&self.identity(cloud).host_key())?,
            console: self.machine(cloud).console(),
        })
    }
}

/// Whether a file is still as the lab wrote it.
pub(crate) fn is_unchanged(path: &Path, written: &Written) -> bool {
    let expected = written.sha256.as_ref();
    expected.is_none_or(|expected| observe::sha256_of(path).is_ok_and(|sum| sum == *expected))
}
