//! Keys, certificates and kubeconfigs as kubeadm lays them out.
//!
//! Keys are ECDSA P-256 where kubeadm's default is RSA-2048; names, files, owners and lifetimes are its own.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::{Config, service_address};
use crate::net::{self, Identity};
use crate::value::{self, Res, list, strings, text};

/// What a certificate is for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Common name.
    pub name: String,
    /// Organisations: Kubernetes' groups.
    pub groups: Vec<String>,
    /// DNS names and addresses.
    pub alternatives: Vec<String>,
    /// May serve.
    pub server: bool,
    /// May call.
    pub client: bool,
}

/// Writes a file with a mode, making its folders.
pub fn write(path: &Path, content: &str, mode: u32) -> Res<()> {
    let fail = |e: std::io::Error| format!("open {}: {e}", path.display());
    if let Some(folder) = path.parent() {
        // As kubeadm: manifests are nobody else's business.
        let mode = if folder.ends_with("manifests") { 0o700 } else { 0o755 };
        fs::DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(fail)?;
    }
    let _ = fs::remove_file(path);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(fail)?;
    file.write_all(content.as_bytes()).map_err(fail)
}

/// Reads a file, with Go's words when it can't be.
pub fn read(path: &Path) -> Res<String> {
    fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            format!("open {}: no such file or directory", path.display())
        }
        _ => format!("open {}: {e}", path.display()),
    })
}

/// Names and addresses without doubles; names in lower case, as kubeadm does.
fn subject_alternatives(all: &[String]) -> Res<Vec<SanType>> {
    let mut done: Vec<String> = Vec::new();
    let mut sans = Vec::new();
    for one in all.iter().map(|a| a.to_lowercase()).filter(|a| !a.is_empty()) {
        if done.contains(&one) {
            continue;
        }
        sans.push(match one.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(one.clone().try_into().map_err(|e| format!("{one}: {e}"))?),
        });
        done.push(one);
    }
    // kubeadm sorts the names and leaves the addresses.
    sans.sort_by_key(|s| match s {
        SanType::DnsName(name) => (0, name.as_str().to_owned()),
        _ => (1, String::new()),
    });
    Ok(sans)
}

fn params(request: &Request, lifetime: Duration) -> Res<CertificateParams> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    for group in &request.groups {
        name.push(DnType::OrganizationName, group.as_str());
    }
    name.push(DnType::CommonName, request.name.as_str());
    params.distinguished_name = name;
    params.subject_alt_names = subject_alternatives(&request.alternatives)?;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::minutes(5);
    params.not_after = now + lifetime;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    if request.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if request.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    Ok(params)
}

/// A new self-signed authority: certificate and key in PEM.
pub fn authority(name: &str) -> Res<(String, String)> {
    let request =
        Request { name: name.into(), alternatives: vec![name.into()], ..Request::default() };
    let mut params = params(&request, Duration::days(3650))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    params.use_authority_key_identifier_extension = false;
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let certificate = params.self_signed(&key).map_err(|e| e.to_string())?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A new certificate and key signed by an authority.
pub fn sign(request: &Request, (ca, ca_key): (&str, &str)) -> Res<(String, String)> {
    let ca_key = KeyPair::from_pem(ca_key).map_err(|e| e.to_string())?;
    let issuer = Issuer::from_ca_cert_pem(ca, ca_key).map_err(|e| e.to_string())?;
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let certificate = params(request, Duration::days(365))?
        .signed_by(&key, &issuer)
        .map_err(|e| e.to_string())?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A key and a request to sign it, both in PEM.
pub fn signing_request(name: &str, group: &str) -> Res<(String, String)> {
    let request = Request { name: name.into(), groups: vec![group.into()], ..Request::default() };
    let mut params = params(&request, Duration::days(365))?;
    params.key_usages.clear();
    params.is_ca = IsCa::NoCa;
    params.use_authority_key_identifier_extension = false;
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    let csr = params.serialize_request(&key).and_then(|r| r.pem()).map_err(|e| e.to_string())?;
    Ok((csr, key.serialize_pem()))
}

/// Signs a node's request; the name it asks for must be `user`'s, or any node's for a bootstrap token.
pub fn sign_request(csr: &str, (ca, ca_key): (&str, &str)) -> Res<String> {
    let mut request = CertificateSigningRequestParams::from_pem(csr).map_err(|e| e.to_string())?;
    let name = &request.params.distinguished_name;
    let shown = |kind| name.get(&kind).map(|v| format!("{v:?}")).unwrap_or_default();
    if !shown(DnType::CommonName).contains("system:node:")
        || !shown(DnType::OrganizationName).contains("system:nodes")
    {
        return Err("subject is not a node's".into());
    }
    let now = OffsetDateTime::now_utc();
    request.params.not_before = now - Duration::minutes(5);
    request.params.not_after = now + Duration::days(365);
    request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let ca_key = KeyPair::from_pem(ca_key).map_err(|e| e.to_string())?;
    let issuer = Issuer::from_ca_cert_pem(ca, ca_key).map_err(|e| e.to_string())?;
    Ok(request.signed_by(&issuer).map_err(|e| e.to_string())?.pem())
}

/// Common name and organisations of a certificate.
pub fn subject(der: &[u8]) -> Option<(String, Vec<String>)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = certificate
        .subject()
        .iter_organization()
        .filter_map(|o| o.as_str().ok().map(str::to_owned));
    Some((name, groups.collect()))
}

/// `sha256:…` of a certificate's public key, as `--discovery-token-ca-cert-hash` has it.
pub fn pin(pem: &str) -> Res<String> {
    let der = net::certificates(pem)?
        .into_iter()
        .next()
        .ok_or("data does not contain any valid certificates")?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| e.to_string())?;
    let digest =
        ring::digest::digest(&ring::digest::SHA256, certificate.tbs_certificate.subject_pki.raw);
    Ok(format!("sha256:{}", value::hex(digest.as_ref())))
}

fn signed_by(pem: &str, ca: &str) -> bool {
    let (Ok(leaf), Ok(ca)) = (net::certificates(pem), net::certificates(ca)) else {
        return false;
    };
    let (Some(leaf), Some(ca)) = (leaf.first(), ca.first()) else {
        return false;
    };
    match (X509Certificate::from_der(leaf), X509Certificate::from_der(ca)) {
        (Ok((_, leaf)), Ok((_, ca))) => leaf.verify_signature(Some(ca.public_key())).is_ok(),
        _ => false,
    }
}

fn sans_of_api(config: &Config) -> Vec<String> {
    let Config { init, cluster, .. } = config;
    let domain = text(cluster, "networking.dnsDomain");
    let endpoint = text(cluster, "controlPlaneEndpoint");
    let mut sans = vec![text(init, "nodeRegistration.name").to_owned()];
    sans.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned));
    sans.push(format!("kubernetes.default.svc.{domain}"));
    sans.extend(service_address(cluster, 1).map(|a| a.to_string()));
    sans.push(text(init, "localAPIEndpoint.advertiseAddress").to_owned());
    sans.extend(net::split(endpoint).ok().map(|(host, _)| host));
    sans.extend(strings(cluster, "apiServer.certSANs"));
    sans
}

fn sans_of_etcd(config: &Config, list: &str) -> Vec<String> {
    let mut sans = vec![
        text(&config.init, "nodeRegistration.name").to_owned(),
        "localhost".into(),
        text(&config.init, "localAPIEndpoint.advertiseAddress").to_owned(),
        "127.0.0.1".into(),
        "::1".into(),
    ];
    sans.extend(strings(&config.cluster, &format!("etcd.local.{list}")));
    sans
}

/// Makes all certificates that are not there yet, in kubeadm's order and words. `only` names one of them.
pub fn certificates(root: &Path, config: &Config, only: Option<&str>) -> Res<()> {
    let folder = root.join(text(&config.cluster, "certificatesDir").trim_start_matches('/'));
    println!("[certs] Using certificateDir folder {:?}", text(&config.cluster, "certificatesDir"));
    let node = text(&config.init, "nodeRegistration.name").to_owned();
    let client = |name: &str, groups: Vec<String>| Request {
        name: name.into(),
        groups,
        client: true,
        ..Request::default()
    };
    let both = |list| Request {
        name: node.clone(),
        alternatives: sans_of_etcd(config, list),
        server: true,
        client: true,
        ..Request::default()
    };
    let api = Request {
        name: "kube-apiserver".into(),
        alternatives: sans_of_api(config),
        server: true,
        ..Request::default()
    };
    // cmd/kubeadm/app/phases/certs/certlist.go: file, authority's file, request.
    let all: [(&str, &str, Request); 10] = [
        ("ca", "", client("kubernetes", Vec::new())),
        ("apiserver", "ca", api),
        ("apiserver-kubelet-client", "ca", client("kube-apiserver-kubelet-client", Vec::new())),
        ("front-proxy-ca", "", client("front-proxy-ca", Vec::new())),
        ("front-proxy-client", "front-proxy-ca", client("front-proxy-client", Vec::new())),
        ("etcd/ca", "", client("etcd-ca", Vec::new())),
        ("etcd/server", "etcd/ca", both("serverCertSANs")),
        ("etcd/peer", "etcd/ca", both("peerCertSANs")),
        ("etcd/healthcheck-client", "etcd/ca", client("kube-etcd-healthcheck-client", Vec::new())),
        ("apiserver-etcd-client", "etcd/ca", client("kube-apiserver-etcd-client", Vec::new())),
    ];
    for (base, ca, request) in all {
        if only.is_none_or(|o| o == base.replace('/', "-")) {
            certificate(&folder, base, ca, &request)?;
        }
    }
    if only.is_none_or(|o| o == "sa") {
        service_account_key(&folder)?;
    }
    Ok(())
}

fn certificate(folder: &Path, base: &str, ca: &str, request: &Request) -> Res<()> {
    let file = |base: &str, end: &str| folder.join(format!("{base}.{end}"));
    if file(base, "crt").exists() {
        if ca.is_empty() {
            println!("[certs] Using existing {base} certificate authority");
            return Ok(());
        }
        if !signed_by(&read(&file(base, "crt"))?, &read(&file(ca, "crt"))?) {
            return Err(format!("[certs] certificate {base} not signed by CA certificate {ca}"));
        }
        println!("[certs] Using existing {base} certificate and key on disk");
        return Ok(());
    }
    let (pem, key) = if ca.is_empty() {
        authority(&request.name)?
    } else {
        let fail = |e| format!("couldn't load CA certificate {ca}: {e}");
        let (ca, ca_key) =
            (read(&file(ca, "crt")).map_err(fail)?, read(&file(ca, "key")).map_err(fail)?);
        sign(request, (&ca, &ca_key))?
    };
    println!("[certs] Generating {base:?} certificate and key");
    write(&file(base, "key"), &key, 0o600)?;
    write(&file(base, "crt"), &pem, 0o644)?;
    if request.server {
        let all = subject_alternatives(&request.alternatives)?;
        let ip =
            |s: &SanType| if let SanType::IpAddress(a) = s { Some(a.to_string()) } else { None };
        let dns = |s: &SanType| {
            if let SanType::DnsName(n) = s { Some(n.as_str().to_owned()) } else { None }
        };
        let (dns, ip): (Vec<_>, Vec<_>) =
            (all.iter().filter_map(dns).collect(), all.iter().filter_map(ip).collect());
        println!(
            "[certs] {base} serving cert is signed for DNS names [{}] and IPs [{}]",
            dns.join(" "),
            ip.join(" ")
        );
    }
    Ok(())
}

fn service_account_key(folder: &Path) -> Res<()> {
    if folder.join("sa.key").exists() {
        println!("[certs] Using the existing \"sa\" key");
        return Ok(());
    }
    println!("[certs] Generating \"sa\" key and public key");
    let key = KeyPair::generate().map_err(|e| e.to_string())?;
    write(&folder.join("sa.key"), &key.serialize_pem(), 0o600)?;
    write(&folder.join("sa.pub"), &key.public_key_pem(), 0o600)
}

/// A kubeconfig with certificates or a token in it.
pub fn kubeconfig(
    server: &str,
    cluster: &str,
    user: &str,
    ca: &str,
    identity: &Identity,
) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    let user_data = match (&identity.certificate, &identity.token) {
        (Some((cert, key)), _) => {
            json!({"client-certificate-data": encode(cert), "client-key-data": encode(key)})
        }
        (None, Some(token)) => json!({"token": token}),
        _ => json!({}),
    };
    let context = format!("{user}@{cluster}");
    value::to_yaml(&json!({
        "apiVersion": "v1",
        "clusters": [{"cluster": {"certificate-authority-data": encode(ca), "server": server}, "name": cluster}],
        "contexts": [{"context": {"cluster": cluster, "user": user}, "name": context}],
        "current-context": context,
        "kind": "Config",
        "users": [{"name": user, "user": user_data}],
    }))
}

/// Server and identity of a kubeconfig's first cluster and user, files read.
pub fn from_kubeconfig(content: &str) -> Res<(String, Identity)> {
    let config = value::from_yaml(content)?;
    let first = |name: &str| list(&config, name).first().cloned().unwrap_or(Value::Null);
    let (cluster, user) = (first("clusters")["cluster"].clone(), first("users")["user"].clone());
    let pem = |value: &Value, name: &str| -> Res<Option<String>> {
        let data = text(value, &format!("{name}-data"));
        if !data.is_empty() {
            let bytes = STANDARD.decode(data).map_err(|e| e.to_string())?;
            return String::from_utf8(bytes).map(Some).map_err(|e| e.to_string());
        }
        match text(value, name) {
            "" => Ok(None),
            file => read(Path::new(file)).map(Some),
        }
    };
    let certificate = pem(&user, "client-certificate")?.zip(pem(&user, "client-key")?);
    let token = Some(text(&user, "token").to_owned()).filter(|t| !t.is_empty());
    let ca = pem(&cluster, "certificate-authority")?;
    let server = text(&cluster, "server");
    if server.is_empty() {
        return Err("invalid configuration: no server".into());
    }
    Ok((server.to_owned(), Identity { ca, certificate, token }))
}

/// kubeadm's kubeconfigs: file, common name, groups, and whether it names this host's own API server.
pub const KUBECONFIGS: [(&str, &str, &str, bool); 5] = [
    ("admin.conf", "kubernetes-admin", "kubeadm:cluster-admins", false),
    ("super-admin.conf", "kubernetes-super-admin", "system:masters", false),
    ("kubelet.conf", "system:node:", "system:nodes", true),
    ("controller-manager.conf", "system:kube-controller-manager", "", true),
    ("scheduler.conf", "system:kube-scheduler", "", true),
];

/// Makes the kubeconfigs that are not there yet. `only` names one of them.
pub fn kubeconfigs(root: &Path, config: &Config, only: Option<&str>) -> Res<()> {
    println!("[kubeconfig] Using kubeconfig folder \"/etc/kubernetes\"");
    let folder = root.join(text(&config.cluster, "certificatesDir").trim_start_matches('/'));
    let missing = |e| {
        format!(
            "the CA files do not exist, please run `kubeadm init phase certs ca` to generate it: {e}"
        )
    };
    let ca = read(&folder.join("ca.crt")).map_err(missing)?;
    let key = read(&folder.join("ca.key")).map_err(missing)?;
    for (file, name, group, local) in KUBECONFIGS {
        if only.is_some_and(|o| o != file.trim_end_matches(".conf")) {
            continue;
        }
        let path = root.join("etc/kubernetes").join(file);
        let server = if local {
            crate::config::local_endpoint(&config.init)
        } else {
            crate::config::endpoint(config)
        };
        if path.exists() {
            let (old, identity) = from_kubeconfig(&read(&path)?)?;
            if identity.ca.as_deref().map(str::trim) != Some(ca.trim()) {
                return Err(format!(
                    "a kubeconfig file \"/etc/kubernetes/{file}\" exists but does not contain a trusted CA in its \
                     current context's cluster. Total CA certificates found: 1"
                ));
            }
            if old != server {
                crate::warn(&format!(
                    "a kubeconfig file \"/etc/kubernetes/{file}\" exists already but has an unexpected API Server \
                     URL: expected: {server}, got: {old}"
                ));
            }
            println!("[kubeconfig] Using existing kubeconfig file: \"/etc/kubernetes/{file}\"");
            continue;
        }
        let mut name = name.to_owned();
        if name.ends_with(':') {
            name.push_str(text(&config.init, "nodeRegistration.name"));
        }
        let groups = if group.is_empty() { Vec::new() } else { vec![group.to_owned()] };
        let request = Request { name: name.clone(), groups, client: true, ..Request::default() };
        let identity =
            Identity { certificate: Some(sign(&request, (&ca, &key))?), ..Identity::default() };
        println!("[kubeconfig] Writing {file:?} kubeconfig file");
        let cluster = text(&config.cluster, "clusterName");
        write(&path, &kubeconfig(&server, cluster, &name, &ca, &identity), 0o600)?;
    }
    Ok(())
}
