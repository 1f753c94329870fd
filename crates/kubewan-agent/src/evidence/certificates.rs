//! Names and dates of certificates (RFC 5280, section 4.1).

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewan_core::evidence::Certificate;

use kubewan_core::pin::element;

/// Folders with certificates of Kubernetes'.
const FOLDERS: [&str; 3] = ["etc/kubernetes/pki", "etc/kubernetes/pki/etcd", "var/lib/kubelet/pki"];

/// Certificates that are read: kubeadm makes ten, a kubelet keeps some.
const MOST: usize = 64;

/// Those of kubeadm's and the kubelet's; of a rotated one the current.
pub(super) fn certificates(root: &Path) -> Vec<Certificate> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let wanted = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".crt") || name.ends_with("-current.pem")
        };
        for path in paths.iter().filter(|path| wanted(path)) {
            found.extend(fs::read_to_string(path).ok().and_then(|text| of_pem(&text, path)));
        }
    }
    let entries = fs::read_dir(root.join("etc/kubernetes")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "conf")) {
        found.extend(fs::read_to_string(path).ok().and_then(|text| of_kubeconfig(&text, path)));
    }
    found.truncate(MOST);
    found
}

/// The first certificate of a PEM text; a key before or after it is not looked at.
pub(crate) fn of_pem(pem: &str, path: &Path) -> Option<Certificate> {
    let body = pem.split_once("-----BEGIN CERTIFICATE-----")?.1;
    let body = body.split_once("-----END CERTIFICATE-----")?.0;
    let text: String = body.split_whitespace().collect();
    of_der(&STANDARD.decode(text).ok()?, path)
}

/// The client's certificate of a kubeconfig.
pub(crate) fn of_kubeconfig(text: &str, path: &Path) -> Option<Certificate> {
    let data = text.split_once("client-certificate-data:")?.1.split_whitespace().next()?;
    let pem = STANDARD.decode(data.trim_matches(['"', '\''])).ok()?;
    of_pem(&String::from_utf8(pem).ok()?, path)
}

/// `tbsCertificate { [0] version, serialNumber, signature, issuer, validity, subject, … }`
fn of_der(der: &[u8], path: &Path) -> Option<Certificate> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // The version is left out in certificates of version 1.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (_, issuer, rest) = element(rest)?;
    let (_, validity, rest) = element(rest)?;
    let (_, subject, _) = element(rest)?;
    let (first, _, last) = element(validity)?;
    let (last, _, _) = element(last)?;
    Some(Certificate {
        path: path.to_string_lossy().into_owned(),
        subject: common_name(subject),
        issuer: common_name(issuer),
        not_before: time(first)?,
        not_after: time(last)?,
    })
}

/// The value of the attribute 2.5.4.3 in a name: a sequence of sets of pairs.
fn common_name(mut name: &[u8]) -> String {
    while let Some((_, set, rest)) = element(name) {
        if let Some((_, pair, _)) = element(set)
            && let Some((_, kind, value)) = element(pair)
            && kind == [0x55, 0x04, 0x03]
            && let Some((_, text, _)) = element(value)
        {
            return String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        }
        name = rest;
    }
    String::new()
}

/// `UTCTime` (YYMMDDHHMMSSZ, from 1950 to 2049) or `GeneralizedTime` (YYYYMMDDHHMMSSZ), in seconds since 1970.
fn time(whole: &[u8]) -> Option<i64> {
    let (_, content, _) = element(whole)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (whole.first()?, text.len()) {
        (0x17, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (0x18, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(year, month, day) * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// Days since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl x509 -noout -subject -issuer -dates` and `date -d … +%s`.
    #[test]
    fn equals_openssl_s() {
        let path = Path::new("ca.crt");
        let rsa =
            of_pem(include_str!("../../../kubewan-core/src/testdata/ca-rsa.crt"), path).unwrap();
        let ec =
            of_pem(include_str!("../../../kubewan-core/src/testdata/ca-ec.crt"), path).unwrap();
        assert_eq!((rsa.subject.as_str(), rsa.not_before, rsa.not_after), RSA);
        assert_eq!((ec.subject.as_str(), ec.not_before, ec.not_after), EC);
    }

    const RSA: (&str, i64, i64) = ("kubernetes", 1_795_454_222, 2_110_814_222);
    const EC: (&str, i64, i64) = ("kubernetes", 1_795_454_222, 2_110_814_222);

    #[test]
    fn kubeconfigs_hold_one() {
        let pem = include_str!("../../../kubewan-core/src/testdata/ca-ec.crt");
        let text = format!(
            "users:\n- user:\n    client-certificate-data: {}\n    client-key-data: eA==\n",
            STANDARD.encode(pem)
        );
        assert_eq!(of_kubeconfig(&text, Path::new("a")), of_pem(pem, Path::new("a")));
        assert_eq!(of_kubeconfig("client-certificate-data: x", Path::new("a")), None);
    }
}
