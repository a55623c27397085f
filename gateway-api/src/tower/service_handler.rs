//! Inwards: a service of the `tower` family as a handler.

use crate::{
    app::App,
    contain::drop_contained,
    error::BodyError,
    handler::{Handler, IntoHandler, Kind, ResponseFuture},
    request::Request,
    response::{Payload, Response},
    stream::{Chunk, poll_filled},
    tower::{
        origin::{self, Origin},
        request_body::RequestBody,
    },
};
use bytes::Buf;
use futures_core::Stream;
use http::{HeaderName, Method, StatusCode, header};
use http_body::{Body, Frame};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tower_service::Service;

/// What is done around every poll of a service: see [`ServiceHandler::within`].
type Hook = Rc<dyn Fn(&mut dyn FnMut())>;

/// A service as a handler: an axum `Router`, a service of tonic, anything that answers `http::Request`s. Made by
/// [`handler`], put into an application by [`App::mount_service`], [`App::route`] or [`App::fallback`].
#[derive(Clone)]
pub struct ServiceHandler<S> {
    service: S,
    body_bytes_max: Option<u64>,
    hook: Option<Hook>,
    stripped: usize,
}

/// A service as a handler.
///
/// The service is cloned for each request and polled ready before it is called, as `tower` has it; what clones share (a
/// limit, a buffer) they share as ever. The application's factory runs on each core, so a service made there is that
/// core's own. Neither the service nor its future has to be `Send`; the body that it gets is ([`RequestBody`]).
///
/// - **Responses** stream with backpressure, trailers included. A body that is whole at its first poll goes out in one
///   piece.
/// - **Failures**: an error of the service, a body that fails before its first frame, and a panic are a 500. Once the
///   response is under way the connection, or the stream, is cut, so that the client does not take a part for the whole.
/// - **A client that goes away** drops the service's future, and its body.
/// - **Extensions**: each request carries an [`Origin`].
/// - **Not to be had**: what the types of `http` cannot say. Early hints and push are for handlers of our own, and so are
///   WebSockets: a request to upgrade reaches the service without hyper's extension, which axum answers with 426.
///
/// ```
/// use bytes::Bytes;
/// use ringgate::{App, tower};
/// use std::{convert::Infallible, future::{Ready, ready}, task::{Context, Poll}};
///
/// // A service written out; `tower::service_fn` or an axum `Router` is one too.
/// #[derive(Clone)]
/// struct Greeter;
/// impl tower_service::Service<http::Request<tower::RequestBody>> for Greeter {
///     type Response = http::Response<http_body_util::Full<Bytes>>;
///     type Error = Infallible;
///     type Future = Ready<Result<Self::Response, Infallible>>;
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
///         Poll::Ready(Ok(()))
///     }
///     fn call(&mut self, request: http::Request<tower::RequestBody>) -> Self::Future {
///         ready(Ok(http::Response::new(format!("hello from {}\n", request.uri().path()).into())))
///     }
/// }
/// let app = App::new()
///     .mount_service("/legacy", tower::handler(Greeter)) // sees /a for /legacy/a
///     .route("/one", tower::handler(Greeter));           // sees /one
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /legacy/a HTTP/1.1", "").ends_with("hello from /a\n"));
/// ```
pub fn handler<S>(service: S) -> ServiceHandler<S> {
    ServiceHandler { service, body_bytes_max: None, hook: None, stripped: 0 }
}

impl<S> ServiceHandler<S> {
    /// Bytes a request body may have, in place of the gateway's `body_bytes_max`. Beyond it the body ends in
    /// [`BodyError::TooLarge`], and the service decides what to answer. `u64::MAX` leaves the limit to the service.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes_max: u64) -> Self {
        self.body_bytes_max = Some(bytes_max);
        self
    }

    /// Runs every poll, and the drop, of the service's future and of its bodies inside of `hook`, which calls the closure
    /// it is given, once. That is where an ambient runtime is entered.
    ///
    /// A service that sleeps, spawns or connects by way of tokio needs a tokio runtime around it, and one that is driven:
    /// cores of the gateway do not drive it. Either that runtime has a thread of its own and each poll enters it:
    /// ```
    /// use ringgate::{App, tower};
    /// # fn application<S: Clone>(router: S) -> tower::ServiceHandler<S> {
    /// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    /// let handle = runtime.handle().clone();
    /// std::mem::forget(runtime); // or keep it, as long as the gateway runs
    /// tower::handler(router).within(move |poll| {
    ///     let _entered = handle.enter();
    ///     poll();
    /// })
    /// # }
    /// ```
    /// Then timers and sockets of tokio live on its thread, what `tokio::spawn` starts runs there, and each wake from there
    /// crosses over to the core (an eventfd: microseconds, not nanoseconds). `spawn_local` is not to be had there.
    ///
    /// Or the whole application runs on a tokio thread ([`Site::drive`](crate::Site::drive)); then tokio is around already.
    #[must_use]
    pub fn within(mut self, hook: impl Fn(&mut dyn FnMut()) + 'static) -> Self {
        self.hook = Some(Rc::new(hook));
        self
    }
}

impl<S> fmt::Debug for ServiceHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandler").field("body_bytes_max", &self.body_bytes_max).finish_non_exhaustive()
    }
}

/// Marks [`ServiceHandler`].
#[derive(Debug)]
pub enum IsService {}

impl App {
    /// Puts a service below `prefix`, as axum's `nest_service` does: it sees paths without the prefix, `/` for the prefix
    /// itself, and finds the full URI in the [`Origin`] of the request. Routes of this application below the same prefix
    /// go before it, so that an old application can be replaced route by route:
    ///
    /// ```
    /// use ringgate::{App, Request, tower};
    /// # fn application<S, B>(old: S) -> App
    /// # where
    /// #     S: tower_service::Service<http::Request<tower::RequestBody>, Response = http::Response<B>> + Clone + 'static,
    /// #     S::Future: 'static,
    /// #     B: http_body::Body + 'static,
    /// # {
    /// App::new()
    ///     .mount_service("/legacy", tower::handler(old))
    ///     .route("/legacy/hot", |_: &Request| "answered here by now")
    /// # }
    /// ```
    /// To keep the paths as they are, for a service that knows its prefix or lives at the root, make it the fallback:
    /// `app.fallback(tower::handler(old))`.
    ///
    /// # Panics
    /// When `prefix` does not begin with a slash, or ends with one.
    #[must_use]
    pub fn mount_service<S, B>(self, prefix: &str, service: ServiceHandler<S>) -> Self
    where
        S: Service<http::Request<RequestBody>, Response = http::Response<B>> + Clone + 'static,
        S::Future: 'static,
        B: Body + 'static,
    {
        let stripped = prefix.matches('/').count();
        self.mount(prefix, Self::new().fallback(ServiceHandler { stripped, ..service }))
    }
}

impl<S, B> IntoHandler<IsService> for ServiceHandler<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>> + Clone + 'static,
    S::Future: 'static,
    B: Body + 'static,
{
    fn into_handler(self) -> Handler {
        let Self { service, body_bytes_max, hook, stripped } = self;
        let start = move |mut request: Request| -> ResponseFuture {
            if let Some(bytes_max) = body_bytes_max {
                request.body_mut().set_bytes_max(bytes_max);
            }
            let answer = answer(service.clone(), request, stripped, hook.clone());
            match &hook {
                None => Box::pin(answer),
                Some(hook) => Box::pin(Within { hook: hook.clone(), inner: Some(Box::pin(answer)) }),
            }
        };
        Handler { kind: Kind::Async(Box::new(start)), is_websocket: false }
    }
}

/// Asks the service and takes its response.
async fn answer<S, B>(mut service: S, request: Request, stripped: usize, hook: Option<Hook>) -> Response
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>>,
    B: Body + 'static,
{
    if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
        return failed();
    }
    let is_head = *request.method() == Method::HEAD;
    let Some(request) = portable(request, stripped) else {
        return Response::text("the target cannot be passed on\n").status(StatusCode::BAD_REQUEST);
    };
    match service.call(request).await {
        Ok(response) => respond(response, is_head, hook).await,
        Err(_) => failed(),
    }
}

/// What went wrong stays here: it may name what is not for the client.
fn failed() -> Response {
    Response::text("internal error\n").status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The request in the types of the `http` crate. `None` if its target has no such form.
fn portable(mut request: Request, stripped: usize) -> Option<http::Request<RequestBody>> {
    let whole = origin::uri(&request, 0)?;
    let uri = if stripped == 0 { whole.clone() } else { origin::uri(&request, stripped)? };
    let origin = Origin::new(&request, whole);
    let body = RequestBody::new(std::mem::take(request.body_mut()));
    let mut portable = http::Request::new(body);
    *portable.method_mut() = request.method().clone();
    *portable.uri_mut() = uri;
    *portable.version_mut() = request.version();
    *portable.headers_mut() = request.headers();
    portable.extensions_mut().insert(origin);
    Some(portable)
}

/// The response in our types. Its body is polled once: what is whole then goes out whole.
async fn respond<B: Body + 'static>(response: http::Response<B>, is_head: bool, hook: Option<Hook>) -> Response {
    let (parts, body) = response.into_parts();
    if parts.status.is_informational() {
        return failed();
    }
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let mut response = Response::new(parts.status);
    let mut last = None;
    for (name, value) in parts.headers {
        last = name.or(last);
        if let Some(name) = last.as_ref().filter(|name| !FRAMING.contains(name)) {
            response.fields.push((name.clone(), value));
        }
    }
    let length = announced.or_else(|| body.size_hint().exact());
    if is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // Only the length counts, which may be that of a body which GET would have.
        response.body = Payload::Stream { chunks: Box::pin(Nothing), length };
        return response;
    }
    let mut frames = Frames { body: Some(Box::pin(body)), first: None, hook: None };
    let first = poll_fn(|cx| Poll::Ready(frames.poll_frame(cx))).await;
    frames.hook = hook;
    match first {
        Poll::Pending => {}
        Poll::Ready(None) if length.unwrap_or(0) == 0 => return response,
        Poll::Ready(None | Some(Err(_))) => return failed(),
        Poll::Ready(Some(Ok(chunk))) => match chunk.into_bytes() {
            Ok(bytes) if frames.is_end() => {
                if length.is_some_and(|length| length != bytes.len() as u64) {
                    return failed();
                }
                response.body = Payload::Bytes(bytes);
                return response;
            }
            Ok(bytes) => frames.first = Some(bytes.into()),
            Err(chunk) => frames.first = Some(chunk),
        },
    }
    response.body = Payload::Stream { chunks: Box::pin(frames), length };
    response
}

/// How a body is framed is the gateway's business; `connection: close` is obeyed.
const FRAMING: [HeaderName; 3] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, HeaderName::from_static("proxy-connection")];

/// The body of a response to HEAD.
struct Nothing;

impl Stream for Nothing {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

/// The body of a service's response, as the pieces of ours.
struct Frames<B: Body> {
    body: Option<Pin<Box<B>>>,
    first: Option<Chunk>,
    hook: Option<Hook>,
}

impl<B: Body> Frames<B> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = inside(self.hook.as_ref(), || body.as_mut().poll_frame(cx));
        polled.map(|frame| {
            frame.map(|frame| match frame.map(Frame::into_data) {
                Ok(Ok(mut data)) => Ok(data.copy_to_bytes(data.remaining()).into()),
                Ok(Err(frame)) => Ok(frame.into_trailers().map_or_else(|_| Chunk::from(""), Chunk::trailers)),
                Err(_) => Err(BodyError::Disconnected),
            })
        })
    }

    fn is_end(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }
}

impl<B: Body> Stream for Frames<B> {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => poll_filled(cx, |cx| self.poll_frame(cx)),
        }
    }
}

impl<B: Body> Drop for Frames<B> {
    fn drop(&mut self) {
        let body = &mut self.body;
        match &self.hook {
            Some(hook) => hook(&mut || drop_contained(body)),
            None => drop_contained(body),
        }
    }
}

/// A service's future, polled and dropped inside of its hook.
struct Within<F> {
    hook: Hook,
    inner: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = Response>> Future for Within<F> {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let Self { hook, inner } = &mut *self;
        match inner {
            Some(inner) => inside(Some(hook), || inner.as_mut().poll(cx)),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        let inner = &mut self.inner;
        (self.hook)(&mut || drop(inner.take()));
    }
}

/// Calls `poll` inside of the hook.
fn inside<T>(hook: Option<&Hook>, mut poll: impl FnMut() -> T) -> T {
    let Some(hook) = hook else { return poll() };
    let mut polled = None;
    hook(&mut || polled = Some(poll()));
    match polled {
        Some(polled) => polled,
        // Contained like any panic of a handler: a 500.
        None => panic!("a hook given to `ServiceHandler::within` did not call its closure"),
    }
}
