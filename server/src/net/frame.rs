//! Frames: a length and that many bytes, read without trusting the length, written without a copy.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::memory::{self, Hold, Memory, Refused};

/// Bytes of each frame that are not counted; they are bounded by the number of connections.
const FREE: usize = memory::UNIT;

/// How much room to reserve at a time, in bytes, while little has arrived...
const CHUNK: usize = 64 << 10;
/// ... and later.
const LARGE_CHUNK: usize = 1 << 20;

/// The time within which a large frame that holds memory must make progress, ...
const WINDOW: Duration = Duration::from_secs(20);
/// ... and the least progress, in bytes: an uplink of half a Mbit/s. While memory is short, more is
/// required (see `memory`).
const PROGRESS: usize = 1 << 20;

/// Maximum buffers handed to the kernel at once.
const MAX_SLICES: usize = 64;

/// Why no frame could be read.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The connection broke.
    Io(io::Error),
    /// It ended inside a frame.
    Half {
        /// Bytes of it that had arrived.
        got: usize,
    },
    /// The declared length is negative or above the limit.
    Length {
        /// As declared.
        declared: i32,
        /// The limit.
        limit: usize,
    },
    /// The memory for large requests stayed taken.
    NoMemory,
    /// It holds memory that others wait for, and makes the least progress.
    Dropped {
        /// Bytes of it that had arrived.
        got: usize,
        /// As declared.
        length: usize,
    },
    /// It holds memory for large requests, and its bytes do not arrive.
    Slow {
        /// Bytes of it that had arrived.
        got: usize,
        /// As declared.
        length: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Io(error) => write!(f, "the connection broke: {error}"),
            FrameError::Half { got } => {
                write!(f, "the connection ended inside a frame, after {got} of its bytes")
            }
            FrameError::Length { declared, limit } => write!(
                f,
                "a frame declares {declared} bytes; 0 to {limit} are allowed \
                 (socket.request.max.bytes)"
            ),
            FrameError::NoMemory => write!(
                f,
                "the memory for large requests (queued.max.request.bytes) was not available within \
                 {} s",
                memory::MEMORY_WAIT.as_secs()
            ),
            FrameError::Dropped { got, length } => write!(
                f,
                "only {got} of the {length} bytes of a large frame arrived; it was the slowest to \
                 hold memory that others wait for (queued.max.request.bytes)"
            ),
            FrameError::Slow { got, length } => write!(
                f,
                "{got} of the {length} bytes of a large frame arrived, and fewer than {PROGRESS} \
                 more within {} s",
                WINDOW.as_secs()
            ),
        }
    }
}

/// A frame without its length, and the memory that it counts against while it is in use.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) _memory: Option<Hold>,
}

/// Reads the next frame. Bytes read beyond it stay in `buffer`. `None` at a clean end. Memory
/// beyond [`FREE`] is taken from `large`, on behalf of a source.
pub(super) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    limit: usize,
    large: Option<(&Arc<Memory>, IpAddr)>,
) -> Result<Option<Frame>, FrameError> {
    while buffer.len() < 4 {
        if fill(stream, buffer, CHUNK / 8).await? == 0 {
            return match buffer.len() {
                0 => Ok(None),
                got => Err(FrameError::Half { got }),
            };
        }
    }
    let declared = i32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
    let length = usize::try_from(declared)
        .ok()
        .filter(|length| *length <= limit)
        .ok_or(FrameError::Length { declared, limit })?;
    buffer.advance(4);
    let mut memory: Option<Hold> = None;
    let mut window = Window { ends: Instant::now() + WINDOW, came: 0 };
    while buffer.len() < length {
        // Room is reserved as bytes arrive, never for a length that is only declared.
        let room = (length - buffer.len()).min(buffer.len().clamp(CHUNK, LARGE_CHUNK));
        let beyond = (buffer.len() + room).saturating_sub(FREE);
        if let Some((large, source)) = large.filter(|_| beyond > 0) {
            let hold = memory.get_or_insert_with(|| large.hold(source));
            // The wait for memory does not count against the sender.
            let since = Instant::now();
            hold.grow(beyond.next_multiple_of(memory::UNIT)).await.map_err(|why| match why {
                Refused::Taken => FrameError::NoMemory,
                Refused::Dropped => FrameError::Dropped { got: buffer.len(), length },
            })?;
            window.ends += since.elapsed();
        }
        let read = match &memory {
            Some(hold) => window.fill(stream, buffer, room, hold, length).await?,
            None => fill(stream, buffer, room).await?,
        };
        if read == 0 {
            return Err(FrameError::Half { got: 4 + buffer.len() });
        }
    }
    memory.iter().for_each(Hold::whole);
    Ok(Some(Frame { bytes: buffer.split_to(length).freeze(), _memory: memory }))
}

/// The time in which a frame must make progress.
struct Window {
    ends: Instant,
    came: usize,
}

impl Window {
    /// Reads what is there, unless the frame makes no progress or others need its memory more.
    async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
        room: usize,
        hold: &Hold,
        length: usize,
    ) -> Result<usize, FrameError> {
        let got = buffer.len();
        let read = tokio::select! {
            biased;
            read = fill(stream, buffer, room) => read?,
            () = tokio::time::sleep_until(self.ends) => {
                return Err(FrameError::Slow { got, length });
            }
            () = hold.dropped() => return Err(FrameError::Dropped { got, length }),
        };
        hold.came(read);
        self.came += read;
        if self.came >= PROGRESS {
            *self = Window { ends: Instant::now() + WINDOW, came: 0 };
        } else if Instant::now() >= self.ends {
            // A few bytes on each read are not enough progress.
            return Err(FrameError::Slow { got: buffer.len(), length });
        }
        Ok(read)
    }
}

/// The length that the frame at the start of the buffer declares, if it is possible, and what is
/// there of it and behind it.
pub(super) fn declared(buffer: &[u8]) -> Option<(usize, &[u8])> {
    let (declared, rest) = buffer.split_first_chunk::<4>()?;
    Some((usize::try_from(i32::from_be_bytes(*declared)).ok()?, rest))
}

/// Whether the buffer starts with a whole frame.
pub(super) fn is_whole(buffer: &[u8]) -> bool {
    declared(buffer).is_some_and(|(length, rest)| length <= rest.len())
}

/// Reads what is there, at most about `room` bytes. 0 at the end.
pub(super) async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    room: usize,
) -> Result<usize, FrameError> {
    buffer.reserve(room);
    // The buffer may have more capacity, which is not counted.
    stream.read_buf(&mut buffer.limit(room)).await.map_err(FrameError::Io)
}

/// Bytes on their way out, in order.
#[derive(Debug, Default)]
pub(super) struct OutQueue {
    parts: VecDeque<Bytes>,
}

impl OutQueue {
    pub(super) fn push(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        self.parts.extend(parts.into_iter().filter(|part| !part.is_empty()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The number of bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Writes once and returns how much was taken. The rest stays. Nothing is lost if the future is
    /// dropped.
    pub(super) async fn write_some(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<usize> {
        let mut written = {
            let slices: Vec<IoSlice<'_>> =
                self.parts.iter().take(MAX_SLICES).map(|part| IoSlice::new(part)).collect();
            stream.write_vectored(&slices).await?
        };
        if written == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        let taken = written;
        while let Some(first) = self.parts.front_mut() {
            if first.len() > written {
                first.advance(written);
                break;
            }
            written -= first.len();
            self.parts.pop_front();
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::memory::UNIT;
    use super::*;

    const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn read(bytes: &[u8], limit: usize) -> (Result<Option<Frame>, FrameError>, BytesMut) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut buffer = BytesMut::new();
        let mut stream = bytes;
        let result = runtime.block_on(read_frame(&mut stream, &mut buffer, limit, None));
        (result, buffer)
    }

    /// A runtime whose clock advances only when every task waits for it.
    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
    }

    #[test]
    fn whole_half_and_impossible_frames() {
        let (frame, rest) = read(b"\0\0\0\x03abcdef", 10);
        assert_eq!(frame.expect("whole").expect("a frame").bytes, &b"abc"[..]);
        assert_eq!(rest, &b"def"[..]);
        assert!(matches!(read(b"", 10).0, Ok(None)));
        assert!(matches!(read(b"\0\0", 10).0, Err(FrameError::Half { got: 2 })));
        assert!(matches!(read(b"\0\0\0\x03ab", 10).0, Err(FrameError::Half { got: 6 })));
        assert!(matches!(read(b"\0\0\0\x0b", 10).0, Err(FrameError::Length { declared: 11, .. })));
        assert!(matches!(read(b"\xff\xff\xff\xff", 10).0, Err(FrameError::Length { .. })));
    }

    #[test]
    fn a_declared_length_takes_no_memory() {
        // Declares 100 MB and sends ten bytes.
        let (frame, buffer) = read(b"\x06\0\0\0abcdefghij", 200 << 20);
        assert!(matches!(frame, Err(FrameError::Half { got: 14 })));
        assert!(buffer.capacity() <= 4 * CHUNK, "{}", buffer.capacity());
    }

    #[test]
    fn large_frames_wait_for_memory() {
        let runtime = paused();
        let large = Arc::new(Memory::new(4 * UNIT, 4 * UNIT));
        let mut bytes = ((3 * UNIT + 5) as i32).to_be_bytes().to_vec();
        bytes.resize(4 + 3 * UNIT + 5, 7);
        let read = async || {
            let (mut stream, mut buffer) = (&bytes[..], BytesMut::new());
            read_frame(&mut stream, &mut buffer, 4 * UNIT, Some((&large, SOMEBODY))).await
        };
        // It takes three units besides the free one. Two frames would need six of the four.
        let first = runtime.block_on(read()).expect("whole").expect("a frame");
        assert!(matches!(runtime.block_on(read()), Err(FrameError::NoMemory)));
        drop(first);
        assert!(runtime.block_on(read()).expect("whole").is_some());
    }

    /// Reads a frame whose first half a client sends at once, and the rest at `bytes_a_second`.
    fn dribbled(bytes_a_second: usize, length: usize) -> (Result<Option<Frame>, FrameError>, u64) {
        let large = Arc::new(Memory::new(length, length));
        paused().block_on(async {
            let (mut client, mut server) = tokio::io::duplex(UNIT);
            tokio::spawn(async move {
                let mut bytes = (length as i32).to_be_bytes().to_vec();
                bytes.resize(4 + length / 2, 7);
                client.write_all(&bytes).await.expect("taken");
                while client.write_all(&vec![0; bytes_a_second]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let (since, mut buffer) = (Instant::now(), BytesMut::new());
            let large = Some((&large, SOMEBODY));
            let result = read_frame(&mut server, &mut buffer, length, large).await;
            (result, since.elapsed().as_secs())
        })
    }

    /// A byte a second is too slow to hold memory that others may wait for.
    #[test]
    fn who_dribbles_does_not_keep_the_memory() {
        let (result, took) = dribbled(1, 100 << 20);
        assert!(matches!(result, Err(FrameError::Slow { .. })), "{result:?}");
        assert_eq!(took, WINDOW.as_secs());
        // An uplink of a Mbit/s is fast enough, as long as nobody else needs the memory.
        let (result, took) = dribbled(128 << 10, 100 << 20);
        assert!(matches!(result, Ok(Some(_))), "{result:?}");
        assert_eq!(took, 399);
    }
}
