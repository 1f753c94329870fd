//! Effects on many hosts. [`fleet::Fleet`] connects to them over the system's ssh ([`ssh`], [`bootstrap`], [`client`], [`dial`]) once their
//! keys are trusted ([`trust`]) and what has to be asked is ([`operator`], [`askpass`]); whoever follows hears the talk ([`trace`]);
//! [`survey`] looks at them, [`private`] reads what registries of the inventory need, [`reach`] tries the ways between them, [`executor`] carries out a plan, [`proofs`] and [`smoke`] show that what stands there works.
//! Nothing here prints: it answers values and emits [`kubewan_core::event::Event`]s.

pub mod bundle;
pub mod error;
pub mod evidence;
pub mod executor;
pub mod fleet;
#[doc(hidden)]
pub mod fuzz;
pub mod mirrors;
pub mod nodes;
pub mod passing;
pub mod private;
pub mod program;
pub mod proofs;
pub mod reach;
pub mod resolve;
pub mod smoke;
pub mod supply;
pub mod survey;
pub mod tokens;
pub mod upload;

pub mod askpass;
pub mod bootstrap;
pub mod client;
pub mod dial;
pub mod failure;
pub mod operator;
pub mod random;
pub mod ssh;
pub mod ssh_config;
pub mod tar;
pub mod trace;
pub mod trust;
