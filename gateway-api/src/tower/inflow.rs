//! The body of a request on its way in from a host that is not ours.

use crate::{body::Inbound, error::BodyError};
use http::HeaderMap;
use ringgate_runtime::buffer::Lease;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// What brings the body: it is asked for when the handler asks.
pub(crate) struct Inflow {
    pump: Pin<Box<dyn Future<Output = ()>>>,
    inbound: Rc<Inbound>,
}

impl Inflow {
    pub(crate) fn new<B: http_body::Body + 'static>(inbound: Rc<Inbound>, body: B) -> Self {
        let mut body = Box::pin(body);
        let mut trailers: Option<HeaderMap> = None;
        let into = inbound.clone();
        let pump = poll_fn(move |cx| {
            loop {
                if into.is_abandoned() {
                    return Poll::Ready(());
                }
                ready!(into.poll_wanted(cx));
                ready!(into.poll_room(cx));
                match ready!(body.as_mut().poll_frame(cx)) {
                    None => {
                        into.finish(trailers.take());
                        return Poll::Ready(());
                    }
                    Some(Err(_)) => {
                        into.fail(BodyError::Disconnected);
                        return Poll::Ready(());
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(mut data) => {
                            let mut bytes = vec![0; bytes::Buf::remaining(&data)];
                            bytes::Buf::copy_to_slice(&mut data, &mut bytes);
                            // Not wanted any more: the next round sees it.
                            let _ = into.push(Lease::from_vec(bytes));
                        }
                        Err(frame) => trailers = frame.into_trailers().ok().or_else(|| trailers.take()),
                    },
                }
            }
        });
        Self { pump: Box::pin(pump), inbound }
    }

    /// Goes on; gone when there is nothing left to do.
    pub(crate) fn poll(inflow: &mut Option<Self>, cx: &mut Context<'_>) {
        if let Some(pump) = inflow
            && pump.pump.as_mut().poll(cx).is_ready()
        {
            *inflow = None;
        }
    }
}

impl Drop for Inflow {
    /// However it ends: who still reads the body learns that nothing more will come. A good end stands.
    fn drop(&mut self) {
        self.inbound.fail(BodyError::Disconnected);
    }
}
