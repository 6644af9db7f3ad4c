//! What a hunt must have tested to be green. An empty run proves nothing.
//!
//! A run's operation is *compared* when its outcome came back and was checked against what was
//! promised: an acknowledgement, a read, an answered query. Faults count by whether they fired, and
//! by whether they took effect ([`FaultKind::BITES`]). Marks count by whether any seed reached
//! them.
//!
//! What does not live here: what makes one run weak ([`crate::run`]), that is, a run that holds but
//! tested too little, and which promises were broken.

use crate::hunt::HuntReport;
use crate::marks::Mark;
use crate::plan::FaultKind;

/// The least that a hunt must have tested. The default is that it tested anything at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// The least number of operations compared with what was promised. 0 counts as 1.
    pub operations: u64,
    /// The least number of faults that struck. `None`: one, if the plans had any, or if kinds were
    /// asked for.
    pub faults: Option<u64>,
    /// Kinds of which a fault must have taken effect ([`FaultKind::NAMES`]).
    pub bit: Vec<String>,
    /// Marks that a seed must have reached ([`Mark::name`]).
    pub marks: Vec<String>,
}

impl Gates {
    /// Parses `ops=1000,faults=10,marks=all,bit=partition`. `marks` and `bit` may be repeated.
    /// `marks=all` is every mark, `bit=all` every kind.
    ///
    /// # Errors
    /// Says which part cannot be parsed, and what is valid.
    pub fn parse(text: &str) -> Result<Gates, String> {
        let mut gates = Gates::default();
        for part in text.split(',').map(str::trim) {
            let Some((gate, value)) = part.split_once('=') else {
                return Err(format!(
                    "{part:?} is not a gate; write ops=N, faults=N, marks=NAME or bit=KIND"
                ));
            };
            let number = || match value.parse() {
                Ok(number @ 1..) => Ok(number),
                Ok(0) | Err(_) => {
                    Err(format!("{gate}={value:?}: write a whole number from 1 to {}", u64::MAX))
                }
            };
            match gate {
                "ops" => gates.operations = number()?,
                "faults" => gates.faults = Some(number()?),
                "marks" => {
                    let known: Vec<&str> = Mark::ALL.iter().map(|mark| mark.name()).collect();
                    named(value, "mark", &known, &mut gates.marks)?;
                }
                "bit" => named(value, "kind of fault", FaultKind::NAMES, &mut gates.bit)?,
                _ => {
                    return Err(format!("{gate:?} is not a gate; known: ops, faults, marks, bit"));
                }
            }
        }
        Ok(gates)
    }

    /// What is missing, one sentence each. Empty if the hunt tested enough. `asked`: only some
    /// kinds of faults were to be drawn.
    pub fn missed(&self, report: &HuntReport, asked: bool) -> Vec<String> {
        let mut missed = Vec::new();
        if report.seeds == 0 {
            return vec!["no seed was run".into()];
        }
        let (compared, least) = (report.compared, self.operations.max(1));
        if compared == 0 {
            missed.push(
                "nothing was compared: no client got an acknowledgement, read a record or had a \
                 query answered"
                    .to_owned(),
            );
        } else if compared < least {
            missed.push(format!("{compared} operations were compared; {least} are required"));
        }
        let counts = report.faults_by_kind.values();
        let (planned, fired) = counts
            .fold((0, 0), |(planned, fired), kind| (planned + kind.planned, fired + kind.fired));
        let least = self.faults.unwrap_or(u64::from(planned > 0 || asked));
        if fired < least {
            missed.push(match (planned, fired) {
                (0, _) => format!(
                    "no plan of these seeds has a fault{}; at least {least} must strike",
                    if asked { " of the requested kinds" } else { "" }
                ),
                (_, 0) => format!(
                    "none of {planned} planned faults struck: their triggers did not occur, or \
                     their targets did not exist"
                ),
                _ => format!("{fired} of {planned} planned faults struck; {least} are required"),
            });
        }
        for kind in &self.bit {
            let counts = report.faults_by_kind.get(kind).copied().unwrap_or_default();
            if counts.bit == 0 {
                let bites = FaultKind::BITES.iter().find(|(name, _)| name == kind);
                missed.push(format!(
                    "no {kind} took effect ({} planned, {} fired); it takes effect when {}",
                    counts.planned,
                    counts.fired,
                    bites.map_or("", |(_, bites)| bites)
                ));
            }
        }
        for mark in self.marks.iter().filter(|mark| !report.marks.contains_key(*mark)) {
            missed.push(format!("the mark {mark} was reached by none of {} seeds", report.seeds));
        }
        missed
    }
}

fn named(value: &str, what: &str, known: &[&str], to: &mut Vec<String>) -> Result<(), String> {
    if value == "all" {
        to.extend(known.iter().map(|name| (*name).to_owned()));
    } else if known.contains(&value) {
        to.push(value.to_owned());
    } else {
        return Err(format!("there is no {what} {value:?}; known: all, {}", known.join(", ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FaultCounts;

    fn report(compared: u64, partition: FaultCounts) -> HuntReport {
        HuntReport {
            seeds: 3,
            compared,
            faults_by_kind: [("partition".to_owned(), partition)].into(),
            marks: [("leader_change".to_owned(), 2)].into(),
            ..HuntReport::default()
        }
    }

    #[test]
    fn gates_are_read_as_they_are_written() {
        let gates = Gates::parse("ops=1000, faults=10,marks=leader_change,bit=partition,bit=crash");
        let gates = gates.unwrap();
        assert_eq!((gates.operations, gates.faults), (1000, Some(10)));
        assert_eq!(gates.bit, ["partition", "crash"]);
        assert_eq!(Gates::parse("marks=all").unwrap().marks.len(), Mark::ALL.len());
        assert_eq!(Gates::parse("bit=all").unwrap().bit.len(), FaultKind::NAMES.len());
        for (text, part) in [
            ("ops", "\"ops\" is not a gate"),
            ("ops=0", "from 1"),
            ("ops=99999999999999999999", "from 1 to 18446744073709551615"),
            ("opps=3", "\"opps\" is not a gate"),
            ("bit=earthquake", "known: all, crash"),
            ("marks=eclipse", "known: all, leader_change"),
        ] {
            let error = Gates::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_hunt_is_never_enough() {
        let gates = Gates::default();
        assert_eq!(gates.missed(&HuntReport::default(), false), ["no seed was run"]);
        let fired = FaultCounts { planned: 5, fired: 1, bit: 0 };
        assert!(gates.missed(&report(9, fired), false).is_empty());
        assert!(gates.missed(&report(0, fired), false)[0].contains("nothing was compared"));
        let never = FaultCounts { planned: 5, fired: 0, bit: 0 };
        assert!(gates.missed(&report(9, never), false)[0].contains("none of 5 planned"));
        // A profile without faults may have none, but not if kinds of faults were asked for.
        let none = FaultCounts::default();
        assert!(gates.missed(&report(9, none), false).is_empty());
        assert!(gates.missed(&report(9, none), true)[0].contains("requested kinds"));
    }

    #[test]
    fn what_is_required_and_missing_is_said() {
        let missed = |text: &str| {
            let fired = FaultCounts { planned: 5, fired: 4, bit: 0 };
            Gates::parse(text).unwrap().missed(&report(9, fired), false)
        };
        assert!(missed("ops=9,faults=4,marks=leader_change").is_empty());
        assert_eq!(missed("ops=10"), ["9 operations were compared; 10 are required"]);
        assert_eq!(missed("faults=5"), ["4 of 5 planned faults struck; 5 are required"]);
        assert!(missed("bit=partition")[0].starts_with("no partition took effect (5 planned, 4"));
        assert!(missed("marks=isr_shrink")[0].contains("isr_shrink was reached by none of 3"));
    }
}
