//! HTTP/2 on one connection: many exchanges at once, everything of a turn in one send.
//!
//! Handlers that are ready at once are answered where their request is read. Others wait with their streams ([`stream`]),
//! each with a waker of its own ([`wakers`]), and are polled when they are woken: the driver alone touches machine and
//! socket. A round is [`Driver::poll`]: take in ([`receive`], [`bodies`]), let streams speak ([`requests`], [`responses`]),
//! [`send`], and wait ([`time`]).

mod bodies;
mod outbound;
mod pieces;
mod receive;
mod requests;
mod responses;
mod send;
mod stream;
mod time;
mod tunnel;
mod wakers;

use crate::{
    config::Config,
    conn::{
        http2::{receive::Received, stream::Live, wakers::StreamWakers},
        next::{Next, Upgraded},
        wire::{Gone, Wire},
    },
    core::Core,
    dispatch::Table,
    error::BodyError,
};
use http::Method;
use ringgate_protocols::{
    http2::{connection::Connection, reason::Reason, stream::StreamKey},
    limits::Http2Limits,
};
use ringgate_runtime::{buffer::SendBuf, net::ByteStream, task::JoinHandle, time::Instant};
use smallvec::SmallVec;
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// Makes a table of streams long enough for `slot`. It grows by little at a time: a connection with many streams is where
/// memory counts.
fn lengthen<T>(table: &mut Vec<Option<T>>, slot: usize) {
    if table.len() <= slot {
        if table.capacity() <= slot {
            table.reserve_exact((slot + 1 - table.len()).max((table.len() / 2).clamp(4, 16)));
        }
        table.resize_with(slot + 1, || None);
    }
}

/// Serves a connection whose preface announced HTTP/2, to its end.
pub(crate) async fn serve<S: ByteStream>(wire: &mut Wire<S>) -> Next {
    let machine = Connection::new(limits(wire), milliseconds(wire.now()));
    let mut driver = Box::new(Driver::new(machine, wire));
    if wire.core().is_shedding() {
        driver.machine.drain(milliseconds(wire.now()));
    }
    poll_fn(|cx| driver.poll(wire, cx)).await
}

/// Serves a connection that was upgraded.
pub(crate) async fn serve_upgraded<S: ByteStream>(wire: &mut Wire<S>, upgraded: Upgraded) -> Next {
    let limits = limits(wire);
    let (machine, key) = Connection::new_after_upgrade(limits, &upgraded.settings, milliseconds(wire.now()));
    let mut driver = Box::new(Driver::new(machine, wire));
    driver.buf = upgraded.buf;
    let mut request = Some(upgraded.request);
    poll_fn(|cx| {
        if let Some(mut request) = request.take() {
            request.go_over_to_http2();
            // Section 3.2 of RFC 7540: our SETTINGS come first, then the response on stream 1.
            driver.machine.poll_output(driver.buf.tail());
            let is_head = *request.method() == Method::HEAD;
            driver.drive(cx);
            let shell = driver.dispatch(wire, request, key, is_head, None);
            wire.core().shared.requests.give(shell);
        }
        driver.poll(wire, cx)
    })
    .await
}

fn limits<S: ByteStream>(wire: &Wire<S>) -> Http2Limits {
    let Config { limits, timeouts, .. } = &wire.link.core.shared.config;
    let mut limits = limits.http2.clone();
    // A head has as much time as on HTTP/1.
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    limits.header_timeout_ms = narrow(timeouts.header_timeout_ms);
    limits.header_grace_ms = narrow(timeouts.header_grace_ms);
    limits.header_bytes_per_s_min = narrow(timeouts.progress_bytes_per_s_min);
    // And a response has to be taken as fast.
    limits.progress_bytes_per_s_min = narrow(timeouts.progress_bytes_per_s_min);
    // RFC 8441 section 3: announced only where there is something to connect to.
    limits.connect_protocol &= wire.table.has_websocket;
    limits
}

/// What a connection holds while it lives.
pub(crate) struct Driver {
    machine: Connection,
    /// By the machine's slot numbers.
    streams: Vec<Option<Live>>,
    live: usize,
    wakers: StreamWakers,
    /// Streams whose request body is under way.
    receiving: Vec<StreamKey>,
    table: Rc<Table>,
    /// What leaves next.
    buf: SendBuf,
    /// Since when the send in flight stands.
    send_begun: Instant,
    send_deadline: Instant,
    /// When the first of the request bodies that are waited for is too slow.
    body_deadline: Option<Instant>,
    /// When the first of the handlers that run has run for too long; it may have ended since.
    request_deadline: Option<Instant>,
    /// Since when no stream is open.
    idle_since: Instant,
    /// Input was left because of what waits to be sent.
    is_paused: bool,
    /// The gateway ends, and the streams know it.
    is_draining: bool,
}

impl Driver {
    fn new<S: ByteStream>(machine: Connection, wire: &Wire<S>) -> Self {
        Self {
            machine,
            streams: Vec::new(),
            live: 0,
            receiving: Vec::new(),
            wakers: StreamWakers::default(),
            buf: SendBuf::default(),
            send_begun: Instant::default(),
            send_deadline: Instant::default(),
            body_deadline: None,
            request_deadline: None,
            idle_since: wire.now(),
            is_paused: false,
            table: wire.table.clone(),
            is_draining: false,
        }
    }

    /// One round: take in, let the streams speak, send.
    fn poll<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Next> {
        self.drive(cx);
        if !self.is_draining && wire.core().shared.draining.get() {
            self.is_draining = true;
            self.machine.drain(milliseconds(wire.now()));
            // WebSockets in tasks of their own notice it there.
            let transfers = self.streams.iter().flatten().filter_map(|live| live.transfer.as_ref());
            let tunnels = transfers.filter(|transfer| transfer.is_tunnel);
            tunnels.filter_map(|transfer| transfer.task.as_ref()).for_each(JoinHandle::wake);
        }
        if self.buf.is_empty() {
            self.buf = wire.core().handle().take_send_buf();
        }
        let received = self.receive(wire, cx);
        self.listen(wire);
        self.release(wire, cx);
        if received == Received::Gone || self.send(wire, cx).is_err() {
            self.cancel_all(wire.core());
            return Poll::Ready(Next::Gone);
        }
        if self.is_paused && self.machine.wants_input(self.buf.len()) {
            // What waited is on its way: there is room again, and no send that would wake us to use it.
            cx.waker().wake_by_ref();
        }
        if received == Received::End {
            // Whoever ends its side of an HTTP/2 connection has left it (section 9.1): no stream can be ended by FIN.
            self.cancel_all(wire.core());
        }
        if self.machine.is_finished() || received == Received::End {
            if self.buf.is_empty() {
                return Poll::Ready(Next::Close);
            }
            // The last words wait for the send in flight.
            if wire.stream.poll_sent(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        if self.buf.is_empty() {
            wire.core().handle().recycle_send_buf(std::mem::take(&mut self.buf));
        }
        let Gone = ready!(self.poll_time(wire, cx));
        self.cancel_all(wire.core());
        Poll::Ready(Next::Gone)
    }

    fn live(&mut self, key: StreamKey) -> Option<&mut Live> {
        self.streams.get_mut(key.slot())?.as_mut().filter(|live| live.id == key.id())
    }

    /// The stream, as one that takes longer than a turn.
    fn live_or_new(&mut self, key: StreamKey, is_head: bool) -> &mut Live {
        let slot = key.slot();
        lengthen(&mut self.streams, slot);
        let place = &mut self.streams[slot];
        self.live += usize::from(place.is_none());
        place.get_or_insert_with(|| Live::new(key.id(), is_head))
    }

    /// The exchange is over: its handler is dropped, whoever still reads its body learns why. Threads cannot be dropped:
    /// while some are at work the stream keeps its place, and counts (F-01).
    fn end(&mut self, core: &Core, key: StreamKey, why: BodyError) {
        if self.live(key).is_some()
            && let Some(live) = self.streams[key.slot()].take()
        {
            self.live -= 1;
            if live.inbound().is_some() {
                self.receiving.retain(|other| *other != key);
            }
            let (is_head, work) = (live.is_head, live.end(&self.table, core, why));
            if let Some(work) = work
                && !work.is_over(&self.wakers.of(key.slot()))
            {
                let live = self.live_or_new(key, is_head);
                live.is_over = true;
                live.transfer().work = Some(work);
                return self.machine.abandon(key);
            }
        }
        self.machine.stream_done(key);
    }

    /// The handler is done, and nothing more is asked of it; what was offered still goes out.
    fn handler_done(&mut self, key: StreamKey) {
        let slot = key.slot();
        let work = self.streams[slot].as_ref().and_then(|live| live.transfer.as_ref()?.work.as_ref());
        if work.is_none_or(|work| work.is_over(&self.wakers.of(slot))) {
            self.machine.stream_done(key);
        }
    }

    fn cancel_all(&mut self, core: &Core) {
        // (A WebSocket counts its own end, and a stream that only threads keep has been counted.)
        if self.streams.iter().flatten().any(|live| !live.is_over && !live.is_tunnel()) {
            core.shared.counters.disconnects.up();
        }
        let streams = std::mem::take(&mut self.streams).into_iter().enumerate();
        for (slot, live) in streams.filter_map(|(slot, live)| Some((slot, live?))) {
            // The machine may still be asked for output: it must not grant what is not here any more.
            let key = live.key(slot);
            self.machine.reset(key, Reason::CANCEL);
            self.machine.stream_done(key);
            drop(live.end(&self.table, core, BodyError::Disconnected));
        }
        self.receiving.clear();
        self.live = 0;
    }

    /// Streams wake this task from now on.
    fn drive(&mut self, cx: &Context<'_>) {
        if self.wakers.drive(cx.waker()) {
            let live = self.streams.iter().enumerate().filter_map(|(slot, live)| Some((slot, live.as_ref()?)));
            for (slot, live) in live {
                if let Some(outbound) = live.transfer.as_ref().and_then(|transfer| transfer.outbound.as_ref()) {
                    outbound.drive(&self.wakers.of(slot));
                }
                self.wakers.mark(slot);
            }
        }
    }

    /// Looks at the streams that were woken.
    fn listen<S: ByteStream>(&mut self, wire: &Wire<S>) {
        if self.live == 0 {
            return;
        }
        let mut woken: SmallVec<[u16; 64]> = SmallVec::new();
        self.wakers.take(self.streams.len(), |slot| woken.push(slot as u16));
        for slot in woken {
            let Some(live) = self.streams.get(usize::from(slot)).and_then(Option::as_ref) else { continue };
            let key = live.key(slot.into());
            if live.handler.is_some() {
                self.poll_handler(wire, key);
            } else if live.is_over {
                self.end(wire.core(), key, BodyError::Disconnected);
            } else {
                self.offer(wire.core(), key);
            }
        }
    }
}

/// The machine's time.
fn milliseconds(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000
}
