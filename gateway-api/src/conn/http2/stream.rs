//! One stream that is under way.

use crate::{
    body::Inbound,
    conn::{
        http2::{
            outbound::{self, Outbound},
            pieces::Pieces,
            tunnel::Tunnel,
        },
        next::Next,
        websocket,
        wire::Wire,
    },
    contain::drop_contained,
    core::Core,
    dispatch::Table,
    error::BodyError,
    handler::ResponseFuture,
    request::{Held, Link, Work},
    response::ChunkStream,
    websocket::upgrade::Upgrade,
};
use http::HeaderMap;
use ringgate_protocols::http2::{stream::StreamKey, stream_id::StreamId};
use ringgate_runtime::{buffer::SendBuf, task::JoinHandle, time::Instant};
use std::{cell::Cell, rc::Rc, sync::Arc, task::Waker};

/// What the driver holds of a stream whose exchange takes longer than a turn. Small: a hundred of them may wait for
/// their handlers.
pub(crate) struct Live {
    /// Its slot is the place where it is kept.
    pub(crate) id: StreamId,
    pub(crate) is_head: bool,
    /// Only threads that are at work for it keep it.
    pub(crate) is_over: bool,
    /// Until it has answered. Dropping it cancels it.
    pub(crate) handler: Option<ResponseFuture>,
    /// The driver's hold on the request, until the response has begun.
    pub(crate) request: Option<Held>,
    /// What streams with bodies have besides.
    pub(crate) transfer: Option<Box<Transfer>>,
}

/// The bodies of a stream, and what is left behind when it is over.
#[derive(Default)]
pub(crate) struct Transfer {
    pub(crate) inbound: Option<Rc<Inbound>>,
    /// Bytes of the request body whose window was given back.
    pub(crate) released: u64,
    /// Since when the client is waited for, and bytes of the body that have come since: it must keep to the minimum
    /// rate.
    pub(crate) waiting: Option<(Instant, u64)>,
    /// Bytes of it that nobody wanted.
    pub(crate) discarded: u64,
    /// The client waits for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
    /// What makes the body of the response.
    pub(crate) task: Option<JoinHandle<()>>,
    /// Body bytes that were offered to the machine and not granted.
    pub(crate) pieces: Pieces,
    pub(crate) outbound: Option<Rc<Outbound>>,
    pub(crate) trailers: Option<Box<HeaderMap>>,
    /// The end of the body has been seen.
    pub(crate) is_complete: bool,
    /// It is a tunnel: the task is a WebSocket's, and not the maker of a body.
    pub(crate) is_tunnel: bool,
    /// Bytes of the streamed body that were announced and have not been made.
    pub(crate) length_left: Option<u64>,
    /// Threads that are at work for it.
    pub(crate) work: Option<Arc<Work>>,
}

impl Drop for Transfer {
    /// However the stream ends, and the connection with it: who reads the body, a thread perhaps, learns it.
    fn drop(&mut self) {
        self.fail(BodyError::Disconnected);
    }
}

impl Transfer {
    /// The rest of the request body will not come, or nobody takes it any more.
    pub(crate) fn fail(&mut self, why: BodyError) {
        if let Some(inbound) = self.inbound.take() {
            inbound.fail(why);
        }
    }
}

impl Drop for Live {
    /// When the connection is cut its handlers are dropped one after the other: one that panics then must not meet the next.
    fn drop(&mut self) {
        if self.handler.is_some() {
            drop_contained(&mut self.handler);
        }
    }
}

impl Live {
    pub(crate) fn new(id: StreamId, is_head: bool) -> Self {
        Self { id, is_head, is_over: false, handler: None, request: None, transfer: None }
    }

    /// The machine's key for the stream that is kept in this place.
    pub(crate) fn key(&self, slot: usize) -> StreamKey {
        StreamKey::new(self.id, slot)
    }

    pub(crate) fn transfer(&mut self) -> &mut Transfer {
        self.transfer.get_or_insert_default()
    }

    /// Whether it is a WebSocket's.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.is_tunnel)
    }

    /// The body of its request, while it is received.
    pub(crate) fn inbound(&self) -> Option<&Rc<Inbound>> {
        self.transfer.as_ref().and_then(|transfer| transfer.inbound.as_ref())
    }

    /// The response begins: the request is let go, but for the threads that are at work for it.
    pub(crate) fn release_request(&mut self) -> Option<Held> {
        let request = self.request.take()?;
        if let Some(work) = request.work() {
            self.transfer().work = Some(work);
        }
        Some(request)
    }

    /// Lets the stream be a WebSocket's, in a task of its own.
    pub(crate) fn open(&mut self, link: &Link, table: &Rc<Table>, mut upgrade: Upgrade, driver: Waker) {
        let Link { core, peer, local, .. } = link;
        let link = Link {
            core: core.clone(),
            peer: peer.clone(),
            local: local.clone(),
            promises_left: Cell::new(0),
            is_finished: Cell::new(false),
        };
        let (link, outbound) = (Rc::new(link), Rc::new(Outbound::new(driver, None)));
        let body = std::mem::take(&mut upgrade.body);
        let stream = Tunnel { body, outbound: outbound.clone() };
        let mut inner = Wire::new(stream, link, table.clone());
        let conversation = async move {
            if let Next::Close = websocket::serve(&mut inner, upgrade, SendBuf::default()).await {
                inner.close().await;
            }
        };
        let task = core.handle().spawn("websocket", conversation);
        let transfer = self.transfer();
        (transfer.is_tunnel, transfer.outbound, transfer.task) = (true, Some(outbound), Some(task));
    }

    /// Lets the body of the response be made by a task of its own.
    pub(crate) fn stream(&mut self, core: &Core, chunks: ChunkStream, trailers: Option<Box<HeaderMap>>, driver: Waker) {
        let outbound = Rc::new(Outbound::new(driver, trailers));
        let pump = outbound::pump(core.clone(), chunks, outbound.clone());
        let task = core.handle().spawn("response body", pump);
        let transfer = self.transfer();
        (transfer.outbound, transfer.task) = (Some(outbound), Some(task));
    }

    /// The stream is over. A conversation is told, and may end by itself; anything else is dropped. What is left are
    /// the threads that are at work for it.
    pub(crate) fn end(mut self, table: &Table, core: &Core, why: BodyError) -> Option<Arc<Work>> {
        if let Some(handler) = self.handler.take() {
            table.drop_handler(core, handler);
        }
        drop(self.release_request());
        let mut transfer = self.transfer.take()?;
        transfer.fail(why);
        if transfer.is_tunnel
            && let Some(task) = transfer.task.take()
        {
            transfer.outbound.iter().for_each(|outbound| outbound.lose());
            task.detach();
        }
        transfer.work.take()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stream_that_waits_is_small() {
        assert_eq!(size_of::<Option<super::Live>>(), 40);
    }
}
