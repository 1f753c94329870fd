//! What must not answer whoever asks: etcd and the kubelet of control planes that listen on all addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use kubewan_core::event::{Outcome, Proof};
use kubewan_core::inventory::{Acceptance, Host};
use kubewan_core::network::ports::of_hosts_alone;

use super::Test;

/// For one knock. A firewall that drops it lets it wait to the end.
const PATIENCE: Duration = Duration::from_secs(3);

/// Knocks from this machine, which is none of the hosts. That a firewall is active tells nothing of the rules that it
/// has besides ours; this does. With one control plane there is nothing to show: its etcd listens on 127.0.0.1.
pub(super) fn closed_to_others(test: &Test) -> Vec<Proof> {
    if !test.inventory.has_several_control_planes() {
        return Vec::new();
    }
    let tell = |host: &Host, (outcome, detail): (Outcome, String)| {
        let address = test.addresses[&host.name];
        test.tell_outcome(
            "closed-to-others",
            format!("you -> {} ({address})", host.name),
            outcome,
            detail,
        )
    };
    let control_planes: Vec<&Host> =
        test.inventory.hosts.iter().filter(|host| host.is_control_plane()).collect();
    if test.addresses.values().any(|address| is_here(*address)) {
        let why = "this machine is one of the cluster's hosts, which are let in";
        let told = control_planes.into_iter();
        return told.map(|host| tell(host, (Outcome::NotShown, why.into()))).collect();
    }
    let answering: Vec<Vec<u16>> = thread::scope(|scope| {
        let knocks: Vec<_> = control_planes
            .iter()
            .map(|host| {
                let address = test.addresses[&host.name];
                let closed = of_hosts_alone(test.inventory, host).into_iter();
                closed
                    .map(|port| scope.spawn(move || answers(address, port).then_some(port)))
                    .collect::<Vec<_>>()
            })
            .collect();
        let heard = |knocks: Vec<thread::ScopedJoinHandle<'_, Option<u16>>>| {
            knocks.into_iter().filter_map(|knock| knock.join().ok().flatten()).collect()
        };
        knocks.into_iter().map(heard).collect()
    });
    let judge = |host: &Host, ports: &[u16]| {
        let accepted = test.inventory.accepted(host, Acceptance::ControlPlaneExposed);
        verdict(ports, accepted.as_deref())
    };
    let each = control_planes.into_iter().zip(answering);
    each.map(|(host, ports)| tell(host, judge(host, &ports))).collect()
}

fn verdict(answering: &[u16], accepted: Option<&str>) -> (Outcome, String) {
    let ports = answering.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    match (answering, accepted) {
        ([], _) => (Outcome::Passed, "neither etcd nor the kubelet answers".into()),
        (_, Some(place)) => (Outcome::NotShown, format!("{ports} answer (accepted by {place})")),
        (_, None) => (
            Outcome::Failed,
            format!(
                "{ports} answer this machine, which is no host of the cluster: look which rule of the host's firewall \
                 lets everyone in (`ufw status verbose`, `firewall-cmd --list-all-zones`), or accept \
                 `control-plane-exposed`"
            ),
        ),
    }
}

fn answers(address: Ipv4Addr, port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((address, port)), PATIENCE).is_ok()
}

/// Whether an address is this machine's own: also behind NAT, since `kubewan0` has it.
fn is_here(address: Ipv4Addr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_answers_is_told_and_what_is_accepted_is_no_failure() {
        assert_eq!(verdict(&[], None).0, Outcome::Passed);
        let (outcome, said) = verdict(&[2379, 10250], None);
        assert!(outcome == Outcome::Failed && said.starts_with("2379, 10250 answer"), "{said}");
        let (outcome, said) = verdict(&[2380], Some("accept"));
        assert!(outcome == Outcome::NotShown && said.contains("accepted by accept"), "{said}");
    }

    #[test]
    fn a_port_answers_that_someone_listens_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(answers(Ipv4Addr::LOCALHOST, port));
        drop(listener);
        assert!(!answers(Ipv4Addr::LOCALHOST, port));
        assert!(is_here(Ipv4Addr::LOCALHOST) && !is_here(Ipv4Addr::new(192, 0, 2, 200)));
    }
}
