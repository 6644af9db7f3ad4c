//! `quorum-state`: the durable vote of a member of the metadata quorum, as Kafka's
//! `QuorumStateData` in JSON.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;

use super::formats::{FormatError, text};
use super::json::{self, Value};
use crate::types::{LeaderEpoch, NodeId, Uuid};

const FILE: &str = "quorum-state";

/// The state that a voter must not forget (KIP-595; with `voted_directory` KIP-853).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuorumState {
    /// The leader of the epoch, if it is known.
    pub leader: Option<NodeId>,
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The candidate that this node voted for in the epoch, if it did.
    pub voted: Option<NodeId>,
    /// The directory of the candidate; only version 1 has it, and only with a vote.
    pub voted_directory: Option<Uuid>,
    /// The voters; only version 0 has them (version 1 keeps them in the log).
    pub voters: Option<Vec<NodeId>>,
}

fn id(node: Option<NodeId>) -> i32 {
    node.unwrap_or(NodeId::NONE).0
}

/// Version 0 if it carries the voters, else version 1.
pub fn format_quorum_state(state: &QuorumState) -> Bytes {
    let (leader, epoch, voted) = (id(state.leader), state.epoch, id(state.voted));
    let head = format!("\"leaderId\":{leader},\"leaderEpoch\":{epoch},\"votedId\":{voted}");
    Bytes::from(match &state.voters {
        Some(voters) => {
            let voters: Vec<String> =
                voters.iter().map(|voter| format!("{{\"voterId\":{voter}}}")).collect();
            let voters = voters.join(",");
            format!(
                "{{\"clusterId\":\"\",{head},\"appliedOffset\":0,\"currentVoters\":[{voters}],\
                 \"data_version\":0}}"
            )
        }
        None => {
            let directory = state.voted_directory.unwrap_or(Uuid::ZERO).to_string();
            format!("{{{head},\"votedDirectoryId\":\"{directory}\",\"data_version\":1}}")
        }
    })
}

/// # Errors
/// If it is not JSON, of another version, or a field is missing or out of range.
pub fn parse_quorum_state(bytes: &[u8]) -> Result<QuorumState, FormatError> {
    let value = json::parse(FILE, text(FILE, bytes)?)?;
    let leader = node(number(&value, "leaderId")?, "leaderId")?;
    let epoch = number(&value, "leaderEpoch")?;
    let epoch = LeaderEpoch(
        i32::try_from(epoch)
            .ok()
            .filter(|epoch| *epoch >= -1)
            .ok_or_else(|| error(format!("leaderEpoch is {epoch}; expected -1 or more")))?,
    );
    let voted = node(number(&value, "votedId")?, "votedId")?;
    match number(&value, "data_version")? {
        0 => {
            // These two fields are not used, but a file without them is not what was written.
            if value.field("clusterId").and_then(Value::text).is_none() {
                return Err(error("expected a string under clusterId"));
            }
            number(&value, "appliedOffset")?;
            let voters = voters(&value)?;
            Ok(QuorumState { leader, epoch, voted, voted_directory: None, voters: Some(voters) })
        }
        1 => {
            let directory = value.field("votedDirectoryId").and_then(Value::text);
            let directory: Uuid = directory
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| error("expected a uuid under votedDirectoryId"))?;
            let voted_directory = (directory != Uuid::ZERO).then_some(directory);
            Ok(QuorumState { leader, epoch, voted, voted_directory, voters: None })
        }
        other => Err(error(format!("data_version is {other}; expected 0 or 1"))),
    }
}

fn error(what: impl Into<String>) -> FormatError {
    FormatError::new(FILE, 0, what)
}

fn number(value: &Value, name: &str) -> Result<i64, FormatError> {
    value
        .field(name)
        .and_then(Value::number)
        .ok_or_else(|| error(format!("expected a number under {name}")))
}

fn node(number: i64, name: &str) -> Result<Option<NodeId>, FormatError> {
    match i32::try_from(number) {
        Ok(-1) => Ok(None),
        Ok(id) if id >= 0 => Ok(Some(NodeId(id))),
        Ok(_) | Err(_) => Err(error(format!("{name} is {number}; expected a node id or -1"))),
    }
}

fn voters(value: &Value) -> Result<Vec<NodeId>, FormatError> {
    match value.field("currentVoters") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(voters)) => voters
            .iter()
            .map(|voter| {
                node(number(voter, "voterId")?, "voterId")?
                    .ok_or_else(|| error("a voterId is -1; expected a node id"))
            })
            .collect(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_)) => {
            Err(error("expected an array under currentVoters"))
        }
    }
}
