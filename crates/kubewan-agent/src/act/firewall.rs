//! Host firewalls, each through its own tool: an accept in a table of ours could not override their drops.

use kubewan_core::action::FirewallGoal;
use kubewan_core::action::firewall::FirewallSeen;
use kubewan_core::facts::FirewallTool;

use super::unit::show;
use super::{Host, Performing};
use crate::command::{Program, exists};

/// Where ufw keeps whether it starts at boot.
const UFW_CONF: &str = "/etc/ufw/ufw.conf";

/// Marks our rules for who reads `ufw status`.
const COMMENT: &str = "kubewan";

/// Looks what the firewall lets in.
pub fn observe_firewall(goal: &FirewallGoal, _host: &Host) -> Result<FirewallSeen, String> {
    match goal.tool {
        FirewallTool::Ufw => observe_ufw(),
        FirewallTool::Firewalld => observe_firewalld(goal),
        FirewallTool::IptablesPersistent => observe_service("netfilter-persistent.service"),
        FirewallTool::Nftables => observe_service("nftables.service"),
    }
}

/// Opens it, or switches it off.
pub fn perform_firewall(
    goal: &FirewallGoal,
    seen: &FirewallSeen,
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let Some(open) = &goal.open else { return switch_off(goal.tool) };
    let ports: Vec<&String> = open.iter().filter(|port| !seen.open.contains(port)).collect();
    let subnets: Vec<&String> = goal.trusted.iter().filter(|s| !seen.trusted.contains(s)).collect();
    match goal.tool {
        FirewallTool::Ufw => open_ufw(&ports, &subnets, cx),
        FirewallTool::Firewalld => open_firewalld(&ports, &subnets, cx),
        FirewallTool::IptablesPersistent | FirewallTool::Nftables => {
            let words =
                |list: &[&String]| list.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
            Err(format!(
                "{} has no command that opens a port, and its rules are someone's own text. Let in {} and all \
                 from {} there by hand, or have it switched off by the inventory",
                goal.tool_name(),
                words(&ports),
                words(&subnets)
            ))
        }
    }
}

fn switch_off(tool: FirewallTool) -> Result<(), String> {
    let unit = match tool {
        FirewallTool::Ufw => return Program::new("ufw").arg("disable").stdout().map(drop),
        FirewallTool::Firewalld => "firewalld.service",
        FirewallTool::Nftables => "nftables.service",
        FirewallTool::IptablesPersistent => {
            // Stopping it leaves the rules in the kernel, which is not what `off` means.
            Program::new("netfilter-persistent").arg("flush").stdout()?;
            "netfilter-persistent.service"
        }
    };
    Program::new("systemctl").args(["disable", "--now", unit]).stdout().map(drop)
}

fn observe_service(unit: &str) -> Result<FirewallSeen, String> {
    let shown = show(unit, &["ActiveState", "UnitFileState"])?;
    let is = |key: &str, value: &str| shown.get(key).is_some_and(|v| v == value);
    Ok(FirewallSeen {
        active: is("ActiveState", "active"),
        enabled: is("UnitFileState", "enabled"),
        ..FirewallSeen::default()
    })
}

fn observe_ufw() -> Result<FirewallSeen, String> {
    if !exists("ufw") {
        return Ok(FirewallSeen::default());
    }
    let conf = std::fs::read_to_string(UFW_CONF).unwrap_or_default();
    let status = Program::new("ufw").arg("status").stdout()?;
    Ok(FirewallSeen { enabled: ufw_starts_at_boot(&conf), ..parse_ufw(&status) })
}

fn ufw_starts_at_boot(conf: &str) -> bool {
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
fn parse_ufw(status: &str) -> FirewallSeen {
    let rules: Vec<UfwRule<'_>> = status.lines().filter_map(ufw_rule).collect();
    let mut seen = FirewallSeen {
        active: status.lines().any(|line| line.trim() == "Status: active"),
        ..FirewallSeen::default()
    };
    let has = |to: &str, action: &str, from: &str| {
        rules.iter().any(|r| r.to == to && r.action == action && r.from == from)
    };
    for rule in &rules {
        if rule.action == "ALLOW" && rule.from == "Anywhere" {
            seen.open.extend(ufw_ports(rule.to));
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

/// Columns of a line are two spaces or more apart; a comment comes last. `ALLOW IN` is `ALLOW` in full.
fn ufw_rule(line: &str) -> Option<UfwRule<'_>> {
    let line = line.split(" # ").next().unwrap_or_default();
    let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
    let (to, action, from) = (columns.next()?, columns.next()?, columns.next()?);
    let action = action.strip_suffix(" IN").unwrap_or(action);
    Some(UfwRule { to, action, from })
}

/// `6443/tcp`, `30000:32767/tcp`, `80,443/tcp`, or a port for both protocols; anything else (a name, an
/// interface, an address) is no port that is open from anywhere.
fn ufw_ports(to: &str) -> Vec<String> {
    let (ports, protocols) = match to.split_once('/') {
        Some((ports, protocol @ ("tcp" | "udp"))) => (ports, vec![protocol]),
        Some(_) => return Vec::new(),
        None => (to, vec!["tcp", "udp"]),
    };
    let is_port = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit() || b == b':');
    ports
        .split(',')
        .filter(|port| is_port(port))
        .flat_map(|port| protocols.iter().map(move |p| format!("{}/{p}", port.replace(':', "-"))))
        .collect()
}

fn open_ufw(ports: &[&String], subnets: &[&String], cx: &mut Performing<'_>) -> Result<(), String> {
    let mut rules: Vec<Vec<String>> = Vec::new();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for port in ports {
        rules.push(words(&format!("allow {}", port.replace('-', ":"))));
    }
    for subnet in subnets {
        rules.push(words(&format!("allow from {subnet}")));
        rules.push(words(&format!("route allow from {subnet}")));
        rules.push(words(&format!("route allow to {subnet}")));
    }
    for rule in rules {
        cx.record([format!("ufw:{}", rule.join(" "))])?;
        Program::new("ufw").args(rule).args(["comment", COMMENT]).stdout()?;
    }
    Ok(())
}

fn observe_firewalld(goal: &FirewallGoal) -> Result<FirewallSeen, String> {
    let mut seen = observe_service("firewalld.service")?;
    // One that is to go off need not answer questions.
    if !seen.active || goal.open.is_none() {
        return Ok(seen);
    }
    let zone = firewalld_zone()?;
    // Both now and after a reload, or it is only half open.
    let both = |args: &[String]| -> Result<Vec<String>, String> {
        let permanent = firewall_cmd(true, args)?;
        let mut now = list(&firewall_cmd(false, args)?);
        now.retain(|item| list(&permanent).contains(item));
        Ok(now)
    };
    seen.open = both(&[format!("--zone={zone}"), "--list-ports".into()])?;
    seen.trusted = both(&["--zone=trusted".into(), "--list-sources".into()])?;
    Ok(seen)
}

/// The zone that the NIC's packets come in by.
fn firewalld_zone() -> Result<String, String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    if let Some(nic) = default_route_interface(&routes) {
        let args = [format!("--get-zone-of-interface={nic}")];
        if let Ok(zone) = firewall_cmd(false, &args)
            && !zone.trim().is_empty()
        {
            return Ok(zone.trim().to_owned());
        }
    }
    firewall_cmd(false, &["--get-default-zone".into()]).map(|zone| zone.trim().to_owned())
}

/// The interface of the default route with the lowest metric, from /proc/net/route.
fn default_route_interface(text: &str) -> Option<&str> {
    text.lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|f| f.len() > 7 && f[1] == "00000000" && f[7] == "00000000")
        .min_by_key(|fields| fields[6].parse().unwrap_or(u32::MAX))
        .map(|fields| fields[0])
}

fn open_firewalld(
    ports: &[&String],
    subnets: &[&String],
    cx: &mut Performing<'_>,
) -> Result<(), String> {
    let zone = firewalld_zone()?;
    let mut rules: Vec<[String; 2]> = Vec::new();
    for port in ports {
        rules.push([format!("--zone={zone}"), format!("--add-port={port}")]);
    }
    for subnet in subnets {
        rules.push(["--zone=trusted".into(), format!("--add-source={subnet}")]);
    }
    for rule in rules {
        cx.record([format!("firewalld:{}", rule.join(" "))])?;
        firewall_cmd(true, &rule)?;
        firewall_cmd(false, &rule)?;
    }
    Ok(())
}

fn firewall_cmd(permanent: bool, args: &[String]) -> Result<String, String> {
    let mut program = Program::new("firewall-cmd");
    if permanent {
        program = program.arg("--permanent");
    }
    program.args(args).stdout()
}

fn list(text: &str) -> Vec<String> {
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
        assert_eq!(
            seen.open,
            ["22/tcp", "6443/tcp", "30000-32767/tcp", "80/tcp", "443/tcp", "53/tcp", "53/udp"]
        );
        assert_eq!(seen.trusted, ["10.244.0.0/16"]);
        assert_eq!(parse_ufw("Status: inactive\n"), FirewallSeen::default());
        assert!(ufw_starts_at_boot("# x\nENABLED=yes\nLOGLEVEL=low\n"));
        assert!(!ufw_starts_at_boot("#ENABLED=yes\nENABLED=no\n"));
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
            open: Some(vec!["6443/tcp".into()]),
            trusted: vec!["10.244.0.0/16".into()],
        };
        let (host, values) = (Host::at("/nonexistent"), std::collections::BTreeMap::new());
        let mut progress = |_: &str| {};
        let mut cx = Performing::new(&host, &values, &mut progress);
        let error = perform_firewall(&goal, &FirewallSeen::default(), &mut cx).unwrap_err();
        assert!(error.contains("Let in 6443/tcp and all from 10.244.0.0/16"), "{error}");
    }
}
