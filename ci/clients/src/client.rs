//! librdkafka as the client: creates the topic, finds the leader, sends the lines, reads them back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Trouble;

const TOPIC: &str = "lines";
const WAIT: Duration = Duration::from_secs(60);

/// A line that was read.
pub struct Line {
    pub offset: i64,
    pub number: u32,
}

/// The outcome of a sent line.
#[derive(Clone, Copy)]
pub struct Sent {
    /// The offset in its acknowledgement; `None` if librdkafka gave it up.
    pub offset: Option<i64>,
}

/// The outcome of all lines.
pub struct Outcome {
    pub lines: Vec<Sent>,
    /// The longest time without an acknowledgement while lines were in flight.
    pub longest_silence: Duration,
}

fn config(addresses: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses);
    config.set("reconnect.backoff.max.ms", "500");
    config
}

pub fn create_topic(addresses: &str, replicas: usize) -> Result<(), Trouble> {
    let admin: AdminClient<DefaultClientContext> = config(addresses).create()?;
    let topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(replicas as i32));
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    for result in block_on(admin.create_topics([&topic], &options))? {
        result.map_err(|(name, code)| format!("cannot create topic {name}: {code}"))?;
    }
    Ok(())
}

/// Waits for a future. Only the admin API needs this.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// The node that leads the topic's partition.
pub fn leader(addresses: &str) -> Result<i32, Trouble> {
    let consumer: BaseConsumer = config(addresses).set("group.id", "none").create()?;
    let start = Instant::now();
    while start.elapsed() < WAIT {
        let metadata = consumer.fetch_metadata(Some(TOPIC), Duration::from_secs(10))?;
        let partition = metadata.topics().first().and_then(|topic| topic.partitions().first());
        match partition {
            Some(partition) if partition.leader() > 0 => return Ok(partition.leader()),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    Err("the partition has no leader".into())
}

struct Reports {
    lines: Mutex<(Vec<Option<Sent>>, Instant, Duration, u32)>,
}

#[derive(Clone)]
struct Context(Arc<Reports>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<u32>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u32>) {
        let mut lines = self.0.lines.lock().expect("nobody panics with it");
        let offset = result.as_ref().ok().map(|message| message.offset());
        lines.0[*number as usize] = Some(Sent { offset });
        if offset.is_some() {
            lines.2 = lines.2.max(lines.1.elapsed());
            lines.1 = Instant::now();
            lines.3 += 1;
        }
    }
}

/// Sends numbered lines, and calls `watch` repeatedly with the number of acknowledged lines.
pub fn produce(
    addresses: &str,
    lines: u32,
    mut watch: impl FnMut(u32) -> Result<(), Trouble>,
) -> Result<Outcome, Trouble> {
    let reports = Arc::new(Reports {
        lines: Mutex::new((vec![None; lines as usize], Instant::now(), Duration::ZERO, 0)),
    });
    let producer: BaseProducer<Context> = config(addresses)
        .set("acks", "all")
        .set("enable.idempotence", "false")
        .set("max.in.flight.requests.per.connection", "1")
        .set("message.timeout.ms", "120000")
        .set("message.send.max.retries", "1000000")
        .set("retry.backoff.ms", "50")
        .set("linger.ms", "2")
        // Small batches, so that the kill comes among many of them.
        .set("batch.num.messages", "200")
        .set("queue.buffering.max.messages", "5000")
        .create_with_context(Context(Arc::clone(&reports)))?;
    let acknowledged = || reports.lines.lock().expect("nobody panics with it").3;
    for number in 0..lines {
        let payload = format!("line {number}");
        let mut record = BaseRecord::with_opaque_to(TOPIC, Box::new(number))
            .partition(0)
            .key("")
            .payload(&payload);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    producer.poll(Duration::from_millis(10));
                    watch(acknowledged())?;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        if number % 256 == 0 {
            producer.poll(Duration::ZERO);
            watch(acknowledged())?;
        }
    }
    let start = Instant::now();
    while producer.in_flight_count() > 0 && start.elapsed() < 3 * WAIT {
        producer.poll(Duration::from_millis(20));
        watch(acknowledged())?;
    }
    let done = reports.lines.lock().expect("nobody panics with it");
    let lines: Option<Vec<Sent>> = done.0.iter().copied().collect();
    let lines = lines.ok_or("librdkafka did not report on every line")?;
    Ok(Outcome { lines, longest_silence: done.2 })
}

/// Reads the partition from its start to its end.
pub fn consume(addresses: &str) -> Result<Vec<Line>, Trouble> {
    let consumer: BaseConsumer = config(addresses)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .create()?;
    let (_, end) = consumer.fetch_watermarks(TOPIC, 0, WAIT)?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(TOPIC, 0, Offset::Offset(0))?;
    consumer.assign(&assignment)?;
    let mut read: Vec<Line> = Vec::with_capacity(end.max(0) as usize);
    let mut last = Instant::now();
    while read.last().is_none_or(|line| line.offset + 1 < end) && end > 0 {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                let text = std::str::from_utf8(message.payload().unwrap_or_default())?;
                let number = text.strip_prefix("line ").and_then(|number| number.parse().ok());
                let number = number.ok_or_else(|| format!("read {text:?}, which is not a line"))?;
                read.push(Line { offset: message.offset(), number });
                last = Instant::now();
            }
            Some(Err(error)) => eprintln!("   (consumer: {error})"),
            None => {}
        }
        if last.elapsed() > WAIT {
            return Err(
                format!("read {} lines of {end}, then nothing for a minute", read.len()).into()
            );
        }
    }
    Ok(read)
}
