//! The page as HTML with pictures in SVG. Every text from outside goes through [`escape`].

use std::fmt::Write as _;

use super::layout::{Arrow, BAR, Layout};
use super::{Edge, Page, Section, Tone};

/// Colours by theme; their contrast with the background is at least 4.5 to 1 where they carry text.
const STYLE: &str = "
:root { color-scheme: light dark;
  --ground: #ffffff; --panel: #f6f7f9; --line: #d5d9e0; --text: #1c2430; --soft: #586273;
  --plain: #e3e7ee; --plain-edge: #8b95a5; --good: #d8eedd; --good-edge: #2f7d46;
  --bad: #fbdcd9; --bad-edge: #b3261e; --unsure: #fbeecb; --unsure-edge: #8a6100;
  --note: #dbe8fb; --note-edge: #2457a6; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14181f; --panel: #1b212b; --line: #343d4b; --text: #e6eaf0; --soft: #a3adbb;
  --plain: #2b3442; --plain-edge: #7c8798; --good: #1d3b28; --good-edge: #6fcf8b;
  --bad: #4a1d1b; --bad-edge: #ff8a80; --unsure: #453815; --unsure-edge: #e3b341;
  --note: #1c3357; --note-edge: #7db0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 78rem; background: var(--ground);
  color: var(--text); font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 75ch; overflow-wrap: anywhere; }
.subtitle, .omitted { color: var(--soft); }
.picture { overflow-x: auto; margin: 1rem 0; background: var(--panel);
  border: 1px solid var(--line); border-radius: 8px; }
svg { display: block; }
svg text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  fill: var(--text); }
svg .lane { fill: var(--soft); }
svg .mark-label { font-size: 11px; fill: var(--soft); text-anchor: middle; }
svg .row { stroke: var(--line); stroke-dasharray: 2 4; }
svg .order { fill: none; stroke: var(--good-edge); stroke-width: 1; opacity: .45; }
svg .arrow { fill: none; stroke-width: 1.8; }
svg .plate { fill: var(--panel); stroke-width: 1; }
ul { margin: .5rem 0; padding-left: 1.6rem; }
.notes { padding: 0; list-style: none; }
li { margin: .15rem 0; max-width: 90ch; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .5rem 0; padding: 0;
  list-style: none; color: var(--soft); font-size: .875rem; }
.legend i { display: inline-block; width: 1.1rem; height: .75rem; margin-right: .4rem;
  border: 1.5px solid; border-radius: 3px; vertical-align: -1px; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--soft); }
table { border-collapse: collapse; margin-top: .5rem; font-size: .875rem; }
td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; }
";

const TONES: [(Tone, &str, &str); 5] = [
    (Tone::Good, "good", "placed in the order"),
    (Tone::Bad, "bad", "anomalous"),
    (Tone::Unsure, "unsure", "outcome unknown"),
    (Tone::Note, "note", "part of the explanation"),
    (Tone::Plain, "plain", "context"),
];

fn class(tone: Tone) -> &'static str {
    TONES.iter().find(|known| known.0 == tone).map_or("plain", |known| known.1)
}

/// Text that means nothing to a browser: no markup, no control characters, nothing that changes the
/// direction of what follows.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                safe.push('\u{fffd}');
            }
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

impl Page {
    /// The page as one file: no scripts, and nothing is fetched.
    pub fn html(&self) -> String {
        let mut html =
            String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
        html.push_str(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        );
        let (title, subtitle) = (escape(&self.title), escape(&self.subtitle));
        push(&mut html, format_args!("<title>{title}</title>\n<style>{STYLE}</style>\n"));
        push(&mut html, format_args!("<h1>{title}</h1>\n<p class=\"subtitle\">{subtitle}</p>\n"));
        for (index, section) in self.sections.iter().enumerate() {
            section.html(index, &mut html);
        }
        html
    }
}

fn push(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a string takes all text");
}

impl Section {
    fn html(&self, number: usize, html: &mut String) {
        push(html, format_args!("<section>\n<h2>{}</h2>\n", escape(&self.heading)));
        for paragraph in &self.text {
            push(html, format_args!("<p>{}</p>\n", escape(paragraph)));
        }
        if !self.bars.is_empty() {
            self.picture(number, html);
            self.legend(html);
        }
        if self.omitted > 0 {
            let omitted = self.omitted;
            push(
                html,
                format_args!("<p class=\"omitted\">{omitted} operations are not shown.</p>\n"),
            );
        }
        if !self.notes.is_empty() {
            html.push_str("<ul class=\"notes\">\n");
            for note in &self.notes {
                push(html, format_args!("<li>{}</li>\n", escape(note)));
            }
            html.push_str("</ul>\n");
        }
        if !self.bars.is_empty() {
            self.table(html);
        }
        html.push_str("</section>\n");
    }

    fn picture(&self, number: usize, html: &mut String) {
        let layout = Layout::new(self);
        let (width, height) = (layout.width, layout.height);
        push(
            html,
            format_args!(
                "<div class=\"picture\"><svg width=\"{width:.0}\" height=\"{height:.0}\" \
                 viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">\n<defs>\n",
                escape(&self.heading)
            ),
        );
        for (_, tone, _) in TONES {
            push(
                html,
                format_args!(
                    "<marker id=\"head-{number}-{tone}\" viewBox=\"0 0 10 10\" refX=\"9\" \
                     refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" \
                     markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L10 5L0 10z\" \
                     style=\"fill: var(--{tone}-edge)\"/></marker>\n"
                ),
            );
        }
        html.push_str("</defs>\n");
        for (name, top, height) in &layout.lanes {
            let middle = top + height / 2.0;
            push(
                html,
                format_args!(
                    "<line class=\"row\" x1=\"{:.1}\" x2=\"{width:.1}\" y1=\"{middle:.1}\" \
                     y2=\"{middle:.1}\"/><text class=\"lane\" x=\"12\" y=\"{:.1}\">{}</text>\n",
                    layout.left,
                    middle + 4.0,
                    escape(name)
                ),
            );
        }
        // Lines go behind bars, so that they cross no text.
        self.draw_order(&layout, html);
        self.draw_arrows(number, &layout, html);
        self.draw_bars(&layout, html);
        self.draw_marks(&layout, html);
        self.draw_arrow_labels(&layout, html);
        html.push_str("</svg></div>\n");
    }

    fn draw_bars(&self, layout: &Layout, html: &mut String) {
        for ((bar, place), label) in self.bars.iter().zip(&layout.bars).zip(&layout.labels) {
            let tone = class(bar.tone);
            let dashed = if bar.end.is_none() { " stroke-dasharray=\"5 3\"" } else { "" };
            push(
                html,
                format_args!(
                    "<g><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                     height=\"{BAR:.0}\" rx=\"5\" style=\"fill: var(--{tone}); stroke: \
                     var(--{tone}-edge)\" stroke-width=\"1.5\"{dashed}/>\
                     <text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>\n",
                    escape(if bar.detail.is_empty() { &bar.label } else { &bar.detail }),
                    place.x,
                    place.y,
                    place.width,
                    place.x + 9.0,
                    place.y + BAR / 2.0 + 4.0,
                    escape(label),
                ),
            );
        }
    }

    fn draw_order(&self, layout: &Layout, html: &mut String) {
        let points: Vec<String> = self
            .marks
            .iter()
            .zip(&layout.marks)
            .filter(|(mark, _)| mark.bar < layout.bars.len())
            .map(|(_, (x, y))| format!("{x:.1},{y:.1}"))
            .collect();
        if points.len() > 1 {
            push(
                html,
                format_args!("<polyline class=\"order\" points=\"{}\"/>\n", points.join(" ")),
            );
        }
    }

    fn draw_marks(&self, layout: &Layout, html: &mut String) {
        let known = |mark: &super::Mark| mark.bar < layout.bars.len();
        for (mark, (x, y)) in self.marks.iter().zip(&layout.marks).filter(|(mark, _)| known(mark)) {
            let (tone, label) = (class(mark.tone), escape(&mark.label));
            push(
                html,
                format_args!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" style=\"fill: var(--{tone}-edge)\"/>\
                     <text class=\"mark-label\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>\n",
                    y - 7.0
                ),
            );
        }
    }

    fn arrows<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = (&'a Edge, &'a Arrow)> {
        let known = |edge: &&Edge| edge.from.max(edge.to) < layout.bars.len();
        self.edges.iter().filter(known).zip(&layout.arrows)
    }

    fn draw_arrows(&self, number: usize, layout: &Layout, html: &mut String) {
        for (edge, arrow) in self.arrows(layout) {
            let tone = class(edge.tone);
            let [a, b, c, d] = arrow.curve.map(|(x, y)| format!("{x:.1} {y:.1}"));
            push(
                html,
                format_args!(
                    "<path class=\"arrow\" d=\"M{a}C{b} {c} {d}\" style=\"stroke: \
                     var(--{tone}-edge)\" marker-end=\"url(#head-{number}-{tone})\"><title>{}\
                     </title></path>\n",
                    escape(&edge.detail)
                ),
            );
        }
    }

    fn draw_arrow_labels(&self, layout: &Layout, html: &mut String) {
        for (edge, arrow) in self.arrows(layout).filter(|(_, arrow)| !arrow.label.is_empty()) {
            let (tone, at) = (class(edge.tone), arrow.at);
            push(
                html,
                format_args!(
                    "<g><title>{}</title><rect class=\"plate\" x=\"{:.1}\" y=\"{:.1}\" \
                     width=\"{:.1}\" height=\"{:.1}\" rx=\"4\" style=\"stroke: \
                     var(--{tone}-edge)\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>\n",
                    escape(&edge.detail),
                    at.x,
                    at.y,
                    at.width,
                    at.height,
                    at.x + 5.0,
                    at.y + 12.5,
                    escape(&arrow.label)
                ),
            );
        }
    }

    fn legend(&self, html: &mut String) {
        let tones = || self.bars.iter().map(|bar| bar.tone);
        html.push_str("<ul class=\"legend\">");
        for (tone, name, meaning) in TONES {
            if tones().any(|other| other == tone) {
                push(
                    html,
                    format_args!(
                        "<li><i style=\"background: var(--{name}); border-color: \
                         var(--{name}-edge)\"></i>{meaning}</li>"
                    ),
                );
            }
        }
        if self.bars.iter().any(|bar| bar.end.is_none()) {
            html.push_str(
                "<li><i style=\"border-color: var(--soft); border-style: dashed\"></i>never \
                 answered</li>",
            );
        }
        html.push_str("</ul>\n");
    }

    fn table(&self, html: &mut String) {
        html.push_str(
            "<details><summary>The operations as a table</summary><table>\n\
             <tr><th>by</th><th>operation</th><th></th></tr>\n",
        );
        for bar in &self.bars {
            let lane = self.lanes.get(bar.lane).map_or("", |lane| lane);
            push(
                html,
                format_args!(
                    "<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    escape(lane),
                    escape(&bar.label),
                    escape(&bar.detail)
                ),
            );
        }
        html.push_str("</table></details>\n");
    }
}
