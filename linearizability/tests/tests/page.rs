//! Pages: self-contained, and safe whatever a history says.

use wavetank_linearizability::linear::models::{
    Register, RegisterCall, RegisterOp, RegisterOutput,
};
use wavetank_linearizability::linear::{self, Options};
use wavetank_linearizability::page::{Bar, Edge, Mark, Page, Section};
use wavetank_linearizability::{Datum, txn};

use crate::txn_generate::{End, Step, Txn, build};

const EVIL: &str = "</title><script>alert('x')</script>\" onload=\"x\" & \u{202e}\u{0}";

/// Tags of a page, without their attributes' values.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for part in html.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("every < begins a tag");
        tags.push(tag.split('"').step_by(2).collect());
    }
    tags
}

fn assert_sound(html: &str) {
    for tag in tags(html) {
        assert!(!tag.to_lowercase().contains("script"), "{tag}");
        assert!(!tag.contains("onload"), "{tag}");
    }
    // Nothing is fetched.
    for word in ["http:", "https:", "src=", "href=", "@import", "\u{202e}", "\u{0}"] {
        assert!(!html.contains(word), "{word:?}");
    }
    assert!(html.contains("@media (prefers-color-scheme: dark)"));
    assert!(html.contains("default-src 'none'"));
    for tag in ["section", "svg", "g", "table", "details", "ul", "h2", "p"] {
        let count = |tag: &str| html.matches(tag).count();
        let open = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
        assert_eq!(open, count(&format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn all_text_is_escaped() {
    let evil = || EVIL.to_owned();
    let bar = Bar { label: evil(), detail: evil(), end: Some(1), ..Bar::default() };
    let section = Section {
        heading: evil(),
        text: vec![evil()],
        lanes: vec![evil()],
        bars: vec![bar.clone(), Bar { start: 3, end: None, ..bar }],
        marks: vec![Mark { bar: 0, label: evil(), ..Mark::default() }],
        edges: vec![Edge { from: 0, to: 1, label: evil(), detail: evil(), ..Edge::default() }],
        notes: vec![evil()],
        omitted: 3,
    };
    let page = Page { title: evil(), subtitle: evil(), sections: vec![section] };
    let html = page.html();
    assert_sound(&html);
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload"));
    assert!(html.contains("3 operations are not shown"));
    assert_eq!(html, page.html());
}

#[test]
fn a_page_of_nothing() {
    assert_sound(&Page::default().html());
    let missing = Section {
        edges: vec![Edge { from: 7, to: 9, ..Edge::default() }],
        marks: vec![Mark { bar: 7, ..Mark::default() }],
        bars: vec![Bar { lane: 5, ..Bar::default() }],
        ..Section::default()
    };
    assert_sound(&Page { sections: vec![missing], ..Page::default() }.html());
}

fn register(call: RegisterCall) -> RegisterOp {
    RegisterOp { key: EVIL.into(), call }
}

#[test]
fn a_judgement_is_cut_to_what_shows_the_anomaly() {
    let mut history = linear::History::new();
    for round in 0..500 {
        let write = history.invoke(1, round, register(RegisterCall::Write((round as i64).into())));
        let read = history.invoke(2, round, register(RegisterCall::Read));
        history.returned(write, round, RegisterOutput::Done);
        history.returned(read, round, RegisterOutput::Value((round as i64).into()));
    }
    let model = Register::default();
    let judged = linear::check(&model, history.operations(), &Options::default()).unwrap();
    let valid = linear::page(&model, history.operations(), &judged, "valid");
    assert_eq!(valid.title, "Linearizable");
    assert_eq!(valid.sections[0].bars.len(), 60);
    assert_eq!(valid.sections[0].omitted, 940);
    assert_sound(&valid.html());

    let stale = history.invoke(3, 600, register(RegisterCall::Read));
    history.returned(stale, 601, RegisterOutput::Value(498.into()));
    let judged = linear::check(&model, history.operations(), &Options::default()).unwrap();
    let page = linear::page(&model, history.operations(), &judged, EVIL);
    assert_eq!(page.title, "Not linearizable");
    let section = &page.sections[0];
    let labels: Vec<&str> = section.bars.iter().map(|bar| bar.label.as_str()).collect();
    assert!(section.bars.len() <= 7, "{labels:?}");
    let reads = labels.iter().filter(|label| label.starts_with("read")).count();
    assert_eq!(reads, 1, "the reads that fit do not matter: {labels:?}");
    assert!(labels.last().is_some_and(|label| label.ends_with(": 498")), "{labels:?}");
    assert_eq!(section.bars.len() + section.omitted, 1001);
    assert_sound(&page.html());
}

#[test]
fn a_cycle_is_drawn() {
    let txn = |process, begun, steps: [Step; 2]| Txn {
        process,
        begun,
        ended: begun + 2,
        end: End::Commit,
        steps: steps.into(),
    };
    let read = |key| Step::Read { key, list: Some(vec![]) };
    let append = |key| Step::Append { key, element: 1 };
    let txns = [txn(1, 0, [read(0), append(1)]), txn(2, 1, [read(1), append(0)])];
    let history = build(&txns).0;
    let judged = txn::check(&history, &txn::Options::default()).unwrap();
    let page = txn::page(&history, &judged, "two");
    assert_eq!(page.sections.len(), 1);
    let section = &page.sections[0];
    assert_eq!(section.heading, "G2-item");
    assert_eq!(section.bars.len(), 2);
    let edges: Vec<(usize, usize, &str)> =
        section.edges.iter().map(|edge| (edge.from, edge.to, edge.label.as_str())).collect();
    assert!(edges.contains(&(0, 1, "rw")) && edges.contains(&(1, 0, "rw")), "{edges:?}");
    assert_eq!(section.notes.len(), 2);
    assert_sound(&page.html());

    let options = txn::Options::of(txn::Level::SnapshotIsolation);
    let judged = txn::check(&history, &options).unwrap();
    let page = txn::page(&history, &judged, "two");
    assert_eq!(page.sections[0].heading, "G2-item (allowed)");
}

#[test]
fn names_from_a_history_are_escaped() {
    let mut history = txn::History::new();
    let key = history.key(Datum::from(EVIL));
    let element = history.element(EVIL);
    let steps = [txn::Mop::Read { key, list: Some(&[element]) }];
    let id = history.begin(1, 0, &steps);
    history.commit(id, 1, &steps);
    let judged = txn::check(&history, &txn::Options::default()).unwrap();
    assert_eq!(judged.verdict.count("garbage-read"), 1);
    assert_sound(&txn::page(&history, &judged, "one").html());
}
