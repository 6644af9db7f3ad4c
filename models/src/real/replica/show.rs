//! How steps and states of replicas are printed.

use std::fmt;

use super::{Action, Kept, State, id, members};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Elect { leader, fence: false } => {
                write!(f, "the controller elects {} in a new epoch", leader + 1)
            }
            Action::Elect { leader, fence: true } => {
                write!(f, "the controller fences the leader and elects {}", leader + 1)
            }
            Action::Drop(at) => write!(f, "{} is fenced and leaves the ISR", at + 1),
            Action::Return(at) => write!(f, "{} is unfenced", at + 1),
            Action::Hear(at, epoch) => {
                write!(f, "{} applies the registration of epoch {epoch}", at + 1)
            }
            Action::Append(at) => write!(f, "leader {} appends a record (acks=all)", at + 1),
            Action::Fetch(at) => write!(f, "{} fetches from its leader", at + 1),
            Action::Propose(at) => write!(f, "{} sends its proposal", at + 1),
            Action::Execute { leader, request } => {
                let leader = leader + 1;
                write!(f, "the controller executes request {request}, {leader}'s proposal")
            }
            Action::GiveUp(at) => write!(f, "{} gives up waiting for an answer", at + 1),
            Action::Answered(at) => write!(f, "the controller's answer reaches {}", at + 1),
            Action::Durable(at) => write!(f, "{}'s disk has made durable all it was given", at + 1),
            Action::PowerLoss(at) => write!(f, "{} loses power and starts again", at + 1),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |kept: &[Kept]| {
            let one = |kept: &Kept| format!("{}@e{}", kept.serial, kept.epoch);
            kept.iter().map(one).collect::<Vec<String>>().join(" ")
        };
        let now = self.now();
        let isr: Vec<String> = members(now.isr).map(|at| id(at).to_string()).collect();
        write!(f, "epoch {} of {}, ISR {{{}}}", self.epoch(), now.leader + 1, isr.join(","))?;
        for (at, node) in (0u8..).zip(&self.nodes) {
            let role = if self.leads(at) { "leads" } else { "epoch" };
            let (epoch, kept) = (self.epoch_of(at), show(&node.kept));
            let high_watermark = self.partition(at).high_watermark();
            write!(f, "; {} {role} {epoch} [{kept}] hw {high_watermark}", at + 1)?;
        }
        for request in &self.requests {
            let isr: Vec<String> = members(request.isr).map(|at| id(at).to_string()).collect();
            write!(f, "; {} requests ISR {{{}}}", request.leader + 1, isr.join(","))?;
        }
        write!(f, "; promised [{}]", show(&self.promised))
    }
}
