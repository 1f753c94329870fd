//! Dates for people, from seconds since 1970, in UTC; and the stamps of lines.

/// `YYYY-MM-DD HH:MM UTC`. The days are counted as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms"
/// (`civil_from_days`).
pub fn utc(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let days = days.clamp(-100_000_000, 100_000_000) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second / 60 % 60)
}

/// The time that a line of a log begins with, in seconds since 1970: `2026-11-26T09:00:00+0800 …` (journalctl's
/// short-iso) or `2026-11-26T09:00:00.123Z …` (the CRI's log format).
pub fn stamp(line: &str) -> Option<i64> {
    let word = line.split(' ').next()?;
    let bytes = word.as_bytes();
    let form = |at: usize, is: u8| bytes.get(at) == Some(&is);
    if !(form(4, b'-') && form(7, b'-') && form(10, b'T') && form(13, b':') && form(16, b':')) {
        return None;
    }
    let number = |from: usize, to: usize| word.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // `days_from_civil` of the same.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let of_era = shifted.rem_euclid(400);
    let days = shifted.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100
        + of_year
        - 719_468;
    let time = days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    let zone = word.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let digits: String = zone.chars().filter(char::is_ascii_digit).take(4).collect();
    let ahead = match (digits.len(), digits.parse::<i64>()) {
        (4, Ok(offset)) => (offset / 100) * 3_600 + (offset % 100) * 60,
        _ => 0,
    };
    Some(if zone.starts_with('-') { time + ahead } else { time - ahead })
}

#[cfg(test)]
mod tests {
    use super::{stamp, utc};

    /// By `date -u -d @N`.
    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(utc(1_795_737_599), "2026-11-26 23:59 UTC");
        assert_eq!(utc(-1), "1969-12-31 23:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00 UTC");
        utc(i64::MAX);
        utc(i64::MIN);
    }

    #[test]
    fn lines_have_their_times() {
        assert_eq!(stamp("2026-11-26T23:59:59+0000 a kubelet[1]: b"), Some(1_795_737_599));
        assert_eq!(stamp("2026-11-27T07:59:59+0800 a kubelet[1]: b"), Some(1_795_737_599));
        assert_eq!(stamp("2026-11-26T23:59:59.123456789Z stderr F b"), Some(1_795_737_599));
        assert_eq!(stamp("2026-11-26T18:59:59-05:00 stderr F b"), Some(1_795_737_599));
        for none in
            ["", "Nov 26 09:00:00 a", "2026-11-26T", "2026-13-26T23:59:59Z", "ä026-11-26T23:59:59Z"]
        {
            assert_eq!(stamp(none), None, "{none}");
        }
    }
}
