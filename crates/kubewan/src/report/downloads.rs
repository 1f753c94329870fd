//! Downloads to this machine as they go.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kubewan_fleet::supply::create::Step;

use super::note;

/// Shows one download after another: a line that changes on a terminal, a line for each elsewhere.
pub struct Downloads {
    line: Option<ProgressBar>,
}

impl Downloads {
    /// At the beginning.
    pub fn new() -> Downloads {
        let line = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {bytes:>10}");
            let line = ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        Downloads { line }
    }

    /// Hears how far it is.
    pub fn hear(&self, step: &Step) {
        match (step, &self.line) {
            (Step::Begun(name), Some(line)) => {
                line.set_position(0);
                line.set_message((*name).to_owned());
            }
            (Step::Begun(name), None) => note(name),
            (Step::Bytes(bytes), Some(line)) => line.set_position(*bytes),
            (Step::Bytes(_), None) => {}
        }
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}
