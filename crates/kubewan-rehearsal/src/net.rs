//! Addresses of this host, and an HTTPS client that fails in Go's words.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::value::Res;

/// The kernel's host name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().trim().to_owned()
}

/// Whether an address is on one of this host's interfaces: only then can a socket be bound to it.
pub fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// The address that the default route's interface sends from.
pub fn default_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.255", 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|a| !a.is_loopback() && !a.is_unspecified())
}

/// `HOST:PORT`, with brackets around IPv6.
pub fn join(host: &str, port: u64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Splits `HOST:PORT`.
pub fn split(endpoint: &str) -> Res<(String, u16)> {
    let (host, port) =
        endpoint.rsplit_once(':').ok_or(format!("address {endpoint}: missing port in address"))?;
    let port = port.parse().map_err(|_| format!("address {endpoint}: invalid port"))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// An address as it stands, or a name from /etc/hosts: a lab has no DNS, and a static program needs no resolver.
pub fn resolve(host: &str) -> Res<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let named = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|w| w.eq_ignore_ascii_case(host)).then_some(address)
    };
    let mut found: Vec<IpAddr> = hosts.lines().filter_map(named).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    if found.is_empty() { Err(format!("lookup {host}: no such host")) } else { Ok(found) }
}

/// Whom a client trusts and who it is.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// PEM of the authorities; none: any certificate is taken, as in discovery before the pin is checked.
    pub ca: Option<String>,
    /// PEM of the client's certificate and key.
    pub certificate: Option<(String, String)>,
    /// A bearer token.
    pub token: Option<String>,
}

/// An HTTPS client for one server.
#[derive(Debug, Clone)]
pub struct Client {
    host: String,
    port: u16,
    config: Arc<ClientConfig>,
    token: Option<String>,
    timeout: Duration,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct TrustAnyone(CryptoProvider);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificates of a PEM text.
pub fn certificates(pem: &str) -> Res<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.map_err(|e| e.to_string())
}

/// The private key of a PEM text.
pub fn private_key(pem: &str) -> Res<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())
}

/// The certificates of a PEM text as a store of trusted authorities.
pub fn roots(pem: &str) -> Res<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    Ok(roots)
}

impl Client {
    /// A client for `https://HOST:PORT`.
    pub fn new(server: &str, identity: &Identity, timeout: Duration) -> Res<Client> {
        let (host, port) = split(server.trim_start_matches("https://").trim_end_matches('/'))?;
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match &identity.ca {
            Some(pem) => builder.with_root_certificates(roots(pem)?),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustAnyone(default_provider()))),
        };
        let config = match &identity.certificate {
            Some((pem, key)) => builder
                .with_client_auth_cert(certificates(pem)?, private_key(key)?)
                .map_err(|e| e.to_string())?,
            None => builder.with_no_client_auth(),
        };
        Ok(Client { host, port, config: Arc::new(config), token: identity.token.clone(), timeout })
    }

    /// Sends one request; an error is one of the way, not of the server.
    pub fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Res<Answer> {
        let fail = |error: String| {
            let verb = format!("{}{}", &method[..1], method[1..].to_lowercase());
            format!("{verb} \"https://{}{path}\": {error}", join(&self.host, self.port.into()))
        };
        let mut stream = self.connect().map_err(&fail)?;
        let token = self
            .token
            .as_ref()
            .map(|t| format!("Authorization: Bearer {t}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: kubewan-rehearsal\r\nAccept: application/json\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n{token}\r\n",
            join(&self.host, self.port.into()),
            body.len()
        );
        let sent = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body))
            .and_then(|()| stream.flush());
        sent.map_err(|e| fail(in_go(&e)))?;
        read_answer(&mut BufReader::new(stream)).map_err(|e| fail(in_go(&e)))
    }

    fn connect(&self) -> Res<StreamOwned<ClientConnection, TcpStream>> {
        let mut last = String::new();
        for address in resolve(&self.host).map_err(|e| format!("dial tcp: {e}"))? {
            let socket = SocketAddr::new(address, self.port);
            match TcpStream::connect_timeout(&socket, self.timeout) {
                Ok(stream) => {
                    let _ = stream.set_read_timeout(Some(self.timeout));
                    let _ = stream.set_write_timeout(Some(self.timeout));
                    let name =
                        ServerName::try_from(self.host.clone()).map_err(|e| e.to_string())?;
                    let tls = ClientConnection::new(self.config.clone(), name)
                        .map_err(|e| e.to_string())?;
                    return Ok(StreamOwned::new(tls, stream));
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => last = in_go(&error),
                Err(error) => last = format!("dial tcp {socket}: {}", in_go(&error)),
            }
        }
        Err(last)
    }
}

/// An I/O error in Go's words.
fn in_go(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "context deadline exceeded".into(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "EOF".into(),
        _ if error.to_string().contains("UnknownIssuer") => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .into()
        }
        _ if error.to_string().contains("NotValidForName") => {
            format!(
                "tls: failed to verify certificate: x509: certificate is valid for other names ({error})"
            )
        }
        _ => error.to_string(),
    }
}

/// Reads header lines into lower-case names and values; the first line comes first, alone.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    let mut size = 0;
    loop {
        let mut line = String::new();
        size += reader.take(64 << 10).read_line(&mut line)?;
        if line.is_empty() || size > 256 << 10 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    let pair = |l: String| l.split_once(':').map(|(n, v)| (n.to_lowercase(), v.trim().to_owned()));
    Ok((first, lines.filter_map(pair).collect()))
}

/// Reads a body by its length or its chunks.
pub fn read_body(
    reader: &mut impl BufRead,
    head: &[(String, String)],
    to_end: bool,
) -> io::Result<Vec<u8>> {
    const MOST: u64 = 16 << 20;
    let header = |name: &str| head.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        loop {
            let mut line = String::new();
            reader.take(64).read_line(&mut line)?;
            let size =
                u64::from_str_radix(line.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size > MOST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            reader.take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match header("content-length").map(str::parse::<u64>) {
        Some(Ok(length)) if length <= MOST => {
            body.resize(length as usize, 0);
            reader.read_exact(&mut body)?;
        }
        Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        None if to_end => {
            reader.take(MOST).read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let (first, head) = read_head(reader)?;
    let status =
        first.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: read_body(reader, &head, true)? })
}
