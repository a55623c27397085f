//! The io_uring driver.
//!
//! One ring per core, used by the core's own thread only (`SINGLE_ISSUER | DEFER_TASKRUN` where the kernel has them).
//! Listeners have a multishot accept, streams a multishot receive out of one provided-buffer ring, and at most one send
//! in flight. Everything that the tasks of a turn ask for is queued and leaves with the one `enter` that also waits.
//!
//! # One system call for an isolated request
//! A send is first submitted with `MSG_DONTWAIT`: such an operation never parks in the kernel, its completion is
//! posted while it is submitted. So `wait` knows exactly how many completions are not news: it waits for one more than
//! the sends of this submission, and the enter that carries the answer also waits for the next request. A send that
//! went short or found the socket full is submitted again without the flag, for the rest, and then completes whenever
//! the peer has read. That this happened is news too, which the wait cannot tell from a send that went well. So it does
//! not count on sends that may well go short (large ones), nor where a task waits for its send, or a close or a FIN
//! does; and with all others it looks after them when nothing else has happened for a moment ([`PROMPT_WAIT_MAX`]).
//!
//! # The room and its unsafe
//! 1. Memory that an operation refers to lives until its last completion: send buffers and their `msghdr` in the slot
//!    ([`Sending`]), which is freed only when no operation is pending; receive buffers in the pool, which this driver
//!    holds; the eventfd's word in a box of the driver.
//! 2. The ring is closed before any of that is freed: `finish` waits for the last completions, bounded in time; if the
//!    kernel does not let go, the memory is leaked rather than freed (the slots by the executor, the rest by `Drop`).
//! 3. The provided-buffer ring is one page-aligned allocation; entries are written only behind the kernel's head (there
//!    are never more posted buffers than entries) and published by one release store of the tail.
//! 4. `user_data` is tag, generation and slot; a completion that finds another generation touches nothing but the
//!    buffer it may carry, which is given back.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::buffer::{Lease, ReceivePool, SendBuf};
use crate::driver::slot::{End, INBOUND_LEASES_MAX, Key, Repeating, SEND_PIECES_MAX, Sending, Sockets};
use crate::driver::{Close, Driver, DriverCounters, DriverReport, add, socket};
use crate::sys::address::Address;
use crate::sys::wake::WakeCell;

/// What an operation was: the top byte of its `user_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Tag {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Cancel = 4,
    Wake = 5,
    Connect = 6,
}

impl Tag {
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Accept),
            2 => Some(Self::Receive),
            3 => Some(Self::Send),
            4 => Some(Self::Cancel),
            5 => Some(Self::Wake),
            6 => Some(Self::Connect),
            _ => None,
        }
    }
}

/// `user_data`: tag (8) | generation (24) | slot (32).
const fn user_data(tag: Tag, key: Key) -> u64 {
    ((tag as u64) << 56) | ((key.generation as u64) << 32) | key.slot as u64
}

const fn key_of(user_data: u64) -> Key {
    Key { slot: user_data as u32, generation: ((user_data >> 32) & 0xff_ffff) as u32 }
}

/// The one group of provided buffers.
const BUFFER_GROUP: u16 = 0;
/// `IORING_RECV_MULTISHOT`, which the crate sets only on `RecvMulti`.
const RECV_MULTISHOT: u16 = 2;
/// `IORING_RECVSEND_BUNDLE`, which the crate sets only on operations without a length.
const RECV_BUNDLE: u16 = 16;
/// Completions that one non-blocking pass may harvest: a kernel since 6.13 runs at most `max(20, wanted)` task works.
const HARVEST: usize = 64;
/// How long `Drop` waits for the kernel to let go of memory.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// A send of more bytes may find too little room in a socket whose reader is quick: its completion is news.
const PROMPT_BYTES_MAX: usize = 16_384;
/// How long a small send that went short, and that nobody waits for, may go unnoticed. Its reader has left hundreds of
/// KiB unread. A core that is idle for so long spends one system call more; a busy one none.
const PROMPT_WAIT_MAX: Duration = Duration::from_millis(5);
/// Rounds in which a turn of somebody else's loop tries to leave nothing to do behind.
const SETTLE_ROUNDS_MAX: usize = 8;

/// Sizes of the ring; tests make them tiny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Entries of the submission queue. 256: a turn's sends and re-arms; when it is full it is submitted early.
    pub submissions: u32,
    /// Entries of the completion queue. 4,096: one multishot receive can post 33 completions in one pass.
    pub completions: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self { submissions: 256, completions: 4096 }
    }
}

/// Why io_uring cannot be had, and what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable {
    pub(crate) errno: i32,
    pub(crate) what: &'static str,
}

impl Unavailable {
    fn new(what: &'static str, error: &io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(0), what }
    }

    /// The operator's way out, by errno.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.errno {
            libc::EPERM | libc::EACCES => {
                "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, and set \
                 kernel.io_uring_disabled=0 (or join kernel.io_uring_group)"
            }
            libc::ENOMEM => "raise RLIMIT_MEMLOCK (ulimit -l)",
            libc::ENOSYS => "none: this kernel has no io_uring",
            libc::EINVAL => "none: this kernel is older than 6.0",
            _ => "none known",
        }
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: {error}; remedy: {}", self.what, self.remedy())
    }
}

/// The memory in which the kernel looks for buffers to fill.
struct BufferRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
    /// Buffers in the kernel's hands.
    posted: u16,
    /// The buffer of each entry, and the entry of each buffer: a bundle names only its first.
    buffers: Box<[u16]>,
    places: Box<[u16]>,
    pool: Rc<ReceivePool>,
}

impl BufferRing {
    fn new(pool: Rc<ReceivePool>) -> Self {
        let count = pool.buffers();
        let layout = Layout::array::<BufRingEntry>(usize::from(count))
            .and_then(|layout| layout.align_to(4096))
            .expect("2^15 entries of 16 bytes fit an isize");
        // SAFETY: the layout has a size above zero, a pool has at least two buffers.
        let entries = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(entries.cast()) else { handle_alloc_error(layout) };
        let none = || (0..count).collect();
        Self { entries, layout, mask: count - 1, tail: 0, posted: 0, buffers: none(), places: none(), pool }
    }

    /// Takes back `bytes` that the kernel has put into `first` and, if they are more than it holds, into the buffers
    /// posted behind it.
    fn take(&mut self, first: u16, bytes: u32, mut taken: impl FnMut(Lease)) {
        let size = self.pool.buffer_bytes();
        let mut place = self.places[usize::from(first)];
        let mut left = bytes;
        loop {
            let length = left.min(size);
            self.posted -= 1;
            taken(self.pool.lend(self.buffers[usize::from(place)], length));
            left -= length;
            if left == 0 {
                return;
            }
            place = (place + 1) & self.mask;
        }
    }

    /// Posts all free buffers; one store publishes them.
    fn replenish(&mut self) {
        let before = self.tail;
        while let Some(buffer) = self.pool.take_free() {
            // SAFETY: the index is masked to the allocation; there are as many entries as buffers and this buffer was
            // free, so its entry is behind the kernel's head. Setters are used because entry 0 overlays the tail.
            let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(self.tail & self.mask)) };
            entry.set_addr(self.pool.address(buffer).as_ptr() as u64);
            entry.set_len(self.pool.buffer_bytes());
            entry.set_bid(buffer);
            self.buffers[usize::from(self.tail & self.mask)] = buffer;
            self.places[usize::from(buffer)] = self.tail & self.mask;
            self.tail = self.tail.wrapping_add(1);
            self.posted += 1;
        }
        if before != self.tail {
            // SAFETY: the pointer is to the tail field inside entry 0 of our allocation, which is aligned for a u16 and
            // which the kernel only reads; all other access to it goes through this atomic.
            let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
            tail.store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring that used it is closed before (rule 2).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}

/// Memory of a vectored send that the kernel reads.
struct Vectored {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

/// What somebody else's loop waits on.
struct Readiness {
    /// Holds the two below: readable when one of them is.
    epoll: OwnedFd,
    /// Registered with the ring.
    eventfd: OwnedFd,
}

impl Readiness {
    /// The core's wake descriptor is in the set as well, although the ring reads it: a ring's eventfd that is to be
    /// signalled from within another eventfd's signal is signalled once, through RCU, and (6.18) never again.
    fn new(wake: &WakeCell) -> io::Result<Self> {
        // Readable from the start: the first turn arms what is to be heard of.
        let eventfd = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        epoll::add(&epoll, wake, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        Ok(Self { epoll, eventfd })
    }
}

/// The driver. See the module's text.
pub(crate) struct Uring {
    ring: std::mem::ManuallyDrop<IoUring>,
    buffers: std::mem::ManuallyDrop<BufferRing>,
    wake: Arc<WakeCell>,
    wake_word: std::mem::ManuallyDrop<Box<u64>>,
    wake_armed: bool,
    /// Registered with the ring when somebody else's loop asks for it.
    readiness: Option<Readiness>,
    /// Sends in the submission queue that complete while they are submitted.
    prompt: usize,
    /// Streams whose multishot receive ended for want of a buffer.
    starved: Vec<Key>,
    /// Operations that did not fit into the submission queue.
    backlog: VecDeque<squeue::Entry>,
    /// Reused: completions copied out of the queue before they are looked at.
    harvest: Vec<(u64, i32, u32)>,
    operations_in_flight: usize,
    /// Bytes that one receive may take together; 0 where the kernel hands over one buffer at a time.
    bundle_bytes: u32,
    tier: String,
    counters: Arc<DriverCounters>,
}

impl Uring {
    /// Sets the ring up on the thread that will use it, with the best flags the kernel takes.
    pub(crate) fn new(config: RingConfig, pool: &Rc<ReceivePool>, wake: &Arc<WakeCell>) -> Result<Self, Unavailable> {
        let (mut ring, tier) = set_up(config)?;
        let mut buffers = BufferRing::new(Rc::clone(pool));
        // SAFETY: the ring of entries is page-aligned, has exactly `buffers` entries and lives until the ring is closed.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.entries.as_ptr() as u64,
                pool.buffers(),
                BUFFER_GROUP,
                0,
            )
        };
        registered.map_err(|error| Unavailable::new("registering the buffer ring", &error))?;
        buffers.replenish();
        let bundle_bytes = pool.buffer_bytes() * INBOUND_LEASES_MAX as u32;
        let bundle_bytes = if takes_bundles(&mut ring, &mut buffers, bundle_bytes) { bundle_bytes } else { 0 };
        Ok(Self {
            ring: std::mem::ManuallyDrop::new(ring),
            buffers: std::mem::ManuallyDrop::new(buffers),
            wake: Arc::clone(wake),
            wake_word: std::mem::ManuallyDrop::new(Box::new(0)),
            wake_armed: false,
            readiness: None,
            prompt: 0,
            starved: Vec::new(),
            backlog: VecDeque::new(),
            harvest: Vec::new(),
            operations_in_flight: 0,
            bundle_bytes,
            tier,
            counters: Arc::default(),
        })
    }

    /// Queues an operation; a full queue is submitted first, and what still does not fit waits for the next turn, so that
    /// none is lost. True if it is in the queue now.
    fn push(&mut self, entry: squeue::Entry) -> bool {
        self.operations_in_flight += 1;
        if self.backlog.is_empty() {
            for _ in 0..2 {
                // SAFETY: what the entry refers to is kept as the room's first rule says.
                if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                    return true;
                }
                // An error shows again at the next wait, which reports it.
                let _ = self.enter(0, None);
            }
        }
        self.backlog.push_back(entry);
        false
    }

    /// Queues what did not fit before; true when nothing is left over.
    fn push_backlog(&mut self) -> bool {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                return false;
            }
            self.backlog.pop_front();
        }
        true
    }

    /// The one system call: submits everything queued, waits for `want` completions, at most `timeout`.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let queued = self.ring.submission().len();
        let timespec = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        add(&self.counters.enters, 1);
        // SAFETY: the arguments and the timespec they point to live across the call; queued entries obey rule 1.
        let entered = unsafe {
            self.ring.submitter().enter(
                queued as u32,
                want as u32,
                (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits(),
                Some(&arguments),
            )
        };
        self.prompt = 0;
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up, a signal came, or the completion queue must be emptied first: look at the queue.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn arm_wake(&mut self) {
        if !self.wake_armed {
            let word: *mut u64 = &mut **self.wake_word;
            let read = opcode::Read::new(Fd(self.wake.as_fd().as_raw_fd()), word.cast(), 8).build();
            self.push(read.user_data(user_data(Tag::Wake, Key { slot: 0, generation: 0 })));
            self.wake_armed = true;
        }
    }

    /// Gives returned buffers to the kernel, and re-arms streams that were parked for want of one.
    fn replenish(&mut self, sockets: &mut Sockets) {
        self.buffers.replenish();
        if self.buffers.posted > 0 {
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
    }

    /// Before somebody else's loop sleeps: everything is submitted and reaped, and the readiness descriptor is clear.
    ///
    /// The kernel writes the descriptor when its list of deferred work becomes non-empty, and once for what it posts
    /// while we enter. So it is cleared only when nothing is left, and then we look once more: what came before the
    /// clearing is found, what comes after writes it again.
    fn settle(&mut self, sockets: &mut Sockets) -> io::Result<()> {
        for _ in 0..SETTLE_ROUNDS_MAX {
            self.replenish(sockets);
            self.arm_wake();
            let is_clear = self.push_backlog() && self.has_nothing_to_do();
            if let (true, Some(readiness)) = (is_clear, &self.readiness) {
                // EAGAIN: it was clear.
                let _ = rustix::io::read(&readiness.eventfd, &mut [0_u8; 8]);
                if self.has_nothing_to_do() {
                    return Ok(());
                }
            }
            self.enter(HARVEST, Some(Duration::ZERO))?;
            self.reap(sockets);
        }
        if let Some(readiness) = &self.readiness {
            // A busy ring: the loop comes again at once. A full counter (EAGAIN) is as good.
            let _ = rustix::io::write(&readiness.eventfd, &1_u64.to_ne_bytes());
        }
        Ok(())
    }

    /// Nothing to submit, nothing to reap, no work that the kernel has put off.
    fn has_nothing_to_do(&mut self) -> bool {
        let submission = self.ring.submission();
        let quiet = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        quiet && self.ring.completion().is_empty()
    }

    /// Copies the completions out, then stores what each says. No code of a task runs here.
    fn reap(&mut self, sockets: &mut Sockets) {
        let mut harvest = std::mem::take(&mut self.harvest);
        {
            let mut queue = self.ring.completion();
            if queue.overflow() > 0 {
                self.counters.overflows.store(u64::from(queue.overflow()), Ordering::Relaxed);
            }
            queue.sync();
            harvest.extend(queue.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        }
        add(&self.counters.completions, harvest.len() as u64);
        for (user_data, result, flags) in harvest.drain(..) {
            if !cqueue::more(flags) {
                self.operations_in_flight -= 1;
            }
            self.complete(sockets, user_data, result, flags);
        }
        self.harvest = harvest;
    }

    fn complete(&mut self, sockets: &mut Sockets, user_data: u64, result: i32, flags: u32) {
        let key = key_of(user_data);
        match Tag::from_bits((user_data >> 56) as u8) {
            Some(Tag::Receive) => self.received(sockets, key, result, flags),
            Some(Tag::Send) => self.sent(sockets, key, result),
            Some(Tag::Accept) => self.accepted(sockets, key, result, flags),
            Some(Tag::Cancel) => self.ended(sockets, key),
            Some(Tag::Wake) => self.wake_armed = false,
            Some(Tag::Connect) => self.connected(sockets, key),
            None => debug_assert!(false, "an operation without a tag"),
        }
    }

    fn received(&mut self, sockets: &mut Sockets, key: Key, result: i32, flags: u32) {
        let mut slot = sockets.get(key);
        let buffer = cqueue::buffer_select(flags);
        if let Some(buffer) = buffer {
            // A late completion gives its buffers back.
            self.buffers.take(buffer, result.max(0) as u32, |lease| match &mut slot {
                Some(slot) if !lease.is_empty() => slot.arrived(lease),
                _ => {}
            });
        }
        let Some(slot) = slot else { return };
        let more = cqueue::more(flags);
        match (result, buffer) {
            (1.., Some(_)) => {
                add(&self.counters.receives, 1);
                add(&self.counters.receive_bytes, result as u64);
            }
            (0, _) => slot.ended(End::Finished),
            (result, _) => match Errno::from_raw_os_error(-result) {
                Errno::NOBUFS => add(&self.counters.enobufs, 1),
                // We asked it to stop, or the kernel was interrupted: the next poll arms it again.
                Errno::CANCELED | Errno::INTR | Errno::AGAIN => {}
                errno => slot.ended(End::Failed(errno)),
            },
        }
        if more {
            if slot.is_behind() && slot.receiving == Repeating::Armed {
                self.pause_receive(sockets, key);
            }
            return;
        }
        slot.operations -= 1;
        let starved = -result == libc::ENOBUFS && slot.receiving == Repeating::Armed && !slot.closing;
        slot.receiving = if starved { Repeating::Starved } else { Repeating::Idle };
        if starved {
            self.starved.push(key);
        } else if !slot.closing && slot.end.is_none() && slot.inbound() == 0 {
            // It ended by itself while somebody waits.
            if slot.receive_waker.is_some() {
                self.arm_receive(sockets, key);
            }
        }
        self.free_if_closed(sockets, key);
    }

    fn sent(&mut self, sockets: &mut Sockets, key: Key, result: i32) {
        let Some(slot) = sockets.get(key) else { return };
        slot.operations -= 1;
        let Some(sending) = &mut slot.sending else { return };
        let outcome = match result {
            0.. => {
                sending.sent += result as usize;
                add(&self.counters.send_bytes, result as u64);
                if sending.sent == sending.buf.len() { Some(Ok(())) } else { None }
            }
            _ => match Errno::from_raw_os_error(-result) {
                Errno::AGAIN | Errno::INTR => None,
                errno => Some(Err(errno)),
            },
        };
        match outcome {
            None if !slot.closing => self.submit_send(sockets, key, Prompt::No),
            None => {
                if let Some(buf) = slot.sent(Err(Errno::CANCELED)) {
                    sockets.recycle(buf);
                }
            }
            Some(result) => {
                if let Some(buf) = slot.sent(result) {
                    sockets.recycle(buf);
                }
            }
        }
        self.free_if_closed(sockets, key);
    }

    fn accepted(&mut self, sockets: &mut Sockets, key: Key, result: i32, flags: u32) {
        let fd = (result >= 0).then(|| {
            add(&self.counters.accepts, 1);
            // SAFETY: a successful accept gives a descriptor that is ours and that nobody else knows of.
            unsafe { OwnedFd::from_raw_fd(result) }
        });
        let taken = match fd {
            Some(fd) if sockets.get(key).is_some_and(|slot| !slot.closing) => Some(sockets.insert(Some(fd))),
            _ => None,
        };
        let Some(slot) = sockets.get(key) else { return };
        if let Some(taken) = taken {
            slot.accepted.get_or_insert_default().push_back(taken);
            slot.wake_receiver();
        }
        if result < 0 && !matches!(-result, libc::ECANCELED | libc::EINTR | libc::EAGAIN | libc::ECONNABORTED) {
            add(&self.counters.accept_errors, 1);
            slot.send_error = Some(Errno::from_raw_os_error(-result));
            slot.wake_receiver();
        }
        if cqueue::more(flags) {
            if slot.is_behind() && slot.receiving == Repeating::Armed {
                self.cancel(sockets, key, Tag::Accept);
            }
            return;
        }
        slot.operations -= 1;
        slot.receiving = Repeating::Idle;
        let again = !slot.closing && slot.send_error.is_none() && !slot.is_behind();
        if again {
            self.arm_accept(sockets, key);
        }
        self.free_if_closed(sockets, key);
    }

    /// The socket became writable, or failed: either way the connect has ended.
    fn connected(&mut self, sockets: &mut Sockets, key: Key) {
        let Some(slot) = sockets.get(key) else { return };
        slot.operations -= 1;
        let result = slot
            .fd
            .as_ref()
            .map_or(Err(Errno::BADF), |fd| socket::connected(fd).and_then(|()| rustix::io::ioctl_fionbio(fd, false)));
        slot.connected(result);
        self.free_if_closed(sockets, key);
    }

    /// The completion of a cancel says nothing; only the operation's own last completion does.
    fn ended(&mut self, sockets: &mut Sockets, key: Key) {
        if let Some(slot) = sockets.get(key) {
            slot.operations -= 1;
            self.free_if_closed(sockets, key);
        }
    }

    fn cancel(&mut self, sockets: &mut Sockets, key: Key, tag: Tag) {
        let slot = sockets.owned(key);
        slot.receiving = Repeating::Pausing;
        slot.operations += 1;
        add(&self.counters.pauses, 1);
        let cancel = opcode::AsyncCancel::new(user_data(tag, key)).build();
        self.push(cancel.user_data(user_data(Tag::Cancel, key)));
    }

    fn free_if_closed(&mut self, sockets: &mut Sockets, key: Key) {
        if let Some(slot) = sockets.get(key)
            && slot.closing
            && slot.operations == 0
        {
            sockets.remove(key);
        }
    }

    /// Submits what is left of the slot's send.
    fn submit_send(&mut self, sockets: &mut Sockets, key: Key, prompt: Prompt) {
        let slot = sockets.owned(key);
        let (Some(fd), Some(sending)) = (&slot.fd, &mut slot.sending) else { return };
        let fd = Fd(fd.as_raw_fd());
        let flags = libc::MSG_NOSIGNAL
            | match prompt {
                Prompt::Yes => libc::MSG_DONTWAIT,
                Prompt::No => libc::MSG_WAITALL,
            };
        let entry = if let Some(bytes) = sending.buf.single() {
            let rest = &bytes[sending.sent..];
            opcode::Send::new(fd, rest.as_ptr(), rest.len().min(u32::MAX as usize) as u32).flags(flags).build()
        } else {
            let header = vectored(sending);
            opcode::SendMsg::new(fd, header).flags(flags as u32).build()
        };
        slot.operations += 1;
        if self.push(entry.user_data(user_data(Tag::Send, key))) && prompt == Prompt::Yes {
            self.prompt += 1;
        }
    }
}

/// Whether a send completes while it is submitted, whatever the socket says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prompt {
    Yes,
    No,
}

/// Writes header and pieces of what is left into memory that stays with the send.
fn vectored(sending: &mut Sending) -> *const libc::msghdr {
    // SAFETY: an all-zero msghdr is a valid one: no name, no control data, no pieces.
    let header = unsafe { std::mem::zeroed() };
    let mut vectored = Box::new(Vectored { header, pieces: Vec::new() });
    let mut skip = sending.sent;
    for piece in sending.buf.pieces() {
        let rest = piece.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(piece.len());
        if !rest.is_empty() && vectored.pieces.len() < SEND_PIECES_MAX {
            vectored.pieces.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
        }
    }
    vectored.header.msg_iov = vectored.pieces.as_mut_ptr();
    vectored.header.msg_iovlen = vectored.pieces.len();
    let header: *const libc::msghdr = &vectored.header;
    sending.vectored = Some(vectored);
    header
}

/// A multishot receive; with `bundle_bytes` each completion may span several buffers, up to so many bytes.
fn receive(fd: &OwnedFd, bundle_bytes: u32) -> squeue::Entry {
    let bundle = if bundle_bytes > 0 { RECV_BUNDLE } else { 0 };
    opcode::Recv::new(Fd(fd.as_raw_fd()), std::ptr::null_mut(), bundle_bytes)
        .ioprio(RECV_MULTISHOT | bundle)
        .buf_group(BUFFER_GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}

/// Whether a multishot receive may fill several buffers, and lets itself be bounded. It may since 6.10, but only 6.17
/// knows the bound (without it one connection could take all buffers), and releases before had faults; older ones refuse
/// the length. So a pair of sockets is asked.
fn takes_bundles(ring: &mut IoUring, buffers: &mut BufferRing, bundle_bytes: u32) -> bool {
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let Ok((near, far)) = pair else { return false };
    if rustix::io::write(&far, b"?") != Ok(1) {
        return false;
    }
    drop(far);
    // SAFETY: the operation refers to the buffers alone, which outlive the ring; its socket is at its end, so that it has
    // ended when a completion without MORE has come.
    let pushed = unsafe { ring.submission().push(&receive(&near, bundle_bytes)) };
    let mut is_bundled = false;
    let mut has_ended = pushed.is_err();
    while !has_ended && ring.submit_and_wait(1).is_ok() {
        for entry in ring.completion() {
            if let Some(buffer) = cqueue::buffer_select(entry.flags()) {
                is_bundled |= entry.result() == 1;
                buffers.take(buffer, entry.result().max(0) as u32, drop);
            }
            has_ended |= !cqueue::more(entry.flags());
        }
    }
    buffers.replenish();
    is_bundled
}

/// Tries the flags best first and drops them one by one, newest first, as the kernel refuses them.
fn set_up(config: RingConfig) -> Result<(IoUring, String), Unavailable> {
    type Apply = fn(&mut io_uring::Builder);
    let tiers: [(&str, Apply); 3] = [
        ("SINGLE_ISSUER|DEFER_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL", |builder| {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
        ("SINGLE_ISSUER|COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL", |builder| {
            builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
        ("COOP_TASKRUN|TASKRUN_FLAG|SUBMIT_ALL", |builder| {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }),
    ];
    let mut refused = None;
    for (name, apply) in tiers {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(config.completions).setup_clamp().dontfork();
        apply(&mut builder);
        match builder.build(config.submissions) {
            Ok(ring) => {
                probe(&ring)?;
                return Ok((ring, name.to_owned()));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(Unavailable::new("io_uring_setup", &error)),
        }
    }
    let error = refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
    Err(Unavailable::new("io_uring_setup refused every set of flags", &error))
}

/// Behaviour, not version numbers: without these there is no driver.
fn probe(ring: &IoUring) -> Result<(), Unavailable> {
    let unsupported = |what| Unavailable { errno: libc::EINVAL, what };
    let parameters = ring.params();
    if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() {
        return Err(unsupported("the kernel's io_uring lacks EXT_ARG or NODROP"));
    }
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| Unavailable::new("io_uring probe", &error))?;
    let needed = [opcode::Accept::CODE, opcode::Recv::CODE, opcode::Send::CODE, opcode::SendMsg::CODE];
    if needed.iter().all(|code| probe.is_supported(*code)) && probe.is_supported(opcode::SendZc::CODE) {
        // SEND_ZC came with 6.0, as did multishot receive, which no probe shows.
        Ok(())
    } else {
        Err(unsupported("the kernel's io_uring lacks multishot receive"))
    }
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
        let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLOUT as u32).build();
        let key = sockets.insert(Some(fd));
        let slot = sockets.owned(key);
        slot.connecting = true;
        slot.operations += 1;
        self.push(poll.user_data(user_data(Tag::Connect, key)));
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
        let accept = opcode::AcceptMulti::new(Fd(fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        slot.receiving = Repeating::Armed;
        slot.operations += 1;
        self.push(accept.user_data(user_data(Tag::Accept, key)));
    }

    fn arm_receive(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        let Some(fd) = slot.fd.as_ref().filter(|_| slot.receiving == Repeating::Idle && slot.end.is_none()) else {
            return;
        };
        let receive = receive(fd, self.bundle_bytes);
        slot.receiving = Repeating::Armed;
        slot.operations += 1;
        self.push(receive.user_data(user_data(Tag::Receive, key)));
    }

    fn pause_receive(&mut self, sockets: &mut Sockets, key: Key) {
        match sockets.owned(key).receiving {
            Repeating::Armed => self.cancel(sockets, key, Tag::Receive),
            Repeating::Starved => sockets.owned(key).receiving = Repeating::Idle,
            Repeating::Idle | Repeating::Pausing => {}
        }
    }

    fn send(&mut self, sockets: &mut Sockets, key: Key, buf: SendBuf) {
        let slot = sockets.owned(key);
        debug_assert!(slot.sending.is_none());
        add(&self.counters.sends, 1);
        let is_large = buf.len() > PROMPT_BYTES_MAX;
        slot.sending = Some(Box::new(Sending { buf, sent: 0, vectored: None }));
        self.submit_send(sockets, key, Prompt::Yes);
        sockets.completion_awaited |= is_large;
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
        slot.forget_inbound();
        slot.receive_waker = None;
        slot.send_waker = None;
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
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(fd.as_raw_fd())).all()).build();
            slot.operations += 1;
            self.push(cancel.user_data(user_data(Tag::Cancel, key)));
            sockets.completion_awaited = true;
        }
        for key in waiting.into_iter().flat_map(|waiting| *waiting) {
            self.close(sockets, key, Close::Orderly);
        }
    }

    fn wait(&mut self, sockets: &mut Sockets, timeout: Option<Duration>) -> io::Result<()> {
        self.replenish(sockets);
        self.arm_wake();
        let timeout = if self.push_backlog() { timeout } else { Some(Duration::ZERO) };
        let (want, timeout) = match timeout {
            Some(Duration::ZERO) => (HARVEST, timeout),
            // Somebody waits for one of these sends: their completions are news.
            _ if std::mem::take(&mut sockets.completion_awaited) => (self.prompt.max(1), timeout),
            _ if self.prompt == 0 => (1, timeout),
            _ => (self.prompt + 1, Some(timeout.map_or(PROMPT_WAIT_MAX, |timeout| timeout.min(PROMPT_WAIT_MAX)))),
        };
        self.enter(want, timeout)?;
        self.reap(sockets);
        if self.readiness.is_some() { self.settle(sockets) } else { Ok(()) }
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
        while self.operations_in_flight > 0 && std::time::Instant::now() < deadline {
            self.push_backlog();
            if self.enter(1, Some(Duration::from_millis(10))).is_err() {
                break;
            }
            self.reap(sockets);
        }
        self.operations_in_flight == 0
    }

    fn readiness_fd(&mut self) -> Option<RawFd> {
        if self.readiness.is_none() {
            let readiness = Readiness::new(&self.wake).ok()?;
            self.ring.submitter().register_eventfd(readiness.eventfd.as_raw_fd()).ok()?;
            self.readiness = Some(readiness);
        }
        self.readiness.as_ref().map(|readiness| readiness.epoll.as_raw_fd())
    }

    fn report(&self) -> DriverReport {
        DriverReport {
            driver: "io_uring",
            line: format!(
                "driver io_uring, {}, multishot accept and receive{}, {} buffers of {} bytes",
                self.tier,
                if self.bundle_bytes > 0 { " in bundles" } else { "" },
                self.buffers.pool.buffers(),
                self.buffers.pool.buffer_bytes()
            ),
        }
    }

    fn counters(&self) -> Arc<DriverCounters> {
        Arc::clone(&self.counters)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // SAFETY: each field is dropped once, here, and not used after: the ring first, then what it referred to.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.ring) };
        if self.operations_in_flight == 0 {
            // SAFETY: as above; no operation is left that could refer to this memory.
            unsafe {
                std::mem::ManuallyDrop::drop(&mut self.buffers);
                std::mem::ManuallyDrop::drop(&mut self.wake_word);
            }
        }
    }
}
