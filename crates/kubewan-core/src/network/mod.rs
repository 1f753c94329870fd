//! Facts about the cluster's networks that follow from the inventory: ports, packet sizes, and subnets
//! that would collide with what hosts have already.

pub mod alias;
pub mod overheard;
pub mod ports;
pub mod reach;
pub mod subnets;

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::inventory::Inventory;
use crate::render::flannel::INTERNET_MTU;

pub use ports::{Port, Protocol, ports};

/// Largest packet in bytes that all hosts may send to each other: what the inventory says, else the smallest
/// NIC's MTU, and never more than the Internet's.
pub fn mtu(inventory: &Inventory, facts: &BTreeMap<String, Facts>) -> u32 {
    if let Some(mtu) = inventory.network.mtu {
        return u32::from(mtu);
    }
    facts.values().filter_map(|f| f.nic()).map(|nic| nic.mtu).fold(INTERNET_MTU, u32::min)
}
