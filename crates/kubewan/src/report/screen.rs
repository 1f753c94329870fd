//! Standard output and standard error, and the lines at the foot of a terminal that change while work goes on. Those
//! stand below all that is printed, are drawn over themselves and never wider than the terminal. The cursor rests below
//! them and is never hidden, so that a program that is ended in the middle leaves a usable terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::thread;
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};

use super::style;

/// Between two looks at what has changed.
const TICK: Duration = Duration::from_millis(100);

/// Where lines can't change, a line says after so long a silence what is still going on.
const SILENCE: Duration = Duration::from_secs(30);

/// A terminal of unknown size has this one.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// The room that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters on a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Something that goes on and shows it.
pub trait Live: Send + Sync {
    /// Its lines now, none of them wider than the room. `frame` counts up, for what moves.
    fn lines(&self, room: Size, frame: usize) -> Vec<String>;

    /// The same in one line, for logs; `None` where nothing is worth one.
    fn still(&self) -> Option<String> {
        None
    }
}

#[derive(Default)]
struct Screen {
    /// What is shown; the last one is drawn.
    live: Vec<(u64, Arc<dyn Live>)>,
    count: u64,
    /// Lines at the foot of the terminal, without styles.
    drawn: Vec<String>,
    /// How wide the terminal was then.
    columns: usize,
    frame: usize,
    spoke: Option<Instant>,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen {
    live: Vec::new(),
    count: 0,
    drawn: Vec::new(),
    columns: 0,
    frame: 0,
    spoke: None,
});
static PAINTER: Once = Once::new();

fn screen() -> MutexGuard<'static, Screen> {
    // A panic elsewhere is told by its own message.
    SCREEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether lines on standard error can change.
pub fn is_terminal() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    io::stderr().is_terminal() && !term.is_empty() && term != "dumb"
}

/// The terminal's size.
pub fn size() -> Size {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => USUAL,
    }
}

/// Something is shown until this is dropped.
#[must_use]
pub struct Shown(u64);

impl Drop for Shown {
    fn drop(&mut self) {
        let mut screen = screen();
        screen.live.retain(|(id, _)| *id != self.0);
        let erased = screen.erased();
        write_raw(&erased);
    }
}

/// Shows something that goes on, in place of what was shown before.
pub fn show(live: Arc<dyn Live>) -> Shown {
    PAINTER.call_once(|| {
        thread::spawn(|| {
            loop {
                thread::sleep(TICK);
                screen().tick();
            }
        });
    });
    let mut screen = screen();
    screen.count += 1;
    let id = screen.count;
    screen.live.push((id, live));
    screen.spoke = Some(Instant::now());
    Shown(id)
}

/// Prints a line on standard error, above what is shown.
pub fn print(line: &str) {
    #[cfg(test)]
    if captured::take(line) {
        return;
    }
    let line = &*style::harmless(line);
    let mut screen = screen();
    let text = match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => style::plain(line),
        _ => line.to_owned(),
    };
    screen.spoke = Some(Instant::now());
    let (erased, drawn) = (screen.erased(), screen.draw());
    write_raw(&format!("{erased}{text}\n{drawn}"));
}

/// Does something that writes to the terminal itself, or asks on it; what is shown comes back afterwards.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let mut screen = screen();
    let erased = screen.erased();
    write_raw(&erased);
    work()
}

/// Prints data on standard output. A reader that has gone away (`| head`) is no error.
pub fn data(text: &str) {
    let text = if io::stdout().is_terminal() { style::harmless(text) } else { Cow::Borrowed(text) };
    aside(|| {
        let mut out = anstream::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    });
}

/// In one piece, so that no half-drawn line is ever seen.
fn write_raw(text: &str) {
    if !text.is_empty() {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

impl Screen {
    fn tick(&mut self) {
        if is_terminal() {
            self.frame += 1;
            let text = self.draw();
            return write_raw(&text);
        }
        let silent = self.spoke.is_some_and(|spoke| spoke.elapsed() > SILENCE);
        if let (true, Some((_, live))) = (silent, self.live.last()) {
            self.spoke = Some(Instant::now());
            if let Some(line) = live.still() {
                write_raw(&format!("{line}\n"));
            }
        }
    }

    /// What takes the drawn lines away.
    fn erased(&mut self) -> String {
        let text = self.to_top(size().columns);
        self.drawn.clear();
        if text.is_empty() { text } else { text + "\x1b[J" }
    }

    /// What moves the cursor from below the drawn lines to the first of them. A terminal that has become narrower shows
    /// a line on several rows.
    fn to_top(&self, columns: usize) -> String {
        let rows = |line: &String| style::width(line).div_ceil(columns.max(1)).max(1);
        match self.drawn.iter().map(rows).sum::<usize>() {
            0 => String::new(),
            rows => format!("\r\x1b[{rows}A"),
        }
    }

    /// What brings the lines up to date: written over themselves, so that nothing is ever blank in between.
    fn draw(&mut self) -> String {
        if !is_terminal() {
            return String::new();
        }
        let size = size();
        // The last column stays free, and the last line is the cursor's.
        let room =
            Size { columns: size.columns.saturating_sub(1), rows: size.rows.saturating_sub(1) };
        let live = self.live.last().map(|(_, live)| Arc::clone(live));
        let mut lines = live.map(|live| live.lines(room, self.frame)).unwrap_or_default();
        lines.truncate(room.rows);
        lines.iter_mut().for_each(|line| *line = style::harmless(line).into_owned());
        if lines.is_empty() {
            return self.erased();
        }
        let narrower = !self.drawn.is_empty() && size.columns < self.columns;
        let mut text = if narrower { self.erased() } else { self.to_top(size.columns) };
        self.columns = size.columns;
        let bare = AutoStream::choice(&io::stderr()) == ColorChoice::Never;
        for line in &lines {
            let line = if bare { style::plain(line) } else { line.clone() };
            text += &format!("{line}\x1b[K\n");
        }
        self.drawn = lines.iter().map(|line| style::plain(line)).collect();
        text + "\x1b[J"
    }
}

/// What a test's thread prints, for the test to read.
#[cfg(test)]
pub mod captured {
    use std::cell::RefCell;

    use super::style;

    thread_local! {
        static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    }

    pub(super) fn take(line: &str) -> bool {
        LINES.with_borrow_mut(|lines| match lines {
            Some(lines) => {
                lines.push(style::plain(line));
                true
            }
            None => false,
        })
    }

    /// The lines that the work prints, without styles.
    pub fn lines(work: impl FnOnce()) -> Vec<String> {
        LINES.set(Some(Vec::new()));
        work();
        LINES.take().unwrap_or_default()
    }
}
