//! Downloads to this machine as they go: a line that changes on a terminal, a line for each elsewhere.

use std::sync::{Arc, Mutex};

use kubewan_fleet::supply::create::Step;

use super::screen::{self, Live, Shown, Size};
use super::{Verbosity, board, note, style, verbosity};

/// Shows one download after another.
pub struct Downloads {
    line: Arc<Line>,
    shown: Option<Shown>,
}

#[derive(Default)]
struct Line {
    now: Mutex<(String, u64)>,
}

impl Downloads {
    /// At the beginning.
    pub fn new() -> Downloads {
        let line = Arc::new(Line::default());
        let shows = verbosity() > Verbosity::Quiet && screen::is_terminal();
        Downloads { shown: shows.then(|| screen::show(line.clone())), line }
    }

    /// Hears how far it is.
    pub fn hear(&self, step: &Step) {
        let mut now = self.line.now.lock().expect("nothing panics here");
        match step {
            Step::Begun(name) => {
                *now = ((*name).to_owned(), 0);
                if self.shown.is_none() {
                    note(name);
                }
            }
            Step::Bytes(bytes) => now.1 = *bytes,
        }
    }
}

impl Live for Line {
    fn lines(&self, room: Size, frame: usize) -> Vec<String> {
        let (name, bytes) = self.now.lock().expect("nothing panics here").clone();
        let size = if bytes == 0 { String::new() } else { format!("{} MiB", bytes >> 20) };
        let name = style::fit(&name, room.columns.saturating_sub(size.len() + 4));
        let size = style::styled(style::FAINT, &size);
        let text = format!("{} {name}  {size}", board::spinner(frame));
        if style::width(&text) > room.columns { Vec::new() } else { vec![text] }
    }
}
