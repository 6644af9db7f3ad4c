//! What a node knows in a role, without a log or a disk.

use alloc::vec::Vec;

use super::super::roles::{Ballot, Leadership, Role, RoleName, Tally, Votes, majority_of};
use crate::types::{LeaderEpoch, NodeId, Offset};

fn leader_of(voters: i32, start: i64) -> Leadership {
    Leadership::new(Offset(start), (2..=voters).map(NodeId), None)
}

#[test]
fn an_election_is_won_by_a_majority_and_lost_when_none_is_possible() {
    for voters in 1..=7 {
        for granted in 0..=voters {
            for rejected in 0..=voters - granted {
                let mut votes = Votes::default();
                (0..granted).for_each(|voter| votes.count(NodeId(voter as i32), true));
                let others = granted..granted + rejected;
                others.for_each(|voter| votes.count(NodeId(voter as i32), false));
                let possible = voters - rejected;
                let expected = if granted * 2 > voters {
                    Tally::Won
                } else if possible * 2 > voters {
                    Tally::Open
                } else {
                    Tally::Lost { now: (possible + 1) * 2 > voters }
                };
                assert_eq!(votes.tally(voters), expected, "{granted} and {rejected} of {voters}");
            }
        }
    }
}

#[test]
fn a_voter_is_asked_until_it_answers() {
    let mut votes = Votes::default();
    votes.count(NodeId(2), true);
    votes.count(NodeId(3), false);
    let open: Vec<bool> = (2..=4).map(|voter| votes.is_open(NodeId(voter))).collect();
    assert_eq!(
        (open.as_slice(), votes.granted().as_slice()),
        ([false, false, true].as_slice(), [NodeId(2)].as_slice())
    );
}

#[test]
fn what_a_majority_has_is_agreed_once_it_covers_the_epochs_first_record() {
    let mut leader = leader_of(5, 10);
    assert_eq!(leader.agreed(Offset(20)), None, "nobody else has anything");
    leader.on_fetch(NodeId(2), Some(Offset(10)));
    leader.on_fetch(NodeId(3), Some(Offset(15)));
    assert_eq!(leader.agreed(Offset(20)), None, "a majority has only what is older than the epoch");
    leader.on_fetch(NodeId(4), Some(Offset(12)));
    assert_eq!(leader.agreed(Offset(20)), Some(Offset(12)));
    assert_eq!(leader.agreed(Offset(9)), None, "its own disk counts like the others");
    assert_eq!(leader.successors(), [3, 4, 2, 5].map(NodeId));
    assert_eq!(leader_of(1, 0).agreed(Offset(1)), Some(Offset(1)), "alone");
}

#[test]
fn a_majority_that_fetched_counts_once() {
    let mut leader = leader_of(5, 0);
    let mut fetch = |voter| leader.on_fetch(NodeId(voter), None);
    assert_eq!([fetch(2), fetch(2), fetch(3)], [Some(false), Some(false), Some(true)]);
    assert_eq!([fetch(3), fetch(9), fetch(4)], [Some(false), None, Some(true)]);
    assert!(!leader.must_be_told(NodeId(2)) && leader.must_be_told(NodeId(5)));
    leader.told(NodeId(5));
    assert!(!leader.must_be_told(NodeId(5)));
    assert!(!leader.must_be_told(NodeId(9)), "no voter");
}

#[test]
fn whoever_led_or_stood_before_a_restart_does_not_again_in_that_epoch() {
    let (me, other, epoch) = (NodeId(1), NodeId(2), LeaderEpoch(7));
    let restored =
        |voted, leader, voter| Role::restored(Ballot { epoch, voted, leader }, me, voter).name();
    assert_eq!(restored(Some(me), Some(me), true), RoleName::Resigned);
    assert_eq!(restored(Some(me), None, true), RoleName::Voted);
    assert_eq!(restored(Some(other), None, true), RoleName::Voted);
    assert_eq!(restored(Some(me), Some(other), true), RoleName::Follower);
    assert_eq!(restored(None, None, true), RoleName::Unattached);
    assert_eq!(restored(None, Some(other), false), RoleName::Observer);
    let observer = Role::initial(false).with_leader(other);
    assert_eq!((observer.name(), observer.followed()), (RoleName::Observer, Some(other)));
    assert_eq!(observer.without_leader().followed(), None);
    assert_eq!(Role::initial(true).with_leader(other).name(), RoleName::Follower);
}

#[test]
fn two_majorities_share_a_voter() {
    for voters in 1..100 {
        assert!(majority_of(voters) * 2 > voters && (majority_of(voters) - 1) * 2 <= voters);
    }
}
