//! Random names, nonces and secrets, from the kernel.

use std::fs::File;
use std::io::Read;

use kubewan_core::secret::Secret;

/// Characters of a bootstrap token (`[a-z0-9]{6}.[a-z0-9]{16}`, `BootstrapTokenPattern` in
/// `staging/src/k8s.io/cluster-bootstrap/token/api/types.go`).
const TOKEN_CHARACTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Random bytes.
///
/// # Panics
/// Panics where `/dev/urandom` can't be read: no secret can be made there, and none may be guessed.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .expect("/dev/urandom can be read");
    bytes
}

/// A nonce for one connection or one proof, hexadecimal.
pub fn nonce() -> String {
    kubewan_core::hex(&bytes::<12>())
}

/// A bootstrap token.
pub fn bootstrap_token() -> Secret {
    Secret::new(format!("{}.{}", word(6), word(16)))
}

/// A key for `kubeadm`'s certificates: 32 bytes in hex (`CertificateKeySize`, cmd/kubeadm/app/constants/constants.go).
pub fn certificate_key() -> Secret {
    Secret::new(kubewan_core::hex(&bytes::<32>()))
}

fn word(length: usize) -> String {
    let mut word = String::with_capacity(length);
    while word.len() < length {
        // 252 = 7 * 36: what lies above would make some characters likelier than others.
        word.extend(
            bytes::<32>()
                .iter()
                .filter(|byte| **byte < 252)
                .take(length - word.len())
                .map(|byte| char::from(TOKEN_CHARACTERS[usize::from(byte % 36)])),
        );
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_kubeadms_form_and_differ() {
        let one = bootstrap_token();
        let (id, secret) = one.reveal().split_once('.').unwrap();
        assert_eq!((id.len(), secret.len()), (6, 16));
        assert!(
            one.reveal().bytes().all(|b| b == b'.' || b.is_ascii_digit() || b.is_ascii_lowercase())
        );
        assert_ne!(one, bootstrap_token());
        assert!(!format!("{one:?}").contains(secret));
        let key = certificate_key();
        assert!(key.reveal().len() == 64 && key.reveal().bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(key, certificate_key());
    }
}
