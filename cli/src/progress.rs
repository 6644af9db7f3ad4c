//! Progress of long work: a bar on a terminal, otherwise a plain line on standard error every ten
//! seconds.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{grouped, measured};

/// How often a line is written if there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// Seeds done, of how many, and a message about their results.
#[derive(Clone, Debug, Default)]
struct State {
    done: u64,
    of: Option<u64>,
    message: String,
}

impl State {
    /// `wavetank: 1,234 of 3,000 seeds, 0 violated, 12 weak, 65.2 seeds/s, 27 s left`
    fn line(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let rate = self.done as f64 / seconds.max(0.001);
        let of = self.of.map(|of| format!(" of {}", grouped(of))).unwrap_or_default();
        let message = match self.message.is_empty() {
            true => String::new(),
            false => format!(", {}", self.message),
        };
        let left = match self.of {
            Some(of) if self.done > 0 => {
                format!(", {} s left", grouped(((of - self.done.min(of)) as f64 / rate) as u64))
            }
            Some(_) | None => String::new(),
        };
        format!(
            "wavetank: {}{of} seeds{message}, {} s, {} seeds/s{left}",
            grouped(self.done),
            grouped(seconds as u64),
            measured(rate),
        )
    }
}

/// See the module. Dropping it ends the display.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
    lines: Option<(Sender<()>, JoinHandle<()>)>,
}

/// The handle with which work reports its progress.
#[derive(Clone, Debug)]
pub struct Told {
    bar: ProgressBar,
    state: Arc<Mutex<State>>,
}

impl Progress {
    /// Progress through this many seeds, if the number is known.
    pub fn of(seeds: Option<u64>) -> Progress {
        let template = match seeds {
            Some(_) => "{wide_bar} {pos}/{len} seeds, {msg}, {per_sec}, {eta} left",
            None => "{msg} {pos} seeds, {per_sec}, {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("a constant of ours");
        let bar = seeds.map_or_else(ProgressBar::no_length, ProgressBar::new).with_style(style);
        let state = Arc::new(Mutex::new(State { of: seeds, ..State::default() }));
        let lines = (!std::io::stderr().is_terminal())
            .then(|| lines(state.clone(), EVERY, |line| eprintln!("{line}")));
        Progress { bar, state, lines }
    }

    /// A handle for the work.
    pub fn told(&self) -> Told {
        Told { bar: self.bar.clone(), state: self.state.clone() }
    }
}

impl Told {
    /// Reports the number of seeds done, and a message about their results.
    pub fn set(&self, done: u64, message: String) {
        self.bar.set_position(done);
        self.bar.set_message(message.clone());
        let mut state = self.state.lock().expect("nobody panics with it");
        (state.done, state.message) = (done, message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Some((end, thread)) = self.lines.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// Writes a line every `every`, until the sender is dropped.
fn lines(
    state: Arc<Mutex<State>>,
    every: Duration,
    write: impl Fn(String) + Send + 'static,
) -> (Sender<()>, JoinHandle<()>) {
    let (end, ended) = channel();
    let start = Instant::now();
    let thread = std::thread::spawn(move || {
        while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            write(state.lock().expect("nobody panics with it").line(start.elapsed()));
        }
    });
    (end, thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_takes() {
        let message = "0 violated, 12 weak".to_owned();
        let state = State { done: 1_500, of: Some(3_000), message };
        assert_eq!(
            state.line(Duration::from_secs(30)),
            "wavetank: 1,500 of 3,000 seeds, 0 violated, 12 weak, 30 s, 50.0 seeds/s, 30 s left"
        );
        let unknown = State { done: 7, ..State::default() };
        let line = unknown.line(Duration::from_secs(10));
        assert_eq!(line, "wavetank: 7 seeds, 10 s, 0.70 seeds/s");
    }

    #[test]
    fn lines_come_at_intervals_and_end_with_their_owner() {
        let (told, heard) = channel();
        let state = Arc::new(Mutex::new(State { done: 2, ..State::default() }));
        let (end, thread) = lines(state, Duration::from_millis(5), move |line| {
            let _ = told.send(line);
        });
        assert!(heard.recv().unwrap().starts_with("wavetank: 2 seeds"));
        drop(end);
        thread.join().unwrap();
    }
}
