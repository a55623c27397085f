//! HTTP/2 on one connection: many exchanges at once, everything of a turn in one send.
//!
//! Handlers that are ready at once are answered where their request is read. Others run as tasks of their own
//! ([`outbound`]) and leave news; the driver alone touches machine and socket.

mod outbound;
mod pieces;
mod requests;
mod responses;
mod stream;
mod tunnel;

use crate::{
    conn::{
        http1::Next,
        http2::{
            outbound::{Notice, Notices},
            stream::Live,
        },
        wire::{Gone, Wire},
    },
    core::Core,
    dispatch::Table,
    error::BodyError,
    request::{Request, header_map},
};
use http::Method;
use ringgate_protocols::{
    http2::{
        connection::{Connection, Event},
        stream::StreamKey,
        upgrade::UpgradeSettings,
    },
    limits::Http2Limits,
};
use ringgate_runtime::{buffer::SendBuf, net::ByteStream, time::Instant};
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// Received pieces that one poll takes in; then the other connections of the core have their turn.
const LEASES_PER_POLL_MAX: usize = 8;

/// Serves a connection whose preface announced HTTP/2, to its end.
pub(crate) async fn serve<S: ByteStream>(wire: &mut Wire<S>) -> Next {
    let machine = Connection::new(limits(wire), milliseconds(wire.now()));
    let mut driver = Box::new(Driver::new(machine, wire));
    poll_fn(|cx| driver.poll(wire, cx)).await
}

/// A request that asked for HTTP/2 by `Upgrade: h2c`, and got it.
pub(crate) struct Upgraded {
    pub(crate) request: Request,
    pub(crate) settings: UpgradeSettings,
    /// Begins with the 101.
    pub(crate) buf: SendBuf,
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
            let shell = driver.dispatch(wire, cx, request, key, is_head, None);
            wire.core().shared.requests.give(shell);
        }
        driver.poll(wire, cx)
    })
    .await
}

fn limits<S>(wire: &Wire<S>) -> Http2Limits {
    let mut limits = wire.link.core.shared.config.limits.http2.clone();
    // RFC 8441 section 3: announced only where there is something to connect to.
    limits.connect_protocol &= wire.table.has_websocket;
    limits
}

/// What a connection holds while it lives.
pub(crate) struct Driver {
    machine: Connection,
    /// By the machine's slot numbers.
    streams: Vec<Option<Box<Live>>>,
    live: usize,
    /// Streams whose request body is under way.
    receiving: Vec<StreamKey>,
    notices: Rc<Notices>,
    table: Rc<Table>,
    /// What leaves next.
    buf: SendBuf,
    send_deadline: Instant,
    /// When the first of the request bodies that are waited for is too slow.
    body_deadline: Option<Instant>,
    /// Since when no stream is open.
    idle_since: Instant,
    /// Input was left because of what waits to be sent.
    is_paused: bool,
    is_draining: bool,
}

impl Driver {
    fn new<S: ByteStream>(machine: Connection, wire: &Wire<S>) -> Self {
        Self {
            machine,
            streams: Vec::new(),
            live: 0,
            receiving: Vec::new(),
            notices: Rc::default(),
            buf: SendBuf::default(),
            send_deadline: Instant::default(),
            body_deadline: None,
            idle_since: wire.now(),
            is_paused: false,
            table: wire.table.clone(),
            is_draining: false,
        }
    }

    /// One round: take in, let the streams speak, send.
    fn poll<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Next> {
        wire.leave_waker(cx);
        if !self.is_draining && wire.core().shared.draining.get() {
            self.is_draining = true;
            self.machine.drain(milliseconds(wire.now()));
            for link in self.streams.iter().flatten().filter_map(|live| live.tunnel.as_ref()) {
                link.waker.borrow().iter().for_each(|waker| waker.wake_by_ref());
            }
        }
        if self.buf.is_empty() {
            self.buf = wire.core().handle().take_send_buf();
        }
        let received = self.receive(wire, cx);
        self.listen(wire, cx);
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
        self.poll_time(wire, cx)
    }

    /// Takes in what has come, as long as there is room for the answers.
    fn receive<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Received {
        self.is_paused = false;
        for _ in 0..LEASES_PER_POLL_MAX {
            if !wire.input.is_empty() {
                self.take_in(wire, cx);
            }
            if self.machine.is_finished() {
                return Received::Waiting;
            }
            if !self.machine.wants_input(self.buf.len()) {
                wire.stream.pause_recv();
                self.is_paused = true;
                return Received::Waiting;
            }
            match wire.poll_input(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Received::End,
                Poll::Ready(Err(_)) => return Received::Gone,
                Poll::Pending => return Received::Waiting,
            }
        }
        cx.waker().wake_by_ref();
        Received::Waiting
    }

    /// Gives the input to the machine and acts on its events.
    fn take_in<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) {
        let core = wire.link.core.clone();
        let now = milliseconds(wire.now());
        let mut shell = core.shared.requests.take();
        // One received buffer can hold a thousand requests whose answers are ready at once.
        while !wire.input.is_empty() && self.machine.wants_input(self.buf.len()) {
            let step = {
                let mut heads = core.shared.heads.borrow_mut();
                self.machine.handle_input(&mut heads, wire.input.bytes(), now)
            };
            let Ok(step) = step else {
                core.shared.counters.requests_malformed.up();
                wire.input = crate::conn::input::Input::Empty;
                break;
            };
            match step.event {
                None => {}
                Some(Event::Data { stream, span, end_stream }) => {
                    let (lease, start) = wire.input.share();
                    self.data(
                        stream,
                        lease.slice(start + span.start()..start + span.end()),
                        end_stream,
                        core.shared.config.limits.drain_bytes_max,
                    );
                }
                Some(Event::Request { stream, head, end_stream }) => {
                    shell = self.request(wire, cx, shell, stream, head, end_stream);
                }
                Some(event) => self.event(&core, event),
            }
            wire.input.consume(step.consumed);
        }
        core.shared.requests.give(shell);
    }

    fn event(&mut self, core: &Core, event: Event) {
        match event {
            Event::Trailers { stream, head } => {
                if let Some(inbound) = self.live(stream).and_then(|live| live.inbound.as_ref()) {
                    let bytes = head.bytes();
                    let fields = head.head.fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes)));
                    inbound.finish(Some(header_map(fields)));
                }
                self.receiving.retain(|key| *key != stream);
                core.shared.heads.borrow_mut().recycle(head);
            }
            Event::Reset { stream, by_peer, .. } => {
                if by_peer {
                    core.shared.counters.disconnects.up();
                }
                self.forget(stream, BodyError::Disconnected);
                self.machine.stream_done(stream);
            }
            Event::Goaway { .. } | Event::Data { .. } | Event::Request { .. } => {}
        }
    }

    fn live(&mut self, key: StreamKey) -> Option<&mut Live> {
        self.streams.get_mut(key.slot())?.as_deref_mut().filter(|live| live.key == key)
    }

    fn insert(&mut self, live: Live) {
        let slot = live.key.slot();
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
        }
        self.live += 1;
        self.streams[slot] = Some(Box::new(live));
    }

    /// A stream is over: its handler is dropped, whoever still reads its body learns it.
    fn forget(&mut self, key: StreamKey, why: BodyError) {
        let Some(place) =
            self.streams.get_mut(key.slot()).filter(|place| place.as_ref().is_some_and(|live| live.key == key))
        else {
            return;
        };
        if let Some(live) = place.take() {
            self.live -= 1;
            if let Some(inbound) = &live.inbound {
                inbound.fail(why);
                self.receiving.retain(|other| *other != key);
            }
            live.end();
        }
    }

    fn cancel_all(&mut self, core: &Core) {
        if self.live > 0 {
            core.shared.counters.disconnects.up();
        }
        let keys: Vec<StreamKey> = self.streams.iter().flatten().map(|live| live.key).collect();
        keys.into_iter().for_each(|key| self.forget(key, BodyError::Disconnected));
    }

    /// What the streams' tasks have left.
    fn listen<S: ByteStream>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>) {
        for (key, notice) in self.notices.take(cx) {
            let Some(live) = self.live(key) else { continue };
            match notice {
                Notice::Hints => {
                    if let Some(request) = live.request.as_ref().map(Request::share) {
                        self.interim(wire, cx, &request, key);
                    }
                }
                Notice::Response(mut response) => {
                    let (is_head, request) = (live.is_head, live.request.take());
                    if let Some(request) = request {
                        self.hints(wire, cx, &request, key, &mut response);
                        request.set_answered();
                    }
                    self.respond(&wire.link, key, is_head, response);
                }
                Notice::Body => self.offer(&wire.link.core, key),
            }
        }
    }

    /// Sends what windows and priorities allow: one send at a time, and then the next.
    fn send<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Result<(), Gone> {
        let output_bytes_max = wire.core().shared.config.limits.output_bytes_max;
        // What the protocol has to say waits for the send in flight too, also where no stream does.
        self.machine.poll_output(self.buf.tail());
        loop {
            if wire.stream.is_sending() {
                if self.live == 0 && self.buf.is_empty() {
                    // Nothing waits for it: no need to be woken.
                    return Ok(());
                }
                match wire.stream.poll_sent(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Err(_)) => return Err(Gone),
                    Poll::Ready(Ok(())) => {}
                }
            }
            let is_full = self.fill(output_bytes_max);
            if self.buf.is_empty() {
                return Ok(());
            }
            self.send_deadline = wire.send_allowance(self.buf.len());
            wire.stream.start_send(std::mem::replace(&mut self.buf, wire.core().handle().take_send_buf()));
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Collects what is to go out; true when there is more than may wait at once.
    fn fill(&mut self, output_bytes_max: usize) -> bool {
        self.machine.poll_output(self.buf.tail());
        let mut room = output_bytes_max.saturating_sub(self.buf.len());
        while let Some(grant) = self.machine.next_data(self.buf.tail(), room) {
            room -= grant.length;
            let Some(live) = self.streams.get_mut(grant.stream.slot()).and_then(Option::as_deref_mut) else {
                unreachable!("what was offered stays until it is granted");
            };
            live.pieces.send(grant.length, &mut self.buf);
            if let Some(outbound) = &live.outbound {
                outbound.sent(grant.length);
            }
            if grant.end_stream {
                self.end(grant.stream);
            } else if live.pieces.len() == 0 && live.trailers.is_some() {
                self.trailers(grant.stream);
            }
        }
        room == 0
    }

    /// Waits for the first of the machine's deadlines, the idle time, and the end of a send.
    fn poll_time<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Next> {
        let now = wire.now();
        if self.live > 0 || self.machine.streams_live() > 0 {
            self.idle_since = now;
        }
        loop {
            let timeouts = &wire.core().shared.config.timeouts;
            let is_idle = self.live == 0 && self.machine.streams_live() == 0 && !self.is_draining;
            let idle = is_idle.then(|| self.idle_since + Duration::from_millis(timeouts.idle_timeout_ms));
            let machine = self.machine.poll_timeout().map(|due| Instant::from_nanos((due + 1) * 1_000_000));
            let send = wire.stream.is_sending().then_some(self.send_deadline);
            let Some(first) = [idle, machine, send, self.body_deadline].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            wire.deadline = first;
            if wire.poll_deadline(cx).is_pending() {
                return Poll::Pending;
            }
            let counters = &wire.core().shared.counters;
            if send == Some(first) {
                counters.timeouts_send.up();
                self.cancel_all(wire.core());
                return Poll::Ready(Next::Gone);
            }
            if self.body_deadline == Some(first) {
                self.end_slow_bodies(&wire.link, now);
                self.release(wire, cx);
            } else if idle == Some(first) {
                counters.timeouts_idle.up();
                self.is_draining = true;
                self.machine.drain(milliseconds(now));
            }
            while let Ok(Some(event)) = self.machine.handle_timeout(milliseconds(now)) {
                self.event(&wire.link.core, event);
            }
            if self.send(wire, cx).is_err() {
                return Poll::Ready(Next::Gone);
            }
            if self.machine.is_finished() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// What a round of receiving came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    Waiting,
    /// The peer has ended its side.
    End,
    Gone,
}

/// The machine's time.
fn milliseconds(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000
}
