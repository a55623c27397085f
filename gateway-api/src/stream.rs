//! Bodies that go out piece by piece: the pieces, and a sender for code that would rather push than be asked.

use crate::{
    error::{BodyError, Disconnected},
    features::TrailersForm,
};
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use ringgate_runtime::buffer::{Lease, Piece};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// A piece of a streamed body: bytes that are sent from where they are, or, as the last one, trailers. Texts, vectors,
/// [`Bytes`], and what [`Body`](crate::Body) gives turn into it; pieces up to 4 KiB are copied.
///
/// ```
/// use bytes::Bytes;
/// use http::{HeaderMap, HeaderName, HeaderValue};
/// use ringgate::{App, Chunk, Disconnected, Request, Response};
/// async fn list(request: Request) -> Response {
///     let (mut sender, response) = Response::channel();
///     request.handle().spawn("list", async move {
///         sender.send("of the program\n").await?;
///         sender.send(format!("made {}\n", 1)).await?;
///         sender.send(Bytes::from_static(b"shared\n")).await?;
///         let sum = (HeaderName::from_static("x-lines"), HeaderValue::from_static("3"));
///         sender.send(Chunk::trailers(HeaderMap::from_iter([sum]))).await?;
///         sender.finish();
///         Ok::<_, Disconnected>(())
///     }).detach();
///     response.content_type("text/plain")
/// }
/// # let app = App::new().route("/list", list);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let answer = client::ask(app, "GET /list HTTP/1.1\r\nte: trailers\r\nconnection: te", "");
/// # assert!(answer.contains("made 1\n") && answer.ends_with("0\r\nx-lines: 3\r\n\r\n"), "{answer}");
/// ```
#[derive(Debug)]
pub struct Chunk {
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Data(Piece),
    Trailers { fields: Box<HeaderMap>, form: Option<Rc<Cell<Option<TrailersForm>>>> },
}

impl Chunk {
    /// Trailers: the last piece of a stream. Dropped where `request.features().trailers` is false.
    #[must_use]
    pub fn trailers(fields: HeaderMap) -> Self {
        Self { content: Content::Trailers { fields: Box::new(fields), form: None } }
    }

    pub(crate) fn data(piece: Piece) -> Self {
        Self { content: Content::Data(piece) }
    }

    /// The bytes, shared where they can be; what is no data comes back.
    #[cfg(feature = "tower")]
    pub(crate) fn into_bytes(self) -> Result<Bytes, Self> {
        match self.content {
            Content::Data(Piece::Owned(bytes)) => Ok(bytes.into()),
            Content::Data(Piece::Shared(bytes)) => Ok(bytes),
            Content::Data(Piece::Static(bytes)) => Ok(Bytes::from_static(bytes)),
            // A lease belongs to its core, and `Bytes` may go anywhere.
            Content::Data(Piece::Lease(lease)) => Ok(Bytes::copy_from_slice(&lease)),
            Content::Trailers { .. } => Err(self),
        }
    }

    fn len(&self) -> usize {
        match &self.content {
            Content::Data(piece) => piece.as_slice().len(),
            Content::Trailers { .. } => 0,
        }
    }

    /// Whether nothing goes out for it.
    fn is_nothing(&self) -> bool {
        matches!(&self.content, Content::Data(piece) if piece.as_slice().is_empty())
    }
}

/// Pieces without a byte that a body may give before others have their turn.
const EMPTY_PIECES_MAX: usize = 32;

/// Asks a body of foreign making for its next piece that holds something. One that gives nothing for ever would keep the
/// core: no bytes, no full buffer.
pub(crate) fn poll_filled(
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Chunk, BodyError>>>,
) -> Poll<Option<Result<Chunk, BodyError>>> {
    for _ in 0..EMPTY_PIECES_MAX {
        match poll(cx) {
            Poll::Ready(Some(Ok(chunk))) if chunk.is_nothing() => {}
            next => return next,
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::data(Piece::Shared(bytes))
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Self::data(Piece::Owned(bytes))
    }
}

impl From<String> for Chunk {
    fn from(text: String) -> Self {
        Self::data(Piece::Owned(text.into_bytes()))
    }
}

impl From<&'static str> for Chunk {
    fn from(text: &'static str) -> Self {
        Self::data(Piece::Static(text.as_bytes()))
    }
}

impl From<&'static [u8]> for Chunk {
    fn from(bytes: &'static [u8]) -> Self {
        Self::data(Piece::Static(bytes))
    }
}

impl From<Lease> for Chunk {
    fn from(lease: Lease) -> Self {
        Self::data(Piece::Lease(lease))
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: VecDeque<Chunk>,
    queued: usize,
    capacity: usize,
    ended: bool,
    /// The sender was dropped without an end: the body is broken off.
    broken: bool,
    receiver_gone: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

/// Bytes that wait between a [`BodySender`] and its connection before `send` waits.
const CHANNEL_BYTES_MAX: usize = 65_536;

/// The pushing end of a streamed body; 64 KiB may wait between it and its connection. Dropping it without
/// [`BodySender::finish`] cuts the connection, so that the peer does not take a part for the whole.
///
/// ```
/// use ringgate::{Request, Response, Disconnected};
/// use std::time::Duration;
/// async fn ticks(request: Request) -> Response {
///     let (mut sender, response) = Response::channel();
///     let handle = request.handle().clone();
///     request.handle().spawn("ticks", async move {
///         for tick in 0..10 {
///             sender.send(format!("tick {tick}\n")).await?;
///             handle.sleep(Duration::from_millis(10)).await;
///         }
///         sender.finish();
///         Ok::<(), Disconnected>(())
///     }).detach();
///     response.content_type("text/plain")
/// }
/// # let app = ringgate::App::new().route("/ticks", ticks);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /ticks HTTP/1.1", "").ends_with("\r\ntick 9\n\r\n0\r\n\r\n"));
/// ```
pub struct BodySender {
    shared: Rc<RefCell<Shared>>,
}

impl BodySender {
    /// A sender, and what comes out at the other end.
    pub(crate) fn new() -> (Self, Receiver) {
        let shared = Rc::new(RefCell::new(Shared { capacity: CHANNEL_BYTES_MAX, ..Shared::default() }));
        (Self { shared: shared.clone() }, Receiver { shared })
    }

    /// Sends a piece, and waits while the peer has not taken enough of those before.
    ///
    /// The piece is on its way once this is polled: who stops waiting must not send it again.
    ///
    /// # Errors
    /// [`Disconnected`] when nobody reads any more.
    pub async fn send(&mut self, chunk: impl Into<Chunk>) -> Result<(), Disconnected> {
        self.put(chunk.into());
        poll_fn(|cx| self.poll_room(cx)).await
    }

    fn put(&self, chunk: Chunk) {
        let mut shared = self.shared.borrow_mut();
        // What holds nothing would take a place, and none of the room that bounds the places.
        if shared.receiver_gone || chunk.is_nothing() {
            return;
        }
        shared.queued += chunk.len();
        shared.queue.push_back(chunk);
        let receiver = shared.receiver.take();
        drop(shared);
        receiver.into_iter().for_each(Waker::wake);
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        let mut shared = self.shared.borrow_mut();
        if shared.receiver_gone {
            return Poll::Ready(Err(Disconnected));
        }
        if shared.queued < shared.capacity {
            return Poll::Ready(Ok(()));
        }
        shared.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.shared.borrow().receiver_gone
    }

    /// The body is complete.
    pub fn finish(self) {
        self.shared.borrow_mut().ended = true;
    }

    /// The body is complete and has trailers. Waits until they are on their way and says which form they took. Who stops
    /// waiting has ended the body all the same, once this was polled.
    ///
    /// # Errors
    /// [`Disconnected`] when nobody reads any more.
    pub async fn finish_with(self, trailers: HeaderMap) -> Result<TrailersForm, Disconnected> {
        let form = Rc::new(Cell::new(None));
        self.put(Chunk { content: Content::Trailers { fields: Box::new(trailers), form: Some(form.clone()) } });
        let shared = self.shared.clone();
        self.finish();
        poll_fn(|cx| match form.get() {
            Some(form) => Poll::Ready(Ok(form)),
            None if shared.borrow().receiver_gone => Poll::Ready(Err(Disconnected)),
            None => {
                shared.borrow_mut().sender = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.broken = !shared.ended;
        shared.ended = true;
        let receiver = shared.receiver.take();
        drop(shared);
        receiver.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodySender").field("is_disconnected", &self.is_disconnected()).finish()
    }
}

/// The end of the channel that the driver asks.
pub(crate) struct Receiver {
    shared: Rc<RefCell<Shared>>,
}

impl Stream for Receiver {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.shared.borrow_mut();
        if let Some(chunk) = shared.queue.pop_front() {
            shared.queued -= chunk.len();
            let sender = shared.sender.take();
            drop(shared);
            sender.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(chunk)));
        }
        if shared.broken {
            return Poll::Ready(Some(Err(BodyError::Disconnected)));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        shared.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut shared = self.shared.borrow_mut();
        shared.receiver_gone = true;
        shared.queue.clear();
        let sender = shared.sender.take();
        drop(shared);
        sender.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(receiver: &mut Receiver) -> Poll<Option<Result<Vec<u8>, BodyError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(receiver).poll_next(&mut cx).map(|next| {
            next.map(|chunk| {
                chunk.map(|chunk| match chunk.content {
                    Content::Data(piece) => piece.as_slice().to_vec(),
                    Content::Trailers { .. } => b"trailers".to_vec(),
                })
            })
        })
    }

    #[test]
    fn pieces_arrive_in_order_and_a_dropped_sender_breaks_the_body() {
        let (sender, mut response) = BodySender::new();
        sender.put("one".into());
        assert_eq!(next(&mut response), Poll::Ready(Some(Ok(b"one".to_vec()))));
        assert_eq!(next(&mut response), Poll::Pending);
        drop(sender);
        assert_eq!(next(&mut response), Poll::Ready(Some(Err(BodyError::Disconnected))));

        let (sender, mut response) = BodySender::new();
        sender.finish();
        assert_eq!(next(&mut response), Poll::Ready(None));
    }

    #[test]
    fn the_sender_waits_at_the_bound_and_learns_of_a_reader_that_left() {
        let (sender, response) = BodySender::new();
        let mut cx = Context::from_waker(Waker::noop());
        sender.put(vec![0; CHANNEL_BYTES_MAX].into());
        assert!(sender.poll_room(&mut cx).is_pending());
        drop(response);
        assert_eq!(sender.poll_room(&mut cx), Poll::Ready(Err(Disconnected)));
    }
}
