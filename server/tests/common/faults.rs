//! Faults of system calls in a node's process: `faults.c`, compiled and preloaded, controlled
//! through a file that it maps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::NamedTempFile;

/// Calls that can be counted, as bits.
pub const OPEN: i64 = 1;
pub const WRITE: i64 = 2;
pub const SYNC: i64 = 4;
pub const RENAME: i64 = 8;
pub const UNLINK: i64 = 16;
pub const TRUNCATE: i64 = 32;
pub const ACCEPT: i64 = 64;
pub const MKDIR: i64 = 128;
pub const READ: i64 = 256;
/// All calls that change something on the disk.
pub const CHANGES: i64 = OPEN | WRITE | SYNC | RENAME | UNLINK | TRUNCATE | MKDIR;

pub const EIO: i64 = 5;
pub const ENOMEM: i64 = 12;
pub const ENFILE: i64 = 23;
pub const EMFILE: i64 = 24;
pub const ENOSPC: i64 = 28;
pub const EDQUOT: i64 = 122;

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    KillBefore,
    KillAfter,
    /// After half of a write. Other calls are done whole.
    KillHalf,
    /// Fails with this error number.
    Fail(i64),
    /// Takes this many milliseconds longer.
    Delay(i64),
}

/// Offsets in the file; see `struct control` in `faults.c`.
const CALLS: u64 = 0;
const COUNTDOWN: u64 = 8;
const ACTION: u64 = 16;
const VALUE: u64 = 24;
const TIMES: u64 = 32;
const COUNTED: u64 = 40;
const HAPPENED: u64 = 48;

/// One control file.
pub struct Faults {
    control: NamedTempFile,
}

impl Faults {
    /// `None`, and a line that says why, if no shared library can be built.
    pub fn new() -> Option<Faults> {
        library()?;
        let control = NamedTempFile::new().expect("a temporary file");
        control.as_file().set_len(4096).expect("room for it");
        Some(Faults { control })
    }

    /// The environment for a process whose files are below `data`.
    pub fn environment(&self, data: &Path) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", library().expect("it was built").to_path_buf()),
            ("WAVETANK_FAULTS", self.control.path().to_path_buf()),
            ("WAVETANK_FAULTS_BELOW", data.to_path_buf()),
        ]
    }

    fn file(&self) -> &File {
        self.control.as_file()
    }

    fn set(&self, at: u64, value: i64) {
        self.file().write_all_at(&value.to_ne_bytes(), at).expect("written");
    }

    fn get(&self, at: u64) -> i64 {
        let mut bytes = [0; 8];
        self.file().read_exact_at(&mut bytes, at).expect("read");
        i64::from_ne_bytes(bytes)
    }

    /// Plants a fault at the `nth` of these calls from now on, and `times` in a row.
    pub fn plant(&self, calls: i64, nth: i64, action: Action, times: i64) {
        self.set(COUNTDOWN, 0);
        let (number, value) = match action {
            Action::KillBefore => (1, 0),
            Action::KillAfter => (2, 0),
            Action::KillHalf => (3, 0),
            Action::Fail(error) => (4, error),
            Action::Delay(millis) => (5, millis),
        };
        self.set(ACTION, number);
        self.set(VALUE, value);
        self.set(TIMES, times);
        self.set(HAPPENED, 0);
        self.set(COUNTED, 0);
        self.set(CALLS, calls);
        self.set(COUNTDOWN, nth);
    }

    /// Ends all faults and resets the count of those that struck.
    pub fn end(&self) {
        self.set(COUNTDOWN, 0);
        self.set(CALLS, 0);
        self.set(HAPPENED, 0);
    }

    /// How often the fault struck.
    pub fn happened(&self) -> i64 {
        self.get(HAPPENED)
    }

    /// How many calls were counted.
    pub fn counted(&self) -> i64 {
        self.get(COUNTED)
    }
}

/// The library, built once for each test binary.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/faults.c");
    let name = format!("faults-{}.so", std::process::id());
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([library.as_os_str(), source.as_ref(), "-ldl".as_ref()])
        .output();
    match built {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("faults.c: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("skipped: no faults of system calls without a C compiler (cc: {error})");
            None
        }
    }
}

/// A small seeded random number generator (Vigna's SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
