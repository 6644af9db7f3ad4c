//! A value of EDN or JSON, without the types that only one of them has.

use crate::Datum;

/// A value of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// `nil`, `null`.
    Nil,
    /// `true`, `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A text; also anything that is neither a text nor an integer, as it is written.
    Text(String),
    /// A keyword of EDN, without its colon.
    Keyword(String),
    /// A vector, list, set or array.
    List(Vec<Form>),
    /// A map or object, in the order of the file.
    Map(Vec<(Form, Form)>),
}

impl Form {
    /// The name in a keyword or a text.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Form::Text(text) | Form::Keyword(text) => Some(text),
            Form::Nil | Form::Bool(_) | Form::Int(_) | Form::List(_) | Form::Map(_) => None,
        }
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<&[Form]> {
        match self {
            Form::List(list) => Some(list),
            Form::Nil
            | Form::Bool(_)
            | Form::Int(_)
            | Form::Text(_)
            | Form::Keyword(_)
            | Form::Map(_) => None,
        }
    }

    /// The value under a name in a map.
    pub(super) fn get(&self, name: &str) -> Option<&Form> {
        match self {
            Form::Map(pairs) => {
                pairs.iter().find(|(key, _)| key.name() == Some(name)).map(|(_, value)| value)
            }
            Form::Nil
            | Form::Bool(_)
            | Form::Int(_)
            | Form::Text(_)
            | Form::Keyword(_)
            | Form::List(_) => None,
        }
    }

    /// The value as models represent it; composite values become texts.
    pub(super) fn datum(&self) -> Datum {
        match self {
            Form::Nil => Datum::Nil,
            Form::Int(number) => Datum::Number(*number),
            Form::Text(text) => text.as_str().into(),
            Form::Bool(_) | Form::Keyword(_) | Form::List(_) | Form::Map(_) => {
                self.to_string().into()
            }
        }
    }

    /// The name of a partition: keys of JSON objects are texts, those of EDN maps need not be.
    pub(super) fn plain(&self) -> String {
        match self {
            Form::Text(text) | Form::Keyword(text) => text.clone(),
            Form::Nil | Form::Bool(_) | Form::Int(_) | Form::List(_) | Form::Map(_) => {
                self.to_string()
            }
        }
    }
}

impl std::fmt::Display for Form {
    /// As EDN.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Form::Nil => f.write_str("nil"),
            Form::Bool(truth) => write!(f, "{truth}"),
            Form::Int(number) => write!(f, "{number}"),
            Form::Text(text) => write!(f, "{text:?}"),
            Form::Keyword(name) => write!(f, ":{name}"),
            Form::List(list) => {
                f.write_str("[")?;
                for (at, form) in list.iter().enumerate() {
                    write!(f, "{}{form}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Form::Map(pairs) => {
                f.write_str("{")?;
                for (at, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

impl From<serde_json::Value> for Form {
    fn from(value: serde_json::Value) -> Form {
        use serde_json::Value;
        match value {
            Value::Null => Form::Nil,
            Value::Bool(truth) => Form::Bool(truth),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Form::Int(number),
                None => Form::Text(number.to_string()),
            },
            Value::String(text) => Form::Text(text),
            Value::Array(list) => Form::List(list.into_iter().map(Form::from).collect()),
            Value::Object(map) => {
                Form::Map(map.into_iter().map(|(key, of)| (Form::Text(key), of.into())).collect())
            }
        }
    }
}
