//! The lab as its users see it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io::Write};

use crate::error::OnPath;
use crate::folder::{self, INVENTORY};
use crate::image::ImageChoice;
use crate::machine::Machine;
use crate::seed::Identity;
use crate::snapshot::HostSnapshot;
use crate::state::{self, State, Written};
use crate::topology::{Cloud, Host, Spec, Subnet, USUAL_NAME};
use crate::{
    KernelFacts, KubernetesChoice, LabError, down, inventory, keys, layer, namespace, observe, up,
};

/// What lab to make.
#[derive(Clone, Debug, PartialEq)]
pub struct LabOptions {
    /// What it is called: at most eight small letters and digits. Labs of different names go side by side.
    pub name: String,
    /// The user's folder: keys, `known_hosts` and `cluster.yaml` go there.
    pub dir: PathBuf,
    /// The clouds, the hosts in them and the ways between them.
    pub topology: Spec,
    /// A program with arguments that serves packet queues ([`crate::forward`]). Paths with latency or loss need one;
    /// it is given `--queue N --latency 80ms --loss 2%`.
    pub forwarder: Vec<String>,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            name: USUAL_NAME.into(),
            dir: PathBuf::from(USUAL_NAME),
            topology: Spec::usual(3),
            forwarder: Vec::new(),
        }
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
    /// The lab's name.
    pub name: String,
    /// The user's folder.
    pub dir: PathBuf,
    /// The hosts in order; the first that can be reached is the control plane.
    pub hosts: Vec<LabHost>,
    /// What this machine's kernel offers, which is what the hosts' kernel offers.
    pub kernel: KernelFacts,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabHost {
    /// `master01`, `node01`, …
    pub name: String,
    /// The public address, which is on no network card of the host unless its cloud has no NAT.
    pub address: Ipv4Addr,
    /// The address on its network card.
    pub private: Subnet,
    /// Its cloud's name.
    pub cloud: String,
    /// What its cloud does, in a few words.
    pub cloud_behaviour: String,
    /// Which system it runs.
    pub image: ImageChoice,
    /// Whether the operator can log in to it; else its cloud lets nobody in.
    pub reachable: bool,
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

/// A lab as it is found on this machine.
#[derive(Debug)]
pub enum Standing {
    /// It was made whole.
    Up(Box<Lab>),
    /// Another command is at it: it is being made, or removed.
    BeingMade,
    /// Whoever was making it has ended before it was whole.
    HalfMade,
    /// What it noted of itself can't be read.
    Unreadable(LabError),
}

/// The file that a lab hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// `cluster.yaml` in the user's folder.
    pub path: PathBuf,
    /// Whether the user has edited it since the lab wrote it. It may be about any servers then.
    pub edited: bool,
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

/// A host and where it stands.
pub(crate) type Place<'a> = (&'a Cloud, &'a Host);

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

    /// Finds the lab of this name that is up.
    pub fn open(name: &str) -> Result<Self, LabError> {
        up::check_name(name)?;
        let state = State::load(name)?.ok_or_else(|| LabError::NotUp { name: name.into() })?;
        Ok(Self { state, kernel: KernelFacts::gather() })
    }

    /// The same lab with another program as [`LabOptions::forwarder`], such as one that is still there.
    pub fn with_forwarder(mut self, forwarder: Vec<String>) -> Self {
        self.state.forwarder = forwarder;
        self
    }

    /// All labs of this machine, in the order of their names: no one's state hides another's.
    pub fn all() -> Vec<(String, Standing)> {
        let kernel = KernelFacts::gather();
        let standing = |name: &String| match State::load(name) {
            Ok(Some(state)) if state.complete => {
                Standing::Up(Box::new(Self { state, kernel: kernel.clone() }))
            }
            Ok(_) if state::is_locked(name) => Standing::BeingMade,
            Ok(_) => Standing::HalfMade,
            Err(error) => Standing::Unreadable(error),
        };
        let names = state::names();
        let all = names.iter().map(standing).collect::<Vec<_>>();
        names.into_iter().zip(all).collect()
    }

    /// Removes the lab of this name, whatever there is of it. Gives whether there was one.
    pub fn down(name: &str, events: &mut dyn FnMut(LabEvent)) -> Result<bool, LabError> {
        up::check_name(name)?;
        down::down(name, events)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// The facts that an inventory is made of.
    pub fn info(&self) -> Result<LabInfo, LabError> {
        let hosts = self.places();
        let hosts = hosts.map(|(cloud, host)| self.host_facts(cloud, host));
        Ok(LabInfo {
            name: self.name().into(),
            dir: self.state.dir.clone(),
            hosts: hosts.collect::<Result<_, _>>()?,
            kernel: self.kernel.clone(),
        })
    }

    /// Writes `cluster.yaml` into the user's folder, unless the user has edited it since.
    ///
    /// # Errors
    /// Fails where such a file is there that this lab did not write, or it can't be written.
    pub fn write_inventory(
        &mut self,
        kubernetes: &KubernetesChoice,
    ) -> Result<Inventory, LabError> {
        let path = self.state.dir.join(INVENTORY);
        folder::refuse_foreign(&self.state.dir, &self.state.written)?;
        let written = self.state.written.iter().find(|written| written.name == INVENTORY);
        if written.is_some_and(|written| path.exists() && !is_unchanged(&path, written)) {
            return Ok(Inventory { path, edited: true });
        }
        let yaml = inventory::render_inventory(&self.info()?, kubernetes);
        fs::write(&path, yaml).on("write", &path)?;
        let sha256 = Some(observe::sha256_of(&path).on("read", &path)?);
        self.state.written.retain(|written| written.name != INVENTORY);
        self.state.written.push(Written { name: INVENTORY.into(), sha256 });
        self.state.save()?;
        Ok(Inventory { path, edited: false })
    }

    /// How every host is doing.
    pub fn list(&self) -> Result<Vec<HostStatus>, LabError> {
        let status = |(cloud, host): (&Cloud, &Host)| {
            Ok(HostStatus {
                host: self.host_facts(cloud, host)?,
                running: self.is_running(host),
                cut: namespace::is_cut(cloud),
            })
        };
        self.places().map(status).collect()
    }

    /// The command line that logs in to a host over SSH, as an operator would.
    pub fn ssh_command(&self, host: &str) -> Result<Vec<String>, LabError> {
        let (cloud, host) = self.place(host)?;
        let host = self.host_facts(cloud, host)?;
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
        let (cloud, host) = self.place(host)?;
        let _lock = state::lock(self.name())?;
        let machine = self.machine(host);
        events(LabEvent::Stopping { host: host.name.clone() });
        machine.shut_down()?;
        namespace::remove_host(cloud, host)?;
        namespace::make_host(cloud, host)?;
        self.boot(&[(cloud, host)], events)
    }

    /// Takes hosts back to their first state, all of them when none is named: an empty disk over
    /// the image, the same keys as before, and their clouds' ways as the topology says.
    pub fn rewind(&self, hosts: &[&str], events: &mut dyn FnMut(LabEvent)) -> Result<(), LabError> {
        let places: Vec<Place<'_>> = if hosts.is_empty() {
            self.places().collect()
        } else {
            hosts.iter().map(|host| self.place(host)).collect::<Result<_, _>>()?
        };
        let _lock = state::lock(self.name())?;
        let mut discarded = Vec::new();
        for &(cloud, host) in &places {
            events(LabEvent::Stopping { host: host.name.clone() });
            let machine = self.machine(host);
            machine.end()?;
            namespace::remove_host(cloud, host)?;
            self.heal_cloud(cloud)?;
            discarded.push(machine.layer.put_aside()?);
            up::make_disk(self, cloud, host)?;
            namespace::make_host(cloud, host)?;
        }
        let booted = self.boot(&places, events);
        for folder in discarded {
            layer::remove_tree(&folder)?;
        }
        booted
    }

    /// Gives the lab's Internet an address more, for a server that hosts and operator reach, and answers the file of the
    /// network namespace that the server has to listen in.
    pub fn add_site(&self, address: Ipv4Addr) -> Result<PathBuf, LabError> {
        namespace::add_site(&self.state.topology, address)
    }

    /// How many packets each host's cloud has dropped for a source address that isn't the host's.
    pub fn spoof_counters(&self) -> Result<BTreeMap<String, u64>, LabError> {
        self.places()
            .map(|(cloud, host)| Ok((host.name.clone(), namespace::spoofed(cloud)?)))
            .collect()
    }

    /// Looks at a host from outside the product, to compare it with a later look.
    pub fn observe_host(&self, host: &str) -> Result<HostSnapshot, LabError> {
        observe::look(&self.running_machine(host)?)
    }

    /// Folders of this machine with all that a host has written to its disk, each with its place in the host.
    pub fn disks(&self, host: &str) -> Result<Vec<(PathBuf, String)>, LabError> {
        let (_, host) = self.place(host)?;
        let machine = self.machine(host);
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
        places: &[Place<'_>],
        events: &mut dyn FnMut(LabEvent),
    ) -> Result<(), LabError> {
        let start = Instant::now();
        for &(_, host) in places {
            events(LabEvent::Booting { host: host.name.clone() });
            self.machine(host).start()?;
        }
        for &(cloud, host) in places {
            self.machine(host).await_ready(self.operator_reaches(cloud, host))?;
            events(LabEvent::HostReady { host: host.name.clone(), took: start.elapsed() });
        }
        Ok(())
    }

    /// All hosts, each with its cloud.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let clouds = self.state.topology.clouds.iter();
        clouds.flat_map(|cloud| cloud.hosts.iter().map(move |host| (cloud, host)))
    }

    pub(crate) fn machine<'a>(&'a self, host: &'a Host) -> Machine<'a> {
        self.state.machine(host, &self.kernel.cgroups)
    }

    pub(crate) fn identity(&self, host: &Host) -> Identity {
        Identity::at(state::host_folder(self.name(), &host.name).join("identity"))
    }

    pub(crate) fn is_running(&self, host: &Host) -> bool {
        !self.state.is_of_earlier_boot() && self.machine(host).leader().is_some()
    }

    fn running_machine(&self, host: &str) -> Result<Machine<'_>, LabError> {
        let (_, host) = self.place(host)?;
        if self.is_running(host) {
            return Ok(self.machine(host));
        }
        let detail = if self.state.is_of_earlier_boot() {
            "this machine was restarted since; only `kubewan lab down` is left".into()
        } else {
            "its first process is gone".into()
        };
        Err(LabError::NotRunning { host: host.name.clone(), detail })
    }

    fn place(&self, host: &str) -> Result<Place<'_>, LabError> {
        self.state.topology.host(host).ok_or_else(|| {
            let names: Vec<&str> =
                self.state.topology.hosts().map(|host| host.name.as_str()).collect();
            LabError::UnknownHost { name: host.into(), known: names.join(", ") }
        })
    }

    pub(crate) fn cloud(&self, end: &str) -> Result<&Cloud, LabError> {
        self.state.topology.cloud(end).ok_or_else(|| {
            let clouds = self.state.topology.clouds.iter().map(|cloud| cloud.name.as_str());
            let hosts = self.state.topology.hosts().map(|host| host.name.as_str());
            let known: Vec<&str> = clouds.chain(hosts).collect();
            LabError::UnknownHost { name: end.into(), known: known.join(", ") }
        })
    }

    fn host_facts(&self, cloud: &Cloud, host: &Host) -> Result<LabHost, LabError> {
        Ok(LabHost {
            name: host.name.clone(),
            address: host.public,
            private: host.private,
            cloud: cloud.name.clone(),
            cloud_behaviour: cloud.describe(),
            image: host.image,
            reachable: self.state.topology.is_reachable(host),
            ssh_user: host.ssh_user.clone(),
            ssh_port: host.ssh_port,
            ssh_key: self.state.dir.join(keys::CLIENT_KEY),
            host_key: keys::public(&self.identity(host).host_key())?,
            console: self.machine(host).console(),
        })
    }
}

/// Whether a file is still as the lab wrote it.
pub(crate) fn is_unchanged(path: &std::path::Path, written: &Written) -> bool {
    let expected = written.sha256.as_ref();
    expected.is_none_or(|expected| observe::sha256_of(path).is_ok_and(|sum| sum == *expected))
}
