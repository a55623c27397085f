//! The body of a request: leases that come through a bounded queue, with the backpressure of the socket behind it.

use crate::{
    error::BodyError,
    pipe::{GATHERED_BYTES_MAX, Pipe},
};
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use ringgate_runtime::buffer::Lease;
use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The body of a request, read on the core. Nothing is received from the peer beyond `body_buffer_bytes_max` ahead of
/// the reader; with `Expect: 100-continue` the first read asks the client for the body.
///
/// ```
/// use ringgate::{Request, Response, BodyError};
/// async fn count(mut request: Request) -> Result<String, BodyError> {
///     let mut bytes = 0;
///     while let Some(piece) = request.body_mut().next().await {
///         bytes += piece?.len();
///     }
///     Ok(format!("{bytes} bytes\n"))
/// }
/// # let app = ringgate::App::new().route("/count", ringgate::post(count));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "POST /count HTTP/1.1", &"a".repeat(100_000)).ends_with("100000 bytes\n"));
/// ```
#[derive(Default)]
pub struct Body {
    inbound: Option<Rc<Inbound>>,
}

impl Body {
    pub(crate) fn new(inbound: Rc<Inbound>) -> Self {
        Self { inbound: Some(inbound) }
    }

    /// True when the request announced no body, or the body is read to its end.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.inbound.as_ref().is_none_or(|inbound| {
            let state = inbound.state.borrow();
            state.queue.is_empty() && state.end == Some(Ok(()))
        })
    }

    /// Bytes announced by `Content-Length`; `Some(0)` without a body, `None` when only the end will tell.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.inbound.as_ref().map_or(Some(0), |inbound| inbound.state.borrow().declared)
    }

    /// Bytes this body may have, in place of the gateway's `body_bytes_max`. `u64::MAX` lifts the limit, for bodies
    /// that are streamed through.
    pub fn set_bytes_max(&mut self, bytes_max: u64) {
        if let Some(inbound) = &self.inbound {
            inbound.state.borrow_mut().bytes_max = bytes_max;
        }
    }

    /// The next piece, as it came from the wire. `None` is the end; an error is final, and told by every call.
    ///
    /// Cancel safe: a piece that was not given out is given out next time.
    ///
    /// # Errors
    /// [`BodyError`] when the body breaks off, is too long, too slow, or malformed.
    pub async fn next(&mut self) -> Option<Result<Lease, BodyError>> {
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    /// Poll form of [`Body::next`].
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Lease, BodyError>>> {
        self.inbound.as_ref().map_or(Poll::Ready(None), |inbound| inbound.poll_read(cx))
    }

    /// The whole body in one piece of memory. Dropped before it is done, what it has collected is lost.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] beyond `body_bytes_max`, and what [`Body::next`] can answer.
    pub async fn collect(&mut self) -> Result<Bytes, BodyError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if whole.is_empty() {
                // The announcement is the client's word: it gets memory on trust only up to a small bound.
                let announced = self.length().map_or(piece.len(), |length| length.min(262_144) as usize);
                whole.reserve_exact(announced);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// The trailers, once the body is read to its end and if there were any.
    #[must_use]
    pub fn trailers(&self) -> Option<HeaderMap> {
        let inbound = self.inbound.as_ref().filter(|_| self.is_end())?;
        inbound.state.borrow().trailers.clone()
    }

    /// Turns the body over to a thread of the crew: from now on bytes are copied into the pipe. With it comes the
    /// number of bytes it may have.
    pub(crate) fn forward(mut self) -> Option<(Arc<Pipe>, u64)> {
        self.inbound.take().map(|inbound| (inbound.forward(), inbound.state.borrow().bytes_max))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(inbound) = &self.inbound {
            inbound.leave();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("length", &self.length()).field("is_end", &self.is_end()).finish()
    }
}

impl Stream for Body {
    type Item = Result<Lease, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(cx)
    }
}

/// The driver's end and the handler's end of a request body, both on one core.
#[derive(Debug)]
pub(crate) struct Inbound {
    state: RefCell<State>,
}

/// A piece up to this size is copied to those that wait before it: a peer that sends single bytes would otherwise make
/// each hold a place in the queue, and the whole buffer it came in.
pub(crate) const SMALL_BYTES_MAX: usize = 512;

/// What waits for the reader.
#[derive(Debug)]
enum Waiting {
    Lease(Lease),
    Gathered(Vec<u8>),
}

impl Waiting {
    fn len(&self) -> usize {
        match self {
            Self::Lease(lease) => lease.len(),
            Self::Gathered(bytes) => bytes.len(),
        }
    }

    fn into_lease(self) -> Lease {
        match self {
            Self::Lease(lease) => lease,
            Self::Gathered(bytes) => Lease::from_vec(bytes),
        }
    }
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Waiting>,
    queued: usize,
    capacity: usize,
    /// Bytes that the driver brought.
    pushed: u64,
    /// Bytes given to the reader.
    read: u64,
    declared: Option<u64>,
    bytes_max: u64,
    end: Option<Result<(), BodyError>>,
    trailers: Option<HeaderMap>,
    wanted: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    driver: Option<Waker>,
    forward: Option<Arc<Pipe>>,
}

impl Inbound {
    pub(crate) fn new(declared: Option<u64>, bytes_max: u64, capacity: usize) -> Rc<Self> {
        let state = State {
            queue: VecDeque::new(),
            queued: 0,
            capacity: capacity.max(1),
            pushed: 0,
            read: 0,
            declared,
            bytes_max,
            end: None,
            trailers: None,
            wanted: false,
            reader_gone: false,
            reader: None,
            driver: None,
            forward: None,
        };
        Rc::new(Self { state: RefCell::new(state) })
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Lease, BodyError>>> {
        let mut state = self.state.borrow_mut();
        // The limit is judged here and not at the wire, so that a handler can change it until it reads; what may
        // wait in between is bounded by the capacity.
        let next = state.queue.front().map_or(0, |piece| piece.len() as u64);
        if (state.read + next).max(state.declared.unwrap_or(0)) > state.bytes_max {
            state.queue.clear();
            state.queued = 0;
            state.reader_gone = true;
            state.end = Some(Err(BodyError::TooLarge));
        }
        if let Some(lease) = state.queue.pop_front().map(Waiting::into_lease) {
            state.queued -= lease.len();
            state.read += next;
            let driver = state.driver.take();
            drop(state);
            driver.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(lease)));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                state.reader = Some(cx.waker().clone());
                let first = !std::mem::replace(&mut state.wanted, true);
                let driver = if first { state.driver.take() } else { None };
                drop(state);
                driver.into_iter().for_each(Waker::wake);
                Poll::Pending
            }
        }
    }

    /// Driver: whether a handler has asked for the body. Keeps `cx` to be woken.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if let Some(pipe) = &state.forward {
            return pipe.poll_wanted(cx);
        }
        if state.wanted {
            return Poll::Ready(());
        }
        state.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Driver: whether there is room for more. Keeps `cx` to be woken.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if let Some(pipe) = &state.forward {
            return pipe.poll_room(cx);
        }
        if state.queued < state.capacity || state.reader_gone {
            return Poll::Ready(());
        }
        state.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Driver: bytes that were taken out or will never be read. Keeps `cx` to be woken when there are more.
    pub(crate) fn watch(&self, cx: &mut Context<'_>) -> u64 {
        let mut state = self.state.borrow_mut();
        if let Some(pipe) = &state.forward {
            return state.pushed - pipe.watch(cx) as u64;
        }
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        state.pushed - state.queued as u64
    }

    /// Driver: bytes that wait for their reader. Keeps `cx` to be woken when it takes some.
    pub(crate) fn unread(&self, cx: &mut Context<'_>) -> usize {
        let state = self.state.borrow();
        state.forward.as_ref().map_or(state.queued, |pipe| pipe.watch(cx))
    }

    /// Driver: a piece has come. `Err`: it is not wanted, for the reason given.
    pub(crate) fn push(&self, lease: Lease) -> Result<(), BodyError> {
        let mut state = self.state.borrow_mut();
        state.pushed += lease.len() as u64;
        if let Some(pipe) = &state.forward {
            return if pipe.push(&lease) { Ok(()) } else { Err(BodyError::Taken) };
        }
        if state.reader_gone {
            return Err(BodyError::Taken);
        }
        state.queued += lease.len();
        match state.queue.back_mut() {
            Some(Waiting::Gathered(bytes)) if bytes.len() + lease.len() <= GATHERED_BYTES_MAX => {
                bytes.extend_from_slice(&lease);
            }
            Some(_) if lease.len() <= SMALL_BYTES_MAX => state.queue.push_back(Waiting::Gathered(lease.to_vec())),
            _ => state.queue.push_back(Waiting::Lease(lease)),
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Driver: the body is whole.
    pub(crate) fn finish(&self, trailers: Option<HeaderMap>) {
        if let Some(pipe) = &self.state.borrow().forward
            && let Some(trailers) = &trailers
        {
            pipe.set_trailers(trailers.clone());
        }
        self.state.borrow_mut().trailers = trailers;
        self.end(Ok(()));
    }

    /// Driver: the body will never be whole.
    pub(crate) fn fail(&self, error: BodyError) {
        self.end(Err(error));
    }

    fn end(&self, end: Result<(), BodyError>) {
        let mut state = self.state.borrow_mut();
        state.end.get_or_insert(end);
        if let Some(pipe) = &state.forward {
            pipe.finish(end);
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Driver: whether anybody still reads. If not, what comes is thrown away.
    pub(crate) fn is_abandoned(&self) -> bool {
        let state = self.state.borrow();
        state.forward.as_ref().map_or(state.reader_gone, |pipe| pipe.is_abandoned())
    }

    fn leave(&self) {
        let mut state = self.state.borrow_mut();
        if state.forward.is_some() {
            return;
        }
        state.reader_gone = true;
        state.queue.clear();
        state.queued = 0;
        let driver = state.driver.take();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
    }

    fn forward(&self) -> Arc<Pipe> {
        let mut state = self.state.borrow_mut();
        let pipe = Pipe::new(state.capacity);
        for piece in std::mem::take(&mut state.queue) {
            pipe.push(&piece.into_lease());
        }
        if let Some(end) = state.end {
            if let Some(trailers) = &state.trailers {
                pipe.set_trailers(trailers.clone());
            }
            pipe.finish(end);
        }
        state.queued = 0;
        state.forward = Some(pipe.clone());
        let driver = state.driver.take();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        pipe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(body: &mut Body) -> Poll<Option<Result<Vec<u8>, BodyError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        body.poll_piece(&mut cx).map(|piece| piece.map(|piece| piece.map(|lease| lease.to_vec())))
    }

    #[test]
    fn pieces_come_in_order_and_then_the_end() {
        let inbound = Inbound::new(None, 100, 8);
        let mut body = Body::new(inbound.clone());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inbound.poll_wanted(&mut cx).is_pending(), "nobody has asked yet");
        assert_eq!(poll(&mut body), Poll::Pending);
        assert!(inbound.poll_wanted(&mut cx).is_ready());
        inbound.push(Lease::from_vec(b"12345678".to_vec())).unwrap();
        assert!(inbound.poll_room(&mut cx).is_pending(), "the queue is full");
        assert_eq!(poll(&mut body), Poll::Ready(Some(Ok(b"12345678".to_vec()))));
        assert!(inbound.poll_room(&mut cx).is_ready());
        inbound.finish(None);
        assert_eq!(poll(&mut body), Poll::Ready(None));
        assert!(body.is_end());
    }

    #[test]
    fn single_bytes_are_gathered_and_large_pieces_are_not() {
        let inbound = Inbound::new(None, u64::MAX, 100_000);
        let mut body = Body::new(inbound.clone());
        let whole: Vec<u8> = (0..20_000_u32).map(|byte| byte as u8).collect();
        for piece in whole[..10_000].chunks(1).chain(whole[10_000..].chunks(5_000)) {
            inbound.push(Lease::from_vec(piece.to_vec())).unwrap();
        }
        assert!(inbound.state.borrow().queue.len() <= 1 + 3 + 2, "{}", inbound.state.borrow().queue.len());
        let mut came = Vec::new();
        while let Poll::Ready(Some(piece)) = poll(&mut body) {
            came.extend(piece.unwrap());
        }
        assert!(came == whole);
    }

    #[test]
    fn the_limit_is_exact() {
        let inbound = Inbound::new(None, 4, 100);
        let mut body = Body::new(inbound.clone());
        assert_eq!(inbound.push(Lease::from_vec(b"1234".to_vec())), Ok(()));
        assert_eq!(inbound.push(Lease::from_vec(b"5".to_vec())), Ok(()));
        assert_eq!(poll(&mut body), Poll::Ready(Some(Ok(b"1234".to_vec()))));
        assert_eq!(poll(&mut body), Poll::Ready(Some(Err(BodyError::TooLarge))));
    }

    #[test]
    fn a_declared_length_is_judged_before_the_first_byte_unless_the_limit_is_lifted() {
        let mut body = Body::new(Inbound::new(Some(5), 4, 100));
        assert_eq!(poll(&mut body), Poll::Ready(Some(Err(BodyError::TooLarge))));
        let mut body = Body::new(Inbound::new(Some(5), 4, 100));
        body.set_bytes_max(5);
        assert_eq!(poll(&mut body), Poll::Pending);
    }

    #[test]
    fn a_dropped_body_says_so() {
        let inbound = Inbound::new(None, 4, 100);
        drop(Body::new(inbound.clone()));
        assert!(inbound.is_abandoned());
        assert_eq!(inbound.push(Lease::from_vec(b"1".to_vec())), Err(BodyError::Taken));
    }

    #[test]
    fn forwarding_takes_along_what_was_queued() {
        let inbound = Inbound::new(None, 100, 100);
        let body = Body::new(inbound.clone());
        inbound.push(Lease::from_vec(b"a".to_vec())).unwrap();
        let (pipe, _) = body.forward().unwrap();
        inbound.push(Lease::from_vec(b"b".to_vec())).unwrap();
        inbound.finish(None);
        assert_eq!(pipe.pop_blocking().unwrap().unwrap(), "ab");
        assert!(pipe.pop_blocking().is_none());
        assert!(!inbound.is_abandoned());
    }
}
