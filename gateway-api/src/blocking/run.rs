//! A blocking handler, seen from the core: a future like any other.

use crate::{
    blocking::{body::Body, request, response::Portable},
    request::Request,
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use ringgate_runtime::offload::{Full, Panicked};
use std::{
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// A function of the crew.
pub(crate) type BlockingFn = dyn Fn(request::Request) -> Portable + Send + Sync;

/// Tells the thread that nobody waits any more, unless the answer was taken.
struct Gone {
    line: Arc<request::Line>,
    answered: bool,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if !self.answered {
            self.line.disconnected.store(true, Ordering::Release);
        }
    }
}

/// 503: the crew has more to do than it can.
pub(crate) fn full(counters: &crate::counters::GatewayCounters) -> Response {
    counters.crew_full.up();
    Response::text("too busy\n")
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header_value(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Runs `handler` on the crew. Dropping the future makes `is_disconnected` true; a job not yet begun is not run.
pub(crate) async fn run(handler: Arc<BlockingFn>, mut request: Request) -> Response {
    let core = request.core().clone();
    let head = request.share();
    let line = Arc::new(request::Line::default());
    let copy = head.copy(line.clone(), std::mem::take(request.body_mut()));
    let job = request.job();
    drop(request);
    let mut gone = Gone { line, answered: false };
    let work = move || {
        let _job = job;
        handler(copy)
    };
    let offloaded = match core.crew().run(work) {
        Ok(offloaded) => offloaded,
        Err(Full) => return full(&core.shared.counters),
    };
    let mut offloaded = pin!(offloaded);
    let done = poll_fn(|cx| {
        let done = offloaded.as_mut().poll(cx);
        let mut hints = gone.line.hints.lock().unwrap_or_else(PoisonError::into_inner);
        if !hints.links.is_empty() {
            head.early_hints(hints.links.drain(..));
        }
        if done.is_pending() {
            hints.waker = Some(cx.waker().clone());
        }
        done
    });
    let done = done.await;
    match done {
        Ok(response) => {
            gone.answered = true;
            response.into_response()
        }
        // The driver contains it again, counts it, and answers 500.
        Err(Panicked(panic)) => resume_unwind(panic),
    }
}

impl Request {
    /// A copy without a body that can leave the core.
    pub(crate) fn copy_for_thread(&self) -> request::Request {
        self.copy(Arc::default(), crate::body::Body::default())
    }

    /// A copy that can leave the core.
    fn copy(&self, line: Arc<request::Line>, body: crate::body::Body) -> request::Request {
        let (head, bytes) = self.copy_head();
        let length = body.length();
        request::Request {
            head,
            bytes,
            features: self.features(),
            time_left: self.deadline().map(|deadline| deadline.since(self.handle().now())),
            route: self.route(),
            parameters: self.copy_parameters(),
            values: self.values(),
            peer: self.peer_address().cloned(),
            local: self.local_address().cloned(),
            body: Body::new(body.forward(), length),
            line,
        }
    }
}
