//! An explanation as one page: operations as bars on lanes, what happened at which point, what
//! follows from what. What a checker found is told in these neutral terms.

/// What a page shows.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its heading: `not linearizable`.
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
    /// What happened, in words; a paragraph each.
    pub text: Vec<String>,
    /// The lanes' names, top down: usually one a process.
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
    /// As it should be: it has its place in the order.
    Good,
    /// What should not be.
    Bad,
    /// Nobody knows whether it happened.
    Unsure,
    /// Part of the explanation, neither good nor bad.
    Note,
}

/// One operation.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// Which lane.
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
    /// Which bar.
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
