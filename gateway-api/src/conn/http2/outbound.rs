//! Bodies of responses that tasks make, on their way to the driver.

use crate::{
    conn::http2::pieces::Pieces,
    core::Core,
    error::BodyError,
    features::TrailersForm,
    response::{ChunkStream, poll_chunk},
    stream::Content,
};
use http::HeaderMap;
use ringgate_runtime::buffer::SendBuf;
use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// A streamed body between the task that makes it and the driver.
pub(crate) struct Outbound {
    inner: RefCell<OutboundState>,
}

struct OutboundState {
    /// The stream's waker: the driver looks at it then.
    driver: Waker,
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
    pub(crate) fn new(driver: Waker, trailers: Option<Box<HeaderMap>>) -> Self {
        let state = OutboundState {
            driver,
            fresh: Pieces::default(),
            is_told: false,
            taken: 0,
            trailers,
            end: None,
            is_lost: false,
            maker: None,
        };
        Self { inner: RefCell::new(state) }
    }

    /// Driver: it is woken by another one from now on.
    pub(crate) fn drive(&self, driver: &Waker) {
        self.inner.borrow_mut().driver.clone_from(driver);
    }

    /// There is something for the driver.
    pub(crate) fn tell(&self) {
        self.inner.borrow().driver.wake_by_ref();
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
pub(crate) async fn pump(core: Core, mut chunks: ChunkStream, outbound: Rc<Outbound>) {
    let capacity = core.shared.config.limits.body_buffer_bytes_max;
    loop {
        let next = poll_fn(|cx| {
            if outbound.poll_room(capacity, cx).is_pending() {
                return Poll::Pending;
            }
            poll_chunk(&mut chunks, &core, cx)
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
            outbound.tell();
        }
        if is_ended {
            return;
        }
    }
}
