//! An explanation as one page: operations as bars on lanes, points in them, and arrows for what
//! follows from what. Checkers express what they found in these neutral terms.
//!
//! ```
//! use wavetank_linearizability::page::{Bar, Edge, Page, Section, Tone};
//!
//! let bar = |lane, start, end, label: &str| {
//!     let label = label.to_owned();
//!     Bar { lane, start, end: Some(end), label, ..Bar::default() }
//! };
//! let section = Section {
//!     heading: "Write skew".into(),
//!     text: vec!["Each missed what the other wrote.".into()],
//!     lanes: vec!["process 1".into(), "process 2".into()],
//!     bars: vec![bar(0, 1, 3, "read x, write y"), bar(1, 2, 4, "read y, write x")],
//!     edges: vec![
//!         Edge { from: 0, to: 1, label: "rw".into(), tone: Tone::Bad, ..Edge::default() },
//!         Edge { from: 1, to: 0, label: "rw".into(), tone: Tone::Bad, ..Edge::default() },
//!     ],
//!     ..Section::default()
//! };
//! let page = Page { title: "invalid".into(), subtitle: "2 operations".into(), sections: vec![section] };
//! let html = page.html(); // one file, no scripts, nothing fetched
//! assert!(html.starts_with("<!doctype html>"));
//! ```
//!
//! A page shows what it is given: its maker leaves out what does not help ([`Section::omitted`]
//! says how much). All text is escaped; pages have no scripts.

mod layout;
mod render;

/// What a page shows.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its heading, such as `not linearizable`.
    pub title: String,
    /// One line below: the file, the verdict.
    pub subtitle: String,
    /// The pictures, each with its words.
    pub sections: Vec<Section>,
}

/// One anomaly: words and a picture.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its heading.
    pub heading: String,
    /// What happened, in words; one paragraph each.
    pub text: Vec<String>,
    /// The lanes' names, top down: usually one per process.
    pub lanes: Vec<String>,
    /// Operations.
    pub bars: Vec<Bar>,
    /// Points in bars.
    pub marks: Vec<Mark>,
    /// Arrows between bars.
    pub edges: Vec<Edge>,
    /// Lines of a list below the picture: the order found so far, a legend.
    pub notes: Vec<String>,
    /// How many operations of the history are not shown.
    pub omitted: usize,
}

/// What a bar, mark or edge means, which decides its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As expected: it has a position in the order.
    Good,
    /// Something that should not have happened.
    Bad,
    /// It is unknown whether it happened.
    Unsure,
    /// Part of the explanation, neither good nor bad.
    Note,
}

/// One operation.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// The index of its lane.
    pub lane: usize,
    /// Where it begins; only the order of `start`s and `end`s matters, they are drawn evenly.
    pub start: u64,
    /// Where it ends; `None` if it never did.
    pub end: Option<u64>,
    /// What it is, in a few words.
    pub label: String,
    /// Everything about it, shown on hover and in the table.
    pub detail: String,
    /// Its colour.
    pub tone: Tone,
}

/// A point in a bar: where in the order the operation took effect.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// The index of its bar.
    pub bar: usize,
    /// A word or a number beside it.
    pub label: String,
    /// Its colour.
    pub tone: Tone,
}

/// An arrow between two bars.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// From this bar.
    pub from: usize,
    /// To that one.
    pub to: usize,
    /// A word or two: `rw on x`.
    pub label: String,
    /// What follows from what, in words.
    pub detail: String,
    /// Its colour.
    pub tone: Tone,
}
