//! One real node: the core, the disk and the network on their own threads, from opening the data
//! directory to a graceful stop.
//!
//! [`serve`] is the command: it prints the ready line, obeys signals and returns how it ended.
//! [`Server`] is the same without a terminal, for programs that embed a node.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wavetank_core::broker::{Broker, Status};
use wavetank_core::event::Event;
use wavetank_core::flaw::FlawSet;
use wavetank_core::note::Note;
use wavetank_core::types::{Endpoint, NodeId};

use crate::config::{ServerConfig, parse_address};
use crate::disk::{DataDir, DiskPool};
use crate::doors;
use crate::env::TokioEnv;
use crate::error::{STOP_WAITS_FOR, ServeError};
use crate::identity::{self, check_cluster_id};
use crate::limits::{self, AbortOnPanic};
use crate::logging;
use crate::net::{self, NetThread};
use crate::note_log::NoteLog;
use crate::reactor::Reactor;

/// The default data directory, below the working directory.
pub const DEFAULT_DATA: &str = "wavetank-data";

/// How long a graceful stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How often an unfinished stop is logged.
const STILL_STOPPING: Duration = Duration::from_secs(5);

/// Signals within this time count as one: supervisors and shells signal the process and then its
/// group.
const ONE_WISH: Duration = Duration::from_millis(500);

/// The options of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// The data directory; wins over `log.dirs`.
    pub data: Option<PathBuf>,
    /// `HOST:PORT`; wins over `listeners`. Port 0 takes any free one.
    pub listen: Option<String>,
    /// A configuration file. Without one, a single node is both broker and controller.
    pub config: Option<PathBuf>,
    /// Whether an empty data directory may be formatted. A single node formats it anyway.
    pub format: bool,
    /// The cluster's id, if the configuration file does not give it.
    pub cluster_id: Option<String>,
    /// Where to write the core's notes, one JSON object a line ([`crate::NotedAt`]).
    pub notes: Option<PathBuf>,
}

impl ServeOptions {
    fn resolve(&self) -> Result<ServerConfig, ServeError> {
        let mut config = match &self.config {
            Some(path) => ServerConfig::from_file(path)?,
            None => ServerConfig::parse_default(),
        };
        if let Some(listen) = &self.listen {
            let listen = parse_address(listen).ok_or_else(|| {
                ServeError::Config(format!(
                    "--listen is {listen:?}; expected HOST:PORT, as in 127.0.0.1:9092 (port 0 \
                     takes any free one)"
                ))
            })?;
            config.listen(listen).map_err(ServeError::Config)?;
        }
        if let Some(id) = &self.cluster_id {
            check_cluster_id(id)
                .map_err(|problem| ServeError::Config(format!("--cluster-id: {problem}")))?;
            if let Some(other) = config.cluster_id.as_ref().filter(|other| *other != id) {
                return Err(ServeError::Config(format!(
                    "--cluster-id is {id}, but cluster.id in the configuration file is {other}"
                )));
            }
            config.node.cluster_id.clone_from(id);
            config.cluster_id = Some(id.clone());
        }
        Ok(config)
    }
}

/// Messages from the threads to [`Server::join`] and [`Server::wait_ready`].
#[derive(Debug)]
enum News {
    /// The broker is registered and unfenced (or the controller takes part in its quorum).
    Ready,
    /// The core has ended, and everything that it submitted is on the disk.
    Ended(Status),
    /// A graceful stop was requested.
    Stop,
}

/// A running node.
#[derive(Debug)]
pub struct Server {
    node: NodeId,
    local: SocketAddr,
    advertised: Endpoint,
    data: PathBuf,
    inbox: Sender<Event>,
    news: Receiver<News>,
    teller: Sender<News>,
    core: JoinHandle<()>,
    network: NetThread,
}

impl Server {
    /// Starts a node: locks the data directory, binds, starts the threads. It is ready later; see
    /// [`Server::wait_ready`].
    ///
    /// # Errors
    /// If the configuration, the data directory or the address cannot be used.
    pub fn start(options: &ServeOptions) -> Result<Server, ServeError> {
        Server::start_without(FlawSet::NONE, options)
    }

    /// The same, for a node that leaves rules out, to test the tests. No configuration, flag or
    /// feature leads here.
    ///
    /// # Errors
    /// See [`Server::start`].
    pub fn start_without(rules: FlawSet, options: &ServeOptions) -> Result<Server, ServeError> {
        // Before the configuration, because its defaults depend on the limit.
        limits::raise_file_descriptors().map_err(ServeError::Start)?;
        let mut config = options.resolve()?;
        check_connections(config.limits.max_connections, limits::descriptors().connections)?;
        config.node.flaws = rules;
        let path = options.data.clone().or_else(|| config.log_dir.clone());
        let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
        // Ids and jitter are random, so nothing can start without random numbers.
        getrandom::u64().map_err(|error| ServeError::Start(io::Error::other(error)))?;
        let data = DataDir::open(&path)?;
        identity::settle(&mut config, options.format, &path)?;
        let doors = doors::open(&mut config)?;
        let local = doors[0].0.local_addr().map_err(ServeError::Start)?;
        let advertised = config.node.listeners.first().map(|(_, endpoint)| endpoint.clone());
        let advertised = advertised
            .unwrap_or_else(|| Endpoint { host: local.ip().to_string(), port: local.port() });
        let identity = doors::identity(&config, &doors).map_err(ServeError::Start)?;
        let notes = options.notes.as_ref();
        let notes = notes.map(|path| NoteLog::open(path, config.node.node)).transpose()?;

        let (inbox, events) = channel();
        let (teller, news) = channel();
        let disk = DiskPool::start(&data, inbox.clone()).map_err(ServeError::Start)?;
        let (handle, network) =
            net::start_on(doors, identity, config.limits, inbox.clone(), disk.backlog())
                .map_err(ServeError::Start)?;
        let hook = note_hook(config.node.is_broker, &teller, notes);
        let env = TokioEnv::new(disk, Some(handle), hook).pin_peers(config.overrides.into_keys());
        let reactor = Reactor::new(events, env);
        let node = config.node.node;
        let mut broker = Broker::new(config.node);
        let ended = teller.clone();
        let core = std::thread::Builder::new()
            .name("core".into())
            .spawn(move || {
                let _guard = AbortOnPanic("core");
                // Returning from `run` drops the reactor, which finishes the disk's work.
                let status = reactor.run(&mut broker);
                // Unlocked only now that nothing writes any more.
                drop(data);
                let _ = ended.send(News::Ended(status));
            })
            .map_err(ServeError::Start)?;
        Ok(Server { node, local, advertised, data: path, inbox, news, teller, core, network })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address that clients are told to connect to.
    pub fn advertised(&self) -> &Endpoint {
        &self.advertised
    }

    /// Waits until the broker is registered and unfenced. False if that took longer than `within`
    /// or the node ended before; [`Server::join`] returns why.
    pub fn wait_ready(&self, within: Duration) -> bool {
        match self.news.recv_timeout(within) {
            Ok(News::Ready) => true,
            Ok(other) => {
                // Keep it for `join`.
                let _ = self.teller.send(other);
                false
            }
            Err(_) => false,
        }
    }

    /// Asks for a graceful stop: leadership handed over, logs flushed, the shutdown marked clean.
    pub fn stop(&self) {
        let _ = self.teller.send(News::Stop);
    }

    /// Waits for the end, and carries out [`Server::stop`]s.
    ///
    /// # Errors
    /// Why the node failed or refused to go on, or that its stop took too long.
    pub fn join(self) -> Result<(), ServeError> {
        self.run(|_| {})
    }

    fn run(self, mut ready: impl FnMut(&Server)) -> Result<(), ServeError> {
        let mut give_up: Option<Instant> = None;
        let status = loop {
            let patience = give_up.map_or(Duration::from_secs(3600), |at| {
                at.saturating_duration_since(Instant::now()).min(STILL_STOPPING)
            });
            match self.news.recv_timeout(patience) {
                Ok(News::Ready) => ready(&self),
                Ok(News::Stop) => {
                    give_up.get_or_insert_with(|| Instant::now() + STOP_WITHIN);
                    // The core may have just ended; then its message is on the way.
                    let _ = self.inbox.send(Event::Shutdown);
                }
                Ok(News::Ended(status)) => break status,
                Err(RecvTimeoutError::Timeout) => match give_up {
                    Some(at) if at <= Instant::now() => return Err(ServeError::StopTimedOut),
                    Some(at) => {
                        let left = at.saturating_duration_since(Instant::now()).as_secs();
                        tracing::warn!(left_s = left, "still stopping; {STOP_WAITS_FOR}");
                    }
                    None => {}
                },
                Err(RecvTimeoutError::Disconnected) => unreachable!("this value keeps a sender"),
            }
        };
        let Server { data, core, network, inbox, .. } = self;
        drop(inbox);
        // A panic in either ends the process before this line.
        let _ = core.join();
        network.join();
        match status {
            Status::Starting | Status::Running | Status::Stopped => Ok(()),
            Status::Failed(op, error) => Err(ServeError::Disk { path: data, op, error }),
            Status::Refused(reason) => {
                Err(ServeError::Refused { path: data, reason: reason.to_string() })
            }
        }
    }
}

/// Connections and log files share the limit of descriptors. Connections may not take the log's
/// part.
fn check_connections(wanted: usize, most: usize) -> Result<(), ServeError> {
    if wanted <= most {
        return Ok(());
    }
    Err(ServeError::Config(format!(
        "max.connections is {wanted}, but this process's limit of open files leaves room for \
         {most} connections besides the log files. Raise the limit (ulimit -n), or set \
         max.connections to {most} or less"
    )))
}

/// Reports when the node is ready, and writes the notes to a file if requested.
fn note_hook(
    is_broker: bool,
    teller: &Sender<News>,
    mut notes: Option<NoteLog>,
) -> crate::env::NoteHook {
    let teller = teller.clone();
    let mut told = false;
    Box::new(move |note| {
        if let Some(notes) = &mut notes {
            notes.write(note);
        }
        let ready = matches!(note, Note::BrokerRunning { .. })
            || !is_broker
                && matches!(note, Note::QuorumLeader { .. } | Note::QuorumFollower { .. });
        if ready && !told {
            told = true;
            let _ = teller.send(News::Ready);
        }
    })
}

/// Runs one node until it is told to stop (SIGTERM, SIGINT) or fails. Prints one line on stdout
/// when it is ready, with the bound address as the last word; the log goes to stderr.
///
/// # Errors
/// What was attempted, why it failed, what to do; see [`ServeError::exit_code`].
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    serve_without(FlawSet::NONE, options)
}

/// The same, for a node that leaves rules out; see [`Server::start_without`].
///
/// # Errors
/// See [`serve`].
pub fn serve_without(rules: FlawSet, options: &ServeOptions) -> Result<(), ServeError> {
    logging::init_logging();
    logging::end_on_panic();
    let ended = run(rules, options);
    logging::flush();
    ended
}

fn run(rules: FlawSet, options: &ServeOptions) -> Result<(), ServeError> {
    let server = Server::start_without(rules, options)?;
    let stop = server.teller.clone();
    watch_signals(stop).map_err(ServeError::Start)?;
    tracing::info!(node = server.node.0, address = %server.local, data = %server.data.display(), "started");
    server.run(|server| {
        let Endpoint { host, port } = &server.advertised;
        let advertised = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let mut out = io::stdout().lock();
        // If nobody reads stdout, the node still serves.
        let _ = writeln!(
            out,
            "wavetank: node {} is ready, advertised as {advertised}, listening on {}",
            server.node, server.local
        );
        let _ = out.flush();
    })
}

/// Calls `then` at the first SIGINT or SIGTERM; the second ends the process at once. For other
/// commands that have something to clean up.
///
/// # Errors
/// If the operating system gives no thread or no signals.
pub fn on_stop_signal(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (stop, stopped) = channel();
    watch_signals(stop)?;
    std::thread::Builder::new().name("stop".into()).spawn(move || {
        // The watching thread never ends.
        if stopped.recv().is_ok() {
            then();
        }
        // Later signals are ignored.
        while stopped.recv().is_ok() {}
    })?;
    Ok(())
}

/// A write would exceed the process's limit on a file's size (`ulimit -f`). Unhandled, it kills the
/// process without a message.
const SIGXFSZ: i32 = 25;

/// The first signal asks for a graceful stop, the second ends the process at once.
fn watch_signals(stop: Sender<News>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, too_large) = {
        let _context = runtime.enter();
        let too_large = signal(SignalKind::from_raw(SIGXFSZ))?;
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, too_large)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let _guard = AbortOnPanic("signals");
        // With a handler installed, the write fails instead (EFBIG).
        let _too_large = too_large;
        runtime.block_on(async {
            let mut first: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                match first {
                    None => {
                        tracing::info!("stopping; a second signal ends the process at once");
                        let _ = stop.send(News::Stop);
                        first = Some(Instant::now());
                    }
                    Some(first) if first.elapsed() < ONE_WISH => {}
                    Some(_) => {
                        tracing::warn!("ended by a second signal, without a graceful stop");
                        logging::flush();
                        std::process::exit(130);
                    }
                }
            }
        });
    })?;
    Ok(())
}
