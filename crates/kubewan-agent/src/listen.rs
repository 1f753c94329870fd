//! Answering on ports that nobody listens on yet, for a moment: whether packets come this far is known before anything
//! is installed. What answers says a word that the asker chose, so that no other machine is taken for this one, and the
//! address that the asker came from, which NAT may have changed. UDP answers nothing else than that word, with hardly
//! more than that word: it is of no use as a reflector.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::overhear::{self, Heard, Wanted};

/// Whoever forgets us has forgotten us: the ports are free again after this time.
const LIFE: Duration = Duration::from_secs(60);

/// How long a listener waits before it looks whether it is to go on.
const TURN: Duration = Duration::from_millis(20);

/// Ports that answer until this is dropped.
pub struct Listening {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// The TCP ports among those asked for that could be had.
    pub tcp: Vec<u16>,
    /// The UDP ports.
    pub udp: Vec<u16>,
    /// Why nothing can be overheard; `None` where it can, or nothing is to be.
    pub deaf: Option<String>,
    /// What was overheard.
    pub heard: Heard,
}

/// Answers on ports. One that someone else has is left to him. Of an overheard port is noted who says the word to it, of
/// those that are knocked at who begins a connection, and nothing is answered.
pub fn on(
    tcp: &[u16],
    udp: &[u16],
    overheard: Option<u16>,
    knocked: &[u16],
    word: &str,
) -> Listening {
    let stop = Arc::new(AtomicBool::new(false));
    let mut listening = Listening {
        stop: Arc::clone(&stop),
        threads: Vec::new(),
        tcp: Vec::new(),
        udp: Vec::new(),
        deaf: None,
        heard: Heard::default(),
    };
    let until = Instant::now() + LIFE;
    let goes_on = move |stop: &AtomicBool| !stop.load(Ordering::Relaxed) && Instant::now() < until;
    for port in tcp {
        let listeners = bound(*port, own_addresses, TcpListener::bind);
        listening.tcp.extend((!listeners.is_empty()).then_some(*port));
        for listener in listeners {
            if listener.set_nonblocking(true).is_err() {
                continue;
            }
            let (word, stop) = (word.to_owned(), Arc::clone(&stop));
            listening.threads.push(thread::spawn(move || {
                while goes_on(&stop) {
                    match listener.accept() {
                        Ok((mut stream, from)) => {
                            drop(stream.write_all(greeting(&word, from).as_bytes()));
                        }
                        Err(_) => thread::sleep(TURN),
                    }
                }
            }));
        }
    }
    for port in udp {
        let sockets = bound(*port, own_addresses, UdpSocket::bind);
        listening.udp.extend((!sockets.is_empty()).then_some(*port));
        for socket in sockets {
            if socket.set_read_timeout(Some(TURN)).is_err() {
                continue;
            }
            let (word, stop) = (word.to_owned(), Arc::clone(&stop));
            listening.threads.push(thread::spawn(move || {
                let mut buffer = [0; 256];
                while goes_on(&stop) {
                    if let Ok((count, from)) = socket.recv_from(&mut buffer)
                        && buffer[..count] == *word.as_bytes()
                    {
                        let _ = socket.send_to(greeting(&word, from).as_bytes(), from);
                    }
                }
            }));
        }
    }
    if overheard.is_some() || !knocked.is_empty() {
        let (word, tcp) = (word.to_owned(), knocked.to_vec());
        let wanted = Wanted { udp: overheard, word, tcp, own: own_addresses() };
        let (stop, heard) = (Arc::clone(&stop), Arc::clone(&listening.heard));
        match overhear::open(TURN) {
            Ok(socket) => listening.threads.push(thread::spawn(move || {
                while goes_on(&stop) {
                    overhear::next(&socket, &wanted, &heard);
                }
            })),
            Err(why) => listening.deaf = Some(why),
        }
    }
    listening
}

/// What is answered: the word, and where the asker came from.
fn greeting(word: &str, from: SocketAddr) -> String {
    format!("{word} {}\n", from.ip())
}

/// Sockets on a port: one on all addresses; where a program has it on 127.0.0.1 only, as etcd beside a single API server,
/// one on each other address. None where the port is someone else's.
fn bound<S>(
    port: u16,
    own: impl FnOnce() -> Vec<Ipv4Addr>,
    bind: impl Fn(SocketAddr) -> std::io::Result<S>,
) -> Vec<S> {
    let at = |address: Ipv4Addr| bind(SocketAddr::from((address, port)));
    match at(Ipv4Addr::UNSPECIFIED) {
        Ok(socket) => vec![socket],
        Err(_) => own().into_iter().map_while(|address| at(address).ok()).collect(),
    }
}

/// This host's addresses but for those of the loopback interface.
fn own_addresses() -> Vec<Ipv4Addr> {
    let links = crate::facts::network::links().map(|links| links.addresses).unwrap_or_default();
    let addresses = links.into_iter().map(|each| each.address.addr());
    addresses.filter(|address| !IpAddr::from(*address).is_loopback()).collect()
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The ports have to be free when the next program wants them.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe;

    /// Ports that nobody had a moment ago.
    fn free_ports() -> (u16, u16) {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        (tcp, udp)
    }

    #[test]
    fn answers_with_the_word_until_it_is_dropped() {
        let (tcp, udp) = free_ports();
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let taken = taken.local_addr().unwrap().port();
        let listening = on(&[tcp, taken], &[udp], None, &[], "a-word");
        assert_eq!((&listening.tcp, &listening.udp), (&vec![tcp], &vec![udp]));
        let targets = [
            format!("greets://127.0.0.1:{tcp}/a-word"),
            format!("udp://127.0.0.1:{udp}/a-word"),
            format!("greets://127.0.0.1:{tcp}/another"),
            format!("udp://127.0.0.1:{udp}/another"),
        ];
        let answers = probe::all(&targets[..2], Duration::from_secs(30));
        assert_eq!(answers, [Ok("127.0.0.1".into()), Ok("127.0.0.1".into())]);
        let answers = probe::all(&targets[2..], Duration::from_millis(1500));
        assert!(answers.iter().all(Result::is_err), "another word is answered: {answers:?}");
        drop(listening);
        let answers = probe::all(&targets[..2], Duration::from_millis(600));
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        TcpListener::bind(("0.0.0.0", tcp)).expect("the port is free again");
    }

    #[test]
    fn a_port_that_is_taken_on_127_0_0_1_only_is_free_elsewhere() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let bind = |address: SocketAddr| TcpListener::bind(address);
        let others = || vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
        assert_eq!(bound(port, others, bind).len(), 2);
        assert!(bound(port, || vec![Ipv4Addr::LOCALHOST], bind).is_empty());
    }
}
