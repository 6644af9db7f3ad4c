//! Golden bytes, round trips, hostile bytes, and the rules of replaying.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

use super::*;
use crate::codec::DecodeError;
use crate::types::{
    BrokerEpoch, Endpoint, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition, Uuid,
};

const TOPIC: Uuid = Uuid(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);

fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC, partition }
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn registration() -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker: NodeId(7),
        incarnation: Uuid(0x11),
        epoch: BrokerEpoch(3),
        endpoints: vec![("PLAINTEXT".into(), Endpoint { host: "h".into(), port: 9092 })],
        features: vec![("metadata.version".into(), 7, 21)],
        rack: None,
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: vec![Uuid(0x22)],
    }
}

fn partition(index: i32) -> PartitionRecord {
    PartitionRecord {
        partition: at(index),
        replicas: nodes(&[1, 2, 3]),
        isr: nodes(&[1, 2]),
        removing: vec![],
        adding: vec![],
        leader: Some(NodeId(1)),
        leader_recovery_state: 0,
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(5),
        directories: vec![UNASSIGNED_DIRECTORY; 3],
    }
}

fn full_change() -> PartitionChangeRecord {
    PartitionChangeRecord {
        partition: at(1),
        isr: Some(nodes(&[2])),
        leader: Some(None),
        replicas: Some(nodes(&[2, 3])),
        removing: Some(vec![]),
        adding: Some(nodes(&[3])),
        leader_recovery_state: Some(1),
        directories: Some(vec![Uuid(5), Uuid(6)]),
    }
}

fn every_record() -> Vec<MetadataRecord> {
    let change = BrokerRegistrationChangeRecord {
        broker: NodeId(7),
        epoch: BrokerEpoch(3),
        fenced: Some(false),
        in_controlled_shutdown: false,
        log_dirs: vec![],
    };
    vec![
        MetadataRecord::RegisterBroker(registration()),
        MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            rack: Some("r".into()),
            log_dirs: vec![],
            in_controlled_shutdown: true,
            fenced: false,
            ..registration()
        }),
        MetadataRecord::UnregisterBroker(UnregisterBrokerRecord {
            broker: NodeId(7),
            epoch: BrokerEpoch(3),
        }),
        MetadataRecord::Topic(TopicRecord { name: "t".into(), id: TOPIC }),
        MetadataRecord::Partition(partition(0)),
        MetadataRecord::Partition(PartitionRecord {
            leader: None,
            leader_recovery_state: 1,
            ..partition(1)
        }),
        MetadataRecord::Config(ConfigRecord {
            resource_type: TOPIC_RESOURCE,
            resource_name: "t".into(),
            name: "flush.messages".into(),
            value: Some("1".into()),
        }),
        MetadataRecord::Config(ConfigRecord {
            resource_type: TOPIC_RESOURCE,
            resource_name: "t".into(),
            name: "flush.messages".into(),
            value: None,
        }),
        MetadataRecord::PartitionChange(PartitionChangeRecord::of(at(0))),
        MetadataRecord::PartitionChange(full_change()),
        MetadataRecord::RemoveTopic(TOPIC),
        MetadataRecord::FeatureLevel(FeatureLevelRecord {
            name: METADATA_VERSION.into(),
            level: METADATA_VERSION_LEVEL,
        }),
        MetadataRecord::BrokerRegistrationChange(change.clone()),
        MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            fenced: None,
            in_controlled_shutdown: true,
            ..change.clone()
        }),
        MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            fenced: Some(true),
            log_dirs: vec![Uuid(9)],
            ..change
        }),
        MetadataRecord::NoOp,
    ]
}

#[test]
fn records_come_back() {
    for record in every_record() {
        assert_eq!(MetadataRecord::decode(record.encode()), Ok(record));
    }
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn bytes_are_kafkas() {
    // Derived by hand from Kafka's message schemas, field by field.
    let topic_id = "000102030405060708090a0b0c0d0e0f";
    let golden: [(MetadataRecord, String); 8] = [
        (
            MetadataRecord::FeatureLevel(FeatureLevelRecord {
                name: METADATA_VERSION.into(),
                level: 21,
            }),
            "01 0c 00 11 6d65746164617461 2e 76657273696f6e 0015 00".into(),
        ),
        (
            MetadataRecord::Topic(TopicRecord { name: "foo".into(), id: TOPIC }),
            alloc::format!("01 02 00 04 666f6f {topic_id} 00"),
        ),
        (
            MetadataRecord::Partition(PartitionRecord {
                leader_recovery_state: 1,
                directories: vec![Uuid(1), Uuid(2), Uuid(3)],
                ..partition(0)
            }),
            alloc::format!(
                "01 03 01 00000000 {topic_id} 04 00000001 00000002 00000003 03 00000001 00000002 \
                 01 01 00000001 00000004 00000005 \
                 04 00000000000000000000000000000001 00000000000000000000000000000002 \
                 00000000000000000000000000000003 01 00 01 01"
            ),
        ),
        (
            MetadataRecord::PartitionChange(PartitionChangeRecord {
                isr: Some(nodes(&[2])),
                leader: Some(None),
                ..PartitionChangeRecord::of(at(1))
            }),
            alloc::format!("01 05 01 00000001 {topic_id} 02 00 05 02 00000002 01 04 ffffffff"),
        ),
        (
            MetadataRecord::RegisterBroker(registration()),
            "01 00 03 00000007 00 00000000000000000000000000000011 0000000000000003 \
             02 0a 504c41494e54455854 02 68 2384 0000 00 \
             02 11 6d657461646174612e76657273696f6e 0007 0015 00 \
             00 01 00 01 00 11 02 00000000000000000000000000000022"
                .into(),
        ),
        (
            MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker: NodeId(7),
                epoch: BrokerEpoch(3),
                fenced: Some(false),
                in_controlled_shutdown: false,
                log_dirs: vec![],
            }),
            "01 11 00 00000007 0000000000000003 01 00 01 ff".into(),
        ),
        (
            MetadataRecord::Config(ConfigRecord {
                resource_type: TOPIC_RESOURCE,
                resource_name: "t".into(),
                name: "k".into(),
                value: None,
            }),
            "01 04 00 02 02 74 02 6b 00 00".into(),
        ),
        (MetadataRecord::NoOp, "01 14 00 00".into()),
    ];
    for (record, text) in golden {
        assert_eq!(record.encode(), hex(&text), "{}", record.name());
        assert_eq!(MetadataRecord::decode(hex(&text)), Ok(record));
    }
}

#[test]
fn older_versions_are_read() {
    let topic_id = "000102030405060708090a0b0c0d0e0f";
    let v0 = alloc::format!(
        "01 03 00 00000000 {topic_id} 02 00000001 02 00000001 01 01 00000001 00000000 00000000 00"
    );
    let Ok(MetadataRecord::Partition(record)) = MetadataRecord::decode(hex(&v0)) else {
        panic!("a PartitionRecord of version 0")
    };
    assert!(record.directories.is_empty());
    let v0 = "01 00 00 00000007 00000000000000000000000000000011 0000000000000003 01 01 00 00 00";
    let Ok(MetadataRecord::RegisterBroker(record)) = MetadataRecord::decode(hex(v0)) else {
        panic!("a RegisterBrokerRecord of version 0")
    };
    assert!(!record.fenced && record.log_dirs.is_empty());
}

#[test]
fn unknown_things_are_refused_by_name() {
    let refused = |text: &str| MetadataRecord::decode(hex(text)).unwrap_err();
    assert_eq!(refused("00 0c 00"), MetadataError::FrameVersion(0));
    assert_eq!(refused("01 7b 00"), MetadataError::UnknownType(123));
    assert_eq!(
        refused("01 03 02"),
        MetadataError::UnsupportedVersion { record: "PartitionRecord", version: 2 }
    );
    assert_eq!(
        refused("01 14 00 00 00"),
        MetadataError::Malformed { record: "NoOpRecord", error: DecodeError::Trailing(1) }
    );
    assert!(refused("01 7b 00").to_string().contains("type 123"));
}

#[test]
fn hostile_bytes_neither_panic_nor_allocate() {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let records: Vec<Vec<u8>> = every_record().iter().map(|r| r.encode().to_vec()).collect();
    for _ in 0..20_000 {
        let mut bytes = records[next() as usize % records.len()].clone();
        for _ in 0..=next() % 3 {
            let position = next() as usize % bytes.len();
            bytes[position] = next() as u8;
        }
        if next().is_multiple_of(4) {
            bytes.truncate(next() as usize % (bytes.len() + 1));
        }
        if let Ok(record) = MetadataRecord::decode(Bytes::from(bytes)) {
            assert_eq!(MetadataRecord::decode(record.encode()), Ok(record));
        }
    }
}

#[test]
fn leader_change_is_kafkas() {
    let message = LeaderChangeMessage {
        leader: NodeId(1),
        voters: nodes(&[1, 2]),
        granting_voters: nodes(&[1]),
    };
    let value = message.encode();
    assert_eq!(value, hex("0000 00000001 03 00000001 00 00000002 00 02 00000001 00 00"));
    assert_eq!(leader_change_key(), hex("0000 0002"));
    assert_eq!(decode_leader_change(Some(leader_change_key()), Some(value)), Ok(Some(message)));
    assert_eq!(decode_leader_change(Some(hex("0000 0003")), None), Ok(None));
    assert!(decode_leader_change(Some(leader_change_key()), Some(hex("0000 00"))).is_err());
    assert!(decode_leader_change(None, None).is_err());
}

fn replayed(records: &[MetadataRecord]) -> MetadataImage {
    let mut image = MetadataImage::new();
    for (offset, record) in (0..).map(Offset).zip(records) {
        image.replay(offset, LeaderEpoch(1), record).expect("fits");
    }
    image
}

fn topic() -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord { name: "t".into(), id: TOPIC })
}

#[test]
fn a_change_moves_the_epochs_that_it_should() {
    let mut image = replayed(&[topic(), MetadataRecord::Partition(partition(0))]);
    let isr_only =
        PartitionChangeRecord { isr: Some(nodes(&[1])), ..PartitionChangeRecord::of(at(0)) };
    let record = MetadataRecord::PartitionChange(isr_only);
    image.replay(Offset(2), LeaderEpoch(1), &record).unwrap();
    let now = image.partition(at(0)).unwrap();
    assert_eq!((now.leader_epoch, now.partition_epoch), (LeaderEpoch(4), PartitionEpoch(6)));

    let same_leader =
        PartitionChangeRecord { leader: Some(Some(NodeId(1))), ..PartitionChangeRecord::of(at(0)) };
    let record = MetadataRecord::PartitionChange(same_leader);
    image.replay(Offset(3), LeaderEpoch(1), &record).unwrap();
    let now = image.partition(at(0)).unwrap();
    assert_eq!((now.leader_epoch, now.partition_epoch), (LeaderEpoch(5), PartitionEpoch(7)));
    assert_eq!(image.applied, Offset(3));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let change = |change: PartitionChangeRecord| MetadataRecord::PartitionChange(change);
    let of = PartitionChangeRecord::of;
    let unfence = |broker, epoch| {
        MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            broker: NodeId(broker),
            epoch: BrokerEpoch(epoch),
            fenced: Some(false),
            in_controlled_shutdown: false,
            log_dirs: vec![],
        })
    };
    let image = replayed(&[
        topic(),
        MetadataRecord::Partition(partition(0)),
        MetadataRecord::RegisterBroker(registration()),
    ]);
    let cases = [
        (topic(), ReplayProblem::Exists),
        (MetadataRecord::Partition(partition(0)), ReplayProblem::Exists),
        (change(of(at(9))), ReplayProblem::UnknownPartition),
        (change(of(TopicPartition { topic: Uuid(1), partition: 0 })), ReplayProblem::UnknownTopic),
        (
            change(PartitionChangeRecord { isr: Some(vec![]), ..of(at(0)) }),
            ReplayProblem::Inconsistent,
        ),
        (
            change(PartitionChangeRecord { isr: Some(nodes(&[1, 9])), ..of(at(0)) }),
            ReplayProblem::Inconsistent,
        ),
        (
            change(PartitionChangeRecord { leader: Some(Some(NodeId(3))), ..of(at(0)) }),
            ReplayProblem::Inconsistent,
        ),
        (unfence(8, 3), ReplayProblem::UnknownBroker),
        (unfence(7, 2), ReplayProblem::BrokerEpoch),
        (MetadataRecord::RemoveTopic(Uuid(1)), ReplayProblem::UnknownTopic),
    ];
    for (record, problem) in cases {
        let mut copy = image.clone();
        let error = copy.replay(Offset(3), LeaderEpoch(1), &record).unwrap_err();
        assert_eq!(error, ReplayError { offset: Offset(3), record: record.name(), problem });
        assert_eq!(copy, image);
    }
    let late = image.clone().replay(Offset(2), LeaderEpoch(1), &MetadataRecord::NoOp);
    assert_eq!(late.map_err(|e| e.problem), Err(ReplayProblem::Order));
}

#[test]
fn a_removed_topic_takes_its_configuration_along() {
    let config = ConfigRecord {
        resource_type: TOPIC_RESOURCE,
        resource_name: "t".into(),
        name: "flush.messages".into(),
        value: Some("1".into()),
    };
    let mut image = replayed(&[topic(), MetadataRecord::Config(config)]);
    assert_eq!(image.topic_configs("t").len(), 1);
    let remove = MetadataRecord::RemoveTopic(TOPIC);
    image.replay(Offset(2), LeaderEpoch(1), &remove).unwrap();
    assert!(image.topic_configs("t").is_empty() && image.topic_by_name("t").is_none());
    assert_eq!(image.configs.len(), 0);
}
