//! Stories in the lab: real sshd, systemd, containerd and etcd, told through the program as a user calls it.
//!
//! They need root and take minutes, so they are ignored by a plain `cargo test`; `cargo xtask test` runs them, one
//! after another, as each has a machine's processors and memory to itself then. A story runs against real Kubernetes where a bundle is there, and
//! against stand-ins everywhere.

mod support;
mod terminal;

mod adopt;
mod by_hand;
mod closed_ports;
mod control_planes;
mod distributions;
mod docker;
mod doctor;
mod drafting;
mod drift;
mod first_contact;
mod foreign_state;
mod interruptions;
mod kill_sweep;
mod mirrors;
mod network_stacks;
mod passing;
mod preflight;
mod registries;
mod secrets;
mod sources;
mod straight_road;
mod topologies;
