//! What waits to go out: frames for the next send, and behind them those of which the oldest may have to go.

use crate::{
    config::COPIED_BYTES_MAX,
    core::Core,
    websocket::{
        error::SocketError,
        hub::Hub,
        options::{Options, QueuePolicy},
        outgoing::{Content, Outgoing, Prepared},
        state::State,
    },
};
use bytes::Bytes;
use ringgate_protocols::websocket::{error::Misuse, message::Variant, state::State as Standing};
use ringgate_runtime::buffer::SendBuf;
use std::mem;

/// Turns that it may take until what was written is known to have left: over HTTP/2 it passes through another task, whose
/// send before it has to end, each in a turn of its own. 8: twice what that comes to, and still next to no time.
pub(crate) const TURNS_UNDER_WAY: u16 = 8;

impl State {
    /// Bytes that wait for the wire.
    pub(crate) fn queued(&self) -> usize {
        self.out.len() + self.rare.as_ref().map_or(0, |rare| rare.queue_bytes)
    }

    /// There is no room for a message.
    #[inline]
    pub(crate) fn is_full(&self, options: &Options) -> bool {
        self.queued() >= options.queue_bytes_max
    }

    /// The peer takes less than we write: there is more for the wire, and not only since it is under way.
    pub(crate) fn is_slow(&self, core: &Core) -> bool {
        self.is_blocked && (core.handle().turn() as u16).wrapping_sub(self.blocked_in) >= TURNS_UNDER_WAY
    }

    /// A buffer to write to.
    pub(crate) fn tail(&mut self, core: &Core) -> &mut Vec<u8> {
        tail(&mut self.out, core)
    }

    /// The usual case by itself: a message that is short, plain and with nothing to choose. False, and nothing is done,
    /// where it is anything else: [`State::write`] knows what.
    #[inline]
    pub(crate) fn write_short(
        &mut self,
        core: &Core,
        options: &Options,
        outgoing: &Outgoing<'_>,
    ) -> Result<bool, SocketError> {
        let payload: &[u8] = match &outgoing.content {
            Content::Borrowed(bytes) => bytes,
            Content::Lease(lease) => lease,
            Content::Shared(bytes) => bytes,
            Content::Prepared(_) => return Ok(false),
        };
        let is_plain = self.machine.parameters().is_none() && options.policy != QueuePolicy::DropOldest;
        if !is_plain || payload.len() > COPIED_BYTES_MAX {
            return Ok(false);
        }
        self.machine.send_message(tail(&mut self.out, core), outgoing.kind, payload).map_err(misused)?;
        Ok(true)
    }

    /// Writes a message, or puts it where the oldest can be dropped.
    pub(crate) fn write(
        &mut self,
        core: &Core,
        hub: &Hub,
        options: &Options,
        outgoing: Outgoing<'_>,
    ) -> Result<(), SocketError> {
        let droppable =
            options.policy == QueuePolicy::DropOldest && (self.is_blocked || self.has_queue() || self.is_full(options));
        let mut compress = outgoing.compressed;
        if droppable && self.machine.parameters().is_some_and(|parameters| !parameters.server_no_context_takeover) {
            // A frame that later ones refer to could not be dropped.
            compress = Some(false);
        }
        let payload: &[u8] = match &outgoing.content {
            Content::Prepared(prepared) => {
                return self.write_prepared(core, hub, options, prepared, compress, droppable);
            }
            Content::Borrowed(bytes) => bytes,
            Content::Lease(lease) => lease,
            Content::Shared(bytes) => bytes,
        };
        let is_deflated =
            self.machine.parameters().is_some() && compress.unwrap_or(payload.len() >= options.compress_bytes_min);
        self.tail(core);
        if !is_deflated && !droppable && payload.len() > COPIED_BYTES_MAX {
            let (kind, length) = (outgoing.kind, payload.len() as u64);
            self.machine.send_header(self.out.tail(), kind, length).map_err(misused)?;
            match outgoing.content {
                Content::Lease(lease) => self.out.push(ringgate_runtime::buffer::Piece::Lease(lease)),
                Content::Shared(bytes) => self.out.push(ringgate_runtime::buffer::Piece::Shared(bytes)),
                Content::Borrowed(bytes) => self.out.tail().extend_from_slice(bytes),
                Content::Prepared(_) => {}
            }
            return Ok(());
        }
        let mut own = Vec::new();
        let tail = if droppable { &mut own } else { self.out.tail() };
        let written = if is_deflated {
            let pool = &mut hub.workshop.borrow_mut().pool;
            self.machine.send_compressed(tail, outgoing.kind, payload, pool)
        } else {
            self.machine.send_message(tail, outgoing.kind, payload)
        };
        written.map_err(misused)?;
        if droppable {
            self.enqueue(own.into());
        }
        Ok(())
    }

    fn write_prepared(
        &mut self,
        core: &Core,
        hub: &Hub,
        options: &Options,
        prepared: &Prepared,
        compress: Option<bool>,
        droppable: bool,
    ) -> Result<(), SocketError> {
        let frames = &prepared.frames;
        let compress = compress.unwrap_or_else(|| frames.payload().len() >= options.compress_bytes_min);
        let pool = &mut hub.workshop.borrow_mut().pool;
        let frame = match self.machine.send_prepared(frames, compress, pool) {
            Ok(frame) => frame,
            Err(Misuse::MessageUnfinished) => {
                // Behind the fragments; plain, because it does not pass through the window in its turn.
                self.enqueue(frames.frame(Variant::Plain, pool));
                return Ok(());
            }
            Err(misuse) => return Err(misused(misuse)),
        };
        if droppable {
            self.enqueue(frame);
        } else {
            self.put(core, frame);
        }
        Ok(())
    }

    fn put(&mut self, core: &Core, frame: Bytes) {
        if frame.len() <= COPIED_BYTES_MAX {
            self.tail(core).extend_from_slice(&frame);
        } else {
            self.out.push(ringgate_runtime::buffer::Piece::Shared(frame));
        }
    }

    fn enqueue(&mut self, frame: Bytes) {
        let rare = self.rare.get_or_insert_default();
        rare.queue_bytes += frame.len();
        rare.queue.push_back(frame);
    }

    /// Drops the oldest messages until there is room. Answers how many.
    pub(crate) fn drop_oldest(&mut self, bytes_max: usize) -> usize {
        let out_bytes = self.out.len();
        let Some(rare) = &mut self.rare else { return 0 };
        let before = rare.queue.len();
        while out_bytes + rare.queue_bytes >= bytes_max
            && let Some(frame) = rare.queue.pop_front()
        {
            rare.queue_bytes -= frame.len();
        }
        before - rare.queue.len()
    }

    /// Collects what is to go out now. Only when the wire is free.
    pub(crate) fn collect(&mut self, core: &Core) {
        self.collect_queue(core);
        if self.machine.has_output() {
            self.machine.poll_output(self.out.tail());
            if self.machine.is_closed() {
                self.discard_queue();
            }
        }
    }

    /// Puts the queue behind the output, unless a Close has gone before it, which nothing may follow.
    pub(crate) fn collect_queue(&mut self, core: &Core) {
        if !matches!(self.machine.state(), Standing::Open | Standing::Answering) {
            self.discard_queue();
        }
        if !self.is_fragmenting
            && self.has_queue()
            && let Some(rare) = &mut self.rare
        {
            rare.queue_bytes = 0;
            for frame in mem::take(&mut rare.queue) {
                self.put(core, frame);
            }
        }
        self.tail(core);
    }

    /// What waits will not be sent any more.
    pub(crate) fn discard_queue(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.queue_bytes = 0;
            rare.queue.clear();
        }
    }

    fn has_queue(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.queue.is_empty())
    }
}

/// A buffer to write to: the end of `out`, which gets memory of the core's if it has none.
#[inline]
fn tail<'a>(out: &'a mut SendBuf, core: &Core) -> &'a mut Vec<u8> {
    if out.capacity() == 0 && out.is_empty() {
        *out = core.handle().take_send_buf();
    }
    out.tail()
}

/// What a machine's refusal means for the caller.
pub(crate) fn misused(misuse: Misuse) -> SocketError {
    match misuse {
        Misuse::ControlTooLong => SocketError::TooLong,
        Misuse::Closing | Misuse::MessageUnfinished | Misuse::NoMessage => SocketError::Closed,
    }
}
