//! One file per phase, in the order of work.

pub mod binaries;
pub mod control_plane;
pub mod docker;
pub mod join;
pub mod network;
pub mod nodes;
pub mod prepare;
pub mod registries;
pub mod runtime;
pub mod settle;
pub mod taken_out;
