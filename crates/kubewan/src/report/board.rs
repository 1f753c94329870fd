//! What all hosts are doing in a phase, as lines that change: one for the phase, and one for each host as long as there are
//! few; of many, those that have been at one thing the longest.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::catalogue::{filled, localized};
use super::screen::{Live, Size};
use super::style::{BAD, FAINT, GOOD, HEAD, NEXT, WARN, fit, fit_middle, padded, styled, width};

/// Hosts that each have a line. More are a crowd, told by counts.
pub const FEW: usize = 8;

/// Hosts of a crowd that have one.
const CROWD_LINES: usize = 10;

/// A host's name gets no more room than that.
const NAME_MAX: usize = 24;

/// Longer lines are hard to follow from one end to the other.
const COLUMNS_MAX: usize = 120;

/// The phase's bar.
const BAR_MAX: usize = 24;

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Minutes and seconds.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The moving sign at a line's start.
pub fn spinner(frame: usize) -> String {
    styled(NEXT, FRAMES[frame % FRAMES.len()])
}

/// The work of all hosts in the phase that is under way.
#[derive(Debug)]
pub struct Board {
    began: Instant,
    phase: Mutex<Option<Phase>>,
}

#[derive(Debug)]
struct Phase {
    title: String,
    began: Instant,
    hosts: Vec<Work>,
}

#[derive(Debug)]
struct Work {
    host: String,
    done: usize,
    /// Steps in all; 0 where that is not known.
    total: usize,
    doing: String,
    note: String,
    since: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    AtWork,
    Lost,
    Done,
    Failed,
}

/// Widths of columns.
#[derive(Clone, Copy, Debug)]
struct Widths {
    name: usize,
    /// Of a number of steps; 0 where those are not known.
    digits: usize,
}

/// How a phase went.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The phase.
    pub title: String,
    /// Hosts that had something to do.
    pub hosts: usize,
    /// Steps that were done.
    pub steps: usize,
    /// How long it took.
    pub took: Duration,
    /// The host that was done last, where there were several.
    pub last: Option<String>,
}

impl Board {
    /// A board for a run that began then.
    pub fn new(began: Instant) -> Board {
        Board { began, phase: Mutex::new(None) }
    }

    fn phase(&self) -> MutexGuard<'_, Option<Phase>> {
        self.phase.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn on(&self, host: &str, change: impl FnOnce(&mut Work)) {
        let mut phase = self.phase();
        let work = phase.iter_mut().flat_map(|phase| &mut phase.hosts);
        if let Some(work) = work.into_iter().find(|work| work.host == host) {
            change(work);
        }
    }

    /// A phase begins: its hosts, and how many steps each has in it.
    pub fn begin(&self, title: &str, hosts: impl Iterator<Item = (String, usize)>) {
        let now = Instant::now();
        let hosts = hosts.map(|(host, total)| Work {
            host,
            done: 0,
            total,
            doing: String::new(),
            note: String::new(),
            since: now,
            state: State::Waiting,
        });
        *self.phase() = Some(Phase { title: title.to_owned(), began: now, hosts: hosts.collect() });
    }

    /// The phase has ended, well or not.
    pub fn end(&self) -> Option<Ended> {
        let phase = self.phase().take()?;
        let last = phase.hosts.iter().max_by_key(|work| work.since);
        Some(Ended {
            hosts: phase.hosts.len(),
            steps: phase.hosts.iter().map(|work| work.done).sum(),
            took: phase.began.elapsed(),
            last: last.filter(|_| phase.hosts.len() > 1).map(|work| work.host.clone()),
            title: phase.title,
        })
    }

    /// A host begins something, or tells more of what it does.
    pub fn doing(&self, host: &str, what: &str, note: &str) {
        self.on(host, |work| {
            if work.doing != what {
                work.doing = what.to_owned();
                work.since = Instant::now();
            }
            work.note = note.to_owned();
            work.state = State::AtWork;
        });
    }

    /// A host has done a step; how long that took.
    pub fn done(&self, host: &str) -> Option<Duration> {
        let mut took = None;
        self.on(host, |work| {
            took = Some(work.since.elapsed());
            work.done += 1;
            work.note.clear();
            // A step that is right already is not begun, so this is where the next one's time starts.
            work.since = Instant::now();
            if work.done == work.total {
                work.state = State::Done;
            }
        });
        took
    }

    /// A step failed on a host.
    pub fn failed(&self, host: &str) {
        self.on(host, |work| work.state = State::Failed);
    }

    /// The link to a host is lost, or back.
    pub fn link(&self, host: &str, up: bool) {
        self.on(host, |work| {
            work.state = match (up, work.state) {
                (false, _) => State::Lost,
                (true, State::Lost) if work.total > 0 && work.done == work.total => State::Done,
                (true, State::Lost) => State::AtWork,
                (true, other) => other,
            };
        });
    }
}

impl Live for Board {
    fn lines(&self, room: Size, frame: usize) -> Vec<String> {
        let columns = room.columns.min(COLUMNS_MAX);
        self.phase().as_ref().map_or(Vec::new(), |phase| phase.lines(columns, room.rows, frame))
    }

    fn still(&self) -> Option<String> {
        let phase = self.phase();
        let phase = phase.as_ref()?;
        let mut at_work = phase.at_work();
        let more = at_work.len().saturating_sub(3);
        at_work.truncate(3);
        let told: Vec<String> = at_work.iter().map(|work| work.told()).collect();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let done = phase.count(State::Done);
        let time = clock(self.began.elapsed());
        let text = format!(
            "{}: {done} of {} hosts done; at work: {}{more}",
            phase.title,
            phase.hosts.len(),
            told.join(", ")
        );
        Some(format!("{time:>6} {}", localized(&text)))
    }
}

impl Phase {
    fn count(&self, state: State) -> usize {
        self.hosts.iter().filter(|work| work.state == state).count()
    }

    /// Hosts that have something to do still, those first that have been at it the longest.
    fn at_work(&self) -> Vec<&Work> {
        let busy = |work: &&Work| matches!(work.state, State::AtWork | State::Lost);
        let mut hosts: Vec<&Work> = self.hosts.iter().filter(busy).collect();
        hosts.sort_by_key(|work| work.since);
        hosts
    }

    fn lines(&self, columns: usize, rows: usize, frame: usize) -> Vec<String> {
        let mut lines = vec![self.head(columns, frame)];
        let widths = self.widths();
        if self.hosts.len() <= FEW && self.hosts.len() < rows {
            lines.extend(self.hosts.iter().map(|work| work.line(columns, widths)));
            return lines;
        }
        let at_work = self.at_work();
        // What is printed above stays in sight.
        let shown = CROWD_LINES.min(rows / 2).max(1);
        let (shown, others) = at_work.split_at(shown.min(at_work.len()));
        lines.extend(shown.iter().map(|work| work.line(columns, widths)));
        if !others.is_empty() {
            let names: Vec<&str> = others.iter().map(|work| work.host.as_str()).collect();
            let text = format!("and {} more: {}", others.len(), names.join(" "));
            lines.push(styled(FAINT, &fit(&format!("  {}", localized(&text)), columns)));
        }
        lines.truncate(rows);
        lines
    }

    /// The same for all hosts of the phase, so that their columns stand below each other.
    fn widths(&self) -> Widths {
        let name = self.hosts.iter().map(|work| width(&work.host)).max().unwrap_or(0);
        let total = self.hosts.iter().map(|work| work.total).max().unwrap_or(0);
        let digits = if total == 0 { 0 } else { total.to_string().len() };
        Widths { name: name.min(NAME_MAX), digits }
    }

    /// The phase, how far it is, and how long it has taken.
    fn head(&self, columns: usize, frame: usize) -> String {
        let (done, total) = self.hosts.iter().fold((0, 0), |(done, total), work| {
            (done + work.done.min(work.total), total + work.total)
        });
        let mut counts = Vec::new();
        if total > 0 {
            counts.push(localized(&format!("{done}/{total} steps")).into_owned());
        }
        if self.hosts.len() > 1 {
            let hosts = format!("{}/{} hosts", self.count(State::Done), self.hosts.len());
            counts.push(localized(&hosts).into_owned());
        }
        let failed = self.count(State::Failed);
        let failed = match failed {
            0 => String::new(),
            failed => {
                format!("  {}", filled("{failed} failed", &[("failed", &failed.to_string())]))
            }
        };
        let counts = counts.join("  ");
        let time = clock(self.began.elapsed());
        let right = width(&counts) + width(&failed) + time.len() + 4;
        let title = fit(&self.title, columns.saturating_sub(right + 2));
        let bar = columns.saturating_sub(width(&title) + right + 4).min(BAR_MAX);
        let bar = if total > 0 && bar >= 8 {
            progress_bar(done, total, bar) + "  "
        } else {
            String::new()
        };
        let text = format!("{} {}  {bar}{counts}", spinner(frame), styled(HEAD, &title));
        let line = format!("{text}{}  {}", styled(BAD, &failed), styled(FAINT, &time));
        // Less than the counts need is no terminal to look at.
        if width(&line) > columns { fit(&super::style::plain(&line), columns) } else { line }
    }
}

fn progress_bar(done: usize, total: usize, columns: usize) -> String {
    let full = (done * columns / total.max(1)).min(columns);
    let (full, rest) = ("━".repeat(full), "─".repeat(columns - full));
    format!("{}{}", styled(GOOD, &full), styled(FAINT, &rest))
}

impl Work {
    /// What it does and for how long, for a line of a log.
    fn told(&self) -> String {
        let what = if self.state == State::Lost { "link lost" } else { self.doing.as_str() };
        let what = localized(what);
        format!("{} ({what}, {})", self.host, clock(self.since.elapsed()))
    }

    fn line(&self, columns: usize, Widths { name, digits }: Widths) -> String {
        let count = match digits {
            0 => String::new(),
            _ => format!("{:>digits$}/{:<digits$} ", self.done, self.total),
        };
        let room = columns.saturating_sub(name + count.len() + 2 + 1 + 6);
        let name = padded(&fit_middle(&self.host, name), name);
        let text = match self.state {
            State::Waiting => styled(FAINT, &fit(&localized("waits"), room)),
            State::Done => styled(GOOD, &fit(&localized("done"), room)),
            State::Failed => {
                let text = format!("FAILED {}", self.doing);
                styled(BAD, &fit(&localized(&text), room))
            }
            State::Lost => styled(WARN, &fit(&localized("link lost, connecting again"), room)),
            State::AtWork if self.note.is_empty() => fit(&self.doing, room),
            State::AtWork => fit(&format!("{}: {}", self.doing, self.note), room),
        };
        let head = format!("  {name} {}", styled(FAINT, &count));
        let line = match self.state {
            State::AtWork | State::Lost => {
                let time = format!("{:>6}", clock(self.since.elapsed()));
                format!("{head}{}{}", padded(&text, room), styled(FAINT, &time))
            }
            _ => head + &text,
        };
        if width(&line) > columns { fit(&super::style::plain(&line), columns) } else { line }
    }
}

#[cfg(test)]
mod tests {
    use super::super::style::plain;
    use super::*;

    fn board(hosts: usize, name: &str, steps: usize) -> Board {
        let board = Board::new(Instant::now());
        let hosts = (1..=hosts).map(|number| (format!("{name}{number:02}"), steps));
        board.begin("prepare the hosts", hosts);
        board
    }

    fn shown(board: &Board, columns: usize, rows: usize) -> Vec<String> {
        let lines = board.lines(Size { columns, rows }, 0);
        assert!(lines.len() <= rows, "{lines:#?}");
        for line in &lines {
            assert!(width(line) <= columns, "{columns} columns: {line:?}");
        }
        lines.iter().map(|line| plain(line)).collect()
    }

    #[test]
    fn few_hosts_have_a_line_each_that_stays_in_its_place() {
        let board = board(3, "node", 2);
        board.doing("node01", "install packages: containerd", "");
        board.done("node01");
        board.doing("node02", "write /etc/hosts", "half");
        board.done("node03");
        board.done("node03");
        assert_eq!(
            shown(&board, 79, 29),
            [
                "⠋ prepare the hosts  ━━━━━━━━━━━━────────────  3/6 steps  1/3 hosts  0:00",
                "  node01 1/2 install packages: containerd                                  0:00",
                "  node02 0/2 write /etc/hosts: half                                        0:00",
                "  node03 2/2 done",
            ]
        );
    }

    #[test]
    fn no_terminal_is_too_small_and_no_name_too_long() {
        let name = "a-host-with-a-name-as-long-as-dns-allows.example-of-a-long-domain.net-";
        for hosts in [1, 3, 8, 9, 50, 300] {
            let board = board(hosts, name, 120);
            for number in 1..=hosts {
                let host = format!("{name}{number:02}");
                board.doing(&host, &"节点 a step with very many words ".repeat(9), "\x1b[2J\n");
                if number % 3 == 0 {
                    board.done(&host);
                }
                if number % 7 == 0 {
                    board.failed(&host);
                }
                if number % 5 == 0 {
                    board.link(&host, false);
                }
            }
            for columns in [0, 1, 5, 20, 40, 79, 199, 500] {
                for rows in [1, 2, 5, 23, 100] {
                    let lines = shown(&board, columns, rows.max(2));
                    assert!(lines.iter().all(|line| !line.contains('\x1b')), "{lines:?}");
                }
            }
        }
    }

    #[test]
    fn of_a_crowd_the_slowest_are_shown() {
        let board = board(50, "node", 4);
        for number in 1..=50 {
            board.doing(&format!("node{number:02}"), "load images", "");
        }
        for _ in 0..4 {
            board.done("node01");
        }
        board.failed("node02");
        let lines = shown(&board, 79, 23);
        assert!(lines[0].ends_with("4/200 steps  1/50 hosts  1 failed  0:00"), "{lines:#?}");
        assert_eq!(lines.len(), 12, "{lines:#?}");
        assert!(lines[1].starts_with("  node03 0/4 load images"), "{lines:#?}");
        assert!(lines[11].starts_with("  and 38 more: node13 node14"), "{lines:#?}");
        let still = board.still().unwrap();
        assert_eq!(
            still,
            "  0:00 prepare the hosts: 1 of 50 hosts done; at work: node03 (load images, 0:00), node04 (load images, \
             0:00), node05 (load images, 0:00), and 45 more"
        );
    }

    #[test]
    fn chinese_lines_fit_and_stand_below_each_other() {
        let board = board(3, "node", 2);
        board.doing("node01", "安装软件包 containerd", "从 node02 取得");
        board.doing("node02", "写入 /etc/hosts", "");
        board.link("node03", false);
        for columns in [20, 40, 79, 199] {
            let lines = super::super::language::of_test::in_chinese(|| shown(&board, columns, 29));
            assert!(lines.iter().all(|line| width(line) <= columns), "{lines:#?}");
            let times: Vec<usize> = lines[1..].iter().map(|line| width(line)).collect();
            assert!(times.iter().all(|time| *time == times[0]), "{lines:#?}");
        }
        let lines = super::super::language::of_test::in_chinese(|| shown(&board, 79, 29));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_phase_ends_with_what_it_was() {
        let board = board(2, "node", 1);
        assert!(board.done("node02").is_some());
        assert!(board.done("elsewhere").is_none());
        let ended = board.end().unwrap();
        assert_eq!((ended.hosts, ended.steps, ended.last.as_deref()), (2, 1, Some("node02")));
        assert!(board.end().is_none() && board.still().is_none());
    }
}
