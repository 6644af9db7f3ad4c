//! The log on stderr: lines go through a bounded buffer to a dedicated thread, so that logging
//! never waits for the device or fails because of it.
//!
//! The device may be full, a pipe's reader may have ended, a terminal may be stopped. Lines that
//! cannot be written are dropped and counted, and the count is logged as soon as writing works
//! again. What is worth a line is decided elsewhere (`notes`, and each caller).

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::limits::AbortOnPanic;

/// Maximum bytes of lines that wait for the device.
const BUFFER: usize = 1 << 20;

/// How long the last lines of a process may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long to wait if the device would block (a terminal that another process made non-blocking).
const NOT_NOW: Duration = Duration::from_millis(10);

static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// Logs to stderr, `info` and above unless `WAVETANK_LOG` says otherwise (for example
/// `wavetank=debug`). Does nothing if a subscriber is already installed.
pub fn init_logging() {
    let log = Arc::new(Log::default());
    let writer = Arc::clone(&log);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
        let _guard = AbortOnPanic("log");
        writer.run(io::stderr());
    });
    // Without a thread there is no log. The node needs more threads and will report the cause.
    let Ok(thread) = thread else { return };
    log.lock().writer = Some(thread.thread().id());
    let wanted = std::env::var("WAVETANK_LOG").unwrap_or_default();
    let levels = if wanted.is_empty() { "info" } else { wanted.as_str() };
    let (filter, wrong) = match tracing_subscriber::EnvFilter::try_new(levels) {
        Ok(filter) => (filter, None),
        Err(wrong) => (tracing_subscriber::EnvFilter::new("info"), Some(wrong)),
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = Arc::clone(&log);
    let installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Line(Arc::clone(&lines)))
        .with_ansi(colours)
        .log_internal_errors(false)
        .try_init();
    if installed.is_ok() {
        let _ = LOG.set(log);
        if let Some(wrong) = wrong {
            tracing::warn!(
                WAVETANK_LOG = wanted,
                %wrong,
                "WAVETANK_LOG cannot be parsed, so info and above are logged; expected a level or \
                 pairs such as wavetank_server=debug,info"
            );
        }
    }
}

/// Waits before the process ends until the log is written, but not for long.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(LAST_LINES);
    }
}

/// One last line before the process ends. Neither panics nor hangs, whatever stderr is.
pub(crate) fn last_words(text: &str) {
    match LOG.get().filter(|log| log.lock().writer != Some(std::thread::current().id())) {
        Some(log) => {
            log.push(format!("{text}\n").into_bytes());
            log.flush(LAST_LINES);
        }
        None => {
            // If this fails, there is nobody left to report it to.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

/// Makes a panic in any thread or task end the process with a message. For a process that is
/// nothing but a node.
pub(crate) fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name").to_string();
        last_words(&format!("{panic}\n{}", crate::limits::bug(&name)));
        std::process::abort();
    }));
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<State>,
    /// Signals new lines to write, and that they have been written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines dropped because the buffer was full.
    dropped: u64,
    /// The thread is writing the lines that it has taken out.
    writing: bool,
    writer: Option<ThreadId>,
}

/// What could not be written.
#[derive(Debug, Default)]
struct Lost {
    lines: u64,
    why: String,
    /// The device has only the beginning of a line.
    torn: bool,
}

impl Log {
    /// Ignores poisoning: the state is consistent after each statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes + line.len() > BUFFER {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    fn flush(&self, within: Duration) {
        let start = Instant::now();
        let mut state = self.lock();
        while state.writing || !state.lines.is_empty() {
            let left = within.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(&self, mut device: impl Write) {
        let mut lost = Lost::default();
        loop {
            let (lines, dropped) = {
                let mut state = self.lock();
                state.writing = false;
                self.changed.notify_all();
                while state.lines.is_empty() {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.writing = true;
                state.bytes = 0;
                (std::mem::take(&mut state.lines), std::mem::take(&mut state.dropped))
            };
            for line in lines {
                lost.write(&mut device, &line);
            }
            if dropped > 0 {
                lost.add(dropped, "the device took them too slowly");
                lost.tell(&mut device);
            }
        }
    }
}

impl Lost {
    fn add(&mut self, lines: u64, why: &str) {
        if self.lines == 0 {
            self.why = why.into();
        }
        self.lines += lines;
    }

    /// Writes a line, preceded by the count of lines lost before it.
    fn write(&mut self, device: &mut impl Write, line: &[u8]) {
        if !self.tell(device) {
            return self.add(1, "");
        }
        if let Err((error, torn)) = put(device, line) {
            self.torn |= torn;
            self.add(1, &error.to_string());
        }
    }

    /// Writes the count if any were lost. False if the device does not take it.
    fn tell(&mut self, device: &mut impl Write) -> bool {
        if self.lines == 0 {
            return true;
        }
        let start = if self.torn { "\n" } else { "" };
        let (lines, why) = (self.lines, &self.why);
        let notice = format!("{start}wavetank: {lines} log lines were lost here ({why})\n");
        match put(device, notice.as_bytes()) {
            Ok(()) => *self = Lost::default(),
            Err((_, torn)) => self.torn |= torn,
        }
        self.lines == 0
    }
}

/// Writes all bytes. The error says why not, and whether a part was written.
fn put(device: &mut impl Write, mut bytes: &[u8]) -> Result<(), (io::Error, bool)> {
    let whole = bytes.len();
    while !bytes.is_empty() {
        match device.write(bytes) {
            Ok(0) => return Err((ErrorKind::WriteZero.into(), bytes.len() < whole)),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(NOT_NOW),
            Err(error) => return Err((error, bytes.len() < whole)),
        }
    }
    Ok(())
}

/// Where `tracing` writes one line.
struct Line(Arc<Log>);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then fails.
    struct Device {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Device {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(self.room - self.taken.len());
            if some == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(&bytes[..some]);
            Ok(some)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lost_lines_are_counted_and_told() {
        let mut device = Device { room: 5, taken: Vec::new() };
        let mut lost = Lost::default();
        for line in ["one\n", "two\n", "three\n"] {
            lost.write(&mut device, line.as_bytes());
        }
        assert_eq!(device.taken, b"one\nt");
        assert_eq!((lost.lines, lost.torn), (2, true));
        device.room = 1000;
        lost.write(&mut device, b"four\n");
        lost.write(&mut device, b"five\n");
        let text = String::from_utf8(device.taken).expect("text");
        let expected =
            "one\nt\nwavetank: 2 log lines were lost here (no storage space)\nfour\nfive\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_device_that_takes_nothing_holds_nobody_up() {
        let log = Log::default();
        let line = vec![b'x'; BUFFER / 4];
        for _ in 0..10 {
            log.push(line.clone());
        }
        let state = log.lock();
        assert_eq!((state.lines.len(), state.dropped), (4, 6));
        drop(state);
        let start = Instant::now();
        log.flush(Duration::from_millis(20));
        assert!(start.elapsed() < Duration::from_secs(10), "nobody writes, and nobody waits");
    }
}
