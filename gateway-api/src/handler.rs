//! From a function's signature to the world it runs in.

use crate::{
    blocking::{self, run::BlockingFn},
    request::Request,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

/// A response that is still being made.
pub(crate) type ResponseFuture = Pin<Box<dyn Future<Output = Response>>>;

pin_project! {
    /// A future whose output is made a response. An async block would hold the future twice: as what it captured, and as
    /// what it waits for.
    pub(crate) struct Answering<F> {
        #[pin]
        pub(crate) response: F,
    }
}

impl<F: Future<Output: IntoResponse>> Future for Answering<F> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        self.project().response.poll(cx).map(IntoResponse::into_response)
    }
}

/// A handler in its world. Made from a function by [`IntoHandler`].
pub struct Handler {
    pub(crate) kind: Kind,
    /// It opens WebSockets, whatever stands around it.
    pub(crate) is_websocket: bool,
}

/// Opens a WebSocket or refuses it; gives the request back if it asks for none and somebody else is to answer it.
pub(crate) type OpenFn = dyn Fn(Request) -> Result<Response, Request>;

/// Answers a request at once, into the place where the response is used.
pub(crate) type InlineFn = dyn Fn(&Request, &mut Option<Response>);

/// The worlds.
pub(crate) enum Kind {
    /// On the core, at once, borrowing the request where it lies.
    Inline(Box<InlineFn>),
    /// On the core, as part of the connection's task.
    Async(Box<dyn Fn(Request) -> ResponseFuture>),
    /// On a thread of the crew.
    Blocking(Arc<BlockingFn>),
    /// A conversation, in either world.
    Socket { open: Box<OpenFn>, otherwise: Option<Rc<Handler>> },
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Inline(_) => "Handler::Inline",
            Kind::Async(_) => "Handler::Async",
            Kind::Blocking(_) => "Handler::Blocking",
            Kind::Socket { .. } => "Handler::Socket",
        })
    }
}

/// A function that can answer a request. Which world it runs in is told by its signature alone:
///
/// | signature | world |
/// |---|---|
/// | `async fn(Request) -> impl IntoResponse` | on the core; may wait, need not be `Send` |
/// | `fn(&Request) -> impl IntoResponse` | on the core, at once; must not block; the fastest |
/// | `fn(blocking::Request) -> impl IntoResponse` | on a thread of the crew; may block; is `Send + Sync` |
/// | `async fn(WebSocket)` | a conversation on the core |
/// | `fn(blocking::WebSocket)` | a conversation on a thread of the crew |
///
/// `Marker` is found by the compiler.
///
/// ```
/// use ringgate::{App, Request, blocking};
/// async fn feed(request: Request) -> String { request.path().to_owned() }
/// fn health(_: &Request) -> &'static str { "well\n" }
/// fn report(_: blocking::Request) -> String { std::fs::read_to_string("/proc/loadavg").unwrap_or_default() }
///
/// let app = App::new().route("/feed", feed).route("/health", health).route("/report", report);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /feed HTTP/1.1", "").ends_with("\r\n\r\n/feed"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    note = "a handler is `async fn(Request) -> R`, `fn(&Request) -> R` or `fn(blocking::Request) -> R` where `R: IntoResponse`",
    note = "the parameter of a closure needs its type: `|request: &Request| ...`"
)]
pub trait IntoHandler<Marker> {
    /// Puts the function into its world.
    fn into_handler(self) -> Handler;
}

/// Marks `async fn(Request)`.
#[derive(Debug)]
pub enum IsAsync {}
/// Marks `fn(&Request)`.
#[derive(Debug)]
pub enum IsInline {}
/// Marks `fn(blocking::Request)`.
#[derive(Debug)]
pub enum IsBlocking {}

impl<F, R> IntoHandler<IsAsync> for F
where
    F: Fn(Request) -> R + 'static,
    R: Future<Output: IntoResponse> + 'static,
{
    fn into_handler(self) -> Handler {
        let start = move |request| -> ResponseFuture { Box::pin(Answering { response: self(request) }) };
        Handler { kind: Kind::Async(Box::new(start)), is_websocket: false }
    }
}

impl<F, R> IntoHandler<IsInline> for F
where
    F: Fn(&Request) -> R + 'static,
    R: IntoResponse,
{
    fn into_handler(self) -> Handler {
        let answer =
            move |request: &Request, ready: &mut Option<Response>| *ready = Some(self(request).into_response());
        Handler { kind: Kind::Inline(Box::new(answer)), is_websocket: false }
    }
}

impl<F, R> IntoHandler<IsBlocking> for F
where
    F: Fn(blocking::Request) -> R + Send + Sync + 'static,
    R: IntoResponse,
{
    fn into_handler(self) -> Handler {
        let run = move |request| blocking::response::Portable::new(self(request).into_response());
        Handler { kind: Kind::Blocking(Arc::new(run)), is_websocket: false }
    }
}

impl Handler {
    /// Answers a request in whatever world the handler lives, waiting for it.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        match &self.kind {
            Kind::Inline(handler) => {
                let mut ready = None;
                handler(&request, &mut ready);
                ready.unwrap_or_default()
            }
            Kind::Async(handler) => handler(request).await,
            Kind::Blocking(handler) => blocking::run::run(handler.clone(), request).await,
            Kind::Socket { open, otherwise } => match (open(request), otherwise) {
                (Ok(response), _) => response,
                (Err(request), Some(otherwise)) => Box::pin(otherwise.answer(request)).await,
                (Err(_), None) => Response::new(http::StatusCode::UPGRADE_REQUIRED),
            },
        }
    }
}
