//! What servers answer, as curl prints it, and what that means.

use serde::{Deserialize, Serialize};

use super::ask::{Ask, What};
use crate::{sha256_hex, supply};

/// Media types of manifests and of lists of them (opencontainers/image-spec media-types.md; Docker's schema 2).
pub const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What a question came to.
pub type Answer = Result<Served, Unserved>;

/// What was asked for is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Its digest, `sha256:…`; `None` of what has none.
    pub digest: Option<String>,
}

/// What was asked for is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    /// Of what kind the trouble is.
    pub fault: Fault,
    /// What came back, for people.
    pub said: String,
}

/// Why something is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nobody could ask: the server may have it.
    Unasked,
    /// No answer, or none that makes sense.
    Silent,
    /// The server answers, and has it not or gives it not to everyone.
    Lacking,
    /// What came has another digest than the server says, or than is known.
    OtherDigest,
}

impl Unserved {
    /// Without what would steer a terminal, and bounded.
    pub fn new(fault: Fault, said: impl AsRef<str>) -> Unserved {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Unserved { fault, said: said.as_ref().chars().map(plain).take(300).collect() }
    }
}

/// A server's answer: the last one, where it sent on to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP's status.
    pub status: u16,
    /// Head lines, names in lower case.
    headers: Vec<(String, String)>,
    /// What came after the head.
    pub body: String,
}

impl Reply {
    /// Reads what `curl --include` prints; `None` where there is no HTTP in it.
    pub fn read(text: &str) -> Option<Reply> {
        let mut rest = text;
        let mut reply = None;
        // Each server on the way has a head of its own, and so has a proxy.
        while rest.starts_with("HTTP/") {
            let (head, body) = head_and_body(rest);
            let mut lines = head.lines();
            let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
            let header = |line: &str| {
                let (name, value) = line.split_once(':')?;
                Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            };
            let headers = lines.filter_map(header).collect();
            reply = Some(Reply { status, headers, body: body.to_owned() });
            // Only what is no answer yet has another head behind it: a proxy's own, or a redirection.
            let goes_on = status < 200
                || (300..400).contains(&status)
                || head.contains("onnection established")
                // Not all proxies say it in those words.
                || body.starts_with("HTTP/1.")
                || body.starts_with("HTTP/2 ");
            if !goes_on {
                break;
            }
            rest = body;
        }
        reply
    }

    /// A line of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Where a token is given, where one is needed and everyone may have it. `url`: what was asked for; a token that came in the
    /// clear would be everybody's.
    pub fn token_url(&self, url: &str) -> Option<String> {
        let challenge = self.header("www-authenticate").filter(|_| self.status == 401)?;
        let encrypted =
            |realm: &String| realm.starts_with("https://") || url.starts_with("http://");
        token_url(challenge).filter(encrypted)
    }
}

fn head_and_body(text: &str) -> (&str, &str) {
    let ends = [("\r\n\r\n", 4), ("\n\n", 2)];
    let end = ends.iter().filter_map(|(end, length)| Some((text.find(end)?, length))).min();
    end.map_or((text, ""), |(at, length)| (&text[..at], &text[at + length..]))
}

/// The address that gives a token: `Bearer realm="https://auth…",service="…",scope="…"` (distribution's docs/spec/auth/token.md).
pub fn token_url(challenge: &str) -> Option<String> {
    let fields = challenge.strip_prefix("Bearer ").or(challenge.strip_prefix("bearer "))?;
    let field = |name: &str| {
        let (_, rest) = fields.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let plain = |realm: &String| realm.chars().all(|c| c.is_ascii_graphic() && c != '"');
    let realm = field("realm").filter(|realm| realm.starts_with("http")).filter(plain)?;
    let mut query: Vec<String> = Vec::new();
    for name in ["service", "scope"] {
        query.extend(field(name).map(|value| format!("{name}={}", encoded(&value))));
    }
    let sign = if realm.contains('?') { '&' } else { '?' };
    Some(format!("{realm}{sign}{}", query.join("&")))
}

/// The token in such an answer, where it is one that fits into a line of a head.
pub fn token(body: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(body).ok()?;
    let token = [&answer["token"], &answer["access_token"]];
    let token = token.into_iter().find_map(serde_json::Value::as_str)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    (!token.is_empty() && token.chars().all(plain)).then(|| token.to_owned())
}

/// Percent-encodes what is not unreserved (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// What a reply to a question means.
///
/// # Errors
/// Says why what was asked for is not served.
pub fn judge(ask: &Ask, reply: &Reply) -> Answer {
    let lacks = |said: String| Err(Unserved::new(Fault::Lacking, said));
    let is_there = reply.status == 200;
    // Busy, broken for the moment, or asked in a way that it does not know: it may have the thing all the same (RFC 9110 §15).
    let is_no_answer = match reply.status {
        408 | 429 | 500.. => true,
        403 | 405 => ask.what == What::File,
        _ => false,
    };
    if is_no_answer {
        return Err(Unserved::new(Fault::Unasked, format!("HTTP {}", reply.status)));
    }
    match &ask.what {
        // Whoever wants to know who asks is a registry, too: it says so in that line.
        What::Registry if is_there || reply.status == 401 => {
            match reply.status == 401 && reply.header("www-authenticate").is_none() {
                true => lacks("HTTP 401 without a word on who may: that is no registry".into()),
                false => Ok(Served::default()),
            }
        }
        What::Registry => lacks(format!("HTTP {}: that is no registry", reply.status)),
        _ if reply.status == 401 || reply.status == 403 => {
            lacks(format!("HTTP {}: it is not given to everyone", reply.status))
        }
        _ if !is_there => lacks(format!("HTTP {}", reply.status)),
        What::Manifest => manifest(reply),
        What::Sum(file) => match supply::published(&reply.body, file) {
            Some(sum) => Ok(Served { digest: Some(format!("sha256:{sum}")) }),
            None => lacks(format!("there is no SHA-256 of {file} in what it serves")),
        },
        What::Index => match is_index(&reply.body) {
            true => Ok(Served::default()),
            false => lacks("what it serves is no index of packages".into()),
        },
        What::Signature => match reply.body.contains("-----BEGIN PGP SIGNATURE-----") {
            true => Ok(Served::default()),
            false => lacks("it is no PGP signature in ASCII armour".into()),
        },
        What::Key => match reply.body.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
            true => Ok(Served::default()),
            false => lacks("it is no PGP public key in ASCII armour".into()),
        },
        What::File => Ok(Served::default()),
    }
}

/// A manifest is what its digest says, or its server lies (OCI distribution specification, "Pulling manifests").
fn manifest(reply: &Reply) -> Answer {
    let found = format!("sha256:{}", sha256_hex(reply.body.as_bytes()));
    let parsed: Option<serde_json::Value> = serde_json::from_str(&reply.body).ok();
    let names = |key: &str| parsed.as_ref().is_some_and(|manifest| manifest[key].is_array());
    if !names("layers") && !names("manifests") {
        return Err(Unserved::new(Fault::Lacking, "what it serves is no image's manifest"));
    }
    match reply.header("docker-content-digest") {
        Some(said) if said.starts_with("sha256:") && said != found => {
            let said = format!("it says {} of a manifest that is {}", short(said), short(&found));
            Err(Unserved::new(Fault::OtherDigest, said))
        }
        _ => Ok(Served { digest: Some(found) }),
    }
}

/// As much of a digest as people compare.
pub(super) fn short(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
}

/// deb822's `Release`, signed in itself or not, or an rpm repository's `repomd.xml`.
fn is_index(body: &str) -> bool {
    let release =
        body.lines().any(|line| line.starts_with("SHA256:") || line.starts_with("MD5Sum:"));
    release || body.contains("<repomd")
}
