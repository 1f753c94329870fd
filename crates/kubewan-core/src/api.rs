//! What the Kubernetes API says where it did not get to an answer.

/// What kubectl prints where the API server, or etcd behind it, had no time: a 504 (apimachinery, `pkg/api/errors`,
/// `NewTimeoutError` and `NewServerTimeout`), a 429 (`NewTooManyRequests`), and etcd's own words (`api/v3rpc/rpctypes`).
const NO_TIME: [&str; 8] = [
    "Error from server (Timeout)",
    "Error from server (ServerTimeout)",
    "Error from server (TooManyRequests)",
    "the server was unable to return a response in the time allotted",
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "etcdserver: no leader",
    "etcdserver: too many requests",
];

/// Whether an error says that a control plane which is there was too busy to answer. What was asked for may have been done all
/// the same, so that only what may be done twice is asked for again.
pub fn had_no_time(words: &str) -> bool {
    NO_TIME.iter().any(|sign| words.contains(sign))
}

/// What kubectl prints where the API, or the way to it, is not there now.
const NO_WAY: [&str; 15] = [
    "connection refused",
    "was refused",
    "connection reset",
    "i/o timeout",
    "TLS handshake timeout",
    "context deadline exceeded",
    "Client.Timeout",
    "unexpected EOF",
    ": EOF",
    "no route to host",
    "network is unreachable",
    "http2: client connection lost",
    "the server is currently unable to handle the request",
    "apiserver not ready",
    "did not end within",
];

/// Whether an error says that nobody answers now, or had no time to.
pub fn is_transient(words: &str) -> bool {
    NO_WAY.iter().any(|sign| words.contains(sign)) || had_no_time(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_control_plane_is_told_from_one_that_refuses() {
        assert!(had_no_time(
            "Error from server (Timeout): the server was unable to return a response in the time allotted, but may still be \
             processing the request (get nodes)"
        ));
        assert!(had_no_time("Error from server: etcdserver: request timed out"));
        assert!(!had_no_time("Error from server (NotFound): nodes \"x\" not found"));
        assert!(!had_no_time("Error from server (Forbidden): nodes is forbidden"));
    }

    #[test]
    fn tells_an_absent_api_from_a_refusal() {
        let refused = "The connection to the server api.home.kubewan:6443 was refused - did you specify the right host or port?";
        assert!(is_transient(refused));
        assert!(is_transient("Unable to connect to the server: net/http: TLS handshake timeout"));
        assert!(is_transient("Unable to connect to the server: EOF"));
        assert!(is_transient(
            "Error from server (Timeout): the server was unable to return a response"
        ));
        assert!(!is_transient("error: You must be logged in to the server (Unauthorized)"));
        assert!(!is_transient("Error from server (NotFound): nodes \"x\" not found"));
    }
}
