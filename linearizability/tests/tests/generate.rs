//! Histories as lists of events that tests can change, and a small log that generates valid ones.

use std::collections::BTreeMap;

use wavetank_linearizability::{
    Acks, Change, History, Loss, OpId, Outcome, Partition, Polled, Position, Value,
};

/// One line of a history. Sends, transactions and questions (commits of offsets, and fetches of
/// them) are numbered in their order. What a process sends, polls and commits while it has a
/// transaction open is in that transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Send { process: u32, partition: u32, value: u64, acks: Acks },
    Make { process: u32, partition: u32, value: u64, source: (u32, i64) },
    Move { process: u32, partition: u32, value: u64, amount: i64 },
    Ack { send: usize, offset: Option<i64>, epoch: Option<i32> },
    Fail { send: usize },
    Info { send: usize },
    Poll { process: u32, records: Vec<(u32, i64, i32, u64)> },
    Assign { process: u32, positions: Vec<(u32, Option<i64>)> },
    Keep { process: u32, partitions: Vec<u32> },
    Seek { process: u32, partition: u32, position: Option<i64> },
    Loss { partition: u32, offset: i64, epoch: i32 },
    Begin { process: u32 },
    End { transaction: usize },
    Over { transaction: usize, outcome: Outcome },
    Subscribe { process: u32 },
    Crash { process: u32 },
    Group { process: u32, generation: Option<i32>, change: Change, partitions: Vec<u32> },
    Commit { process: u32, generation: Option<i32>, partition: u32, offset: i64 },
    Fetch { process: u32 },
    Answer { question: usize, outcome: Outcome, found: Option<i64> },
}

/// Builds a history, one event after the other.
struct Builder {
    history: History,
    partitions: Vec<Partition>,
    sends: Vec<Option<OpId>>,
    transactions: Vec<Option<OpId>>,
    open: BTreeMap<u32, OpId>,
    ended: Vec<usize>,
    questions: Vec<Option<(OpId, bool)>>,
}

/// The history of these events; each event takes 1 ms. Ends of what is not open are left out.
pub fn build(events: &[Event]) -> History {
    let mut history = History::new();
    let partitions = (0..3).map(|index| history.partition(&format!("t-{index}"))).collect();
    let mut builder = Builder {
        history,
        partitions,
        sends: vec![],
        transactions: vec![],
        open: BTreeMap::new(),
        ended: vec![],
        questions: vec![],
    };
    for (time, event) in (0..).map(|i| i * 1_000_000).zip(events) {
        match event {
            Event::Send { .. } | Event::Make { .. } | Event::Move { .. } => {
                builder.send(time, event);
            }
            Event::Ack { .. } | Event::Fail { .. } | Event::Info { .. } => {
                builder.answer_send(time, event);
            }
            Event::Poll { .. }
            | Event::Assign { .. }
            | Event::Keep { .. }
            | Event::Seek { .. }
            | Event::Loss { .. } => builder.read(time, event),
            Event::Begin { .. } | Event::End { .. } | Event::Over { .. } => {
                builder.transaction(time, event);
            }
            Event::Subscribe { .. }
            | Event::Crash { .. }
            | Event::Group { .. }
            | Event::Commit { .. }
            | Event::Fetch { .. }
            | Event::Answer { .. } => builder.group(time, event),
        }
    }
    builder.history
}

impl Builder {
    fn join(&mut self, process: u32, op: OpId) {
        if let Some(transaction) = self.open.get(&process) {
            self.history.join(op, *transaction);
        }
    }

    fn send(&mut self, time: u64, event: &Event) {
        let (Event::Send { process, partition, value, .. }
        | Event::Make { process, partition, value, .. }
        | Event::Move { process, partition, value, .. }) = event
        else {
            return;
        };
        let acks = if let Event::Send { acks, .. } = event { *acks } else { Acks::All };
        let partition = self.partitions[*partition as usize];
        let op = self.history.send(*process, time, partition, Value::number(*value), acks);
        match event {
            Event::Make { source, .. } => {
                self.history.made_from(op, self.partitions[source.0 as usize], source.1);
            }
            Event::Move { amount, .. } => self.history.amount(op, *amount),
            _ => {}
        }
        self.join(*process, op);
        self.sends.push(Some(op));
    }

    fn answer_send(&mut self, time: u64, event: &Event) {
        let (Event::Ack { send, .. } | Event::Fail { send } | Event::Info { send }) = event else {
            return;
        };
        let Some(op) = self.sends.get_mut(*send).and_then(Option::take) else { return };
        match event {
            Event::Ack { offset, epoch, .. } => {
                self.history.acknowledge(op, time, *offset, *epoch);
            }
            Event::Fail { .. } => self.history.fail(op, time),
            _ => self.history.info(op, time),
        }
    }

    fn read(&mut self, time: u64, event: &Event) {
        let partitions = &self.partitions;
        match event {
            Event::Poll { process, records } => {
                let records: Vec<Polled> = records
                    .iter()
                    .map(|(partition, offset, epoch, value)| Polled {
                        partition: partitions[*partition as usize],
                        offset: *offset,
                        epoch: *epoch,
                        value: Value::number(*value),
                    })
                    .collect();
                let op = self.history.poll(*process, time, &records);
                self.join(*process, op);
            }
            Event::Assign { process, positions } => {
                let positions: Vec<(Partition, Option<i64>)> =
                    positions.iter().map(|(p, at)| (partitions[*p as usize], *at)).collect();
                self.history.assign(*process, time, &positions);
            }
            Event::Keep { process, partitions: kept } => {
                let positions: Vec<(Partition, Position)> =
                    kept.iter().map(|p| (partitions[*p as usize], Position::Kept)).collect();
                self.history.assign_at(*process, time, &positions);
            }
            Event::Seek { process, partition, position } => {
                let partition = partitions[*partition as usize];
                self.history.seek(*process, time, partition, *position);
            }
            Event::Loss { partition, offset, epoch } => self.history.admit(Loss {
                partition: partitions[*partition as usize],
                offset: *offset,
                epoch: *epoch,
                time,
            }),
            _ => {}
        }
    }

    fn transaction(&mut self, time: u64, event: &Event) {
        match event {
            Event::Begin { process } => {
                // A transaction that is still open stays open for good.
                let op = self.history.begin(*process, time);
                self.open.insert(*process, op);
                self.transactions.push(Some(op));
            }
            Event::End { transaction } => {
                let open = self.transactions.get(*transaction).copied().flatten();
                if let (Some(op), false) = (open, self.ended.contains(transaction)) {
                    self.history.end(op, time);
                    self.ended.push(*transaction);
                }
            }
            Event::Over { transaction, outcome } => {
                let open = self.transactions.get_mut(*transaction).and_then(Option::take);
                let Some(op) = open else { return };
                match outcome {
                    Outcome::Ok => self.history.done(op, time),
                    Outcome::Fail => self.history.fail(op, time),
                    Outcome::Info => self.history.info(op, time),
                }
                self.open.retain(|_, open| *open != op);
            }
            _ => {}
        }
    }

    fn group(&mut self, time: u64, event: &Event) {
        let group = self.history.group("g");
        match event {
            Event::Subscribe { process } => drop(self.history.subscribe(*process, time)),
            Event::Crash { process } => drop(self.history.crash(*process, time)),
            Event::Group { process, generation, change, partitions } => {
                let partitions: Vec<_> = partitions
                    .iter()
                    .map(|p| (self.partitions[*p as usize], Position::Unknown))
                    .collect();
                let history = &mut self.history;
                history.rebalance(*process, time, group, *generation, *change, &partitions);
            }
            Event::Commit { process, generation, partition, offset } => {
                let offsets = [(self.partitions[*partition as usize], *offset)];
                let history = &mut self.history;
                let op = history.commit_offsets(*process, time, group, *generation, &offsets);
                self.join(*process, op);
                self.questions.push(Some((op, false)));
            }
            Event::Fetch { process } => {
                let op = self.history.fetch_offsets(*process, time, group);
                self.questions.push(Some((op, true)));
            }
            Event::Answer { question, outcome, found } => {
                let open = self.questions.get_mut(*question).and_then(Option::take);
                let Some((op, fetch)) = open else { return };
                match (outcome, fetch) {
                    (Outcome::Ok, true) => {
                        let found = [(self.partitions[0], *found)];
                        self.history.return_offsets(op, time, &found);
                    }
                    (Outcome::Ok, false) => self.history.done(op, time),
                    (Outcome::Fail, _) => self.history.fail(op, time),
                    (Outcome::Info, _) => self.history.info(op, time),
                }
            }
            _ => {}
        }
    }
}

/// What a generated cluster may do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Do readers and acknowledgements have epochs?
    pub epochs: bool,
    /// May acknowledged records be lost, with an admitted loss?
    pub losses: bool,
    /// May a producer's retry append twice?
    pub duplicates: bool,
}

struct Record {
    value: u64,
    epoch: i32,
}

/// One partition of a cluster that keeps its promises.
struct Cluster {
    rules: Rules,
    log: Vec<Record>,
    high_watermark: usize,
    epoch: i32,
    events: Vec<Event>,
    sends: Vec<Sent>,
    /// Next offset of readers 10 and 11.
    readers: [usize; 2],
}

struct Sent {
    value: u64,
    acks: Acks,
    open: bool,
    appended: bool,
    /// Its offset, since the last truncation.
    at: Option<usize>,
}

impl Cluster {
    fn step(&mut self, choice: u8, detail: u8) {
        let detail = detail as usize;
        match choice % 12 {
            0..=2 => self.send(detail),
            3 | 4 => self.append(detail),
            5 => self.high_watermark = (self.high_watermark + 1 + detail % 3).min(self.log.len()),
            6 | 7 => self.answer(detail),
            8 | 9 => self.poll(detail % 2, 1 + detail / 2 % 4),
            10 if detail.is_multiple_of(3) => self.assign(detail),
            10 => self.new_leader(self.high_watermark),
            _ if self.rules.losses && detail.is_multiple_of(4) => self.lose(detail / 4),
            _ => self.poll(detail % 2, 1),
        }
    }

    fn send(&mut self, detail: usize) {
        let value = self.sends.len() as u64;
        let acks = [Acks::All, Acks::All, Acks::Leader, Acks::None][detail % 4];
        self.sends.push(Sent { value, acks, open: true, appended: false, at: None });
        let process = (detail / 4 % 3) as u32;
        self.events.push(Event::Send { process, partition: 0, value, acks });
    }

    fn append(&mut self, detail: usize) {
        let again = self.rules.duplicates;
        let open: Vec<usize> = (0..self.sends.len())
            .filter(|send| self.sends[*send].open && (again || !self.sends[*send].appended))
            .collect();
        if open.is_empty() {
            return;
        }
        let send = &mut self.sends[open[detail % open.len()]];
        send.appended = true;
        send.at = Some(self.log.len());
        self.log.push(Record { value: send.value, epoch: self.epoch });
    }

    fn answer(&mut self, detail: usize) {
        let open: Vec<usize> =
            (0..self.sends.len()).filter(|send| self.sends[*send].open).collect();
        if open.is_empty() {
            return;
        }
        let send = open[detail % open.len()];
        let Sent { acks, appended, at, .. } = self.sends[send];
        let epochs = self.rules.epochs;
        let acked = |at: usize| {
            let epoch = epochs.then(|| self.log[at].epoch);
            Event::Ack { send, offset: Some(at as i64), epoch }
        };
        let event = match (at, acks) {
            (_, Acks::None) => Event::Ack { send, offset: None, epoch: None },
            (Some(at), Acks::All) if at < self.high_watermark => acked(at),
            (Some(at), Acks::Leader) => acked(at),
            (None, _) if !appended => Event::Fail { send },
            (_, Acks::All | Acks::Leader) => Event::Info { send },
        };
        self.sends[send].open = false;
        self.events.push(event);
    }

    fn poll(&mut self, reader: usize, most: usize) {
        let from = self.readers[reader];
        let to = (from + most).min(self.high_watermark);
        if from >= to {
            return;
        }
        let records = (from..to)
            .map(|at| {
                let record = &self.log[at];
                (0, at as i64, if self.rules.epochs { record.epoch } else { -1 }, record.value)
            })
            .collect();
        self.readers[reader] = to;
        self.events.push(Event::Poll { process: 10 + reader as u32, records });
    }

    fn assign(&mut self, detail: usize) {
        let reader = detail / 3 % 2;
        let at = detail / 6 % (self.high_watermark + 1);
        self.readers[reader] = at;
        let (process, position) = (10 + reader as u32, Some(at as i64));
        self.events.push(if detail.is_multiple_of(2) {
            Event::Assign { process, positions: vec![(0, position)] }
        } else {
            Event::Seek { process, partition: 0, position }
        });
    }

    fn new_leader(&mut self, keep: usize) {
        self.epoch += 1;
        self.log.truncate(keep);
        for send in &mut self.sends {
            send.at = send.at.filter(|at| *at < keep);
        }
    }

    fn lose(&mut self, detail: usize) {
        let keep = detail % (self.high_watermark + 1);
        self.new_leader(keep);
        self.high_watermark = keep;
        self.readers = self.readers.map(|at| at.min(keep));
        self.events.push(Event::Loss { partition: 0, offset: keep as i64, epoch: self.epoch });
    }
}

/// A valid history, in which at the end everything has been read, made from arbitrary choices.
pub fn valid(choices: &[(u8, u8)], rules: Rules) -> Vec<Event> {
    let mut cluster = Cluster {
        rules,
        log: vec![],
        high_watermark: 0,
        epoch: 0,
        events: vec![],
        sends: vec![],
        readers: [0, 0],
    };
    for (choice, detail) in choices {
        cluster.step(*choice, *detail);
    }
    cluster.high_watermark = cluster.log.len();
    cluster.events.push(Event::Assign { process: 10, positions: vec![(0, Some(0))] });
    cluster.readers[0] = 0;
    cluster.poll(0, usize::MAX / 2);
    cluster.events
}
