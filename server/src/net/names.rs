//! Name look-ups, which may hang; at most one for each name at a time.
//!
//! The system's resolver blocks, for half a minute or more if a name server is silent, and cannot
//! be cancelled. Callers give up sooner and ask again. So a look-up in progress serves all callers,
//! and the last known addresses are used meanwhile and if it fails. (Peers are asked to identify
//! themselves, so an address that now belongs to another node does no harm.)

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::limits::AbortOnPanic;

/// How long to wait for a look-up if the name was resolved before.
const KNOWN_PATIENCE: Duration = Duration::from_millis(200);

/// Maximum names kept: more than a cluster has nodes.
const MOST_NAMES: usize = 1024;

/// The system's resolver, or a test's.
type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The known names.
pub(super) struct Names {
    resolver: Resolver,
    names: Mutex<BTreeMap<String, Name>>,
}

#[derive(Default)]
struct Name {
    /// Its addresses at the last successful look-up.
    known: Vec<IpAddr>,
    /// The look-up in progress: gets its outcome when it ends.
    looking: Option<watch::Receiver<Outcome>>,
}

/// `None` while the look-up runs.
type Outcome = Option<Result<(), String>>;

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Names {
    /// With the system's resolver.
    pub(super) fn new() -> Names {
        Names::by(Arc::new(|name| {
            Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        }))
    }

    fn by(resolver: Resolver) -> Names {
        Names { resolver, names: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        // Nothing panics while it holds the lock.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of `host`, at least one.
    ///
    /// # Errors
    /// If the name was never resolved and cannot be looked up now.
    pub(super) async fn resolve(
        self: &Arc<Names>,
        host: &str,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (is_known, mut looking) = self.look_up(host);
        let ended = looking.wait_for(Option::is_some);
        let failed = if is_known {
            let ended = tokio::time::timeout(KNOWN_PATIENCE, ended).await;
            ended.ok().and_then(Result::ok).and_then(|outcome| outcome.clone())
        } else {
            // The sender disappears without an outcome only when the process ends.
            ended.await.map_err(io::Error::other)?.clone()
        };
        let known = self.lock().get(host).map(|name| name.known.clone()).unwrap_or_default();
        if known.is_empty() {
            let why = failed.and_then(Result::err).unwrap_or_else(|| "it has no address".into());
            return Err(io::Error::other(format!("cannot look up the name {host}: {why}")));
        }
        Ok(known.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Looks a name up before it is needed, because the name server may be silent by then.
    pub(super) fn learn(self: &Arc<Names>, host: &str) {
        if host.parse::<IpAddr>().is_err() {
            // A later caller joins the look-up.
            let _ = self.look_up(host);
        }
    }

    /// Joins the look-up in progress, or starts one. The flag says whether the name was resolved
    /// before.
    fn look_up(self: &Arc<Names>, host: &str) -> (bool, watch::Receiver<Outcome>) {
        let mut names = self.lock();
        if names.len() >= MOST_NAMES && !names.contains_key(host) {
            names.retain(|_, name| name.looking.is_some());
        }
        let name = names.entry(host.into()).or_default();
        let is_known = !name.known.is_empty();
        if let Some(looking) = &name.looking {
            return (is_known, looking.clone());
        }
        let (sender, looking) = watch::channel(None);
        name.looking = Some(looking.clone());
        drop(names);
        let (these, host) = (Arc::clone(self), host.to_string());
        tokio::task::spawn_blocking(move || {
            let _guard = AbortOnPanic("network (of names)");
            let found = (these.resolver)(&host);
            let mut names = these.lock();
            let name = names.entry(host).or_default();
            name.looking = None;
            let outcome = found.map(|found| {
                if !found.is_empty() {
                    name.known = found;
                }
            });
            drop(names);
            // All callers may have given up.
            let _ = sender.send(Some(outcome.map_err(|error| error.to_string())));
        });
        (is_known, looking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    #[tokio::test]
    async fn a_name_server_that_falls_silent() {
        let (answers, wait) = channel::<io::Result<Vec<IpAddr>>>();
        let (wait, asked) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let names = Arc::new(Names::by(Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let gone = |_| Err(io::Error::other("the test has ended"));
            wait.lock().expect("no panic").recv().unwrap_or_else(gone)
        })));
        let soon = Duration::from_millis(20);
        // Not resolved yet: all callers wait for one look-up, however often they ask.
        for _ in 0..20 {
            assert!(tokio::time::timeout(soon, names.resolve("peer", 1)).await.is_err());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let address = IpAddr::from([192, 0, 2, 1]);
        answers.send(Ok(vec![address])).expect("it waits");
        let found = names.resolve("peer", 1).await.expect("known");
        assert_eq!(found, [SocketAddr::new(address, 1)]);
        // Resolved before, and the look-up hangs.
        for _ in 0..3 {
            let found = names.resolve("peer", 2).await.expect("known from before");
            assert_eq!(found, [SocketAddr::new(address, 2)]);
        }
        assert!(asked.load(Ordering::SeqCst) <= 2);
        answers.send(Err(io::Error::other("refused"))).expect("it waits");
        names.resolve("peer", 1).await.expect("known from before");
        drop(answers);
        names.resolve("another", 1).await.expect_err("it is not known");
    }

    /// A peer that was not needed until the name server fell silent.
    #[tokio::test]
    async fn what_was_learned_early_is_known() {
        let (answers, wait) = channel::<IpAddr>();
        let wait = Mutex::new(wait);
        let names = Arc::new(Names::by(Arc::new(move |_| {
            let silent = |_| io::Error::other("the test has ended");
            Ok(vec![wait.lock().expect("no panic").recv().map_err(silent)?])
        })));
        names.learn("peer");
        let address = IpAddr::from([192, 0, 2, 1]);
        answers.send(address).expect("it waits");
        let first = names.resolve("peer", 1).await.expect("it is looked up");
        let silent = names.resolve("peer", 1).await.expect("known from before");
        assert_eq!(first, silent);
        drop(answers);
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let names = Arc::new(Names::by(Arc::new(|_| panic!("a look-up"))));
        names.learn("127.0.0.1");
        for host in ["127.0.0.1", "::1"] {
            assert_eq!(names.resolve(host, 7).await.expect("an address")[0].port(), 7);
        }
    }
}
