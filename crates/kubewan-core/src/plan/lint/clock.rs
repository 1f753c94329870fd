//! Clocks against the operator's.

use crate::facts::Facts;
use crate::finding::Finding;
use crate::inventory::{Host, TimeSync};
use crate::plan::phase::prepare;
use crate::plan::planner::View;

/// Certificates and tokens of one clock are not valid yet, or no longer, on another that differs by more.
const ERROR_MS: u64 = 60_000;
/// etcd and lease times begin to suffer; also how near clocks are that agree.
const WARNING_MS: u64 = 2_000;

/// One finding for each host that is off, or one for all where they agree with each other.
pub(super) fn clocks(view: &View) -> Vec<Finding> {
    let offsets: Vec<(&Host, i64)> = view
        .inventory
        .hosts
        .iter()
        .filter_map(|host| Some((host, *view.inputs.clock_offsets_ms.get(&host.name)?)))
        .collect();
    operators_clock(view, &offsets).map(|finding| vec![finding]).unwrap_or_else(|| {
        offsets.iter().filter_map(|(host, offset)| clock(host, *offset)).collect()
    })
}

/// Where several hosts agree, it is not their clocks that are wrong.
fn operators_clock(view: &View, offsets: &[(&Host, i64)]) -> Option<Finding> {
    let least = offsets.iter().map(|(_, offset)| *offset).min()?;
    let most = offsets.iter().map(|(_, offset)| *offset).max()?;
    let all = offsets.len() > 1 && offsets.len() == view.inventory.hosts.len();
    let nearest = least.unsigned_abs().min(most.unsigned_abs());
    if !all || most.abs_diff(least) > WARNING_MS || nearest < WARNING_MS {
        return None;
    }
    let message = format!(
        "the clocks of all hosts are {} this machine's and agree with each other, so this machine's is wrong: {}",
        off(least),
        consequence(least)
    );
    let remedy = "set this machine's clock (`timedatectl set-ntp true` where it runs systemd), then run kubewan again";
    Some(of_severity(least, &offsets[0].0.name, message, remedy).for_cluster())
}

fn clock(host: &Host, offset: i64) -> Option<Finding> {
    if offset.unsigned_abs() < WARNING_MS {
        return None;
    }
    let message = format!("its clock is {} the operator's: {}", off(offset), consequence(offset));
    let remedy = "`timedatectl set-ntp true`, wait until `timedatectl` says \"System clock synchronized: yes\", then run \
                  kubewan again; where no time server can be reached (UDP port 123), set it by hand with `date -s`";
    Some(of_severity(offset, &host.name, message, remedy))
}

fn of_severity(offset: i64, host: &str, message: String, remedy: &str) -> Finding {
    if offset.unsigned_abs() >= ERROR_MS {
        Finding::error("clock-off", host, message, remedy)
    } else {
        Finding::warning("clock-off", host, message, remedy)
    }
}

fn consequence(offset: i64) -> &'static str {
    match offset.unsigned_abs() {
        ERROR_MS.. => "certificates and join tokens of one would not be valid on the other",
        _ => "leases and etcd's timers suffer",
    }
}

/// `1 h 2 min ahead of`, in the two largest units.
fn off(offset_ms: i64) -> String {
    let seconds = offset_ms.unsigned_abs() / 1000;
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let count: Vec<String> = parts
        .iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    let count = count.join(" ");
    if offset_ms < 0 { format!("{count} behind") } else { format!("{count} ahead of") }
}

/// Time servers that nobody is told of, on a host that has no other that answers.
pub(super) fn servers(view: &View, host: &Host, facts: &Facts) -> Option<Finding> {
    let servers = &view.inventory.time_servers;
    let is_ours = view.inventory.time_of(host) == TimeSync::On && !servers.is_empty();
    let is_well = facts.time_sync.synchronised || prepare::time_file(servers, facts).is_some();
    (is_ours && !is_well).then(|| {
        let unit = prepare::time_service(facts);
        Finding::warning(
            "time-servers-unwritten",
            &host.name,
            format!(
                "its clock is not synchronised, and {unit} has no folder that kubewan could write `timeServers` into ({})",
                servers.join(", ")
            ),
            format!("write them into the configuration of {unit} yourself and restart it"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::off;

    #[test]
    fn says_how_much_in_units_of_people() {
        let texts = [2_500, -61_000, 3_600_000, 3_725_000, -180_000_000, 86_400_000].map(off);
        let wanted = [
            "2 s ahead of",
            "1 min 1 s behind",
            "1 h ahead of",
            "1 h 2 min ahead of",
            "2 d 2 h behind",
            "1 d ahead of",
        ];
        assert_eq!(texts, wanted);
    }
}
