//! What a route decides for its sockets.

use ringgate_protocols::{
    limits::WebSocketLimits,
    websocket::{handshake::Handshake, negotiation::DeflateConfig},
};

/// Whose pages may open a socket (RFC 6455 section 10.2). Browsers always say where a page comes from, others need not:
/// a request without `Origin` is never refused.
///
/// ```
/// use ringgate::{App, websocket::{Origins, WebSocket, websocket}};
/// async fn greet(mut socket: WebSocket) {
///     let _ = socket.send("hello").await;
/// }
/// let listed = Origins::Listed(vec!["https://app.example.org".to_owned()]);
/// let app = App::new().route("/ws", websocket(greet).origins(listed));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let head = "GET /ws HTTP/1.1\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\norigin: https://other.example\r\n\
/// #     connection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
/// # assert!(client::ask(app, head, "").starts_with("HTTP/1.1 403 "));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origins {
    /// Pages of the host and port that the request itself names. The default: no other site's page can use a visitor's
    /// cookies here.
    #[default]
    SameHost,
    /// The same, and pages of these origins, as in `https://app.example.org`.
    Listed(Vec<String>),
    /// Any page. For sockets that know nothing of who is calling.
    Any,
}

impl Origins {
    pub(crate) fn admits(&self, handshake: &Handshake<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::SameHost => handshake.is_same_host(),
            Self::Listed(origins) => {
                let listed = |origin: &[u8]| origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin));
                handshake.is_same_host() || matches!(handshake.origin(), Ok(Some(origin)) if listed(origin))
            }
        }
    }
}

/// What happens when a socket's outgoing queue is full, because its peer reads slower than we write. What is only under way
/// is not the peer's doing: for that `send` waits a few turns of the core, and so does whoever publishes. The queue's length
/// is set with it: [`WebSocketRoute::queue`](crate::websocket::WebSocketRoute::queue).
///
/// ```
/// use ringgate::{App, websocket::{QueuePolicy, WebSocket, websocket}};
/// // What one says, all hear.
/// async fn prices(mut socket: WebSocket) {
///     let prices = socket.core().topic("prices");
///     let _here = prices.subscribe(&socket);
///     while let Some(Ok(price)) = socket.recv().await {
///         prices.publish(price).await;
///     }
/// }
/// // Who reads slowly sees fewer prices, and always the newest.
/// let app = App::new().route("/prices", websocket(prices).queue(16_384, QueuePolicy::DropOldest));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/prices", &["12.5"]), ["12.5"]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueuePolicy {
    /// `send` waits. A publisher cannot wait for one of many: a broadcast message passes this socket by. Counted.
    #[default]
    Wait,
    /// The oldest messages that wait are dropped for the new one: for values of which only the latest counts. Counted.
    /// A message in fragments is not dropped, and waits.
    DropOldest,
    /// The socket is closed with 1008, and cut if the peer does not take that either. Counted. A message in fragments
    /// waits.
    Close,
}

/// Everything a route decides.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) limits: WebSocketLimits,
    pub(crate) deflate: Option<DeflateConfig>,
    /// Messages below this are not compressed: they hardly shrink, and it costs more than sending them.
    pub(crate) compress_bytes_min: usize,
    pub(crate) subprotocols: Vec<&'static str>,
    pub(crate) origins: Origins,
    pub(crate) queue_bytes_max: usize,
    pub(crate) policy: QueuePolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: WebSocketLimits::default(),
            deflate: None,
            compress_bytes_min: 64,
            subprotocols: Vec::new(),
            origins: Origins::default(),
            // What keeps one connection of a fast network busy; as much again may be in flight.
            queue_bytes_max: 65_536,
            policy: QueuePolicy::default(),
        }
    }
}
