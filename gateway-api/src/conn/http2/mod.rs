//! HTTP/2 on one connection: many exchanges at once, everything of a turn in one send.
//!
//! Handlers that are ready at once are answered where their request is read. Others run as tasks of their own
//! ([`outbound`]) and leave news; the driver alone touches machine and socket.

mod outbound;
mod pieces;
mod stream;

use crate::{
    body::{Body, Inbound},
    conn::{
        http1::Next,
        http2::{
            outbound::{Notice, Notices},
            stream::Live,
        },
        wire::{Gone, Wire},
    },
    core::Core,
    error::BodyError,
    features::Features,
    request::{Request, header_map},
    response::{Payload, Response},
};
use http::{HeaderName, Method, StatusCode, header};
use ringgate_protocols::http2::{
    connection::{Connection, Event, Promise},
    reason::Reason,
    request::RequestHead,
    stream::StreamKey,
};
use ringgate_runtime::{
    buffer::{Lease, SendBuf},
    net::ByteStream,
    time::Instant,
};
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// A body up to this size is copied behind its head: cheaper than one more piece in the send.
const COPIED_BYTES_MAX: usize = 4096;

/// Received pieces that one poll takes in; then the other connections of the core have their turn.
const LEASES_PER_POLL_MAX: usize = 8;

/// Serves a connection whose preface announced HTTP/2, to its end.
pub(crate) async fn serve<S: ByteStream>(wire: &mut Wire<S>) -> Next {
    let limits = wire.core().shared.config.limits.http2.clone();
    let machine = Connection::new(limits, milliseconds(wire.now()));
    let mut driver = Box::new(Driver::new(machine, wire.now()));
    poll_fn(|cx| driver.poll(wire, cx)).await
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
    fn new(machine: Connection, now: Instant) -> Self {
        Self {
            machine,
            streams: Vec::new(),
            live: 0,
            receiving: Vec::new(),
            notices: Rc::default(),
            buf: SendBuf::default(),
            send_deadline: Instant::default(),
            body_deadline: None,
            idle_since: now,
            is_paused: false,
            is_draining: false,
        }
    }

    /// One round: take in, let the streams speak, send.
    fn poll<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Next> {
        wire.leave_waker(cx);
        if !self.is_draining && wire.core().shared.draining.get() {
            self.is_draining = true;
            self.machine.drain(milliseconds(wire.now()));
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
                    self.data(stream, lease.slice(start + span.start()..start + span.end()), end_stream);
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
        }
    }

    fn cancel_all(&mut self, core: &Core) {
        if self.live > 0 {
            core.shared.counters.disconnects.up();
        }
        let keys: Vec<StreamKey> = self.streams.iter().flatten().map(|live| live.key).collect();
        keys.into_iter().for_each(|key| self.forget(key, BodyError::Disconnected));
    }

    /// A request: dispatched, and answered at once if its handler is ready at once. Gives a shell for the next one.
    fn request<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        cx: &mut Context<'_>,
        mut request: Request,
        key: StreamKey,
        head: Box<RequestHead>,
        end_stream: bool,
    ) -> Request {
        let config = &wire.link.core.shared.config;
        let (declared, is_head) = (head.content_length, head.head.method == Method::HEAD);
        request.adopt(head);
        let inbound = (!end_stream).then(|| {
            let inbound = Inbound::new(declared, config.limits.body_bytes_max, config.limits.body_buffer_bytes_max);
            self.receiving.push(key);
            inbound
        });
        self.dispatch(wire, cx, request, key, is_head, inbound)
    }

    /// Begins the handler of a request that has come or was promised.
    fn dispatch<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        cx: &mut Context<'_>,
        mut request: Request,
        key: StreamKey,
        is_head: bool,
        inbound: Option<Rc<Inbound>>,
    ) -> Request {
        let core = &wire.link.core;
        let config = &core.shared.config;
        let timeout = config.timeouts.request_timeout_ms;
        let deadline = (timeout > 0).then(|| wire.now() + Duration::from_millis(timeout));
        wire.link.promises_left.set(self.machine.promises_left());
        let features = Features {
            trailers: true,
            early_hints: true,
            push: key.id().is_client() && self.machine.can_push(),
            streaming: true,
            full_duplex: inbound.is_some(),
            keep_alive: !self.is_draining,
            multiplexed: true,
            ..Features::default()
        };
        request.attach(&wire.link, features, deadline);
        if let Some(inbound) = &inbound {
            request.set_body(Body::new(inbound.clone()));
        }
        let mut begun = wire.table.begin(core, &mut request);
        let polled = if inbound.is_some() { begun.take_ready() } else { wire.table.poll(core, &mut begun, cx) };
        match polled {
            Poll::Ready(mut response) => {
                wire.table.finish(core, &begun, &request, &mut response);
                if inbound.is_some() || request.has_hints() {
                    let mut live = Live::new(key, is_head);
                    live.inbound = inbound;
                    self.insert(live);
                    self.hints(wire, cx, &request, key, &mut response);
                }
                request.set_answered();
                self.respond(&wire.link.core, key, is_head, response);
            }
            Poll::Pending => {
                let mut live = Live::new(key, is_head);
                live.expects_continue = inbound.is_some() && request.header("expect") == Some(b"100-continue");
                live.inbound = inbound;
                live.request = Some(request.share());
                live.begin(wire, begun, request.share(), &self.notices);
                self.insert(live);
            }
        }
        if request.is_unshared() { request } else { core.shared.requests.take() }
    }

    fn data(&mut self, key: StreamKey, lease: Lease, end_stream: bool) {
        let length = lease.len();
        let Some(live) = self.live(key) else { return self.machine.release_capacity(key, length) };
        let Some(inbound) = live.inbound.clone() else { return self.machine.release_capacity(key, length) };
        if let Some((_, bytes)) = &mut live.waiting {
            *bytes += length as u64;
        }
        if length > 0 && inbound.push(lease).is_err() {
            live.released += length as u64;
            self.machine.release_capacity(key, length);
        }
        if end_stream {
            inbound.finish(None);
            self.receiving.retain(|other| *other != key);
        }
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
                    self.respond(&wire.link.core, key, is_head, response);
                }
                Notice::Body => self.offer(&wire.link.core, key),
            }
        }
    }

    /// Early hints go out as 103, pushes as promises.
    fn interim<S: ByteStream>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>, request: &Request, key: StreamKey) {
        for path in request.take_pushes() {
            self.push(wire, cx, request, key, &path);
        }
        let links = request.take_hints();
        if links.is_empty() {
            return;
        }
        let fields = links.iter().map(|link| (&header::LINK, link));
        // Too late, or the stream is gone: hints are only hints.
        let _ = self.machine.send_interim(self.buf.tail(), key, StatusCode::EARLY_HINTS, fields);
    }

    /// Promises `GET path` on the parent's stream and answers it like a request that came.
    fn push<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        cx: &mut Context<'_>,
        parent: &Request,
        key: StreamKey,
        path: &str,
    ) {
        let authority = parent.authority();
        let promise = Promise { method: &Method::GET, scheme: "http", authority, path };
        // Refused: the stream or the connection is ending, and with it the page that needs the resource.
        let Ok(promised) = self.machine.push_promise(self.buf.tail(), key, promise, []) else { return };
        let core = &wire.link.core;
        let mut request = core.shared.requests.take();
        request.promise(authority, path);
        let shell = self.dispatch(wire, cx, request, promised, false, None);
        core.shared.requests.give(shell);
    }

    /// The same, ahead of the final response.
    fn hints<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        cx: &mut Context<'_>,
        request: &Request,
        key: StreamKey,
        response: &mut Response,
    ) {
        if request.has_hints() {
            self.interim(wire, cx, request, key);
            request.take_hints().into_iter().for_each(|link| response.append(header::LINK, link));
        }
    }

    /// Writes a response, as far as it is at hand; the rest of its body waits for the machine's grants.
    fn respond(&mut self, core: &Core, key: StreamKey, is_head: bool, mut response: Response) {
        core.shared.counters.response(response.status);
        let body = std::mem::take(&mut response.body);
        let length = body.length();
        // Section 6.4.5 and 15.4.5 of RFC 9110: these never have a body.
        let is_bodiless = matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let has_body = !is_head && !is_bodiless && length != Some(0);
        // A length of zero may stand for "not made": HEAD and 304 say nothing rather than a length GET would not have.
        let announced = length.filter(|length| !is_bodiless && (*length > 0 || !is_head));
        let copied = body.at_hand().filter(|bytes| has_body && bytes.len() <= COPIED_BYTES_MAX);
        let sent = core.shared.with_values(announced, response.content_type, |ours| {
            let replaced = |name: &HeaderName| ours.iter().any(|(known, _)| *known == name);
            let theirs = response.fields.iter().filter(|(name, _)| !replaced(name)).map(|(name, value)| (name, value));
            let fields = ours.iter().copied().chain(theirs);
            let out = self.buf.tail();
            match copied {
                Some(bytes) => self.machine.send_response_with_body(out, key, response.status, fields, bytes),
                None => self.machine.send_response(out, key, response.status, fields, !has_body).map(|()| 0),
            }
        });
        let is_whole = match (&sent, copied) {
            (Ok(taken), Some(bytes)) => *taken == bytes.len(),
            (Ok(_), None) => !has_body,
            // The stream is gone: its reset has been told or will be.
            (Err(_), _) => true,
        };
        if is_whole {
            return self.end(key);
        }
        let is_offered = copied.is_some();
        let notices = self.notices.clone();
        if self.live(key).is_none() {
            self.insert(Live::new(key, is_head));
        }
        let Some(live) = self.live(key) else { return };
        live.task = None;
        match body {
            Payload::Stream { chunks, .. } => {
                live.length_left = length;
                live.stream(core, chunks, response.trailers, &notices);
                self.offer(core, key);
            }
            body => {
                live.pieces.extend(body.into_piece());
                let bytes = live.pieces.len();
                if !is_offered && self.machine.offer(self.buf.tail(), key, bytes, true).is_err() {
                    return self.end(key);
                }
                // The handler is done; what was offered still goes out.
                self.machine.stream_done(key);
            }
        }
    }

    /// Tells the machine what a streamed body has come to.
    fn offer(&mut self, core: &Core, key: StreamKey) {
        let Some(live) = self.streams.get_mut(key.slot()).and_then(Option::as_deref_mut) else { return };
        let Some(outbound) = live.outbound.as_ref().filter(|_| live.key == key && !live.is_complete) else { return };
        let fresh = outbound.take();
        let bytes = fresh.pieces.len();
        live.pieces.append(fresh.pieces);
        // Another length than announced makes the response malformed (section 8.1.1): it must not look whole.
        let is_misfit = live.length_left.is_some_and(|left| match &fresh.end {
            Some(Ok(())) => left != bytes as u64,
            _ => left < bytes as u64,
        });
        live.length_left = live.length_left.map(|left| left.saturating_sub(bytes as u64));
        if is_misfit {
            core.shared.counters.responses_misused.up();
        }
        if is_misfit || matches!(fresh.end, Some(Err(_))) {
            self.machine.reset(key, Reason::INTERNAL_ERROR);
            return self.end(key);
        }
        let is_last = fresh.end.is_some() && fresh.trailers.is_none();
        live.trailers = fresh.trailers;
        live.is_complete = fresh.end.is_some();
        let is_empty = live.pieces.len() == 0;
        if (bytes > 0 || is_last) && self.machine.offer(self.buf.tail(), key, bytes, is_last).is_err() {
            return self.end(key);
        }
        match (is_empty, &live.trailers) {
            (true, Some(_)) => self.trailers(key),
            (true, None) if is_last => self.end(key),
            (_, _) if is_last => self.machine.stream_done(key),
            _ => {}
        }
    }

    /// The body is out: trailers end the stream.
    fn trailers(&mut self, key: StreamKey) {
        let trailers = self.live(key).and_then(|live| live.trailers.take());
        let fields = trailers.iter().flat_map(|fields| fields.iter());
        if self.machine.send_trailers(self.buf.tail(), key, fields).is_err() {
            self.machine.reset(key, Reason::INTERNAL_ERROR);
        }
        self.end(key);
    }

    /// The exchange is over on our side.
    fn end(&mut self, key: StreamKey) {
        self.forget(key, BodyError::Disconnected);
        self.machine.stream_done(key);
    }

    /// Gives windows back for what readers have taken, asks for bodies that are waited for, and keeps their time.
    fn release<S: ByteStream>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>) {
        let (now, config) = (wire.now(), &wire.core().shared.config);
        self.body_deadline = None;
        for key in &self.receiving {
            let Some(live) = self.streams.get_mut(key.slot()).and_then(Option::as_deref_mut) else { continue };
            let Some(inbound) = live.inbound.as_ref().filter(|_| live.key == *key) else { continue };
            let consumed = inbound.watch(cx);
            if consumed > live.released {
                self.machine.release_capacity(*key, (consumed - live.released) as usize);
                live.released = consumed;
            }
            if live.expects_continue && inbound.poll_wanted(cx).is_ready() {
                live.expects_continue = false;
                // Too late when the response has begun: then nobody waits for it.
                let _ = self.machine.send_interim(self.buf.tail(), *key, StatusCode::CONTINUE, []);
            }
            // The client is not judged while nobody reads, nor while it may not send: before it was invited, and when
            // windows may be shut for want of a reader. They are given back when half of them is free at the latest, so
            // below that there is room for certain.
            let unread = inbound.unread(cx) as u64;
            let limits = &config.limits.http2;
            let may_send = !live.expects_continue
                && !inbound.is_abandoned()
                && unread * 2 < u64::from(limits.stream_window_bytes)
                && self.machine.held_bytes() * 2 < u64::from(limits.unread_bytes_max);
            live.waiting = may_send.then(|| live.waiting.unwrap_or((now, 0)));
            if let Some((since, bytes)) = live.waiting {
                let due = since + config.timeouts.progress(bytes);
                self.body_deadline = Some(self.body_deadline.map_or(due, |first| first.min(due)));
            }
        }
    }

    /// Ends the exchanges whose request body comes too slowly: 408 where the response has not begun, a reset
    /// where it has. The handler is dropped.
    fn end_slow_bodies(&mut self, core: &Core, now: Instant) {
        let is_slow = |live: &&Live| {
            live.waiting.is_some_and(|(since, bytes)| since + core.shared.config.timeouts.progress(bytes) <= now)
        };
        let slow: Vec<StreamKey> = self
            .receiving
            .iter()
            .filter_map(|key| self.streams.get(key.slot())?.as_deref().filter(|live| live.key == *key))
            .filter(is_slow)
            .map(|live| live.key)
            .collect();
        for key in slow {
            core.shared.counters.timeouts_body.up();
            let Some(live) = self.live(key) else { continue };
            let (is_head, is_begun) = (live.is_head, live.request.take().is_none());
            self.forget(key, BodyError::TooSlow);
            if is_begun {
                self.machine.reset(key, Reason::CANCEL);
                self.machine.stream_done(key);
            } else {
                let slow = Response::text("the request body came too slowly\n").status(StatusCode::REQUEST_TIMEOUT);
                self.respond(core, key, is_head, slow);
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
                let core = wire.link.core.clone();
                self.end_slow_bodies(&core, now.max(first));
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
