//! Goals inside the cluster, through this host's kubectl.

use kubewan_core::action::cluster::{AnnouncedSeen, NodeSeen, ObjectSeen, SpreadSeen};
use kubewan_core::action::{Announced, NodeMeta, Object, Spread};

use super::{Host, Performing};

/// Looks at the goal.
pub fn observe_object(_goal: &Object, _host: &Host) -> Result<ObjectSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_object(
    _goal: &Object,
    _seen: &ObjectSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_node_meta(_goal: &NodeMeta, _host: &Host) -> Result<NodeSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_node_meta(
    _goal: &NodeMeta,
    _seen: &NodeSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_announced(_goal: &Announced, _host: &Host) -> Result<AnnouncedSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_announced(
    _goal: &Announced,
    _seen: &AnnouncedSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Looks at the goal.
pub fn observe_spread(_goal: &Spread, _host: &Host) -> Result<SpreadSeen, String> {
    Err("not written yet".into())
}

/// Reaches the goal.
pub fn perform_spread(
    _goal: &Spread,
    _seen: &SpreadSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Err("not written yet".into())
}

/// Runs this host's kubectl as the cluster's admin.
pub fn kubectl(
    _host: &Host,
    _args: &[String],
    _stdin: Option<&str>,
    _timeout: std::time::Duration,
) -> Result<crate::command::Output, String> {
    Err("not written yet".into())
}
