//! One conversation: the machine, what has come in, what is to go out. Touched by the driver and by the handler's
//! objects, directly: nothing crosses a queue between them.

use crate::{
    conn::input::Input,
    websocket::{error::SocketError, hub::Hub, message::MessageBytes, options::Options},
};
use bytes::Bytes;
use ringgate_protocols::websocket::{
    close::CloseCode,
    connection::Connection,
    error::Fault,
    event::{Environment, Event, Whole},
    frame::CONTROL_BYTES_MAX,
    message::{Kind, Payload},
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
    pub(super) rare: Option<Box<Rare>>,
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
    /// The receiver was given something, and has not asked for more: it may still reply to it.
    pub(crate) is_replying: bool,
    /// The receiver takes what a thread has not asked for yet, and says itself when that has no more to reply to.
    pub(crate) reads_ahead: bool,
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
pub(super) struct Rare {
    /// The message that came in pieces so far.
    assembly: Vec<u8>,
    /// Whole frames behind the output, where the oldest may have to go.
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queue_bytes: usize,
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

/// How long the peer's Close waits for the reply to the message before it. A second: time to ask a database; and who
/// closes on a handler that only sends is not kept for long.
const REPLY_MS_MAX: u64 = 1_000;

/// A Close, with its header and mask.
const CLOSE_BYTES_MAX: usize = CONTROL_BYTES_MAX + 6;

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
            is_replying: false,
            reads_ahead: false,
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
            if self.holds_close() {
                // W-12: what is behind it will be discarded.
                self.input.keep(CLOSE_BYTES_MAX);
                return None;
            }
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
                self.is_replying = true;
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

    /// Whether further bytes are of use. Behind a Close or a fault they are not; and that the stream ends there must not keep
    /// the answer from going out.
    pub(crate) fn wants_input(&self) -> bool {
        let is_heard = matches!(self.machine.state(), Standing::Open | Standing::Closing);
        is_heard && self.ready.is_none() && !self.is_gone && !self.holds_close()
    }

    /// The peer's Close has come, and is not looked at yet: answered now, it would cut off the reply to what came before it
    /// (RFC 6455 section 5.5.1 has it answered "as soon as practical").
    #[inline]
    pub(crate) fn holds_close(&self) -> bool {
        self.is_replying && self.machine.is_close_next(self.input.bytes())
    }

    /// Until when it waits for that, if it does, and not for somebody to take what is before it.
    pub(crate) fn reply_due_ms(&self) -> Option<u64> {
        (self.ready.is_none() && self.holds_close()).then(|| self.machine.heard_ms() + REPLY_MS_MAX)
    }

    /// There has been time enough to reply: what waits for that goes on.
    pub(crate) fn give_up_reply(&mut self, hub: &Hub, options: &Options, now_ms: u64) {
        self.is_replying = false;
        self.attend(hub, options, now_ms);
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
}
