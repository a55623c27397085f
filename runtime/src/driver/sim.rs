//! The simulated driver: a virtual clock, a virtual wire, and a kernel that takes every liberty a kernel has.
//!
//! It behaves like the ring: listeners and streams have multishot operations, at most one send is in flight, an
//! operation that was cancelled may still complete, a closed socket's slot is freed after its last completion, received
//! bytes lie in the core's real buffers. Which completions come in a wait, in which order, and how much each carries is
//! drawn from the seed; so is the time that goes by. When nothing is ready the clock jumps to the next thing that will
//! be: an arrival, or the timer that the wait was to end at. A run depends on nothing but seed, configuration and
//! program: the same three give the same run, unless other threads wake the core.
//!
//! After every wait it looks whether the books balance: buffers, slots, operations.
//!
//! [`Executor::simulated`](crate::executor::Executor::simulated) starts one, and gives the test its end of the world:
//!
//! ```
//! use ringgate_runtime::buffer::{Piece, SendBuf};
//! use ringgate_runtime::driver::sim::SimConfig;
//! use ringgate_runtime::executor::{Executor, ExecutorConfig};
//! let (mut executor, net) = Executor::simulated(ExecutorConfig::default(), SimConfig::new(7));
//! let handle = executor.handle();
//! executor.block_on(async {
//!     let listener = handle.listen(&"10.0.0.1:80".parse().unwrap())?;
//!     let peer = net.connect(&"10.0.0.1:80".parse().unwrap())?;
//!     peer.write(b"ping");
//!     let mut stream = listener.accept().await?;
//!     let mut echoed = 0;
//!     while echoed < 4 {
//!         let lease = stream.recv().await?;
//!         echoed += lease.len();
//!         let mut buf = SendBuf::default();
//!         buf.push(Piece::Lease(lease));
//!         stream.send(buf).await?;
//!     }
//!     assert_eq!(peer.read_exact(4).await?, b"ping");
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod config;
mod net;
mod random;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub use crate::driver::sim::config::{SimConfig, SimFaults};
pub use crate::driver::sim::net::{SimListener, SimNet, SimPeer};
pub use crate::driver::sim::wire::SimEvent;

use crate::buffer::{ReceivePool, SendBuf};
use crate::driver::sim::wire::{End, Inbound, Wire};
use crate::driver::slot::{self, Key, Repeating, Sending, Sockets};
use crate::driver::{Close, Driver, DriverCounters, DriverReport, add};
use crate::sys::address::Address;
use crate::sys::wake::WakeCell;
use crate::time::Instant;

/// Virtual time that a wait takes if nothing else lets time go by: a program that only yields sees its deadlines.
const WAIT_COST: Duration = Duration::from_micros(1);
/// The longest that a wait dawdles before something that is ready happens.
const DAWDLE_MAX_NS: u64 = 2_000_000;
/// Completions that one multishot receive gives in one wait, at most.
const RECEIVES_PER_WAIT_MAX: usize = 6;
/// Real time that a simulation in which nothing can happen any more waits for other threads, before it gives up.
const STUCK_WAIT: Duration = Duration::from_secs(2);

/// What a socket is on the wire.
#[derive(Clone, Copy, Debug)]
enum Role {
    Listener(u32),
    Stream(End),
    /// A connect that nobody answers, or not yet.
    Unconnected,
}

/// A repeating operation (accept or receive) in the simulated kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    None,
    Armed,
    /// A cancel is under way; it may lose the race.
    Cancelled,
}

/// The kernel's side of a slot.
#[derive(Debug)]
struct Socket {
    key: Key,
    role: Role,
    repeat: Repeat,
    sending: bool,
    connecting: Option<Result<(), Errno>>,
    /// Cancels of which the completion is to come.
    cancels: u8,
    closing: Option<Close>,
}

impl Socket {
    fn operations(&self) -> u8 {
        u8::from(self.repeat != Repeat::None)
            + u8::from(self.sending)
            + u8::from(self.connecting.is_some())
            + self.cancels
    }
}

/// Something that can happen now.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept,
    Receive,
    RepeatCancelled,
    Send,
    SendCancelled,
    Connect,
    CancelDone,
}

/// The driver. See the module's text.
pub(crate) struct Sim {
    wire: Rc<RefCell<Wire>>,
    wake: Arc<WakeCell>,
    pool: Rc<ReceivePool>,
    /// Buffers in the simulated kernel's hands.
    posted: Vec<u16>,
    /// By slot: in the same order in every run.
    sockets: BTreeMap<u32, Socket>,
    starved: Vec<Key>,
    counters: Arc<DriverCounters>,
}

impl Sim {
    /// A world of its own, its clock at zero.
    pub(crate) fn new(
        config: SimConfig,
        pool: &Rc<ReceivePool>,
        wake: &Arc<WakeCell>,
    ) -> (Self, SimNet, Rc<Cell<Instant>>) {
        let now = Rc::new(Cell::new(Instant::default()));
        let wire = Rc::new(RefCell::new(Wire::new(config, Rc::clone(&now))));
        let net = SimNet::new(Rc::clone(&wire));
        let sim = Self {
            wire,
            wake: Arc::clone(wake),
            pool: Rc::clone(pool),
            posted: Vec::new(),
            sockets: BTreeMap::new(),
            starved: Vec::new(),
            counters: Arc::default(),
        };
        (sim, net, now)
    }

    fn insert(&mut self, sockets: &mut Sockets, role: Role) -> Key {
        let key = sockets.insert(None);
        let socket =
            Socket { key, role, repeat: Repeat::None, sending: false, connecting: None, cancels: 0, closing: None };
        assert!(self.sockets.insert(key.slot, socket).is_none(), "a slot was given out twice");
        key
    }

    /// The socket of a key that its owner still holds.
    fn owned(&mut self, key: Key) -> &mut Socket {
        let socket = self.sockets.get_mut(&key.slot).expect("a socket's owner keeps it");
        assert_eq!(socket.key, key);
        socket
    }

    fn chance(&self, per_mille: u16) -> bool {
        self.wire.borrow_mut().random.chance(per_mille)
    }

    fn note(&self, what: &'static str, key: Key, amount: usize) {
        self.wire.borrow_mut().note(what, key.slot, amount);
    }

    /// Gives returned buffers to the kernel, and re-arms streams that were parked for want of one.
    fn replenish(&mut self, sockets: &mut Sockets) {
        while let Some(buffer) = self.pool.take_free() {
            self.posted.push(buffer);
        }
        if self.posted.is_empty() {
            return;
        }
        for key in std::mem::take(&mut self.starved) {
            if let Some(slot) = sockets.get(key)
                && slot.receiving == Repeating::Starved
                && !slot.closing
            {
                slot.receiving = Repeating::Idle;
                self.arm_receive(sockets, key);
            }
        }
    }

    /// Everything that could happen now, in the order of the slots.
    fn steps(&self) -> Vec<(Key, Step)> {
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
    fn progress(&mut self, sockets: &mut Sockets) -> bool {
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

    fn take_step(&mut self, sockets: &mut Sockets, key: Key, step: Step) -> bool {
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
        slot.operations -= 1;
        let starved = without_buffer && slot.receiving == Repeating::Armed && !slot.closing;
        slot.receiving = if starved { Repeating::Starved } else { Repeating::Idle };
        if slot.accepted.is_some() {
            if !slot.closing && slot.send_error.is_none() && !slot.is_behind() {
                self.arm_accept(sockets, key);
            }
        } else if starved {
            self.starved.push(key);
        } else if !slot.closing && slot.end.is_none() && slot.inbound() == 0 && slot.receive_waker.is_some() {
            self.arm_receive(sockets, key);
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
        let slot = sockets.get(key).expect("an operation keeps its slot");
        let sending = slot.sending.as_mut().expect("a send in flight keeps its buffer");
        let room = self.wire.borrow().room(end).min(sending.buf.len() - sending.sent);
        let count = if self.chance(faults.short_sends) { self.wire.borrow_mut().random.up_to(room) } else { room };
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
        if let Some(buf) = slot.sent(result) {
            sockets.recycle(buf);
        }
        if let (true, Role::Stream(end)) = (finish, role) {
            self.wire.borrow_mut().finish(end);
        }
        self.free_if_closed(sockets, key);
    }

    fn cancel(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        slot.receiving = Repeating::Pausing;
        slot.operations += 1;
        add(&self.counters.pauses, 1);
        let socket = self.owned(key);
        socket.repeat = Repeat::Cancelled;
        socket.cancels += 1;
    }

    /// Frees the slot after the last completion; only then the wire learns of the close.
    fn free_if_closed(&mut self, sockets: &mut Sockets, key: Key) {
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

    /// True if another thread has woken the core; waits for that at most `timeout` of real time.
    fn woken(&self, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).ok();
        let ready = poll(&mut [PollFd::new(&*self.wake, PollFlags::IN)], timeout.as_ref());
        if ready.is_ok_and(|count| count > 0) {
            self.wake.drain();
            return true;
        }
        false
    }

    /// Whether all books balance.
    ///
    /// # Panics
    /// When they do not: that is a fault of the runtime.
    fn audit(&self, sockets: &mut Sockets) {
        let seed = self.wire.borrow().config.seed;
        let buffers = self.posted.len() + self.pool.free() + self.pool.lent() as usize;
        assert_eq!(buffers, usize::from(self.pool.buffers()), "seed {seed}: buffers were lost or doubled");
        assert!(self.pool.lent() <= u32::from(self.pool.buffers() / 2), "seed {seed}: the lending cap does not hold");
        assert_eq!(sockets.in_use(), self.sockets.len(), "seed {seed}: slots and sockets differ");
        for socket in self.sockets.values() {
            let Some(slot) = sockets.get(socket.key) else {
                panic!("seed {seed}: {socket:?} lost its slot");
            };
            assert_eq!(slot.operations, socket.operations(), "seed {seed}: {socket:?} and {slot:?}");
            assert_eq!(slot.closing, socket.closing.is_some(), "seed {seed}: {socket:?} and {slot:?}");
            assert!(!slot.closing || slot.operations > 0, "seed {seed}: a closed slot without operations stays");
            assert_eq!(slot.sending.is_some(), socket.sending, "seed {seed}: {socket:?} and {slot:?}");
            assert!(!slot.closing || slot.inbound() == 0, "seed {seed}: a closed slot holds leases");
            let armed = match slot.receiving {
                Repeating::Idle | Repeating::Starved => Repeat::None,
                Repeating::Armed => Repeat::Armed,
                Repeating::Pausing => Repeat::Cancelled,
            };
            assert!(slot.closing || armed == socket.repeat, "seed {seed}: {socket:?} and {slot:?}");
        }
    }
}

impl Driver for Sim {
    fn listen(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        let post = self.wire.borrow_mut().listen(address)?;
        let key = self.insert(sockets, Role::Listener(post));
        sockets.owned(key).accepted = Some(Box::default());
        Ok(key)
    }

    fn connect(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        let connected = self.wire.borrow_mut().connect(address);
        let key = self.insert(sockets, connected.map_or(Role::Unconnected, Role::Stream));
        self.owned(key).connecting = Some(connected.map(drop));
        let slot = sockets.owned(key);
        slot.connecting = true;
        slot.operations += 1;
        Ok(key)
    }

    fn adopt_listener(&mut self, _sockets: &mut Sockets, _fd: OwnedFd) -> io::Result<Key> {
        Err(Errno::OPNOTSUPP.into())
    }

    fn adopt_stream(&mut self, _sockets: &mut Sockets, _fd: OwnedFd) -> io::Result<Key> {
        Err(Errno::OPNOTSUPP.into())
    }

    fn arm_accept(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        if slot.receiving == Repeating::Idle {
            slot.receiving = Repeating::Armed;
            slot.operations += 1;
            self.owned(key).repeat = Repeat::Armed;
        }
    }

    fn arm_receive(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        if slot.receiving == Repeating::Idle && slot.end.is_none() {
            slot.receiving = Repeating::Armed;
            slot.operations += 1;
            self.owned(key).repeat = Repeat::Armed;
        }
    }

    fn pause_receive(&mut self, sockets: &mut Sockets, key: Key) {
        match sockets.owned(key).receiving {
            Repeating::Armed => self.cancel(sockets, key),
            Repeating::Starved => sockets.owned(key).receiving = Repeating::Idle,
            Repeating::Idle | Repeating::Pausing => {}
        }
    }

    fn send(&mut self, sockets: &mut Sockets, key: Key, buf: SendBuf) {
        let slot = sockets.owned(key);
        assert!(slot.sending.is_none(), "one send in flight per connection");
        add(&self.counters.sends, 1);
        slot.sending = Some(Box::new(Sending { buf, sent: 0, vectored: None }));
        slot.operations += 1;
        self.owned(key).sending = true;
    }

    fn shutdown_write(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        slot.shutdown_write();
        if let (false, Role::Stream(end)) = (slot.finish_after_send, self.owned(key).role) {
            self.wire.borrow_mut().finish(end);
        }
    }

    fn close(&mut self, sockets: &mut Sockets, key: Key, how: Close) {
        let slot = sockets.owned(key);
        slot.closing = true;
        slot.forget_inbound();
        slot.receive_waker = None;
        slot.send_waker = None;
        let waiting = slot.accepted.take();
        let socket = self.owned(key);
        socket.closing = Some(how);
        if socket.operations() > 0 {
            socket.cancels += 1;
            slot.operations += 1;
            if socket.repeat == Repeat::Armed {
                socket.repeat = Repeat::Cancelled;
            }
        }
        self.free_if_closed(sockets, key);
        for key in waiting.into_iter().flat_map(|waiting| *waiting) {
            self.close(sockets, key, Close::Orderly);
        }
    }

    fn wait(&mut self, sockets: &mut Sockets, timeout: Option<Duration>) -> io::Result<()> {
        add(&self.counters.enters, 1);
        sockets.completion_awaited = false;
        self.replenish(sockets);
        let (faults, threads_wait, start) = {
            let wire = self.wire.borrow();
            (wire.config.faults, wire.config.threads_wait_max, wire.now())
        };
        let deadline = timeout.map(|timeout| start + timeout);
        let is_over = |now: Instant| deadline.is_some_and(|deadline| now >= deadline);
        self.wire.borrow().advance_to(start + WAIT_COST);
        if self.chance(faults.spurious_wakes) {
            self.audit(sockets);
            return Ok(());
        }
        while !self.progress(sockets) && !is_over(self.wire.borrow().now()) {
            if self.woken(Duration::ZERO) {
                break;
            }
            let is_ready = !self.steps().is_empty();
            let mut wire = self.wire.borrow_mut();
            let then = if is_ready {
                // It is late: time goes by until it comes.
                let delay = wire.random.below(DAWDLE_MAX_NS);
                Some(wire.now() + Duration::from_nanos(delay))
            } else {
                wire.next_arrival()
            };
            let then = match (then, deadline) {
                (Some(then), Some(deadline)) => Some(then.min(deadline)),
                (then, deadline) => then.or(deadline),
            };
            drop(wire);
            let Some(then) = then else {
                if self.woken(STUCK_WAIT) {
                    break;
                }
                let config = &self.wire.borrow().config;
                return Err(io::Error::other(format!("the simulation is stuck, nothing can happen: {config:?}")));
            };
            if !is_ready && threads_wait > Duration::ZERO && self.woken(threads_wait) {
                break;
            }
            self.wire.borrow().advance_to(then);
        }
        self.audit(sockets);
        Ok(())
    }

    fn local_address(&self, _sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>> {
        let wire = self.wire.borrow();
        match self.sockets[&key.slot].role {
            Role::Listener(post) => Ok(wire.listens_on(post)),
            Role::Stream(end) => Ok(wire.address(end)),
            Role::Unconnected => Err(Errno::NOTCONN.into()),
        }
    }

    fn peer_address(&self, _sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>> {
        match self.sockets[&key.slot].role {
            Role::Stream(end) if !self.wire.borrow().is_reset(end) => Ok(self.wire.borrow().peer_address(end)),
            _ => Err(Errno::NOTCONN.into()),
        }
    }

    fn finish(&mut self, sockets: &mut Sockets) -> bool {
        for key in sockets.keys() {
            while let Some(socket) = self.sockets.get(&key.slot) {
                let step = match socket {
                    Socket { connecting: Some(_), .. } => Step::Connect,
                    Socket { sending: true, .. } => Step::SendCancelled,
                    Socket { repeat: Repeat::Cancelled, .. } => Step::RepeatCancelled,
                    _ => Step::CancelDone,
                };
                assert!(
                    self.take_step(sockets, key, step),
                    "{socket:?} does not end",
                    socket = self.sockets[&key.slot]
                );
            }
        }
        self.posted.drain(..).for_each(|buffer| self.pool.give_back(buffer));
        true
    }

    fn readiness_fd(&mut self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn report(&self) -> DriverReport {
        DriverReport { driver: "sim", line: format!("driver sim, seed {}", self.wire.borrow().config.seed) }
    }

    fn counters(&self) -> Arc<DriverCounters> {
        Arc::clone(&self.counters)
    }
}
