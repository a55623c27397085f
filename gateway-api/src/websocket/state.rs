//! One conversation: the machine, what has come in, what is to go out. Touched by the driver and by the handler's
//! objects, directly: nothing crosses a queue between them.

use crate::{
    config::COPIED_BYTES_MAX,
    conn::input::Input,
    core::Core,
    websocket::{
        error::SocketError,
        hub::Hub,
        message::MessageBytes,
        options::{Options, QueuePolicy},
        outgoing::{Content, Outgoing, Prepared},
    },
};
use bytes::Bytes;
use ringgate_protocols::websocket::{
    close::CloseCode,
    connection::Connection,
    error::{Fault, Misuse},
    event::{Environment, Event, Whole},
    message::{Kind, Payload, Variant},
    state::State as Standing,
};
use ringgate_runtime::buffer::{Lease, SendBuf};
use std::{
    collections::VecDeque,
    mem,
    task::{Context, Waker},
};

/// The peer's Close: see [`WebSocket::close_frame`](crate::websocket::WebSocket::close_frame).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Its code, if it carried one.
    pub code: Option<CloseCode>,
    /// Its reason; mostly empty.
    pub reason: String,
}

/// A part of a message, cut wherever the wire has cut it: fragments have no meaning (RFC 6455 section 5.4). See
/// [`Receiver::recv_piece`](crate::websocket::Receiver::recv_piece).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Text or binary. A text may be cut inside a character; all that has come is valid so far.
    pub kind: Kind,
    /// The next bytes of the message; may be empty in the last piece.
    pub bytes: MessageBytes,
    /// The message begins here.
    pub first: bool,
    /// The message ends here.
    pub last: bool,
}

/// How it has ended, as far as receiving goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    None,
    /// An error that the receiver has not been told.
    Untold(SocketError),
    Told,
}

pub(crate) struct State {
    pub(crate) machine: Connection,
    pub(crate) input: Input,
    /// Data that came while nobody received: nothing more is read until it is taken.
    pub(crate) ready: Option<Box<Piece>>,
    /// What few sockets have, and none that is idle.
    rare: Option<Box<Rare>>,
    /// The rest of a message begun piece by piece is passed over.
    is_skipping: bool,
    pub(crate) out: SendBuf,
    pub(crate) end: End,
    /// Who waits to receive, unless it is the conversation that the driver looks after anyway.
    pub(crate) receiver: Option<Box<Waker>>,
    pub(crate) driver: Option<Waker>,
    /// Ends that can receive, and that can send.
    pub(crate) receivers: u8,
    pub(crate) senders: u8,
    /// The driver is at work: it will look for itself.
    pub(crate) is_attended: bool,
    /// The machine's time since it is.
    pub(crate) attended_ms: u64,
    /// Messages written since it is, which it is to count.
    pub(crate) uncounted: u32,
    /// The wire has not taken what came before.
    pub(crate) is_blocked: bool,
    /// In which turn that was first so. (The low end of its number: an idle socket holds this too.)
    pub(crate) blocked_in: u16,
    /// A message is being sent in fragments.
    pub(crate) is_fragmenting: bool,
    /// The transport is gone.
    pub(crate) is_gone: bool,
    /// The peer broke the protocol.
    pub(crate) is_faulty: bool,
    /// The gateway is draining, and this socket has been told.
    pub(crate) is_draining: bool,
    /// Our side of the stream is ended.
    pub(crate) is_shut: bool,
}

#[derive(Default)]
struct Rare {
    /// The message that came in pieces so far.
    assembly: Vec<u8>,
    /// Whole frames behind the output, where the oldest may have to go.
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    /// Who waits for room to send.
    sender: Option<Waker>,
    /// The peer's Close.
    close: Option<CloseFrame>,
}

/// Keeps `cx` to be woken. True if it was not.
pub(crate) fn remember(kept: &mut Option<Waker>, cx: &Context<'_>) -> bool {
    let is_news = !kept.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
    if is_news {
        *kept = Some(cx.waker().clone());
    }
    is_news
}

/// Turns that it may take until what was written is known to have left: over HTTP/2 it passes through another task, whose
/// send before it has to end, each in a turn of its own. 8: twice what that comes to, and still next to no time.
pub(crate) const TURNS_UNDER_WAY: u16 = 8;

/// Memory that a message gets on trust, before its bytes have come.
const TRUSTED_BYTES_MAX: u64 = 1_048_576;

impl State {
    pub(crate) fn new(machine: Connection) -> Self {
        Self {
            machine,
            input: Input::EMPTY,
            ready: None,
            rare: None,
            is_skipping: false,
            out: SendBuf::default(),
            end: End::None,
            receiver: None,
            driver: None,
            receivers: 1,
            senders: 1,
            is_attended: false,
            attended_ms: 0,
            uncounted: 0,
            is_blocked: false,
            blocked_in: 0,
            is_fragmenting: false,
            is_gone: false,
            is_faulty: false,
            is_draining: false,
            is_shut: false,
        }
    }

    /// Wakes the driver, unless it is at work.
    pub(crate) fn nudge(&self) {
        if !self.is_attended
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    /// The next data out of the input; what else is in there is dealt with on the way.
    #[inline]
    pub(crate) fn advance(&mut self, hub: &Hub, options: &Options, now_ms: u64) -> Option<Piece> {
        let mut workshop = hub.workshop.borrow_mut();
        let workshop = &mut *workshop;
        while !self.input.is_empty() {
            workshop.clear();
            let mut around = Environment {
                limits: &options.limits,
                pool: &mut workshop.pool,
                scratch: &mut workshop.scratch,
                now_ms,
            };
            let step = match self.machine.handle_input(self.input.unique(), &mut around) {
                Ok(step) => step,
                Err(fault) => {
                    self.fail(fault);
                    return None;
                }
            };
            let (kind, payload, first, last) = match step.event {
                Event::Message { kind, payload } => (kind, payload, true, true),
                Event::Piece { kind, payload, first, last } => (kind, payload, first, last),
                Event::Ping(_) | Event::Pong(_) => {
                    self.input.consume(step.consumed);
                    // Each ping has its pong, in its place, as long as the peer reads; then only the latest (W-06).
                    if self.machine.has_output() && !self.is_blocked && !self.is_full(options) {
                        self.machine.poll_output(self.out.tail());
                    }
                    continue;
                }
                Event::Close { code, reason } => {
                    let reason = String::from_utf8_lossy(reason.of(self.input.bytes())).into_owned();
                    self.input = Input::EMPTY;
                    self.take_assembly();
                    self.rare.get_or_insert_default().close = Some(CloseFrame { code, reason });
                    if self.end == End::None {
                        self.end = End::Told;
                    }
                    return None;
                }
                Event::NeedInput => {
                    self.input.consume(step.consumed);
                    self.input.detach();
                    return None;
                }
            };
            let bytes = match payload {
                Payload::Input(span) => self.input.take(step.consumed, span.start()..span.end()),
                Payload::Scratch(span) => {
                    self.input.consume(step.consumed);
                    Lease::from_vec(span.of(&workshop.scratch).to_vec())
                }
            };
            return Some(Piece { kind, bytes: bytes.into(), first, last });
        }
        None
    }

    /// The peer has broken the protocol: nothing more of it counts.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.input = Input::EMPTY;
        self.take_assembly();
        self.ready = None;
        self.is_faulty = true;
        self.finish(SocketError::Fault(fault));
    }

    /// Nothing more is received, for this reason.
    pub(crate) fn finish(&mut self, why: SocketError) {
        if self.end == End::None {
            self.end = End::Untold(why);
        }
    }

    /// The next data, from what waited or out of the input.
    pub(crate) fn next_piece(&mut self, hub: &Hub, options: &Options, now_ms: u64) -> Option<Piece> {
        let Some(piece) = self.ready.take() else { return self.advance(hub, options, now_ms) };
        // As long as it waited nothing more was read.
        self.machine.excuse(now_ms);
        Some(*piece)
    }

    /// The usual case by itself: the input begins with a whole message, and nothing is before it. It is still to be taken
    /// out of the input. `None`, and nothing is done, where it is anything else: [`State::next_message`] knows what.
    #[inline]
    pub(crate) fn find_message(&mut self, options: &Options, now_ms: u64) -> Option<Whole> {
        if self.ready.is_some() {
            return None;
        }
        match self.machine.take_message(self.input.unique(), &options.limits, now_ms)? {
            Ok(whole) => {
                self.is_skipping = false;
                Some(whole)
            }
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    /// The next whole message.
    pub(crate) fn next_message(&mut self, hub: &Hub, options: &Options, now_ms: u64) -> Option<(Kind, MessageBytes)> {
        loop {
            let piece = self.next_piece(hub, options, now_ms)?;
            if piece.first {
                self.is_skipping = false;
                if piece.last {
                    return Some((piece.kind, piece.bytes));
                }
            }
            if self.is_skipping {
                continue;
            }
            self.assemble(hub, &piece.bytes);
            if piece.last {
                return Some((piece.kind, hub.message(self.take_assembly()).into()));
            }
        }
    }

    fn assemble(&mut self, hub: &Hub, bytes: &[u8]) {
        let expected = self.machine.frame_bytes_left().min(TRUSTED_BYTES_MAX) as usize;
        let assembly = &mut self.rare.get_or_insert_default().assembly;
        if assembly.is_empty() {
            *assembly = hub.memory(bytes.len() + expected);
        }
        assembly.extend_from_slice(bytes);
    }

    fn take_assembly(&mut self) -> Vec<u8> {
        let Some(rare) = &mut self.rare else { return Vec::new() };
        let assembly = mem::take(&mut rare.assembly);
        if rare.queue.is_empty() && rare.sender.is_none() && rare.close.is_none() {
            self.rare = None;
        }
        assembly
    }

    /// The peer's Close, once it has come.
    pub(crate) fn close(&self) -> Option<&CloseFrame> {
        self.rare.as_ref()?.close.as_ref()
    }

    /// Keeps `cx` to be woken when there is something to receive. The driver goes on with its own conversation whenever
    /// it is woken.
    pub(crate) fn remember_receiver(&mut self, cx: &Context<'_>) {
        let is_known = |waker: &Waker| waker.will_wake(cx.waker());
        if !self.driver.as_ref().is_some_and(is_known) && !self.receiver.as_deref().is_some_and(is_known) {
            self.receiver = Some(Box::new(cx.waker().clone()));
        }
    }

    /// Keeps `cx` to be woken when there is room to send.
    pub(crate) fn remember_sender(&mut self, cx: &Context<'_>) {
        remember(&mut self.rare.get_or_insert_default().sender, cx);
    }

    /// Who waits for room to send.
    pub(crate) fn take_sender(&mut self) -> Option<Waker> {
        self.rare.as_mut()?.sender.take()
    }

    fn has_queue(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.queue.is_empty())
    }

    /// The next piece for somebody who takes messages piece by piece.
    pub(crate) fn next_piece_alone(&mut self, hub: &Hub, options: &Options, now_ms: u64) -> Option<Piece> {
        let mut piece = self.next_piece(hub, options, now_ms)?;
        if self.rare.as_ref().is_some_and(|rare| !rare.assembly.is_empty()) {
            // What was collected before belongs to the same message.
            self.assemble(hub, &piece.bytes);
            piece.bytes = hub.message(self.take_assembly()).into();
            piece.first = true;
        }
        self.is_skipping = !piece.last;
        Some(piece)
    }

    /// Looks at what came while the handler does something else: pings and the peer's Close are not kept waiting, data
    /// is.
    pub(crate) fn attend(&mut self, hub: &Hub, options: &Options, now_ms: u64) {
        while self.ready.is_none() && !self.input.is_empty() {
            let before = self.input.bytes().len();
            let piece = self.advance(hub, options, now_ms);
            if self.receivers > 0 {
                self.ready = piece.map(Box::new);
            }
            if self.input.bytes().len() == before {
                return;
            }
        }
    }

    /// Whether further bytes are of use.
    pub(crate) fn wants_input(&self) -> bool {
        self.ready.is_none() && !self.machine.is_closed() && !self.is_gone
    }

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

    /// Why nothing can be sent, if so.
    pub(crate) fn sendable(&self) -> Result<(), SocketError> {
        if self.is_gone {
            return Err(SocketError::Disconnected);
        }
        match (self.machine.state(), self.end) {
            (Standing::Open, _) => Ok(()),
            (_, End::Untold(error @ SocketError::Fault(_))) => Err(error),
            _ => Err(SocketError::Closed),
        }
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
}

impl State {
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
