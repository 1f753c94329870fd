//! How hosts are connected to with the system's `ssh`: whose keys are right, what the operator is asked, and what he has
//! said stays for the connections after the first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, OnceLock};

use kubewan_core::inventory::Host;

use crate::askpass::{Askpass, Door};
use crate::bootstrap::Sudo;
use crate::client::{Connection, Dial, Dialed, Login};
use crate::failure::{ConnectError, Obstacle};
use crate::operator::{Keyring, Operator, Subject};
use crate::program::{Program, Programs};
use crate::ssh::{self, FarTerminal, Manner};
use crate::trace::Trace;
use crate::trust::Looks;

/// Makes connections with the system's `ssh`.
#[derive(Debug, Default)]
pub struct SshDial {
    /// The inventory's folder.
    base: PathBuf,
    /// The agents.
    pub programs: Programs,
    keyring: Arc<Keyring>,
    askpass: OnceLock<Option<Askpass>>,
    /// Keys that the inventory pins by their fingerprints, by host.
    pins: Mutex<BTreeMap<String, String>>,
    trace: Trace,
}

impl SshDial {
    /// Connections for an inventory in this folder; what has to be asked is asked the operator, where there is one.
    pub fn new(base: PathBuf, operator: Option<Arc<dyn Operator>>) -> SshDial {
        SshDial { base, keyring: Arc::new(Keyring::new(operator)), ..SshDial::default() }
    }

    /// The same, told to whoever follows.
    pub fn traced(self, trace: Trace) -> SshDial {
        SshDial { trace, ..self }
    }

    /// Has the operator log in to a host, or run a command there, as [`ssh::by_hand`]; ssh's exit status.
    ///
    /// # Errors
    /// Fails where the host's key is not to be trusted, or there is no `ssh`.
    pub fn by_hand(
        &self,
        host: &Host,
        terminal: FarTerminal,
        command: &[String],
    ) -> Result<ExitStatus, ConnectError> {
        if let Some(error) = self.trust(std::slice::from_ref(host), true).pop() {
            return Err(error);
        }
        let pin = self.pin(host);
        let trace = &self.trace;
        let manner = Manner { base: &self.base, pin: pin.as_deref(), batch: false, trace };
        ssh::by_hand(host, &manner, terminal, command)
            .map_err(|error| ConnectError::new(host, Obstacle::NoSsh, &error.to_string()))
    }

    fn looks(&self, all: bool) -> Looks<'_> {
        let SshDial { base, keyring, pins, trace, .. } = self;
        Looks { base, askpass: self.askpass(), keyring, pins, all, trace }
    }

    /// Where no socket can be made, nothing is asked.
    fn askpass(&self) -> Option<&Askpass> {
        self.askpass.get_or_init(|| Askpass::open().ok()).as_ref()
    }

    fn pin(&self, host: &Host) -> Option<String> {
        let pinned = host.ssh.host_key.clone()?;
        Some(
            self.pins
                .lock()
                .expect("no thread panics here")
                .get(&host.name)
                .cloned()
                .unwrap_or(pinned),
        )
    }

    /// The door of a connection: who is asked, and by which name ssh asks.
    fn door(&self, host: &Host, pin: Option<&str>, may_ask: bool) -> Arc<Door> {
        let mut destination = ssh::login(host, &self.base);
        if pin.is_some() {
            let alias = format!("HostKeyAlias={}", ssh::pin_alias(host));
            destination.splice(0..0, ["-o".to_owned(), alias]);
        }
        // Only who asks, or has been answered, has to tell a host's questions from a jump host's.
        let login = match may_ask || self.keyring.may_open(&host.name) {
            true => self.looks(false).resolve(&destination).map(|seen| seen.login()),
            false => None,
        };
        Door::new(&host.name, &ConnectError::address(host), login, may_ask, &self.keyring)
    }

    fn attempt<'a>(
        &'a self,
        host: &'a Host,
        may_ask: bool,
    ) -> Result<Box<dyn Login + 'a>, ConnectError> {
        let pin = self.pin(host);
        let door = self.door(host, pin.as_deref(), may_ask);
        let sudo = Subject::Sudo(host.name.clone());
        let sudo = match may_ask || self.keyring.get(&sudo).is_some() {
            true => Sudo::Asking,
            false => Sudo::Silent,
        };
        let askpass = self.askpass();
        let batch = askpass.is_none() || !(may_ask || self.keyring.may_open(&host.name));
        let trace = &self.trace;
        let manner = Manner { base: &self.base, pin: pin.as_deref(), batch, trace };
        let admitted = askpass.map(|askpass| askpass.admit(&door));
        let mut connection = Connection::open(host, &manner, admitted, sudo)?;
        let (system, machine) = connection.greeting(host, &door)?;
        let program = self
            .programs
            .for_machine(&system, &machine)
            .map_err(|error| ConnectError::new(host, Obstacle::NoProgram, &error.to_string()))?;
        Ok(Box::new(SshLogin { host, connection, program }))
    }
}

impl Dial for SshDial {
    fn trust(&self, hosts: &[Host], all: bool) -> Vec<ConnectError> {
        self.looks(all).trust(hosts)
    }

    fn log_in<'a>(&'a self, host: &'a Host) -> Result<Box<dyn Login + 'a>, ConnectError> {
        self.attempt(host, false)
    }

    fn log_in_asking<'a>(
        &'a self,
        host: &'a Host,
    ) -> Option<Result<Box<dyn Login + 'a>, ConnectError>> {
        self.keyring.operator()?;
        if self.keyring.broke_off() {
            return Some(Err(ConnectError::new(host, Obstacle::BrokeOff, "")));
        }
        match self.attempt(host, true) {
            // While he typed, the server has closed the connection.
            Err(error) if error.may_pass() && self.keyring.may_open(&host.name) => {
                Some(self.attempt(host, true))
            }
            result => Some(result),
        }
    }
}

/// The host's script waits to hear which agent it is to start.
struct SshLogin<'a> {
    host: &'a Host,
    connection: Connection,
    program: Arc<Program>,
}

impl Login for SshLogin<'_> {
    fn start(self: Box<Self>) -> Result<Dialed, ConnectError> {
        let SshLogin { host, mut connection, program } = *self;
        let pushed = connection.start_agent(host, &program)?;
        Ok(Dialed { agent: Box::new(connection), pushed })
    }
}
