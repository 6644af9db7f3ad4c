//! The file format: what is written can be read again, and errors are named.

use proptest::prelude::*;
use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::{History, json};

use super::generate::{Rules, build, valid};

const EXAMPLE: &str = r#"
{"type":"invoke","f":"send","process":1,"time":100,"op":0,"partition":"orders-0","value":7,"acks":-1}
{"type":"invoke","f":"send","process":1,"time":150,"op":1,"partition":"orders-0","value":"a \"text\""}
{"type":"ok","f":"send","process":1,"time":200,"op":1,"offset":1,"epoch":3}
{"type":"ok","f":"send","process":1,"time":201,"op":0,"offset":0}
{"type":"ok","f":"assign","process":2,"time":210,"positions":{"orders-0":0,"orders-1":null}}
{"type":"invoke","f":"poll","process":2,"time":220}

{"type":"ok","f":"poll","process":2,"time":300,"records":{"orders-0":[[0,3,7],[1,3,"a \"text\""]]}}
{"type":"ok","f":"poll","process":4,"time":310,"records":{"orders-0":[[0,-1,7]]}}
{"type":"ok","f":"seek","process":2,"time":320,"partition":"orders-0","offset":2}
{"type":"invoke","f":"send","process":3,"time":330,"partition":"orders-0","value":9,"acks":0}
{"type":"fail","f":"send","process":3,"time":340}
{"type":"loss","time":400,"partition":"orders-0","offset":0,"epoch":4}
"#;

fn write(history: &History) -> String {
    let mut text = Vec::new();
    json::write(history, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_example_is_read_and_written() {
    let history = json::read("example", EXAMPLE.as_bytes()).unwrap();
    assert_eq!(history.operations().len(), 7);
    assert_eq!(history.losses().len(), 1);
    let verdict = log::check(&history, &Options::default()).unwrap();
    assert!(verdict.is_valid(), "{verdict}");
    let written = write(&history);
    let again = json::read("again", written.as_bytes()).unwrap();
    assert_eq!(history.operations(), again.operations());
    assert_eq!(history.losses(), again.losses());
    assert_eq!(written, write(&again));
    assert!(written.contains(r#""value":"a \"text\"""#), "{written}");
}

/// Appends a line to a good start and expects this error about it.
#[track_caller]
fn refused(line: &str, message: &str) {
    let good =
        r#"{"type":"invoke","f":"send","process":1,"time":0,"op":0,"partition":"p","value":1}"#;
    let error = json::read("h.jsonl", format!("{good}\n\n{line}\n").as_bytes()).unwrap_err();
    let expected = format!("h.jsonl:3: {message}");
    assert!(error.to_string().starts_with(&expected), "{error}\n{expected}");
}

#[test]
fn malformed_lines_are_named() {
    refused("{", "expected a line of a history: EOF while parsing");
    refused("[]", "expected a line of a history:");
    refused(r#"{"type":"okay","time":0}"#, "expected a line of a history: unknown variant `okay`");
    refused(
        r#"{"type":"ok","time":0,"offest":1}"#,
        "expected a line of a history: unknown field `offest`",
    );
    refused(
        r#"{"type":"ok","time":0}"#,
        "expected \"f\": send, poll, assign, seek or another function",
    );
    refused(r#"{"type":"ok","time":0,"f":"poll"}"#, "expected \"process\"");
    refused(r#"{"type":"ok","time":-1,"f":"poll"}"#, "expected a line of a history: invalid value");
    refused(r#"{"type":"ok","time":0,"f":"poll","process":1}"#, "expected \"records\"");
    refused(
        r#"{"type":"ok","f":"send","process":1,"time":0,"op":7}"#,
        "expected process 1 to have invoked send 7 and not completed it",
    );
    refused(
        r#"{"type":"ok","f":"send","process":2,"time":0}"#,
        "expected process 2 to have one open send, not 0",
    );
    refused(
        r#"{"type":"invoke","f":"send","process":1,"time":0,"partition":"p","value":2}"#,
        "process 1 has another send open: expected an \"op\" that tells them apart",
    );
    refused(
        r#"{"type":"invoke","f":"send","process":1,"time":0,"op":0,"partition":"p","value":2}"#,
        "process 1 has another send open",
    );
    refused(
        r#"{"type":"ok","f":"send","process":1,"time":0,"offset":-1}"#,
        "expected offset from 0, not -1",
    );
    refused(
        r#"{"type":"ok","f":"send","process":1,"time":0,"records":{}}"#,
        "\"records\" is not allowed in this line of a send",
    );
    refused(
        r#"{"type":"invoke","f":"send","process":2,"time":0,"partition":"p","value":2,"acks":2}"#,
        "expected \"acks\" -1, 0 or 1, not 2",
    );
    refused(
        r#"{"type":"invoke","f":"send","process":2,"time":0,"partition":"p","value":9223372036854775808}"#,
        "expected a value below 2^63 or a text, not 9223372036854775808",
    );
    refused(
        r#"{"type":"invoke","f":"send","process":2,"time":0,"partition":"p","value":null}"#,
        "expected \"value\"",
    );
    refused(
        r#"{"type":"invoke","f":"send","process":2,"time":0,"partition":"p","value":[1]}"#,
        "expected a line of a history: invalid type: sequence, expected a number from 0 to 2^63-1 or",
    );
    refused(
        r#"{"type":"invoke","f":"seek","process":2,"time":0,"partition":"p"}"#,
        "expected seek to be of type \"ok\"",
    );
    refused(
        r#"{"type":"ok","f":"poll","process":2,"time":0,"records":{"p":[[0,-2,1]]}}"#,
        "expected an epoch from -1, not -2",
    );
    refused(
        r#"{"type":"ok","f":"poll","process":2,"time":0,"op":3,"records":{"p":[]}}"#,
        "expected process 2 to have invoked poll 3 and not completed it",
    );
    refused(r#"{"type":"loss","time":0,"partition":"p","offset":3}"#, "expected \"epoch\"");
    refused(
        r#"{"type":"loss","time":0,"partition":"p","offset":3,"epoch":1,"process":1}"#,
        "a loss has \"time\", \"partition\", \"offset\" and \"epoch\" only",
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = json::read("bytes", &[0xff, 0xfe][..]).unwrap_err();
    assert!(error.to_string().starts_with("bytes:1: expected a line of a history: "), "{error}");
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        choices in prop::collection::vec((any::<u8>(), any::<u8>()), 0..60),
        (epochs, losses, duplicates) in any::<(bool, bool, bool)>(),
    ) {
        let history = build(&valid(&choices, Rules { epochs, losses, duplicates }));
        let again = json::read("again", write(&history).as_bytes()).unwrap();
        let polled = |history: &History| -> Vec<_> {
            history.operations().iter().map(|op| history.polled(op).to_vec()).collect()
        };
        prop_assert_eq!(polled(&history), polled(&again));
        prop_assert_eq!(history.losses(), again.losses());
        let options = Options::default();
        prop_assert_eq!(log::check(&history, &options), log::check(&again, &options));
    }

    #[test]
    fn arbitrary_text_is_refused_or_read_but_never_a_panic(
        lines in prop::collection::vec(
            prop_oneof![
                ".{0,40}",
                prop::sample::select(EXAMPLE.lines().collect::<Vec<_>>()).prop_map(String::from),
                (prop::sample::select(EXAMPLE.lines().collect::<Vec<_>>()), any::<u8>(), ".")
                    .prop_map(|(line, at, with)| {
                        let mut chars: Vec<char> = line.chars().collect();
                        let at = at as usize % (chars.len() + 1);
                        chars.splice(at..(at + 1).min(chars.len()), with.chars());
                        chars.into_iter().collect()
                    }),
            ],
            0..8,
        ),
    ) {
        if let Ok(history) = json::read("file", lines.join("\n").as_bytes()) {
            // Ambiguous values are its only error.
            drop(log::check(&history, &Options::default()));
        }
    }
}
