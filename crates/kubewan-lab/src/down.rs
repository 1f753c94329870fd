//! Removes a lab: by its state where there is one, and by its names in any case.

use std::fs;

use crate::lab::{LabEvent, is_unchanged};
use crate::state::{self, State};
use crate::{KernelFacts, LabError, cgroup, leftovers, machine, namespace, sysctl};

pub(crate) fn down(lab: &str, events: &mut dyn FnMut(LabEvent)) -> Result<bool, LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let was_there = !leftovers(Some(lab)).is_empty();
    let _lock = state::lock(lab)?;
    // A state of another version can't be read, but names suffice to remove what it is about.
    let state = State::load(lab).unwrap_or_default();
    remove_everything(lab, state.as_ref(), events)?;
    let _all = state::lock_all()?;
    state::remove_storage(lab)?;
    Ok(was_there)
}

/// Leaves nothing but the lab's own folder, which is the lock that the caller holds.
pub(crate) fn remove_everything(
    lab: &str,
    state: Option<&State>,
    events: &mut dyn FnMut(LabEvent),
) -> Result<(), LabError> {
    let kernel = KernelFacts::gather();
    // After a restart of this machine a process number says nothing about who has it.
    let earlier_boot = state.is_some_and(State::is_of_earlier_boot);
    if let Some(state) = state.filter(|_| !earlier_boot) {
        end_machines(state, &kernel, events)?;
    }
    // Whatever else goes by the lab's name ends too, such as what holds packets back.
    machine::stop_units(lab, &kernel.cgroups);
    cgroup::remove(&kernel.cgroups, lab)?;
    for name in namespace::existing(Some(lab)) {
        namespace::remove(&name)?;
    }
    namespace::remove_operator_link(lab);
    machine::remove_all_nspawn_traces(lab);
    if let Some(state) = state {
        if !earlier_boot {
            restore_settings(lab, state, events)?;
        }
        clear_folder(state, events);
    }
    state::clear_storage(lab)
}

/// The last of the labs side by side gives this machine's settings back.
fn restore_settings(
    lab: &str,
    state: &State,
    events: &mut dyn FnMut(LabEvent),
) -> Result<(), LabError> {
    let _all = state::lock_all()?;
    if State::all().iter().any(|other| other.name() != lab && !other.is_of_earlier_boot()) {
        return Ok(());
    }
    let lost = sysctl::restore(&state.sysctls).into_iter();
    lost.for_each(|what| events(LabEvent::NotRestored { what }));
    Ok(())
}

fn end_machines(
    state: &State,
    kernel: &KernelFacts,
    events: &mut dyn FnMut(LabEvent),
) -> Result<(), LabError> {
    for cloud in &state.topology.clouds {
        for host in &cloud.hosts {
            let machine = state.machine(host, &kernel.cgroups);
            if machine.process().is_some() {
                events(LabEvent::Stopping { host: host.name.clone() });
                machine.end()?;
            }
        }
    }
    Ok(())
}

/// Removes from the user's folder what the lab wrote and nobody changed.
fn clear_folder(state: &State, events: &mut dyn FnMut(LabEvent)) {
    for written in &state.written {
        let path = state.dir.join(&written.name);
        if is_unchanged(&path, written) {
            let _ = fs::remove_file(&path);
        } else if path.exists() {
            events(LabEvent::Kept { path });
        }
    }
    if state.made_dir {
        // Stays if something else is in it.
        let _ = fs::remove_dir(&state.dir);
    }
}
