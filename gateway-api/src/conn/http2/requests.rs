//! Requests: how they are begun, promised, and given their bodies.

use crate::{
    body::{Body, Inbound},
    conn::{
        http2::{Driver, milliseconds},
        wire::Wire,
    },
    dispatch::{Begun, Outcome, SHED},
    error::BodyError,
    features::Features,
    handler::ResponseFuture,
    request::{Link, Request},
    response::Response,
};
use http::{Method, StatusCode, header};
use ringgate_protocols::http2::{connection::Promise, reason::Reason, request::RequestHead, stream::StreamKey};
use ringgate_runtime::{buffer::Lease, net::ByteStream, time::Instant};
use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

impl Driver {
    /// A request: dispatched, and answered at once if its handler is ready at once. Gives a shell for the next one.
    pub(super) fn request<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
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
        self.dispatch(wire, request, key, is_head, inbound)
    }

    /// Begins the handler of a request that has come or was promised.
    pub(super) fn dispatch<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
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
            keep_alive: !self.machine.is_draining(),
            multiplexed: true,
            websocket: request.connect_protocol() == Some(b"websocket"),
            ..Features::default()
        };
        request.attach(&wire.link, features, deadline);
        if let Some(inbound) = &inbound {
            request.set_body(Body::new(inbound.clone()));
        }
        let Begun { route, outcome } = wire.table.begin(core, &mut request);
        if route == SHED {
            self.machine.drain(milliseconds(wire.now()));
        }
        let answered = match outcome {
            Outcome::Ready(response) => Ok(response),
            // Nothing of the body has come: it begins when everything that was received is taken in.
            Outcome::Pending(handler) if inbound.is_some() => {
                self.wakers.mark(key.slot());
                Err(handler)
            }
            Outcome::Pending(mut handler) => match self.poll_once(wire, key, route, &mut handler) {
                Poll::Ready(response) => {
                    wire.table.drop_handler(core, handler);
                    Ok(response)
                }
                Poll::Pending => Err(handler),
            },
        };
        if inbound.is_some() {
            let expects = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
            let expects_continue = answered.is_err() && request.header("expect").is_some_and(expects);
            let transfer = self.live_or_new(key, is_head).transfer();
            (transfer.inbound, transfer.expects_continue) = (inbound, expects_continue);
        }
        match answered {
            Ok(response) => self.answer(wire, key, route, is_head, &request, response),
            Err(handler) => {
                if request.has_hints() {
                    self.interim(wire, &request, key);
                }
                let live = self.live_or_new(key, is_head);
                (live.handler, live.request) = (Some(handler), Some(request.hold()));
                if let Some(deadline) = deadline {
                    self.request_deadline = Some(self.request_deadline.map_or(deadline, |first| first.min(deadline)));
                }
            }
        }
        if request.is_unshared() { request } else { core.shared.requests.take_bare() }
    }

    fn poll_once<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        key: StreamKey,
        route: usize,
        handler: &mut ResponseFuture,
    ) -> Poll<Response> {
        self.wakers.lend(key.slot(), |waker| {
            wire.table.poll_handler(&wire.link.core, route, handler, &mut Context::from_waker(waker))
        })
    }

    /// Lets a handler go on that was woken.
    pub(super) fn poll_handler<S: ByteStream>(&mut self, wire: &Wire<S>, key: StreamKey) {
        let Some(live) = self.live(key) else { return };
        let (Some(mut handler), Some(request)) = (live.handler.take(), live.request.clone()) else { return };
        let (route, is_head) = (request.route_number(), live.is_head);
        match self.poll_once(wire, key, route, &mut handler) {
            Poll::Ready(response) => {
                wire.table.drop_handler(&wire.link.core, handler);
                self.answer(wire, key, route, is_head, &request.request(), response);
            }
            Poll::Pending => {
                if request.has_hints() {
                    self.interim(wire, &request.request(), key);
                }
                if let Some(live) = self.live(key) {
                    live.handler = Some(handler);
                }
            }
        }
    }

    /// The handler has its response: hooks, hints, and out with it.
    fn answer<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        key: StreamKey,
        route: usize,
        is_head: bool,
        request: &Request,
        mut response: Response,
    ) {
        wire.table.run_after(&wire.link.core, route, request, &mut response);
        self.hints(wire, request, key, &mut response);
        request.set_answered();
        if let Some(work) = request.work() {
            self.live_or_new(key, is_head).transfer().work = Some(work);
        }
        if let Some(live) = self.live(key) {
            live.request = None;
        }
        self.respond(&wire.link, key, is_head, response);
    }

    /// A piece of a request body. What nobody reads any more is thrown away up to `drain_bytes_max`; beyond it the
    /// stream's window stays shut.
    pub(super) fn data(&mut self, key: StreamKey, lease: Lease, end_stream: bool, drain_bytes_max: u64) {
        let length = lease.len();
        let Some(live) = self.live(key) else { return self.machine.release_capacity(key, length) };
        let Some(transfer) = live.transfer.as_mut() else { return self.machine.release_capacity(key, length) };
        let Some(inbound) = transfer.inbound.clone() else { return self.machine.release_capacity(key, length) };
        if let Some((_, bytes)) = &mut transfer.waiting {
            *bytes += length as u64;
        }
        if length > 0 && inbound.push(lease).is_err() {
            transfer.released += length as u64;
            transfer.discarded += length as u64;
            if transfer.discarded <= drain_bytes_max {
                self.machine.release_capacity(key, length);
            }
        }
        if end_stream {
            inbound.finish(None);
            self.receiving.retain(|other| *other != key);
        }
    }

    /// Early hints go out as 103, pushes as promises.
    pub(super) fn interim<S: ByteStream>(&mut self, wire: &Wire<S>, request: &Request, key: StreamKey) {
        for path in request.take_pushes() {
            self.push(wire, request, key, &path);
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
    pub(super) fn push<S: ByteStream>(&mut self, wire: &Wire<S>, parent: &Request, key: StreamKey, path: &str) {
        let authority = parent.authority();
        let promise = Promise { method: &Method::GET, scheme: "http", authority, path };
        let core = &wire.link.core;
        if core.is_shedding() {
            return;
        }
        let mut request = core.shared.requests.take_bare();
        request.promise(authority, path);
        // Refused: the stream or the connection is ending, and with it the page that needs the resource.
        let Ok(promised) = self.machine.push_promise(self.buf.tail(), key, promise, []) else { return };
        let shell = self.dispatch(wire, request, promised, false, None);
        core.shared.requests.give(shell);
    }

    /// The same, ahead of the final response.
    pub(super) fn hints<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        request: &Request,
        key: StreamKey,
        response: &mut Response,
    ) {
        if request.has_hints() {
            self.interim(wire, request, key);
            request.take_hints().into_iter().for_each(|link| response.append(header::LINK, link));
        }
    }

    /// Gives windows back for what readers have taken, asks for bodies that are waited for, and keeps their time.
    pub(super) fn release<S: ByteStream>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>) {
        let (now, config) = (wire.now(), &wire.core().shared.config);
        self.body_deadline = None;
        for key in &self.receiving {
            let live = self.streams.get_mut(key.slot()).and_then(Option::as_mut).filter(|live| live.id == key.id());
            let Some(live) = live.and_then(|live| live.transfer.as_mut()) else { continue };
            let Some(inbound) = live.inbound.as_ref() else { continue };
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
            // A tunnel may be silent; its own protocol judges that. The client is not judged while nobody reads, be it that
            // too many answers wait, nor while it may not send: before it was invited, and when windows may be shut for
            // want of a reader. They are given back when half of them is free at the latest, so below that there is room
            // for certain.
            let unread = inbound.unread(cx) as u64;
            let limits = &config.limits.http2;
            let may_send = !self.is_paused
                && !live.is_tunnel
                && !live.expects_continue
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
    pub(super) fn end_slow_bodies(&mut self, link: &Rc<Link>, now: Instant) {
        let core = &link.core;
        let is_slow = |key: &&StreamKey| {
            let live = self.streams.get(key.slot()).and_then(Option::as_ref).filter(|live| live.id == key.id());
            let waiting = live.and_then(|live| live.transfer.as_ref()?.waiting);
            waiting.is_some_and(|(since, bytes)| since + core.shared.config.timeouts.progress(bytes) <= now)
        };
        let slow: Vec<StreamKey> = self.receiving.iter().filter(is_slow).copied().collect();
        for key in slow {
            core.shared.counters.timeouts_body.up();
            if self.live(key).is_some_and(|live| live.request.is_some()) {
                let slow = Response::text("the request body came too slowly\n").status(StatusCode::REQUEST_TIMEOUT);
                self.answer_instead(link, key, BodyError::TooSlow, slow);
            } else {
                self.machine.reset(key, Reason::CANCEL);
                self.end(core, key, BodyError::TooSlow);
            }
        }
    }

    /// Ends the handlers that have run for too long.
    pub(super) fn end_late_handlers(&mut self, link: &Rc<Link>, now: Instant) {
        let live = self.streams.iter().enumerate().filter_map(|(slot, live)| Some((slot, live.as_ref()?)));
        let running = live.filter(|(_, live)| live.handler.is_some());
        let running = running.filter_map(|(slot, live)| Some((live.key(slot), live.request.as_ref()?.deadline()?)));
        let (late, others): (Vec<_>, Vec<_>) = running.partition(|(_, deadline)| *deadline <= now);
        self.request_deadline = others.iter().map(|(_, deadline)| *deadline).min();
        for (key, _) in late {
            link.core.shared.counters.timeouts_handler.up();
            let Some(live) = self.live(key) else { continue };
            let (handler, request) = (live.handler.take(), live.request.clone());
            handler.into_iter().for_each(|handler| self.table.drop_handler(&link.core, handler));
            let mut late = Response::text("the request took too long\n").status(StatusCode::SERVICE_UNAVAILABLE);
            if let Some(request) = request {
                self.table.run_after(&link.core, request.route_number(), &request.request(), &mut late);
            }
            self.answer_instead(link, key, BodyError::Disconnected, late);
        }
    }

    /// Drops a handler that has not answered, and answers in its place.
    fn answer_instead(&mut self, link: &Rc<Link>, key: StreamKey, why: BodyError, response: Response) {
        let Some(live) = self.live(key) else { return };
        let (is_head, handler) = (live.is_head, live.handler.take());
        let request = live.release_request();
        live.transfer().fail(why);
        self.receiving.retain(|other| *other != key);
        if let Some(handler) = handler {
            self.table.drop_handler(&link.core, handler);
        }
        drop(request);
        self.respond(link, key, is_head, response);
    }
}
