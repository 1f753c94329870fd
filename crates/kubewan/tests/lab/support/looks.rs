//! How hosts look from outside the product.

use kubewan_lab::{Allow, HostSnapshot, compare};

use super::{HOSTS, Stage};

/// What may differ after a reset. An entry that no host needs fails the story.
pub const AFTER_RESET: &[Allow<'static>] = &[
    allow("file /var/log/journal/**", "journald goes on writing"),
    allow("file /var/log/wtmp", "the host was rebooted, and a boot is noted"),
    allow("file /var/tmp/systemd-private-*", "systemd names these anew at every boot"),
    allow("file /var/tmp/systemd-private-*/tmp", "below the one above"),
    allow("file /home/admin/.sudo_as_admin_successful", "sudo's mark at somebody's first use"),
    allow("file /var/cache/apt/**", "apt's cache, of packages that came and went"),
    allow("file /var/lib/apt/**", "apt's own state, of packages that came and went"),
    allow("file /var/lib/dpkg/status*", "written anew in another order; its content is compared"),
    allow("file /var/log/apt/*", "apt tells what it did"),
    allow("file /var/log/dpkg.log", "dpkg tells what it did"),
    allow("file /var/lib/chrony/chrony.drift", "what the time service measured while it ran"),
    allow("file /var/log/chrony", "made by the time service at its first start"),
    allow("unit time-s*.target", "marks that systemd sets at a time service's first start"),
    allow(
        "file /etc/systemd/system/timers.target.wants",
        "an empty folder in the image, which systemctl takes away when it disables units",
    ),
    allow(
        "unit network-online.target",
        "a mark without a process: reached once some unit wanted it, it stays until the next boot",
    ),
];

/// What changes on a host that somebody logs in to, or that just runs.
pub const LOGINS: &[Allow<'static>] = &[
    allow("file /var/log/journal/**", "sshd says who logs in"),
    allow("file /var/log/wtmp", "who logged in"),
    allow("file /var/log/btmp", "who did not"),
    allow("file /var/log/lastlog", "who logged in last"),
    allow("file /var/tmp/systemd-private-**", "services' own folders"),
    allow("file /var/lib/systemd/linger*", "logind's"),
    allow("file /home/*/.sudo_as_admin_successful", "sudo's mark at somebody's first use"),
    allow("file /var/lib/sudo/**", "whom sudo has lectured"),
];

/// A difference that is expected, and why.
pub const fn allow(pattern: &'static str, reason: &'static str) -> Allow<'static> {
    Allow { pattern, reason }
}

/// One look at every host.
pub fn looks(stage: &Stage) -> Vec<HostSnapshot> {
    HOSTS.iter().map(|host| look(stage, host)).collect()
}

/// One look at a host.
pub fn look(stage: &Stage, host: &str) -> HostSnapshot {
    // Bus services that end by themselves half a minute after somebody asked them something.
    stage.on(host, "systemctl stop systemd-hostnamed.service systemd-timedated.service");
    let mut look = stage.lab.observe_host(host).expect("a look at a host");
    let packages = stage.on(host, "dpkg-query -W -f '${Package} ${Version} ${Status}\\n'");
    look.items.extend(packages.lines().filter_map(|line| {
        let (name, state) = line.split_once(' ')?;
        Some((format!("package {name}"), state.to_owned()))
    }));
    let mode = stage.on(host, "cat /sys/fs/selinux/enforce 2>/dev/null || echo none");
    look.items.insert("selinux mode".into(), mode.trim().into());
    look
}

/// What differs between two looks at hosts and is not allowed, a line for each.
pub fn differences<'a>(
    hosts: impl IntoIterator<Item = &'a str>,
    before: &[HostSnapshot],
    after: &[HostSnapshot],
    allowed: &[Allow],
) -> String {
    let mut lines = String::new();
    for ((host, before), after) in hosts.into_iter().zip(before).zip(after) {
        for difference in compare(before, after, allowed).differences {
            lines += &format!("{host}: {difference}\n");
        }
    }
    lines
}
