//! The data directory as a whole: it exists, is writable, and is locked for us.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::ServeError;

/// A data directory, locked for this process until the value is dropped (or the process ends,
/// however it ends).
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// If it cannot be created or written, or another process holds the lock.
    pub fn open(path: &Path) -> Result<DataDir, ServeError> {
        let refuse = |what: &'static str| {
            move |error: io::Error| ServeError::DataDir { path: path.to_path_buf(), what, error }
        };
        if !path.is_dir() {
            super::create_directories(path).map_err(refuse("create"))?;
            // Otherwise a power loss could lose the directory and everything in it.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))
                .and_then(|parent| parent.sync_all())
                .map_err(refuse("make durable"))?;
        }
        std::fs::read_dir(path).map_err(refuse("read"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(super::FILE_MODE)
            .open(path.join(super::LOCK_FILE))
            .map_err(refuse("write to"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for a better error message: the lock decides, whatever the file says.
                let _ = lock.read_to_string(&mut holder);
                let holder = holder.trim().parse().ok();
                return Err(ServeError::DataDirLocked { path: path.to_path_buf(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(refuse("lock")(error)),
        }
        let pid = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(pid.as_bytes()))
            .map_err(refuse("write to"))?;
        Ok(DataDir { path: path.to_path_buf(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = DataDir::open(dir.path()).expect("nobody has it");
        let second = DataDir::open(dir.path()).expect_err("the first has it");
        let text = second.to_string();
        assert!(text.contains("in use"), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        DataDir::open(dir.path()).expect("it was given back");
    }

    #[test]
    fn a_file_in_the_way_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "not a directory").expect("it can be written");
        let error = DataDir::open(&path).expect_err("it is a file").to_string();
        assert!(error.contains("file"), "{error}");
    }
}
