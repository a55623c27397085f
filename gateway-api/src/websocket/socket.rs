//! What handler and driver share of one socket.

use crate::{
    core::Core,
    features::Protocol,
    request::Link,
    websocket::{
        error::SocketError,
        hub::Hub,
        message::{Message, MessageBytes},
        options::{Options, QueuePolicy},
        outgoing::{Outgoing, Prepared},
        queue::misused,
        state::{End, Piece, State},
    },
};
use ringgate_protocols::websocket::{
    close::CloseCode, event::Whole, frame::CONTROL_BYTES_MAX, message::Kind, state::State as Standing,
};
use std::{
    cell::RefCell,
    mem,
    rc::Rc,
    task::{Context, Poll, ready},
};

pub(crate) struct Socket {
    pub(crate) link: Rc<Link>,
    pub(crate) hub: Rc<Hub>,
    pub(crate) options: Rc<Options>,
    pub(crate) protocol: Protocol,
    /// Its place among those of the route.
    pub(crate) subprotocol: Option<u16>,
    pub(crate) state: RefCell<State>,
}

/// A message at the beginning of the input. (Its parts are read as they are written, each by itself; received bytes are
/// less than 4 GiB.)
struct Found {
    kind: Kind,
    /// Bytes of its payload.
    length: u32,
    /// Bytes that are done with once it is: the payload is at their end.
    consumed: u32,
}

/// What became of a broadcast message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    Refused,
    Taken,
    /// The same, and the queue is full of what is under way.
    TakenAndFull,
}

/// The machine's time.
pub(crate) fn milliseconds(core: &Core) -> u64 {
    core.handle().now().as_nanos() / 1_000_000
}

impl Socket {
    pub(crate) fn core(&self) -> &Core {
        &self.link.core
    }

    /// The subprotocol that was agreed on.
    pub(crate) fn subprotocol(&self) -> Option<&'static str> {
        self.options.subprotocols.get(usize::from(self.subprotocol?)).copied()
    }

    /// The next message, if it is there as a whole: the usual case by itself. [`Socket::poll_message_slowly`] knows what
    /// else there may be.
    ///
    /// Inlined, where [`Socket::find_message`] is not: the message is put together where the handler looks at it. It is
    /// four words, and a processor waits where words that were just written one by one are read again two at a time.
    #[inline]
    pub(crate) fn take_message(&self) -> Option<Message> {
        let Found { kind, length, consumed } = self.find_message()?;
        let (length, consumed) = (length as usize, consumed as usize);
        let lease = self.state.borrow_mut().input.take(consumed, consumed - length..consumed);
        Some(Message::new(kind, lease.into()))
    }

    #[inline(never)]
    fn find_message(&self) -> Option<Found> {
        let state = &mut *self.state.borrow_mut();
        let now_ms = if state.is_attended { state.attended_ms } else { milliseconds(self.core()) };
        let Whole { kind, payload, consumed } = state.find_message(&self.options, now_ms)?;
        if !state.is_attended {
            state.nudge();
        }
        Some(Found { kind, length: payload.len() as u32, consumed: consumed as u32 })
    }

    /// The next message. `None` after the closing handshake, or after the error that ended it was told.
    pub(crate) fn poll_message(&self, cx: &Context<'_>) -> Poll<Option<Result<Message, SocketError>>> {
        match self.take_message() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => self.poll_message_slowly(cx).map_ok(|(kind, bytes)| Message::new(kind, bytes)),
        }
    }

    /// The same after [`Socket::take_message`]: kind and bytes, to be put together by the caller as there.
    #[inline(never)]
    pub(crate) fn poll_message_slowly(
        &self,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<(Kind, MessageBytes), SocketError>>> {
        self.poll_next(cx, |state, socket, now| state.next_message(&socket.hub, &socket.options, now))
    }

    /// The next piece of a message.
    pub(crate) fn poll_piece(&self, cx: &Context<'_>) -> Poll<Option<Result<Piece, SocketError>>> {
        self.poll_next(cx, |state, socket, now| state.next_piece_alone(&socket.hub, &socket.options, now))
    }

    fn poll_next<T>(
        &self,
        cx: &Context<'_>,
        next: impl FnOnce(&mut State, &Self, u64) -> Option<T>,
    ) -> Poll<Option<Result<T, SocketError>>> {
        let state = &mut *self.state.borrow_mut();
        if !state.reads_ahead {
            state.is_replying = false;
        }
        let found = next(state, self, milliseconds(self.core()));
        if !state.is_attended {
            // There may be room again, a pong to send, a Close to answer.
            state.nudge();
        }
        if let Some(found) = found {
            state.is_replying = true;
            return Poll::Ready(Some(Ok(found)));
        }
        match state.end {
            End::None => {
                state.remember_receiver(cx);
                Poll::Pending
            }
            End::Untold(error) => {
                state.end = End::Told;
                Poll::Ready(Some(Err(error)))
            }
            End::Told => Poll::Ready(None),
        }
    }

    /// Whether a message may be written now.
    #[inline]
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), SocketError>> {
        self.poll_room_in(&mut self.state.borrow_mut(), cx)
    }

    #[inline]
    fn poll_room_in(&self, state: &mut State, cx: &Context<'_>) -> Poll<Result<(), SocketError>> {
        if let Err(error) = state.sendable() {
            return Poll::Ready(Err(error));
        }
        if !state.is_full(&self.options) {
            return Poll::Ready(Ok(()));
        }
        self.poll_room_made(state, cx)
    }

    /// The queue is full. What is only under way leaves in a few turns: that is no slow peer.
    fn poll_room_made(&self, state: &mut State, cx: &Context<'_>) -> Poll<Result<(), SocketError>> {
        match self.options.policy {
            QueuePolicy::DropOldest | QueuePolicy::Close if state.is_fragmenting => {}
            QueuePolicy::DropOldest if state.is_slow(self.core()) => {
                self.make_room(state);
                return Poll::Ready(Ok(()));
            }
            QueuePolicy::Close if state.is_slow(self.core()) => return Poll::Ready(Err(self.close_slow(state))),
            QueuePolicy::DropOldest | QueuePolicy::Close => self.core().handle().wake_after_turn(cx.waker()),
            QueuePolicy::Wait => {}
        }
        state.remember_sender(cx);
        state.nudge();
        Poll::Pending
    }

    /// Writes a message once there is room. It is taken then.
    #[inline]
    pub(crate) fn poll_write(
        &self,
        message: &mut Option<Outgoing<'_>>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), SocketError>> {
        let state = &mut *self.state.borrow_mut();
        ready!(self.poll_room_in(state, cx))?;
        if let Some(short) = message
            && state.write_short(self.core(), &self.options, short)?
        {
            self.written(state);
            *message = None;
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(message.take().map_or(Ok(()), |message| self.write_in(state, message)))
    }

    /// Drops what is older than the message to come, which then always has a place behind what is on its way.
    fn make_room(&self, state: &mut State) {
        let dropped = state.drop_oldest(self.options.queue_bytes_max);
        (0..dropped).for_each(|_| self.core().shared.counters.websocket_messages_dropped.up());
    }

    fn close_slow(&self, state: &mut State) -> SocketError {
        self.core().shared.counters.websockets_closed_slow.up();
        let now = milliseconds(self.core());
        let _ = state.machine.close(state.out.tail(), Some(CloseCode::POLICY), "too slow", now);
        state.nudge();
        SocketError::Closed
    }

    /// Writes a message; the caller has asked for room.
    #[inline]
    pub(crate) fn write(&self, outgoing: Outgoing<'_>) -> Result<(), SocketError> {
        let state = &mut *self.state.borrow_mut();
        state.sendable()?;
        self.write_in(state, outgoing)
    }

    #[inline(never)]
    fn write_in(&self, state: &mut State, outgoing: Outgoing<'_>) -> Result<(), SocketError> {
        state.write(self.core(), &self.hub, &self.options, outgoing)?;
        self.written(state);
        Ok(())
    }

    #[inline]
    fn written(&self, state: &mut State) {
        if state.is_attended {
            state.uncounted += 1;
        } else {
            self.core().shared.counters.websocket_messages_sent.up();
            state.nudge();
        }
    }

    /// Writes a broadcast message as the policy has it.
    pub(crate) fn deliver(&self, prepared: &Prepared) -> Delivery {
        let state = &mut *self.state.borrow_mut();
        if state.sendable().is_err() {
            return Delivery::Refused;
        }
        if state.is_full(&self.options) {
            match self.options.policy {
                QueuePolicy::DropOldest => self.make_room(state),
                QueuePolicy::Close if state.is_slow(self.core()) => {
                    self.close_slow(state);
                    return Delivery::Refused;
                }
                QueuePolicy::Wait | QueuePolicy::Close => {
                    self.core().shared.counters.websocket_messages_dropped.up();
                    return Delivery::Refused;
                }
            }
        }
        match self.write_in(state, prepared.into()) {
            Ok(()) if self.is_crowded_in(state) => Delivery::TakenAndFull,
            Ok(()) => Delivery::Taken,
            Err(_) => Delivery::Refused,
        }
    }

    /// The queue is full, and the peer not to blame for it: what is in there is under way.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded_in(&self.state.borrow())
    }

    fn is_crowded_in(&self, state: &State) -> bool {
        state.is_full(&self.options) && state.sendable().is_ok() && !state.is_slow(self.core())
    }

    /// Begins a message that is sent in fragments.
    pub(crate) fn begin(&self, kind: Kind, compress: bool) -> Result<(), SocketError> {
        let state = &mut *self.state.borrow_mut();
        state.sendable()?;
        state.machine.begin_message(kind, compress).map_err(misused)?;
        state.is_fragmenting = true;
        Ok(())
    }

    /// Writes a fragment; the caller has asked for room.
    pub(crate) fn write_fragment(&self, bytes: &[u8], last: bool) -> Result<(), SocketError> {
        let state = &mut *self.state.borrow_mut();
        state.sendable()?;
        state.tail(self.core());
        let pool = &mut self.hub.workshop.borrow_mut().pool;
        state.machine.send_fragment(state.out.tail(), bytes, last, pool).map_err(misused)?;
        state.is_fragmenting = !last;
        state.nudge();
        Ok(())
    }

    pub(crate) fn ping(&self, payload: &[u8]) -> Result<(), SocketError> {
        let state = &mut *self.state.borrow_mut();
        state.sendable()?;
        if payload.len() <= CONTROL_BYTES_MAX && state.is_full(&self.options) {
            return Ok(());
        }
        state.tail(self.core());
        state.machine.ping(state.out.tail(), payload).map_err(misused)?;
        state.nudge();
        Ok(())
    }

    /// Begins the closing handshake, or answers the peer's Close in our own words.
    pub(crate) fn close(&self, code: Option<CloseCode>, reason: &str) -> Result<(), SocketError> {
        let state = &mut *self.state.borrow_mut();
        if state.is_gone {
            return Err(SocketError::Disconnected);
        }
        // What waits behind the output goes first: nothing follows a Close. But a message that is broken off here has no
        // end that it could stand behind.
        if mem::take(&mut state.is_fragmenting) {
            state.discard_queue();
        }
        state.collect_queue(self.core());
        let now = milliseconds(self.core());
        state.machine.close(state.out.tail(), code, reason, now).map_err(misused)?;
        state.nudge();
        Ok(())
    }

    /// The peer's Close has not been seen, and ours not been sent.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.state.borrow();
        state.machine.state() == Standing::Open && !state.is_gone
    }

    /// Ready when the wire has been given everything.
    pub(crate) fn poll_handed_over(&self, cx: &Context<'_>) -> Poll<Result<(), SocketError>> {
        let state = &mut *self.state.borrow_mut();
        if state.queued() == 0 {
            return Poll::Ready(Ok(()));
        }
        if state.is_gone {
            return Poll::Ready(Err(SocketError::Disconnected));
        }
        state.remember_sender(cx);
        state.nudge();
        Poll::Pending
    }

    /// The closing handshake has begun, and the wire been given everything.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<Result<(), SocketError>> {
        if self.is_open() {
            self.close(Some(CloseCode::NORMAL), "")?;
        }
        self.poll_handed_over(cx)
    }

    /// The handler has an end more that receives, and one that sends.
    pub(crate) fn split(&self) {
        let state = &mut *self.state.borrow_mut();
        state.receivers += 1;
        state.senders += 1;
    }

    /// An end of the handler's is dropped; with the last one the socket closes, and with any that a panic drops: whatever
    /// task held it.
    pub(crate) fn leave(&self, receives: bool, sends: bool) {
        if std::thread::panicking() {
            let _ = self.close(Some(CloseCode::INTERNAL), "");
        }
        let state = &mut *self.state.borrow_mut();
        state.receivers -= u8::from(receives);
        state.senders -= u8::from(sends);
        if state.receivers == 0 {
            // What has come is not wanted any more, and must not keep the peer's Close waiting.
            state.ready = None;
            state.receiver = None;
            state.is_replying = false;
        }
        state.nudge();
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
