//! What must hold for the readers of what other programs print and of files that may be torn, whatever the bytes are:
//! one function for each group of readers. It panics where one breaks its contract. See `kubewan_core::fuzz`.

mod acts;
mod facts;

use std::collections::BTreeMap;

use kubewan_core::journal::{Entry, cluster};
use kubewan_core::protocol::Orders;
use kubewan_core::redact;
use serde_json::Value;

use crate::command::Kept;
use crate::{batch, journal, overhear, probe, relay};

pub use acts::{
    certificate, evidence, firewalls, images, kubeadm_files, kubectl, mounts, packages,
    packet_filter,
};
pub use facts::{host_files, kubelet_flags, network, sockets, units, versions};

/// What a program printed. Programs' output is made text in the same way.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// JSON that a program printed; null where it is none, as most readers have it.
fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// `journal.jsonl`, torn anywhere: what was whole before is read, and there is a next number and a way back.
pub fn journal(bytes: &[u8]) {
    let Ok(entries) = journal::parse(bytes) else { return };
    assert!(entries.len() <= bytes.split(|b| *b == b'\n').count());
    let written = |entry: &Entry| serde_json::to_string(entry).expect("JSON") + "\n";
    let lines: Vec<String> = entries.iter().map(written).collect();
    let whole = lines.concat();
    assert_eq!(
        journal::parse(whole.as_bytes()).as_ref(),
        Ok(&entries),
        "{whole} reads differently"
    );
    if let Some(last) = lines.last() {
        // The power may go at any byte of a line that we write.
        for cut in [1, 2, last.len() / 2, last.len() - 2] {
            let torn = &whole.as_bytes()[..whole.len() - last.len() + cut];
            let rest = &entries[..entries.len() - 1];
            assert_eq!(journal::parse(torn).as_deref(), Ok(rest), "{} is torn", text(torn));
        }
    }
    let next = journal::next_number(&entries);
    let standing = journal::standing(&entries);
    assert!(next == u64::MAX || standing.iter().all(|(begun, _)| begun.number < next));
    for (begun, _) in standing {
        journal::along(&entries, begun.number).for_each(drop);
    }
    let owned = crate::facts::cluster_state::from_journal(&entries);
    assert!(owned.init_begun || owned.init_configs.is_empty());
    assert_eq!(
        cluster(&entries).is_some(),
        entries.iter().any(|e| matches!(e, Entry::Opened { .. }))
    );
    kubewan_core::fuzz::way_back(&entries);
}

/// A batch's log, torn anywhere.
pub fn events(bytes: &[u8]) {
    let events = batch::parse_events(bytes);
    assert!(events.len() <= bytes.split(|b| *b == b'\n').count());
    let lines: Vec<String> =
        events.iter().map(|event| serde_json::to_string(event).expect("JSON") + "\n").collect();
    assert_eq!(batch::parse_events(lines.concat().as_bytes()), events);
}

/// The spool of a batch's orders: values are put in place of their markers, and a marker without one is an error.
pub fn orders(bytes: &[u8]) {
    let Ok(orders) = serde_json::from_slice::<Orders>(bytes) else { return };
    for step in &orders.steps {
        let Ok(action) = batch::with_values(&step.action, &orders) else { continue };
        assert_eq!(action.kind(), step.action.kind());
    }
}

/// What comes over the network while ports are tried: an address and a name, and nothing that a terminal takes for more.
pub fn packets(bytes: &[u8]) {
    let port = bytes.get(22..24).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    if let Some((name, _)) = overhear::said(bytes, port, "") {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')));
    }
    if let Some(address) = probe::came_from(bytes, "") {
        assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address:?} is no address");
    }
}

/// Lines of programs that are shown to people: none of it is lost, the cut does not depend on how it came, and no
/// secret stands in it.
pub fn output(bytes: &[u8]) {
    let keep = |size: usize| {
        let (mut kept, mut lines) = (Kept::default(), Vec::new());
        let mut line = |line: &str| lines.push(line.to_owned());
        bytes.chunks(size).for_each(|part| kept.push(part, &mut line));
        kept.flush(&mut line);
        (kept.text(), lines)
    };
    let whole = keep(16 << 10);
    assert_eq!(whole.0, text(bytes));
    if bytes.len() <= 8 << 10 {
        assert_eq!(keep(7), whole, "the same bytes in smaller pieces");
    }
    let said = text(bytes);
    let (token, secret) = ("abcdef.0123456789abcdef", "hunter2-hunter2");
    let values = BTreeMap::from([("@secret(x)@".to_owned(), secret.to_owned())]);
    let masked = redact::redact(&format!("{said} {token} {said}{secret}{said}"), &values);
    assert!(!masked.contains(secret), "{masked:?} shows a value");
    assert!(!masked.contains(&format!(" {token} ")), "{masked:?} shows a token");
    assert_eq!(redact::redact(&masked, &values), masked, "masked, and not for good");
    relay::last_words(&said);
    if let Ok(answer) = probe::parse_answer(&said) {
        let status = answer.split(' ').next().unwrap_or_default();
        assert!(status.parse::<u16>().is_ok(), "{answer:?} has no status");
    }
}
