//! The command as a script sees it: exit codes, what goes where, the stable field names.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn wavetank(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wavetank")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Checks for exit code 2, nothing on stdout, and an error that has all of these parts.
fn refused(args: &[&str], parts: &[&str]) {
    let output = wavetank(args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    for part in parts {
        assert!(error.contains(part), "{args:?}: no {part:?} in {error}");
    }
}

fn temporary(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[test]
fn every_command_has_help_with_examples() {
    for command in ["hunt", "replay", "zoo", "scenario", "check", "serve", "report"] {
        let output = wavetank(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = text(&output.stdout);
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        assert!(examples.contains(&format!("  wavetank {command} ")), "{help}");
    }
}

#[test]
fn what_cannot_be_done_says_what_why_and_what_to_do() {
    refused(&["hunt", "--seeds", "5..5"], &["--seeds", "the range is empty"]);
    refused(&["hunt", "--profile", "stormy"], &["--profile", "known: default"]);
    refused(&["hunt", "--jobs", "0"], &["--jobs", "0 is too few"]);
    refused(&["hunt", "--for", "5"], &["--for", "5s, 5m or 5h"]);
    refused(&["hunt", "--seeds", "99999999999999999999"], &["--seeds", "too large"]);
    refused(&["hunt", "--flaw", "early-isr-jion"], &["did you mean \"early-isr-join\"?"]);
    refused(&["model", "check", "ist"], &["did you mean \"isr\"?"]);
    refused(&["model", "check", "irs"], &["did you mean \"isr\"?"]);
    refused(&["scenario", "show", "kip-110"], &["did you mean \"kip-101\"?"]);
    refused(&["hunt", "--require", "bit=earthquake"], &["--require", "known: all, crash"]);
    refused(&["hunt", "--faults", "earthquake"], &["--faults", "power_loss"]);
    refused(&["hunt", "--flaw", "hubris"], &["--flaw", "ack-before-flush"]);
    refused(&["zoo", "hunt", "hubris"], &["ack-before-flush"]);
    refused(&["replay", "no-such-plan.json"], &["no-such-plan.json", "--save-plan"]);
    refused(&["scenario", "show", "happy-end"], &["happy-end", "kip-101"]);
    refused(&["check", "no-such-file", "--model", "log"], &["no-such-file"]);
    refused(&["report", "--results", "no-such-folder"], &["no-such-folder", "ci/record"]);
    refused(&["serve", "--config", "no-such.toml"], &["no-such.toml"]);
    let plan = temporary("misspelt.json");
    std::fs::write(&plan, r#"{"version": 1, "sneed": 3}"#).unwrap();
    refused(&["replay", plan.to_str().unwrap()], &["misspelt.json", "sneed"]);
    let nothing = temporary("nothing.jsonl");
    std::fs::write(&nothing, "\n").unwrap();
    let nothing = nothing.to_str().unwrap();
    refused(&["check", nothing], &["nothing.jsonl", "the kind of the history"]);
    refused(&["check", nothing, "--model", "log"], &["nothing.jsonl", "no operation"]);
}

#[test]
fn models_that_cannot_be_checked_or_explored_are_told_apart() {
    refused(&["model", "check", "paxos"], &["\"paxos\"", "isr (M1)", "all"]);
    refused(
        &["model", "check", "isr", "--flaw", "hubris"],
        &["isr", "\"hubris\"", "early-isr-join"],
    );
    let variants = ["\"hubris\"", "isr (M1): truncate", "commit-older-epoch", "torn-tail-accepted"];
    refused(&["model", "check", "all", "--flaw", "hubris"], &variants);
    let plan = temporary("never.json");
    let plan = plan.to_str().unwrap();
    refused(&["model", "check", "all", "--flaw", "hubris", "--plan", plan], &variants);
    let nowhere = ["--plan", "no-such-folder/plan.json"];
    let check = ["model", "check", "isr", "--flaw", "early-isr-join"];
    refused(&[&check[..], &nowhere].concat(), &["cannot write no-such-folder/plan.json", "--plan"]);
    refused(&["model", "explore", "all"], &["one model", "isr (M1)"]);
    refused(&["model", "explore", "isr", "--port", "0"], &["--port", "from 1 to 65535"]);
    refused(&["model", "explore", "isr", "--port", "70000"], &["--port", "from 1 to 65535"]);
}

#[test]
fn one_flaw_of_all_models_is_checked_in_those_that_have_it() {
    let check = |model: &str, flaw: &str| {
        wavetank(&["model", "check", model, "--flaw", flaw, "--bounds", "small", "--json"])
    };
    for (flaw, models) in [
        ("unfenced-fetch", &["isr"][..]),
        ("commit-older-epoch", &["votes-figure-8"]),
        ("leader-resumes-epoch", &["isr", "votes", "real-quorum-contested"]),
    ] {
        let output = check("all", flaw);
        assert_eq!(output.status.code(), Some(1), "{flaw}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{flaw}");
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        let names: Vec<&str> =
            rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, models, "{flaw}");
        assert!(rows.as_array().unwrap().iter().all(|row| row["holds"] == false), "{flaw}");
    }
    assert_eq!(check("m1", "unfenced-fetch").status.code(), Some(1));
}

#[test]
fn a_flaw_of_all_models_becomes_a_plan() {
    let plan = temporary("all.json");
    let _ = std::fs::remove_file(&plan);
    let arguments = ["model", "check", "all", "--flaw", "leader-resumes-epoch", "--plan"];
    let small = [plan.to_str().unwrap(), "--bounds", "small"];
    let output = wavetank(&[&arguments[..], &small].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let replay = wavetank(&["replay", plan.to_str().unwrap()]);
    assert_eq!(replay.status.code(), Some(1), "{}", text(&replay.stderr));
}

#[test]
fn a_hunt_in_json_has_the_promised_fields_and_stdout_holds_nothing_else() {
    let output = wavetank(&["hunt", "--seeds", "2", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["seeds"], 2);
    for name in [
        "violations",
        "weak_seeds",
        "virtual_seconds",
        "wall_seconds",
        "cpu_seconds",
        "events",
        "operations",
        "compared",
        "faults",
        "faults_by_kind",
        "marks",
    ] {
        assert!(!report[name].is_null(), "{name} is missing");
    }
    assert_eq!(text(&output.stderr), "", "no progress bar where there is no terminal");
    for (kind, counts) in report["faults_by_kind"].as_object().unwrap() {
        let count = |name: &str| counts[name].as_u64().unwrap();
        assert!(count("planned") >= count("fired") && count("fired") >= count("bit"), "{kind}");
        let fired = report["faults"][kind].as_u64().unwrap_or(0);
        assert_eq!(count("fired"), fired, "{kind}");
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    let nowhere = "no-such-folder/out";
    let part = ["cannot write no-such-folder/out"];
    // Each would take hours.
    refused(&["hunt", "--for", "5h", "--json", nowhere], &part);
    refused(&["replay", "1", "--history", nowhere], &part);
    refused(&["check", "no-such-history", "--html", nowhere], &part);
}

#[test]
fn a_hunt_that_tested_less_than_is_required_is_not_green() {
    let hunt = |more: &[&str]| {
        let output = wavetank(&[&["hunt", "--seeds", "2"], more].concat());
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(hunt(&["--require", "ops=10,faults=1"]).0, Some(0));
    let (code, told) = hunt(&["--require", "ops=100000000"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("2 seeds held") && told.contains("100000000 are required"), "{told}");
    // The calm profile draws no faults, so a hunt limited to crashes has none of the faults asked
    // for.
    let (code, told) = hunt(&["--profile", "calm", "--faults", "crash"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("of the requested kinds"), "{told}");
    assert_eq!(hunt(&["--profile", "calm"]).0, Some(0));
}

#[test]
fn a_plan_that_tests_nothing_does_not_hold() {
    let plan = temporary("nobody.json");
    let path = plan.to_str().unwrap();
    wavetank(&["replay", "3", "--profile", "calm", "--save-plan", path]);
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&plan).unwrap()).unwrap();
    value["workload"] = serde_json::json!({"producers": [], "consumers": []});
    std::fs::write(&plan, value.to_string()).unwrap();
    let output = wavetank(&["replay", path]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("tested nothing: nothing was compared"), "{told}");
}

#[test]
fn a_replay_says_what_to_look_at_next_and_its_trace_is_for_people() {
    let output = wavetank(&["replay", "3", "--flaw", "ack-at-leader-append", "--until", "1"]);
    let told = text(&output.stdout);
    let again = "  wavetank replay 3 --flaw ack-at-leader-append --";
    for next in ["trace", "history history.jsonl", "save-plan plan.json"] {
        assert!(told.contains(&format!("{again}{next}")), "{told}");
    }
    let trace = text(&wavetank(&["replay", "3", "--trace", "--until", "5"]).stdout);
    assert!(trace.starts_with("# time, node"), "{trace}");
    assert!(trace.contains(" ! LeaderAppended { partition: storm0-"), "names, not ids");
    assert!(!trace.contains("Uuid(") && !trace.contains("b\""), "no ids, no payloads");
}

/// Sends the signal with the shell's own `kill`.
#[cfg(unix)]
#[test]
fn an_interrupted_hunt_prints_and_saves_what_it_has() {
    let json = temporary("interrupted.json");
    let _ = std::fs::remove_file(&json);
    let arguments = ["hunt", "--for", "2h", "--jobs", "1", "--json", json.to_str().unwrap()];
    let hunt = Command::new(env!("CARGO_BIN_EXE_wavetank"))
        .args(arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(8));
    let kill = format!("kill -INT {}", hunt.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let output = hunt.wait_with_output().unwrap();
    let told = text(&output.stdout);
    assert!(told.contains("interrupted;"), "{told}");
    assert!(text(&output.stderr).contains("stopping after the seeds"), "{}", text(&output.stderr));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["interrupted"], true);
    let green = report["seeds"].as_u64().unwrap() > 0;
    assert_eq!(output.status.code(), Some(if green { 0 } else { 1 }), "{told}");
}

#[test]
fn a_hunt_and_the_replays_of_its_seeds_have_the_same_fingerprint() {
    let hunt = wavetank(&["hunt", "--seeds", "7..9", "--json", "-"]);
    let hunt: Value = serde_json::from_slice(&hunt.stdout).unwrap();
    let replays = ["7", "8"].map(|seed| {
        let replay: Value =
            serde_json::from_slice(&wavetank(&["replay", seed, "--json"]).stdout).unwrap();
        for name in ["seed", "violations", "virtual_seconds", "events", "operations"] {
            assert!(!replay[name].is_null(), "{name} is missing");
        }
        u64::from_str_radix(replay["fingerprint"].as_str().unwrap(), 16).unwrap()
    });
    assert_eq!(hunt["fingerprint"], format!("{:016x}", replays[0] ^ replays[1]));
}

#[test]
fn a_flaw_that_is_found_exits_with_1_and_names_the_replay() {
    let output = wavetank(&["zoo", "hunt", "ack-at-leader-append", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let zoo: Value = serde_json::from_slice(&output.stdout).unwrap();
    let seed = zoo[0]["seed"].as_u64().unwrap();
    for name in ["flaw", "source", "found", "seeds", "cpu_seconds", "invariant"] {
        assert!(!zoo[0][name].is_null(), "{name} is missing");
    }
    let seeds = format!("{seed}..{}", seed + 1);
    let output = wavetank(&["hunt", "--seeds", &seeds, "--flaw", "ack-at-leader-append"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(
        told.contains(&format!("wavetank replay {seed} --flaw ack-at-leader-append")),
        "{told}"
    );
    assert!(!told.contains('\x1b'), "no colours where there is no terminal");
}

#[test]
fn a_saved_plan_is_the_seeds_run() {
    let plan = temporary("plan.json");
    let plan = plan.to_str().unwrap();
    assert_eq!(wavetank(&["replay", "3", "--save-plan", plan]).status.code(), Some(0));
    let (seed, saved) = (wavetank(&["replay", "3"]), wavetank(&["replay", plan]));
    // Up to the suggested next commands, which differ.
    let run = |output: &Output| text(&output.stdout).split_once("next:").unwrap().0.to_owned();
    assert_eq!(run(&seed), run(&saved));
    assert_eq!(saved.status.code(), Some(0));
}

#[test]
fn a_saved_history_is_judged_valid() {
    let history = temporary("history.jsonl");
    let history = history.to_str().unwrap();
    let replay = wavetank(&["replay", "3", "--history", history]);
    assert_eq!(replay.status.code(), Some(0), "{}", text(&replay.stderr));
    let check = wavetank(&["check", history, "--model", "log", "--complete", "--json"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
    let verdict: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(verdict["valid"], true);
    assert!(verdict["operations"].as_u64().unwrap() > 0);
    for name in ["seconds", "anomalies"] {
        assert!(!verdict[name].is_null(), "{name} is missing");
    }
}

#[test]
fn a_history_with_a_lost_write_is_not_valid() {
    let history = temporary("lost.jsonl");
    std::fs::write(
        &history,
        concat!(
            r#"{"type":"invoke","f":"send","process":1,"time":1,"op":0,"partition":"p-0","value":7}"#,
            "\n",
            r#"{"type":"ok","f":"send","process":1,"time":2,"op":0,"offset":0}"#,
            "\n",
        ),
    )
    .unwrap();
    let check = wavetank(&["check", history.to_str().unwrap(), "--model", "log", "--complete"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stdout).contains("unseen"), "{}", text(&check.stdout));
}

/// Two writes of a register, and then a read; EDN, one map after the other.
fn register(read: &str) -> String {
    let op = |kind: &str, process: u32, f: &str, value: &str| {
        format!("{{:type :{kind}, :process {process}, :f :{f}, :value {value}}}\n")
    };
    let write = |value: &str| op("invoke", 0, "write", value) + &op("ok", 0, "write", value);
    let read = op("invoke", 1, "read", "nil") + &op("ok", 1, "read", read);
    write("1") + &write("2") + &read
}

#[test]
fn a_folder_is_judged_file_by_file() {
    let folder = temporary("histories");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let check = |more: &[&str]| {
        let arguments = [&["check", folder.to_str().unwrap()], more].concat();
        let check = wavetank(&arguments);
        (check.status.code(), text(&check.stdout).to_owned())
    };
    put("a.edn", &register("2"));
    put("b.edn", &format!("[{}]", register("2")));
    let (code, table) = check(&[]);
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("valid") && table.contains("register"), "{table}");
    put("c.jsonl", "{\"type\":\"invoke\"}\n");
    let (code, table) = check(&[]);
    assert_eq!(code, Some(2), "{table}");
    assert!(table.contains("unreadable") && table.contains("c.jsonl:1: expected"), "{table}");
    put("d.edn", &register("1"));
    let page = temporary("page.html");
    let (code, table) = check(&["--html", page.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("not-linearizable 1"), "{table}");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    let (code, list) = check(&["--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((code, list.as_array().map(Vec::len)), (Some(1), Some(4)));
}
