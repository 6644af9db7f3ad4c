//! How states and steps are printed. In a log, records that are written but not synced stand right
//! of a bar; an unsynced vote is marked. When no crash is left in the budget, both are synced at
//! once.

use std::fmt;

use super::{Action, NOBODY, Role, State, epoch_of};

/// In output, voters are 1, 2, 3.
fn name(voter: u8) -> u8 {
    voter + 1
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Action::PreVote { asker, voter } => write!(
                f,
                "voter {} hears from no leader, and {} grants it a pre-vote: a majority with its \
                 own",
                name(asker),
                name(voter)
            ),
            Action::Stand { voter, epoch } => write!(
                f,
                "voter {} stands for epoch {epoch} and votes for itself (written)",
                name(voter)
            ),
            Action::Vote { candidate, voter, epoch } => write!(
                f,
                "voter {} grants its vote of epoch {epoch} to {} (written)",
                name(voter),
                name(candidate)
            ),
            Action::SyncVote(id) => {
                write!(f, "voter {} has epoch and vote synced, and answers", name(id))
            }
            Action::Win { voter, epoch } => write!(
                f,
                "voter {} has a majority, leads epoch {epoch}, and appends its first record (written)",
                name(voter)
            ),
            Action::Announce { leader, voter } => {
                write!(f, "leader {} announces itself to {}", name(leader), name(voter))
            }
            Action::Hear { voter, epoch } => {
                write!(f, "voter {} learns of epoch {epoch}", name(voter))
            }
            Action::Append(id) => {
                write!(f, "leader {} appends a record (written)", name(id))
            }
            Action::SyncLog(id) => write!(f, "voter {} has its log synced", name(id)),
            Action::Fetch { follower, records: 0 } => write!(
                f,
                "voter {} fetches; the answer says where to truncate, is empty, or is lost",
                name(follower)
            ),
            Action::Fetch { follower, records } => write!(
                f,
                "voter {} fetches {records} record{} (written)",
                name(follower),
                if records == 1 { "" } else { "s" }
            ),
            Action::Resign(id) => {
                write!(f, "leader {} hears from no majority and resigns", name(id))
            }
            Action::Crash { voter, end } => write!(
                f,
                "voter {} crashes, loses the unsynced log from offset {end} on, and restarts",
                name(voter)
            ),
            Action::VoteUnread { candidate, voter } => write!(
                f,
                "voter {} restarts, and grants its vote to {} (written) before it has read its \
                 earlier vote",
                name(voter),
                name(candidate)
            ),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |record: u8| match record & 15 {
            0 => format!("e{}", epoch_of(record)),
            salt => format!("e{}{}", epoch_of(record), "'".repeat(salt.into())),
        };
        for (id, voter) in (1..).zip(&self.voters) {
            write!(f, "{id} epoch {}", voter.epoch)?;
            match (voter.role, voter.leader) {
                (Role::Leads, _) => write!(f, " leads")?,
                (Role::Stands, _) => write!(f, " stands")?,
                (Role::Waits, NOBODY) => {}
                (Role::Waits, leader) => write!(f, " follows {}", name(leader))?,
            }
            if voter.voted != NOBODY {
                write!(f, " voted {}", name(voter.voted))?;
            }
            if !voter.vote_is_synced() {
                write!(f, " (unsynced)")?;
            }
            // What is right of the bar is written, but not synced.
            write!(f, " [")?;
            for (at, record) in (0..).zip(voter.records()) {
                let before = if at == voter.synced { "| " } else { "" };
                let space = if at == 0 { "" } else { " " };
                write!(f, "{space}{before}{}", show(*record))?;
            }
            write!(f, "]; ")?;
        }
        let committed = self.committed[..self.committed_end.into()].iter();
        let committed: Vec<String> = committed.map(|record| show(*record)).collect();
        write!(f, "committed [{}]", committed.join(" "))
    }
}
