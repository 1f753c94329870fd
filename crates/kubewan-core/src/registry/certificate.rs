//! Certificates in PEM, as far as has to be known before they are trusted: that they are some, and until when they are valid
//! (RFC 7468 §5, RFC 5280 §4.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its own block of PEM, with an end of line.
    pub pem: String,
    /// Seconds since 1970 from which on it is valid.
    pub not_before_s: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after_s: i64,
}

/// Characters in a line of PEM (RFC 7468 §2).
const LINE: usize = 64;

/// The certificates in a file with authorities, all of them valid now. Text between them is passed over.
///
/// # Errors
/// Says what the file is instead: none in PEM, a private key, a damaged or expired certificate.
pub fn authorities(bytes: &[u8], now_s: i64) -> Result<Vec<Certificate>, String> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "it holds a private key, which is nothing to hand out: name the certificate alone"
                .into(),
        );
    }
    let mut found = Vec::new();
    let mut rest = text.as_ref();
    while let Some((_, after)) = rest.split_once("-----BEGIN CERTIFICATE-----") {
        let (body, after) = after
            .split_once("-----END CERTIFICATE-----")
            .ok_or("its last certificate has no end: the file is cut off")?;
        let number = found.len() + 1;
        let damaged = |what: &str| format!("its certificate {number} is damaged: {what}");
        let one_line: String = body.split_whitespace().collect();
        let der = STANDARD.decode(one_line).map_err(|_| damaged("it is no base64"))?;
        let (not_before_s, not_after_s) =
            validity(&der).ok_or_else(|| damaged("it is no X.509 certificate"))?;
        if not_after_s < now_s {
            return Err(format!("its certificate {number} expired on {}", day(not_after_s)));
        }
        if not_before_s > now_s {
            return Err(format!("its certificate {number} is valid from {} on", day(not_before_s)));
        }
        found.push(Certificate { pem: pem(&der), not_before_s, not_after_s });
        rest = after;
    }
    if found.is_empty() {
        let der = bytes.first() == Some(&0x30) && validity(bytes).is_some();
        return Err(match der {
            true => {
                "it is a certificate in DER; `openssl x509 -inform der -in FILE` prints it in PEM"
                    .into()
            }
            false => "it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)".into(),
        });
    }
    Ok(found)
}

/// A certificate's block.
fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Tags of DER (X.690 §8.1.2) that a certificate begins with.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when it is valid; `None` where it is no certificate.
fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = element(der).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, fields, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let after_version = match element(fields)? {
        (VERSION, _, rest) => rest,
        _ => fields,
    };
    let mut rest = after_version;
    // Serial number, algorithm, issuer.
    for expected in [INTEGER, SEQUENCE, SEQUENCE] {
        let (tag, _, after) = element(rest)?;
        if tag != expected {
            return None;
        }
        rest = after;
    }
    let (_, dates, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (first, begins, rest) = element(dates)?;
    let (second, ends, _) = element(rest)?;
    Some((time(first, begins)?, time(second, ends)?))
}

/// The first element: its tag, its content, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// `YYMMDDHHMMSSZ`, or with a year of four digits (RFC 5280 §4.1.2.5), in seconds since 1970.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let (digits, year_digits) = match tag {
        UTC_TIME => (text.strip_suffix(b"Z").filter(|d| d.len() == 12)?, 2),
        GENERALIZED_TIME => (text.strip_suffix(b"Z").filter(|d| d.len() == 14)?, 4),
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |part: &[u8]| part.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest) = digits.split_at(year_digits);
    let year = match number(year) {
        year if year_digits == 4 => year,
        // RFC 5280 §4.1.2.5.1.
        year if year >= 50 => 1900 + year,
        year => 2000 + year,
    };
    let parts: Vec<i64> = rest.chunks(2).map(number).collect();
    let [month, day, hour, minute, second] = parts.as_slice() else { return None };
    if !(1..=12).contains(month) || !(1..=31).contains(day) {
        return None;
    }
    Some(days(year, *month, *day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days of the Gregorian calendar since 1970-01-01, counted from March so that a leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// `2026-01-02`, of seconds since 1970.
fn day(seconds: i64) -> String {
    let mut left = seconds.div_euclid(86_400);
    // From the year that is never too late to the one that it is.
    let mut year = 1970 + left / 366 - 1;
    while days(year + 1, 1, 1) <= left {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days(year, month + 1, 1) <= left {
        month += 1;
    }
    left -= days(year, month, 1);
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=registry.example -days 3650
    const PEM: &str = include_str!("registry-example.pem");

    #[test]
    fn a_certificate_is_read_whatever_stands_around_it() {
        let now = days(2027, 6, 1) * 86_400;
        let text = format!("subject=CN = x\n{PEM}{}", PEM.replace('\n', "\r\n"));
        let found = authorities(text.as_bytes(), now).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].pem.as_str(), &found[0]), (PEM, &found[1]));
        let expired = authorities(PEM.as_bytes(), now + 20 * 366 * 86_400).unwrap_err();
        assert_eq!(expired, format!("its certificate 1 expired on {}", day(found[0].not_after_s)));
        assert!(authorities(PEM.as_bytes(), 0).unwrap_err().contains("is valid from"));
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let said = |text: &str| authorities(text.as_bytes(), 1_780_000_000).unwrap_err();
        assert!(said("").contains("no certificate in PEM"));
        assert!(said("-----BEGIN RSA PRIVATE KEY-----\n").contains("private key"));
        assert!(said(&PEM.replace("-----END CERTIFICATE-----", "")).contains("cut off"));
        assert!(said(&PEM.replace("MII", "M!I")).contains("no base64"));
        let other = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(said(other).contains("no X.509"));
        let body: String = PEM.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        assert!(authorities(&der, 1_780_000_000).unwrap_err().contains("DER"));
    }

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"260301000001Z"), Some(1_772_323_201));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        for wrong in [&b"2601010000Z"[..], b"261301000000Z", b"26010100000xZ", b"260101000000"] {
            assert_eq!(time(UTC_TIME, wrong), None);
        }
        for (seconds, text) in
            [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (4_102_444_799, "2099-12-31")]
        {
            assert_eq!(day(seconds), text);
        }
    }
}
