//! A small HTTPS server: one thread per connection, HTTP/1.1.

use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::net;
use crate::pki;
use crate::value::Res;

/// One request.
#[derive(Debug, Default)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Common name and organisations of the client's certificate.
    pub certificate: Option<(String, Vec<String>)>,
}

impl Request {
    /// A header's value, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// A query parameter's value, or "".
    pub fn parameter(&self, name: &str) -> &str {
        self.query.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }
}

/// Writes one chunk of a stream.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// An answer.
pub enum Reply {
    /// All at once: status, content type, body.
    Full(u16, &'static str, Vec<u8>),
    /// Piece by piece, as JSON.
    Stream(Box<dyn FnOnce(Sink<'_>) -> io::Result<()> + Send>),
}

/// TLS with a certificate, asking clients for theirs when an authority is given.
pub fn tls(certificate: &str, key: &str, client_ca: Option<&str>) -> Res<Arc<ServerConfig>> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match client_ca {
        Some(ca) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(net::roots(ca)?), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|e| e.to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = net::certificates(certificate)?;
    let mut config =
        builder.with_single_cert(chain, net::private_key(key)?).map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS with a certificate made on the spot, for health ports.
pub fn own_tls(name: &str) -> Res<Arc<ServerConfig>> {
    let ca = pki::authority(&format!("{name}-ca"))?;
    let request = pki::Request {
        name: name.into(),
        alternatives: vec![name.into()],
        server: true,
        ..Default::default()
    };
    let (certificate, key) = pki::sign(&request, (&ca.0, &ca.1))?;
    tls(&certificate, &key, None)
}

/// Serves for ever.
pub fn serve<H>(listener: &TcpListener, config: &Arc<ServerConfig>, handler: H) -> !
where
    H: Fn(Request) -> Reply + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let (config, handler) = (config.clone(), handler.clone());
        std::thread::spawn(move || connection(stream, config, &*handler));
    }
}

fn connection(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    handler: &dyn Fn(Request) -> Reply,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    stream.set_nodelay(true)?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let (first, headers) = net::read_head(&mut stream)?;
        let mut request = Request { headers, ..Request::default() };
        let mut words = first.split(' ');
        request.method = words.next().unwrap_or_default().to_owned();
        let (path, query) =
            words.next().map(|t| t.split_once('?').unwrap_or((t, ""))).unwrap_or_default();
        request.path = decode(path);
        let pair = |p: &str| {
            p.split_once('=').map_or((decode(p), String::new()), |(n, v)| (decode(n), decode(v)))
        };
        request.query = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
        if request.header("expect") == "100-continue" {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = net::read_body(&mut stream, &request.headers, false)?;
        let peers = stream.get_ref().conn.peer_certificates();
        request.certificate = peers.and_then(|c| c.first()).and_then(|c| pki::subject(c));
        let close = request.header("connection").eq_ignore_ascii_case("close");
        answer(stream.get_mut(), handler(request), close)?;
        if close {
            stream.get_mut().conn.send_close_notify();
            return stream.get_mut().flush();
        }
    }
}

fn answer(out: &mut impl Write, reply: Reply, close: bool) -> io::Result<()> {
    let close = if close { "Connection: close\r\n" } else { "" };
    match reply {
        Reply::Full(status, kind, body) => {
            let head = format!(
                "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{close}\r\n",
                if status < 400 { "OK" } else { "Refused" },
                body.len()
            );
            out.write_all(head.as_bytes())?;
            out.write_all(&body)?;
        }
        Reply::Stream(run) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
            out.write_all(format!("{head}{close}\r\n").as_bytes())?;
            out.flush()?;
            run(&mut |chunk| {
                write!(out, "{:x}\r\n", chunk.len())?;
                out.write_all(chunk)?;
                out.write_all(b"\r\n")?;
                out.flush()
            })?;
            out.write_all(b"0\r\n\r\n")?;
        }
    }
    out.flush()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("3f").to_owned();
                out.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
