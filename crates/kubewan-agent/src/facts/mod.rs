//! What this host says about itself. One file per subject; each reads through small pure parsers that are
//! tested on recorded output. Reading changes nothing: no module is loaded, and no file is written but kubewan's own of what
//! it saw ([`crate::seen`]).

pub(crate) mod cluster_state;
pub(crate) mod docker;
pub mod firewall;
pub mod kernel;
pub mod kubelet;
pub(crate) mod kubernetes;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod os;
pub(crate) mod runtime;
pub(crate) mod sockets;
pub(crate) mod swap;
pub mod systemd;
mod taken;
mod time_sync;

use std::fs;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use kubewan_core::facts::{Facts, OwnFacts};
use kubewan_core::journal::cluster;
use kubewan_core::mirror;
use kubewan_core::plan::reset;

use crate::act::Host;
use crate::journal;
use crate::relay::{UnitState, settled_unit_state, state_in};

pub use cluster_state::{Ownership, evidence, ownership};
pub(crate) use docker::KUBELETS;
pub use memory::{fstab_swap, swap_areas, swap_units};
pub use time_sync::time_sync;

/// Mark of a lab host, laid by the lab when it starts the machine. `kubewan-rehearsal` and `kubewan-lab`
/// name the same path.
const LAB_MARK: &str = "/run/kubewan-lab-host";

/// Everything that the planner may ask about this host.
///
/// # Errors
/// Says what could not be read. Tools that a host does not have are no error: their facts stay empty.
pub fn gather(host: &Host) -> Result<Facts, String> {
    let units = systemd::Units::load();
    // Those that start programs of others, side by side.
    thread::scope(|scope| {
        let kernel = scope.spawn(kernel::kernel);
        let runtime = scope.spawn(|| runtime::runtime(host, &units));
        let kubernetes = scope.spawn(|| kubernetes::kubernetes(host, &units));
        let firewalls = scope.spawn(|| firewall::firewalls(&units));
        let links = network::links()?;
        let routes = network::routes()?;
        let hostname = text("/proc/sys/kernel/hostname");
        let facts = Facts {
            os: os::os(host),
            kernel: joined(kernel),
            cgroup: os::cgroup(),
            interfaces: links.interfaces,
            addresses: links.addresses,
            default_route: routes.default,
            neighbours: network::files::parse_neighbours(&text("/proc/net/arp")),
            configured_addresses: network::files::configured(),
            routes: routes.others,
            resolvers: network::resolvers(),
            memory_bytes: memory::memory_bytes(),
            cores: memory::cores(),
            swaps: swap_areas(),
            swap_configured: fstab_swap().into_iter().chain(swap_units(&units)).collect(),
            swap_returns: swap::returns(&units),
            selinux: os::selinux(),
            apparmor: os::apparmor(),
            clock_unix_ms: clock_unix_ms(),
            hostname_resolves: names::resolves(&hostname),
            hostname,
            machine_id: text("/etc/machine-id"),
            product_uuid: text("/sys/class/dmi/id/product_uuid").to_ascii_lowercase(),
            listeners: sockets::listeners(),
            runtime: joined(runtime),
            kubernetes: joined(kubernetes)?,
            firewalls: joined(firewalls),
            cloud_init: names::cloud_init(),
            network_manager: Path::new("/usr/sbin/NetworkManager").exists(),
            time_sync: time_sync(&units),
            disk_free_bytes: memory::disk_free("/var/lib"),
            read_only: memory::read_only(&["/etc", "/usr", "/usr/local", "/opt", "/var/lib"]),
            taken: taken::taken(),
            own: own(host, &units)?,
        };
        host.seen().keep();
        Ok(facts)
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().expect("gathering facts does not panic")
}

/// A small file's text without white space around it; empty where there is none.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn clock_unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn own(host: &Host, units: &systemd::Units) -> Result<OwnFacts, String> {
    let entries = journal::read(host)?;
    let stands = !reset::steps("this host", &entries).steps.is_empty();
    Ok(OwnFacts {
        journal_entries: entries.len() as u64,
        cluster: cluster(&entries).filter(|_| stands).map(str::to_owned),
        running: running(host, units),
        left: reset::left(&entries),
        logins: kubewan_core::journal::logins(&entries),
        trusts: kubewan_core::journal::trusts(&entries),
        mirrors: mirrors(),
        unended: kubewan_core::journal::unended(&entries),
        rehearsal_allowed: fs::exists(LAB_MARK).unwrap_or(false),
    })
}

/// Which mirrors were chosen. A file that is too long is none of ours.
fn mirrors() -> Option<String> {
    let text = fs::read_to_string(mirror::RECORD).ok()?;
    (text.len() <= mirror::RECORD_MAX).then_some(text)
}

/// The run that has the host now.
fn running(host: &Host, units: &systemd::Units) -> Option<String> {
    // One that ran may be about to end.
    let runs = matches!(state_in(units), UnitState::Runs { .. });
    match runs.then(|| settled_unit_state(host))? {
        Ok(UnitState::Runs { run, .. }) => Some(run),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_on_any_linux_machine() {
        let dir = tempfile::tempdir().unwrap();
        // Minimal containers have no `ip`.
        if !crate::command::exists("ip") {
            return;
        }
        let facts = gather(&Host::at(dir.path())).unwrap();
        assert!(!facts.os.id.is_empty() && !facts.kernel.release.is_empty(), "{facts:?}");
        assert!(facts.interfaces.iter().any(|link| link.name == "lo"), "{facts:?}");
        assert!(facts.memory_bytes > 0 && facts.cores > 0 && facts.clock_unix_ms > 0, "{facts:?}");
    }
}
