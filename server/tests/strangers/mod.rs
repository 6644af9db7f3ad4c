//! Foreign contents of a data directory: copies, renamed directories, files of others. Nothing of
//! it is removed or taken for a replica.

use std::fs;
use std::path::Path;

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{DeleteTopicsRequest, Request, Response};
use wavetank_core::types::TopicRef;

use crate::common::{Node, refusal, values};
use crate::{copy, fetch, produce};

/// Leaves the data of a stopped node, with a topic of two records.
fn stopped(data: &Path) -> [&'static str; 2] {
    let records = ["one", "two"];
    let mut node = Node::start_on(data, &[]);
    let mut client = node.client();
    client.until_leader("kept");
    for text in records {
        let answer = produce(&mut client, &TopicRef::name("kept"), -1, text);
        assert_eq!(answer.error, ErrorCode::None);
    }
    assert_eq!(node.terminate(), Some(0));
    records
}

fn refused(data: &Path, words: &[&str]) {
    let path = data.display().to_string();
    let (code, text) = refusal(&["--data", &path, "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(2), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

/// Only the person who made a copy knows which of the two has all records. If the wrong one were
/// served, records acknowledged since the copy would be missing.
#[test]
fn a_copy_of_a_replica_is_no_replica() {
    let data = tempfile::tempdir().expect("a temporary directory");
    stopped(data.path());
    let backup = data.path().join("kept-backup-0");
    fs::create_dir(&backup).expect("created");
    copy(&data.path().join("kept-0"), &backup);
    refused(data.path(), &["kept-0", "kept-backup-0", "both are partition 0 of topic", "move"]);
    fs::remove_dir_all(&backup).expect("removed");
    let node = Node::start_on(data.path(), &[]);
    assert_eq!(values(&fetch(&mut node.client(), &TopicRef::name("kept"), 0)).len(), 2);
}

#[test]
fn a_replica_under_another_name_is_refused() {
    let data = tempfile::tempdir().expect("a temporary directory");
    stopped(data.path());
    fs::rename(data.path().join("kept-0"), data.path().join("moved-0")).expect("renamed");
    refused(data.path(), &["the directory kept-0 is missing"]);
    for checkpoint in ["replication-offset-checkpoint", "recovery-point-offset-checkpoint"] {
        let path = data.path().join(checkpoint);
        let text = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, text.replace("kept 0 ", "moved 0 ")).expect("written");
    }
    refused(data.path(), &["moved-0 is partition 0 of topic", "is called kept", "rename"]);
    assert!(data.path().join("moved-0").is_dir(), "it is where it was");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let expected = stopped(data.path());
    let kept = data.path().join("kept-0");
    let segment = "00000000000000000000.log";
    let mut theirs = Vec::new();
    let mut put = |name: &str, file: &str| {
        let dir = data.path().join(name);
        fs::create_dir_all(&dir).expect("created");
        fs::write(dir.join(file), "mine").expect("written");
        theirs.push(dir.join(file));
    };
    put("notes-2026", "readme.txt");
    put("old-delete", segment);
    put("not a topic-0", segment);
    put("lost+found", "x");
    put("kept-0", "why.txt");
    for copied in ["backup-20261130/kept-0", "kept-00"] {
        let dir = data.path().join(copied);
        fs::create_dir_all(&dir).expect("created");
        copy(&kept, &dir);
        theirs.push(dir.join(segment));
    }
    for _ in 0..2 {
        let mut node = Node::start_on(data.path(), &[]);
        let mut client = node.client();
        client.until_leader("kept");
        assert_eq!(values(&fetch(&mut client, &TopicRef::name("kept"), 0)), expected);
        assert_eq!(node.terminate(), Some(0));
        for file in &theirs {
            assert!(file.exists(), "{} is gone", file.display());
        }
    }
    // Deleting a topic removes its own files and no others.
    let mut node = Node::start_on(data.path(), &[]);
    let topics = vec![TopicRef::name("kept")];
    let deletion = Request::DeleteTopics(DeleteTopicsRequest { topics, timeout_ms: 5000 });
    let Response::DeleteTopics(deleted) = node.client().ask(5, &deletion) else {
        panic!("another answer")
    };
    assert_eq!(deleted.topics[0].1, ErrorCode::None);
    assert_eq!(node.terminate(), Some(0));
    let mut node = Node::start_on(data.path(), &[]);
    assert_eq!(node.terminate(), Some(0));
    let left = fs::read_dir(data.path()).expect("a directory").map(|entry| entry.expect("one"));
    let of_it = left.filter(|entry| {
        let name = entry.file_name().into_string().expect("text");
        name.starts_with("kept-0.") && name.ends_with("-delete")
    });
    let of_it: Vec<_> = of_it.map(|entry| entry.path()).collect();
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    let files: Vec<_> = fs::read_dir(&of_it[0]).expect("a directory").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(of_it[0].join("why.txt").exists());
}
