//! Requests: how they are begun, promised, and given their bodies.

use crate::{
    body::{Body, Inbound},
    conn::{
        http2::{Driver, stream::Live},
        wire::Wire,
    },
    error::BodyError,
    features::Features,
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
    pub(super) fn dispatch<S: ByteStream>(
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
            websocket: request.connect_protocol() == Some(b"websocket"),
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
                self.respond(&wire.link, key, is_head, response);
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

    /// A piece of a request body. What nobody reads any more is thrown away up to `drain_bytes_max`; beyond it the
    /// stream's window stays shut.
    pub(super) fn data(&mut self, key: StreamKey, lease: Lease, end_stream: bool, drain_bytes_max: u64) {
        let length = lease.len();
        let Some(live) = self.live(key) else { return self.machine.release_capacity(key, length) };
        let Some(inbound) = live.inbound.clone() else { return self.machine.release_capacity(key, length) };
        if let Some((_, bytes)) = &mut live.waiting {
            *bytes += length as u64;
        }
        if length > 0 && inbound.push(lease).is_err() {
            live.released += length as u64;
            live.discarded += length as u64;
            if live.discarded <= drain_bytes_max {
                self.machine.release_capacity(key, length);
            }
        }
        if end_stream {
            inbound.finish(None);
            self.receiving.retain(|other| *other != key);
        }
    }

    /// Early hints go out as 103, pushes as promises.
    pub(super) fn interim<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        cx: &mut Context<'_>,
        request: &Request,
        key: StreamKey,
    ) {
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
    pub(super) fn push<S: ByteStream>(
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
    pub(super) fn hints<S: ByteStream>(
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

    /// Gives windows back for what readers have taken, asks for bodies that are waited for, and keeps their time.
    pub(super) fn release<S: ByteStream>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>) {
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
            // A tunnel may be silent; its own protocol judges that. The client is not judged while nobody reads, nor while it may not send: before it was invited, and when
            // windows may be shut for want of a reader. They are given back when half of them is free at the latest, so
            // below that there is room for certain.
            let unread = inbound.unread(cx) as u64;
            let limits = &config.limits.http2;
            let may_send = live.tunnel.is_none()
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
                self.respond(link, key, is_head, slow);
            }
        }
    }
}
