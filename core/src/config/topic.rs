//! The topic configurations of Kafka 4, in one table by name, and how this broker treats each.
//!
//! - *Honoured*: the broker acts on it.
//! - *Kept*: the value is checked and stored, but has no effect. The feature is not built yet, and
//!   its absence breaks no promise: data is kept longer, segments roll by size alone.
//! - *Refused*, by name, because ignoring it would break a promise: a topic that asks for
//!   compaction, for a timed flush, or for another copy of its data would wait for something that
//!   never happens.
//!
//! A name that is not in the table is not Kafka's, and is refused. The node's own file is stricter:
//! a default for all topics must be one that is honoured ([`TopicConfig::with_default`]).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::TopicConfig;

/// The values that a configuration can have.
#[derive(Clone, Copy)]
enum Values {
    /// An integer between the two bounds, inclusive.
    Number(i64, i64),
    /// A number from 0 to 1, with a fraction.
    Ratio,
    /// One of these.
    Words(&'static [&'static str]),
    /// A comma-separated list, `*`, or nothing.
    List,
}

/// How a configuration is treated.
#[derive(Clone, Copy)]
enum Treatment {
    /// The function applies it.
    Honoured(fn(&mut TopicConfig, &str)),
    /// It has no effect, whatever the value.
    Kept,
    /// It has no effect; only this value is accepted, which asks for nothing.
    Refused(&'static str),
}

use Treatment::{Honoured, Kept, Refused};
use Values::{List, Number, Ratio, Words};

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const BOOLEAN: &[&str] = &["false", "true"];

/// Kafka's `TopicConfig`, by name.
const TABLE: &[(&str, Values, Treatment)] = &[
    ("cleanup.policy", Words(&["delete", "compact", "compact,delete"]), Refused("delete")),
    ("compression.gzip.level", Number(-1, 9), Kept),
    ("compression.lz4.level", Number(1, 17), Kept),
    (
        "compression.type",
        Words(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        Kept,
    ),
    ("compression.zstd.level", Number(-131_072, 22), Kept),
    ("delete.retention.ms", Number(0, LONG), Kept),
    ("file.delete.delay.ms", Number(0, LONG), Kept),
    ("flush.messages", Number(1, LONG), Honoured(|c, v| c.flush_each_batch = v == "1")),
    ("flush.ms", Number(0, LONG), Refused("9223372036854775807")),
    ("follower.replication.throttled.replicas", List, Kept),
    (
        "index.interval.bytes",
        Number(0, INT),
        Honoured(|c, v| c.index_interval_bytes = checked(v) as u32),
    ),
    ("leader.replication.throttled.replicas", List, Kept),
    ("local.retention.bytes", Number(-2, LONG), Kept),
    ("local.retention.ms", Number(-2, LONG), Kept),
    ("max.compaction.lag.ms", Number(1, LONG), Kept),
    ("max.message.bytes", Number(0, INT), Honoured(|c, v| c.max_message_bytes = checked(v) as u32)),
    (
        "message.timestamp.after.max.ms",
        Number(0, LONG),
        Honoured(|c, v| c.timestamp_after_max_ms = checked(v)),
    ),
    (
        "message.timestamp.before.max.ms",
        Number(0, LONG),
        Honoured(|c, v| c.timestamp_before_max_ms = checked(v)),
    ),
    (
        "message.timestamp.type",
        Words(&["CreateTime", "LogAppendTime"]),
        Honoured(|c, v| c.log_append_time = v == "LogAppendTime"),
    ),
    ("min.cleanable.dirty.ratio", Ratio, Kept),
    ("min.compaction.lag.ms", Number(0, LONG), Kept),
    (
        "min.insync.replicas",
        Number(1, 1 << 15),
        Honoured(|c, v| c.min_insync_replicas = checked(v) as i32),
    ),
    ("preallocate", Words(BOOLEAN), Kept),
    ("remote.log.copy.disable", Words(BOOLEAN), Refused("false")),
    ("remote.log.delete.on.disable", Words(BOOLEAN), Refused("false")),
    ("remote.storage.enable", Words(BOOLEAN), Refused("false")),
    ("retention.bytes", Number(-1, LONG), Kept),
    ("retention.ms", Number(-1, LONG), Kept),
    ("segment.bytes", Number(14, INT), Honoured(|c, v| c.segment_bytes = checked(v) as u32)),
    ("segment.index.bytes", Number(4, INT), Kept),
    ("segment.jitter.ms", Number(0, LONG), Kept),
    ("segment.ms", Number(1, LONG), Kept),
    ("unclean.leader.election.enable", Words(BOOLEAN), Refused("false")),
];

/// A number whose range has been checked.
fn checked(value: &str) -> i64 {
    value.parse().unwrap_or_default()
}

impl Values {
    /// # Errors
    /// Says which values are expected.
    fn check(self, key: &str, value: &str) -> Result<(), String> {
        let expected = match self {
            Number(min, max) => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => return Ok(()),
                _ => format!("a number from {min} to {max}"),
            },
            Ratio if is_ratio(value) => return Ok(()),
            Ratio => String::from("a decimal number from 0 to 1"),
            Words(words) if words.contains(&value) => return Ok(()),
            Words(words) => format!("one of {}", words.join(", ")),
            List if value.len() <= MAX_LIST => return Ok(()),
            List => format!("at most {MAX_LIST} bytes"),
        };
        Err(format!("{key} is {value:?}; expected {expected}"))
    }
}

/// A decimal number from 0 to 1, without an exponent.
fn is_ratio(value: &str) -> bool {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let all = |digits: &str, of: fn(u8) -> bool| digits.bytes().all(of);
    match whole {
        "1" => all(fraction, |digit| digit == b'0'),
        "0" => all(fraction, |digit| digit.is_ascii_digit()),
        "" => !fraction.is_empty() && all(fraction, |digit| digit.is_ascii_digit()),
        _ => false,
    }
}

/// The most bytes of a list.
const MAX_LIST: usize = 1 << 16;

impl TopicConfig {
    /// These defaults with a topic's overrides.
    ///
    /// # Errors
    /// Says which key is unknown, which value is out of range and what it should be, or which value
    /// asks for something that this broker does not do.
    pub fn with_overrides(
        &self,
        overrides: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, String> {
        let mut config = self.clone();
        for (key, value) in overrides {
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// The same, but an override that cannot be used is ignored and leaves the default.
    pub fn with_known_overrides(&self, overrides: &BTreeMap<String, String>) -> TopicConfig {
        let mut config = self.clone();
        for (key, value) in overrides {
            // A refused override has changed nothing.
            let _ = config.set(key, value);
        }
        config
    }

    /// These defaults with one changed, by its topic-level name. Only honoured configurations can
    /// be a default for all topics, or values that ask for nothing.
    ///
    /// # Errors
    /// As [`TopicConfig::with_overrides`], and if a topic's override would be kept without effect.
    pub fn with_default(&self, key: &str, value: &str) -> Result<TopicConfig, String> {
        let mut config = self.clone();
        config.set(key, value)?;
        let kept = TABLE.iter().any(|(name, _, what)| *name == key && matches!(what, Kept));
        let asks_nothing = value == "-1" || value == "producer";
        if kept && !asks_nothing {
            return Err(format!("{key}={value} is not supported by this broker yet"));
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let known = TABLE.iter().find(|(name, ..)| *name == key);
        let Some((_, values, treatment)) = known else {
            return Err(format!("unknown topic configuration {key:?}"));
        };
        values.check(key, value)?;
        match treatment {
            Honoured(apply) => apply(self, value),
            Kept => {}
            Refused(only) if value == *only => {}
            Refused(only) => {
                return Err(format!(
                    "{key}={value} is not supported by this broker yet; leave it out, or set it to \
                     {only}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn with(key: &str, value: &str) -> Result<TopicConfig, String> {
        let overrides = BTreeMap::from([(key.to_string(), value.to_string())]);
        TopicConfig::default().with_overrides(&overrides)
    }

    #[test]
    fn the_table_is_sorted_and_its_names_are_kafkas() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(TABLE.len(), 33);
        for gone in ["message.downconversion.enable", "message.format.version", "no.such"] {
            assert!(with(gone, "1").is_err_and(|why| why.contains("unknown")), "{gone}");
        }
    }

    #[test]
    fn what_breaks_no_promise_is_kept() {
        for (key, value) in [
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("segment.ms", "1000"),
            ("compression.type", "zstd"),
            ("min.cleanable.dirty.ratio", "0.5"),
            ("follower.replication.throttled.replicas", "*"),
            ("cleanup.policy", "delete"),
            ("unclean.leader.election.enable", "false"),
        ] {
            assert_eq!(with(key, value), Ok(TopicConfig::default()), "{key}");
        }
    }

    #[test]
    fn what_would_break_one_is_refused_by_name() {
        for (key, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("flush.ms", "1000"),
            ("unclean.leader.election.enable", "true"),
            ("remote.storage.enable", "true"),
        ] {
            let why = with(key, value).expect_err(key);
            assert!(why.contains(key) && why.contains("not supported"), "{why}");
        }
    }

    #[test]
    fn values_are_checked_whatever_is_done_by_them() {
        for (key, value) in [
            ("retention.ms", "-2"),
            ("retention.ms", "a week"),
            ("segment.ms", "0"),
            ("compression.type", "best"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("min.cleanable.dirty.ratio", "."),
            ("min.cleanable.dirty.ratio", "NaN"),
            ("min.insync.replicas", "0"),
            ("preallocate", "yes"),
        ] {
            let why = with(key, value).expect_err(key);
            assert!(why.contains("expected"), "{why}");
        }
    }

    #[test]
    fn honoured_ones_are_acted_on() {
        let flushing = with("flush.messages", "1").expect("it is right");
        assert!(flushing.flush_each_batch);
        assert_eq!(with("segment.bytes", "4096").expect("it is right").segment_bytes, 4096);
        let mixed = [("segment.bytes", "14"), ("no.such", "1"), ("min.insync.replicas", "2")];
        let mixed = mixed.map(|(key, value)| (key.to_string(), value.to_string()));
        let config = TopicConfig::default().with_known_overrides(&mixed.into());
        assert_eq!((config.segment_bytes, config.min_insync_replicas), (14, 2));
    }

    #[test]
    fn a_default_for_all_topics_must_be_honoured() {
        let default = TopicConfig::default();
        assert!(default.with_default("retention.ms", "-1").is_ok());
        assert!(default.with_default("compression.type", "producer").is_ok());
        assert!(default.with_default("min.insync.replicas", "2").is_ok());
        let why = default.with_default("retention.ms", "604800000").expect_err("not acted on");
        assert!(why.contains("not supported"), "{why}");
    }
}
