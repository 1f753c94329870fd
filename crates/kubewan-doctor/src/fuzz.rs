//! What must hold for the readers of logs and of kubectl's answers, whatever the bytes are. See `kubewan_core::fuzz`.

use kubewan_core::evidence::ClusterAnswers;
use kubewan_core::redact;

use crate::cluster::Cluster;
use crate::{Case, diagnose, support};

/// A text that someone pasted: every diagnosis has evidence out of it, and nothing that a terminal takes for more.
pub fn log(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let found = diagnose(&Case::pasted("FILE", &text));
    for diagnosis in &found {
        assert!(!diagnosis.evidence.is_empty(), "{diagnosis:?} has no evidence");
        for quote in &diagnosis.evidence {
            assert!(!quote.text.contains(char::is_control), "steers the terminal: {quote:?}");
            let line =
                quote.source.strip_prefix("FILE:").and_then(|line| line.parse::<usize>().ok());
            assert!(
                line.is_some_and(|line| (1..=text.lines().count()).contains(&line)),
                "{quote:?}: no such line"
            );
        }
    }
    assert_eq!(found, diagnose(&Case::pasted("FILE", &text)), "two readings differ");
}

/// kubectl's answers, which a proxy may cut anywhere.
pub fn answers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let answers = ClusterAnswers {
        nodes: Some(text.clone()),
        pods: vec![text.clone()],
        cluster_info: Some(text.clone()),
        tokens: Some(text),
        silent: None,
    };
    let cluster = Cluster::read(&answers);
    diagnose(&Case { cluster: Some(cluster), ..Case::default() });
}

/// What a support bundle leaves out.
pub fn redacted(bytes: &[u8]) {
    let said = String::from_utf8_lossy(bytes);
    let secret = "MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn";
    let pem = format!(
        "{said}\n-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----\n"
    );
    let kept = redact::thoroughly(&pem);
    assert!(!kept.contains(secret), "{kept:?} shows a key");
    assert_eq!(redact::thoroughly(&kept), kept, "redacted, and not for good");
    let mut addresses = support::Addresses::default();
    let hidden = addresses.hidden(&said);
    assert!(
        crate::case::addresses(&hidden).all(|a| a.is_loopback() || a.is_unspecified()),
        "{hidden:?} shows an address"
    );
}
