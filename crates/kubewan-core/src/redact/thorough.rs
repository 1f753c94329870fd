//! For a text that goes to other people: also what only looks like a secret is hidden, at the price of some words.

use super::{MASK, is_bootstrap_token};

/// Names of secrets, before a `:` or `=`, or of an argument before a blank: these by themselves alone, since longer names with such an
/// end are of other things.
const WHOLE: [&str; 12] = [
    "client-key-data",
    "certificatekey",
    "certificate-key",
    "token-secret",
    "identitytoken",
    "auth",
    "authorization",
    "privatekey",
    "presharedkey",
    "psk",
    "encryption-key",
    "signature",
];

/// Of these the end of a longer name is enough: `DB_PASSWORD`, `accessToken`.
const ENDINGS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "pwd",
    "accesskey",
    "access-key",
    "access_key",
    "secretkey",
    "secret-key",
    "secret_key",
    "encryption_key",
    "credentials",
    "_pass",
    "-pass",
    "_dsn",
];

/// Values that are no secret, whatever stands before them: an argument's switch, a document's next level.
const PLAIN: [&str; 3] = ["true", "false", "{"];

/// Whether a name, of a key or an argument, is one that secrets have.
pub fn is_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WHOLE.contains(&name.as_str()) || ENDINGS.iter().any(|end| name.ends_with(end))
}

/// A text without private keys, tokens, passwords, and what else looks like one.
pub fn thoroughly(text: &str) -> String {
    let mut lines = Vec::new();
    let mut in_key = false;
    for line in text.split('\n') {
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        let ends = line.contains("-----END") && line.contains("PRIVATE KEY");
        if begins && !in_key {
            lines.push("[private key left out]".to_owned());
        }
        match (begins, ends, in_key) {
            (true, true, _) => in_key = line.rfind("-----BEGIN") > line.rfind("-----END"),
            (true, false, _) => in_key = true,
            (false, true, true) => in_key = false,
            (false, _, true) => {}
            (false, _, false) => lines.push(redacted_line(line)),
        }
    }
    lines.join("\n")
}

fn redacted_line(line: &str) -> String {
    let line = without_credentials(&without_values(line));
    let is_part =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '/' | '=');
    let mut out = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(if is_secret(word) { MASK } else { word });
        let gap = after.find(is_part).unwrap_or(after.len());
        out.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    without_login(&out)
}

/// JSON web tokens, bootstrap tokens, and PEM in base64, which may be a key.
fn is_secret(word: &str) -> bool {
    // `jwt=eyJ…` is one word.
    let is_web_token = |part: &str| part.starts_with("eyJ") && part.len() >= 20;
    word.starts_with("LS0tLS1CRUdJTi")
        || word.split('=').any(is_web_token)
        || word
            .split(['/', '=', '-', '_', '+'])
            .any(|part| is_bootstrap_token(part.trim_matches('.')))
}

/// What stands behind a word such as `password` and a `:` or `=`, to the line's end.
fn without_values(line: &str) -> String {
    // Letters of ASCII keep their places.
    let lower = line.to_ascii_lowercase();
    let mut from = 0;
    while let Some((at, word)) = WHOLE
        .iter()
        .chain(&ENDINGS)
        .filter_map(|word| Some((from + lower[from..].find(word)?, *word)))
        .min_by_key(|(at, word)| (*at, std::cmp::Reverse(word.len())))
    {
        let end = at + word.len();
        let rest = &line[end..];
        let after = rest.trim_start_matches(['"', '\'', ' ', '\\', '\t']);
        let whole = !lower[..at].ends_with(|c: char| c.is_ascii_alphabetic());
        let named = whole || ENDINGS.contains(&word);
        if named && after.starts_with([':', '=']) && is_value(&after[1..]) {
            let kept = line.len() - after.len() + 1;
            return format!("{} {MASK}", &line[..kept]);
        }
        // `--password hunter2`: to the end of the word.
        let argument = lower[..at].rfind([' ', '\t']).map_or(0, |blank| blank + 1);
        let blank = rest.len() - rest.trim_start_matches(' ').len();
        if lower[argument..].starts_with("--") && blank > 0 && is_value(rest) {
            let value = rest[blank..].split(' ').next().unwrap_or_default();
            let behind = without_values(&rest[blank + value.len()..]);
            return format!("{} {MASK}{behind}", &line[..end]);
        }
        // Another may begin within it: `_passwd` in `_pass`.
        from = at + 1;
    }
    line.to_owned()
}

/// Something that may be a secret.
fn is_value(text: &str) -> bool {
    let text = text.trim_start_matches(['"', '\'', ' ', '\\', '\t']);
    if text.starts_with(MASK) {
        return false;
    }
    // A list that begins here, or in the next lines.
    let text = text.trim_start_matches(['[', '"', '\'', ' ', '\\']);
    let word = text.split([' ', ',', '"', '\'', ';']).next().unwrap_or_default();
    let is_sign = matches!(word, "=" | ":");
    !word.is_empty() && !PLAIN.contains(&word) && !word.starts_with("--") && !is_sign
}

/// `Bearer x` and `Basic x`, however the header before them is called.
fn without_credentials(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 1..words.len() {
        let is_long = words[at].len() >= 8 && words[at].is_ascii();
        if is_long
            && matches!(words[at - 1].trim_matches(['"', '\'', '[', '\\']), "Bearer" | "Basic")
        {
            words[at] = MASK;
        }
    }
    words.join(" ")
}

/// `https://user:password@host` without what is before the `@`.
fn without_login(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''))
            .unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(at) => {
                out.push_str(MASK);
                rest = &after[at..];
            }
            None => rest = after,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out() {
        for (text, kept) in [
            (
                "a\n-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nb",
                "a\n[private key left out]\nb",
            ),
            ("  password = \"hunter2\"", "  password = [hidden]"),
            ("    client-key-data: LS0tLS1CRUdJTiBSU0E=", "    client-key-data: [hidden]"),
            (
                "kubeadm join a:6443 --token abcdef.0123456789abcdef --x",
                "kubeadm join a:6443 --token [hidden] --x",
            ),
            ("Authorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6", "Authorization: [hidden]"),
            ("GET with eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.abc", "GET with [hidden]"),
            (
                "proxy https://me:secret@proxy.example:3128/",
                "proxy https://[hidden]@proxy.example:3128/",
            ),
            (
                "the tokencleaner controller is started: ok",
                "the tokencleaner controller is started: ok",
            ),
            ("login --password hunter2 --user me", "login --password [hidden] --user me"),
            ("--token opaque", "--token [hidden]"),
            ("--x[PrivateKey = [hidden]", "--x[PrivateKey = [hidden]"),
            ("DB_PASSWORD=x accessToken: y", "DB_PASSWORD= [hidden]"),
            ("AWS_SECRET_ACCESS_KEY=x", "AWS_SECRET_ACCESS_KEY= [hidden]"),
            ("CF_API_KEY=x", "CF_API_KEY= [hidden]"),
            ("SMTP_PASS: x", "SMTP_PASS: [hidden]"),
            ("MYSQL_PASSWD: x", "MYSQL_PASSWD: [hidden]"),
            ("RESTIC_PASSPHRASE=x", "RESTIC_PASSPHRASE= [hidden]"),
            ("    - --secret-key=x", "    - --secret-key= [hidden]"),
            ("  Authorization = [\"Basic dXNlcjpwYXNz\"]", "  Authorization = [hidden]"),
            ("  X-Any = [\"Basic dXNlcjpwYXNz\"]", "  X-Any = [\"Basic [hidden]"),
            ("/login?jwt=eyJhbGciOiJSUzI1NiIsImtpZCI6", "/login?[hidden]"),
            ("token: [", "token: ["),
            (
                "    - --tls-private-key-file=/etc/k/a.key",
                "    - --tls-private-key-file=/etc/k/a.key",
            ),
            (
                "    - --service-account-key-file=/etc/k/sa.pub",
                "    - --service-account-key-file=/etc/k/sa.pub",
            ),
            ("--token-ttl 24h0m0s", "--token-ttl 24h0m0s"),
            ("the probe will pass: ok", "the probe will pass: ok"),
            ("header Bearer opaque-token here", "header Bearer [hidden] here"),
            ("    - --client-cert-auth=true", "    - --client-cert-auth=true"),
            ("--enable-bootstrap-token-auth=true --x", "--enable-bootstrap-token-auth=true --x"),
            ("PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "PrivateKey = [hidden]"),
        ] {
            assert_eq!(thoroughly(text), kept);
            assert_eq!(thoroughly(kept), kept);
        }
    }
}
