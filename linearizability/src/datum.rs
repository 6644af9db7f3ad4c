//! A value of a history as it is in its file: nothing, a number, or a text. Models use it for keys
//! and values; the parser turns anything else (a vector, a map) into text.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Nothing, a number, or a text; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    /// Nothing: a register never written, a key never put, an empty queue's front.
    #[default]
    Nil,
    /// A number.
    Number(i64),
    /// A text.
    Text(Arc<str>),
}

impl Datum {
    /// Its text without quotes; empty for nothing.
    pub fn to_plain(&self) -> String {
        match self {
            Datum::Nil => String::new(),
            Datum::Number(number) => number.to_string(),
            Datum::Text(text) => text.to_string(),
        }
    }
}

impl From<i64> for Datum {
    fn from(number: i64) -> Datum {
        Datum::Number(number)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Datum {
        Datum::Text(text.into())
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Datum {
        Datum::Text(text.into())
    }
}

impl fmt::Display for Datum {
    /// `nil`, `7` or `"text"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Nil => f.write_str("nil"),
            Datum::Number(number) => write!(f, "{number}"),
            Datum::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Serialize for Datum {
    /// `null`, a number or a string.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Datum::Nil => serializer.serialize_none(),
            Datum::Number(number) => serializer.serialize_i64(*number),
            Datum::Text(text) => serializer.serialize_str(text),
        }
    }
}
