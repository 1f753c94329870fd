//! systemd units, and our network interface, which one of them brings up.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use kubewan_core::action::unit::{LinkSeen, UnitSeen, UnmaskedSeen};
use kubewan_core::action::{Link, Unit, Unmasked};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::{Host, Performing, cri, package, pods};
use crate::command::Program;
use crate::facts::network::{self, text};
use crate::facts::systemd;

/// How long a unit may take to become active.
const START_MAX: Duration = Duration::from_secs(90);

/// Properties of a unit, in systemd's words.
///
/// # Errors
/// Fails where systemd does not answer. A unit that systemd does not know is no error.
pub fn show(unit: &str, properties: &[&str]) -> Result<BTreeMap<String, String>, String> {
    ask(&[unit], properties).map(|text| parse_properties(&text))
}

/// Between two questions to a systemd that did not answer, and how many are put.
const AGAIN: Duration = Duration::from_millis(500);
const QUESTIONS: usize = 20;

/// Asks systemd. While it is busy with a reload, `systemctl show` may print nothing and still succeed, which says
/// nothing of the units.
///
/// # Errors
/// Fails where systemd does not answer.
pub(crate) fn ask(units: &[&str], properties: &[&str]) -> Result<String, String> {
    // Without --all, patterns leave out units that do not run.
    let program = Program::new("systemctl")
        .args(["show", "--all"])
        .arg(format!("--property={}", properties.join(",")))
        .args(["--no-pager", "--"])
        .args(units.iter().copied());
    for _ in 0..QUESTIONS {
        let text = program.stdout()?;
        if !text.trim().is_empty() {
            return Ok(text);
        }
        std::thread::sleep(AGAIN);
    }
    Err(format!("systemd says nothing of {}", units.join(", ")))
}

/// `Key=value` lines.
pub(crate) fn parse_properties(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Looks at the unit, and at files that changed after it started.
pub fn observe_unit(goal: &Unit, host: &Host) -> Result<UnitSeen, String> {
    let shown = host.unit(&goal.name)?;
    let get = |key: &str| shown.get(key).to_owned();
    let started = get("ActiveEnterTimestampMonotonic").parse().unwrap_or(0);
    let active = get("ActiveState");
    let stale = match (active.as_str(), started) {
        ("active", 1..) => changed_since(&goal.restart_on, realtime_ns(started)),
        _ => Vec::new(),
    };
    let loaded = get("LoadState") != "not-found";
    let mut enabled = get("UnitFileState");
    // systemd says nothing of units that have no [Install] and came from a generator.
    if enabled.is_empty() && loaded && get("LoadState") == "masked" {
        enabled = "masked".into();
    }
    Ok(UnitSeen { loaded, enabled, active: if loaded { active } else { String::new() }, stale })
}

/// Whether a file changed after a running unit was started; `false` where it does not run.
pub(crate) fn changed_since_start(unit: &systemd::Unit, path: &str) -> bool {
    let started = unit.get("ActiveEnterTimestampMonotonic").parse().unwrap_or(0);
    unit.active()
        && started > 0
        && !changed_since(&[path.to_owned()], realtime_ns(started)).is_empty()
}

/// A time of the monotonic clock (microseconds, as systemd has it) on the wall clock (nanoseconds).
///
/// systemd's own wall-clock stamp would be wrong for files after the clock was set, as time services do
/// soon after boot; files get their stamps from the clock as it is then, so an error of that size remains.
fn realtime_ns(monotonic_us: i64) -> i128 {
    let ns = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    ns(ClockId::Realtime) - ns(ClockId::Monotonic) + i128::from(monotonic_us) * 1000
}

/// Those files that changed after a time. A change of the mode or a rename counts, so it is ctime.
fn changed_since(paths: &[String], ns: i128) -> Vec<String> {
    paths
        .iter()
        .filter(|path| {
            std::fs::metadata(path.as_str()).is_ok_and(|m| {
                i128::from(m.ctime()) * 1_000_000_000 + i128::from(m.ctime_nsec()) > ns
            })
        })
        .cloned()
        .collect()
}

/// Has the unit count as started before one of its files: no mode changes, and the kernel notes the time (chmod(2), ctime).
fn make_stale(paths: &[String]) {
    let first = paths.iter().find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
    if let Some((path, metadata)) = first {
        let _ = std::fs::set_permissions(path, metadata.permissions());
    }
}

/// There once a containerd has run; its folder may be a disk of its own before.
const CONTAINERD_RAN: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt";

/// Enables or disables, starts, restarts or stops the unit.
pub fn perform_unit(goal: &Unit, seen: &UnitSeen, cx: &mut Performing<'_>) -> Result<(), String> {
    let name = goal.name.as_str();
    // Cheap, and systemd only notices a unit file's change when someone tells it to look.
    systemctl(&["daemon-reload"])?;
    if (goal.enabled || goal.active == Some(true)) && seen.enabled.starts_with("masked") {
        return Err(format!(
            "{name} is masked: someone decided that it must not start here; `systemctl unmask {name}` if it \
             may, then run kubewan again"
        ));
    }
    // `static` units have nothing to enable; systemd says so by failing.
    if goal.enabled && !matches!(seen.enabled.as_str(), "enabled" | "static") {
        systemctl(&["enable", name])?;
    }
    if !goal.enabled && seen.enabled == "enabled" {
        systemctl(&["disable", name])?;
    }
    let running = seen.active == "active" || seen.active == "activating";
    match goal.active {
        Some(true) if !running || !seen.stale.is_empty() => {
            // A package's first start is its own, and recorded by then.
            if name == "containerd.service" && !Path::new(CONTAINERD_RAN).exists() {
                package::record_containerd(cx)?;
            }
            let back = match goal.node.as_ref().filter(|_| running) {
                Some(node) => {
                    let before = pods::ready_pods(cx.host, node);
                    restart(name, cx)?;
                    pods::wait_back(node, before.as_ref(), cx)
                }
                None => {
                    restart(name, cx)?;
                    if name == "containerd.service" { cri::wait_for_plugin(cx) } else { Ok(()) }
                }
            };
            // Else the next run would find it started after its files, and go on to the next node with the same fault.
            if back.is_err() {
                make_stale(&goal.restart_on);
            }
            back
        }
        Some(false) if running => {
            Program::new("systemctl").args(["stop", name]).timeout(START_MAX).stdout().map(drop)
        }
        _ => Ok(()),
    }
}

fn systemctl(args: &[&str]) -> Result<(), String> {
    Program::new("systemctl").args(args.iter().copied()).timeout(START_MAX).stdout().map(drop)
}

/// Starts a unit anew and waits until it is active.
pub fn restart(name: &str, cx: &mut Performing<'_>) -> Result<(), String> {
    (cx.progress)(&format!("restarts {name}"));
    // The start limit counts starts, not failures: several changes in a row would meet it.
    let _ = systemctl(&["reset-failed", name]);
    let begun = Instant::now();
    let started = Program::new("systemctl").args(["restart", name]).timeout(START_MAX).stdout();
    let error = match started {
        Ok(_) => loop {
            let shown = show(name, &["ActiveState", "SubState", "Result"])?;
            let get = |key: &str| shown.get(key).map(String::as_str).unwrap_or_default();
            match get("ActiveState") {
                "active" => return Ok(()),
                "activating" | "reloading" if begun.elapsed() < START_MAX => {}
                state => {
                    break format!("it is {state} ({}, {})", get("SubState"), get("Result"));
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        },
        Err(error) => error,
    };
    let last = journal_tail(name);
    Err(format!("{name} does not start: {error}{last}"))
}

/// The unit's last lines in systemd's journal, as a tail for a message.
pub fn journal_tail(name: &str) -> String {
    let lines = Program::new("journalctl")
        .args(["--unit", name, "--lines=15", "--no-pager", "--output=cat"])
        .timeout(Duration::from_secs(10))
        .stdout()
        .unwrap_or_default();
    if lines.trim().is_empty() {
        return format!("; see `journalctl -u {name}`");
    }
    let lines: String = lines.lines().map(|line| format!("\n  {line}")).collect();
    format!("; its last lines:{lines}")
}

/// Looks whether the unit is masked.
pub fn observe_unmasked(goal: &Unmasked, host: &Host) -> Result<UnmaskedSeen, String> {
    let shown = host.unit(&goal.unit)?;
    let masked = |key: &str| shown.get(key).starts_with("masked");
    Ok(UnmaskedSeen { masked: masked("LoadState") || masked("UnitFileState") })
}

/// Unmasks it.
pub fn perform_unmasked(
    goal: &Unmasked,
    _seen: &UnmaskedSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    systemctl(&["unmask", &goal.unit])
}

/// Has systemd read unit files again, if a path is one: it keeps those that it has read.
pub fn reload_for(path: &str) -> Result<(), String> {
    let folders = ["/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"];
    if folders.iter().any(|folder| path.starts_with(folder)) {
        return systemctl(&["daemon-reload"]);
    }
    Ok(())
}

/// Looks at the interface.
pub fn observe_link(goal: &Link, _host: &Host) -> Result<LinkSeen, String> {
    let program = Program::new("ip").args(["-json", "address", "show", "dev", &goal.name]);
    let output = program.output()?;
    // iproute2 ends with 1 for a device that is not there.
    if output.code != 0 && output.stderr.contains("does not exist") {
        return Ok(LinkSeen::default());
    }
    if output.code != 0 && text::knows_no_json(&output.stderr) {
        return link_without_json(&goal.name);
    }
    parse_link(&program.checked(output)?.stdout)
}

/// The same where `ip` knows no JSON: it may not be asked for a device that is not there.
fn link_without_json(name: &str) -> Result<LinkSeen, String> {
    if !Path::new("/sys/class/net").join(name).exists() {
        return Ok(LinkSeen::default());
    }
    let links = network::links_of(text::links(Some(name))?);
    let addresses = links.addresses.iter().map(|on| on.address.to_string()).collect();
    Ok(LinkSeen { exists: true, up: links.interfaces.iter().any(|link| link.up), addresses })
}

/// `ip -json address show dev NAME`.
pub(crate) fn parse_link(json: &str) -> Result<LinkSeen, String> {
    let value: Value = serde_json::from_str(json)
        .map_err(|e| format!("`ip -json address` answered something else than JSON: {e}"))?;
    // Old versions of iproute2 print an empty object for each other interface.
    let links = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(link) = links.iter().find(|link| link.get("ifname").is_some()) else {
        return Ok(LinkSeen::default());
    };
    let list = |key: &str| link[key].as_array().cloned().unwrap_or_default();
    let addresses = list("addr_info")
        .iter()
        .filter(|info| info["family"] == "inet")
        .filter_map(|info| Some(format!("{}/{}", info["local"].as_str()?, info["prefixlen"])))
        .collect();
    Ok(LinkSeen { exists: true, up: list("flags").iter().any(|flag| flag == "UP"), addresses })
}

/// Restarts the unit that makes the interface.
pub fn perform_link(goal: &Link, _seen: &LinkSeen, cx: &mut Performing<'_>) -> Result<(), String> {
    systemctl(&["daemon-reload"])?;
    restart(&goal.unit, cx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_properties() {
        // systemd 252, `systemctl show --property=… -- containerd.service`
        let text = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\
                    ActiveEnterTimestampMonotonic=12437719\nExecStart={ path=/x ; argv[]=/x a=b }\n";
        let shown = parse_properties(text);
        assert_eq!(shown["ActiveEnterTimestampMonotonic"], "12437719");
        assert_eq!(shown["ExecStart"], "{ path=/x ; argv[]=/x a=b }");
    }

    #[test]
    fn a_unit_that_did_not_come_back_is_stale_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let paths = ["/no/such/file".to_owned(), file.path().display().to_string()];
        let metadata = || std::fs::metadata(file.path()).unwrap();
        let time =
            || i128::from(metadata().ctime()) * 1_000_000_000 + i128::from(metadata().ctime_nsec());
        let (started, before) = (time(), metadata());
        assert_eq!(changed_since(&paths, started), [""; 0]);
        std::thread::sleep(Duration::from_millis(50));
        make_stale(&paths);
        assert_eq!(changed_since(&paths, started), [paths[1].clone()]);
        assert_eq!(metadata().permissions(), before.permissions());
        assert_eq!(metadata().modified().unwrap(), before.modified().unwrap());
    }

    #[test]
    fn reads_an_interface() {
        let json = r#"[{},{"ifindex":5,"ifname":"kubewan0","flags":["BROADCAST","NOARP","UP","LOWER_UP"],
            "mtu":1500,"operstate":"UNKNOWN","addr_info":[
            {"family":"inet","local":"198.51.100.10","prefixlen":32,"scope":"global","label":"kubewan0"},
            {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]}]"#;
        let seen = parse_link(json).unwrap();
        let addresses = vec!["198.51.100.10/32".to_owned()];
        assert_eq!(seen, LinkSeen { exists: true, up: true, addresses });
        assert_eq!(parse_link("[{}]"), Ok(LinkSeen::default()));
        let lo = Link { name: "lo".into(), address: [127, 0, 0, 1].into(), unit: String::new() };
        let seen = observe_link(&lo, &Host::at("/nonexistent")).unwrap();
        assert_eq!(seen.addresses, ["127.0.0.1/8"]);
        let none = Link { name: "nosuch0".into(), ..lo };
        assert_eq!(observe_link(&none, &Host::at("/nonexistent")), Ok(LinkSeen::default()));
    }

    #[test]
    fn a_file_changed_after_the_start_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config").to_str().unwrap().to_owned();
        std::fs::write(&path, "x").unwrap();
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        let paths = [path.clone(), "/nonexistent".to_owned()];
        assert_eq!(changed_since(&paths, realtime_ns(now_us - 60_000_000)), [path]);
        assert_eq!(changed_since(&paths, realtime_ns(now_us + 60_000_000)), Vec::<String>::new());
    }
}
