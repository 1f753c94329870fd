//! A daemon.json of Docker's that can't be read, as the usual blog recipe prints one.

use kubewan_core::evidence::Component;

use super::Check;
use crate::case::HostCase;
use crate::diagnosis::{Diagnosis, Quote};

const PATH: &str = "/etc/docker/daemon.json";

const SCHEME: &str = "an insecure registry is HOST:PORT, without a scheme";

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
        Some(text) => fault(text, PATH),
        None => host
            .evidence
            .logs
            .iter()
            .filter(|_| host.is_pasted())
            .find_map(|log| pasted(&log.text, &log.source)),
    };
    let said = said.filter(|_| host.is_pasted() || wrong.is_some());
    if wrong.is_none() && said.is_none() {
        return None;
    }
    let cause = wrong.as_ref().map_or("it is no JSON", |(cause, _)| *cause);
    // Docker takes a scheme off and warns (`loadInsecureRegistries` in registry/config.go of moby/moby).
    let diagnosis = match &wrong {
        Some((SCHEME, _)) if said.is_none() => {
            let symptom = "Docker warns when it starts, and containerd would not take it so";
            Diagnosis::warning("daemon-json-invalid", host.who(), symptom)
        }
        _ => Diagnosis::error("daemon-json-invalid", host.who(), "Docker does not start"),
    };
    Some(
        diagnosis
            .cause(format!("{PATH}: {cause}"))
            .seen(wrong.map(|(_, quote)| quote).into_iter().chain(said))
            .remedy("a comma after every entry but the last, no `#`; `insecure-registries` takes HOST:PORT, `registry-mirrors` URLs; try it: `dockerd --validate`"),
    )
}

/// The braces around `exec-opts` or another key of the file's, in a text with others around it.
fn pasted(text: &str, source: &str) -> Option<(&'static str, Quote)> {
    let keys = ["\"exec-opts\"", "\"registry-mirrors\"", "\"insecure-registries\""];
    let lines: Vec<&str> = text.lines().collect();
    let key = lines.iter().position(|line| keys.iter().any(|key| line.contains(key)))?;
    let begin = lines[..=key].iter().rposition(|line| line.trim_start().starts_with('{'))?;
    let end = key + lines[key..].iter().position(|line| line.trim() == "}")?;
    let (cause, mut quote) = fault(&lines[begin..=end].join("\n"), source)?;
    if let Some((_, number)) = quote.source.rsplit_once(':') {
        let number = number.parse::<usize>().unwrap_or(1) + begin;
        quote.source = format!("{source}:{number}");
    }
    Some((cause, quote))
}

fn fault(text: &str, source: &str) -> Option<(&'static str, Quote)> {
    let at = |number: usize| {
        let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default();
        Quote::new(format!("{source}:{number}"), line)
    };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => {
            let registries = value["insecure-registries"].as_array()?;
            let scheme =
                |value: &serde_json::Value| value.as_str().is_some_and(|text| text.contains("://"));
            let number = text.lines().position(|line| line.contains("insecure-registries"))? + 1;
            registries.iter().any(scheme).then(|| (SCHEME, at(number)))
        }
        Err(error) => {
            // The parser notices a missing comma where the next entry begins, and a remark where it stands.
            let is_remark = text
                .lines()
                .nth(error.line().saturating_sub(1))
                .is_some_and(|line| line.contains('#'));
            let cause = if is_remark {
                "JSON has no remarks"
            } else {
                "it is no JSON; a comma may be missing"
            };
            Some((cause, at(error.line())))
        }
    }
}
