//! Removes a lab: by its state where there is one, and by its names in any case.

use std::fs;

use crate::lab::{LabEvent, is_unchanged};
use crate::layer::Layer;
use crate::machine::{self, Machine};
use crate::state::{self, State};
use crate::topology::{HOSTS_MAX, Topology};
use crate::{KernelFacts, LabError, cgroup, leftovers, namespace, sysctl};

pub(crate) fn down(events: &mut dyn FnMut(LabEvent)) -> Result<bool, LabError> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let was_there = !leftovers().is_empty();
    let _lock = state::lock()?;
    // A state of another version can't be read, but names suffice to remove what it is about.
    let state = State::load().unwrap_or_default();
    remove_everything(state.as_ref(), events)?;
    state::remove_storage()?;
    Ok(was_there)
}

/// Leaves nothing but the storage's own folder, which is the lock that the caller holds.
pub(crate) fn remove_everything(
    state: Option<&State>,
    events: &mut dyn FnMut(LabEvent),
) -> Result<(), LabError> {
    let kernel = KernelFacts::gather();
    // After a restart of this machine a process number says nothing about who has it.
    let earlier_boot = state.is_some_and(State::is_of_earlier_boot);
    if !earlier_boot {
        end_machines(state, &kernel, events)?;
    }
    cgroup::remove(&kernel.cgroups)?;
    for name in namespace::existing() {
        namespace::remove(&name)?;
    }
    namespace::remove_operator_link();
    machine::remove_all_nspawn_traces();
    if let Some(state) = state {
        if !earlier_boot {
            let lost = sysctl::restore(&state.sysctls).into_iter();
            lost.for_each(|what| events(LabEvent::NotRestored { what }));
        }
        clear_folder(state, events);
    }
    state::clear_storage()
}

fn end_machines(
    state: Option<&State>,
    kernel: &KernelFacts,
    events: &mut dyn FnMut(LabEvent),
) -> Result<(), LabError> {
    // Names don't depend on the options, so the largest lab covers all.
    let largest = || Topology::plan(HOSTS_MAX, &[]);
    let Some(topology) = state.map(|state| state.topology.clone()).or_else(largest) else {
        return Ok(());
    };
    for cloud in &topology.clouds {
        let folder = state::host_folder(&cloud.host.name);
        let layer = Layer::new(folder.clone(), state.map(|s| s.image.clone()).unwrap_or_default());
        let product_uuid = folder.clone();
        let machine = Machine { cloud, folder, layer, product_uuid, cgroups: &kernel.cgroups };
        if machine.process().is_some() {
            events(LabEvent::Stopping { host: cloud.host.name.clone() });
            machine.end()?;
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
