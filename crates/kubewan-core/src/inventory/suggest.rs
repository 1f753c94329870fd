//! What the user may have meant.

/// The candidate that is nearest to what was written, if any is near.
pub(super) fn nearest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = plain(written);
    if written.len() > 40 {
        return None;
    }
    candidates
        .filter_map(|candidate| {
            let most = (candidate.len() / 3).max(1);
            let plain = plain(candidate);
            // Lengths alone make that many edits.
            let hopeless = plain.len().abs_diff(written.len()) > most;
            let distance = if hopeless { usize::MAX } else { distance(&written, &plain) };
            (distance <= most).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Words that other tools use for one of our keys or values.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("controlplane", "control-plane"),
    ("master", "control-plane"),
    ("controller", "control-plane"),
    ("server", "control-plane"),
    ("agent", "worker"),
    ("node", "worker"),
    ("nodes", "hosts"),
    ("machines", "hosts"),
    ("servers", "hosts"),
    ("ip", "address"),
    ("publicip", "address"),
    ("externalip", "address"),
    ("publicaddress", "address"),
    ("privateip", "privateAddress"),
    ("internalip", "privateAddress"),
    ("podcidr", "podSubnet"),
    ("clustercidr", "podSubnet"),
    ("servicecidr", "serviceSubnet"),
    ("clusterdomain", "dnsDomain"),
    ("username", "user"),
    ("keypath", "key"),
    ("identityfile", "key"),
    ("registry", "imageRepository"),
];

/// What another tool's word is here, if it is allowed in this place.
pub(super) fn translated<'a>(
    written: &str,
    mut candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = plain(written);
    let ours = OTHER_WORDS.iter().filter(|(other, _)| *other == written).map(|(_, ours)| *ours);
    let ours: Vec<&str> = ours.collect();
    candidates.find(|candidate| ours.contains(candidate))
}

/// Without case and separators: `pod_subnet` is `podSubnet`.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut line = vec![row];
        for column in 1..=right.len() {
            let same = left[row - 1] == right[column - 1];
            let mut best = (above[column - 1] + usize::from(!same))
                .min(above[column] + 1)
                .min(line[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("hosts", "hosts"), 0);
        assert_eq!(distance("hsots", "hosts"), 1);
        assert_eq!(distance("host", "hosts"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn finds_what_is_near_and_nothing_else() {
        let keys = ["name", "address", "privateAddress", "ssh", "roles"];
        let near = |written| nearest(written, keys.into_iter());
        assert_eq!(near("adress"), Some("address"));
        assert_eq!(near("private_address"), Some("privateAddress"));
        assert_eq!(near("Roles"), Some("roles"));
        assert_eq!(near("colour"), None);
        assert_eq!(translated("ip", keys.into_iter()), Some("address"));
        assert_eq!(
            translated("master", ["control-plane", "worker"].into_iter()),
            Some("control-plane")
        );
        assert_eq!(translated("nodes", keys.into_iter()), None);
    }
}
