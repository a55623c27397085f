//! Outwards: an application as a service, for a host that is not ours.

use crate::{
    body::{Body, Inbound},
    dispatch::{Begun, SHED},
    features::Features,
    request::{Link, Request},
    response::{Payload, Response, is_bodiless},
    site::Site,
    stream::Chunk,
    tower::{
        inflow::Inflow,
        origin::Origin,
        response_body::{ResponseBody, Streamed},
    },
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use ringgate_protocols::{
    http::{
        head::{Field, Head},
        target,
    },
    span::Span,
};
use ringgate_runtime::{buffer::Lease, time::Sleep};
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// A site answers requests that somebody else has received: it runs under hyper, or wherever a service over `http` types
/// does, on the thread of its executor ([`Site::drive`]).
///
/// - **Handlers** are the same: async, inline, and blocking ones on the crew. Limits on bodies, `request_timeout_ms`,
///   hooks, counters, panics as 500 hold as ever. Limits and time-outs of the connection are the host's.
/// - **Bodies** stream in both directions with backpressure, trailers included; bytes are copied on the way in.
/// - **Dropping** the answer, as hosts do when the client goes, drops the handler.
/// - [`Request::features`] is what a host can carry: no early hints (they become `Link` fields) and so no push. Trailers
///   arrive on HTTP/2; on HTTP/1.1 with `TE: trailers`, if the response names them in a `Trailer` field, which is done for
///   those of [`Response::trailers`].
/// - [`Request::peer_address`] is known if the host has left an [`Origin`] in the request's extensions.
/// - **A drain** is told to them by [`Core::is_draining`](crate::Core::is_draining) and to their clients by
///   `Connection: close`; [`Site::drain`] waits for connections of its own only.
/// - **WebSockets** cannot be opened: types of `http` have no word for it. A handshake is answered with 501, or by the
///   handler for [those that ask for none](crate::websocket::WebSocketRoute::otherwise); extended CONNECT with 501.
/// - A handler that holds its core for long is not named: the host polls it, not the executor.
impl<B> Service<http::Request<B>> for Site
where
    B: http_body::Body + 'static,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Answer {
        Answer::new(self.clone(), request)
    }
}

/// An application at work on a request; dropped, it stops: an async handler is dropped with it, a blocking one sees
/// [`is_disconnected`](crate::blocking::Request::is_disconnected). It never fails: what goes wrong is a response. For an
/// example see [`Site::drive`].
pub struct Answer {
    site: Site,
    request: Option<Request>,
    begun: Option<Begun>,
    inflow: Option<Inflow>,
    deadline: Option<Sleep>,
    asked: Asked,
}

/// What the response must know of its request.
#[derive(Clone, Copy)]
struct Asked {
    version: Version,
    is_head: bool,
    is_handshake: bool,
    has_te_trailers: bool,
}

impl Answer {
    fn new<B: http_body::Body + 'static>(site: Site, received: http::Request<B>) -> Self {
        let core = site.core().clone();
        let (parts, body) = received.into_parts();
        let has = |name: &HeaderName, wanted: &str| {
            let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
        };
        let asked = Asked {
            version: parts.version,
            is_head: parts.method == Method::HEAD,
            is_handshake: has(&header::UPGRADE, "websocket"),
            has_te_trailers: has(&header::TE, "trailers"),
        };
        let mut answer = Self { site, request: None, begun: None, inflow: None, deadline: None, asked };
        let Some((head, bytes)) = head(&parts) else { return answer };
        core.handle().catch_up();
        let mut request = core.shared.requests.take();
        *request.head_mut() = head;
        request.locate(&Lease::from_vec(bytes), 0);
        let origin = parts.extensions.get::<Origin>();
        let peer = origin.and_then(|origin| origin.peer_address().cloned());
        let local = origin.and_then(|origin| origin.local_address().cloned()).map(Rc::new);
        let link = Link::new(core.clone(), peer, local);
        let (is_http2, is_http10) = (asked.version >= Version::HTTP_2, asked.version <= Version::HTTP_10);
        let has_body = !body.is_end_stream();
        let features = Features {
            trailers: is_http2 || (!is_http10 && asked.has_te_trailers),
            streaming: !is_http10,
            full_duplex: has_body,
            keep_alive: !is_http10 && !core.is_draining(),
            multiplexed: is_http2,
            ..Features::default()
        };
        let config = &core.shared.config;
        let deadline = core.request_deadline();
        answer.deadline = deadline.map(|deadline| core.handle().sleep_until(deadline));
        request.attach(&Rc::new(link), features, deadline);
        if has_body {
            let announced = parts.headers.get(header::CONTENT_LENGTH);
            let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
            let declared = announced.or_else(|| body.size_hint().exact());
            let inbound = Inbound::new(declared, config.limits.body_bytes_max, config.limits.body_buffer_bytes_max);
            request.set_body(Body::new(inbound.clone()));
            answer.inflow = Some(Inflow::new(inbound, body));
        }
        answer.request = Some(request);
        answer
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Response> {
        let (core, table) = (self.site.core(), self.site.table());
        let Some(request) = &mut self.request else {
            return Poll::Ready(Response::text("the request cannot be understood\n").status(StatusCode::BAD_REQUEST));
        };
        let begun = self.begun.get_or_insert_with(|| table.begin(core, request));
        Inflow::poll(&mut self.inflow, cx);
        let mut polled = table.poll(core, begun, cx);
        if polled.is_pending() {
            // It may have asked for the body, or taken some.
            Inflow::poll(&mut self.inflow, cx);
            if let Some(deadline) = &mut self.deadline
                && Pin::new(deadline).poll(cx).is_ready()
            {
                core.shared.counters.timeouts_handler.up();
                table.forget(core, begun);
                let late = Response::text("the request took too long\n").status(StatusCode::SERVICE_UNAVAILABLE);
                polled = Poll::Ready(late);
            }
        }
        let mut response = ready!(polled);
        table.run_after(core, begun.route, request, &mut response);
        for link in request.take_hints() {
            response.append(header::LINK, link);
        }
        request.set_answered();
        Poll::Ready(response)
    }

    /// The response in the types of the `http` crate.
    fn translate(&mut self, response: Response) -> http::Response<ResponseBody> {
        let Asked { version, is_head, is_handshake, .. } = self.asked;
        let core = self.site.core();
        let is_refused = is_handshake && response.status == StatusCode::UPGRADE_REQUIRED;
        let response = match response.body {
            Payload::Upgrade(_) => no_websocket(),
            _ if is_refused => no_websocket(),
            _ => response,
        };
        core.shared.counters.response(response.status);
        let length = response.announced_length(is_head);
        let Response { status, content_type, fields, body, trailers } = response;
        let mut translated = http::Response::new(ResponseBody::empty());
        *translated.status_mut() = status;
        let headers = translated.headers_mut();
        for (name, value) in fields {
            if !FRAMING.contains(&name) {
                headers.append(name, value);
            }
        }
        if let Some(content_type) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        let is_shed = self.begun.as_ref().is_some_and(|begun| begun.route == SHED);
        if (core.is_draining() || is_shed) && version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if is_head || is_bodiless(status) {
            return translated;
        }
        let trailers = trailers.map(|trailers| *trailers);
        if let Some(trailers) = trailers.as_ref().filter(|_| length.is_none() && version < Version::HTTP_2) {
            trailers.keys().for_each(|name| {
                headers.append(header::TRAILER, HeaderValue::from(name.clone()));
            });
        }
        let passes = self.passes(headers, length);
        let trailers = trailers.filter(&passes);
        *translated.body_mut() = match body {
            Payload::Stream { chunks, .. } => {
                let core = core.clone();
                let streamed = Streamed { chunks, inflow: self.inflow.take(), core, passes: Box::new(passes) };
                ResponseBody::streamed(streamed, length, trailers)
            }
            body => {
                let bytes = body.into_piece().and_then(|piece| Chunk::data(piece).into_bytes().ok());
                ResponseBody::whole(bytes.unwrap_or_default(), trailers)
            }
        };
        translated
    }

    /// Which trailers a host passes on: on HTTP/2 all of them; on HTTP/1.1 those that were announced, behind a body of
    /// unknown length, for a client that wants them.
    fn passes(&self, headers: &HeaderMap, length: Option<u64>) -> impl Fn(&HeaderMap) -> bool + 'static {
        let Asked { version, has_te_trailers, .. } = self.asked;
        let is_possible = has_te_trailers && version == Version::HTTP_11 && length.is_none();
        let values = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
        let announced: Vec<String> = values
            .filter(|_| is_possible)
            .flat_map(|value| value.split(','))
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        move |trailers| {
            version >= Version::HTTP_2
                || (is_possible && trailers.keys().all(|name| announced.iter().any(|known| known == name.as_str())))
        }
    }
}

/// Fields that are the host's business.
const FRAMING: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::DATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn no_websocket() -> Response {
    Response::text("WebSockets cannot be opened by way of this host\n").status(StatusCode::NOT_IMPLEMENTED)
}

/// The head as the gateway's own: text, and places in it. `None` for a target that is none.
fn head(parts: &http::request::Parts) -> Option<(Head, Vec<u8>)> {
    fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Span {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(text);
        Span::new(start, bytes.len() as u32)
    }
    let mut bytes = Vec::new();
    let mut head = Head { method: parts.method.clone(), version: parts.version, ..Head::default() };
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let path_and_query = parts.uri.path_and_query().map(|target| target.as_str()).filter(|text| !text.is_empty());
    let text = match (&parts.method, authority) {
        (&Method::CONNECT, Some(authority)) => authority,
        _ => path_and_query.unwrap_or("/"),
    };
    head.target = put(&mut bytes, text.as_bytes());
    let found = target::parse(&parts.method, text.as_bytes())?;
    (head.path, head.query) = (found.path, found.query);
    let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
    head.authority = put(&mut bytes, authority.map(str::as_bytes).or(host).unwrap_or_default());
    for (name, value) in &parts.headers {
        // RFC 9110 section 7.8: who cannot switch takes no notice of the offer.
        if *name == header::UPGRADE {
            continue;
        }
        let (name, value) = (put(&mut bytes, name.as_str().as_bytes()), put(&mut bytes, value.as_bytes()));
        head.fields.push(Field { name, value });
    }
    Some((head, bytes))
}

impl Future for Answer {
    type Output = Result<http::Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.site.core().handle().catch_up();
        let polled = self.poll_response(cx);
        self.site.core().handle().nudge();
        let response = ready!(polled);
        Poll::Ready(Ok(self.translate(response)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(mut begun) = self.begun.take().filter(Begun::is_pending) {
            let core = self.site.core();
            core.shared.counters.disconnects.up();
            self.site.table().forget(core, &mut begun);
            // What the handler held may have woken tasks when it went.
            core.handle().nudge();
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("request", &self.request).finish_non_exhaustive()
    }
}
