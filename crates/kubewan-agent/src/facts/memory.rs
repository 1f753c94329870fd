//! Memory, swap, processors, disk.

use std::fs;
use std::path::Path;

use super::systemd::{Unit, Units};

pub(super) fn memory_bytes() -> u64 {
    mem_total(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

pub(crate) fn mem_total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Processors in this process' affinity mask: what kubeadm counts (`runtime.NumCPU`).
pub(super) fn cores() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map_or(0, count_cpus)
}

/// `0-3,8` are five.
pub(crate) fn count_cpus(list: &str) -> u32 {
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
        })
        .fold(0, u32::saturating_add)
}

/// Free bytes for root where a path lies.
pub(super) fn disk_free(path: &str) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |stat| stat.f_bavail * stat.f_frsize)
}

/// Those of some folders that can't be written to, whoever tries.
pub(super) fn read_only(folders: &[&str]) -> Vec<String> {
    let is = |folder: &&&str| {
        let there = Path::new(folder).ancestors().find(|path| path.exists());
        there
            .and_then(|path| rustix::fs::statvfs(path).ok())
            .is_some_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    };
    folders.iter().filter(is).map(|folder| (*folder).to_owned()).collect()
}

/// Active swap areas.
pub fn swap_areas() -> Vec<String> {
    parse_swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default())
}

pub(crate) fn parse_swaps(text: &str) -> Vec<String> {
    // Blanks in a name are written as `\040`, so the first word is the whole name.
    text.lines()
        .skip(1)
        .filter_map(|line| line.split([' ', '\t']).next().filter(|area| !area.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Lines of /etc/fstab that name swap.
pub fn fstab_swap() -> Vec<String> {
    parse_fstab(&fs::read_to_string("/etc/fstab").unwrap_or_default())
}

pub(crate) fn parse_fstab(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter(|line| line.split_whitespace().nth(2) == Some("swap"))
        .map(str::to_owned)
        .collect()
}

/// systemd swap units that start at boot and do not come from /etc/fstab (zram generators, partitions
/// found by their type, units that someone wrote).
pub fn swap_units(units: &Units) -> Vec<String> {
    // Without a file it only mirrors an area that someone switched on by hand; one that follows is another name of the
    // same device.
    let own = |unit: &&Unit| {
        unit.get("Id").ends_with(".swap")
            && unit.get("LoadState") == "loaded"
            && !unit.get("FragmentPath").is_empty()
            && unit.get("SourcePath") != "/etc/fstab"
            && unit.get("Following").is_empty()
    };
    units.all().filter(own).map(|unit| unit.get("Id").to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::systemd::parse;
    use super::*;

    #[test]
    fn reads_memory_and_processors() {
        assert_eq!(mem_total("MemTotal:        2035220 kB\nMemFree: 1 kB\n"), 2_035_220 * 1024);
        assert_eq!(count_cpus("\t0-3,8\n"), 5);
        assert_eq!(count_cpus("0"), 1);
        assert_eq!(count_cpus("0-4294967295,1-4294967295,0-9"), u32::MAX);
        assert_eq!(mem_total("MemTotal: 18446744073709551615 kB"), u64::MAX);
        assert!(cores() > 0 && memory_bytes() > 0 && disk_free("/var/lib") > 0);
    }

    #[test]
    fn reads_swap() {
        let swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/swapfile                               file\t\t2097148\t\t0\t\t-2\n";
        assert_eq!(parse_swaps(swaps), ["/swapfile"]);
        let fstab =
            "# /old none swap sw 0 0\nUUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n";
        assert_eq!(parse_fstab(fstab), ["/swapfile none swap sw 0 0"]);
    }

    #[test]
    fn swap_units_of_fstab_are_named_there() {
        let shown = "Id=swapfile.swap\nLoadState=loaded\nSourcePath=/etc/fstab\nFragmentPath=/run/systemd/generator/swapfile.swap\nFollowing=\n\n\
                     Id=dev-zram0.swap\nLoadState=loaded\nSourcePath=\nFragmentPath=/run/systemd/generator/dev-zram0.swap\nFollowing=\n\n\
                     Id=dev-vdb.swap\nLoadState=loaded\nSourcePath=\nFragmentPath=\nFollowing=\n\n\
                     Id=dev-vdc.swap\nLoadState=masked\nSourcePath=\nFragmentPath=/dev/null\nFollowing=\n";
        assert_eq!(swap_units(&parse(shown)), ["dev-zram0.swap"]);
    }
}
