//! Proofs that need no pods: nodes are ready under their public addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use kubewan_core::event::{Event, Outcome, Proof};
use kubewan_core::inventory::Inventory;

use crate::error::HostError;
use crate::fleet::{Emit, Member};
use crate::nodes::{self, Node};

/// A node is Ready about 40 s after its join where images are there already.
const PATIENCE: Duration = Duration::from_secs(300);

const PAUSE: Duration = Duration::from_secs(1);

/// Waits until every host's node is Ready with the public address as InternalIP. What this run already knows of the nodes
/// is asked for only where it does not do; afterwards it is what was seen last.
///
/// # Errors
/// Fails where the control plane's host can't be reached. A node that does not become ready is a failed proof.
pub fn readiness(
    control_plane: &mut Member,
    inventory: &Inventory,
    addresses: &BTreeMap<String, Ipv4Addr>,
    known: &mut Option<Vec<Node>>,
    emit: &Emit,
) -> Result<Vec<Proof>, HostError> {
    let deadline = Instant::now() + PATIENCE;
    let mut told: BTreeMap<String, Proof> = BTreeMap::new();
    loop {
        let last_try = Instant::now() > deadline;
        let answer = match known.take() {
            Some(nodes) => Ok(nodes),
            None => nodes::list(control_plane)?,
        };
        for host in &inventory.hosts {
            if told.contains_key(&host.name) {
                continue;
            }
            let address = addresses[&host.name].to_string();
            let fault = match &answer {
                Ok(nodes) => {
                    nodes::fault(&host.name, &address, nodes).map(|finding| finding.message)
                }
                Err(said) => Some(format!("the API does not answer: {said}")),
            };
            let (outcome, detail) = match fault {
                None => (Outcome::Passed, format!("Ready with InternalIP {address}")),
                Some(fault) if last_try => (Outcome::Failed, fault),
                Some(_) => continue,
            };
            let subject = host.name.clone();
            let proof = Proof { check: "node-ready".into(), subject, outcome, detail };
            emit(Event::Proof(proof.clone()));
            told.insert(host.name.clone(), proof);
        }
        if told.len() == inventory.hosts.len() {
            *known = answer.ok();
            return Ok(told.into_values().collect());
        }
        thread::sleep(PAUSE);
    }
}
