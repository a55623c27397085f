//! The body of a request for a service that may take it to another thread.

use crate::{body::Body, error::BodyError, pipe::Pipe};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The body of a request as an [`http_body::Body`], trailers and all. It is `Send`, as axum and tonic want it.
///
/// A body of the gateway never leaves its core, so its bytes cross by a bounded pipe (`body_buffer_bytes_max`), as they do
/// for blocking handlers: each is copied once, each piece takes a lock that is mostly uncontended. A request without a
/// body has no pipe. What the service does not read is not asked for: backpressure reaches the peer, and
/// `Expect: 100-continue` is answered by the first poll. Its errors are [`BodyError`]s.
///
/// ```
/// use http_body_util::BodyExt;
/// use ringgate::{App, BodyError, tower::{self, RequestBody}};
/// use std::{future::Future, pin::Pin, task::{Context, Poll}};
/// #[derive(Clone)]
/// struct Measure;
/// impl tower_service::Service<http::Request<RequestBody>> for Measure {
///     type Response = http::Response<String>;
///     type Error = BodyError;
///     type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BodyError>>>>;
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
///         Poll::Ready(Ok(()))
///     }
///     fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
///         Box::pin(async move {
///             let body = request.into_body().collect().await?.to_bytes();
///             Ok(http::Response::new(format!("{} bytes\n", body.len())))
///         })
///     }
/// }
/// let app = App::new().route("/measure", tower::handler(Measure));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "POST /measure HTTP/1.1", &"a".repeat(100_000)).ends_with("100000 bytes\n"));
/// ```
pub struct RequestBody {
    pipe: Option<Arc<Pipe>>,
    length: Option<u64>,
    bytes_max: u64,
    read: u64,
}

impl RequestBody {
    pub(crate) fn new(body: Body) -> Self {
        let length = body.length();
        let (pipe, bytes_max) = body.forward().map_or((None, 0), |(pipe, bytes_max)| (Some(pipe), bytes_max));
        Self { pipe, length, bytes_max, read: 0 }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(pipe) = &self.pipe else { return Poll::Ready(None) };
        if self.length.is_some_and(|length| length > self.bytes_max) {
            return Poll::Ready(Some(Err(BodyError::TooLarge)));
        }
        pipe.poll_asked(cx).map(|next| {
            next.map(|piece| {
                let piece = piece?;
                self.read += piece.len() as u64;
                if self.read > self.bytes_max { Err(BodyError::TooLarge) } else { Ok(piece) }
            })
        })
    }

    /// Nothing more is wanted, or nothing more will come.
    fn leave(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            pipe.leave();
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(next) = self.poll_piece(cx) else { return Poll::Pending };
        let next = next.map(|piece| piece.map(Frame::data));
        Poll::Ready(match next {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => {
                self.leave();
                Some(Err(error))
            }
            None => {
                let trailers = self.pipe.as_ref().and_then(|pipe| pipe.trailers());
                self.leave();
                trailers.map(|trailers| Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.pipe.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.pipe, self.length) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(length)) => SizeHint::with_exact(length.saturating_sub(self.read)),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_end = self.pipe.is_none();
        f.debug_struct("RequestBody").field("length", &self.length).field("is_end", &is_end).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use std::task::Waker;

    fn body(pipe: &Arc<Pipe>, length: Option<u64>, bytes_max: u64) -> RequestBody {
        RequestBody { pipe: Some(pipe.clone()), length, bytes_max, read: 0 }
    }

    fn next(body: &mut RequestBody) -> Poll<Option<Result<Vec<u8>, BodyError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(body).poll_frame(&mut cx).map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| frame.into_data().map_or_else(|_| b"trailers".to_vec(), |data| data.to_vec()))
            })
        })
    }

    #[test]
    fn it_can_leave_its_core() {
        fn is_send<T: Send + Sync + 'static>() {}
        is_send::<RequestBody>();
    }

    #[test]
    fn pieces_then_trailers_then_the_end() {
        let pipe = Pipe::new(10);
        let mut body = body(&pipe, Some(3), 10);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pipe.poll_wanted(&mut cx).is_pending(), "nobody has asked yet");
        assert_eq!(next(&mut body), Poll::Pending);
        assert!(pipe.poll_wanted(&mut cx).is_ready());
        assert!(pipe.push(b"abc"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(next(&mut body), Poll::Ready(Some(Ok(b"abc".to_vec()))));
        assert_eq!(body.size_hint().exact(), Some(0));
        pipe.set_trailers(http::HeaderMap::new());
        pipe.finish(Ok(()));
        assert_eq!(next(&mut body), Poll::Ready(Some(Ok(b"trailers".to_vec()))));
        assert!(body.is_end_stream());
        assert_eq!(next(&mut body), Poll::Ready(None));
    }

    #[test]
    fn the_limit_is_the_gateways_and_errors_are_final() {
        let pipe = Pipe::new(100);
        let mut declared = body(&pipe, Some(5), 4);
        assert_eq!(next(&mut declared), Poll::Ready(Some(Err(BodyError::TooLarge))));
        assert!(pipe.is_abandoned());
        assert_eq!(next(&mut declared), Poll::Ready(None));

        let pipe = Pipe::new(100);
        let mut counted = body(&pipe, None, 4);
        assert!(pipe.push(b"abcd"));
        assert_eq!(next(&mut counted), Poll::Ready(Some(Ok(b"abcd".to_vec()))));
        assert!(pipe.push(b"e"));
        assert_eq!(next(&mut counted), Poll::Ready(Some(Err(BodyError::TooLarge))));

        let pipe = Pipe::new(100);
        drop(body(&pipe, None, 4));
        assert!(pipe.is_abandoned());
    }
}
