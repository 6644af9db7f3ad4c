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
    /// Small: some seconds for all models together, in a debug build too.
    Small,
    /// What the report's table shows.
    Full,
    /// The next larger: minutes.
    Large,
}

/// One step of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What happened, in the protocol's words.
    pub action: String,
    /// The same, for whoever wants to make it happen elsewhere.
    pub happening: Happening,
    /// The state after it, for reading.
    pub state: String,
}

/// What exploring came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// States that were generated, doubles included.
    pub generated: u64,
    /// Different states.
    pub unique: u64,
    /// Steps to the state that is furthest away.
    pub depth: usize,
    /// Wall time.
    pub seconds: f64,
    /// Size of a state in memory, in bytes; states hold no pointers.
    pub state_bytes: usize,
    /// The property that fails and a shortest way there; `None` if all hold in every state.
    pub counterexample: Option<(String, Vec<Step>)>,
}

/// Explores `model`, breadth first on one thread, so that a counterexample is a shortest one.
///
/// The figures are those of the first search. It ends some states after the first that fails, and
/// stateright keeps the *last* path that it has seen for a property: so the search is repeated for
/// a shorter one, until there is none.
pub fn run<M>(model: M) -> Report
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Display + Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
    M::Action: Display + Happens + Send + Sync + Clone + PartialEq + std::fmt::Debug + 'static,
{
    let start = Instant::now();
    let checker = model.clone().checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let seconds = start.elapsed().as_secs_f64();
    let mut shortest = None;
    let mut found = checker.discoveries();
    while !found.is_empty() {
        let found_now = found.drain().map(|(name, path)| (path.into_vec(), name));
        let best = found_now.min_by_key(|(path, name)| (path.len(), *name));
        let (path, property) = best.expect("something was found");
        let only_shorter = path.len();
        shortest = Some((property.to_owned(), steps(path)));
        // States as far away as this are not looked at.
        let checker = model.clone().checker().target_max_depth(only_shorter);
        found = checker.finish_when(HasDiscoveries::Any).spawn_bfs().join().discoveries();
    }
    Report {
        generated: checker.state_count() as u64,
        unique: checker.unique_state_count() as u64,
        depth: checker.max_depth(),
        seconds,
        state_bytes: size_of::<M::State>(),
        counterexample: shortest,
    }
}

/// A path is states, each with the action that leaves it.
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
