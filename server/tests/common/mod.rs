//! A node as a child process, and a client of the raw protocol.

#![allow(dead_code)] // each of the test programs uses a part

pub mod faults;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::env::{DiskOp, FileId, FileKind};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{Event, ReplyTo};
use wavetank_core::msg::*;
use wavetank_core::types::*;
use wavetank_server::{
    Backlog, DataDir, DiskPool, NetCommand, NetLimits, ServeOptions, serve, start_network,
};

use faults::Faults;

const ARGUMENTS: &str = "WAVETANK_TEST_NODE";
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a node if this binary was started as one; otherwise does nothing.
pub fn child_main() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    match arguments.as_str() {
        "--bug" => return bug(),
        "--network-bug" => return network_bug(),
        _ => {}
    }
    let mut options = ServeOptions::default();
    let mut arguments = arguments.split('\n').map(String::from);
    while let (Some(flag), Some(value)) = (arguments.next(), arguments.next()) {
        match flag.as_str() {
            "--data" => options.data = Some(value.into()),
            "--listen" => options.listen = Some(value),
            "--config" => options.config = Some(value.into()),
            "--format" => options.format = value == "yes",
            "--cluster-id" => options.cluster_id = Some(value),
            other => panic!("no such flag: {other}"),
        }
    }
    match serve(&options) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(error.exit_code().into());
        }
    }
}

/// Makes a disk thread break an assertion.
fn bug() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let data = DataDir::open(data.path()).expect("it is ours");
    let (inbox, _events) = channel();
    let mut pool = DiskPool::start(&data, inbox).expect("threads");
    let file = FileId { dir: DirId::ROOT, kind: FileKind::LeaderEpochs };
    pool.submit([
        DiskOp::OpenDir { dir: DirId::ROOT, name: String::new() },
        DiskOp::Create { file, generation: 0 },
        DiskOp::Append { file, generation: 0, at: 7, bytes: vec![Bytes::from_static(b"x")] },
    ]);
    std::thread::sleep(PATIENCE);
}

/// Makes the network's task of a connection break an assertion: the core answers a request that was
/// not made.
fn network_bug() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (inbox, events) = channel();
    let (limits, backlog) = (NetLimits::default(), Arc::new(Backlog::new(1 << 20)));
    let (network, running) =
        start_network(listener, NodeId(1), Default::default(), limits, inbox, backlog)
            .expect("threads");
    let stream = TcpStream::connect(running.local).expect("it listens");
    let mut client = Client { stream, correlation: 0 };
    client.send(0, &Request::ApiVersions(ApiVersionsRequest::default()));
    let Ok(Event::Request { from, .. }) = events.recv() else { panic!("a request") };
    let to = ReplyTo { number: from.number + 1, ..from };
    let response = Response::ApiVersions(ApiVersionsResponse::default());
    network.send(vec![NetCommand::Respond { to, response }]);
    std::thread::sleep(PATIENCE);
}

fn spawn(arguments: &[&str], level: &str, stderr: Stdio, faults: Option<&Faults>) -> Child {
    let data = arguments.iter().skip_while(|word| **word != "--data").nth(1);
    let environment = match (faults, data) {
        (Some(faults), Some(data)) => faults.environment(Path::new(data)),
        _ => Vec::new(),
    };
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "child_main", "--nocapture"])
        .env(ARGUMENTS, arguments.join("\n"))
        .envs(environment)
        .env("WAVETANK_LOG", level)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("this binary can be started")
}

/// Starts a node that should end at once. Returns its exit code and its stderr.
pub fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = spawn(arguments, "error", Stdio::piped(), None);
    let mut text = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        // Ends with the process.
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("a child");
            panic!("it should have refused to start: {arguments:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    (code, reader.join().expect("the reader"))
}

/// A node that is starting and does not take part yet.
pub struct Launched {
    child: Child,
    lines: Receiver<String>,
    log: Option<ChildStderr>,
}

impl Launched {
    /// Waits until it is ready, which in a cluster takes other nodes.
    pub fn ready(self) -> Node {
        self.ready_within(PATIENCE).expect("the ready line comes").0
    }

    /// `Err`: how it ended before it was ready, or `None` if it neither got ready nor ended in
    /// time.
    fn ready_within(
        self,
        within: Duration,
    ) -> Result<(Node, Option<ChildStderr>), Option<ExitStatus>> {
        let Launched { mut child, lines, log } = self;
        let start = Instant::now();
        let address = loop {
            let line = match lines.recv_timeout(within.saturating_sub(start.elapsed())) {
                Ok(line) => line,
                // The process ended, which closed its output.
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Some(child.wait().expect("a child")));
                }
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().expect("a child");
                    child.wait().expect("a child");
                    return Err(None);
                }
            };
            if line.contains("is ready") {
                break line.rsplit(' ').next().expect("a last word").to_string();
            }
        };
        Ok((Node { child, address, _data: None }, log))
    }
}

pub struct Node {
    child: Child,
    address: String,
    _data: Option<TempDir>,
}

impl Node {
    /// Starts a node on its own data directory, with these lines of configuration.
    pub fn start(lines: &[&str]) -> Node {
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut node = Node::start_on(data.path(), lines);
        node._data = Some(data);
        node
    }

    pub fn start_on(data: &Path, lines: &[&str]) -> Node {
        Node::start_logging(data, lines, "error", Stdio::inherit()).0
    }

    /// Logs at this level to `stderr`. Returns the reading end if that is a pipe.
    pub fn start_logging(
        data: &Path,
        lines: &[&str],
        level: &str,
        stderr: Stdio,
    ) -> (Node, Option<ChildStderr>) {
        let node = Node::start_within(data, lines, level, stderr, None, PATIENCE);
        node.expect("the ready line comes")
    }

    /// Starts a node with faults of its system calls. `Err`: how it ended before it was ready, or
    /// `None` if it neither got ready nor ended within this time.
    pub fn try_start(
        data: &Path,
        lines: &[&str],
        faults: Option<&Faults>,
        within: Duration,
    ) -> Result<Node, Option<ExitStatus>> {
        let stderr = Stdio::inherit();
        Node::start_within(data, lines, "error", stderr, faults, within).map(|(node, _)| node)
    }

    fn start_within(
        data: &Path,
        lines: &[&str],
        level: &str,
        stderr: Stdio,
        faults: Option<&Faults>,
        within: Duration,
    ) -> Result<(Node, Option<ChildStderr>), Option<ExitStatus>> {
        let config = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(config.path(), lines.join("\n")).expect("written");
        let (data, file) = (data.display().to_string(), config.path().display().to_string());
        let arguments = ["--data", &data, "--listen", "127.0.0.1:0", "--config", &file];
        Node::launch_logging(&arguments, level, stderr, faults).ready_within(within)
    }

    /// Starts a node; see [`Launched::ready`].
    pub fn launch(arguments: &[&str]) -> Launched {
        Node::launch_logging(arguments, "error", Stdio::inherit(), None)
    }

    fn launch_logging(
        arguments: &[&str],
        level: &str,
        stderr: Stdio,
        faults: Option<&Faults>,
    ) -> Launched {
        let mut child = spawn(arguments, level, stderr, faults);
        let log = child.stderr.take();
        let out = child.stdout.take().expect("it is piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Launched { child, lines, log }
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn port(&self) -> u16 {
        let port = self.address.rsplit(':').next().expect("a port");
        port.parse().expect("a port")
    }

    /// A connection that waits at most `patience` for an answer. `None` if the node gives none.
    pub fn try_client(&self, patience: Duration) -> Option<Client> {
        let stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        let mut client = Client { stream, correlation: 0 };
        client.try_ask(0, &Request::ApiVersions(ApiVersionsRequest::default()))?;
        Some(client)
    }

    /// How it ended, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.ended() {
                None if start.elapsed() < within => std::thread::sleep(Duration::from_millis(2)),
                ended => return ended,
            }
        }
    }

    pub fn client(&self) -> Client {
        // Connections of an earlier flood may have to be closed first.
        for _ in 0..100 {
            let stream = TcpStream::connect(&self.address).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut client = Client { stream, correlation: 0 };
            if client.try_ask(0, &Request::ApiVersions(ApiVersionsRequest::default())).is_some() {
                return client;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no connection is accepted any more");
    }

    /// Sends SIGTERM, and returns the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.terminate_by(&["TERM"])
    }

    /// Sends these signals in a row, and returns the exit code.
    pub fn terminate_by(&mut self, signals: &[&str]) -> Option<i32> {
        let pid = self.child.id();
        let commands: Vec<String> =
            signals.iter().map(|signal| format!("kill -{signal} {pid}")).collect();
        let sent = Command::new("sh").args(["-c", &commands.join("; ")]).status();
        assert!(sent.expect("there is a shell").success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    pub fn resident_bytes(&self) -> usize {
        let path = format!("/proc/{}/statm", self.child.id());
        let Ok(text) = std::fs::read_to_string(path) else { return 0 };
        let pages: usize =
            text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm");
        pages * 4096
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    /// A new connection on which no request has been sent.
    pub fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client { stream, correlation: 0 }
    }

    /// Asks for metadata (which creates the topic) until a topic's partition 0 has a leader.
    pub fn until_topic(&mut self, topic: &str) {
        let start = Instant::now();
        loop {
            let metadata = self.metadata(topic);
            let partition = metadata.topics.first().and_then(|topic| topic.partitions.first());
            if partition.is_some_and(|p| p.error == ErrorCode::None && p.leader.0 >= 0) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no leader: {metadata:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn send(&mut self, version: i16, request: &Request) {
        self.try_send(version, request).expect("the connection holds");
    }

    fn try_send(&mut self, version: i16, request: &Request) -> std::io::Result<()> {
        self.correlation += 1;
        let parts = wavetank_wire::encode_request(version, self.correlation, "test", request);
        self.stream.write_all(&parts.concat())
    }

    /// The next answer; `ask` checks correlation ids.
    pub fn receive(&mut self, api: ApiKey, version: i16) -> Response {
        self.try_receive(api, version).expect("an answer").1
    }

    fn try_receive(&mut self, api: ApiKey, version: i16) -> Option<(i32, Response)> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let length = usize::try_from(i32::from_be_bytes(length)).expect("a length");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).ok()?;
        Some(
            wavetank_wire::decode_response(api, version, Bytes::from(frame))
                .expect("the answer can be read"),
        )
    }

    /// `None` if the connection broke or stayed silent.
    pub fn try_ask(&mut self, version: i16, request: &Request) -> Option<Response> {
        self.try_send(version, request).ok()?;
        let (correlation, response) = self.try_receive(request.api(), version)?;
        assert_eq!(correlation, self.correlation, "the answer is this request's");
        Some(response)
    }

    pub fn ask(&mut self, version: i16, request: &Request) -> Response {
        self.try_ask(version, request).expect("an answer")
    }

    pub fn metadata(&mut self, topic: &str) -> MetadataResponse {
        let request = MetadataRequest {
            topics: Some(vec![TopicRef::name(topic)]),
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: false,
        };
        match self.ask(9, &Request::Metadata(request)) {
            Response::Metadata(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for metadata (which creates the topic) until partition 0 has a leader that knows it.
    pub fn until_leader(&mut self, topic: &str) {
        let start = Instant::now();
        loop {
            let metadata = self.metadata(topic);
            let partition = metadata.topics.first().and_then(|topic| topic.partitions.first());
            if partition.is_some_and(|p| p.error == ErrorCode::None && p.leader.0 >= 0) {
                let fetched = self.ask(11, &Request::Fetch(fetch(&TopicRef::name(topic), 0)));
                if let Response::Fetch(fetched) = fetched
                    && fetched.topics[0].partitions[0].error == ErrorCode::None
                {
                    return;
                }
            }
            assert!(start.elapsed() < PATIENCE, "no leader: {metadata:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A request to create a topic of one partition.
pub fn creation(name: &str) -> CreateTopicsRequest {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        assignments: vec![],
        configs: vec![],
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, validate_only: false }
}

pub fn batch(text: &str) -> Bytes {
    let mut builder = BatchBuilder::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_millis() as i64;
    builder.push(now, None, Some(text.as_bytes()), &[]);
    builder.build(Offset(0), LeaderEpoch::NONE).to_bytes()
}

pub fn produce(topic: &TopicRef, acks: i16, text: &str) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 5000,
        topics: vec![ProduceTopic {
            topic: topic.clone(),
            partitions: vec![ProducePartition {
                partition: 0,
                records: Some(batch(text)),
                ..Default::default()
            }],
        }],
    }
}

pub fn fetch(topic: &TopicRef, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 10,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: topic.clone(),
            partitions: vec![FetchPartition {
                partition: 0,
                current_leader_epoch: LeaderEpoch::NONE,
                fetch_offset: Offset(offset),
                last_fetched_epoch: LeaderEpoch::NONE,
                log_start_offset: Offset(-1),
                max_bytes: 1 << 20,
                replica_directory_id: Uuid::ZERO,
                high_watermark: Offset(i64::MAX),
            }],
        }],
        ..FetchRequest::default()
    }
}

/// The records' values as text.
pub fn values(fetched: &FetchPartitionResponse) -> Vec<String> {
    let records = fetched.records.iter().flat_map(|batch| batch.records().expect("records"));
    let text = |record: wavetank_core::batch::Record| {
        String::from_utf8(record.value.expect("a value").to_vec()).expect("text")
    };
    records.map(text).collect()
}
