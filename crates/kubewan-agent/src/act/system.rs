//! Kernel and host-wide settings.

use std::path::Path;
use std::time::Duration;

use kubewan_core::action::system::{
    HostnameSeen, ModuleSeen, SelinuxSeen, SwapOnSeen, SwapSeen, SysctlSeen, TimeSyncSeen,
};
use kubewan_core::action::{
    Hostname, Module, SelinuxEnforcing, SelinuxPermissive, SwapOff, SwapOn, Sysctl, TimeSyncOn,
};

use super::{Host, Performing, file, needed};
use crate::command::Program;
use crate::disk::{self, Access};
use crate::facts::systemd::{Unit, unit_files};

/// Where swap is switched on at boot.
pub const FSTAB: &str = "/etc/fstab";

/// Where SELinux' mode at boot stands.
pub const SELINUX_CONFIG: &str = "/etc/selinux/config";

/// SELinux' mode now; there only where SELinux is.
const SELINUX_ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Services that make swap areas of their own and switch them on at boot: Debian's zram-tools, Ubuntu's zram-config,
/// Raspberry Pi OS' dphys-swapfile, and swapspace. zram-generator makes swap units, which are found by their type.
pub const SWAP_SERVICES: &[&str] =
    &["zramswap.service", "zram-config.service", "dphys-swapfile.service", "swapspace.service"];

/// Time services, in the order of preference where several are installed and none runs.
pub const TIME_SERVICES: &[&str] = &[
    "chrony.service",
    "chronyd.service",
    "ntpsec.service",
    "ntp.service",
    "ntpd.service",
    "openntpd.service",
    "systemd-timesyncd.service",
];

/// Looks whether the kernel has the module, loaded or built in.
pub fn observe_module(goal: &Module, _host: &Host) -> Result<ModuleSeen, String> {
    Ok(ModuleSeen { present: has_module(&goal.name) })
}

/// Whether the kernel has a module, loaded or built in.
///
/// A part without parameters that is built in has no folder in /sys/module, and modules.builtin is missing
/// where /lib/modules is (containers): then its traces tell.
pub fn has_module(name: &str) -> bool {
    let name = name.replace('-', "_");
    if Path::new("/sys/module").join(&name).exists() {
        return true;
    }
    let trace = match name.as_str() {
        "br_netfilter" => "/proc/sys/net/bridge/bridge-nf-call-iptables",
        "nf_conntrack" => "/proc/sys/net/netfilter/nf_conntrack_max",
        _ => "",
    };
    if !trace.is_empty() && Path::new(trace).exists() {
        return true;
    }
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if file_systems.lines().any(|line| line.split_whitespace().last() == Some(&name)) {
        return true;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let builtin = std::fs::read_to_string(format!("/lib/modules/{release}/modules.builtin"));
    builtin.is_ok_and(|list| is_builtin(&list, &name))
}

/// Whether modules.builtin names a module.
pub(crate) fn is_builtin(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let file = line.rsplit('/').next().unwrap_or_default();
        file.split('.').next().unwrap_or_default().replace('-', "_") == name
    })
}

/// Loads the module.
pub fn perform_module(
    goal: &Module,
    _seen: &ModuleSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    Program::new("modprobe").arg(&goal.name).stdout().map(drop).map_err(|e| {
        format!(
            "the kernel module {} can't be loaded: {e}; install the package with this kernel's modules, or \
             boot a kernel that has it",
            goal.name
        )
    })
}

/// Reads the setting.
pub fn observe_sysctl(goal: &Sysctl, _host: &Host) -> Result<SysctlSeen, String> {
    let path = sysctl_path(&goal.key)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            // Several numbers are separated by tabs there and by spaces in what people write.
            let value = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_asked = goal.unless_needed && value != goal.value;
            let needed_by =
                if is_asked { needed::by(&goal.key, &value, &goal.ours) } else { Vec::new() };
            Ok(SysctlSeen { value: Some(value), needed_by })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(SysctlSeen::default()),
        Err(e) => Err(format!("can't read {path}: {e}")),
    }
}

/// Sets it.
pub fn perform_sysctl(
    goal: &Sysctl,
    _seen: &SysctlSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    let path = sysctl_path(&goal.key)?;
    std::fs::write(&path, format!("{}\n", goal.value))
        .map_err(|e| format!("can't set {} = {} (in {path}): {e}", goal.key, goal.value))
}

/// The file of a key. As sysctl(8) has it, a slash in a key stands for a dot in a name (`eth0/1`).
pub(crate) fn sysctl_path(key: &str) -> Result<String, String> {
    let swapped: String = key
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect();
    if swapped.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(format!("`{key}` is no name of a kernel setting"));
    }
    Ok(format!("/proc/sys/{swapped}"))
}

/// Looks for swap that is on, and for what brings it back.
pub fn observe_swap_off(_goal: &SwapOff, host: &Host) -> Result<SwapSeen, String> {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let fstab = std::fs::read_to_string(FSTAB).unwrap_or_default();
    let mut units = Vec::new();
    for unit in unit_files("swap") {
        if !brings_nothing_back(&host.unit(&unit)?) {
            units.push(unit);
        }
    }
    for service in SWAP_SERVICES {
        if brings_swap(&host.unit(service)?) {
            units.push((*service).to_owned());
        }
    }
    Ok(SwapSeen { active: active_swaps(&swaps), fstab: fstab_swaps(&fstab), units })
}

/// A service that is there and not masked starts at boot, or by another unit's wish.
fn brings_swap(service: &Unit) -> bool {
    let is = |key: &str, value: &str| service.get(key) == value;
    is("LoadState", "loaded") && !is("UnitFileState", "masked") && !is("UnitFileState", "disabled")
}

/// Areas in /proc/swaps.
pub(crate) fn active_swaps(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        // The kernel writes other white space as it is.
        .filter_map(|line| line.split([' ', '\t']).next().filter(|area| !area.is_empty()))
        .map(file::unescape)
        .collect()
}

/// Lines of an fstab that switch swap on.
pub(crate) fn fstab_swaps(text: &str) -> Vec<String> {
    text.lines().filter(|line| is_fstab_swap(line)).map(|line| line.trim().to_owned()).collect()
}

fn is_fstab_swap(line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    !line.trim_start().starts_with('#') && fields.get(2) == Some(&"swap")
}

/// An fstab with its swap lines commented out.
pub(crate) fn fstab_without_swap(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| {
            let mark = if is_fstab_swap(line) { SwapOff::FSTAB_MARK } else { "" };
            format!("{mark}{line}")
        })
        .collect()
}

/// Units that the fstab generator made go with their line; masked and disabled ones bring nothing back.
fn brings_nothing_back(unit: &Unit) -> bool {
    unit.get("LoadState") == "masked"
        || unit.get("UnitFileState").starts_with("masked")
        || unit.get("UnitFileState") == "disabled"
        || unit.get("SourcePath") == FSTAB
}

/// Comments swap out of fstab, masks its units, switches it off.
pub fn perform_swap_off(
    _goal: &SwapOff,
    seen: &SwapSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    if !seen.fstab.is_empty() {
        let text =
            std::fs::read_to_string(FSTAB).map_err(|e| format!("can't read {FSTAB}: {e}"))?;
        file::rewrite_kept(Path::new(FSTAB), &fstab_without_swap(&text), cx)?;
    }
    // Or the units that came from those lines stay, and systemd switches swap on again; the lines may have gone in a run that was
    // cut off.
    Program::new("systemctl").arg("daemon-reload").stdout()?;
    for unit in &seen.units {
        cx.record([format!("masked:{unit}")])?;
        Program::new("systemctl").args(["mask", "--now", unit]).stdout()?;
    }
    for area in &seen.active {
        (cx.progress)(&format!("moves what is swapped out on {area} back into memory"));
        let off = Program::new("swapoff").arg(area).timeout(Duration::from_secs(600)).stdout();
        if let Err(error) = off
            && active_swaps(&std::fs::read_to_string("/proc/swaps").unwrap_or_default())
                .contains(area)
        {
            return Err(format!(
                "swap on {area} can't be switched off: {error}; free memory so that what is swapped out has \
                 room, then run kubewan again"
            ));
        }
    }
    Ok(())
}

/// Looks which areas are there and not in use; one that someone removed since is no one's loss.
pub fn observe_swap_on(goal: &SwapOn, _host: &Host) -> Result<SwapOnSeen, String> {
    let active = active_swaps(&std::fs::read_to_string("/proc/swaps").unwrap_or_default());
    let idle = |area: &&String| !active.contains(area) && Path::new(area).exists();
    Ok(SwapOnSeen { idle: goal.areas.iter().filter(idle).cloned().collect() })
}

/// Starts the units that bring swap, then switches on what is still idle.
pub fn perform_swap_on(
    goal: &SwapOn,
    _seen: &SwapOnSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    // The units that come from the restored lines of fstab are known again.
    Program::new("systemctl").arg("daemon-reload").stdout()?;
    for unit in &goal.units {
        if let Err(error) = Program::new("systemctl").args(["start", unit]).stdout() {
            (cx.progress)(&format!("{unit} does not start: {error}"));
        }
    }
    for area in observe_swap_on(goal, cx.host)?.idle {
        Program::new("swapon").arg(&area).stdout()?;
    }
    Ok(())
}

/// Reads SELinux' mode, now and at boot.
pub fn observe_selinux_permissive(
    _goal: &SelinuxPermissive,
    _host: &Host,
) -> Result<SelinuxSeen, String> {
    Ok(selinux())
}

fn selinux() -> SelinuxSeen {
    let now = std::fs::read_to_string(SELINUX_ENFORCE);
    let config = std::fs::read_to_string(SELINUX_CONFIG).unwrap_or_default();
    SelinuxSeen {
        disabled: now.is_err(),
        enforcing: now.is_ok_and(|now| now.trim() == "1"),
        configured_enforcing: config.lines().any(says_enforcing),
    }
}

pub(crate) fn says_enforcing(line: &str) -> bool {
    line.trim().split_once('=').is_some_and(|(key, value)| {
        key.trim() == "SELINUX" && value.trim().eq_ignore_ascii_case("enforcing")
    })
}

/// Sets it permissive in both places.
pub fn perform_selinux_permissive(
    _goal: &SelinuxPermissive,
    seen: &SelinuxSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    if seen.configured_enforcing {
        let text = std::fs::read_to_string(SELINUX_CONFIG)
            .map_err(|e| format!("can't read {SELINUX_CONFIG}: {e}"))?;
        let text: String = text
            .split_inclusive('\n')
            .map(|line| if says_enforcing(line) { "SELINUX=permissive\n" } else { line })
            .collect();
        file::rewrite_kept(Path::new(SELINUX_CONFIG), &text, cx)?;
    }
    if seen.enforcing { set_enforce("0") } else { Ok(()) }
}

fn set_enforce(mode: &str) -> Result<(), String> {
    std::fs::write(SELINUX_ENFORCE, mode).map_err(|e| {
        format!("SELinux' mode can't be set ({SELINUX_ENFORCE}): {e}; see `setenforce {mode}`")
    })
}

/// Reads SELinux' mode.
pub fn observe_selinux_enforcing(
    _goal: &SelinuxEnforcing,
    _host: &Host,
) -> Result<SelinuxSeen, String> {
    Ok(selinux())
}

/// Has it enforce now.
pub fn perform_selinux_enforcing(
    _goal: &SelinuxEnforcing,
    _seen: &SelinuxSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    set_enforce("1")
}

/// Reads the host's names.
pub fn observe_hostname(_goal: &Hostname, _host: &Host) -> Result<HostnameSeen, String> {
    let configured = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let configured = configured
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    let running = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(HostnameSeen { running, configured: configured.to_owned() })
}

/// Sets both names. Not by hostnamectl: that needs D-Bus and polkit, and refuses where cloud images mask them.
pub fn perform_hostname(
    goal: &Hostname,
    seen: &HostnameSeen,
    _cx: &mut Performing<'_>,
) -> Result<(), String> {
    if seen.configured != goal.name {
        let text = format!("{}\n", goal.name);
        let path = Path::new("/etc/hostname");
        disk::write_atomic(path, &mut text.as_bytes(), Access::root(0o644), &|_| Ok(()))?;
    }
    if seen.running != goal.name {
        rustix::system::sethostname(goal.name.as_bytes())
            .map_err(|e| format!("can't set the host name to {}: {e}", goal.name))?;
    }
    Ok(())
}

/// Looks for time services.
pub fn observe_time_sync_on(_goal: &TimeSyncOn, host: &Host) -> Result<TimeSyncSeen, String> {
    let mut seen = TimeSyncSeen::default();
    for unit in TIME_SERVICES {
        let shown = host.unit(unit)?;
        let is = |key: &str, value: &str| shown.get(key) == value;
        if is("LoadState", "loaded") {
            seen.installed.get_or_insert((*unit).to_owned());
            // One that runs now and is not started at boot is gone after it.
            let at_boot = !is("UnitFileState", "disabled");
            if is("ActiveState", "active") && at_boot {
                seen.active.get_or_insert((*unit).to_owned());
            }
        }
    }
    Ok(seen)
}

/// Starts the service that is installed, or installs the one that is usual on the distribution.
pub fn perform_time_sync_on(
    _goal: &TimeSyncOn,
    seen: &TimeSyncSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let unit = match &seen.installed {
        Some(unit) => unit.clone(),
        None => {
            // Where there is rpm, systemd comes without its own.
            let (package, unit) = match super::package::manager()?.is_rpm() {
                true => ("chrony", "chronyd.service"),
                false => ("systemd-timesyncd", "systemd-timesyncd.service"),
            };
            super::package::install_from_distribution(package, cx)?;
            unit.to_owned()
        }
    };
    // One that a package brought just now was neither, whatever its installation did.
    let shown = super::unit::show(&unit, &["UnitFileState", "ActiveState"])?;
    let was = |key: &str, value: &str| {
        seen.installed.is_some() && shown.get(key).is_some_and(|v| v == value)
    };
    if !was("ActiveState", "active") {
        cx.record([format!("started:{unit}")])?;
    }
    if !was("UnitFileState", "enabled") {
        cx.record([format!("enabled:{unit}")])?;
    }
    Program::new("systemctl").args(["enable", "--now", &unit]).stdout().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::systemd::parse;

    #[test]
    fn reads_modules_builtin() {
        let list = "kernel/fs/overlayfs/overlay.ko\nkernel/net/bridge/br-netfilter.ko.xz\n";
        assert!(is_builtin(list, "overlay") && is_builtin(list, "br_netfilter"));
        assert!(!is_builtin(list, "over"));
    }

    #[test]
    fn finds_and_comments_out_swap() {
        let fstab = "# /etc/fstab\nUUID=1-2 / ext4 errors=remount-ro 0 1\n/swapfile none swap sw 0 0\n\
                     # /dev/sdb1 none swap sw 0 0\n UUID=3\tnone\tswap\tsw,pri=5 0 0";
        assert_eq!(
            fstab_swaps(fstab),
            ["/swapfile none swap sw 0 0", "UUID=3\tnone\tswap\tsw,pri=5 0 0"]
        );
        let without = fstab_without_swap(fstab);
        assert!(without.contains("\n# kubewan: /swapfile none swap sw 0 0\n"), "{without}");
        assert!(without.ends_with("# kubewan:  UUID=3\tnone\tswap\tsw,pri=5 0 0"), "{without}");
        assert_eq!(fstab_swaps(&without), Vec::<String>::new());
        assert_eq!(without.replace(SwapOff::FSTAB_MARK, ""), fstab);
    }

    #[test]
    fn reads_proc_swaps() {
        let swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/dm-1                               partition\t998396\t\t780\t\t-2\n\
                     /swap\\040\\011file                       file\t\t1048572\t\t0\t\t-3\n";
        assert_eq!(active_swaps(swaps), ["/dev/dm-1", "/swap \tfile"]);
        assert_eq!(active_swaps(""), Vec::<String>::new());
    }

    #[test]
    fn a_swap_service_counts_unless_it_is_masked_or_disabled() {
        let shown = |load: &str, file: &str| {
            let text = format!("Id=a.service\nLoadState={load}\nUnitFileState={file}\n");
            brings_swap(&parse(&text).get("a.service"))
        };
        assert!(
            shown("loaded", "enabled") && shown("loaded", "static") && shown("loaded", "generated")
        );
        assert!(
            !shown("masked", "masked") && !shown("loaded", "disabled") && !shown("not-found", "")
        );
    }

    #[test]
    fn sysctl_keys_are_paths_with_dots() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap(), "/proc/sys/net/ipv4/ip_forward");
        let path = sysctl_path("net.ipv4.conf.eth0/1.rp_filter").unwrap();
        assert_eq!(path, "/proc/sys/net/ipv4/conf/eth0.1/rp_filter");
        assert!(sysctl_path("net..ip_forward").is_err());
        assert!(sysctl_path("net.//.x").is_err());
        let host = Host::at("/nonexistent");
        let goal =
            Sysctl { key: "kernel.no_such_key".into(), value: "1".into(), ..Sysctl::default() };
        assert_eq!(observe_sysctl(&goal, &host), Ok(SysctlSeen::default()));
        let goal =
            Sysctl { key: "kernel.ostype".into(), value: "Linux".into(), ..Sysctl::default() };
        assert_eq!(goal.diff(&observe_sysctl(&goal, &host).unwrap()), None);
    }

    #[test]
    fn reads_selinux_config() {
        assert!(says_enforcing("SELINUX=enforcing"));
        assert!(!says_enforcing("# SELINUX=enforcing"));
        assert!(!says_enforcing("SELINUXTYPE=targeted"));
        assert!(!says_enforcing("SELINUX=permissive"));
    }
}
