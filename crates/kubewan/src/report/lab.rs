//! The lab in words.

use kubewan_lab::{Holder, HostStatus, LabEvent, WayStatus};

use super::table;

/// One event as a line.
pub fn event(event: &LabEvent) -> String {
    let seconds = |took: &std::time::Duration| format!("{:.1} s", took.as_secs_f64());
    match event {
        LabEvent::InstallingPackages(names) => format!("installing packages: {}", names.join(" ")),
        LabEvent::BuildingImage { image, folder } => {
            format!("building the hosts' image {image}, once: {}", folder.display())
        }
        LabEvent::ImageBuilt { took } => format!("the image is built ({})", seconds(took)),
        LabEvent::DownloadingParts { folder } => {
            format!("downloading what a rehearsal needs, once: {}", folder.display())
        }
        LabEvent::AlreadyUp => "the lab is up already".into(),
        LabEvent::NetworkReady { clouds } => {
            format!("{clouds} clouds and the Internet between them are there")
        }
        LabEvent::Booting { host } => format!("{host} boots"),
        LabEvent::HostReady { host, took } => format!("{host} answers ({})", seconds(took)),
        LabEvent::Stopping { host } => format!("{host} stops"),
        LabEvent::UndoingFailedUp => "removing what was made so far".into(),
        LabEvent::Kept { path } => format!("{} was edited and is kept", path.display()),
        LabEvent::NotRestored { what } => format!("warning: could not be restored: {what}"),
        // The lab may come to tell more than this version has words for.
        other => format!("{other:?}"),
    }
}

/// A lab as it is shown.
pub struct Shown {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
}

/// How a lab is.
pub enum State {
    /// Its hosts, and its paths that are cut, not plain or not sound.
    Up {
        /// The hosts.
        hosts: Vec<HostStatus>,
        /// The paths.
        ways: Vec<WayStatus>,
    },
    /// Another command is making or removing it.
    BeingMade,
    /// Whoever was making it has ended.
    HalfMade,
    /// Why nothing can be said of it.
    Unreadable(String),
}

/// Labs: their hosts as one table, and below it the paths that are not plain, and labs that are not up.
pub fn labs(labs: &[Shown]) -> String {
    let rows: Vec<Vec<String>> = labs.iter().flat_map(rows).collect();
    let mut text = if rows.is_empty() {
        String::new()
    } else {
        table::text(&["LAB", "HOST", "PUBLIC", "PRIVATE", "STATE", "CLOUD"], &rows)
    };
    for Shown { name, state } in labs {
        match state {
            State::Up { ways, .. } => ways.iter().for_each(|way| text += &way_line(name, way)),
            State::BeingMade => text += &format!("{name}: being made, or removed\n"),
            State::HalfMade => {
                text +=
                    &format!("{name}: half made, and nobody is at it: kubewan lab down {name}\n");
            }
            State::Unreadable(why) => {
                text += &format!("{name}: {}\n", why.replace('\n', "; "));
            }
        }
    }
    text
}

fn rows(lab: &Shown) -> Vec<Vec<String>> {
    let State::Up { hosts, .. } = &lab.state else { return Vec::new() };
    let row = |status: &HostStatus| {
        let host = &status.host;
        let state = match (status.running, status.cut) {
            (false, _) => "stopped",
            (true, true) => "cut off",
            (true, false) => "runs",
        };
        vec![
            lab.name.clone(),
            host.name.clone(),
            host.address.to_string(),
            host.private.address.to_string(),
            state.into(),
            format!("{}: {}", host.cloud, host.cloud_behaviour),
        ]
    };
    hosts.iter().map(row).collect()
}

fn way_line(lab: &str, way: &WayStatus) -> String {
    let [a, b] = &way.ends;
    let mut how = if way.cut { "cut".to_owned() } else { way.path.to_string() };
    let held = way.path.holds_packets();
    if !way.sound {
        let why = match way.holder {
            _ if !held => "half made",
            Holder::Forwarder => "its forwarder is gone",
            Holder::Netem => "its netem is gone",
        };
        how += &format!("; {why}: kubewan lab heal --name {lab} {a} {b}");
    } else if held && !way.cut {
        how += &format!(" (by {})", way.holder);
    }
    format!("{lab}: path {a} - {b}: {how}\n")
}

#[cfg(test)]
mod tests {
    use kubewan_lab::topology::Path;

    use super::*;

    #[test]
    fn no_lab_hides_another() {
        let way = WayStatus {
            ends: ["A".into(), "B".into()],
            cut: false,
            path: Path { latency: "20ms".parse().unwrap(), ..Path::default() },
            sound: false,
            holder: Holder::Forwarder,
        };
        let half_way = WayStatus { path: Path::default(), ..way.clone() };
        let held = WayStatus { sound: true, ..way.clone() };
        let by_netem = WayStatus { holder: Holder::Netem, ..held.clone() };
        let lost = WayStatus { sound: false, ..by_netem.clone() };
        let cut = WayStatus { cut: true, ..by_netem.clone() };
        let ways = vec![way, half_way, held, by_netem, lost, cut];
        let states = [
            ("up", State::Up { hosts: Vec::new(), ways }),
            ("made", State::BeingMade),
            ("half", State::HalfMade),
            ("old", State::Unreadable("of another version\nnext: remove it".into())),
        ];
        let shown = states.map(|(name, state)| Shown { name: name.into(), state });
        let expected = "\
up: path A - B: latency 20ms; its forwarder is gone: kubewan lab heal --name up A B
up: path A - B: plain; half made: kubewan lab heal --name up A B
up: path A - B: latency 20ms (by the forwarder)
up: path A - B: latency 20ms (by netem)
up: path A - B: latency 20ms; its netem is gone: kubewan lab heal --name up A B
up: path A - B: cut
made: being made, or removed
half: half made, and nobody is at it: kubewan lab down half
old: of another version; next: remove it
";
        assert_eq!(labs(&shown), expected);
    }
}
