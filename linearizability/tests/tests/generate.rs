//! Histories as lists of events that tests can change, and a small log that makes valid ones.

use wavetank_linearizability::{Acks, History, Loss, OpId, Partition, Polled, Value};

/// One line of a history. Sends are numbered by their values.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Send { process: u32, partition: u32, value: u64, acks: Acks },
    Ack { send: usize, offset: Option<i64>, epoch: Option<i32> },
    Fail { send: usize },
    Info { send: usize },
    Poll { process: u32, records: Vec<(u32, i64, i32, u64)> },
    Assign { process: u32, positions: Vec<(u32, Option<i64>)> },
    Seek { process: u32, partition: u32, position: Option<i64> },
    Loss { partition: u32, offset: i64, epoch: i32 },
}

/// The history of these events; time passes by 1 ms an event. `send` counts `Send` events; an
/// outcome of a send that is not open is left out.
pub fn build(events: &[Event]) -> History {
    let mut history = History::new();
    let partitions: Vec<Partition> =
        (0..3).map(|index| history.partition(&format!("t-{index}"))).collect();
    let mut sends: Vec<Option<OpId>> = vec![];
    for (time, event) in (0..).map(|i| i * 1_000_000).zip(events) {
        match event {
            Event::Send { process, partition, value, acks } => {
                let partition = partitions[*partition as usize];
                let op = history.send(*process, time, partition, Value::number(*value), *acks);
                sends.push(Some(op));
            }
            Event::Ack { send, .. } | Event::Fail { send } | Event::Info { send } => {
                let Some(op) = sends.get_mut(*send).and_then(Option::take) else { continue };
                match event {
                    Event::Ack { offset, epoch, .. } => {
                        history.acknowledge(op, time, *offset, *epoch);
                    }
                    Event::Fail { .. } => history.fail(op, time),
                    _ => history.info(op, time),
                }
            }
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
                history.poll(*process, time, &records);
            }
            Event::Assign { process, positions } => {
                let positions: Vec<(Partition, Option<i64>)> =
                    positions.iter().map(|(p, at)| (partitions[*p as usize], *at)).collect();
                history.assign(*process, time, &positions);
            }
            Event::Seek { process, partition, position } => {
                history.seek(*process, time, partitions[*partition as usize], *position);
            }
            Event::Loss { partition, offset, epoch } => history.admit(Loss {
                partition: partitions[*partition as usize],
                offset: *offset,
                epoch: *epoch,
                time,
            }),
        }
    }
    history
}

/// What a generated cluster may do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Do readers and acknowledgements say epochs?
    pub epochs: bool,
    /// May acknowledged records be lost, admittedly?
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
    /// Where, since the last truncation.
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
