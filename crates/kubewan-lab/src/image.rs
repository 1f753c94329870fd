//! The root file system that hosts start from: what a rented Debian server has, and no more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::call::Call;
use crate::error::OnPath;
use crate::{LabError, LabEvent, seed};

/// Which system a host runs, and what configures its network card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageChoice {
    /// The distribution.
    pub distribution: Distribution,
    /// The network stack.
    pub network: NetworkStack,
}

/// A distribution that images can be made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Distribution {
    /// Debian 11, bullseye.
    #[serde(rename = "debian-11")]
    Debian11,
    /// Debian 12, bookworm.
    #[default]
    #[serde(rename = "debian-12")]
    Debian12,
    /// Debian 13, trixie.
    #[serde(rename = "debian-13")]
    Debian13,
}

/// What configures a host's network card at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetworkStack {
    /// The lab itself, from outside: nothing in the host looks after the card.
    #[default]
    Lab,
    /// systemd-networkd with files of its own.
    Networkd,
    /// netplan, which writes systemd-networkd's files.
    Netplan,
    /// Debian's ifupdown: `/etc/network/interfaces`.
    Ifupdown,
    /// NetworkManager with a keyfile.
    NetworkManager,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Distribution; 3] = [Self::Debian11, Self::Debian12, Self::Debian13];

    /// The name as `ID-VERSION_ID` of `/etc/os-release`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian11 => "debian-11",
            Self::Debian12 => "debian-12",
            Self::Debian13 => "debian-13",
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Self::Debian11 => "bullseye",
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
        }
    }
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|distribution| distribution.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no image can be made of `{name}`; of these one can: {names}")
        })
    }
}

impl From<Distribution> for ImageChoice {
    fn from(distribution: Distribution) -> Self {
        Self { distribution, network: NetworkStack::default() }
    }
}

impl ImageChoice {
    /// The name of its folder, as far as people see it.
    pub fn name(self) -> String {
        let distribution = self.distribution.name();
        match self.network {
            NetworkStack::Lab => distribution.into(),
            stack => format!("{distribution}-{}", stack.name()),
        }
    }
}

impl NetworkStack {
    /// All of them.
    pub const ALL: [NetworkStack; 5] =
        [Self::Lab, Self::Networkd, Self::Netplan, Self::Ifupdown, Self::NetworkManager];

    /// The distribution's package of it, where the plain image hasn't it already.
    fn package(self) -> Option<&'static str> {
        match self {
            // systemd brings networkd.
            Self::Lab | Self::Networkd => None,
            Self::Netplan => Some("netplan.io"),
            Self::Ifupdown => Some("ifupdown"),
            Self::NetworkManager => Some("network-manager"),
        }
    }

    /// Its name in a topology file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::Networkd => "networkd",
            Self::Netplan => "netplan",
            Self::Ifupdown => "ifupdown",
            Self::NetworkManager => "network-manager",
        }
    }
}

/// What providers' images have on top of a minimal Debian, Ubuntu's firewall and a time service among it, which are
/// off. No container runtime and nothing of Kubernetes: bringing those is the product's work.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,\
iputils-ping,nftables,ufw,chrony,procps,kmod,ca-certificates,openssl,curl,less,cron,logrotate,tzdata";

/// Work that starts by itself hours after boot. It would hold package locks or change files at a
/// moment that no test chose.
const TIMERS_OFF: [&str; 6] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "logrotate.timer",
];

/// Raised whenever [`finish`] or [`add_stack`] changes, so that a cached image of an older recipe isn't taken.
const RECIPE: u32 = 2;

/// Where the image lies, built or not.
pub(crate) fn folder(choice: ImageChoice) -> PathBuf {
    images().join(format!("{}-{}", choice.name(), recipe_hash(choice)))
}

/// Builds the image unless it is there, and gives its folder. Labs do so by themselves; beforehand it is of use
/// where they will have no network.
///
/// # Errors
/// Fails where the distribution's packages can't be had.
pub fn make_image(
    choice: ImageChoice,
    events: &mut dyn FnMut(LabEvent),
) -> Result<PathBuf, LabError> {
    let target = folder(choice);
    if target.is_dir() {
        return Ok(target);
    }
    let plain = ImageChoice::from(choice.distribution);
    if choice != plain {
        make_image(plain, events)?;
    }
    let images = images();
    fs::create_dir_all(&images).on("make the folder", &images)?;
    // Two labs may want one image: the second waits for the first one's.
    let lock = fs::File::open(&images).on("open", &images)?;
    lock.lock().on("lock", &images)?;
    if !target.is_dir() {
        events(LabEvent::BuildingImage { image: choice.name(), folder: target.clone() });
        let start = Instant::now();
        build(choice, &target)?;
        events(LabEvent::ImageBuilt { took: start.elapsed() });
    }
    Ok(target)
}

/// Builds the image beside its final place and moves it there when it is whole.
fn build(choice: ImageChoice, target: &Path) -> Result<(), LabError> {
    let building = images().join(format!(".building-{}", choice.name()));
    discard(&building)?;
    fs::create_dir_all(&building).on("make the folder", &building)?;
    let built = match choice.network {
        NetworkStack::Lab => bootstrap(choice, &building).and_then(|()| finish(&building)),
        stack => add_stack(&folder(choice.distribution.into()), stack, &building),
    };
    if let Err(error) = built {
        discard(&building)?;
        return Err(error);
    }
    fs::rename(&building, target).on("put into place the image", target)
}

fn bootstrap(choice: ImageChoice, root: &Path) -> Result<(), LabError> {
    let next = "check that this machine reaches its distribution's package mirror (`apt-get \
                update`), then run the command again";
    Call::new("debootstrap", format!("build the {} image", choice.name()))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["--variant=minbase", "--include", PACKAGES, choice.distribution.suite()])
        .arg(root)
        .next(next)
        .run()
        .map(drop)
}

/// Takes out what belongs to the machine it was built on, and what a server of one's own differs
/// in from every other: each host gets its own when it is made.
fn finish(root: &Path) -> Result<(), LabError> {
    let keys = fs::read_dir(root.join("etc/ssh")).on("read", &root.join("etc/ssh"))?;
    for key in keys.flatten() {
        if key.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(key.path()).on("remove", &key.path())?;
        }
    }
    for timer in TIMERS_OFF {
        let link = root.join("etc/systemd/system/timers.target.wants").join(timer);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).on("remove", &link)?;
        }
    }
    // Hosts have this machine's clock, which is not theirs to set.
    Call::new("chroot", "leave the image's time service off")
        .arg(root)
        .args(["systemctl", "--quiet", "disable", "chrony.service"])
        .run()?;
    remove_archives(root)?;
    write(root, "etc/machine-id", "", 0o444)?;
    write(root, "etc/hostname", "localhost\n", 0o644)?;
    write(root, "etc/hosts", "127.0.0.1\tlocalhost\n", 0o644)?;
    write(root, "etc/resolv.conf", "", 0o644)?;
    let user = seed::SUDO_USER;
    Call::new("chroot", format!("add the user {user} to the image"))
        .arg(root)
        .args(["useradd", "--create-home", "--shell", "/bin/bash", user])
        .run()?;
    let rule = format!("{user} ALL=(ALL) NOPASSWD:ALL\n");
    write(root, "etc/sudoers.d/90-cloud-users", &rule, 0o440)
}

/// A copy of the plain image with a network stack in it.
fn add_stack(plain: &Path, stack: NetworkStack, root: &Path) -> Result<(), LabError> {
    Call::new("cp", "copy the plain image").arg("-a").arg(plain.join(".")).arg(root).run()?;
    let inside = |attempted: &str, program: &[&str]| {
        Call::new("chroot", attempted)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg(root)
            .args(program)
            .next("check that this machine reaches its distribution's package mirror (`apt-get update`), then try again")
            .run()
    };
    if let Some(package) = stack.package() {
        fs::copy("/etc/resolv.conf", root.join("etc/resolv.conf"))
            .on("copy", &root.join("etc/resolv.conf"))?;
        let apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"];
        inside("refresh the image's package lists", &[&apt[..], &["update"]].concat())?;
        let install = ["install", "-y", "--no-install-recommends", package];
        inside("install the image's network stack", &[&apt[..], &install].concat())?;
        write(root, "etc/resolv.conf", "", 0o644)?;
        remove_archives(root)?;
    }
    if matches!(stack, NetworkStack::Networkd | NetworkStack::Netplan) {
        let enable = ["systemctl", "--quiet", "enable", "systemd-networkd.service"];
        inside("have the image's systemd-networkd started", &enable)?;
    }
    Ok(())
}

/// Packages that are installed are of no more use.
fn remove_archives(root: &Path) -> Result<(), LabError> {
    let archives = root.join("var/cache/apt/archives");
    for archive in fs::read_dir(archives).into_iter().flatten().flatten() {
        if archive.path().extension().is_some_and(|extension| extension == "deb") {
            fs::remove_file(archive.path()).on("remove", &archive.path())?;
        }
    }
    Ok(())
}

fn write(root: &Path, name: &str, text: &str, mode: u32) -> Result<(), LabError> {
    let path = root.join(name);
    // A link to another file would be written through.
    if path.symlink_metadata().is_ok() {
        fs::remove_file(&path).on("replace", &path)?;
    }
    fs::write(&path, text).on("write", &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).on("set the mode of", &path)
}

fn discard(folder: &Path) -> Result<(), LabError> {
    if !folder.exists() {
        return Ok(());
    }
    // An interrupted debootstrap leaves these behind, and removing through them would empty them.
    for inner in ["proc", "sys", "dev/pts", "dev/shm", "dev"] {
        let attempt = "unmount what an interrupted image build left";
        let _ = Call::new("umount", attempt).arg("-l").arg(folder.join(inner)).succeeds();
    }
    fs::remove_dir_all(folder).on("remove the unfinished image", folder)
}

fn images() -> PathBuf {
    cache().join("images")
}

/// Where the lab keeps what is costly to make.
pub(crate) fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .filter(|cache| cache.is_absolute())
        .or_else(|| home.map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("kubewan/lab")
}

fn recipe_hash(choice: ImageChoice) -> String {
    let suite = choice.distribution.suite();
    let mut recipe = format!("{RECIPE} {suite} {PACKAGES} {TIMERS_OFF:?}");
    if choice.network != NetworkStack::Lab {
        recipe += &format!(" {} {:?}", choice.network.name(), choice.network.package());
    }
    let digest = Sha256::digest(recipe.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_names_the_recipe() {
        let name = folder(ImageChoice::default());
        let name = name.file_name().unwrap().to_string_lossy();
        assert_eq!(name.len(), "debian-12-".len() + 12);
    }

    #[test]
    fn nothing_of_kubernetes_is_preinstalled() {
        assert!(!PACKAGES.contains("containerd") && !PACKAGES.contains("kube"));
        assert!(!PACKAGES.contains(' '), "a space would end debootstrap's list");
        let netplan = ImageChoice { network: NetworkStack::Netplan, ..ImageChoice::default() };
        assert_eq!(netplan.name(), "debian-12-netplan");
        assert_ne!(folder(netplan), folder(ImageChoice::default()));
    }
}
