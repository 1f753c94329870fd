//! Host firewalls, each through its own tool: an accept in a table of ours could not override their drops.

use kubewan_core::action::FirewallGoal;
use kubewan_core::action::firewall::{
    FirewallSeen, FirewallState, Opening, firewalld_rule, ufw_rule,
};
use kubewan_core::facts::FirewallTool;

use super::{Host, Performing, undo};
use crate::command::{Program, exists};

/// The firewalls' services.
const FIREWALLD: &str = "firewalld.service";
const IPTABLES: &str = "netfilter-persistent.service";
const NFTABLES: &str = "nftables.service";

/// The service that a look at this goal asks systemd about.
pub(super) fn service(goal: &FirewallGoal) -> Option<&'static str> {
    match goal.tool {
        FirewallTool::IptablesPersistent => Some(IPTABLES),
        FirewallTool::Nftables => Some(NFTABLES),
        FirewallTool::Firewalld => Some(FIREWALLD),
        FirewallTool::Ufw => None,
    }
}

/// Where ufw keeps whether it starts at boot.
const UFW_CONF: &str = "/etc/ufw/ufw.conf";

/// Marks our rules for who reads `ufw status`.
const COMMENT: &str = "kubewan";

/// Looks what the firewall lets in.
pub fn observe_firewall(goal: &FirewallGoal, host: &Host) -> Result<FirewallSeen, String> {
    match goal.tool {
        FirewallTool::Ufw => observe_ufw(goal),
        FirewallTool::Firewalld => observe_firewalld(goal, host),
        FirewallTool::IptablesPersistent => observe_service(IPTABLES, host),
        FirewallTool::Nftables => observe_service(NFTABLES, host),
    }
}

/// Opens it, or switches it off.
pub fn perform_firewall(
    goal: &FirewallGoal,
    seen: &FirewallSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let (ports, trusted) = match &goal.state {
        FirewallState::Off => return switch_off(goal.tool),
        FirewallState::Restored { active, enabled, ours } => {
            return restore(goal.tool, (*active, *enabled), ours, seen);
        }
        FirewallState::Open { ports, trusted } => (ports, trusted),
    };
    let ports: Vec<&Opening> = ports.iter().filter(|port| !seen.lets_in(port)).collect();
    let subnets: Vec<&String> = trusted.iter().filter(|s| !seen.trusted.contains(s)).collect();
    match goal.tool {
        FirewallTool::Ufw => open_ufw(&ports, &subnets, cx),
        FirewallTool::Firewalld => open_firewalld(&ports, &subnets, cx),
        FirewallTool::IptablesPersistent | FirewallTool::Nftables => {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let subnets: Vec<&str> = subnets.iter().map(|subnet| subnet.as_str()).collect();
            Err(format!(
                "{} has no command that opens a port, and its rules are someone's own text. Let in {} and all \
                 from {} there by hand, or have it switched off by the inventory",
                goal.tool_name(),
                ports.join(", "),
                subnets.join(", ")
            ))
        }
    }
}

fn switch_off(tool: FirewallTool) -> Result<(), String> {
    for line in off(tool) {
        Program::new(line[0]).args(line[1..].iter().copied()).stdout()?;
    }
    Ok(())
}

/// The commands that switch it off, now and at boot.
fn off(tool: FirewallTool) -> Vec<Vec<&'static str>> {
    let disable = |unit| vec!["systemctl", "disable", "--now", unit];
    match tool {
        FirewallTool::Ufw => vec![vec!["ufw", "disable"]],
        FirewallTool::Firewalld => vec![disable(FIREWALLD)],
        FirewallTool::Nftables => vec![disable(NFTABLES)],
        // Stopping it leaves the rules in the kernel, which is not what `off` means.
        FirewallTool::IptablesPersistent => {
            vec![vec!["netfilter-persistent", "flush"], disable(IPTABLES)]
        }
    }
}

/// Takes our rules away, and switches it on if it was: as long as nobody has come in anew since, it goes off again by itself.
fn restore(
    tool: FirewallTool,
    (active, enabled): (bool, bool),
    ours: &[String],
    seen: &FirewallSeen,
) -> Result<(), String> {
    if active && !seen.active {
        let off = off(tool).into_iter().map(|line| line.join(" ")).collect::<Vec<_>>();
        undo::arm(&off.join("; "))?;
    }
    let unit = match tool {
        FirewallTool::Ufw => return restore_ufw((active, enabled), seen),
        FirewallTool::Firewalld => FIREWALLD,
        FirewallTool::Nftables => NFTABLES,
        FirewallTool::IptablesPersistent => IPTABLES,
    };
    let systemctl = |verb: &str| Program::new("systemctl").args([verb, unit]).stdout();
    if enabled && !seen.enabled {
        systemctl("enable")?;
    }
    if active && !seen.active {
        systemctl("start")?;
    }
    if tool == FirewallTool::Firewalld && (active || seen.active) {
        for rule in firewalld_rules(ours)? {
            firewall_cmd(&firewalld_closes(&rule))?;
        }
    }
    Ok(())
}

fn observe_service(unit: &str, host: &Host) -> Result<FirewallSeen, String> {
    let shown = host.unit(unit)?;
    let is = |key: &str, value: &str| shown.get(key) == value;
    Ok(FirewallSeen {
        active: is("ActiveState", "active"),
        enabled: is("UnitFileState", "enabled"),
        ..FirewallSeen::default()
    })
}

fn observe_ufw(goal: &FirewallGoal) -> Result<FirewallSeen, String> {
    if !exists("ufw") {
        return Ok(FirewallSeen::default());
    }
    let conf = std::fs::read_to_string(UFW_CONF).unwrap_or_default();
    let status = Program::new("ufw").arg("status").stdout()?;
    let mut seen = FirewallSeen { enabled: ufw_starts_at_boot(&conf), ..parse_ufw(&status) };
    if goal.state != FirewallState::Off {
        let added = Program::new("ufw").args(["show", "added"]).stdout()?;
        compare_ufw(&goal.state, &ufw_added(&added), &mut seen);
    }
    Ok(seen)
}

/// What the rules that somebody added say of the goal.
fn compare_ufw(goal: &FirewallState, added: &[&str], seen: &mut FirewallSeen) {
    match goal {
        FirewallState::Restored { ours, .. } => {
            let there = ours.iter().filter(|rule| added.contains(&rule.as_str()));
            seen.ours = there.cloned().collect();
        }
        FirewallState::Open { ports, trusted } if seen.active => {
            let ports: Vec<&Opening> = ports.iter().filter(|port| !seen.lets_in(port)).collect();
            let subnets: Vec<&String> =
                trusted.iter().filter(|s| !seen.trusted.contains(s)).collect();
            let rules = ufw_rules(&ports, &subnets);
            let against = rules.iter().filter_map(|rule| ufw_same(added, rule));
            seen.against = against.map(str::to_owned).collect();
        }
        FirewallState::Open { .. } | FirewallState::Off => {}
    }
}

/// Rules in `ufw show added`, without comments; a firewall that is off has them too.
pub(crate) fn ufw_added(text: &str) -> Vec<&str> {
    let rules = text.lines().filter_map(|line| line.strip_prefix("ufw "));
    rules.map(|rule| rule.split(" comment ").next().unwrap_or(rule).trim_end()).collect()
}

/// What ufw takes for the same rule with another action (`limit 22/tcp` for `allow 22/tcp`): a new one takes
/// its place.
pub(crate) fn ufw_same<'a>(added: &[&'a str], rule: &str) -> Option<&'a str> {
    let rest = |rule: &str| {
        let route = rule.starts_with("route ");
        let rule = rule.trim_start_matches("route ");
        rule.split_once(' ').map(|(_, rest)| (route, rest.to_owned()))
    };
    added.iter().find(|there| **there != rule && rest(there) == rest(rule)).copied()
}

fn restore_ufw((active, enabled): (bool, bool), seen: &FirewallSeen) -> Result<(), String> {
    for rule in &seen.ours {
        let words: Vec<&str> = rule.split(' ').collect();
        let args = match words[0] {
            "route" => [&["route", "delete"], &words[1..]].concat(),
            _ => [&["delete"], words.as_slice()].concat(),
        };
        Program::new("ufw").args(args).stdout()?;
    }
    if active && !seen.active || enabled && !seen.enabled {
        Program::new("ufw").args(["--force", "enable"]).stdout()?;
    }
    Ok(())
}

pub(crate) fn ufw_starts_at_boot(conf: &str) -> bool {
    conf.lines().any(|line| line.trim().eq_ignore_ascii_case("enabled=yes"))
}

/// A rule of `ufw status`.
#[derive(Debug, PartialEq, Eq)]
struct UfwRule<'a> {
    to: &'a str,
    action: &'a str,
    from: &'a str,
}

/// `ufw status`.
pub(crate) fn parse_ufw(status: &str) -> FirewallSeen {
    let rules: Vec<UfwRule<'_>> = status.lines().filter_map(UfwRule::parse).collect();
    let mut seen = FirewallSeen {
        active: status.lines().any(|line| line.trim() == "Status: active"),
        ..FirewallSeen::default()
    };
    let has = |to: &str, action: &str, from: &str| {
        rules.iter().any(|r| r.to == to && r.action == action && r.from == from)
    };
    for rule in &rules {
        let from = match rule.from {
            "Anywhere" => Some(None),
            other => other.parse().ok().map(Some),
        };
        if let ("ALLOW", Some(from)) = (rule.action, from) {
            let ports = ufw_ports(rule.to).into_iter();
            seen.open.extend(ports.map(|port| Opening { port, from }));
        }
        // Let in, and forwarded in both directions.
        let trusted = rule.action == "ALLOW"
            && rule.to == "Anywhere"
            && has("Anywhere", "ALLOW FWD", rule.from)
            && has(rule.from, "ALLOW FWD", "Anywhere");
        if trusted {
            seen.trusted.push(rule.from.to_owned());
        }
    }
    seen
}

impl<'a> UfwRule<'a> {
    /// Columns of a line are two spaces or more apart; a comment comes last. `ALLOW IN` is `ALLOW` in full.
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.split(" # ").next().unwrap_or_default();
        let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
        let (to, action, from) = (columns.next()?, columns.next()?, columns.next()?);
        let action = action.strip_suffix(" IN").unwrap_or(action);
        Some(UfwRule { to, action, from })
    }
}

/// `6443/tcp`, `30000:32767/tcp`, `80,443/tcp`, or a port for both protocols; anything else (a name, an
/// interface, an address) is no port that is open from anywhere.
fn ufw_ports(to: &str) -> Vec<String> {
    let (ports, protocols) = match to.split_once('/') {
        Some((ports, protocol @ ("tcp" | "udp"))) => (ports, vec![protocol]),
        Some(_) => return Vec::new(),
        None => (to, vec!["tcp", "udp"]),
    };
    let number = |text: &str| text.parse::<u16>().ok();
    let is_port = |ports: &&str| {
        let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
        number(first).is_some() && number(first) <= number(last)
    };
    ports
        .split(',')
        .filter(is_port)
        .flat_map(|port| protocols.iter().map(move |p| format!("{}/{p}", port.replace(':', "-"))))
        .collect()
}

/// The rules that let ports and subnets in, in the words of `ufw show added`.
fn ufw_rules(ports: &[&Opening], subnets: &[&String]) -> Vec<String> {
    let ports = ports.iter().map(|port| ufw_rule(port));
    let subnets = subnets.iter().flat_map(|subnet| {
        [
            format!("allow from {subnet}"),
            format!("route allow from {subnet}"),
            format!("route allow to {subnet}"),
        ]
    });
    ports.chain(subnets).collect()
}

fn open_ufw(
    ports: &[&Opening],
    subnets: &[&String],
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let added = Program::new("ufw").args(["show", "added"]).stdout()?;
    let added = ufw_added(&added);
    for rule in ufw_rules(ports, subnets) {
        // Somebody's own, unless a run of ours was cut off here.
        let ours = format!("ufw:{rule}");
        if added.contains(&rule.as_str()) && !cx.along.contains(&ours) {
            continue;
        }
        // A plan names it; one that was added since would be lost.
        if let Some(against) = ufw_same(&added, &rule) {
            return Err(format!(
                "somebody's rule `{against}` is where `{rule}` has to be: `ufw delete {against}` takes it away"
            ));
        }
        cx.record([ours])?;
        let words = rule.split(' ').chain(["comment", COMMENT]);
        Program::new("ufw").args(words).stdout()?;
    }
    Ok(())
}

fn observe_firewalld(goal: &FirewallGoal, host: &Host) -> Result<FirewallSeen, String> {
    let mut seen = observe_service(FIREWALLD, host)?;
    match &goal.state {
        FirewallState::Open { .. } if seen.active => {}
        FirewallState::Restored { ours, .. } if seen.active => {
            seen.ours = firewalld_rules(ours)?;
            return Ok(seen);
        }
        // One that is off, or to go off, need not answer questions.
        _ => return Ok(seen),
    }
    let zone = firewalld_zone()?;
    // Both now and after a reload, or it is only half open.
    let both = |args: &str| -> Result<Vec<String>, String> {
        let permanent = firewall_cmd(&format!("--permanent {args}"))?;
        let mut now = list(&firewall_cmd(args)?);
        now.retain(|item| list(&permanent).contains(item));
        Ok(now)
    };
    let ports = both(&format!("--zone={zone} --list-ports"))?;
    seen.open = ports.into_iter().map(Opening::to_anyone).collect();
    if let FirewallState::Open { ports, .. } = &goal.state {
        for port in ports.iter().filter(|port| port.from.is_some()) {
            let rule = zone_rule(&zone, port);
            if has_firewalld(&rule)? && has_firewalld(&format!("--permanent {rule}"))? {
                seen.open.push(port.clone());
            }
        }
    }
    seen.trusted = both("--zone=trusted --list-sources")?;
    Ok(seen)
}

/// The zone that the NIC's packets come in by.
fn firewalld_zone() -> Result<String, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if let Some(nic) = default_route_interface(&routes)
        && let Ok(zone) = firewall_cmd(&format!("--get-zone-of-interface={nic}"))
        && !zone.trim().is_empty()
    {
        return Ok(zone.trim().to_owned());
    }
    firewall_cmd("--get-default-zone").map(|zone| zone.trim().to_owned())
}

/// The interface of the default route with the lowest metric, from /proc/net/route.
pub(crate) fn default_route_interface(text: &str) -> Option<&str> {
    text.lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|f| f.len() > 7 && f[1] == "00000000" && f[7] == "00000000")
        .min_by_key(|fields| fields[6].parse().unwrap_or(u32::MAX))
        .map(|fields| fields[0])
}

fn open_firewalld(
    ports: &[&Opening],
    subnets: &[&String],
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    for rule in firewalld_opens(&firewalld_zone()?, ports, subnets) {
        // One of the two may be there already, and is not ours then.
        if has_firewalld(&rule)? {
            continue;
        }
        cx.record([format!("firewalld:{rule}")])?;
        firewall_cmd(&rule)?;
    }
    Ok(())
}

/// What lets ports and subnets in, as firewall-cmd's options: each for good, since a reload forgets the others, and for now.
fn firewalld_opens(zone: &str, ports: &[&Opening], subnets: &[&String]) -> Vec<String> {
    let ports = ports.iter().map(|port| zone_rule(zone, port));
    let subnets = subnets.iter().map(|subnet| format!("--zone=trusted --add-source={subnet}"));
    ports.chain(subnets).flat_map(|rule| [format!("--permanent {rule}"), rule]).collect()
}

/// What takes such a rule away.
fn firewalld_closes(rule: &str) -> String {
    rule.replace("--add-", "--remove-")
}

/// What asks for it.
fn firewalld_asks(rule: &str) -> String {
    rule.replace("--add-", "--query-")
}

/// A port's rule in a zone, as firewall-cmd's options.
fn zone_rule(zone: &str, port: &Opening) -> String {
    let (option, value) = firewalld_rule(port);
    format!("--zone={zone} --{option}={value}")
}

/// Those rules that it has.
fn firewalld_rules(rules: &[String]) -> Result<Vec<String>, String> {
    let mut there = Vec::new();
    for rule in rules {
        if has_firewalld(rule)? {
            there.push(rule.clone());
        }
    }
    Ok(there)
}

/// firewall-cmd answers a query with its exit code, 1 for no.
fn has_firewalld(rule: &str) -> Result<bool, String> {
    let program = Program::new("firewall-cmd").args(options(&firewalld_asks(rule)));
    let output = program.output()?;
    if output.code == 1 {
        return Ok(false);
    }
    program.checked(output).map(|_| true)
}

fn firewall_cmd(args: &str) -> Result<String, String> {
    Program::new("firewall-cmd").args(options(args)).stdout()
}

/// Options in one text. Each begins with two dashes; the value of one may hold blanks.
pub(crate) fn options(text: &str) -> impl Iterator<Item = String> {
    text.trim_start_matches("--").split(" --").map(|option| format!("--{option}"))
}

pub(crate) fn list(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UFW: &str = "\
Status: active

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW       Anywhere
6443/tcp                   ALLOW       Anywhere                   # kubewan
30000:32767/tcp            ALLOW       Anywhere                   # kubewan
80,443/tcp                 ALLOW       Anywhere
53                         ALLOW       Anywhere
10250/tcp                  ALLOW       192.0.2.1
8472/udp on eth1           ALLOW       Anywhere
2379/tcp                   DENY        Anywhere
Nginx Full                 ALLOW       Anywhere
Anywhere                   ALLOW       10.244.0.0/16              # kubewan
Anywhere                   ALLOW       10.96.0.0/12
22/tcp (v6)                ALLOW       Anywhere (v6)
9999/tcp (v6)              ALLOW       Anywhere (v6)

Anywhere                   ALLOW FWD   10.244.0.0/16              # kubewan
10.244.0.0/16              ALLOW FWD   Anywhere                   # kubewan
";

    #[test]
    fn reads_ufw() {
        let seen = parse_ufw(UFW);
        assert!(seen.active);
        let open: Vec<String> = seen.open.iter().map(ToString::to_string).collect();
        let anyone = ["22/tcp", "6443/tcp", "30000-32767/tcp", "80/tcp", "443/tcp"];
        assert_eq!(open[..5], anyone);
        assert_eq!(open[5..], ["53/tcp", "53/udp", "10250/tcp from 192.0.2.1"]);
        assert_eq!(seen.trusted, ["10.244.0.0/16"]);
        assert_eq!(parse_ufw("Status: inactive\n"), FirewallSeen::default());
        let odd = "Status: active\n\n:/tcp  ALLOW  Anywhere\n1:2:3  ALLOW  Anywhere\n70000/tcp  ALLOW  Anywhere\n";
        assert_eq!(parse_ufw(odd).open, []);
        assert!(ufw_starts_at_boot("# x\nENABLED=yes\nLOGLEVEL=low\n"));
        assert!(!ufw_starts_at_boot("#ENABLED=yes\nENABLED=no\n"));
    }

    #[test]
    fn rules_that_say_otherwise_are_named_and_stay() {
        let goal = FirewallState::Open {
            ports: ["6443/tcp", "30000-32767/tcp"].map(Opening::to_anyone).to_vec(),
            trusted: vec!["10.244.0.0/16".into()],
        };
        let added = ["limit 22/tcp", "limit 6443/tcp", "deny from 10.244.0.0/16", "deny 80/tcp"];
        let mut seen = FirewallSeen { active: true, ..FirewallSeen::default() };
        compare_ufw(&goal, &added, &mut seen);
        assert_eq!(seen.against, ["limit 6443/tcp", "deny from 10.244.0.0/16"]);
        // One that is off lets all in.
        let mut seen = FirewallSeen::default();
        compare_ufw(&goal, &added, &mut seen);
        assert_eq!(seen, FirewallSeen::default());
        let ours = vec!["allow 6443/tcp".to_owned(), "limit 22/tcp".into()];
        let goal = FirewallState::Restored { active: true, enabled: true, ours };
        compare_ufw(&goal, &added, &mut seen);
        assert_eq!(seen.ours, ["limit 22/tcp"]);
    }

    #[test]
    fn knows_rules_that_ours_take_the_place_of() {
        // ufw 0.36.2
        let text = "Added user rules (see 'ufw status' for running firewall):\n\
            ufw limit 22/tcp comment 'ssh'\nufw allow 6443/tcp comment 'kubewan'\nufw allow OpenSSH\n\
            ufw allow from 10.244.0.0/16\nufw route allow from 10.244.0.0/16 comment 'kubewan'\n";
        let added = ufw_added(text);
        assert_eq!(added[..2], ["limit 22/tcp", "allow 6443/tcp"]);
        assert_eq!(added[4], "route allow from 10.244.0.0/16");
        assert_eq!(ufw_same(&added, "allow 22/tcp"), Some("limit 22/tcp"));
        assert_eq!(ufw_same(&added, "allow 6443/tcp"), None);
        assert_eq!(ufw_same(&added, "route allow from 10.244.0.0/16"), None);
        assert_eq!(ufw_same(&added, "route allow to 10.244.0.0/16"), None);
    }

    /// firewall-cmd(1): `--permanent` before what it is for; a query's, an addition's and a removal's words differ in the verb alone.
    #[test]
    fn what_firewalld_is_told() {
        let anyone = Opening::to_anyone("30000-32767/udp");
        let peer = Opening::to_one("10250/tcp", std::net::Ipv4Addr::new(192, 0, 2, 1));
        let pods = "10.244.0.0/16".to_owned();
        let opens = firewalld_opens("public", &[&anyone, &peer], &[&pods]);
        let rich = "--zone=public --add-rich-rule=rule family=\"ipv4\" source address=\"192.0.2.1\" port port=\"10250\" protocol=\"tcp\" accept";
        let rules = [
            "--zone=public --add-port=30000-32767/udp",
            rich,
            "--zone=trusted --add-source=10.244.0.0/16",
        ];
        let both: Vec<String> =
            rules.iter().flat_map(|r| [format!("--permanent {r}"), (*r).to_owned()]).collect();
        assert_eq!(opens, both);
        assert_eq!(
            firewalld_asks(&opens[0]),
            "--permanent --zone=public --query-port=30000-32767/udp"
        );
        assert_eq!(firewalld_closes(&opens[5]), "--zone=trusted --remove-source=10.244.0.0/16");
        assert!(firewalld_closes(rich).starts_with("--zone=public --remove-rich-rule=rule family"));
        let off = |tool| off(tool).iter().map(|line| line.join(" ")).collect::<Vec<_>>();
        assert_eq!(off(FirewallTool::Firewalld), ["systemctl disable --now firewalld.service"]);
    }

    #[test]
    fn a_rich_rule_is_one_option() {
        let peer = Opening::to_one("10250/tcp", std::net::Ipv4Addr::new(192, 0, 2, 1));
        let rule = format!("--permanent {}", zone_rule("public", &peer));
        let words: Vec<String> = options(&rule).collect();
        assert_eq!(words[..2], ["--permanent", "--zone=public"]);
        assert_eq!(words.len(), 3);
        assert!(words[2].starts_with("--add-rich-rule=rule family=\"ipv4\" source"), "{words:?}");
    }

    #[test]
    fn reads_the_default_route() {
        let text = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";
        assert_eq!(default_route_interface(text), Some("eth0"));
        assert_eq!(default_route_interface(""), None);
    }

    #[test]
    fn nftables_is_not_opened_behind_its_owner() {
        let goal = FirewallGoal {
            tool: FirewallTool::Nftables,
            state: FirewallState::Open {
                ports: vec![Opening::to_anyone("6443/tcp")],
                trusted: vec!["10.244.0.0/16".into()],
            },
        };
        let (host, values) = (Host::at("/nonexistent"), std::collections::BTreeMap::new());
        let mut progress = |_: &str| {};
        let mut cx = Performing::new(&host, &values, &mut progress);
        let error = perform_firewall(&goal, &FirewallSeen::default(), &mut cx).unwrap_err();
        assert!(error.contains("Let in 6443/tcp and all from 10.244.0.0/16"), "{error}");
    }
}
