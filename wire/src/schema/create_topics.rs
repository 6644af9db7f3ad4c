//! CreateTopics.

use alloc::string::String;
use alloc::vec::Vec;

use wavetank_core::msg::{
    CreatableTopic, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use crate::visit::{Io, Visited};

fn no_topic() -> CreatableTopic {
    CreatableTopic {
        name: String::new(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

pub(super) fn request(io: &mut Io, m: &mut CreateTopicsRequest) -> Visited {
    io.array(&mut m.topics, no_topic, |io, one| {
        io.string(&mut one.name)?;
        io.i32(&mut one.num_partitions)?;
        io.i16(&mut one.replication_factor)?;
        io.array(
            &mut one.assignments,
            || (0, Vec::new()),
            |io, (partition, replicas)| {
                io.i32(partition)?;
                io.nodes(replicas)?;
                io.end()
            },
        )?;
        io.array(
            &mut one.configs,
            || (String::new(), None),
            |io, (name, value)| {
                io.string(name)?;
                io.nullable_string(value)?;
                io.end()
            },
        )?;
        io.end()
    })?;
    io.i32(&mut m.timeout_ms)?;
    io.bool(&mut m.validate_only)?;
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut CreateTopicsResponse) -> Visited {
    io.i32(&mut m.throttle_time_ms)?;
    io.array(&mut m.topics, CreatableTopicResult::default, created_topic)?;
    io.end()
}

fn created_topic(io: &mut Io, one: &mut CreatableTopicResult) -> Visited {
    let version = io.version();
    io.string(&mut one.name)?;
    if version >= 7 {
        io.uuid(&mut one.id)?;
    }
    io.error(&mut one.error)?;
    io.nullable_string(&mut one.error_message)?;
    if version >= 5 {
        io.i32(&mut one.num_partitions)?;
        io.i16(&mut one.replication_factor)?;
        let mut configs = Some(core::mem::take(&mut one.configs));
        let none = || (String::new(), None, 0);
        io.nullable_array(&mut configs, none, |io, (name, value, source)| {
            io.string(name)?;
            io.nullable_string(value)?;
            let (mut read_only, mut sensitive) = (false, false);
            io.bool(&mut read_only)?;
            io.i8(source)?;
            io.bool(&mut sensitive)?;
            io.end()
        })?;
        one.configs = configs.unwrap_or_default();
    }
    io.end()
}
