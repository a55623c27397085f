//! A body that blocking code writes.

use crate::{
    blocking::run::full,
    core::Core,
    error::{BodyError, Disconnected},
    pipe::Pipe,
    request::{Job, Request},
    response::{Payload, Response, WriteBody},
    stream::Chunk,
};
use bytes::Bytes;
use futures_core::Stream;
use ringgate_runtime::offload::Offloaded;
use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Bytes collected before they cross over to the core: a lock and a wake per 16 KiB.
const PIECE_BYTES: usize = 16_384;

/// Begins the thread of a body that blocking code writes, and puts a stream of what it writes in its place. With the
/// crew full the response becomes a 503: nothing of it has been sent yet.
#[inline]
pub(crate) fn begin(core: &Core, request: &Request, response: &mut Response) {
    if matches!(response.body, Payload::Writer { .. }) {
        begin_writer(core, request, response);
    }
}

fn begin_writer(core: &Core, request: &Request, response: &mut Response) {
    let Payload::Writer { write, length } = std::mem::replace(&mut response.body, Payload::Empty) else { return };
    let pipe = Pipe::new(core.shared.config.limits.body_buffer_bytes_max);
    let (end, job) = (Err(BodyError::Disconnected), request.job());
    let writer = PipeWriter { pipe: pipe.clone(), piece: Vec::new(), end, job };
    match core.crew().run(move || writer.run(write)) {
        Ok(job) => response.body = Payload::Stream { chunks: Box::pin(Written { pipe, _job: job }), length },
        Err(_) => *response = full(&core.shared.counters),
    }
}

/// The thread's end.
struct PipeWriter {
    pipe: Arc<Pipe>,
    piece: Vec<u8>,
    /// What the reader learns at the end; bad until the writer has returned well, so that a panic is bad too.
    end: Result<(), BodyError>,
    job: Option<Job>,
}

impl PipeWriter {
    fn run(mut self, write: WriteBody) {
        if write(&mut self).and_then(|()| self.flush()).is_ok() {
            self.end = Ok(());
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() + bytes.len() > PIECE_BYTES {
            self.flush()?;
        }
        if bytes.len() >= PIECE_BYTES {
            return if self.pipe.push_blocking(Bytes::copy_from_slice(bytes)) {
                Ok(bytes.len())
            } else {
                Err(Disconnected.into())
            };
        }
        self.piece.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.piece.is_empty() || self.pipe.push_blocking(std::mem::take(&mut self.piece).into());
        if sent { Ok(()) } else { Err(Disconnected.into()) }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        // Before the reader learns it: the exchange that ends then has no thread at work any more.
        self.job = None;
        self.pipe.finish(self.end);
    }
}

/// The core's end.
struct Written {
    pipe: Arc<Pipe>,
    /// Holds the job's place in the queue: dropped before it began, it never runs.
    _job: Offloaded<()>,
}

impl Stream for Written {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pipe.poll_pop(cx).map(|next| next.map(|piece| piece.map(Chunk::from)))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.pipe.leave();
    }
}
