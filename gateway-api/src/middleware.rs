//! What is done around handlers, without changing the world they run in.

use crate::{
    handler::{Answering, Handler, ResponseFuture},
    request::Request,
    response::{IntoResponse, Response},
};
use std::{future::Future, rc::Rc};

/// Hooks around every handler of an application, whatever its kind: an inline handler stays inline, a blocking one
/// stays on the crew. The hooks themselves run on the core and must not block.
///
/// ```
/// use ringgate::{App, Middleware, Request, Response};
/// use http::StatusCode;
///
/// struct Key(&'static [u8]);
/// impl Middleware for Key {
///     fn before(&self, request: &Request) -> Option<Response> {
///         (request.header("x-key") != Some(self.0)).then(|| Response::new(StatusCode::FORBIDDEN))
///     }
///     fn after(&self, _: &Request, response: &mut Response) {
///         response.append(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
///     }
/// }
/// fn application() -> App {
///     App::new().route("/secret", |_: &Request| "hush").wrap(Key(b"open sesame"))
/// }
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(application(), "GET /secret HTTP/1.1", "").starts_with("HTTP/1.1 403 "));
/// # let answer = client::ask(application(), "GET /secret HTTP/1.1\r\nx-key: open sesame", "");
/// # assert!(answer.contains("\r\ncache-control: no-store\r\n") && answer.ends_with("hush"));
/// ```
pub trait Middleware {
    /// Runs before the handler. A response given here is sent in place of the handler's.
    fn before(&self, request: &Request) -> Option<Response> {
        let _ = request;
        None
    }

    /// Runs behind the handler, also for responses that a `before`, a panic, a handler out of time, or no matching route
    /// made. Not for what the gateway answers in place of any handler: heads and bodies that are malformed or come too slowly,
    /// and requests shed at `process_bytes_max`. The body of `request` is not to be had any more.
    fn after(&self, request: &Request, response: &mut Response) {
        let _ = (request, response);
    }
}

/// What an async middleware wraps.
pub(crate) type Around = Rc<dyn Fn(Request, Next) -> ResponseFuture>;

/// The rest of the way to the handler, for an async middleware (`App::around`).
///
/// ```
/// use ringgate::{App, Next, Request, Response};
/// async fn timed(request: Request, next: Next) -> Response {
///     let handle = request.handle().clone();
///     let begun = handle.now();
///     let response = next.run(request).await;
///     response.header("x-micros", &handle.now().since(begun).as_micros().to_string())
/// }
/// let app = App::new().route("/", |_: &Request| "hello").around(timed);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET / HTTP/1.1", "").contains("\r\nx-micros: "));
/// # let app = || App::new().route("/", ringgate::get(|_: &Request| "hello")).around(timed);
/// # assert!(!client::ask(app(), "GET /none HTTP/1.1", "").contains("x-micros"));
/// # assert!(!client::ask(app(), "POST / HTTP/1.1", "").contains("x-micros"));
/// # let app = app().fallback(|_: &Request| "nothing here");
/// # assert!(client::ask(app, "GET /none HTTP/1.1", "").contains("\r\nx-micros: "));
/// ```
pub struct Next {
    handler: Rc<Handler>,
}

impl Next {
    /// Runs the handler, in its own world, and waits for its response. Dropped, it drops the handler's future; a handler on
    /// a thread sees that the client has gone.
    pub async fn run(self, request: Request) -> Response {
        self.handler.answer(request).await
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Next").field(&self.handler).finish()
    }
}

pub(crate) fn around<F, R>(function: F) -> Around
where
    F: Fn(Request, Next) -> R + 'static,
    R: Future<Output: IntoResponse> + 'static,
{
    Rc::new(move |request, next| Box::pin(Answering { response: function(request, next) }))
}

/// A handler with an async middleware before it: async itself from now on.
pub(crate) fn wrap(around: &Around, handler: Rc<Handler>) -> Rc<Handler> {
    let (around, is_websocket) = (around.clone(), handler.is_websocket);
    let start = move |request| around(request, Next { handler: handler.clone() });
    Rc::new(Handler { kind: crate::handler::Kind::Async(Box::new(start)), is_websocket })
}
