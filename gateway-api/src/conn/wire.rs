//! The socket's side of a connection: bytes, the one timer, and the end.

use crate::{conn::input::Input, core::Core, dispatch::Table, request::Link};
use ringgate_runtime::{
    buffer::SendBuf,
    net::ByteStream,
    time::{Alarm, Instant},
};
use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

/// What the drivers of all protocols hold of a connection. Small: it is most of what an idle connection costs.
pub(crate) struct Wire<S: ByteStream> {
    pub(crate) stream: S,
    pub(crate) input: Input,
    pub(crate) link: Rc<Link>,
    pub(crate) table: Rc<Table>,
    /// When what is awaited must have come: a head, the next request, the end of a send. One timer serves them all.
    pub(crate) deadline: Instant,
    /// How long before the deadline the head began that is not whole yet. (Four bytes, where an instant has eight.)
    head_left_ms: u32,
    /// A request has been answered on it.
    pub(crate) has_served: bool,
    /// The machine stands between two requests and remembers nothing.
    pub(crate) is_at_rest: bool,
    /// Only the end of the connection ends the body that goes out: until all of it is out, a FIN would be a lie.
    pub(crate) ends_body: bool,
    alarm: Alarm,
}

impl<S: ByteStream> Drop for Wire<S> {
    /// However it ends: the peer left, the time was up, the body broke off, a drain has cut it.
    fn drop(&mut self) {
        if self.ends_body {
            self.stream.reset();
        }
    }
}

/// What a closing connection still reads, in units of `drain_bytes_max`: a response saved is worth more than a
/// connection saved.
const LINGER_DRAINS: u64 = 8;

/// During a drain: how long a peer must have been silent behind the end of our side to be closed. What it sent before it
/// knew of that end is here by then: it takes a round trip, and 250 ms are one around the world.
const DRAIN_SILENCE: Duration = Duration::from_millis(250);

/// The connection is over: the peer has gone, or takes nothing any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl<S: ByteStream> Wire<S> {
    /// A connection that was just accepted: its first head must come within `header_timeout_ms`.
    pub(crate) fn new(stream: S, link: Rc<Link>, table: Rc<Table>) -> Self {
        let handle = link.core.handle();
        let timeout = Duration::from_millis(link.core.shared.config.timeouts.header_timeout_ms);
        let deadline = handle.now() + timeout;
        let alarm = handle.alarm();
        Self {
            stream,
            input: Input::default(),
            link,
            table,
            deadline,
            head_left_ms: 0,
            has_served: false,
            is_at_rest: true,
            ends_body: false,
            alarm,
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.link.core
    }

    pub(crate) fn now(&self) -> Instant {
        self.core().handle().now()
    }

    /// What is awaited must come within so many milliseconds from now.
    pub(crate) fn allow(&mut self, milliseconds: u64) {
        self.deadline = self.now() + Duration::from_millis(milliseconds);
        self.head_left_ms = 0;
    }

    /// Ready when the deadline has passed.
    #[inline]
    pub(crate) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(self.deadline, cx)
    }

    /// Ready when the deadline of a head has passed, or its bytes have come too slowly.
    pub(crate) fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let allowance = self.core().shared.config.timeouts.head_progress(self.input.bytes().len() as u64);
        let earlier = Duration::from_millis(self.head_left_ms.into()).saturating_sub(allowance);
        let due = Instant::from_nanos(self.deadline.as_nanos().saturating_sub(earlier.as_nanos() as u64));
        self.poll_until(due, cx)
    }

    /// A head begins now, and has until the deadline.
    pub(crate) fn begin_head(&mut self) {
        self.head_left_ms = self.deadline.since(self.now()).as_millis().try_into().unwrap_or(u32::MAX);
    }

    #[inline]
    fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll_at(due, cx)
    }

    /// Sends, or gives the memory back if there is nothing to send.
    #[inline]
    pub(crate) fn send(&mut self, buf: SendBuf) {
        if buf.is_empty() {
            self.core().handle().recycle_send_buf(buf);
        } else {
            self.stream.start_send(buf);
        }
    }

    /// The time that a send in flight may take, if it began now.
    pub(crate) fn send_allowance(&self, bytes: usize) -> Instant {
        self.now() + self.core().shared.config.timeouts.progress(bytes as u64)
    }

    /// Waits until everything has gone out, until the deadline.
    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match self.stream.poll_sent(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.map_err(|_| Gone)),
            Poll::Pending => {
                ready!(self.poll_deadline(cx));
                self.core().shared.counters.timeouts_send.up();
                Poll::Ready(Err(Gone))
            }
        }
    }

    /// More input: true, or false at the end of the peer's side.
    #[inline]
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let lease = ready!(self.stream.poll_recv(cx))?;
        let more = !lease.is_empty();
        self.input.push(lease);
        Poll::Ready(Ok(more))
    }

    /// Closes in stages, so that no reset destroys what was sent last: half-close, then read until the peer closes
    /// too, the time is up, or more has come than it would be worth (RFC 9112 section 9.6).
    ///
    /// A reset comes of bytes that nobody reads, not of a close: to a peer that says nothing, a socket that is closed looks
    /// like one that is half-closed, and the kernel still delivers. So a drain does not wait for those that only keep their
    /// side open. (nginx leaves a lingering connection at once when its worker ends, hyper does not linger at all.)
    pub(crate) async fn close(mut self) {
        self.input = Input::EMPTY;
        self.deadline = self.send_allowance(self.core().shared.config.limits.output_bytes_max);
        if poll_fn(|cx| self.poll_flushed(cx)).await.is_err() {
            return;
        }
        self.ends_body = false;
        self.stream.shutdown_write();
        self.link.is_finished.set(true);
        self.allow(self.core().shared.config.timeouts.linger_timeout_ms);
        let mut bytes_left = LINGER_DRAINS * self.core().shared.config.limits.drain_bytes_max;
        let mut silent_since = self.now();
        poll_fn(|cx| {
            while let Poll::Ready(received) = self.stream.poll_recv(cx) {
                match received {
                    Ok(lease) if !lease.is_empty() && lease.len() as u64 <= bytes_left => {
                        bytes_left -= lease.len() as u64;
                        silent_since = self.now();
                    }
                    _ => return Poll::Ready(()),
                }
            }
            match self.core().shared.draining.get() {
                true => self.poll_until(self.deadline.min(silent_since + DRAIN_SILENCE), cx),
                false => self.poll_deadline(cx),
            }
        })
        .await;
    }
}
