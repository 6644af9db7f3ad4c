//! What the process may use, and what it does when it breaks its own rules.

/// How many file descriptors the process may have open (the soft limit; 1,024 if unknown).
pub fn file_descriptors() -> usize {
    let from_kernel = std::fs::read_to_string("/proc/self/limits").ok().and_then(|limits| {
        let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
        let soft = line.split_whitespace().nth(3)?;
        if soft == "unlimited" { Some(1 << 20) } else { soft.parse().ok() }
    });
    from_kernel.unwrap_or(1024)
}

/// What is said when a part of the server breaks its own rules.
pub(crate) fn bug(part: &str) -> String {
    format!(
        "wavetank: the {part} thread met a bug (see the panic above); the process ends so that \
         nothing wrong is served. What was acknowledged is recovered at the next start."
    )
}

/// Ends the process if the thread or task that holds it panics: a broker without its core, its disk
/// or its network would hang, and one that goes on after a broken assertion could do worse.
#[derive(Debug)]
pub struct AbortOnPanic(
    /// Which part of the server it is.
    pub &'static str,
);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::logging::last_words(&bug(self.0));
            std::process::abort();
        }
    }
}

/// A task whose panic ends the process. The runtime by itself would swallow it, and go on without
/// the task.
pub(crate) fn spawn(part: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        let _guard = AbortOnPanic(part);
        task.await;
    });
}
