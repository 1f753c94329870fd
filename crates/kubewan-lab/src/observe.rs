//! Looks at a host from outside the product: its writable layer, units, network and mounts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::OnPath;
use crate::machine::Machine;
use crate::snapshot::HostSnapshot;
use crate::{LabError, namespace};

/// Kernel settings of a host's own namespaces that Kubernetes needs changed.
const SYSCTLS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/all/forwarding",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
];

type Items = BTreeMap<String, String>;

/// Takes one look. The host must run.
pub(crate) fn look(machine: &Machine<'_>) -> Result<HostSnapshot, LabError> {
    let mut items = Items::new();
    files(machine, &mut items)?;
    units(machine, &mut items)?;
    network(&machine.host.namespace, &mut items)?;
    inside(machine, &mut items)?;
    Ok(HostSnapshot { items })
}

fn files(machine: &Machine<'_>, items: &mut Items) -> Result<(), LabError> {
    let layer = &machine.layer;
    let upper = layer.upper();
    layer_files(&upper, Some(layer.image()), "", items).on("read", &upper)?;
    for (folder, place) in layer.volumes() {
        layer_files(&folder, None, place, items).on("read", &folder)?;
    }
    Ok(())
}

/// Adds what a folder of a layer has that the image below hasn't, or has otherwise.
fn layer_files(
    folder: &Path,
    below: Option<&Path>,
    place: &str,
    items: &mut Items,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = entry.path();
        let place = format!("{place}/{}", name.to_string_lossy());
        let below = below.map(|below| below.join(&name));
        let Some(metadata) = unless_gone(fs::symlink_metadata(&path))? else { continue };
        if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            items.insert(format!("file {place}"), "deleted".into());
            continue;
        }
        let Some(described) = unless_gone(describe(&path, &metadata))? else { continue };
        let original = below.as_ref().and_then(|below| {
            let metadata = fs::symlink_metadata(below).ok()?;
            describe(below, &metadata).ok()
        });
        if original.as_ref() != Some(&described) {
            items.insert(format!("file {place}"), described);
        }
        if metadata.is_dir() {
            let below = below.as_deref().filter(|below| is_real_folder(below));
            if let Some(below) = below.filter(|_| hides_below(&path)) {
                unless_gone(hidden_files(&path, below, &place, items))?;
            }
            unless_gone(layer_files(&path, below, &place, items))?;
        }
    }
    Ok(())
}

/// The host runs: what was there when its folder was read may be gone a moment later.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// A folder that was deleted and made again hides everything the image has in it.
fn hidden_files(folder: &Path, below: &Path, place: &str, items: &mut Items) -> io::Result<()> {
    for entry in fs::read_dir(below)? {
        let name = entry?.file_name();
        if fs::symlink_metadata(folder.join(&name)).is_err() {
            items.insert(format!("file {place}/{}", name.to_string_lossy()), "deleted".into());
        }
    }
    Ok(())
}

fn hides_below(folder: &Path) -> bool {
    let mut value = [0_u8; 1];
    let read = rustix::fs::lgetxattr(folder, "trusted.overlay.opaque", &mut value);
    read.is_ok() && value == *b"y"
}

fn is_real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn describe(path: &Path, metadata: &Metadata) -> io::Result<String> {
    let kind = metadata.file_type();
    let mode = metadata.mode() & 0o7777;
    let owner = format!("{mode:04o} {}:{}", metadata.uid(), metadata.gid());
    Ok(if kind.is_file() {
        format!("file {owner} {}", sha256_of(path)?)
    } else if kind.is_dir() {
        format!("folder {owner}")
    } else if kind.is_symlink() {
        format!("link to {}", fs::read_link(path)?.display())
    } else if kind.is_socket() || kind.is_fifo() {
        format!("socket or pipe {owner}")
    } else {
        format!("device {owner} {:x}", metadata.rdev())
    })
}

pub(crate) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut HashWriter(&mut hasher))?;
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// Feeds what is copied into it to a hash.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn units(machine: &Machine<'_>, items: &mut Items) -> Result<(), LabError> {
    const KINDS: &str = "--type=service,socket,timer,path,mount,automount,swap,target";
    let listed = ask(machine, &["systemctl", "list-unit-files", "--plain", "--no-legend", KINDS])?;
    items.extend(listed.lines().filter_map(|line| two_words(line, "unit-file", 1)));
    let lasting = |line: &&str| !comes_and_goes(line);
    let listed = ask(machine, &["systemctl", "list-units", "--plain", "--no-legend", KINDS])?;
    items.extend(listed.lines().filter(lasting).filter_map(|line| two_words(line, "unit", 3)));
    Ok(())
}

/// What systemd starts for somebody's login and ends some seconds after it, and the mounts that hold a service's
/// credentials, which it takes away some moments after the service has ended.
fn comes_and_goes(name: &str) -> bool {
    const BEGINNINGS: [&str; 6] = [
        "user@",
        "user-runtime-dir@",
        "run-user-",
        "/run/user/",
        "run-credentials-",
        "/run/credentials/",
    ];
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// `cron.service enabled enabled` becomes an item with the word at `column` as its value.
fn two_words(line: &str, kind: &str, column: usize) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let state = (*words.get(column)?).to_owned();
    Some((format!("{kind} {}", words.first()?), state))
}

fn network(namespace: &str, items: &mut Items) -> Result<(), LabError> {
    let ip = |arguments: &[&str]| {
        namespace::inside(namespace, "ip", format!("look at the network of {namespace}"))
            .args(["-j", "-d"])
            .args(arguments)
            .run()
            .map(|json| serde_json::from_str(&json).unwrap_or(Value::Null))
    };
    for link in array(&ip(&["addr", "show"])?) {
        link_items(link, items);
    }
    for family in ["-4", "-6"] {
        let routes = ip(&[family, "route", "show", "table", "all"])?;
        for route in array(&routes).filter(|route| !is_link_local(&route["dst"])) {
            let fields = ["type", "dst", "gateway", "dev", "table", "prefsrc", "metric"];
            items.insert(format!("route {family} {}", words(route, &fields)), "there".into());
        }
        for rule in array(&ip(&[family, "rule", "show"])?) {
            let fields = ["priority", "src", "dst", "fwmark", "table", "action"];
            items.insert(format!("rule {family} {}", words(rule, &fields)), "there".into());
        }
    }
    let listed = namespace::inside(namespace, "nft", format!("read the rules of {namespace}"))
        .args(["--stateless", "list", "ruleset"])
        .run()?;
    items.extend(tables(&listed));
    Ok(())
}

fn link_items(link: &Value, items: &mut Items) {
    let name = link["ifname"].as_str().unwrap_or("?");
    let kind = link["linkinfo"]["info_kind"].as_str().unwrap_or("plain");
    let state = link["operstate"].as_str().unwrap_or("?");
    items.insert(format!("link {name}"), format!("{kind} mtu {} {state}", link["mtu"]));
    for address in array(&link["addr_info"]).filter(|address| !is_link_local(&address["local"])) {
        let local = address["local"].as_str().unwrap_or("?");
        let item = format!("address {name} {local}/{}", address["prefixlen"]);
        items.insert(item, address["label"].as_str().unwrap_or("").into());
    }
}

/// The kernel gives these by itself, some seconds after a link is up.
fn is_link_local(address: &Value) -> bool {
    address.as_str().is_some_and(|text| text.starts_with("fe80:") || text == "ff00::/8")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value, fields: &[&str]) -> String {
    let present = fields.iter().filter(|field| !value[**field].is_null());
    let text = |field: &&&str| match &value[**field] {
        Value::String(text) => format!("{field} {text}"),
        other => format!("{field} {other}"),
    };
    present.map(|field| text(&field)).collect::<Vec<_>>().join(" ")
}

/// Splits `nft list ruleset` into one item per table. Chains and sets stand in the order of their names: which of them
/// was made first, as by a kubelet and a kube-proxy that start together, changes nothing.
fn tables(ruleset: &str) -> Items {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in ruleset.lines() {
        if let Some(name) = line.strip_prefix("table ") {
            let name = format!("nft {}", name.trim_end_matches('{').trim());
            tables.insert(name.clone(), vec![String::new()]);
            current = Some(name);
        } else if let Some(parts) = current.as_ref().and_then(|name| tables.get_mut(name)) {
            let depth = line.len() - line.trim_start_matches('\t').len();
            if depth == 1 && line.ends_with('{') {
                parts.push(String::new());
            }
            if let Some(part) = parts.last_mut().filter(|_| depth > 0) {
                let _ = writeln!(part, "{}", line.trim());
            }
        }
    }
    let sorted = tables.into_iter().map(|(name, mut parts)| {
        parts.sort();
        (name, parts.concat())
    });
    sorted.collect()
}

/// What only shows from within: mounts, processes, settings, and rules of the older kind.
fn inside(machine: &Machine<'_>, items: &mut Items) -> Result<(), LabError> {
    let mounts = ask(machine, &["cat", "/proc/self/mounts"])?;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1), fields.next());
        if let (Some(point), Some(kind)) = (point.filter(|point| !comes_and_goes(point)), kind) {
            items.insert(format!("mount {point}"), kind.into());
        }
    }
    let processes = ask(machine, &["ps", "-e", "-o", "comm="])?;
    for name in processes.lines().map(str::trim).filter(|name| !is_passing(name)) {
        items.insert(format!("process {name}"), "runs".into());
    }
    for name in SYSCTLS {
        let path = format!("/proc/sys/{name}");
        // `cat` fails where a setting doesn't exist, which is as good an answer.
        let value = ask(machine, &["cat", &path]).map_or("absent".into(), |v| v.trim().to_owned());
        items.insert(format!("sysctl {}", name.replace('/', ".")), value);
    }
    for family in ["ip", "ip6"] {
        let path = format!("/proc/net/{family}_tables_names");
        for table in ask(machine, &["cat", &path]).unwrap_or_default().lines() {
            items.insert(format!("{family}tables {table}"), "legacy table".into());
        }
    }
    Ok(())
}

/// Processes that come with looking, or with somebody's login.
fn is_passing(name: &str) -> bool {
    ["ps", "sshd", "(sd-pam)", "systemd-hostnam", "systemd-tmpfile", "(sd-close)"].contains(&name)
}

fn ask(machine: &Machine<'_>, argv: &[&str]) -> Result<String, LabError> {
    let failed = |came_back: String| LabError::Program {
        attempted: format!("look at {}", machine.host.name),
        program: argv.join(" "),
        came_back,
        next: "see whether the host still runs: `kubewan lab ls`".into(),
    };
    let output = machine
        .command(argv)?
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_differs_from_the_image_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (upper, image) = (folder.path().join("upper"), folder.path().join("image"));
        for root in [&upper, &image] {
            fs::create_dir_all(root.join("etc/same")).unwrap();
            fs::write(root.join("etc/hosts"), "same").unwrap();
            symlink("x", root.join("etc/link")).unwrap();
        }
        fs::write(image.join("etc/changed"), "old").unwrap();
        fs::write(upper.join("etc/changed"), "new").unwrap();
        fs::write(upper.join("etc/same/added"), "new").unwrap();
        let mut items = Items::new();
        layer_files(&upper, Some(&image), "", &mut items).unwrap();
        let names: Vec<&str> = items.keys().map(String::as_str).collect();
        assert_eq!(names, ["file /etc/changed", "file /etc/same/added"]);
    }

    #[test]
    fn tables_are_items_of_their_own() {
        let ruleset = "table ip a {\n\tchain b {\n\t}\n}\ntable inet c {\n}\n";
        let items = tables(ruleset);
        assert_eq!(items.keys().collect::<Vec<_>>(), ["nft inet c", "nft ip a"]);
        assert!(items["nft ip a"].contains("chain b"));
        let chain = |name: &str| format!("\tchain {name} {{\n\t\tcounter jump {name}s\n\t}}\n\n");
        let table = |names: [&str; 2]| {
            let chains = names.map(chain).concat();
            tables(&format!("table ip a {{\n{chains}}}\n"))
        };
        assert_eq!(table(["b", "c"]), table(["c", "b"]));
        assert_ne!(table(["b", "c"]), table(["b", "d"]));
        assert_eq!(table(["b", "c"])["nft ip a"].lines().count(), 6);
    }

    #[test]
    fn units_are_read_by_column() {
        let line = "cron.service loaded active running Regular background program";
        let item = two_words(line, "unit", 3);
        assert_eq!(item, Some(("unit cron.service".into(), "running".into())));
        assert_eq!(two_words("", "unit", 3), None);
    }

    #[test]
    fn mounts_of_credentials_and_logins_are_passed_over() {
        assert!(comes_and_goes(
            r"run-credentials-systemd\x2dtmpfiles\x2dsetup.service.mount mounted"
        ));
        assert!(comes_and_goes("/run/credentials/systemd-sysusers.service"));
        assert!(comes_and_goes("user@0.service"));
        assert!(!comes_and_goes("run-kubewan.mount"));
    }

    #[test]
    fn a_route_keeps_what_identifies_it() {
        let route: Value = serde_json::from_str(
            r#"{"dst":"default","gateway":"10.0.4.1","dev":"eth0","flags":[]}"#,
        )
        .unwrap();
        assert_eq!(words(&route, &["dst", "gateway", "metric"]), "dst default gateway 10.0.4.1");
    }
}
