//! Frames: a length and that many bytes, read without trusting the length, written without a copy.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Granularity of the memory for large frames, in bytes; also what each frame has for free.
pub(super) const UNIT: usize = 256 << 10;

/// How much more is made room for at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// How long a large frame may wait for others to give their memory back.
const MEMORY_WAIT: Duration = Duration::from_secs(30);

/// How long a large frame that holds memory may take to come, beside a second for each
/// [`SLOWEST`] bytes: who dribbles must not keep the memory from the others.
const TIME_TO_COME: Duration = Duration::from_secs(30);

/// Bytes a second of the slowest client that is waited for: an uplink of 1 Mbit/s.
const SLOWEST: usize = 128 << 10;

/// Most buffers handed to the kernel at once.
const MAX_SLICES: usize = 64;

/// Why no frame could be read.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The connection broke.
    Io(io::Error),
    /// It ended inside a frame.
    Half {
        /// Bytes of it that had come.
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
    /// It holds memory for large requests and does not come.
    Slow {
        /// Bytes of it that had come.
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
            FrameError::NoMemory => f.write_str(
                "the memory for large requests (queued.max.request.bytes) stayed taken for 30 s",
            ),
            FrameError::Slow { got, length } => write!(
                f,
                "only {got} of the {length} bytes of a large frame came within {} s",
                time_to_come(*length).as_secs()
            ),
        }
    }
}

/// A frame without its length, and the memory that it counts against while it is in use.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) _memory: Option<OwnedSemaphorePermit>,
}

/// Reads the next frame; what has been read beyond it stays in `buffer`. `None` at a clean end.
pub(super) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    limit: usize,
    large: Option<&Arc<Semaphore>>,
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
    let mut memory: Option<OwnedSemaphorePermit> = None;
    let mut patience = time_to_come(length);
    while buffer.len() < length {
        // Room is made as bytes come, never for what is only declared.
        let room = (length - buffer.len()).min(CHUNK.max(buffer.len()));
        if let Some(large) = large {
            let held = memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let wanted = ((buffer.len() + room) / UNIT).saturating_sub(held);
            if wanted > 0 {
                let wanted = u32::try_from(wanted).expect("a frame is below 2 GiB");
                let more = Arc::clone(large).acquire_many_owned(wanted);
                let more = tokio::time::timeout(MEMORY_WAIT, more)
                    .await
                    .map_err(|_| FrameError::NoMemory)?
                    .expect("the semaphore is never closed");
                match &mut memory {
                    Some(memory) => memory.merge(more),
                    None => memory = Some(more),
                }
            }
        }
        let read = if memory.is_some() {
            let since = Instant::now();
            let read = tokio::time::timeout(patience, fill(stream, buffer, room)).await;
            patience = patience.saturating_sub(since.elapsed());
            read.map_err(|_| FrameError::Slow { got: buffer.len(), length })?
        } else {
            fill(stream, buffer, room).await
        };
        if read? == 0 {
            return Err(FrameError::Half { got: 4 + buffer.len() });
        }
    }
    Ok(Some(Frame { bytes: buffer.split_to(length).freeze(), _memory: memory }))
}

/// How long a frame of this length may be read while it holds memory. The wait for memory is not
/// part of it.
fn time_to_come(length: usize) -> Duration {
    TIME_TO_COME + Duration::from_secs((length / SLOWEST) as u64)
}

/// Does the buffer start with a whole frame?
pub(super) fn is_whole(buffer: &[u8]) -> bool {
    buffer.split_first_chunk::<4>().is_some_and(|(declared, rest)| {
        usize::try_from(i32::from_be_bytes(*declared)).is_ok_and(|length| length <= rest.len())
    })
}

/// Reads what is there, at most about `room` bytes. 0 at the end.
pub(super) async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    room: usize,
) -> Result<usize, FrameError> {
    buffer.reserve(room);
    stream.read_buf(buffer).await.map_err(FrameError::Io)
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

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Writes once, and tells how much was taken; the rest stays. Nothing is lost if the future is
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
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> (Result<Option<Frame>, FrameError>, BytesMut) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut buffer = BytesMut::new();
        let mut stream = bytes;
        let result = runtime.block_on(read_frame(&mut stream, &mut buffer, limit, None));
        (result, buffer)
    }

    /// A runtime whose clock stands still until everybody waits for it.
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
        let large = Arc::new(Semaphore::new(2));
        let mut bytes = ((2 * UNIT + 5) as i32).to_be_bytes().to_vec();
        bytes.resize(4 + 2 * UNIT + 5, 7);
        let first = runtime.block_on(async {
            let mut stream = &bytes[..];
            read_frame(&mut stream, &mut BytesMut::new(), 4 * UNIT, Some(&large)).await
        });
        let first = first.expect("whole").expect("a frame");
        assert_eq!(large.available_permits(), 0);
        let second = runtime.block_on(async {
            let mut stream = &bytes[..];
            read_frame(&mut stream, &mut BytesMut::new(), 4 * UNIT, Some(&large)).await
        });
        assert!(matches!(second, Err(FrameError::NoMemory)));
        drop(first);
        assert_eq!(large.available_permits(), 2);
    }

    /// A byte a second is progress, but not fast enough to hold what others wait for.
    #[test]
    fn who_dribbles_does_not_keep_the_memory() {
        let runtime = paused();
        let large = Arc::new(Semaphore::new(2));
        let length = 2 * UNIT;
        let (result, took) = runtime.block_on(async {
            let (mut client, mut server) = tokio::io::duplex(UNIT);
            tokio::spawn(async move {
                let mut bytes = (length as i32).to_be_bytes().to_vec();
                bytes.resize(4 + UNIT, 7);
                client.write_all(&bytes).await.expect("taken");
                while client.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
            let since = Instant::now();
            let buffer = &mut BytesMut::new();
            (read_frame(&mut server, buffer, length, Some(&large)).await, since.elapsed())
        });
        assert!(matches!(result, Err(FrameError::Slow { .. })), "{result:?}");
        assert_eq!(took.as_secs(), 30 + 4);
        assert_eq!(large.available_permits(), 2);
    }
}
