//! The simulated driver: a virtual clock, a virtual wire, and a kernel that takes every liberty a kernel has.
//!
//! It behaves like the ring: listeners and streams have multishot operations, at most one send is in flight, an
//! operation that was cancelled may still complete, a closed socket's slot is freed after its last completion, received
//! bytes lie in the core's real buffers. Which completions come in a wait, in which order, and how much each carries is
//! drawn from the seed; so is the time that goes by. When nothing is ready the clock jumps to the next thing that will
//! be: an arrival, or the timer that the wait was to end at. A run depends on nothing but seed, configuration and
//! program: the same three give the same run, unless other threads wake the core.
//!
//! After every wait it looks whether the books balance (`audit`): buffers, slots, operations.
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

mod audit;
mod config;
mod connection;
mod net;
mod random;
mod socket;
mod step;
mod transcript;
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
pub use crate::driver::sim::transcript::SimEvent;

use crate::buffer::{ReceivePool, SendBuf};
use crate::driver::sim::socket::{Repeat, Role, Socket};
use crate::driver::sim::step::Step;
use crate::driver::sim::wire::Wire;
use crate::driver::slot::{Key, Repeating, Sockets};
use crate::driver::{Close, Driver, DriverCounters, DriverReport, add};
use crate::sys::address::Address;
use crate::sys::wake::WakeCell;
use crate::time::Instant;

/// Virtual time that a wait takes if nothing else lets time go by: a program that only yields sees its deadlines.
const WAIT_COST: Duration = Duration::from_micros(1);
/// The longest that a wait dawdles before something that is ready happens.
const DAWDLE_MAX_NS: u64 = 2_000_000;
/// Real time that a simulation in which nothing can happen any more waits for other threads, before it gives up.
const STUCK_WAIT: Duration = Duration::from_secs(2);

/// The driver. See the module's text.
pub(crate) struct Sim {
    wire: Rc<RefCell<Wire>>,
    wake: Arc<WakeCell>,
    pool: Rc<ReceivePool>,
    /// Buffers in the simulated kernel's hands.
    posted: Vec<u16>,
    /// By slot: in the same order in every run.
    sockets: BTreeMap<u32, Socket>,
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
        for key in sockets.take_starved() {
            self.arm_receive(sockets, key);
        }
    }

    /// True if another thread has woken the core; waits for that at most `timeout` of real time.
    fn woken(&self, timeout: Duration) -> bool {
        let is_woken = self.wake.drain();
        if is_woken || timeout.is_zero() {
            return is_woken;
        }
        let timeout = Timespec::try_from(timeout).ok();
        // However the wait ends: what it waited for is in the descriptor or is not.
        let _ = poll(&mut [PollFd::new(&*self.wake, PollFlags::IN)], timeout.as_ref());
        self.wake.drain()
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
        assert!(sockets.owned(key).sending.is_none(), "one send in flight per connection");
        add(&self.counters.sends, 1);
        sockets.begin_send(key, buf);
        sockets.owned(key).operations += 1;
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
        if how == Close::Orderly {
            // It was asked for before the close, and kernels keep that order: what there is room for goes out.
            self.send_what_fits(sockets, key);
        }
        let slot = sockets.owned(key);
        slot.closing = true;
        slot.abandon();
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
