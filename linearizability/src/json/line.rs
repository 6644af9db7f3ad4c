//! One line, as serde reads and writes it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Change, Position};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
    Loss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Function {
    Send,
    Poll,
    Assign,
    Seek,
    Subscribe,
    Transaction,
    End,
    Commit,
    Committed,
    Assigned,
    Revoked,
    Lost,
    Changed,
    Crash,
}

impl Function {
    /// For a rebalance, what changed.
    pub(super) fn change(self) -> Option<Change> {
        match self {
            Function::Assigned => Some(Change::Assigned),
            Function::Revoked => Some(Change::Revoked),
            Function::Lost => Some(Change::Lost),
            Function::Changed => Some(Change::Changed),
            Function::Send
            | Function::Poll
            | Function::Assign
            | Function::Seek
            | Function::Subscribe
            | Function::Transaction
            | Function::End
            | Function::Commit
            | Function::Committed
            | Function::Crash => None,
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Function::Send => "send",
            Function::Poll => "poll",
            Function::Assign => "assign",
            Function::Seek => "seek",
            Function::Subscribe => "subscribe",
            Function::Transaction => "transaction",
            Function::End => "end",
            Function::Commit => "commit",
            Function::Committed => "committed",
            Function::Assigned => "assigned",
            Function::Revoked => "revoked",
            Function::Lost => "lost",
            Function::Changed => "changed",
            Function::Crash => "crash",
        })
    }
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Content<'a> {
    Number(u64),
    Text(Cow<'a, str>),
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Content::Number(number) => serializer.serialize_u64(*number),
            Content::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Of<'a> {
            type Value = Content<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 0 to 2^63-1 or a text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Content<'a>, E> {
                Ok(Content::Number(number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'a>, E> {
                Ok(Content::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Content<'a>, E> {
                Ok(Content::Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(Of(PhantomData))
    }
}

/// Where a reader continues: a number, null, or `"kept"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(pub(super) Position);

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Position::At(offset) => serializer.serialize_i64(offset),
            Position::Unknown => serializer.serialize_none(),
            Position::Kept => serializer.serialize_str("kept"),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Place;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an offset, null or \"kept\"")
            }

            fn visit_u64<E: serde::de::Error>(self, offset: u64) -> Result<Place, E> {
                let offset = i64::try_from(offset)
                    .map_err(|_| E::custom(format!("an offset of at most 2^63-1, not {offset}")))?;
                Ok(Place(Position::At(offset)))
            }

            fn visit_i64<E: serde::de::Error>(self, offset: i64) -> Result<Place, E> {
                Err(E::custom(format!("expected position from 0, not {offset}")))
            }

            fn visit_unit<E>(self) -> Result<Place, E> {
                Ok(Place(Position::Unknown))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Place, E> {
                match text {
                    "kept" => Ok(Place(Position::Kept)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Of)
    }
}

/// An object, in the order of the file.
#[derive(Debug)]
pub(super) struct Pairs<'a, T>(pub(super) Vec<(Cow<'a, str>, T)>);

impl<T: Serialize> Serialize for Pairs<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, of) in &self.0 {
            map.serialize_entry(name, of)?;
        }
        map.end()
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Pairs<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Of<'a, T> {
            type Value = Pairs<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object by partition")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'a, T>, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(1).min(64));
                while let Some(Name(name)) = map.next_key()? {
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Of(PhantomData))
    }
}

/// A text that is borrowed if it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Type,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) f: Option<Function>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<u32>,
    pub(super) time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) op: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Content<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) acks: Option<i16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<i32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) positions: Option<Pairs<'a, Place>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) records: Option<Pairs<'a, Vec<(i64, i32, Content<'a>)>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transaction: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<i32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) partitions: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) offsets: Option<Pairs<'a, Place>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<(Cow<'a, str>, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) amount: Option<i64>,
}

impl Line<'_> {
    pub(super) fn new(kind: Type, time: u64) -> Self {
        Line {
            kind,
            f: None,
            process: None,
            time,
            op: None,
            partition: None,
            value: None,
            acks: None,
            offset: None,
            epoch: None,
            positions: None,
            records: None,
            transaction: None,
            group: None,
            generation: None,
            partitions: None,
            offsets: None,
            source: None,
            amount: None,
        }
    }
}
