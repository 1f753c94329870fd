//! A daemon.json of Docker's that can't be read, as the usual blog recipe prints one.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::HostCase;
use crate::diagnosis::{Diagnosis, Quote};

const PATH: &str = "/etc/docker/daemon.json";

const SCHEME: &str = "an insecure registry is HOST:PORT, without a scheme";

const REMARK: &str = "JSON has no remarks";

const NO_JSON: &str = "it is no JSON; a comma may be missing";

pub(super) const CHECK: Check = Check {
    code: "daemon-json-invalid",
    means: "Docker's daemon.json is no JSON, or names an insecure registry with a scheme",
    looks_at: "/etc/docker/daemon.json, `unable to configure the Docker daemon with file`",
    explains: &["runtime-down"],
    explains_everywhere: &[],
    run: |case| case.present().filter_map(of).collect(),
};

fn of(host: &HostCase) -> Option<Diagnosis> {
    let said = host.said(&[Component::Docker], |line| {
        line.contains("unable to configure the Docker daemon with file")
    });
    let wrong = match host.file(PATH) {
        Some(text) => faults(text, PATH, 0),
        None => host
            .evidence
            .logs
            .iter()
            .filter(|_| host.is_pasted())
            .map(|log| pasted(&log.text, &log.source))
            .find(|faults| !faults.is_empty())
            .unwrap_or_default(),
    };
    let said = said.filter(|_| host.is_pasted() || !wrong.is_empty());
    if wrong.is_empty() && said.is_none() {
        return None;
    }
    let mut causes: Vec<&str> = wrong.iter().map(|(cause, _)| *cause).collect();
    causes.dedup();
    let cause = if causes.is_empty() { NO_JSON.to_owned() } else { causes.join("; ") };
    // One line may have several slips.
    let mut quotes: Vec<Quote> = wrong.into_iter().map(|(_, quote)| quote).collect();
    quotes.dedup();
    // Docker takes a scheme off and warns (`loadInsecureRegistries` in registry/config.go of moby/moby).
    let starts = said.is_none() && causes == [SCHEME];
    let is_there =
        host.is_pasted() || host.unit("docker.service").is_some_and(|u| u.load == "loaded");
    let diagnosis = if !is_there {
        let symptom = "Docker, once it is installed, would not start";
        Diagnosis::warning("daemon-json-invalid", host.who(), symptom)
    } else if starts {
        let symptom = "Docker warns when it starts, and containerd would not take it so";
        Diagnosis::warning("daemon-json-invalid", host.who(), symptom)
    } else {
        Diagnosis::error("daemon-json-invalid", host.who(), "Docker does not start")
    };
    Some(
        diagnosis
            .cause(format!("{PATH}: {cause}"))
            .seen(quotes.into_iter().chain(said))
            .remedy("a comma after every entry but the last, no `#`; `insecure-registries` takes HOST:PORT, `registry-mirrors` URLs; try it: `dockerd --validate`"),
    )
}

/// The braces around `exec-opts` or another key of the file's, in a text with others around it.
fn pasted(text: &str, source: &str) -> Vec<Fault> {
    let keys = ["\"exec-opts\"", "\"registry-mirrors\"", "\"insecure-registries\""];
    let lines: Vec<&str> = text.lines().collect();
    let of_file = || {
        let key = lines.iter().position(|line| keys.iter().any(|key| line.contains(key)))?;
        let begin = lines[..=key].iter().rposition(|line| line.trim_start().starts_with('{'))?;
        let bare = |line: &str| line[..remark(line).unwrap_or(line.len())].trim() == "}";
        let end = key + lines[key..].iter().position(|line| bare(line))?;
        Some(faults(&lines[begin..=end].join("\n"), source, begin))
    };
    of_file().unwrap_or_default()
}

/// What is wrong, and the line that shows it.
type Fault = (&'static str, Quote);

/// All that is wrong in the file, line by line, as far as it can be told: remarks are taken out, and after a slip of another
/// kind nobody knows what was meant. `before`: lines of the source above the file.
fn faults(text: &str, source: &str, before: usize) -> Vec<Fault> {
    let lines: Vec<&str> = text.lines().collect();
    let at = |index: usize| {
        let line = lines.get(index).copied().unwrap_or_default();
        Quote::new(format!("{source}:{}", before + index + 1), line)
    };
    let mut found: Vec<Fault> = Vec::new();
    let bare: Vec<&str> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let Some(remark) = remark(line) else { return *line };
            found.push((REMARK, at(index)));
            &line[..remark]
        })
        .collect();
    match serde_json::from_str::<serde_json::Value>(&bare.join("\n")) {
        Ok(value) => {
            let registries = value["insecure-registries"].as_array();
            let has_scheme =
                |value: &serde_json::Value| value.as_str().is_some_and(|text| text.contains("://"));
            if registries.is_some_and(|all| all.iter().any(has_scheme)) {
                let index = lines.iter().position(|line| line.contains("insecure-registries"));
                found.extend(index.map(|index| (SCHEME, at(index))));
            }
        }
        // The parser notices a missing comma where the next entry begins.
        Err(error) => found.push((NO_JSON, at(error.line().saturating_sub(1)))),
    }
    found
}

/// Where a remark begins: a `#` outside of quotes.
fn remark(line: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in line.char_indices() {
        match letter {
            '#' if !quoted => return Some(at),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
    }
    None
}
