//! Requests: how they are begun, promised and answered.

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
use ringgate_protocols::http2::{connection::Promise, request::RequestHead, stream::StreamKey};
use ringgate_runtime::{net::ByteStream, time::Instant};
use std::{
    rc::Rc,
    task::{Context, Poll},
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
        let deadline = core.request_deadline();
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
    pub(super) fn answer_instead(&mut self, link: &Rc<Link>, key: StreamKey, why: BodyError, response: Response) {
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
