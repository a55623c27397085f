//! A blocking handler, seen from the core: a future like any other.

use crate::{
    blocking::{
        body::Body,
        core::Core,
        request::{self, Line},
        response::Portable,
    },
    request::Request,
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use ringgate_runtime::offload::{Full, Panicked};
use std::{
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

/// A function of the crew.
pub(crate) type BlockingFn = dyn Fn(request::Request) -> Portable + Send + Sync;

/// The core's end of the line.
struct CoreEnd {
    line: Arc<Line>,
    request: Request,
    answered: bool,
}

impl CoreEnd {
    /// Does what the thread has asked for. Without a waker it has asked for the last time.
    fn attend(&self, waker: Option<&Waker>) {
        let mut asked = self.line.lock();
        if !asked.links.is_empty() {
            self.request.early_hints(asked.links.drain(..));
        }
        for (path, answer) in asked.pushes.drain(..) {
            let _ = answer.try_send(self.request.push(&path));
        }
        if asked.core {
            self.line.core.get_or_init(|| Core::of(self.request.core()));
        }
        if waker.is_none() {
            self.request.keep_values(std::mem::take(&mut asked.values));
        }
        asked.waker = waker.cloned();
    }
}

impl Drop for CoreEnd {
    /// Tells the thread that nobody waits any more, unless the answer was taken.
    fn drop(&mut self) {
        if !self.answered {
            self.line.disconnected.store(true, Ordering::Release);
        }
        self.line.end();
        // Whoever still has the request may ask for the core later.
        if Arc::strong_count(&self.line) > 1 {
            self.line.core.get_or_init(|| Core::of(self.request.core()));
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
    let line = Arc::<Line>::default();
    let body = std::mem::take(request.body_mut());
    let copy = request.copy(line.clone(), body);
    let job = request.job();
    let mut end = CoreEnd { line, request, answered: false };
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
        end.attend(done.is_pending().then_some(cx.waker()));
        done
    });
    let done = done.await;
    match done {
        Ok(response) => {
            end.answered = true;
            response.into_response()
        }
        // The driver contains it again, counts it, and answers 500.
        Err(Panicked(panic)) => resume_unwind(panic),
    }
}

impl Request {
    /// A copy without a body that can leave the core. Nothing can be done for its exchange any more.
    pub(crate) fn copy_for_thread(&self, core: &Core) -> request::Request {
        let line = Arc::<Line>::default();
        line.core.get_or_init(|| core.clone());
        line.end();
        self.copy(line, crate::body::Body::default())
    }

    /// A copy that can leave the core.
    fn copy(&self, line: Arc<Line>, body: crate::body::Body) -> request::Request {
        let (head, bytes) = self.copy_head();
        let length = body.length();
        request::Request {
            head,
            bytes,
            features: self.features(),
            // Not to be counted from when a thread is free: the client waits already.
            deadline: self
                .deadline()
                .and_then(|deadline| std::time::Instant::now().checked_add(deadline.since(self.handle().now()))),
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
