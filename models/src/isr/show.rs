//! M1's steps and states in words.

use std::fmt;

use super::{Action, NOBODY, State, epoch_of, members};

/// In output, replicas are 1, 2, 3.
fn name(replica: u8) -> u8 {
    replica + 1
}

fn set(members_of: u8) -> String {
    let names: Vec<String> = members(members_of).map(|id| name(id).to_string()).collect();
    format!("{{{}}}", names.join(","))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Elect { leader, drop: NOBODY } => {
                write!(f, "the controller elects {} in a new epoch", name(*leader))
            }
            Action::Elect { leader, drop } => write!(
                f,
                "the controller fences {} and elects {} in a new epoch",
                name(*drop),
                name(*leader)
            ),
            Action::Drop(follower) => {
                write!(f, "{} leaves the ISR (fenced, or it lags)", name(*follower))
            }
            Action::Hear { replica, epoch } => {
                write!(f, "{} learns of epoch {epoch}, and leads or follows in it", name(*replica))
            }
            Action::Append(leader) => write!(f, "leader {} appends a record", name(*leader)),
            Action::Ask(follower) => {
                write!(
                    f,
                    "{} asks its leader where their logs diverge, and truncates there",
                    name(*follower)
                )
            }
            Action::Fetch(follower) => write!(f, "{} fetches from its leader", name(*follower)),
            Action::Expand { leader, follower } => write!(
                f,
                "the controller adds {} to the ISR, as {} proposed; the answer is in flight",
                name(*follower),
                name(*leader)
            ),
            Action::HearIsr(leader) => write!(f, "leader {} learns of the ISR", name(*leader)),
            Action::PowerLoss { replica, end } => {
                write!(f, "{} loses power and its log from offset {end} on", name(*replica))
            }
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = |records: &[u8]| {
            let show = |record: &u8| match record & 15 {
                0 => format!("e{}", epoch_of(*record)),
                salt => format!("e{}{}", epoch_of(*record), "'".repeat(salt.into())),
            };
            records.iter().map(show).collect::<Vec<String>>().join(" ")
        };
        let registered = self.registration(self.epoch).leader;
        write!(f, "epoch {} of {}, ISR {}", self.epoch, name(registered), set(self.isr))?;
        for (id, replica) in self.replicas.iter().enumerate() {
            let role = if self.leads(id as u8) { "leads" } else { "epoch" };
            write!(
                f,
                "; {} {role} {} [{}] hw {}",
                name(id as u8),
                replica.epoch,
                log(replica.records()),
                replica.high_watermark
            )?;
        }
        write!(f, "; promised [{}]", log(&self.promised[..self.promised_end.into()]))
    }
}
