//! The io_uring driver.
//!
//! One ring per core, used by the core's own thread only (`SINGLE_ISSUER | DEFER_TASKRUN` where the kernel has them).
//! Listeners have a multishot accept, streams a multishot receive out of one provided-buffer ring, and at most one send
//! in flight. Everything that the tasks of a turn ask for is queued and leaves with the one `enter` that also waits.
//!
//! # One system call for an isolated request
//! A core that has answered and sleeps must not be woken by its own answers: only what it does not know already is news.
//! So a send is first submitted in such a way that it never parks in the kernel (`MSG_DONTWAIT`), and that its completion
//! is left out if it has gone out whole (`MSG_WAITALL`, which makes a short send a failed one, and
//! `IOSQE_CQE_SKIP_SUCCESS`, which leaves out those that did not fail). The enter that carries the answers also waits for
//! the next completion, whatever it is. When it is back, every send that was submitted and has told nothing is done. One
//! that went short, or found the socket full, is submitted again for the rest, without those flags: it completes when the
//! peer has read. Only where a task waits for such a send, or a FIN does, the core does not sleep in that enter.
//!
//! Here are the driver's verbs and its turn (`wait`). What is submitted stands in `operation`, what follows from each
//! completion in `completion`, the queues and the system call in `ring`, flags and sizes in `setup`.
//!
//! # The room and its unsafe
//! 1. Memory that an operation refers to lives until its last completion: send buffers and their `msghdr` in the slot
//!    ([`Sending`](crate::driver::slot::Sending)), which is freed only when no operation is pending; receive buffers in the
//!    pool, which this driver holds; the eventfd's word in a box of the driver.
//! 2. The ring is closed before any of that is freed: `finish` waits for the last completions, bounded in time; if the
//!    kernel does not let go, the memory is leaked rather than freed (the slots by the executor, the rest by `Drop`).
//! 3. The provided-buffer ring is one page-aligned allocation; entries are written only behind the kernel's head (there
//!    are never more posted buffers than entries) and published by one release store of the tail.
//! 4. `user_data` is tag, generation and slot; a completion that finds another generation touches nothing but the
//!    buffer it may carry, which is given back.

mod buffer_ring;
mod completion;
mod operation;
mod readiness;
mod ring;
mod setup;

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{ReceivePool, SendBuf};
use crate::driver::slot::{INBOUND_LEASES_MAX, Key, Repeating, Sockets};
use crate::driver::uring::buffer_ring::BufferRing;
use crate::driver::uring::operation::{Tag, Telling};
use crate::driver::uring::readiness::Readiness;
use crate::driver::uring::ring::{Completion, Entered, Ring};
use crate::driver::uring::setup::Setup;
pub(crate) use crate::driver::uring::setup::Unavailable;
pub use crate::driver::uring::setup::{RingConfig, RingFeature};
use crate::driver::{Close, Driver, DriverCounters, DriverReport, add, socket};
use crate::sys::address::Address;
use crate::sys::wake::WakeCell;

/// Completions that one non-blocking pass may harvest: a kernel since 6.13 runs at most `max(20, wanted)` task works.
const HARVEST: usize = 64;
/// How long a core leaves a kernel alone that has no memory for it, if there is nothing else to do: long enough for others
/// to give some back, short beside any time-out.
const BACK_OFF: Duration = Duration::from_millis(1);
/// How long `finish` waits for the kernel to let go of memory.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Rounds in which a turn of somebody else's loop tries to leave nothing to do behind.
const SETTLE_ROUNDS_MAX: usize = 8;

/// The driver. See the module's text.
pub(crate) struct Uring {
    ring: ManuallyDrop<Ring>,
    buffers: ManuallyDrop<BufferRing>,
    wake: Arc<WakeCell>,
    wake_word: ManuallyDrop<Box<u64>>,
    wake_armed: bool,
    /// Registered with the ring when somebody else's loop asks for it.
    readiness: Option<Readiness>,
    /// Sends that tell only if they go short, and have not, with the bytes of each.
    untold: Vec<(Key, usize)>,
    /// How a send is first submitted.
    telling: Telling,
    /// Bytes that one receive may take together; 0 where the kernel hands over one buffer at a time.
    bundle_bytes: u32,
    /// Reused: completions copied out of the queue before they are looked at.
    harvest: Vec<Completion>,
    tier: String,
    /// Why this driver, and why this tier.
    why: String,
    counters: Arc<DriverCounters>,
}

impl Uring {
    /// Sets the ring up on the thread that will use it, with the best flags the kernel takes. `why` it is this driver, for
    /// the report.
    pub(crate) fn new(
        config: RingConfig,
        pool: &Rc<ReceivePool>,
        wake: &Arc<WakeCell>,
        why: &str,
    ) -> Result<Self, Unavailable> {
        let counters: Arc<DriverCounters> = Arc::default();
        let setup = Setup::new(config)?;
        // In this order: if the second fails, the ring goes before the memory that it might know of.
        let mut buffers = BufferRing::new(Rc::clone(pool));
        let ring = Ring::new(setup.uring, Arc::clone(&counters));
        let registered = match config.has(RingFeature::BufferRing) {
            true => ring.register_buffers(&buffers),
            // What a kernel says that does not know the request.
            false => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        registered.map_err(|error| Unavailable::new("registering the buffer ring", &error))?;
        buffers.replenish();
        Ok(Self {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            wake: Arc::clone(wake),
            wake_word: ManuallyDrop::new(Box::new(0)),
            wake_armed: false,
            readiness: None,
            untold: Vec::new(),
            telling: if setup.has_silent_sends { Telling::IfShort } else { Telling::AtItsEnd },
            bundle_bytes: if setup.has_bundles { bundle_bytes(pool.buffer_bytes()) } else { 0 },
            harvest: Vec::new(),
            tier: setup.tier,
            why: match setup.refused {
                Some(flags) => format!("{why}; the kernel refused {flags}"),
                None => format!("{why}; the kernel took the best flags"),
            },
            counters,
        })
    }

    fn arm_wake(&mut self) {
        if !self.wake_armed {
            let read = operation::read_word(self.wake.as_fd(), &mut **self.wake_word);
            self.ring.push(Tag::Wake, Key { slot: 0, generation: 0 }, read);
            self.wake_armed = true;
        }
    }

    /// Gives returned buffers to the kernel, and re-arms streams that were parked for want of one.
    fn replenish(&mut self, sockets: &mut Sockets) {
        self.buffers.replenish();
        if self.buffers.has_posted() {
            for key in sockets.take_starved() {
                self.arm_receive(sockets, key);
            }
        }
    }

    /// Before somebody else's loop sleeps: everything is submitted and reaped, and the readiness descriptor is clear.
    ///
    /// The kernel writes the descriptor when its list of deferred work becomes non-empty, and once for what it posts
    /// while we enter. So it is cleared first, and then we look: what came before the clearing is found, what comes after
    /// writes it again.
    ///
    /// The kernel's flag for deferred work is set a moment after the work is in the list (6.18). Who sets it may be
    /// interrupted in between; if we do the work then, the flag is set for nothing and stays. So an enter after which
    /// there is nothing to take is believed, and not the flag.
    fn settle(&mut self, sockets: &mut Sockets) -> io::Result<()> {
        let Some(readiness) = self.readiness.take() else { return Ok(()) };
        let settled = self.settle_with(&readiness, sockets);
        self.readiness = Some(readiness);
        settled
    }

    fn settle_with(&mut self, readiness: &Readiness, sockets: &mut Sockets) -> io::Result<()> {
        for _ in 0..SETTLE_ROUNDS_MAX {
            self.replenish(sockets);
            self.arm_wake();
            let is_all_queued = self.ring.push_backlog();
            readiness.clear();
            if is_all_queued && self.ring.has_nothing_to_do() {
                return Ok(());
            }
            self.ring.enter(HARVEST, Some(Duration::ZERO))?;
            let came = self.reap(sockets);
            if came == 0 && self.ring.is_all_told() {
                return Ok(());
            }
        }
        // A busy ring: the loop comes again at once.
        readiness.set();
        Ok(())
    }

    fn cancel(&mut self, sockets: &mut Sockets, key: Key, tag: Tag) {
        let slot = sockets.owned(key);
        slot.receiving = Repeating::Pausing;
        slot.operations += 1;
        add(&self.counters.pauses, 1);
        self.ring.push(Tag::Cancel, key, operation::cancel(tag, key));
    }

    /// Submits what is left of the slot's send.
    fn submit_send(&mut self, sockets: &mut Sockets, key: Key, telling: Telling) {
        let slot = sockets.owned(key);
        let (Some(fd), Some(sending)) = (&slot.fd, &mut slot.sending) else { return };
        let (send, count) = operation::send(fd.as_fd(), sending, telling);
        slot.operations += 1;
        self.ring.push(Tag::Send, key, send);
        if telling == Telling::IfShort {
            self.untold.push((key, count));
        }
    }
}

/// Bytes of one receive, where that may fill several buffers; the kernel counts them in an `i32`.
fn bundle_bytes(buffer_bytes: u32) -> u32 {
    let buffers = (i32::MAX as u32 / buffer_bytes).clamp(1, INBOUND_LEASES_MAX as u32);
    buffer_bytes.saturating_mul(buffers).min(i32::MAX as u32)
}

impl Driver for Uring {
    fn listen(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        self.adopt_listener(sockets, socket::listen(address)?)
    }

    fn connect(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        let (fd, done) = socket::connect(address)?;
        if done {
            return self.adopt_stream(sockets, fd);
        }
        let writable = operation::writable(fd.as_fd());
        let key = sockets.insert(Some(fd));
        let slot = sockets.owned(key);
        slot.connecting = true;
        slot.operations += 1;
        self.ring.push(Tag::Connect, key, writable);
        Ok(key)
    }

    fn adopt_listener(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key> {
        let key = sockets.insert(Some(fd));
        sockets.owned(key).accepted = Some(Box::default());
        Ok(key)
    }

    fn adopt_stream(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key> {
        // The ring waits for us: a blocking socket spares it spurious EAGAINs.
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(sockets.insert(Some(fd)))
    }

    fn arm_accept(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        let Some(fd) = slot.fd.as_ref().filter(|_| slot.receiving == Repeating::Idle) else { return };
        let accept = operation::accept(fd.as_fd());
        slot.receiving = Repeating::Armed;
        slot.operations += 1;
        self.ring.push(Tag::Accept, key, accept);
    }

    fn arm_receive(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        let Some(fd) = slot.fd.as_ref().filter(|_| slot.receiving == Repeating::Idle && slot.end.is_none()) else {
            return;
        };
        let receive = operation::receive(fd.as_fd(), self.bundle_bytes);
        slot.receiving = Repeating::Armed;
        slot.operations += 1;
        self.ring.push(Tag::Receive, key, receive);
    }

    fn pause_receive(&mut self, sockets: &mut Sockets, key: Key) {
        match sockets.owned(key).receiving {
            Repeating::Armed => self.cancel(sockets, key, Tag::Receive),
            Repeating::Starved => sockets.owned(key).receiving = Repeating::Idle,
            Repeating::Idle | Repeating::Pausing => {}
        }
    }

    fn send(&mut self, sockets: &mut Sockets, key: Key, buf: SendBuf) {
        add(&self.counters.sends, 1);
        sockets.begin_send(key, buf);
        self.submit_send(sockets, key, self.telling);
    }

    fn shutdown_write(&mut self, sockets: &mut Sockets, key: Key) {
        // The system call: the ring's opcode would always go to a worker thread.
        let slot = sockets.owned(key);
        slot.shutdown_write();
        sockets.completion_awaited |= slot.finish_after_send;
    }

    fn close(&mut self, sockets: &mut Sockets, key: Key, how: Close) {
        let slot = sockets.owned(key);
        slot.closing = true;
        slot.abandon();
        if how == Close::Abort
            && let Some(fd) = &slot.fd
        {
            // It fails only for sockets that are gone already.
            let _ = rustix::net::sockopt::set_socket_linger(fd, Some(Duration::ZERO));
        }
        let waiting = slot.accepted.take();
        if slot.operations == 0 {
            sockets.remove(key);
        } else if let Some(fd) = &slot.fd {
            // Closing a descriptor cancels nothing; the slot and the memory go with the last completion.
            let cancel = operation::cancel_all(fd.as_fd());
            slot.operations += 1;
            self.ring.push(Tag::Cancel, key, cancel);
        }
        for key in waiting.into_iter().flat_map(|waiting| *waiting) {
            self.close(sockets, key, Close::Orderly);
        }
    }

    fn wait(&mut self, sockets: &mut Sockets, timeout: Option<Duration>) -> io::Result<()> {
        self.replenish(sockets);
        self.arm_wake();
        let is_awaited = std::mem::take(&mut sockets.completion_awaited) && !self.untold.is_empty();
        let patience = timeout.map_or(BACK_OFF, |timeout| timeout.min(BACK_OFF));
        let timeout = if self.ring.push_backlog() && !is_awaited { timeout } else { Some(Duration::ZERO) };
        let want = if timeout == Some(Duration::ZERO) { HARVEST } else { 1 };
        let entered = self.ring.enter(want, timeout)?;
        let came = self.reap(sockets);
        if entered == Entered::Refused && came == 0 {
            std::thread::sleep(patience);
        }
        sockets.completion_awaited |= is_awaited && !self.untold.is_empty();
        self.settle(sockets)
    }

    fn local_address(&self, sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>> {
        socket::local_address(sockets.fd(key)?)
    }

    fn peer_address(&self, sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>> {
        socket::peer_address(sockets.fd(key)?)
    }

    fn finish(&mut self, sockets: &mut Sockets) -> bool {
        // The wake read is the last operation: it ends when the eventfd is written.
        self.wake.about_to_sleep();
        self.wake.wake();
        let deadline = std::time::Instant::now() + CLOSE_TIMEOUT;
        while self.ring.in_flight() > 0 && std::time::Instant::now() < deadline {
            self.ring.push_backlog();
            match self.ring.enter(1, Some(Duration::from_millis(10))) {
                Ok(Entered::Through) => {}
                Ok(Entered::Refused) => std::thread::sleep(BACK_OFF),
                Err(_) => break,
            }
            self.reap(sockets);
        }
        self.ring.in_flight() == 0
    }

    fn readiness_fd(&mut self) -> Option<BorrowedFd<'_>> {
        if self.readiness.is_none() {
            let readiness = Readiness::new(&self.wake).ok()?;
            self.ring.register_eventfd(&readiness.eventfd).ok()?;
            self.readiness = Some(readiness);
        }
        self.readiness.as_ref().map(|readiness| readiness.epoll.as_fd())
    }

    fn report(&self) -> DriverReport {
        DriverReport {
            driver: "io_uring",
            line: format!(
                "driver io_uring, {}, multishot accept and receive, {} buffers of {} bytes ({})",
                self.tier,
                self.buffers.pool.buffers(),
                self.buffers.pool.buffer_bytes(),
                self.why
            ),
        }
    }

    fn counters(&self) -> Arc<DriverCounters> {
        Arc::clone(&self.counters)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let released = self.ring.in_flight() == 0;
        // SAFETY: each field is dropped once, here, and not used after: the ring first, then what it referred to, unless
        // an operation is left that could still refer to it.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            if released {
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.wake_word);
            }
        }
    }
}
