//! Jepsen's files and ours, of any kind: read, checked, refused with a reason.

use proptest::prelude::*;
use wavetank_linearizability::linear::{self, models};
use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::read::{AnyHistory, Kind, read};
use wavetank_linearizability::{Verdict, txn};

fn parsed(text: &str) -> AnyHistory {
    read("h", text.as_bytes(), None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn judge(text: &str) -> (Kind, Verdict) {
    let history = parsed(text);
    let kind = history.kind();
    let options = linear::Options::default();
    let verdict = match &history {
        AnyHistory::Log { history, jepsen } => {
            log::check(history, &Options { covered: *jepsen, ..Options::default() }).unwrap()
        }
        AnyHistory::Register(h) => {
            linear::check(&models::Register::default(), h.operations(), &options).unwrap().verdict
        }
        AnyHistory::Kv(h) => linear::check(&models::Kv, h.operations(), &options).unwrap().verdict,
        AnyHistory::Mutex(h) => {
            linear::check(&models::Mutex, h.operations(), &options).unwrap().verdict
        }
        AnyHistory::Queue(h) => {
            linear::check(&models::FifoQueue, h.operations(), &options).unwrap().verdict
        }
        AnyHistory::AppendLog(h) => {
            linear::check(&models::AppendLog, h.operations(), &options).unwrap().verdict
        }
        AnyHistory::ListAppend(h) => txn::check(h, &txn::Options::default()).unwrap().verdict,
    };
    (kind, verdict)
}

/// Operations of one process after the other: function, value when invoked, how it ended, and the
/// value then.
fn edn(ops: &[(u32, &str, &str, &str, &str)]) -> String {
    let mut text = String::new();
    for (process, f, asked, kind, value) in ops {
        text += &format!("{{:process {process}, :type :invoke, :f :{f}, :value {asked}}}\n");
        text += &format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n");
    }
    text
}

#[track_caller]
fn expect(ops: &[(u32, &str, &str, &str, &str)], kind: Kind, valid: bool) {
    let text = edn(ops);
    for text in [text.clone(), format!("[{text}]"), format!("; a comment\n({text}) ;the end")] {
        let (found, verdict) = judge(&text);
        assert_eq!((found, verdict.is_valid()), (kind, valid), "{verdict}\n{text}");
    }
}

#[test]
fn registers() {
    let ops = |read| {
        [
            (0, "write", "1", "ok", "1"),
            (1, "cas", "[1 2]", "ok", "[1 2]"),
            (2, "cas", "[1 3]", "fail", "[1 3]"),
            (3, "read", "nil", "ok", read),
        ]
    };
    expect(&ops("2"), Kind::Register, true);
    expect(&ops("1"), Kind::Register, false);
    let keyed = |read| {
        [
            (0, "write", "[:x 1]", "ok", "[:x 1]"),
            (0, "write", "[:y 2]", "ok", "[:y 2]"),
            (0, "cas", "[:x [1 4]]", "ok", "[:x [1 4]]"),
            (3, "read", "[:x nil]", "ok", read),
        ]
    };
    expect(&keyed("[:x 4]"), Kind::Register, true);
    expect(&keyed("[:x 2]"), Kind::Register, false);
}

#[test]
fn stores_mutexes_queues() {
    let kv = |got| {
        [
            (0, "put", "[\"x\" \"a\"]", "ok", "[\"x\" \"a\"]"),
            (0, "append", "[\"x\" \"b\"]", "ok", "[\"x\" \"b\"]"),
            (1, "get", "[\"x\" nil]", "ok", got),
        ]
    };
    expect(&kv("[\"x\" \"ab\"]"), Kind::Kv, true);
    expect(&kv("[\"x\" \"a\"]"), Kind::Kv, false);
    let by_field = "{\"process\":0,\"type\":\"invoke\",\"f\":\"get\",\"key\":\"k\",\"value\":null}\n\
                    {\"process\":0,\"type\":\"ok\",\"f\":\"get\",\"key\":\"k\",\"value\":\"\"}\n";
    assert!(judge(by_field).1.is_valid());
    let mutex = |f| [(0, "acquire", "nil", "ok", "nil"), (1, f, "nil", "ok", "nil")];
    expect(&mutex("release"), Kind::Mutex, true);
    expect(&mutex("acquire"), Kind::Mutex, false);
    let queue = |front| {
        [
            (0, "enqueue", "1", "ok", "1"),
            (0, "enqueue", "2", "ok", "2"),
            (1, "dequeue", "nil", "ok", front),
        ]
    };
    expect(&queue("1"), Kind::Queue, true);
    expect(&queue("2"), Kind::Queue, false);
    let log = edn(&[(0, "append", "7", "ok", "0"), (1, "tail", "nil", "ok", "1")]);
    let history = read("h", log.as_bytes(), Some(Kind::AppendLog)).unwrap();
    assert_eq!(history.kind(), Kind::AppendLog);
}

#[test]
fn lists() {
    let ops = |second| {
        [
            (0, "txn", "[[:append :x 1] [:r :y nil]]", "ok", "[[:append :x 1] [:r :y nil]]"),
            (1, "txn", "[[:append :x 2]]", "ok", "[[:append :x 2]]"),
            (2, "txn", "[[:r :x nil]]", "ok", second),
        ]
    };
    expect(&ops("[[:r :x [1 2]]]"), Kind::ListAppend, true);
    expect(&ops("[[:r :x [1]]]"), Kind::ListAppend, false);
}

/// After Jepsen's own tests of its Kafka workload.
#[test]
fn kafka() {
    let expect = |text: &str, anomalies: &[&str]| {
        let (kind, verdict) = judge(text);
        let found: Vec<&str> = verdict.anomalies.keys().map(String::as_str).collect();
        assert_eq!((kind, found.as_slice()), (Kind::Log, anomalies), "{verdict}\n{text}");
    };
    let g1a = |kind| {
        edn(&[
            (0, "send", "[[:send :x 2] [:send :y 3]]", kind, "[[:send :x 2] [:send :y 3]]"),
            (1, "poll", "[[:poll]]", "ok", "[[:poll {:x [[0 2]]}]]"),
        ])
    };
    expect(&g1a("fail"), &["aborted-read"]);
    expect(&g1a("info"), &[]);
    let info = |poll| {
        edn(&[
            (0, "send", "[[:send :x 1] [:send :y 1]]", "info", "[[:send :x [0 1]] [:send :y 1]]"),
            (1, "send", "[[:send :x 2]]", "ok", "[[:send :x [0 2]]]"),
            (2, "poll", "[[:poll]]", "ok", poll),
        ])
    };
    expect(&info("[[:poll {}]]"), &[]);
    // (And then the second was sent after the first had been acknowledged there.)
    let both = ["inconsistent-offsets", "real-time-order"];
    expect(&info("[[:poll {:y [[5 1]]}]]"), &both);
    let lost = edn(&[
        (0, "send", "[[:send :x 7]]", "ok", "[[:send :x [0 7]]]"),
        (0, "send", "[[:send :x 8]]", "info", "[[:send :x 8]]"),
        (1, "poll", "[[:poll]]", "ok", "[[:poll {:x [[2 8]]}]]"),
    ]);
    expect(&lost, &["lost-write"]);
    // A skip within an operation, under subscribe; a rebalance of the key excuses it.
    let skip = |log: &str| {
        edn(&[
            (9, "send", "[[:send :x 1] [:send :x 2] [:send :x 3]]", "info", "nil"),
            (2, "poll", "[[:poll]]", "ok", "[[:poll {:x [[1 1] [2 2] [3 3]]}]]"),
            (1, "subscribe", "[:x]", "ok", "[:x]"),
        ]) + "{:process 1, :type :invoke, :f :poll, :value [[:poll] [:poll]]}\n"
            + &format!(
                "{{:process 1, :type :ok, :f :poll, {log} \
                 :value [[:poll {{:x [[1 1]]}}] [:poll {{:x [[3 3]]}}]]}}\n"
            )
    };
    expect(&skip(""), &["int-poll-skip"]);
    expect(&skip(":rebalance-log [{:keys [:x]}],"), &[]);
    expect(&skip(":rebalance-log [{:keys [:y]}],"), &["int-poll-skip"]);
    // Between operations: illegal under assign, unless the partition was given up in between.
    let between = |assign: &str| {
        edn(&[
            (9, "send", "[[:send :x 1] [:send :x 2] [:send :x 3]]", "info", "nil"),
            (2, "poll", "[[:poll]]", "ok", "[[:poll {:x [[1 1] [2 2] [3 3]]}]]"),
            (1, "assign", "[:x]", "ok", "[:x]"),
            (1, "poll", "[[:poll]]", "ok", "[[:poll {:x [[1 1]]}]]"),
            (1, "assign", assign, "ok", assign),
            (1, "poll", "[[:poll]]", "ok", "[[:poll {:x [[3 3]]}]]"),
        ])
    };
    expect(&between("[:x :y]"), &["poll-skip"]);
    expect(&between("[:y]"), &[]);
}

/// Each transaction reads what the other sent; and, as a near miss, with an edge of writes.
#[test]
fn cycles_of_reads_alone_are_illegal() {
    let op = |process: u32, kind: &str, value: &str| {
        format!("{{:process {process}, :type :{kind}, :f :txn, :value {value}}}\n")
    };
    let concurrent = |first: [&str; 2], second: [&str; 2]| {
        op(0, "invoke", first[0])
            + &op(1, "invoke", second[0])
            + &op(0, "ok", first[1])
            + &op(1, "ok", second[1])
    };
    let pure = concurrent(
        ["[[:send :x 1] [:poll]]", "[[:send :x [0 1]] [:poll {:y [[0 2]]}]]"],
        ["[[:send :y 2] [:poll]]", "[[:send :y [0 2]] [:poll {:x [[0 1]]}]]"],
    );
    let (_, verdict) = judge(&pure);
    assert_eq!(verdict.count("G1c"), 1, "{verdict}");
    assert!(!verdict.is_valid());
    let with_writes = concurrent(
        ["[[:send :x 1] [:send :y 3]]", "[[:send :x [0 1]] [:send :y [2 3]]]"],
        ["[[:poll] [:send :y 2]]", "[[:poll {:x [[0 1]]}] [:send :y [1 2]]]"],
    );
    let (_, verdict) = judge(&with_writes);
    assert_eq!(verdict.count("G1c"), 0, "{verdict}");
    assert!(verdict.is_valid(), "{verdict}");
}

#[test]
fn what_is_left_out() {
    let text = "[{:process :nemesis, :type :info, :f :kill, :value nil}\n\
                 #jepsen.history.Op{:index 0, :time -5, :type :invoke, :process 0, :f :write, :value 1}\n\
                 #_{:type :nonsense} {:index 1 :time 7N :type :ok, :process 0, :f :write, :value 1,\n\
                 :error [\"a\\u0041\" \\newline 1.5 #{1} ##NaN #inst \"2026\"]}]";
    assert!(judge(text).1.is_valid());
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |text: &str, message: &str| {
        let error = read("h.edn", text.as_bytes(), None).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}\n{message}");
    };
    let good = "{:process 0, :type :invoke, :f :write, :value 1}\n";
    let after = |text: &str, message: &str| {
        refused(&format!("{good}\n{text}"), &format!("h.edn:{message}"));
    };
    refused("", "h.edn:1: expected operations that show the kind of the history");
    refused("[", "h.edn:1: expected ] before the end");
    refused("{:a}", "h.edn:1: expected a value for each key of a map");
    refused(&"[".repeat(5000), "h.edn:1: expected forms at most 100 deep");
    after("7", "3: expected an operation (a map), not 7");
    after("{:type :ok, :process 0, :f :write, :value", "3: expected } before the end");
    after("{:type :ok, :process 0, :f :read}", "3: expected the completion of the write that");
    after("{:type :ok, :process 1, :f :read}", "3: expected process 1 to have invoked read");
    after("{:type :ok, :process 0.5, :f :read}", "3: expected a number as :process, not \"0.5\"");
    after("{:type :okay, :process 0, :f :read}", "3: expected :type invoke, ok, fail or info");
    after("{:type :invoke, :process 2, :f :enqueue}", "3: expected :f of a register, not enqueue");
    after("{:type :invoke, :process 0, :f :read}", "3: expected the completion of the write that");
    refused("{\"type\":\"ok\"}\n", "h.edn:1: expected :process");
    refused("{\"type\":\"ok\"", "h.edn:1: expected a line of a history: EOF");
}

fn lines() -> Vec<&'static str> {
    vec![
        "{:process 0, :type :invoke, :f :write, :value [\"x\" 1]}",
        "{:process 0, :type :ok, :f :write, :value [\"x\" 1]}",
        "{:process 0, :type :invoke, :f :txn, :value [[:send :x 1] [:poll]]}",
        "{:process 0, :type :ok, :f :txn, :value [[:send :x [0 1]] [:poll {:x [[0 1]]}]], :rebalance-log [{:keys [1]}]}",
        "{:process 0, :type :info, :f :txn, :value [[:append 1 2] [:r 1 [2 3]]]}",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}",
        "{\"type\":\"ok\",\"f\":\"read\",\"process\":0,\"value\":7,\"key\":\"k\"}",
        "{:process 1, :type :invoke, :f :assign, :value [:x], :seek-to-beginning? true}",
        "#jepsen.history.Op{:process 1, :type :info, :f :crash, :value nil}",
        "[",
        "]",
        "#_",
        "\"",
        ";",
        "\\",
        "{",
        "}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused_or_read_but_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        kind in prop::option::of(prop::sample::select(Kind::ALL.to_vec())),
    ) {
        drop(read("file", bytes.as_slice(), kind));
    }

    #[test]
    fn mutated_histories_are_refused_or_read_but_never_a_panic(
        picked in prop::collection::vec((prop::sample::select(lines()), any::<u16>(), any::<u8>(), any::<bool>()), 0..8),
        kind in prop::option::of(prop::sample::select(Kind::ALL.to_vec())),
    ) {
        let mut bytes = vec![];
        for (line, at, with, change) in picked {
            let start = bytes.len();
            bytes.extend_from_slice(line.as_bytes());
            if change {
                bytes[start + at as usize % line.len()] = with;
            }
            bytes.push(b'\n');
        }
        if let Ok(AnyHistory::Log { history, .. }) = read("file", bytes.as_slice(), kind) {
            // Ambiguous values are its only error.
            drop(log::check(&history, &Options::default()));
        }
    }
}
