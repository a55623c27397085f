//! The body of a response on its way to a host that is not ours.

use crate::{
    core::Core,
    error::BodyError,
    features::TrailersForm,
    response::{ChunkStream, poll_chunk},
    stream::{Chunk, Content},
    tower::inflow::Inflow,
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// The body of a response as an [`http_body::Body`]. The next piece is asked for when the host asks; an error says that
/// the body broke off, which a host tells by cutting the connection or the stream. Dropped, it drops the stream that the
/// handler has made.
///
/// ```
/// use http_body_util::{BodyExt, Empty};
/// use ringgate::{App, Config, Request, Site, runtime::executor::{Executor, ExecutorConfig}};
/// use tower_service::Service;
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let app = App::new().route("/hello", |_: &Request| "hello\n");
/// let mut site = Site::new(&executor.handle(), Config::default(), |_| app);
/// let request = http::Request::get("/hello").body(Empty::<bytes::Bytes>::new()).unwrap();
/// // Any loop of this thread can poll it; here it is the executor itself.
/// let body = executor.block_on(async {
///     let Ok(response) = site.call(request).await;
///     response.into_body().collect().await
/// });
/// assert_eq!(body.expect("it does not break off").to_bytes(), "hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ResponseBody {
    source: Source,
    /// Bytes announced and not given yet.
    left: Option<u64>,
    trailers: Option<HeaderMap>,
}

enum Source {
    End,
    Whole(Bytes),
    Stream(Box<Streamed>),
}

/// A body that comes piece by piece.
pub(crate) struct Streamed {
    pub(crate) chunks: ChunkStream,
    /// The request's body, which may still come in.
    pub(crate) inflow: Option<Inflow>,
    pub(crate) core: Core,
    /// Whether a host passes these trailers on.
    pub(crate) passes: Box<dyn Fn(&HeaderMap) -> bool>,
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Self { source: Source::End, left: None, trailers: None }
    }

    pub(crate) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        let source = if bytes.is_empty() { Source::End } else { Source::Whole(bytes) };
        Self { source, left: None, trailers }
    }

    pub(crate) fn streamed(streamed: Streamed, length: Option<u64>, trailers: Option<HeaderMap>) -> Self {
        Self { source: Source::Stream(Box::new(streamed)), left: length, trailers }
    }

    /// The next piece of a stream; `None` at its good end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Source::Stream(streamed) = &mut self.source else { return Poll::Ready(None) };
        let Streamed { chunks, inflow, core, passes } = &mut **streamed;
        core.handle().catch_up();
        let polled = loop {
            Inflow::poll(inflow, cx);
            let polled = poll_chunk(chunks, core, cx);
            // What the stream has taken makes room, and what it waits for may be there already.
            Inflow::poll(inflow, cx);
            core.handle().nudge();
            let next = match polled {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(next) => next.transpose(),
            };
            match next {
                Err(error) => break Poll::Ready(Some(Err(error))),
                Ok(None) => break Poll::Ready(None),
                Ok(Some(Chunk { content: Content::Trailers { fields, form } })) => {
                    let is_passed = passes(&fields);
                    if let Some(form) = form {
                        form.set(Some(if is_passed { TrailersForm::Sent } else { TrailersForm::Dropped }));
                    }
                    self.trailers = is_passed.then_some(*fields);
                }
                Ok(Some(chunk)) => match chunk.into_bytes() {
                    Ok(bytes) if !bytes.is_empty() => break Poll::Ready(Some(Ok(bytes))),
                    _ => {}
                },
            }
        };
        let Poll::Ready(next) = polled else { return Poll::Pending };
        let (left, given) = (self.left.unwrap_or(0), next.as_ref().map(|piece| piece.as_ref().map_or(0, Bytes::len)));
        let is_misfit = self.left.is_some() && given.map_or(left > 0, |given| given as u64 > left);
        if is_misfit && !matches!(next, Some(Err(_))) {
            core.shared.counters.responses_misused.up();
            return Poll::Ready(Some(Err(BodyError::Malformed)));
        }
        self.left = self.left.map(|left| left.saturating_sub(given.unwrap_or(0) as u64));
        Poll::Ready(next)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = match &mut self.source {
            Source::End => Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::End;
                Poll::Ready(Some(Ok(bytes)))
            }
            Source::Stream(_) => self.poll_chunk(cx),
        };
        next.map(|next| match next {
            Some(Ok(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Err(error)) => {
                self.source = Source::End;
                self.trailers = None;
                Some(Err(error))
            }
            None => {
                self.source = Source::End;
                self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::End) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.source, self.left) {
            (Source::End, _) => SizeHint::with_exact(0),
            (Source::Whole(bytes), _) => SizeHint::with_exact(bytes.len() as u64),
            (Source::Stream(_), Some(left)) => SizeHint::with_exact(left),
            (Source::Stream(_), None) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("size_hint", &http_body::Body::size_hint(self)).finish_non_exhaustive()
    }
}

impl Drop for Streamed {
    /// What the stream held may have woken tasks when it went.
    fn drop(&mut self) {
        self.core.handle().nudge();
    }
}
