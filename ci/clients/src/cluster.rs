//! Nodes as processes of the `wavetank` command, on loopback ports, with their data in one
//! directory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::Trouble;

/// How long a node may take to be ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    id: i32,
    port: u16,
    arguments: Vec<String>,
    log: PathBuf,
    process: Option<(Child, Receiver<String>)>,
}

/// The nodes of one scenario. Dropping it kills them.
pub struct Cluster {
    binary: PathBuf,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts `size` nodes and waits until all are ready. A single node has no configuration file.
    pub fn start(binary: &Path, work: &Path, size: usize) -> Result<Cluster, Trouble> {
        let mut cluster = Cluster { binary: binary.to_path_buf(), nodes: Vec::new() };
        let ports: Vec<u16> = {
            let held: Result<Vec<_>, _> =
                (0..size).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
            held?.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?
        };
        let voters: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(i, port)| format!("\"{}@127.0.0.1:{port}\"", i + 1))
            .collect();
        for (index, port) in ports.iter().enumerate() {
            let id = index as i32 + 1;
            let name = if size == 1 { "one".to_string() } else { format!("three-{id}") };
            let data = work.join(&name);
            let arguments = if size == 1 {
                let data = data.display().to_string();
                vec!["--data".into(), data, "--listen".into(), format!("127.0.0.1:{port}")]
            } else {
                let file = work.join(format!("{name}.toml"));
                let text = format!(
                    "node.id = {id}\nprocess.roles = [\"broker\", \"controller\"]\n\
                     controller.quorum.voters = [{}]\n\
                     listeners = \"PLAINTEXT://127.0.0.1:{port}\"\nlog.dirs = {:?}\n\
                     default.replication.factor = 3\nmin.insync.replicas = 2\n\
                     cluster.id = \"three\"\n\
                     broker.session.timeout.ms = 3000\nbroker.heartbeat.interval.ms = 500\n",
                    voters.join(", "),
                    data.display().to_string(),
                );
                std::fs::write(&file, text)?;
                vec!["--config".into(), file.display().to_string()]
            };
            let log = work.join(format!("{name}.log"));
            cluster.nodes.push(Node { id, port: *port, arguments, log, process: None });
        }
        for id in 1..=size as i32 {
            let format: &[&str] = if size == 1 { &[] } else { &["--format"] };
            cluster.start_with(id, format)?;
        }
        for id in 1..=size as i32 {
            cluster.wait_ready(id)?;
        }
        Ok(cluster)
    }

    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// For a client's `bootstrap.servers`.
    pub fn addresses(&self) -> String {
        let all: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        all.join(",")
    }

    fn node(&mut self, id: i32) -> Result<&mut Node, Trouble> {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        node.ok_or_else(|| format!("there is no node {id}").into())
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self, id: i32) -> Result<(), Trouble> {
        let (mut child, _) = self.node(id)?.process.take().ok_or("the node is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts a node again on its data and port; see [`Cluster::wait_ready`].
    pub fn restart(&mut self, id: i32) -> Result<(), Trouble> {
        self.start_with(id, &[])
    }

    fn start_with(&mut self, id: i32, more: &[&str]) -> Result<(), Trouble> {
        let binary = self.binary.clone();
        let node = self.node(id)?;
        let log = File::options().create(true).append(true).open(&node.log)?;
        let mut child = Command::new(&binary)
            .arg("serve")
            .args(&node.arguments)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", binary.display()))?;
        let out = child.stdout.take().ok_or("its output was asked for")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        node.process = Some((child, lines));
        Ok(())
    }

    /// Waits for the node's ready line (its only one). A node that was ready stays ready.
    pub fn wait_ready(&mut self, id: i32) -> Result<(), Trouble> {
        let node = self.node(id)?;
        let (_, lines) = node.process.as_ref().ok_or("the node is not running")?;
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line.contains("is ready") => Ok(()),
            Ok(line) => Err(format!("node {id} printed {line:?} instead of the ready line").into()),
            Err(_) => {
                Err(format!("node {id} did not become ready; see {}", node.log.display()).into())
            }
        }
    }

    /// Sends SIGTERM to all, and waits. Returns how long it took.
    pub fn stop(mut self) -> Result<String, Trouble> {
        let start = Instant::now();
        for node in &self.nodes {
            if let Some((child, _)) = &node.process {
                let status = Command::new("kill").arg(child.id().to_string()).status()?;
                if !status.success() {
                    return Err(format!("cannot signal node {}", node.id).into());
                }
            }
        }
        for node in &mut self.nodes {
            let Some((child, _)) = &mut node.process else { continue };
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                if start.elapsed() > PATIENCE {
                    return Err(format!("node {} does not stop", node.id).into());
                }
                std::thread::sleep(Duration::from_millis(20));
            };
            node.process = None;
            if !status.success() {
                let log = node.log.display();
                return Err(format!("node {} stopped with {status}; see {log}", node.id).into());
            }
        }
        Ok(format!("{:.1} s", start.elapsed().as_secs_f64()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some((child, _)) = &mut node.process {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
