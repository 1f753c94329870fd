//! The lab in words.

use kubewan_lab::{HostStatus, LabEvent, WayStatus};

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

/// A lab as it is shown: its name, its hosts, and its paths that are cut or not plain.
pub type Shown = (String, Vec<HostStatus>, Vec<WayStatus>);

/// Labs: their hosts as one table, and below it the paths that are not plain.
pub fn labs(labs: &[Shown]) -> String {
    let hosts = labs.iter().flat_map(|(name, hosts, _)| hosts.iter().map(move |host| (name, host)));
    let rows: Vec<Vec<String>> = hosts
        .map(|(name, status)| {
            let host = &status.host;
            let state = match (status.running, status.cut) {
                (false, _) => "stopped",
                (true, true) => "cut off",
                (true, false) => "runs",
            };
            vec![
                name.clone(),
                host.name.clone(),
                host.address.to_string(),
                host.private.address.to_string(),
                state.into(),
                format!("{}: {}", host.cloud, host.cloud_behaviour),
            ]
        })
        .collect();
    let mut text = table::text(&["LAB", "HOST", "PUBLIC", "PRIVATE", "STATE", "CLOUD"], &rows);
    for (name, _, ways) in labs {
        for way in ways {
            let [a, b] = &way.ends;
            let mut how = if way.cut { "cut".to_owned() } else { way.path.to_string() };
            if !way.sound {
                let why =
                    if way.path.holds_packets() { "its forwarder is gone" } else { "half made" };
                how += &format!("; {why}: kubewan lab heal --name {name} {a} {b}");
            }
            text += &format!("{name}: path {a} - {b}: {how}\n");
        }
    }
    text
}
