//! The pin of a CA: SHA-256 of its public key (RFC 7469, section 2.4), as joins check it
//! (cmd/kubeadm/app/util/pubkeypin/pubkeypin.go).

use crate::sha256_hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// `sha256:<hex>` over the SubjectPublicKeyInfo of the first certificate in a PEM text.
pub fn of_pem(pem: &str) -> Option<String> {
    let body = pem.split_once("-----BEGIN CERTIFICATE-----")?.1;
    let body = body.split_once("-----END CERTIFICATE-----")?.0;
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).ok()?;
    Some(format!("sha256:{}", sha256_hex(public_key_info(&der)?)))
}

/// `Certificate { tbsCertificate { [0] version, serialNumber, signature, issuer, validity, subject,
/// subjectPublicKeyInfo, … }, … }` (RFC 5280, section 4.1); the element whole, with its tag and length.
pub fn public_key_info(der: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    // The version is left out in certificates of version 1.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    Some(element(rest)?.0)
}

/// The first element of DER (ITU-T X.690): whole, its content, and what comes after it.
pub fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (header, length) = if first < 0x80 {
        (2, first)
    } else {
        // Certificates are shorter than 16 MiB, and DER has no indefinite lengths.
        let count = first & 0x7f;
        if !(1..=3).contains(&count) {
            return None;
        }
        let bytes = der.get(2..2 + count)?;
        (2 + count, bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    };
    let end = header.checked_add(length)?;
    Some((der.get(..end)?, der.get(header..end)?, der.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509`; the sums by
    /// `openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256`.
    #[test]
    fn equals_openssl_s() {
        assert_eq!(
            of_pem(include_str!("testdata/ca-rsa.crt")).as_deref(),
            Some("sha256:4e14769ea08e56e388c3a0f386708ff395b7075fd154b1b212b6d0973588759b")
        );
        assert_eq!(
            of_pem(include_str!("testdata/ca-ec.crt")).as_deref(),
            Some("sha256:78d121635658157476d0e48b2813dea94fb1b770b1ddf0e984cf005c78731e0c")
        );
    }

    #[test]
    fn damaged_certificates_have_none() {
        let whole = include_str!("testdata/ca-ec.crt");
        assert_eq!(of_pem(&whole[..whole.len() / 2]), None);
        assert_eq!(of_pem(""), None);
        assert_eq!(public_key_info(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(public_key_info(&[0x30, 0x80]), None);
    }
}
