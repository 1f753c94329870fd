//! Answering on ports that nobody listens on yet, for a moment: whether packets come this far is known before anything
//! is installed. What answers says a word that the asker chose, so that no other machine is taken for this one, and
//! UDP answers nothing else than that word with that word: it is of no use as a reflector.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

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
}

/// Answers on ports. One that someone else has is left to him.
pub fn on(tcp: &[u16], udp: &[u16], word: &str) -> Listening {
    let stop = Arc::new(AtomicBool::new(false));
    let mut listening = Listening {
        stop: Arc::clone(&stop),
        threads: Vec::new(),
        tcp: Vec::new(),
        udp: Vec::new(),
    };
    let until = Instant::now() + LIFE;
    let goes_on = move |stop: &AtomicBool| !stop.load(Ordering::Relaxed) && Instant::now() < until;
    for port in tcp {
        let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)) else { continue };
        if listener.set_nonblocking(true).is_err() {
            continue;
        }
        let (word, stop) = (format!("{word}\n"), Arc::clone(&stop));
        listening.tcp.push(*port);
        listening.threads.push(thread::spawn(move || {
            while goes_on(&stop) {
                match listener.accept() {
                    Ok((mut stream, _)) => drop(stream.write_all(word.as_bytes())),
                    Err(_) => thread::sleep(TURN),
                }
            }
        }));
    }
    for port in udp {
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)) else { continue };
        if socket.set_read_timeout(Some(TURN)).is_err() {
            continue;
        }
        let (word, stop) = (word.as_bytes().to_vec(), Arc::clone(&stop));
        listening.udp.push(*port);
        listening.threads.push(thread::spawn(move || {
            let mut buffer = [0; 256];
            while goes_on(&stop) {
                if let Ok((count, from)) = socket.recv_from(&mut buffer)
                    && buffer[..count] == word
                {
                    let _ = socket.send_to(&word, from);
                }
            }
        }));
    }
    listening
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
        let listening = on(&[tcp, taken], &[udp], "a-word");
        assert_eq!((&listening.tcp, &listening.udp), (&vec![tcp], &vec![udp]));
        let targets = [
            format!("greets://127.0.0.1:{tcp}/a-word"),
            format!("udp://127.0.0.1:{udp}/a-word"),
            format!("greets://127.0.0.1:{tcp}/another"),
            format!("udp://127.0.0.1:{udp}/another"),
        ];
        let answers = probe::all(&targets, Duration::from_millis(1500));
        assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
        assert!(answers[2].as_ref().unwrap_err().contains("something else"), "{answers:?}");
        assert!(answers[3].is_err(), "a datagram with another word is answered");
        drop(listening);
        let answers = probe::all(&targets[..2], Duration::from_millis(600));
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        TcpListener::bind(("0.0.0.0", tcp)).expect("the port is free again");
    }
}
