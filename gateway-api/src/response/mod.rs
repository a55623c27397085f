//! A response: status, fields, a body in one of its forms.

mod into_response;
mod invalid_field;

pub use crate::response::{into_response::IntoResponse, invalid_field::InvalidField};

use crate::{
    contain::drop_contained,
    core::Core,
    error::BodyError,
    stream::{BodySender, Chunk, poll_filled},
    websocket::upgrade::Upgrade,
};
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ringgate_protocols::http::length::parse_content_length;
use ringgate_runtime::buffer::Piece;
use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// A response. Made by a handler, or out of whatever a handler returns ([`IntoResponse`]).
///
/// How a body is framed is the gateway's business: `date`, `server`, `transfer-encoding`, and `content-length` beside a body
/// of known length are not taken from here; a response without a body has the length 0, whatever is set. For a stream
/// `content-length` says the same as [`Response::length`]. In an answer to HEAD, and in a 304, it tells the length that the
/// answer to GET has, so that its body need not be made; one that is no number is left out. Of `connection` only `close`
/// is obeyed. A body of a status that has none (204, 205, 304) is not sent.
///
/// ```
/// use ringgate::{Request, Response};
/// use http::StatusCode;
/// fn teapot(_: &Request) -> Response {
///     Response::text("short and stout\n").status(StatusCode::IM_A_TEAPOT).header("x-handle", "left")
/// }
/// # let app = ringgate::App::new().route("/teapot", teapot);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let answer = client::ask(app, "GET /teapot HTTP/1.1", "");
/// # assert!(answer.starts_with("HTTP/1.1 418 ") && answer.contains("\r\nx-handle: left\r\n"), "{answer}");
/// ```
#[derive(Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    /// The one field nearly every response has, as text of the program: costs nothing to make or to drop.
    pub(crate) content_type: Option<&'static str>,
    /// On the heap, and most have none: a response is moved from hand to hand, and should be small.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Payload,
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

/// Where a streamed body comes from.
pub(crate) type ChunkStream = Pin<Box<dyn Stream<Item = Result<Chunk, BodyError>>>>;

/// The next piece of a streamed body. A panic of who makes it breaks the body off, and is counted.
pub(crate) fn poll_chunk(
    chunks: &mut ChunkStream,
    core: &Core,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Chunk, BodyError>>> {
    catch_unwind(AssertUnwindSafe(|| chunks.as_mut().poll_next(cx))).unwrap_or_else(|_| {
        core.shared.counters.handler_panics.up();
        Poll::Ready(Some(Err(BodyError::Disconnected)))
    })
}

/// What writes a body on a thread of the crew.
pub(crate) type WriteBody = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// The forms of a body.
#[derive(Default)]
pub(crate) enum Payload {
    #[default]
    Empty,
    Static(&'static [u8]),
    Bytes(Bytes),
    Stream {
        chunks: ChunkStream,
        length: Option<u64>,
    },
    Writer {
        write: WriteBody,
        length: Option<u64>,
    },
    /// Not a body: from here on the connection, or the stream, is a WebSocket.
    Upgrade(Box<Upgrade>),
}

impl Payload {
    /// Bytes, as far as they are known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Static(bytes) => Some(bytes.len() as u64),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Stream { length, .. } | Self::Writer { length, .. } => *length,
            Self::Upgrade(_) => None,
        }
    }

    /// The bytes, if they are there already.
    pub(crate) fn at_hand(&self) -> Option<&[u8]> {
        match self {
            Self::Empty | Self::Stream { .. } | Self::Writer { .. } | Self::Upgrade(_) => None,
            Self::Static(bytes) => Some(bytes),
            Self::Bytes(bytes) => Some(bytes),
        }
    }

    /// The same, to be sent from where they are.
    pub(crate) fn into_piece(self) -> Option<Piece> {
        match self {
            Self::Empty | Self::Stream { .. } | Self::Writer { .. } | Self::Upgrade(_) => None,
            Self::Static(bytes) => Some(Piece::Static(bytes)),
            Self::Bytes(bytes) => Some(Piece::Shared(bytes)),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Static(bytes) => write!(f, "Static({} bytes)", bytes.len()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length:?})"),
            Self::Writer { length, .. } => write!(f, "Writer({length:?})"),
            Self::Upgrade(_) => f.write_str("Upgrade"),
        }
    }
}

impl Default for Response {
    fn default() -> Self {
        Self::new(StatusCode::OK)
    }
}

#[inline]
fn final_status(status: StatusCode) -> StatusCode {
    if status.is_informational() { StatusCode::INTERNAL_SERVER_ERROR } else { status }
}

/// Whether responses of this status go without a body (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
#[inline]
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Text, as the field calls it.
const TEXT: &str = "text/plain; charset=utf-8";
/// Bytes of which nothing else is known.
const BYTES: &str = "application/octet-stream";

impl Response {
    /// A response with an empty body. 1xx is not a response and becomes 500.
    #[must_use]
    #[inline]
    pub fn new(status: StatusCode) -> Self {
        let status = final_status(status);
        Self { status, content_type: None, fields: Vec::new(), body: Payload::Empty, trailers: None }
    }

    /// Every field by its name: with `..Self::new(_)` a whole response would be made, and copied, for its rest.
    #[inline]
    fn of(body: Payload, content_type: &'static str) -> Self {
        let fields = Vec::new();
        Self { status: StatusCode::OK, content_type: Some(content_type), fields, body, trailers: None }
    }

    /// 200 with text of the program.
    #[must_use]
    #[inline]
    pub fn text(text: &'static str) -> Self {
        Self::of(Payload::Static(text.as_bytes()), TEXT)
    }

    /// 200 with a page of the program.
    #[must_use]
    pub fn html(page: impl Into<Bytes>) -> Self {
        Self::of(Payload::Bytes(page.into()), "text/html; charset=utf-8")
    }

    /// 200 with bytes, `application/octet-stream` until said otherwise.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::of(Payload::Bytes(bytes.into()), BYTES)
    }

    /// 200 with bytes of the program.
    #[must_use]
    pub fn static_bytes(bytes: &'static [u8]) -> Self {
        Self::of(Payload::Static(bytes), BYTES)
    }

    /// 200 with a body that comes piece by piece. The next piece is asked for only when the peer has taken those
    /// before. An error cuts the connection, or resets the stream of HTTP/2, so that the peer does not take a part for the
    /// whole; so does a panic, which is counted. When the client goes away the stream is dropped.
    ///
    /// ```
    /// use futures_core::Stream;
    /// use ringgate::{App, Request, Response};
    /// use std::{convert::Infallible, pin::Pin, task::{Context, Poll}};
    /// /// Any stream of what turns into a [`Chunk`] will do.
    /// struct Countdown(u32);
    /// impl Stream for Countdown {
    ///     type Item = Result<String, Infallible>;
    ///     fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
    ///         let number = self.0.checked_sub(1);
    ///         Poll::Ready(number.map(|number| {
    ///             self.0 = number;
    ///             Ok(format!("{number}\n"))
    ///         }))
    ///     }
    /// }
    /// let app = App::new().route("/start", |_: &Request| Response::stream(Countdown(3)).content_type("text/plain"));
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # let answer = client::ask(app, "GET /start HTTP/1.1", "");
    /// # assert!(answer.ends_with("\r\n2\n\r\n2\r\n1\n\r\n2\r\n0\n\r\n0\r\n\r\n"), "{answer}");
    /// ```
    #[must_use]
    pub fn stream<S, C, E>(chunks: S) -> Self
    where
        S: Stream<Item = Result<C, E>> + 'static,
        C: Into<Chunk>,
    {
        let chunks: ChunkStream = Box::pin(Chunks { inner: Some(Box::pin(chunks)) });
        Self::of(Payload::Stream { chunks, length: None }, BYTES)
    }

    /// 200 with a body that somebody pushes: the sender can go to another task of this core. Events for a browser, say,
    /// which reads them with an `EventSource`:
    ///
    /// ```
    /// use ringgate::{App, Request, Response};
    /// use std::time::Duration;
    /// async fn events(request: Request) -> Response {
    ///     let (mut sender, response) = Response::channel();
    ///     let core = request.core().clone();
    ///     request.handle().spawn("events", async move {
    ///         // Until the gateway drains, or the client goes.
    ///         for number in (0..3).take_while(|_| !core.is_draining()) {
    ///             if sender.send(format!("event: count\ndata: {number}\n\n")).await.is_err() {
    ///                 return;
    ///             }
    ///             core.handle().sleep(Duration::from_millis(10)).await;
    ///         }
    ///         sender.finish();
    ///     }).detach();
    ///     response.content_type("text/event-stream").header("cache-control", "no-store")
    /// }
    /// let app = App::new().route("/events", events);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # let answer = client::ask(app, "GET /events HTTP/1.1", "");
    /// # assert!(answer.contains("data: 2\n\n") && answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    /// ```
    #[must_use]
    pub fn channel() -> (BodySender, Self) {
        let (sender, receiver) = BodySender::new();
        (sender, Self::stream(receiver))
    }

    /// 200 with a body that blocking code writes: it runs on a thread of the crew and is slowed down to the peer's
    /// pace. What it writes is gathered up to 16 KiB, or until it flushes, before it leaves. Its error, or its panic,
    /// cuts the connection. With the crew full the response is 503 in its place.
    ///
    /// ```
    /// use ringgate::{Response, blocking};
    /// fn report(_: blocking::Request) -> Response {
    ///     Response::writer(|out| (0..1000).try_for_each(|line| writeln!(out, "line {line}"))).content_type("text/csv")
    /// }
    /// # let app = ringgate::App::new().route("/report", report);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "GET /report HTTP/1.1", "").ends_with("line 999\n\r\n0\r\n\r\n"));
    /// ```
    #[must_use]
    pub fn writer(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()> + Send + 'static) -> Self {
        Self::of(Payload::Writer { write: Box::new(write), length: None }, BYTES)
    }

    /// A redirection (303 See Other) to `location`.
    ///
    /// ```
    /// use ringgate::{App, Response, blocking, post};
    /// fn save(_: blocking::Request) -> Result<Response, ringgate::InvalidField> {
    ///     Response::redirect("/saved")
    /// }
    /// # let app = App::new().route("/save", post(save));
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "POST /save HTTP/1.1", "").contains("\r\nlocation: /saved\r\n"));
    /// ```
    ///
    /// # Errors
    /// When `location` cannot stand in a field.
    pub fn redirect(location: &str) -> Result<Self, InvalidField> {
        let location = HeaderValue::from_str(location)?;
        Ok(Self::new(StatusCode::SEE_OTHER).header_value(header::LOCATION, location))
    }

    /// With this status. 1xx is not a response and becomes 500.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = final_status(status);
        self
    }

    /// The status.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        self.status
    }

    /// With this `content-type`, text of the program.
    #[must_use]
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = Some(content_type);
        self
    }

    /// With one more field.
    ///
    /// # Panics
    /// When name or value could not stand in a field (CR, LF, controls): a mistake of the program, answered with 500.
    /// For names and values from outside use [`Response::try_header`].
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        match self.try_header(name, value) {
            Ok(response) => response,
            Err(error) => panic!("field {name:?}: {error}"),
        }
    }

    /// With one more field, if name and value can stand in one.
    ///
    /// # Errors
    /// [`InvalidField`] says which of them cannot.
    pub fn try_header(self, name: &str, value: &str) -> Result<Self, InvalidField> {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        Ok(self.header_value(name, HeaderValue::from_str(value)?))
    }

    /// With one more field of the `http` crate's types, which cannot carry an injected line.
    #[must_use]
    pub fn header_value(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.append(name, value);
        self
    }

    /// Adds a field; `content-type` replaces the one before.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        if name == header::CONTENT_TYPE {
            self.content_type = None;
            self.fields.retain(|(known, _)| *known != header::CONTENT_TYPE);
        }
        self.fields.push((name, value));
    }

    /// Removes all fields of this name; true if there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let before = self.fields.len();
        self.fields.retain(|(known, _)| *known != *name);
        let typed = *name == header::CONTENT_TYPE && self.content_type.take().is_some();
        typed || self.fields.len() < before
    }

    /// The first value of a field set here.
    #[must_use]
    pub fn field(&self, name: &HeaderName) -> Option<&[u8]> {
        if *name == header::CONTENT_TYPE
            && let Some(content_type) = self.content_type
        {
            return Some(content_type.as_bytes());
        }
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }

    /// With the number of bytes a stream or a writer will give, sent as `Content-Length`. If it gives another number
    /// the connection is cut.
    #[must_use]
    pub fn length(mut self, bytes: u64) -> Self {
        if let Payload::Stream { length, .. } | Payload::Writer { length, .. } = &mut self.body {
            *length = Some(bytes);
        }
        self
    }

    /// What the head tells of the length, over every protocol (RFC 9110 section 8.6): that of the body; where that is not
    /// known, the one set as a field; and the same where the body is not sent anyway, and so may not have been made.
    /// There nothing is said rather than a zero that GET would not have.
    #[inline]
    pub(crate) fn announced_length(&self, is_head: bool) -> Option<u64> {
        match (self.status, self.body.length()) {
            (StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT, _) => None,
            (_, known @ Some(1..)) => known,
            (_, Some(_)) if !is_head && self.status != StatusCode::NOT_MODIFIED => Some(0),
            (_, known) => self.claimed_length().filter(|length| known.is_none() || *length > 0),
        }
    }

    /// The length set as a field, if it is one.
    fn claimed_length(&self) -> Option<u64> {
        self.field(&header::CONTENT_LENGTH).and_then(parse_content_length)
    }

    /// With trailers behind a streamed body, where `request.features().trailers` says that they arrive; elsewhere
    /// they are dropped.
    #[must_use]
    pub fn trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(Box::new(trailers));
        self
    }

    /// Bytes of the body, when they are known.
    #[must_use]
    pub fn body_length(&self) -> Option<u64> {
        self.body.length()
    }
}

/// A stream whose pieces are made into [`Chunk`]s and whose errors all mean the same: broken off.
struct Chunks<S> {
    /// Until it is dropped.
    inner: Option<Pin<Box<S>>>,
}

impl<S> Drop for Chunks<S> {
    fn drop(&mut self) {
        drop_contained(&mut self.inner);
    }
}

impl<S, C, E> Stream for Chunks<S>
where
    S: Stream<Item = Result<C, E>>,
    C: Into<Chunk>,
{
    type Item = Result<Chunk, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        poll_filled(cx, |cx| {
            let next = inner.as_mut().poll_next(cx);
            next.map(|next| next.map(|piece| piece.map(Into::into).map_err(|_| BodyError::Disconnected)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_type_is_one_field() {
        let mut response = Response::text("x");
        assert_eq!(response.field(&header::CONTENT_TYPE), Some(TEXT.as_bytes()));
        response.append(header::CONTENT_TYPE, HeaderValue::from_static("a/b"));
        response.append(header::CONTENT_TYPE, HeaderValue::from_static("c/d"));
        assert_eq!(response.field(&header::CONTENT_TYPE), Some(&b"c/d"[..]));
        assert_eq!(response.fields.len(), 1);
        assert!(response.remove(&header::CONTENT_TYPE) && !response.remove(&header::CONTENT_TYPE));
    }

    #[test]
    fn an_injected_line_is_refused() {
        assert_eq!(Response::default().try_header("x", "a\r\nset-cookie: b").unwrap_err(), InvalidField::Value);
        assert_eq!(Response::default().try_header("x y", "a").unwrap_err(), InvalidField::Name);
    }

    #[test]
    fn an_interim_status_is_no_response() {
        assert_eq!(Response::default().status(StatusCode::CONTINUE).status_code(), 500);
    }

    #[test]
    fn a_response_is_small_enough_to_be_moved_about() {
        assert!(size_of::<Response>() <= 256, "{}", size_of::<Response>());
    }
}
