//! Judges whether the lines that came back are those that the client was promised. Knows nothing of
//! brokers.

use std::collections::BTreeMap;

use crate::client::{Line, Sent};

/// The judgement of one run.
pub struct Verdict {
    pub acknowledged: usize,
    pub refused: usize,
    /// Extra occurrences of lines that came back more than once.
    pub duplicates: usize,
    /// Broken promises.
    pub broken: Vec<String>,
}

/// Checks that every acknowledged line is there, at the offset in its acknowledgement; that first
/// occurrences are in the order of sending; and that nothing comes back that was not sent.
pub fn judge(sent: &[Sent], read: &[Line]) -> Verdict {
    let mut verdict = Verdict {
        acknowledged: sent.iter().filter(|sent| sent.offset.is_some()).count(),
        refused: sent.iter().filter(|sent| sent.offset.is_none()).count(),
        duplicates: 0,
        broken: Vec::new(),
    };
    let mut first: BTreeMap<u32, i64> = BTreeMap::new();
    let mut at: BTreeMap<i64, u32> = BTreeMap::new();
    let mut last_first: Option<u32> = None;
    for line in read {
        at.insert(line.offset, line.number);
        if line.number as usize >= sent.len() {
            verdict.broken.push(format!("line {} was never sent", line.number));
        } else if first.contains_key(&line.number) {
            verdict.duplicates += 1;
        } else {
            first.insert(line.number, line.offset);
            if let Some(last) = last_first.filter(|last| *last > line.number) {
                verdict.broken.push(format!(
                    "line {} first comes back at offset {}, after line {last}",
                    line.number, line.offset
                ));
            }
            last_first = Some(line.number);
        }
    }
    for (number, sent) in sent.iter().enumerate() {
        let Some(offset) = sent.offset else { continue };
        if !first.contains_key(&(number as u32)) {
            verdict.broken.push(format!("line {number} was acknowledged but is lost"));
        } else if at.get(&offset) != Some(&(number as u32)) {
            verdict.broken.push(format!(
                "line {number} was acknowledged at offset {offset}, which holds {:?}",
                at.get(&offset)
            ));
        }
    }
    let more = verdict.broken.len().saturating_sub(10);
    verdict.broken.truncate(10);
    if more > 0 {
        verdict.broken.push(format!("and {more} more"));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(offsets: &[Option<i64>]) -> Vec<Sent> {
        offsets.iter().map(|offset| Sent { offset: *offset }).collect()
    }

    fn read(numbers: &[u32]) -> Vec<Line> {
        let line =
            |(offset, number): (usize, &u32)| Line { offset: offset as i64, number: *number };
        numbers.iter().enumerate().map(line).collect()
    }

    #[test]
    fn duplicates_are_counted_and_allowed() {
        let verdict = judge(&sent(&[Some(0), Some(3), Some(4)]), &read(&[0, 1, 0, 1, 2]));
        assert!(verdict.broken.is_empty(), "{:?}", verdict.broken);
        assert_eq!((verdict.acknowledged, verdict.duplicates), (3, 2));
    }

    #[test]
    fn each_broken_promise_is_named() {
        let cases: [(&[Option<i64>], &[u32], &str); 4] = [
            (&[Some(0), Some(1)], &[0], "line 1 was acknowledged but is lost"),
            (&[None, Some(0)], &[1, 0], "line 0 first comes back at offset 1, after line 1"),
            (&[Some(0)], &[0, 7], "line 7 was never sent"),
            (&[Some(0), Some(2)], &[0, 1, 0], "line 1 was acknowledged at offset 2"),
        ];
        for (offsets, numbers, expected) in cases {
            let broken = judge(&sent(offsets), &read(numbers)).broken;
            assert!(broken.iter().any(|text| text.contains(expected)), "{expected}: {broken:?}");
        }
    }

    #[test]
    fn an_unacknowledged_line_may_be_missing() {
        let verdict = judge(&sent(&[Some(0), None]), &read(&[0]));
        assert!(verdict.broken.is_empty());
        assert_eq!(verdict.refused, 1);
    }
}
