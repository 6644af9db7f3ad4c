//! Running a model: breadth first, on one thread, to the end or to the first property that fails.
//!
//! What does not live here: any protocol.

use std::fmt::Display;
use std::hash::Hash;
use std::net::SocketAddr;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{Happening, Happens};

/// How far a model is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// Small: a few seconds for all models together, even in a debug build.
    Small,
    /// What the report's table shows.
    Full,
    /// Larger than that: minutes.
    Large,
}

/// One step of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What happened, in the protocol's terms.
    pub action: String,
    /// The same as data, to reproduce it elsewhere.
    pub happening: Happening,
    /// The state after it, for reading.
    pub state: String,
}

/// The result of an exploration.
#[derive(Clone, Debug)]
pub struct Report {
    /// Generated states, duplicates included.
    pub generated: u64,
    /// Unique states.
    pub unique: u64,
    /// Steps to the furthest state.
    pub depth: usize,
    /// Wall time.
    pub seconds: f64,
    /// Size of a state in memory, in bytes; `None` if the state points to more memory, as the
    /// core's own components do.
    pub state_bytes: Option<usize>,
    /// The property that fails and a shortest path to it; `None` if all hold in every state.
    pub counterexample: Option<(String, Vec<Step>)>,
    /// For a wrong variant: the result of the correct protocol in the same bounds, as deep as the
    /// counterexample. Without it, the failure could be due to the bounds rather than to the rule.
    pub control: Option<Control>,
    /// Only states at most this many steps away were checked; `None` if all were.
    pub limit: Option<usize>,
}

/// The correct protocol, explored as far as the failure of a wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Unique states found: all states no further away than the end of the counterexample, each
    /// checked, and their successors.
    pub unique: u64,
    /// The property that fails even so, if any: the counterexample then says nothing about the
    /// rule.
    pub broken: Option<String>,
}

/// Explores `model` breadth first on one thread, so that a counterexample is a shortest one. If
/// there is one, also explores `right`, which differs only in the rule, to the same depth.
///
/// The figures are from the first search. That search ends a few states after the first failure,
/// and stateright keeps the *last* path that it has seen for a property. So the search is repeated
/// for a shorter path until there is none.
pub fn run<M>(model: M, right: Option<M>) -> Report
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Display + Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Display + Happens + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
{
    run_to(model, right, None)
}

/// The same for states at most `limit` steps away, for models that no machine explores
/// exhaustively.
pub fn run_to<M>(model: M, right: Option<M>, limit: Option<usize>) -> Report
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Display + Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Display + Happens + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
{
    let start = Instant::now();
    let mut checker = model.clone().checker().finish_when(HasDiscoveries::Any);
    if let Some(steps) = limit {
        checker = checker.target_max_depth(depth_of(steps));
    }
    let checker = checker.spawn_bfs().join();
    let seconds = start.elapsed().as_secs_f64();
    let mut shortest = None;
    let mut found = checker.discoveries();
    while !found.is_empty() {
        let found_now = found.drain().map(|(name, path)| (path.into_vec(), name));
        let best = found_now.min_by_key(|(path, name)| (path.len(), *name));
        let (path, property) = best.expect("something was found");
        let only_shorter = path.len();
        shortest = Some((property.to_owned(), steps(path)));
        // States at the target depth are not checked.
        let checker = model.clone().checker().target_max_depth(only_shorter);
        found = checker.finish_when(HasDiscoveries::Any).spawn_bfs().join().discoveries();
    }
    let control = match (&shortest, right) {
        (Some((_, steps)), Some(right)) => Some(control(right, steps.len())),
        (Some(_) | None, _) => None,
    };
    Report {
        generated: checker.state_count() as u64,
        unique: checker.unique_state_count() as u64,
        depth: checker.max_depth(),
        seconds,
        state_bytes: (!std::mem::needs_drop::<M::State>()).then_some(size_of::<M::State>()),
        counterexample: shortest,
        control,
        limit,
    }
}

/// stateright's target depth for checking all states at most `steps` steps away: the first state
/// has depth 1, and states at the target depth are not checked.
fn depth_of(steps: usize) -> usize {
    steps + 2
}

/// Explores every state at most `steps` steps away.
fn control<M>(right: M, steps: usize) -> Control
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
{
    let checker = right.checker().target_max_depth(depth_of(steps));
    let checker = checker.finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let broken = checker.discoveries().keys().min().map(|property| (*property).to_owned());
    Control { unique: checker.unique_state_count() as u64, broken }
}

/// The steps of a path, which is a list of states, each with the action that leaves it.
fn steps<S: Display, A: Display + Happens>(path: Vec<(S, Option<A>)>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before: Option<A> = None;
    for (state, action) in path {
        if let Some(action) = before {
            steps.push(Step {
                action: action.to_string(),
                happening: action.happening(),
                state: state.to_string(),
            });
        }
        before = action;
    }
    steps
}

/// Serves stateright's explorer for `model` at `address`, until the process ends.
pub fn explore<M>(model: M, address: SocketAddr)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
{
    model.checker().serve(address);
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::Property;

    /// Counts by ones up to a limit; the wrong variant also counts by twos.
    #[derive(Clone, Debug)]
    struct Counts {
        by_twos: bool,
        never: u8,
    }

    #[derive(Clone, Debug, PartialEq)]
    struct By(u8);

    impl Display for By {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "by {}", self.0)
        }
    }

    impl Happens for By {
        fn happening(&self) -> Happening {
            Happening::Itself
        }
    }

    impl Model for Counts {
        type State = u8;
        type Action = By;

        fn init_states(&self) -> Vec<u8> {
            vec![0]
        }

        fn actions(&self, _: &u8, actions: &mut Vec<By>) {
            actions.push(By(1));
            actions.extend(self.by_twos.then_some(By(2)));
        }

        fn next_state(&self, count: &u8, By(by): By) -> Option<u8> {
            (count + by < 20).then_some(count + by)
        }

        fn properties(&self) -> Vec<Property<Counts>> {
            vec![Property::always("below", |model: &Counts, count: &u8| *count < model.never)]
        }
    }

    #[test]
    fn the_right_one_is_looked_at_as_far_as_the_counterexample_and_no_further() {
        let right = Counts { by_twos: false, never: 8 };
        let report = run(Counts { by_twos: true, never: 8 }, Some(right.clone()));
        let (property, steps) = report.counterexample.expect("2, 4, 6, 8");
        assert_eq!((property.as_str(), steps.len()), ("below", 4));
        // 0 to 4 take four steps, and 5 is the successor of 4. The correct one would reach 8 in
        // eight steps, which is deeper than the control looks.
        assert_eq!(report.control, Some(Control { unique: 6, broken: None }));
        assert_eq!(run(right, None).control, None);
    }

    #[test]
    fn a_property_that_the_right_one_breaks_as_soon_is_told() {
        let wrong = Counts { by_twos: false, never: 3 };
        let report = run(wrong.clone(), Some(wrong));
        assert_eq!(report.control.expect("3 steps").broken.as_deref(), Some("below"));
    }
}
