//! A WebSocket on a stream of bytes: the handler's conversation, the machine and the wire in one task. What the handler
//! says in a turn leaves in one send; between messages nothing is held but the machine.

use crate::{
    conn::{
        next::Next,
        wire::{Gone, Wire},
    },
    websocket::{
        CloseCode, SocketError,
        socket::{Socket, milliseconds},
        state::{End, State, remember},
        upgrade::{Conversation, Upgrade},
    },
};
use ringgate_protocols::websocket::{event::Expiry, state::State as Standing};
use ringgate_runtime::{buffer::SendBuf, net::ByteStream, time::Instant};
use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// Received pieces that one poll takes in; then the other connections of the core have their turn.
const LEASES_PER_POLL_MAX: usize = 8;

/// The same as [`serve`]. Its future takes no more room in the connection's than HTTP/1 took before.
#[expect(clippy::boxed_local, reason = "its maker holds it in a box")]
pub(crate) fn begin<S: ByteStream>(
    wire: &mut Wire<S>,
    upgrade: Box<(Upgrade, SendBuf)>,
) -> impl Future<Output = Next> + use<'_, S> {
    let (upgrade, buf) = *upgrade;
    serve(wire, upgrade, buf)
}

/// Holds a conversation to its end. `buf` leaves ahead of everything: the response that accepted the handshake.
///
/// Not an `async fn`, which would hold its arguments twice: idle sockets are counted in bytes.
pub(crate) fn serve<S: ByteStream>(
    wire: &mut Wire<S>,
    upgrade: Upgrade,
    buf: SendBuf,
) -> impl Future<Output = Next> + use<'_, S> {
    let Upgrade { socket, conversation, body: _ } = upgrade;
    {
        let state = &mut *socket.state.borrow_mut();
        state.input = std::mem::take(&mut wire.input);
        // What the handler's first lines have said already stands behind the response.
        let early = std::mem::replace(&mut state.out, buf);
        for piece in early.pieces() {
            state.out.tail().extend_from_slice(piece);
        }
    }
    let counters = &wire.core().shared.counters;
    counters.websockets_opened.up();
    counters.websockets_open.up();
    let mut driver =
        Driver { socket, conversation: Some(conversation), send_deadline: Instant::default(), grace: NEVER };
    wire.deadline = Instant::default();
    poll_fn(move |cx| driver.poll(wire, cx))
}

struct Driver {
    socket: Rc<Socket>,
    conversation: Option<Conversation>,
    send_deadline: Instant,
    /// The connection is over: until then the handler may end by itself. [`NEVER`] before.
    grace: Instant,
}

/// No moment that comes. (An instant that may be none takes twice the room of one.)
const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl Drop for Driver {
    fn drop(&mut self) {
        let counters = &self.socket.core().shared.counters;
        counters.websockets_open.down();
        // Halves that live on in other tasks learn that nobody is there any more.
        let mut state = self.socket.state.borrow_mut();
        if state.is_faulty {
            counters.websocket_faults.up();
        }
        state.is_gone = true;
        state.finish(SocketError::Disconnected);
        state.driver = None;
        let wakers = [state.receiver.take().map(|receiver| *receiver), state.take_sender()];
        drop(state);
        wakers.into_iter().flatten().for_each(std::task::Waker::wake);
    }
}

impl Driver {
    /// One turn: take in, converse, send.
    fn poll<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Next> {
        if self.attend(cx) {
            // Another task goes on with it: the timer is to wake that one.
            wire.deadline = Instant::default();
        }
        if wire.core().shared.draining.get()
            && !std::mem::replace(&mut self.socket.state.borrow_mut().is_draining, true)
        {
            let _ = self.socket.close(Some(CloseCode::GOING_AWAY), "");
        }
        if self.is_choked() {
            // Whether there is room, or the peer is slow, is not to be judged by what was so before.
            self.flush(wire, cx);
        }
        let mut is_tired = true;
        // Whoever has woken us may have meant the handler.
        let mut has_news = true;
        for _ in 0..LEASES_PER_POLL_MAX {
            let asks = self.wants_input();
            let received = self.receive(wire, asks, cx);
            if !received && !has_news {
                is_tired = false;
                break;
            }
            self.converse(cx);
            has_news = self.flush(wire, cx);
            // The handler may have taken what kept us from reading: then nobody else will wake us to go on.
            let is_hungry = !asks && self.wants_input();
            if !received && !has_news && !is_hungry {
                is_tired = false;
                break;
            }
        }
        if is_tired {
            cx.waker().wake_by_ref();
        }
        let polled = self.poll_end(wire, cx);
        self.leave();
        polled
    }

    /// At work from now on. True for another task than before.
    fn attend(&self, cx: &Context<'_>) -> bool {
        let socket = &*self.socket;
        let mut state = socket.state.borrow_mut();
        state.is_attended = true;
        state.attended_ms = milliseconds(socket.core());
        if !state.input.is_empty() {
            // Another task may have taken what was before it: it is looked at before more is read.
            let now_ms = state.attended_ms;
            state.attend(&socket.hub, &socket.options, now_ms);
        }
        remember(&mut state.driver, cx)
    }

    /// No more until it is polled again.
    fn leave(&self) {
        let mut state = self.socket.state.borrow_mut();
        state.is_attended = false;
        self.socket.core().shared.counters.websocket_messages_sent.up_by(std::mem::take(&mut state.uncounted));
    }

    /// Takes what has come, if it is asked for.
    fn receive<S: ByteStream>(&self, wire: &mut Wire<S>, asks: bool, cx: &mut Context<'_>) -> bool {
        if !asks {
            wire.stream.pause_recv();
            return false;
        }
        let mut state = self.socket.state.borrow_mut();
        match wire.stream.poll_recv(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(lease)) if !lease.is_empty() => {
                state.input.push(lease);
                true
            }
            Poll::Ready(_) => {
                self.lose(&mut state);
                true
            }
        }
    }

    /// Whether further bytes are of use. While output is blocked nothing is read (W-06): answers would only pile up.
    fn wants_input(&self) -> bool {
        self.socket.state.borrow().wants_input() && !self.is_choked()
    }

    /// The wire has not taken what came before, and there is no room for more.
    fn is_choked(&self) -> bool {
        let state = self.socket.state.borrow();
        state.is_blocked && state.is_full(&self.socket.options)
    }

    /// The peer's side of the stream has ended.
    fn lose(&self, state: &mut State) {
        if state.machine.state() == Standing::Open {
            self.socket.core().shared.counters.disconnects.up();
        }
        state.is_gone = true;
        state.finish(SocketError::Disconnected);
    }

    /// Lets the handler go on, and looks after what it does not.
    fn converse(&mut self, cx: &mut Context<'_>) {
        if let Some(conversation) = &mut self.conversation
            && let Poll::Ready(outcome) = catch_unwind(AssertUnwindSafe(|| conversation.as_mut().poll_on(cx)))
                .unwrap_or_else(|_| {
                    self.socket.core().shared.counters.handler_panics.up();
                    Poll::Ready(true)
                })
        {
            self.conversation = None;
            // That the peer has closed meanwhile may be all that it failed of.
            if outcome && self.socket.is_open() {
                let _ = self.socket.close(Some(CloseCode::INTERNAL), "");
            }
        }
        let socket = &*self.socket;
        let mut state = socket.state.borrow_mut();
        state.attend(&socket.hub, &socket.options, milliseconds(socket.core()));
        if state.ready.is_some() || state.end != End::None {
            let receiver = state.receiver.take();
            drop(state);
            receiver.into_iter().for_each(|receiver| receiver.wake());
            state = socket.state.borrow_mut();
        }
        if state.receivers == 0 && state.senders == 0 && state.machine.state() == Standing::Open && !state.is_gone {
            drop(state);
            let _ = socket.close(Some(CloseCode::NORMAL), "");
        }
    }

    /// Hands over what there is, if the wire is free. True when somebody waited for that.
    fn flush<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> bool {
        let core = wire.link.core.clone();
        let mut state = self.socket.state.borrow_mut();
        if state.is_gone || (state.queued() == 0 && !state.machine.has_output()) {
            if state.out.capacity() > 0 {
                // Taken for something that was not said after all: nothing is held between messages.
                core.handle().recycle_send_buf(std::mem::take(&mut state.out));
            }
            return false;
        }
        // Also when nothing is in flight: a send that nobody waited for may have failed.
        match wire.stream.poll_sent(cx) {
            Poll::Pending => {
                if !std::mem::replace(&mut state.is_blocked, true) {
                    state.blocked_in = core.handle().turn() as u16;
                    self.send_deadline = wire.send_allowance(state.queued());
                }
                return false;
            }
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                self.lose(&mut state);
                return true;
            }
        }
        state.is_blocked = false;
        state.collect(&core);
        state.machine.date_sent(milliseconds(&core));
        if state.machine.is_closed() {
            // Nothing follows that would be blocked.
            state.is_blocked = true;
            self.send_deadline = wire.send_allowance(state.out.len());
        }
        let buf = std::mem::take(&mut state.out);
        wire.send(buf);
        let sender = state.take_sender();
        drop(state);
        sender.into_iter().for_each(|sender| sender.wake());
        false
    }

    /// Whether it is over, and if not, until when to wait.
    fn poll_end<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            let (is_gone, is_closed, is_shut) = {
                let state = self.socket.state.borrow();
                (state.is_gone, state.machine.is_closed() && state.queued() == 0, state.is_shut)
            };
            if is_gone || is_closed {
                let is_sent = !is_gone && self.poll_last_sent(wire, cx).is_ready();
                if self.conversation.is_none() && (is_gone || is_sent) {
                    return Poll::Ready(if is_gone { Next::Gone } else { Next::Close });
                }
                if is_sent && !is_shut {
                    // Section 7.1.1: the server closes first, whatever its handler still does.
                    self.socket.state.borrow_mut().is_shut = true;
                    wire.stream.shutdown_write();
                }
                if self.conversation.is_some() {
                    let time = Duration::from_millis(u64::from(self.socket.options.limits.close_timeout_ms));
                    self.grace = self.grace.min(wire.now() + time);
                }
            }
            let Some(next) = self.deadline() else { return Poll::Pending };
            // The timer mostly fires earlier than it need, so that it is not moved with every message.
            if next < wire.deadline || wire.deadline <= wire.now() {
                wire.deadline = next;
                if wire.poll_deadline(cx).is_pending() {
                    return Poll::Pending;
                }
            } else {
                return Poll::Pending;
            }
            if self.expire(wire, cx).is_err() {
                return Poll::Ready(Next::Gone);
            }
        }
    }

    /// Whether all is out that will ever be said. What of it waits has the time of a send.
    fn poll_last_sent<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<()> {
        let sent = wire.stream.poll_sent(cx).map(drop);
        let was_blocked = std::mem::replace(&mut self.socket.state.borrow_mut().is_blocked, sent.is_pending());
        if sent.is_pending() && !was_blocked {
            self.send_deadline = wire.send_allowance(self.socket.options.queue_bytes_max);
        }
        sent
    }

    fn deadline(&self) -> Option<Instant> {
        let state = self.socket.state.borrow();
        // Nobody reads what the peer says: it cannot be blamed for silence.
        let is_deaf = (state.ready.is_some() && state.machine.state() == Standing::Open) || state.holds_close();
        let machine = state.machine.poll_timeout(&self.socket.options.limits).filter(|_| !is_deaf && !state.is_gone);
        let [machine, reply] =
            [machine, state.reply_due_ms()].map(|due| Some(Instant::from_nanos((due? + 1) * 1_000_000)));
        let send = state.is_blocked.then_some(self.send_deadline);
        let grace = (self.grace != NEVER).then_some(self.grace);
        [machine, send, reply, grace].into_iter().flatten().min()
    }

    /// Something is due.
    fn expire<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Result<(), Gone> {
        let now = wire.now();
        let core = wire.link.core.clone();
        if self.grace <= now {
            self.conversation = None;
            self.grace = NEVER;
            return Ok(());
        }
        {
            let state = &mut *self.socket.state.borrow_mut();
            if state.is_blocked && self.send_deadline <= now {
                core.shared.counters.timeouts_send.up();
                return Err(Gone);
            }
            let now_ms = milliseconds(&core);
            if state.reply_due_ms().is_some_and(|due| due <= now_ms) {
                state.give_up_reply(&self.socket.hub, &self.socket.options, now_ms);
                // There may be more to read now.
                cx.waker().wake_by_ref();
            }
            state.tail(&core);
            match state.machine.handle_timeout(state.out.tail(), &self.socket.options.limits, now_ms) {
                Expiry::Nothing | Expiry::Wrote => {}
                Expiry::Fault(fault) => state.fail(fault),
                Expiry::Abandoned => return Err(Gone),
            }
        }
        self.flush(wire, cx);
        self.converse(cx);
        Ok(())
    }
}
