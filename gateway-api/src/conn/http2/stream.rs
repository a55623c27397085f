//! One stream that is under way.

use crate::{
    body::Inbound,
    conn::{
        http1::Next,
        http2::{
            outbound::{self, Notices, Outbound},
            pieces::Pieces,
            tunnel::Tunnel,
        },
        websocket,
        wire::Wire,
    },
    core::Core,
    dispatch::{Begun, Table},
    error::BodyError,
    request::{Link, Request},
    response::ChunkStream,
    websocket::upgrade::Upgrade,
};
use http::HeaderMap;
use ringgate_protocols::http2::stream::StreamKey;
use ringgate_runtime::{buffer::SendBuf, net::ByteStream, task::JoinHandle, time::Instant};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// What the driver holds of a stream whose exchange takes longer than a turn. Dropping it cancels the handler.
pub(crate) struct Live {
    pub(crate) key: StreamKey,
    pub(crate) is_head: bool,
    /// The driver's hold on the request, until the response has begun.
    pub(crate) request: Option<Request>,
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
    /// The handler, or what makes the body of the response.
    pub(crate) task: Option<JoinHandle<()>>,
    /// Body bytes that were offered to the machine and not granted.
    pub(crate) pieces: Pieces,
    pub(crate) outbound: Option<Rc<Outbound>>,
    pub(crate) trailers: Option<Box<HeaderMap>>,
    /// The end of the body has been seen.
    pub(crate) is_complete: bool,
    /// It is a tunnel: what wakes its task for a drain.
    pub(crate) tunnel: Option<Rc<Link>>,
    /// Bytes of the streamed body that were announced and have not been made.
    pub(crate) length_left: Option<u64>,
}

impl Drop for Live {
    /// However the stream ends, and the connection with it: who reads the body, a thread perhaps, learns it.
    fn drop(&mut self) {
        if let Some(inbound) = &self.inbound {
            inbound.fail(BodyError::Disconnected);
        }
    }
}

impl Live {
    pub(crate) fn new(key: StreamKey, is_head: bool) -> Self {
        Self {
            key,
            is_head,
            request: None,
            inbound: None,
            released: 0,
            discarded: 0,
            waiting: None,
            expects_continue: false,
            task: None,
            pieces: Pieces::default(),
            outbound: None,
            trailers: None,
            is_complete: false,
            tunnel: None,
            length_left: None,
        }
    }

    /// Lets the handler go on as a task of its own.
    pub(crate) fn begin<S: ByteStream>(
        &mut self,
        wire: &Wire<S>,
        begun: Begun,
        request: Request,
        notices: &Rc<Notices>,
    ) {
        let core = wire.link.core.clone();
        let handle = core.handle().clone();
        let answer = outbound::answer(core, wire.table.clone(), self.key, request, begun, notices.clone());
        self.task = Some(handle.spawn("stream", answer));
    }

    /// Lets the stream be a WebSocket's, in a task of its own.
    pub(crate) fn open(&mut self, link: &Link, table: &Rc<Table>, mut upgrade: Upgrade, notices: &Rc<Notices>) {
        let Link { core, peer, local, .. } = link;
        let link = Link {
            core: core.clone(),
            peer: peer.clone(),
            local: local.clone(),
            promises_left: Cell::new(0),
            waker: RefCell::default(),
            is_finished: Cell::new(false),
        };
        let (link, outbound) = (Rc::new(link), Rc::new(Outbound::with_trailers(None)));
        let body = std::mem::take(&mut upgrade.body);
        let stream = Tunnel { key: self.key, body, outbound: outbound.clone(), notices: notices.clone() };
        let mut inner = Wire::new(stream, link.clone(), table.clone());
        let conversation = async move {
            if let Next::Close = websocket::serve(&mut inner, upgrade, SendBuf::default()).await {
                inner.close().await;
            }
        };
        (self.tunnel, self.outbound) = (Some(link), Some(outbound));
        self.task = Some(core.handle().spawn("websocket", conversation));
    }

    /// The stream is over. A conversation is told, and may end by itself; anything else is dropped.
    pub(crate) fn end(mut self) {
        if self.tunnel.is_some()
            && let Some(task) = self.task.take()
        {
            self.outbound.iter().for_each(|outbound| outbound.lose());
            task.detach();
        }
    }

    /// Lets the body of the response be made by a task of its own.
    pub(crate) fn stream(
        &mut self,
        core: &Core,
        chunks: ChunkStream,
        trailers: Option<Box<HeaderMap>>,
        notices: &Rc<Notices>,
    ) {
        let outbound = Rc::new(Outbound::with_trailers(trailers));
        let pump = outbound::pump(core.clone(), self.key, chunks, outbound.clone(), notices.clone());
        self.outbound = Some(outbound);
        self.task = Some(core.handle().spawn("response body", pump));
    }
}
