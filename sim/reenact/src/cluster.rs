//! The processes: one `serve` for each node of a plan, with its port, its directory, and the
//! signals sent to it. No process outlives its `Cluster`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;
use wavetank_core::types::NodeId;
use wavetank_server::monotonic_ns;

use crate::Failure;

/// How much of a log is shown with a violation, in bytes.
const LOG_TAIL: u64 = 1_500;

/// One start of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Just before the start, in ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// Which node.
    pub node: NodeId,
    /// Where it writes its notes.
    pub notes: PathBuf,
}

/// A paused process was resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// When, in ns of CLOCK_MONOTONIC.
    pub at: u64,
    /// Which node.
    pub node: NodeId,
    /// How long it was paused, in ns.
    pub stood: u64,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which node.
    pub node: NodeId,
    /// Whether the exit code was 0.
    pub well: bool,
    /// A description, with the end of its log.
    pub how: String,
}

/// A reserved port. It is bound, so no other bind and no connection can take it. It does not
/// listen, so the process that it is for can (on Linux, with SO_REUSEADDR on both).
struct Reserved {
    _socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    fn new() -> io::Result<Reserved> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Reserved { _socket: socket, address })
    }
}

struct Node {
    port: Reserved,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// When it was stopped by SIGSTOP (ns of CLOCK_MONOTONIC).
    paused: Option<u64>,
    starts: u32,
}

/// See the module's documentation.
pub struct Cluster {
    program: Vec<PathBuf>,
    root: PathBuf,
    nodes: BTreeMap<NodeId, Node>,
    starts: Vec<Start>,
    wakes: Vec<Wake>,
}

impl Cluster {
    /// Allocates ports, and directories below `root`, for these nodes. Starts nothing.
    ///
    /// # Errors
    /// If no port or directory is available.
    pub fn new(program: &[PathBuf], root: &Path, nodes: &[NodeId]) -> Result<Cluster, Failure> {
        let mut cluster = Cluster {
            program: program.to_vec(),
            root: root.to_path_buf(),
            nodes: BTreeMap::new(),
            starts: Vec::new(),
            wakes: Vec::new(),
        };
        for &node in nodes {
            let name = |ending: &str| root.join(format!("node-{node}{ending}"));
            let port = Reserved::new().map_err(Failure::to("reserve a port on 127.0.0.1"))?;
            let (config, data, log) = (name(".toml"), name(""), name(".log"));
            let (child, paused, starts) = (None, None, 0);
            cluster.nodes.insert(node, Node { port, config, data, log, child, paused, starts });
        }
        Ok(cluster)
    }

    /// Where each node listens.
    pub fn addresses(&self) -> BTreeMap<NodeId, SocketAddr> {
        self.nodes.iter().map(|(id, node)| (*id, node.port.address)).collect()
    }

    /// A node's data directory.
    pub fn data(&self, node: NodeId) -> &Path {
        &self.nodes[&node].data
    }

    /// Writes a node's configuration file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn configure(&self, node: NodeId, text: &str) -> Result<(), Failure> {
        let path = &self.nodes[&node].config;
        let attempted = format!("write {}", path.display());
        std::fs::write(path, text).map_err(Failure::to(attempted))
    }

    /// All starts so far, in order.
    pub fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// All resumes so far, in order.
    pub fn wakes(&self) -> &[Wake] {
        &self.wakes
    }

    /// Does the node's process exist (running or paused)?
    pub fn is_up(&self, node: NodeId) -> bool {
        self.nodes[&node].child.is_some()
    }

    /// Starts a node that is not running.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(&mut self, node: NodeId) -> Result<(), Failure> {
        let root = self.root.clone();
        let Some((program, arguments)) = self.program.split_first() else {
            let why = io::Error::other("no program was given");
            return Err(Failure::to("start a node")(why));
        };
        let known = self.nodes.get_mut(&node).expect("a node of the plan");
        if known.child.is_some() {
            return Ok(());
        }
        let attempted = || format!("start node {node} with {}", program.display());
        let notes = root.join(format!("node-{node}.{}.notes", known.starts));
        let log = OpenOptions::new().create(true).append(true).open(&known.log);
        let log = log.map_err(Failure::to(attempted()))?;
        let again = log.try_clone().map_err(Failure::to(attempted()))?;
        let at = monotonic_ns();
        let mut command = Command::new(program);
        command.args(arguments);
        // No plan removes data. An unformatted directory means that the node was never started, or
        // not for long.
        if !known.data.join("meta.properties").exists() {
            command.arg("--format");
        }
        let child = command
            .arg("--data")
            .arg(&known.data)
            .arg("--config")
            .arg(&known.config)
            .arg("--notes")
            .arg(&notes)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            // A Ctrl-C at the terminal is for us alone. We kill the processes.
            .process_group(0)
            .spawn()
            .map_err(Failure::to(attempted()))?;
        known.child = Some(child);
        known.paused = None;
        known.starts += 1;
        self.starts.push(Start { at, node, notes });
        Ok(())
    }

    /// Sends SIGKILL and waits for the end. False if the node was not running or has just ended by
    /// itself, which [`Cluster::ended`] will report.
    pub fn kill(&mut self, node: NodeId) -> bool {
        let node = self.nodes.get_mut(&node).expect("a node of the plan");
        let Some(child) = &mut node.child else { return false };
        if matches!(child.try_wait(), Ok(Some(_))) {
            return false;
        }
        // It is our child and has not been waited for, so both can only fail if it has just ended.
        let _ = child.kill();
        let _ = child.wait();
        node.child = None;
        node.paused = None;
        true
    }

    /// Sends SIGTERM: the node may stop gracefully. False if it is not running.
    pub fn ask_to_stop(&mut self, node: NodeId) -> bool {
        self.signal(node, Signal::TERM)
    }

    /// Sends SIGSTOP. False if the node is not running.
    pub fn pause(&mut self, node: NodeId) -> bool {
        let paused = self.signal(node, Signal::STOP);
        if paused {
            let node = self.nodes.get_mut(&node).expect("a node of the plan");
            node.paused.get_or_insert(monotonic_ns());
        }
        paused
    }

    /// Sends SIGCONT if the node is paused.
    pub fn resume(&mut self, node: NodeId) {
        let since = self.nodes.get_mut(&node).expect("a node of the plan").paused.take();
        if let Some(since) = since {
            let at = monotonic_ns();
            self.wakes.push(Wake { at, node, stood: at.saturating_sub(since) });
            self.signal(node, Signal::CONT);
        }
    }

    fn signal(&mut self, node: NodeId, signal: Signal) -> bool {
        let Some(child) = &self.nodes[&node].child else { return false };
        let pid = Pid::from_child(child);
        // It has not been waited for, so the pid is still its own, though it may have ended.
        kill_process(pid, signal).is_ok()
    }

    /// Processes that have ended since the last call, other than by [`Cluster::kill`].
    ///
    /// # Errors
    /// If the system does not report a process's status.
    pub fn ended(&mut self) -> Result<Vec<Ended>, Failure> {
        let mut ended = Vec::new();
        for (id, node) in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            let status = child.try_wait().map_err(Failure::to(format!("wait for node {id}")))?;
            let Some(status) = status else { continue };
            node.child = None;
            node.paused = None;
            let how = format!("{}; its log ends: {}", words(status), tail(&node.log));
            ended.push(Ended { node: *id, well: status.success(), how });
        }
        Ok(ended)
    }

    /// The ids of the running processes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.values().filter_map(|node| node.child.as_ref().map(Child::id)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.kill(node);
        }
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The last lines of a file, or nothing.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    /// A program that ignores what it is given and waits.
    fn sleeper(dir: &Path) -> Vec<PathBuf> {
        let script = dir.join("sleeper");
        std::fs::write(&script, "exec sleep 1000\n").expect("written");
        vec!["/bin/sh".into(), script]
    }

    fn one(dir: &Path) -> Cluster {
        let mut cluster = Cluster::new(&sleeper(dir), dir, &[NodeId(1)]).expect("a port");
        cluster.start(NodeId(1)).expect("there is a shell");
        cluster
    }

    fn is_alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn no_process_outlives_its_cluster() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = one(dir.path());
        assert!(cluster.pause(NodeId(1)), "a paused one neither");
        let pids = cluster.pids();
        assert!(is_alive(pids[0]));
        drop(cluster);
        assert!(!is_alive(pids[0]));
    }

    #[test]
    fn nor_a_panic() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().to_path_buf();
        let (tell, pid) = std::sync::mpsc::channel();
        let panicked = std::thread::spawn(move || {
            let cluster = one(&path);
            tell.send(cluster.pids()[0]).expect("somebody listens");
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(!is_alive(pid.recv().expect("it was told")));
    }

    #[test]
    fn who_ends_by_itself_is_told() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = one(dir.path());
        assert_eq!(cluster.ended().expect("known"), []);
        assert!(cluster.ask_to_stop(NodeId(1)));
        let start = Instant::now();
        let ended = loop {
            let ended = cluster.ended().expect("known");
            if !ended.is_empty() {
                break ended;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "SIGTERM ends it");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(!ended[0].well && ended[0].how.starts_with("ended by signal 15"), "{ended:?}");
        assert!(!cluster.is_up(NodeId(1)) && !cluster.kill(NodeId(1)));
    }

    #[test]
    fn a_reserved_port_is_only_for_whom_it_is_for() {
        let reserved = Reserved::new().expect("a port");
        for _ in 0..200 {
            let other = TcpListener::bind("127.0.0.1:0").expect("a port");
            assert_ne!(other.local_addr().expect("bound"), reserved.address);
        }
        for _ in 0..2 {
            TcpListener::bind(reserved.address).expect("it is for us, again and again");
        }
    }
}
