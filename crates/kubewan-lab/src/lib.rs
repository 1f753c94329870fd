//! The Internet on one machine: clouds behind NAT with real hosts in them (systemd, sshd), and ways between them.
//!
//! Read in this order: [`topology`] says what exists and is pure; [`Lab`] makes it, and the
//! modules under it each know one kind of effect. The product learns nothing of the lab but the
//! inventory that [`render_inventory`] writes, so it reaches lab hosts over the same SSH as any
//! server. Nothing here may depend on the product's executor.

pub mod topology;

mod claim;
mod down;
mod folder;
mod forwarder;
mod inventory;
mod lab;
mod leftovers;
mod netem;
mod observe;
mod paths;
mod rehearsal_bundle;
mod snapshot;
mod up;
mod ways;

mod cgroup;
mod image;
mod kernel;
mod keys;
mod layer;
mod machine;
mod namespace;
mod network;
mod process;
mod requirements;
mod seed;
mod stack;
mod state;
mod sysctl;

mod call;
mod error;

pub use claim::Claim;
pub use error::LabError;
pub use forwarder::forward;
pub use image::{Distribution, ImageChoice, NetworkStack, make_image};
pub use inventory::{KubernetesChoice, render_inventory};
pub use kernel::{CgroupLayout, KernelFacts};
pub use lab::{HostStatus, Inventory, Lab, LabEvent, LabHost, LabInfo, LabOptions, Standing};
pub use leftovers::leftovers;
pub use netem::Holder;
pub use rehearsal_bundle::rehearsal_bundle;
pub use snapshot::{Allow, Difference, HostSnapshot, Report, compare};
pub use ways::WayStatus;
