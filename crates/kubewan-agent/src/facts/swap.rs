//! What would bring swap back at boot although kubewan comments out /etc/fstab and masks units.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kubewan_core::facts::SwapSource;

use super::systemd::{Unit, Units};
use crate::act::system::SWAP_SERVICES;

/// Where an administrator's unit lies and `systemctl mask` would put its link: it refuses where a file is (systemctl(1)).
/// A mask goes before everything else but /etc/systemd/system.control and early generators, which make no swap
/// (systemd.unit(5), "Unit File Load Path").
const MASKS: &str = "/etc/systemd/system/";
const RC_LOCAL: &str = "/etc/rc.local";

/// Everything of the kind, sorted.
pub(super) fn returns(units: &Units) -> Vec<SwapSource> {
    let mut sources = from_units(units);
    for path in boot_scripts() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        sources.extend(lines(&path.to_string_lossy(), &text));
    }
    sources.sort();
    sources.dedup();
    sources
}

fn from_units(units: &Units) -> Vec<SwapSource> {
    let get = |unit: &Unit, key: &str| unit.get(key).to_owned();
    // It switches its area on itself, and systemd sees only the area.
    let by_service = SWAP_SERVICES.iter().any(|name| units.get(name).get("LoadState") == "loaded");
    let is_swap = |unit: &&Unit| unit.get("Id").ends_with(".swap");
    let mut sources = Vec::new();
    for unit in units.all().filter(is_swap).filter(|unit| get(unit, "LoadState") == "loaded") {
        let path = get(unit, "FragmentPath");
        let at_boot = get(unit, "UnitFileState") != "disabled";
        if path.starts_with(MASKS) && get(unit, "SourcePath") != "/etc/fstab" && at_boot {
            sources.push(SwapSource::Unit { name: get(unit, "Id"), path });
        } else if path.is_empty()
            && get(unit, "SourcePath").is_empty()
            && get(unit, "Following").is_empty()
            && get(unit, "ActiveState") == "active"
            && !by_service
        {
            sources.push(SwapSource::Area { name: get(unit, "What") });
        }
    }
    sources
}

/// Scripts and tables that run at boot and are no units of their own.
fn boot_scripts() -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/etc/crontab"), "/var/spool/cron/crontabs/root".into()];
    let folder = fs::read_dir("/etc/cron.d").into_iter().flatten().flatten();
    paths.extend(folder.map(|entry| entry.path()));
    // systemd-rc-local-generator starts it only where it is executable.
    if fs::metadata(RC_LOCAL).is_ok_and(|data| data.permissions().mode() & 0o111 != 0) {
        paths.push(RC_LOCAL.into());
    }
    paths.retain(|path| Path::is_file(path));
    paths
}

/// Lines that switch swap on at boot. Of a table only those for `@reboot`: others run at times that nobody can foresee
/// here.
fn lines(path: &str, text: &str) -> Vec<SwapSource> {
    let is_table = path != RC_LOCAL;
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && (!is_table || line.starts_with("@reboot")))
        .filter(|line| {
            let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|'));
            words.any(|word| word.rsplit('/').next() == Some("swapon"))
        })
        .map(|line| SwapSource::Line { path: path.to_owned(), text: line.to_owned() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::systemd::parse;
    use super::*;

    /// `systemctl show` of systemd 252, shortened.
    fn block(id: &str, load: &str, source: &str, fragment: &str, following: &str) -> String {
        format!(
            "Id={id}\nLoadState={load}\nActiveState=active\nUnitFileState=enabled\nSourcePath={source}\n\
             FragmentPath={fragment}\nFollowing={following}\nWhat=/dev/{id}\n"
        )
    }

    #[test]
    fn only_what_can_not_be_masked_returns() {
        let shown = [
            block("fstab.swap", "loaded", "/etc/fstab", "/run/systemd/generator/fstab.swap", ""),
            block("gpt.swap", "loaded", "", "/run/systemd/generator.late/gpt.swap", ""),
            block("own.swap", "loaded", "", "/etc/systemd/system/own.swap", ""),
            block("off.swap", "masked", "", "/etc/systemd/system/off.swap", ""),
            block("alias.swap", "loaded", "", "", "gpt.swap"),
            block("unknown.swap", "loaded", "", "", ""),
            block("swapspace.service", "not-found", "", "", ""),
        ];
        let own = SwapSource::Unit {
            name: "own.swap".into(),
            path: "/etc/systemd/system/own.swap".into(),
        };
        let unknown = SwapSource::Area { name: "/dev/unknown.swap".into() };
        let from_units = |shown: &str| from_units(&parse(shown));
        assert_eq!(from_units(&shown.join("\n")), [own.clone(), unknown]);
        let path = "/lib/systemd/system/zramswap.service";
        let service = block("zramswap.service", "loaded", "", path, "");
        assert_eq!(
            from_units(&[shown.join("\n"), service].join("\n")),
            [own],
            "its area is explained"
        );
        assert_eq!(from_units(""), []);
    }

    #[test]
    fn finds_lines_that_switch_swap_on() {
        let line = |path: &str, text: &str| {
            lines(path, text)
                .into_iter()
                .map(|s| format!("{s:?}").contains("swapon"))
                .collect::<Vec<_>>()
        };
        let script = "#!/bin/sh\n# swapon /old\nmkswap /dev/vdb && /sbin/swapon /dev/vdb\nexit 0\n";
        assert_eq!(line(RC_LOCAL, script), [true]);
        let table =
            "@reboot root swapon -a\n0 3 * * * root swapon -a\n@reboot root swapon-report\n";
        assert_eq!(line("/etc/cron.d/swap", table), [true]);
    }
}
