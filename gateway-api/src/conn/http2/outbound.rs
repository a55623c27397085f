//! What the tasks of an HTTP/2 connection's streams have for its driver.

use crate::{
    conn::http2::pieces::Pieces,
    core::Core,
    dispatch::{Begun, Table},
    error::BodyError,
    features::TrailersForm,
    request::Request,
    response::{ChunkStream, Response},
    stream::Content,
};
use http::{HeaderMap, StatusCode};
use ringgate_protocols::http2::stream::StreamKey;
use ringgate_runtime::buffer::SendBuf;
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// News of a stream for its connection.
pub(crate) enum Notice {
    /// The handler has left early hints or a push.
    Hints,
    /// The final response.
    Response(Response),
    /// The body has more pieces, or has ended.
    Body,
}

/// Where the streams of a connection leave their news. One list, so that the driver looks only at streams that have any.
#[derive(Default)]
pub(crate) struct Notices {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    list: Vec<(StreamKey, Notice)>,
    driver: Option<Waker>,
}

impl Notices {
    pub(crate) fn put(&self, key: StreamKey, notice: Notice) {
        let mut inner = self.inner.borrow_mut();
        inner.list.push((key, notice));
        if let Some(driver) = &inner.driver {
            driver.wake_by_ref();
        }
    }

    /// Everything since the last call; keeps `cx` to be woken.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Vec<(StreamKey, Notice)> {
        let mut inner = self.inner.borrow_mut();
        if !inner.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.driver = Some(cx.waker().clone());
        }
        std::mem::take(&mut inner.list)
    }
}

/// Runs a handler that was not ready at once, and leaves its response.
pub(crate) async fn answer(
    core: Core,
    table: Rc<Table>,
    key: StreamKey,
    request: Request,
    mut begun: Begun,
    notices: Rc<Notices>,
) {
    let mut deadline = pin!(request.deadline().map(|deadline| core.handle().sleep_until(deadline)));
    let response = poll_fn(|cx| {
        let polled = table.poll(&core, &mut begun, cx);
        if request.has_hints() {
            notices.put(key, Notice::Hints);
        }
        if polled.is_pending()
            && let Some(sleep) = deadline.as_mut().as_pin_mut()
            && sleep.poll(cx).is_ready()
        {
            begun.forget();
            core.shared.counters.timeouts_handler.up();
            let late = Response::text("the request took too long\n").status(StatusCode::SERVICE_UNAVAILABLE);
            return Poll::Ready(late);
        }
        polled
    });
    let mut response = response.await;
    table.finish(&core, &begun, &request, &mut response);
    notices.put(key, Notice::Response(response));
}

/// A streamed body between the task that makes it and the driver.
#[derive(Default)]
pub(crate) struct Outbound {
    inner: RefCell<OutboundState>,
}

#[derive(Default)]
struct OutboundState {
    /// Not yet seen by the driver.
    fresh: Pieces,
    /// The driver has been told that there is something fresh.
    is_told: bool,
    /// Bytes with the driver that have not gone out.
    taken: usize,
    trailers: Option<Box<HeaderMap>>,
    end: Option<Result<(), BodyError>>,
    /// The stream is over, and not all of this has gone out.
    is_lost: bool,
    /// The task that makes the body waits for room.
    maker: Option<Waker>,
}

/// What the driver finds.
pub(crate) struct Fresh {
    pub(crate) pieces: Pieces,
    pub(crate) end: Option<Result<(), BodyError>>,
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

impl Outbound {
    /// A body that ends with these trailers, unless its stream brings others.
    pub(crate) fn with_trailers(trailers: Option<Box<HeaderMap>>) -> Self {
        Self { inner: RefCell::new(OutboundState { trailers, ..OutboundState::default() }) }
    }

    /// Driver: what has come since the last call.
    pub(crate) fn take(&self) -> Fresh {
        let mut state = self.inner.borrow_mut();
        let pieces = std::mem::take(&mut state.fresh);
        state.is_told = false;
        state.taken += pieces.len();
        let trailers = if state.end.is_some() { state.trailers.take() } else { None };
        Fresh { pieces, end: state.end, trailers }
    }

    /// Driver: so many bytes have gone out.
    pub(crate) fn sent(&self, bytes: usize) {
        let mut state = self.inner.borrow_mut();
        state.taken -= bytes;
        if let Some(maker) = state.maker.take() {
            maker.wake();
        }
    }

    /// Tunnel: puts everything behind what waits. False when it has been ended before.
    pub(crate) fn push(&self, buf: SendBuf) -> bool {
        let mut state = self.inner.borrow_mut();
        if state.end.is_some() {
            return false;
        }
        buf.into_pieces().filter(|piece| !piece.as_slice().is_empty()).for_each(|piece| state.fresh.push(piece));
        true
    }

    /// Tunnel: bytes that have not gone out.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.inner.borrow();
        state.fresh.len() + state.taken
    }

    /// Tunnel: ready when everything has gone out, or never will.
    pub(crate) fn poll_empty(&self, cx: &Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.inner.borrow().is_lost {
            return Poll::Ready(Err(BodyError::Disconnected));
        }
        self.poll_room(1, cx).map(Ok)
    }

    /// Driver: the stream of a tunnel is over. Who waits for its bytes to go out is told.
    pub(crate) fn lose(&self) {
        let mut state = self.inner.borrow_mut();
        state.is_lost = state.end != Some(Ok(())) || state.fresh.len() + state.taken > 0;
        let maker = state.maker.take();
        drop(state);
        maker.into_iter().for_each(Waker::wake);
    }

    /// Tunnel: the end, good or bad. False when it has been ended before.
    pub(crate) fn finish(&self, end: Result<(), BodyError>) -> bool {
        let mut state = self.inner.borrow_mut();
        let is_first = state.end.is_none();
        state.end.get_or_insert(end);
        is_first
    }

    fn poll_room(&self, capacity: usize, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.inner.borrow_mut();
        if state.fresh.len() + state.taken < capacity {
            return Poll::Ready(());
        }
        state.maker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Asks a streamed body for its pieces, as the peer takes them.
pub(crate) async fn pump(
    core: Core,
    key: StreamKey,
    mut chunks: ChunkStream,
    outbound: Rc<Outbound>,
    notices: Rc<Notices>,
) {
    let capacity = core.shared.config.limits.body_buffer_bytes_max;
    loop {
        let next = poll_fn(|cx| {
            if outbound.poll_room(capacity, cx).is_pending() {
                return Poll::Pending;
            }
            match catch_unwind(AssertUnwindSafe(|| chunks.as_mut().poll_next(cx))) {
                Ok(next) => next,
                Err(_) => {
                    core.shared.counters.handler_panics.up();
                    Poll::Ready(Some(Err(BodyError::Malformed)))
                }
            }
        });
        let next = next.await;
        let mut state = outbound.inner.borrow_mut();
        match next {
            Some(Ok(chunk)) => match chunk.content {
                Content::Data(piece) => state.fresh.push(piece),
                Content::Trailers { fields, form } => {
                    if let Some(form) = form {
                        form.set(Some(TrailersForm::Sent));
                    }
                    state.trailers = Some(fields);
                }
            },
            Some(Err(error)) => state.end = Some(Err(error)),
            None => state.end = Some(Ok(())),
        }
        let is_ended = state.end.is_some();
        let is_told = std::mem::replace(&mut state.is_told, true);
        drop(state);
        if !is_told {
            notices.put(key, Notice::Body);
        }
        if is_ended {
            return;
        }
    }
}
