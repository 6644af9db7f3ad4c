//! The control record that begins each epoch of the quorum: LeaderChange (control batch, key
//! version 0 type 2; KIP-595).

use alloc::vec::Vec;
use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::types::NodeId;

/// The type in the key of a LeaderChange control record.
pub const CONTROL_LEADER_CHANGE: i16 = 2;

/// The leader from here on, and the voters that elected it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderChangeMessage {
    /// The new leader.
    pub leader: NodeId,
    /// The voters of the quorum.
    pub voters: Vec<NodeId>,
    /// Those that voted for it.
    pub granting_voters: Vec<NodeId>,
}

/// The key of the control record: version 0, type 2.
pub fn leader_change_key() -> Bytes {
    Bytes::from_static(&[0, 0, 0, CONTROL_LEADER_CHANGE as u8])
}

impl LeaderChangeMessage {
    /// The value of the control record, version 0.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(32);
        out.i16(0);
        out.i32(self.leader.0);
        for voters in [&self.voters, &self.granting_voters] {
            out.array(true, voters, |out, voter| {
                out.i32(voter.0);
                out.tagged_fields(&[]);
            });
        }
        out.tagged_fields(&[]);
        out.finish()
    }
}

/// Reads the key and value of a control record. `None` for any other type: this build acts on none
/// of them.
///
/// # Errors
/// If it is a LeaderChange with a malformed value.
pub fn decode_leader_change(
    key: Option<Bytes>,
    value: Option<Bytes>,
) -> Result<Option<LeaderChangeMessage>, DecodeError> {
    let mut key = Reader::new(key.ok_or(DecodeError::Invalid("a control record without key"))?);
    key.i16()?;
    if key.i16()? != CONTROL_LEADER_CHANGE {
        return Ok(None);
    }
    let mut value =
        Reader::new(value.ok_or(DecodeError::Invalid("a control record without value"))?);
    // Version 1 adds directory ids to the voters (KIP-853).
    let version = value.i16()?;
    let leader = NodeId(value.i32()?);
    let mut voters = || {
        value.array(true, |reader| {
            let voter = NodeId(reader.i32()?);
            if version >= 1 {
                reader.uuid()?;
            }
            reader.skip_tagged_fields()?;
            Ok(voter)
        })
    };
    let message = LeaderChangeMessage { leader, voters: voters()?, granting_voters: voters()? };
    value.skip_tagged_fields()?;
    value.finish()?;
    Ok(Some(message))
}
