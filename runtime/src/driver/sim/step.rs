//! What can happen now, and what follows from it: the simulated kernel at work.

use rustix::io::Errno;

use crate::driver::sim::Sim;
use crate::driver::sim::connection::{End, Inbound};
use crate::driver::sim::socket::{Repeat, Role, Socket};
use crate::driver::slot::{self, Key, Repeating, Sockets};
use crate::driver::{Close, Driver as _, add};

/// Completions that one multishot receive gives in one wait, at most.
const RECEIVES_PER_WAIT_MAX: usize = 6;
/// Something that can happen now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Accept,
    Receive,
    RepeatCancelled,
    Send,
    SendCancelled,
    Connect,
    CancelDone,
}

impl Sim {
    /// Everything that could happen now, in the order of the slots.
    pub(super) fn steps(&self) -> Vec<(Key, Step)> {
        let wire = self.wire.borrow();
        let mut steps = Vec::new();
        for socket in self.sockets.values() {
            let mut can = |step| steps.push((socket.key, step));
            if socket.repeat != Repeat::None {
                match socket.role {
                    Role::Listener(post) if wire.waiting(post) > 0 => can(Step::Accept),
                    Role::Stream(end) if wire.inbound(end) != Inbound::Nothing => can(Step::Receive),
                    _ => {}
                }
            }
            if socket.repeat == Repeat::Cancelled {
                can(Step::RepeatCancelled);
            }
            if let (true, Role::Stream(end)) = (socket.sending, socket.role) {
                if wire.room(end) > 0 || wire.is_reset(end) {
                    can(Step::Send);
                }
                if socket.closing.is_some() {
                    can(Step::SendCancelled);
                }
            }
            if socket.connecting.is_some() {
                can(Step::Connect);
            }
            if socket.cancels > 0 {
                can(Step::CancelDone);
            }
        }
        steps
    }

    /// Lets some of what is possible happen, in some order; false if nothing was possible, or all of it is late.
    pub(super) fn progress(&mut self, sockets: &mut Sockets) -> bool {
        let mut steps = self.steps();
        self.wire.borrow_mut().random.shuffle(&mut steps);
        let mut any = self.wire.borrow_mut().wake_those_who_wait();
        for (key, step) in steps {
            let late = self.wire.borrow().config.faults.late;
            if self.chance(late) {
                continue;
            }
            // What happened before it in this wait may have ended it.
            if self.sockets.get(&key.slot).is_some_and(|socket| socket.key == key) {
                any |= self.take_step(sockets, key, step);
            }
        }
        any
    }

    pub(super) fn take_step(&mut self, sockets: &mut Sockets, key: Key, step: Step) -> bool {
        let socket = self.owned(key);
        let role = socket.role;
        match (step, role) {
            (Step::Accept, Role::Listener(post)) if socket.repeat != Repeat::None => self.accept(sockets, key, post),
            (Step::Receive, Role::Stream(end)) if socket.repeat != Repeat::None => self.receive(sockets, key, end),
            (Step::Send, Role::Stream(end)) if socket.sending => self.continue_send(sockets, key, end),
            (Step::SendCancelled, _) if socket.sending => self.sent(sockets, key, Err(Errno::CANCELED)),
            (Step::RepeatCancelled, _) if socket.repeat == Repeat::Cancelled => {
                self.note("cancelled", key, 0);
                self.repeat_ended(sockets, key, false);
            }
            (Step::Connect, _) if socket.connecting.is_some() => {
                let result = socket.connecting.take().expect("it was just seen");
                self.note(if result.is_ok() { "connected" } else { "refused" }, key, 0);
                let slot = sockets.get(key).expect("an operation keeps its slot");
                slot.operations -= 1;
                slot.connected(result);
                self.free_if_closed(sockets, key);
            }
            (Step::CancelDone, _) if socket.cancels > 0 => {
                socket.cancels -= 1;
                sockets.get(key).expect("an operation keeps its slot").operations -= 1;
                self.free_if_closed(sockets, key);
            }
            _ => return false,
        }
        add(&self.counters.completions, 1);
        true
    }

    fn accept(&mut self, sockets: &mut Sockets, key: Key, post: u32) {
        let faults = self.wire.borrow().config.faults;
        let slot = sockets.get(key).expect("an operation keeps its slot");
        if self.chance(faults.accept_exhausted) {
            self.note("accept: EMFILE", key, 0);
            add(&self.counters.accept_errors, 1);
            slot.send_error = Some(Errno::MFILE);
            slot.wake_receiver();
            return self.repeat_ended(sockets, key, false);
        }
        let Some(end) = self.wire.borrow_mut().accept(post) else { return };
        if slot.closing {
            return self.wire.borrow_mut().close(end);
        }
        add(&self.counters.accepts, 1);
        let taken = self.insert(sockets, Role::Stream(end));
        self.note("accept", taken, 0);
        let slot = sockets.get(key).expect("an operation keeps its slot");
        slot.accepted.get_or_insert_default().push_back(taken);
        slot.wake_receiver();
        if slot.is_behind() && slot.receiving == Repeating::Armed {
            self.cancel(sockets, key);
        } else if self.chance(faults.multishot_ends) {
            self.repeat_ended(sockets, key, false);
        }
    }

    fn receive(&mut self, sockets: &mut Sockets, key: Key, end: End) {
        let faults = self.wire.borrow().config.faults;
        if self.chance(faults.resets) {
            self.note("the connection dies", key, 0);
            self.wire.borrow_mut().kill(end);
        }
        let completions = self.wire.borrow_mut().random.up_to(RECEIVES_PER_WAIT_MAX);
        for _ in 0..completions {
            let slot = sockets.get(key).expect("an operation keeps its slot");
            let inbound = self.wire.borrow().inbound(end);
            match inbound {
                Inbound::Nothing => return,
                Inbound::Finished => {
                    self.note("receive: end", key, 0);
                    slot.ended(slot::End::Finished);
                    return self.repeat_ended(sockets, key, false);
                }
                Inbound::Reset => {
                    self.note("receive: ECONNRESET", key, 0);
                    slot.ended(slot::End::Failed(Errno::CONNRESET));
                    return self.repeat_ended(sockets, key, false);
                }
                Inbound::Bytes(bytes) => {
                    let Some(buffer) = (!self.chance(faults.no_buffers)).then(|| self.posted.pop()).flatten() else {
                        self.note("receive: ENOBUFS", key, 0);
                        add(&self.counters.enobufs, 1);
                        return self.repeat_ended(sockets, key, true);
                    };
                    self.receive_into(sockets, key, end, buffer, bytes);
                }
            }
            if self.chance(faults.multishot_ends) {
                self.note("receive: ends", key, 0);
                return self.repeat_ended(sockets, key, false);
            }
        }
    }

    fn receive_into(&mut self, sockets: &mut Sockets, key: Key, end: End, buffer: u16, bytes: usize) {
        let mut wire = self.wire.borrow_mut();
        let most = bytes.min(self.pool.buffer_bytes() as usize);
        let per_mille = wire.config.faults.short_receives;
        let count = match wire.random.chance(per_mille) {
            true if wire.random.chance(500) => 1,
            true => wire.random.up_to(most),
            false => most,
        };
        let count = self.pool.fill(buffer, |target| wire.take(end, &mut target[..count]));
        wire.note("receive", key.slot, count);
        drop(wire);
        add(&self.counters.receives, 1);
        add(&self.counters.receive_bytes, count as u64);
        let lease = self.pool.lend(buffer, count as u32);
        let slot = sockets.get(key).expect("an operation keeps its slot");
        slot.arrived(lease);
        if slot.is_behind() && slot.receiving == Repeating::Armed {
            self.cancel(sockets, key);
        }
    }

    /// The last completion of an accept or a receive.
    fn repeat_ended(&mut self, sockets: &mut Sockets, key: Key, without_buffer: bool) {
        self.owned(key).repeat = Repeat::None;
        let slot = sockets.get(key).expect("an operation keeps its slot");
        if let Role::Stream(_) = self.owned(key).role {
            if sockets.receive_ended(key, without_buffer) {
                self.arm_receive(sockets, key);
            }
        } else {
            slot.operations -= 1;
            slot.receiving = Repeating::Idle;
            if !slot.closing && slot.send_error.is_none() && !slot.is_behind() {
                self.arm_accept(sockets, key);
            }
        }
        self.free_if_closed(sockets, key);
    }

    fn continue_send(&mut self, sockets: &mut Sockets, key: Key, end: End) {
        let faults = self.wire.borrow().config.faults;
        if self.chance(faults.resets) {
            self.note("the connection dies", key, 0);
            self.wire.borrow_mut().kill(end);
        }
        if self.wire.borrow().is_reset(end) {
            let first = self.chance(500);
            return self.sent(sockets, key, Err(if first { Errno::CONNRESET } else { Errno::PIPE }));
        }
        if self.wire.borrow().has_finished(end) {
            return self.sent(sockets, key, Err(Errno::PIPE));
        }
        let is_short = self.chance(faults.short_sends);
        self.send_some(sockets, key, end, is_short);
    }

    /// Sends as far as there is room, at once and without a fault.
    pub(super) fn send_what_fits(&mut self, sockets: &mut Sockets, key: Key) {
        let Socket { sending: true, role: Role::Stream(end), .. } = *self.owned(key) else { return };
        let wire = self.wire.borrow();
        let has_room = wire.room(end) > 0 && !wire.is_reset(end) && !wire.has_finished(end);
        drop(wire);
        if has_room {
            self.send_some(sockets, key, end, false);
        }
    }

    fn send_some(&mut self, sockets: &mut Sockets, key: Key, end: End, is_short: bool) {
        let slot = sockets.get(key).expect("an operation keeps its slot");
        let sending = slot.sending.as_mut().expect("a send in flight keeps its buffer");
        let room = self.wire.borrow().room(end).min(sending.buf.len() - sending.sent);
        let count = if is_short { self.wire.borrow_mut().random.up_to(room) } else { room };
        let mut rest = Vec::with_capacity(count);
        let mut skip = sending.sent;
        for piece in sending.buf.pieces() {
            let unsent = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            rest.extend_from_slice(&unsent[..unsent.len().min(count - rest.len())]);
        }
        self.wire.borrow_mut().put(end, rest);
        sending.sent += count;
        let done = sending.sent == sending.buf.len();
        self.note("send", key, count);
        add(&self.counters.send_bytes, count as u64);
        if done {
            self.sent(sockets, key, Ok(()));
        }
    }

    fn sent(&mut self, sockets: &mut Sockets, key: Key, result: Result<(), Errno>) {
        let socket = self.owned(key);
        socket.sending = false;
        let role = socket.role;
        let slot = sockets.get(key).expect("an operation keeps its slot");
        slot.operations -= 1;
        let finish = slot.finish_after_send;
        if result.is_err() {
            self.note("send fails", key, 0);
        }
        sockets.end_send(key, result);
        if let (true, Role::Stream(end)) = (finish, role) {
            self.wire.borrow_mut().finish(end);
        }
        self.free_if_closed(sockets, key);
    }

    pub(super) fn cancel(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        slot.receiving = Repeating::Pausing;
        slot.operations += 1;
        add(&self.counters.pauses, 1);
        let socket = self.owned(key);
        socket.repeat = Repeat::Cancelled;
        socket.cancels += 1;
    }

    /// Frees the slot after the last completion; only then the wire learns of the close.
    pub(super) fn free_if_closed(&mut self, sockets: &mut Sockets, key: Key) {
        let Some(socket) = self.sockets.get(&key.slot) else { return };
        let Some(how) = socket.closing.filter(|_| socket.operations() == 0) else { return };
        let role = socket.role;
        self.sockets.remove(&key.slot);
        sockets.remove(key);
        let mut wire = self.wire.borrow_mut();
        wire.note("closed", key.slot, 0);
        match (role, how) {
            (Role::Listener(post), _) => wire.stop_listening(post),
            (Role::Stream(end), Close::Orderly) => wire.close(end),
            (Role::Stream(end), Close::Abort) => wire.reset(end),
            (Role::Unconnected, _) => {}
        }
    }
}
