//! A route that leads to a socket: its options, and the judgement of the opening handshake.

use crate::{
    blocking,
    handler::{Handler, IntoHandler, Kind},
    request::Request,
    response::{Payload, Response},
    websocket::{
        hub::Hub,
        object::WebSocket,
        options::{Options, Origins, QueuePolicy},
        socket::{Socket, milliseconds},
        state::State,
        upgrade::{Conversation, SocketOutcome, Upgrade},
    },
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ringgate_protocols::{
    limits::WebSocketLimits,
    websocket::{
        connection::Connection,
        handshake::{Handshake, Refusal},
        negotiation::{DeflateConfig, Negotiated},
    },
};
use std::{cell::RefCell, fmt, future::Future, rc::Rc, sync::Arc};

/// Begins a conversation, or says that no thread is free for it.
type Start = Box<dyn Fn(WebSocket) -> Result<Conversation, Response>>;

/// A function that can hold a conversation: `async fn(WebSocket)` on the core, `fn(blocking::WebSocket)` on a thread
/// of the crew. `Marker` is found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a WebSocket handler",
    note = "a WebSocket handler is `async fn(WebSocket) -> R` or `fn(blocking::WebSocket) -> R` where `R` is `()` or a `Result`"
)]
pub trait IntoSocketHandler<Marker> {
    /// As a route with default options.
    fn into_route(self) -> WebSocketRoute;
}

/// Marks `async fn(WebSocket)`.
#[derive(Debug)]
pub enum IsAsyncSocket {}
/// Marks `fn(blocking::WebSocket)`.
#[derive(Debug)]
pub enum IsBlockingSocket {}
/// Marks either, as a handler.
#[derive(Debug)]
pub struct IsSocket<Marker>(std::marker::PhantomData<Marker>);
/// Marks [`WebSocketRoute`].
#[derive(Debug)]
pub enum IsSocketRoute {}

impl<F, R> IntoSocketHandler<IsAsyncSocket> for F
where
    F: Fn(WebSocket) -> R + 'static,
    R: Future<Output: SocketOutcome> + 'static,
{
    fn into_route(self) -> WebSocketRoute {
        WebSocketRoute::new(Box::new(move |socket| Ok(Box::pin(self(socket)))))
    }
}

impl<F, R> IntoSocketHandler<IsBlockingSocket> for F
where
    F: Fn(blocking::WebSocket) -> R + Send + Sync + 'static,
    R: SocketOutcome,
{
    fn into_route(self) -> WebSocketRoute {
        let run: Arc<blocking::bridge::SocketFn> = Arc::new(move |socket| self(socket).is_failure());
        WebSocketRoute::new(Box::new(move |socket| blocking::bridge::begin(run.clone(), socket)))
    }
}

impl<F, Marker> IntoHandler<IsSocket<Marker>> for F
where
    F: IntoSocketHandler<Marker>,
{
    fn into_handler(self) -> Handler {
        IntoHandler::<IsSocketRoute>::into_handler(self.into_route())
    }
}

/// A WebSocket handler with options of its own. Made by [`websocket`].
///
/// A request that is no proper handshake is answered by the route itself: 426 if it asks for no WebSocket (see
/// [`WebSocketRoute::otherwise`]) or for another version, 400 if the handshake is malformed, 403 if the page it comes from
/// is not welcome. All of them are counted as `websockets_refused`, and the handler is not begun.
///
/// ```
/// use ringgate::{App, Request, websocket::{SocketError, WebSocket, WebSocketLimits, websocket}};
/// async fn shout(mut socket: WebSocket) -> Result<(), SocketError> {
///     let is_loud = socket.subprotocol() == Some("loud");
///     while let Some(message) = socket.recv().await {
///         let text = message?.to_text().unwrap_or_default().to_uppercase();
///         socket.send(if is_loud { text + "!" } else { text }).await?;
///     }
///     Ok(())
/// }
/// let limits = WebSocketLimits { message_bytes_max: 1000, ..WebSocketLimits::default() };
/// let route = websocket(shout).subprotocols(["loud"]).limits(limits).otherwise(|_: &Request| "come by WebSocket\n");
/// let app = App::new().route("/shout", route);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/shout", &["hello"]), ["HELLO"]);
/// # let app = App::new().route("/shout", websocket(shout).otherwise(|_: &Request| "come by WebSocket\n"));
/// # assert!(client::ask(app, "GET /shout HTTP/1.1", "").ends_with("come by WebSocket\n"));
/// # let app = App::new().route("/shout", shout);
/// # assert!(client::ask(app, "GET /shout HTTP/1.1", "").starts_with("HTTP/1.1 426 "));
/// ```
pub struct WebSocketRoute {
    options: Options,
    start: Start,
    otherwise: Option<Handler>,
}

/// A WebSocket handler, to be given options.
///
/// ```
/// use ringgate::{App, Request, Response, get, websocket::{DeflateConfig, Origins, QueuePolicy, WebSocket, websocket}};
/// async fn quotes(mut socket: WebSocket) {
///     let _ = socket.send("EUR 1.0871").await;
/// }
/// fn page(_: &Request) -> Response { Response::html("<p>Quotes come by WebSocket.") }
///
/// let route = websocket(quotes)
///     .subprotocols(["quotes.v2", "quotes.v1"])
///     .deflate(DeflateConfig::default())
///     .origins(Origins::Listed(vec!["https://app.example.org".to_owned()]))
///     .queue(65_536, QueuePolicy::DropOldest)
///     .otherwise(page);
/// let app = App::new().route("/quotes", get(route));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/quotes", &[]), ["EUR 1.0871"]);
/// ```
pub fn websocket<Marker>(handler: impl IntoSocketHandler<Marker>) -> WebSocketRoute {
    handler.into_route()
}

impl WebSocketRoute {
    fn new(start: Start) -> Self {
        Self { options: Options::default(), start, otherwise: None }
    }

    /// The subprotocols the handler speaks. A client that offers none, or only others, gets a socket without one.
    #[must_use]
    pub fn subprotocols<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        // Named once by the program, for as long as it runs.
        self.options.subprotocols = names.into_iter().map(|name| &*String::leak(name.to_owned())).collect();
        self
    }

    /// Agrees to permessage-deflate (RFC 7692) where a client offers it. Without it nothing is ever compressed.
    #[must_use]
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.options.deflate = Some(config);
        self
    }

    /// Messages below this many bytes are sent uncompressed. 64 without it.
    #[must_use]
    pub fn compress_from(mut self, bytes: usize) -> Self {
        self.options.compress_bytes_min = bytes;
        self
    }

    /// Whose pages may open this socket; others get 403. Without it those of the same host.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.options.origins = origins;
        self
    }

    /// Bounds of messages, fragments, pings, and the times. (With a `close_timeout_ms` of 0 the peer may take all its time
    /// to answer our Close, and a handler is dropped as soon as its connection is over.)
    #[must_use]
    pub fn limits(mut self, limits: WebSocketLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Bytes that may wait for the wire, and what happens beyond. As many again may be on their way; a message that finds
    /// room has it as a whole. 65,536 and [`QueuePolicy::Wait`] without it.
    #[must_use]
    pub fn queue(mut self, bytes_max: usize, policy: QueuePolicy) -> Self {
        self.options.queue_bytes_max = bytes_max.max(1);
        self.options.policy = policy;
        self
    }

    /// Who answers a request that asks for no WebSocket: a page, say. Without it such a request gets 426.
    #[must_use]
    pub fn otherwise<Marker>(mut self, handler: impl IntoHandler<Marker>) -> Self {
        self.otherwise = Some(handler.into_handler());
        self
    }
}

impl fmt::Debug for WebSocketRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketRoute").field("options", &self.options).finish_non_exhaustive()
    }
}

impl IntoHandler<IsSocketRoute> for WebSocketRoute {
    fn into_handler(self) -> Handler {
        let Self { options, start, otherwise } = self;
        let (options, has_other) = (Rc::new(options), otherwise.is_some());
        let open = move |request: Request| open(&options, &start, request, has_other);
        Handler { kind: Kind::Socket { open: Box::new(open), otherwise: otherwise.map(Rc::new) }, is_websocket: true }
    }
}

/// Judges the handshake and begins the conversation: the response accepts it, or refuses. The request comes back when
/// it asks for no WebSocket and somebody else answers such.
fn open(options: &Rc<Options>, start: &Start, mut request: Request, has_other: bool) -> Result<Response, Request> {
    let accepted = match judge(options, &request) {
        Ok(accepted) => accepted,
        Err(Refusal::NotAnUpgrade) if has_other => return Err(request),
        Err(refusal) => {
            request.core().shared.counters.websockets_refused.up();
            return Ok(refuse(refusal));
        }
    };
    let core = request.core().clone();
    let mut body = std::mem::take(request.body_mut());
    body.set_bytes_max(u64::MAX);
    let parameters = accepted.deflate.map(|negotiated| negotiated.parameters);
    let machine = Connection::server(parameters, milliseconds(&core));
    let socket = Rc::new(Socket {
        link: request.link_shared(),
        hub: Hub::of(&core),
        options: options.clone(),
        protocol: request.protocol(),
        subprotocol: accepted.subprotocol,
        state: RefCell::new(State::new(machine)),
    });
    let subprotocol = socket.subprotocol();
    let conversation = match start(WebSocket::new(socket.clone(), request)) {
        Ok(conversation) => conversation,
        Err(response) => return Ok(response),
    };
    // (A status that `Response::new` takes for none.)
    let mut response = Response { status: accepted.status, ..Response::default() };
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    if let Some(accept) = accepted.key {
        response.append(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.append(header::SEC_WEBSOCKET_ACCEPT, text(&String::from_utf8_lossy(&accept)));
    }
    if let Some(subprotocol) = subprotocol {
        response.append(header::SEC_WEBSOCKET_PROTOCOL, text(subprotocol));
    }
    if let Some(negotiated) = accepted.deflate {
        response.append(header::SEC_WEBSOCKET_EXTENSIONS, text(&negotiated.to_string()));
    }
    response.body = Payload::Upgrade(Box::new(Upgrade { socket, conversation, body }));
    Ok(response)
}

/// What was agreed on.
struct Accepted {
    status: StatusCode,
    key: Option<[u8; 28]>,
    /// Its place among those of the route.
    subprotocol: Option<u16>,
    deflate: Option<Negotiated>,
}

fn judge(options: &Options, request: &Request) -> Result<Accepted, Refusal> {
    let (head, bytes) = request.head_and_bytes();
    let handshake = match request.connect_protocol() {
        Some(protocol) => Handshake::judge_stream(&head, &bytes, protocol)?,
        None => {
            let handshake = Handshake::judge(&head, &bytes)?;
            // RFC 9110 section 7.8: nothing is switched before the request is whole.
            if !request.is_bodiless() {
                return Err(Refusal::Malformed);
            }
            handshake
        }
    };
    if !options.origins.admits(&handshake) {
        return Err(Refusal::Origin);
    }
    let offered = handshake.choose_subprotocol(&options.subprotocols);
    Ok(Accepted {
        status: StatusCode::from_u16(handshake.status()).unwrap_or(StatusCode::SWITCHING_PROTOCOLS),
        key: handshake.accept(),
        subprotocol: (0..).zip(&options.subprotocols).find(|(_, name)| Some(**name) == offered).map(|(place, _)| place),
        deflate: options.deflate.as_ref().and_then(|config| handshake.negotiate(config)),
    })
}

fn refuse(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let text = match refusal {
        Refusal::NotAnUpgrade => "this is a WebSocket\n",
        Refusal::Version | Refusal::VersionOnStream => "WebSocket version 13 is spoken here\n",
        Refusal::Malformed => "the handshake is malformed\n",
        Refusal::Origin => "pages of this origin are not welcome\n",
        Refusal::Protocol => "this protocol is not implemented\n",
    };
    let mut response = Response::text(text).status(status);
    for (name, value) in refusal.fields() {
        response.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
