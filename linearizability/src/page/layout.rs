//! Where things go: columns wide enough that every label fits its bar, rows for bars that would
//! overlap in a lane, and labels of arrows in the gaps between rows.

use std::collections::BTreeMap;

use super::{Edge, Section};

/// Width of a character of the pictures' font, in pixels; half that of a wide one.
const CHAR: f64 = 7.3;
/// Longest label, in characters.
const LABEL: usize = 44;
/// Longest name of a lane.
const LANE: usize = 22;
pub(super) const BAR: f64 = 26.0;
const PAD: f64 = 9.0;
const STEP: f64 = 26.0;

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Box {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Box {
    fn overlaps(&self, other: &Box) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// An arrow as a curve, and where its label is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrow {
    /// From, two control points, to.
    pub(super) curve: [(f64, f64); 4],
    pub(super) label: String,
    pub(super) at: Box,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Where lanes' names end.
    pub(super) left: f64,
    /// Name, top, height of each lane.
    pub(super) lanes: Vec<(String, f64, f64)>,
    pub(super) bars: Vec<Box>,
    pub(super) labels: Vec<String>,
    /// The points of marks, in their order.
    pub(super) marks: Vec<(f64, f64)>,
    pub(super) arrows: Vec<Arrow>,
}

/// How wide a text is.
pub(super) fn width(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { CHAR } else { 2.0 * CHAR }).sum()
}

/// The text, cut to at most `longest` characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(longest - 1).collect();
    short.push('…');
    short
}

impl Layout {
    pub(super) fn new(section: &Section) -> Layout {
        let mut layout = Layout {
            labels: section.bars.iter().map(|bar| cut(&bar.label, LABEL)).collect(),
            ..Layout::default()
        };
        let names: Vec<String> = section.lanes.iter().map(|name| cut(name, LANE)).collect();
        layout.left = 24.0 + names.iter().map(|name| width(name)).fold(0.0, f64::max);
        layout.columns(section);
        layout.rows(section, names);
        layout.place_marks(section);
        layout.place_arrows(section);
        let bars = layout.bars.iter().map(|bar| bar.x + bar.width);
        let labels = layout.arrows.iter().map(|arrow| arrow.at.x + arrow.at.width);
        layout.width = bars.chain(labels).fold(layout.left, f64::max) + 16.0;
        layout
    }

    /// Every moment gets a column, and each bar as much room as its label needs.
    fn columns(&mut self, section: &Section) {
        let mut moments: BTreeMap<u64, f64> = BTreeMap::new();
        let mut ending: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let last = section.bars.iter().flat_map(|bar| [bar.start, bar.end.unwrap_or(0)]).max();
        let after = last.map_or(0, |last| last.saturating_add(1));
        let ends: Vec<u64> = section
            .bars
            .iter()
            .map(|bar| bar.end.unwrap_or(after).max(bar.start.saturating_add(1)))
            .collect();
        for (index, bar) in section.bars.iter().enumerate() {
            moments.insert(bar.start, 0.0);
            moments.insert(ends[index], 0.0);
            ending.entry(ends[index]).or_default().push(index);
        }
        let mut at = self.left;
        let mut places: BTreeMap<u64, f64> = BTreeMap::new();
        for moment in moments.keys() {
            for index in ending.get(moment).into_iter().flatten() {
                let start = places[&section.bars[*index].start];
                at = at.max(start + width(&self.labels[*index]) + 2.0 * PAD + 10.0);
            }
            places.insert(*moment, at);
            at += STEP;
        }
        for (index, bar) in section.bars.iter().enumerate() {
            let (from, to) = (places[&bar.start], places[&ends[index]]);
            self.bars.push(Box { x: from, y: 0.0, width: to - from - 4.0, height: BAR });
        }
    }

    /// Every lane gets as many rows as it has bars at a time.
    fn rows(&mut self, section: &Section, names: Vec<String>) {
        // Room above a bar for its marks, and for the labels of arrows.
        let above = if section.marks.is_empty() { 8.0 } else { 20.0 };
        let gap = if section.edges.is_empty() { 8.0 } else { 34.0 };
        let mut order: Vec<usize> = (0..self.bars.len()).collect();
        order.sort_by(|a, b| self.bars[*a].x.total_cmp(&self.bars[*b].x));
        let mut top = 6.0 + if section.edges.is_empty() { 0.0 } else { 30.0 };
        for (lane, name) in names.into_iter().enumerate() {
            let mut rows: Vec<f64> = Vec::new();
            let first = top;
            for index in order.iter().filter(|index| section.bars[**index].lane == lane) {
                let bar = &mut self.bars[*index];
                let row = rows.iter().position(|end| *end <= bar.x).unwrap_or(rows.len());
                rows.resize(rows.len().max(row + 1), 0.0);
                rows[row] = bar.x + bar.width;
                bar.y = first + above + row as f64 * (BAR + above);
            }
            let height = rows.len().max(1) as f64 * (BAR + above) + 8.0;
            self.lanes.push((name, first, height));
            top = first + height + gap;
        }
        self.height = top - gap + 12.0;
    }

    /// Each mark lies in its bar, and no earlier than the one before it.
    fn place_marks(&mut self, section: &Section) {
        let mut least = 0.0f64;
        for mark in &section.marks {
            let Some(bar) = self.bars.get(mark.bar) else {
                self.marks.push((0.0, 0.0));
                continue;
            };
            let x = least.max(bar.x + 10.0).min(bar.x + bar.width - 8.0);
            least = least.max(x + 14.0);
            self.marks.push((x, bar.y));
        }
    }

    fn place_arrows(&mut self, section: &Section) {
        // Where along a bar its arrows begin and end, so that none lies on another.
        let mut ends: Vec<Vec<(usize, bool)>> = vec![vec![]; self.bars.len()];
        for (index, edge) in section.edges.iter().enumerate() {
            for (bar, is_start) in [(edge.from, true), (edge.to, false)] {
                if let Some(ends) = ends.get_mut(bar) {
                    ends.push((index, is_start));
                }
            }
        }
        let anchor = |bars: &[Box], bar: usize, end: (usize, bool)| -> f64 {
            let place = ends[bar].iter().position(|other| *other == end).unwrap_or(0);
            let parts = ends[bar].len() + 1;
            bars[bar].x + bars[bar].width * (place + 1) as f64 / parts as f64
        };
        let mut taken: Vec<Box> = Vec::new();
        for (index, edge) in section.edges.iter().enumerate() {
            let known = edge.from < self.bars.len() && edge.to < self.bars.len();
            if !known {
                continue;
            }
            let from = anchor(&self.bars, edge.from, (index, true));
            let to = anchor(&self.bars, edge.to, (index, false));
            let arrow = self.arrow(edge, from, to, &taken);
            taken.push(arrow.at);
            self.arrows.push(arrow);
        }
    }

    fn arrow(&self, edge: &Edge, x1: f64, x2: f64, taken: &[Box]) -> Arrow {
        let (a, b) = (self.bars[edge.from], self.bars[edge.to]);
        let down = b.y > a.y;
        // In one row the arrow goes over the top.
        let (y1, y2) = match (a.y == b.y, down) {
            (true, _) => (a.y, b.y),
            (false, true) => (a.y + a.height, b.y),
            (false, false) => (a.y, b.y + b.height),
        };
        let bend = if a.y == b.y { -44.0 } else { (y2 - y1) * 0.45 };
        let end_bend = if a.y == b.y { -44.0 } else { -bend };
        let curve = [(x1, y1), (x1, y1 + bend), (x2, y2 + end_bend), (x2, y2)];
        let label = cut(&edge.label, LABEL);
        let size = (width(&label) + 10.0, 17.0);
        // The label is in the gap beside the bar where the arrow begins.
        let y = match (a.y == b.y, down) {
            (true, _) | (false, false) => self.gap_above(a.y),
            (false, true) => self.gap_below(a.y),
        };
        let t = if a.y == b.y { 0.5 } else { 0.3 };
        let x = bezier(curve, t).0 - size.0 / 2.0;
        let place = |shift: f64| Box {
            x: (x + shift).max(4.0),
            y: y - size.1 / 2.0,
            width: size.0,
            height: size.1,
        };
        let shifts = (0..40).flat_map(|step| {
            let by = f64::from(step) * 12.0;
            [by, -by]
        });
        let free = |at: &Box| taken.iter().all(|other| !other.overlaps(at));
        let at = shifts.map(place).find(free).unwrap_or_else(|| place(0.0));
        Arrow { curve, label, at }
    }

    /// The middle of the gap above the lane that contains `y`.
    fn gap_above(&self, y: f64) -> f64 {
        let lane = self.lanes.iter().rev().find(|(_, top, _)| *top <= y);
        lane.map_or(y, |(_, top, _)| *top) - 17.0
    }

    fn gap_below(&self, y: f64) -> f64 {
        let lane = self.lanes.iter().rev().find(|(_, top, _)| *top <= y);
        lane.map_or(y, |(_, top, height)| top + height) + 17.0
    }
}

fn bezier(points: [(f64, f64); 4], t: f64) -> (f64, f64) {
    let u = 1.0 - t;
    let weights = [u * u * u, 3.0 * u * u * t, 3.0 * u * t * t, t * t * t];
    let sum = |of: fn(&(f64, f64)) -> f64| {
        points.iter().zip(weights).map(|(point, weight)| of(point) * weight).sum()
    };
    (sum(|point| point.0), sum(|point| point.1))
}

#[cfg(test)]
mod tests {
    use super::super::{Bar, Mark, Tone};
    use super::*;

    /// Many bars of odd lengths and labels, arrows between them, and some to bars that do not
    /// exist.
    fn crowded(seed: u64) -> Section {
        let mut state = seed;
        let mut die = |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % sides
        };
        let bars = (0..40).map(|index| {
            let start = die(60);
            Bar {
                lane: die(6) as usize,
                start,
                end: (die(5) > 0).then(|| start + die(12)),
                label: format!("{index}{}", "日x".repeat(die(30) as usize)),
                detail: String::new(),
                tone: Tone::Plain,
            }
        });
        let bars = bars.collect();
        let edges = (0..12).map(|_| Edge {
            from: die(42) as usize,
            to: die(42) as usize,
            label: "realtime".into(),
            ..Edge::default()
        });
        let edges = edges.collect();
        let marks = (0..30).map(|_| Mark { bar: die(42) as usize, ..Mark::default() });
        let marks = marks.collect();
        let lanes = (0..6).map(|lane| format!("process {lane}")).collect();
        Section { lanes, bars, edges, marks, ..Section::default() }
    }

    #[test]
    fn nothing_lies_on_anything_else() {
        for seed in 0..200 {
            let section = crowded(seed);
            let layout = Layout::new(&section);
            let at = |index: usize| layout.bars[index];
            for one in 0..layout.bars.len() {
                assert!(at(one).width >= width(&layout.labels[one]) + 2.0 * PAD, "seed {seed}");
                assert!(at(one).x >= layout.left && at(one).x + at(one).width <= layout.width);
                assert!(at(one).y >= 0.0 && at(one).y + at(one).height <= layout.height);
                for other in 0..one {
                    assert!(!at(one).overlaps(&at(other)), "seed {seed}: {one} and {other}");
                }
            }
            for (index, arrow) in layout.arrows.iter().enumerate() {
                assert!(layout.bars.iter().all(|bar| !bar.overlaps(&arrow.at)), "seed {seed}");
                let others = &layout.arrows[..index];
                assert!(others.iter().all(|other| !other.at.overlaps(&arrow.at)), "seed {seed}");
            }
            for (mark, (x, y)) in section.marks.iter().zip(&layout.marks) {
                let Some(bar) = layout.bars.get(mark.bar) else { continue };
                assert!(*x >= bar.x && *x <= bar.x + bar.width && *y == bar.y, "seed {seed}");
            }
        }
    }

    #[test]
    fn only_order_matters_and_not_how_long() {
        let mut apart = crowded(1);
        apart.bars.iter_mut().for_each(|bar| bar.end = Some(bar.start + 1));
        let before = Layout::new(&apart).bars;
        apart.bars.iter_mut().for_each(|bar| {
            (bar.start, bar.end) = (bar.start * 10, bar.end.map(|end| end * 10));
        });
        assert_eq!(Layout::new(&apart).bars, before);
    }

    #[test]
    fn long_labels_are_cut() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        let bar = Bar { label: "x".repeat(500), end: Some(1), ..Bar::default() };
        let section = Section { lanes: vec!["p".into()], bars: vec![bar], ..Section::default() };
        assert!(Layout::new(&section).width < 600.0);
    }
}
