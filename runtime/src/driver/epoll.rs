//! The epoll driver: equal in what it offers, for where io_uring is forbidden.
//!
//! Level-triggered. A ready stream gets one receive per wait, so that no connection starves the others. The sends of a
//! turn leave one after the other before the wait, as a submission of io_uring does: application code and the kernel's
//! sending path each stay in the processor's cache, and a peer is woken once for what would else be many wakes.
//! `EPOLLOUT` is asked for only after the socket was full. What a descriptor is registered for changes only when a
//! reader falls behind or catches up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags};

use crate::buffer::{Lease, ReceivePool, SendBuf};
use crate::driver::slot::{End, INBOUND_LEASES_MAX, Key, Repeating, SEND_PIECES_MAX, Sending, Slot, Sockets};
use crate::driver::{Close, Driver, DriverCounters, DriverReport, add, socket};
use crate::sys::address::Address;
use crate::sys::wake::WakeCell;

/// Events taken by one wait. 256: a turn stays short, the rest is still there at the next one.
const EVENTS_MAX: usize = 256;
/// Connections accepted from one listener in one wait, so that a burst of them does not hold up those that are served.
const ACCEPTS_PER_WAIT_MAX: usize = 64;
/// The longest wait; see where it is used.
const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// The wake descriptor's event data: no slot has this index.
const WAKE: u64 = u64::MAX;

/// Registered for reading.
const READ: u8 = 1;
/// Registered for writing.
const WRITE: u8 = 2;
/// Registered at all.
const REGISTERED: u8 = 4;

const fn event_data(key: Key) -> u64 {
    ((key.generation as u64) << 32) | key.slot as u64
}

const fn key_of(data: u64) -> Key {
    Key { slot: data as u32, generation: (data >> 32) as u32 }
}

/// The driver. See the module's text.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    wake: Arc<WakeCell>,
    pool: Rc<ReceivePool>,
    events: Vec<epoll::Event>,
    /// Streams that were ready when no receive buffer was free; tried again at the next wait.
    starved: Vec<Key>,
    /// Streams with a send that has begun since the last wait; the kernel has seen nothing of it yet.
    unsent: Vec<Key>,
    why: String,
    counters: Arc<DriverCounters>,
}

impl Epoll {
    pub(crate) fn new(pool: &Rc<ReceivePool>, wake: &Arc<WakeCell>, why: String) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, wake.as_fd(), EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self {
            epoll,
            wake: Arc::clone(wake),
            pool: Rc::clone(pool),
            events: Vec::with_capacity(EVENTS_MAX),
            starved: Vec::new(),
            unsent: Vec::new(),
            why,
            counters: Arc::default(),
        })
    }

    /// Brings the registration to what the slot wants; costs a system call only when that has changed.
    fn register(&self, slot: &mut Slot, key: Key, wanted: u8) {
        let Some(fd) = &slot.fd else { return };
        if slot.interest == wanted | REGISTERED {
            return;
        }
        let mut flags = EventFlags::empty();
        if wanted & READ != 0 {
            flags |= EventFlags::IN;
        }
        if wanted & WRITE != 0 {
            flags |= EventFlags::OUT;
        }
        let data = EventData::new_u64(event_data(key));
        let done = if slot.interest & REGISTERED == 0 {
            if slot.accepted.is_some() {
                // A listener may be shared by several cores: one of them is enough.
                flags |= EventFlags::EXCLUSIVE;
            }
            epoll::add(&self.epoll, fd, data, flags)
        } else if slot.accepted.is_some() {
            // An exclusive registration cannot be modified.
            slot.interest = 0;
            epoll::delete(&self.epoll, fd)
                .and_then(|()| if wanted == 0 { Ok(()) } else { epoll::add(&self.epoll, fd, data, flags) })
        } else {
            epoll::modify(&self.epoll, fd, data, flags)
        };
        match done {
            Ok(()) if slot.accepted.is_some() && wanted == 0 => {}
            Ok(()) => slot.interest = wanted | REGISTERED,
            Err(errno) => slot.ended(End::Failed(errno)),
        }
    }

    fn receive(&mut self, sockets: &mut Sockets, key: Key) {
        let Some(slot) = sockets.get(key) else { return };
        if slot.receiving != Repeating::Armed {
            return self.register_for(sockets, key);
        }
        let received = match slot.is_bulky {
            // A buffer that is filled to its end says that there is more.
            false => {
                let is_full = self.receive_one(slot);
                is_full
                    .and_then(|is_full| if is_full && !slot.is_behind() { self.receive_several(slot) } else { Ok(()) })
            }
            true => self.receive_several(slot),
        };
        match received {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOBUFS) => {
                add(&self.counters.enobufs, 1);
                self.starved.push(key);
            }
            Err(errno) => {
                slot.receiving = Repeating::Idle;
                slot.ended(End::Failed(errno));
            }
        }
        if slot.is_behind() {
            add(&self.counters.pauses, 1);
            slot.receiving = Repeating::Idle;
        }
        self.register_for(sockets, key);
    }

    /// One `recv`. True when it has filled its buffer.
    fn receive_one(&self, slot: &mut Slot) -> Result<bool, Errno> {
        let Some(fd) = &slot.fd else { return Ok(false) };
        let Some(buffer) = self.pool.take_free() else { return Err(Errno::NOBUFS) };
        let received = receive_into(fd.as_fd(), &self.pool, buffer);
        match received {
            Ok(length @ 1..) => self.arrived(slot, self.pool.lend(buffer, length)),
            _ => self.pool.give_back(buffer),
        }
        if received? == 0 {
            slot.receiving = Repeating::Idle;
            slot.ended(End::Finished);
        }
        Ok(received == Ok(self.pool.buffer_bytes()))
    }

    /// One `readv` for as much as the slot may hold.
    fn receive_several(&self, slot: &mut Slot) -> Result<(), Errno> {
        let Some(fd) = &slot.fd else { return Ok(()) };
        let receive = |parts: &mut [io::IoSliceMut<'_>]| match parts {
            [] => Err(Errno::NOBUFS),
            parts => rustix::io::readv(fd, parts),
        };
        let room = INBOUND_LEASES_MAX - slot.inbound();
        let leases = self.pool.fill_several::<INBOUND_LEASES_MAX, Errno>(room, receive)?;
        slot.is_bulky = leases[1].is_some();
        if leases[0].is_none() {
            slot.receiving = Repeating::Idle;
            slot.ended(End::Finished);
        }
        leases.into_iter().flatten().for_each(|lease| self.arrived(slot, lease));
        Ok(())
    }

    fn arrived(&self, slot: &mut Slot, lease: Lease) {
        add(&self.counters.receives, 1);
        add(&self.counters.receive_bytes, lease.len() as u64);
        slot.arrived(lease);
    }

    /// Registers for what the slot's states ask for. Reading stays registered while idle: level-triggered readiness of
    /// a paused stream is switched off when it first shows.
    fn register_for(&self, sockets: &mut Sockets, key: Key) {
        let Some(slot) = sockets.get(key) else { return };
        let read = if slot.receiving == Repeating::Armed { READ } else { 0 };
        let write = if slot.sending.is_some() || slot.connecting { WRITE } else { 0 };
        self.register(slot, key, read | write);
    }

    fn accept(&self, sockets: &mut Sockets, key: Key) {
        for _ in 0..ACCEPTS_PER_WAIT_MAX {
            let Some(slot) = sockets.get(key) else { return };
            if slot.receiving != Repeating::Armed {
                break;
            }
            if slot.is_behind() {
                slot.receiving = Repeating::Idle;
                break;
            }
            let Some(listener) = &slot.fd else { return };
            match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    add(&self.counters.accepts, 1);
                    let taken = sockets.insert(Some(fd));
                    let slot = sockets.owned(key);
                    slot.accepted.get_or_insert_default().push_back(taken);
                    slot.wake_receiver();
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => {
                    add(&self.counters.accept_errors, 1);
                    slot.receiving = Repeating::Idle;
                    slot.send_error = Some(errno);
                    slot.wake_receiver();
                    break;
                }
            }
        }
        self.register_for(sockets, key);
    }

    /// Sends what the socket takes now. True when that was all, and somebody waited for it.
    fn continue_send(&self, sockets: &mut Sockets, key: Key) -> bool {
        let Some(slot) = sockets.get(key) else { return false };
        let (Some(fd), Some(sending)) = (&slot.fd, &mut slot.sending) else {
            self.register_for(sockets, key);
            return false;
        };
        let outcome = match send_rest(fd.as_fd(), sending) {
            Ok(sent) => {
                sending.sent += sent;
                add(&self.counters.send_bytes, sent as u64);
                (sending.sent == sending.buf.len()).then_some(Ok(()))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => Some(Err(errno)),
        };
        let is_registered = slot.interest & WRITE != 0;
        let has_woken = outcome.is_some_and(|outcome| sockets.end_send(key, outcome));
        if outcome.is_none() || is_registered {
            self.register_for(sockets, key);
        }
        has_woken
    }

    /// Hands the sends of this turn to the kernel. True when somebody who waited for one of them can go on.
    fn send_all(&mut self, sockets: &mut Sockets) -> bool {
        let mut unsent = std::mem::take(&mut self.unsent);
        // Whose owner has closed it meanwhile finds no slot.
        let has_woken = unsent.drain(..).fold(false, |has_woken, key| self.continue_send(sockets, key) | has_woken);
        self.unsent = unsent;
        has_woken
    }

    fn wait_for_events(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // What milliseconds in an `i32` cannot say would need a system call that is younger than this driver's oldest
        // kernels, and that some filters of system calls do not know. Waking once a day costs nothing.
        let timeout = timeout.map(|timeout| timeout.min(TIMEOUT_MAX));
        let timespec = match timeout.map(rustix::event::Timespec::try_from) {
            Some(Ok(timespec)) => Some(timespec),
            Some(Err(_)) | None => None,
        };
        self.events.clear();
        add(&self.counters.enters, 1);
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, timespec.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// One `recv` into a buffer of the pool.
fn receive_into(fd: BorrowedFd<'_>, pool: &ReceivePool, buffer: u16) -> Result<u32, Errno> {
    pool.fill(buffer, |bytes| rustix::net::recv(fd, bytes, RecvFlags::DONTWAIT).map(|(length, _)| length as u32))
}

/// One `send` or `sendmsg` of what is left.
fn send_rest(fd: BorrowedFd<'_>, sending: &Sending) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if let Some(bytes) = sending.buf.single() {
        return rustix::net::send(fd, &bytes[sending.sent..], flags);
    }
    let mut skip = sending.sent;
    let mut pieces = Vec::new();
    for piece in sending.buf.pieces() {
        let rest = piece.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(piece.len());
        if !rest.is_empty() && pieces.len() < SEND_PIECES_MAX {
            pieces.push(io::IoSlice::new(rest));
        }
    }
    rustix::net::sendmsg(fd, &pieces, &mut SendAncillaryBuffer::default(), flags)
}

impl Driver for Epoll {
    fn listen(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        self.adopt_listener(sockets, socket::listen(address)?)
    }

    fn connect(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        let (fd, done) = socket::connect(address)?;
        let key = sockets.insert(Some(fd));
        if !done {
            sockets.owned(key).connecting = true;
            self.register_for(sockets, key);
        }
        Ok(key)
    }

    fn adopt_listener(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let key = sockets.insert(Some(fd));
        sockets.owned(key).accepted = Some(Box::default());
        Ok(key)
    }

    fn adopt_stream(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let key = sockets.insert(Some(fd));
        sockets.owned(key).is_shared = true;
        Ok(key)
    }

    fn arm_accept(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        if slot.receiving == Repeating::Idle {
            slot.receiving = Repeating::Armed;
            self.register_for(sockets, key);
        }
    }

    fn arm_receive(&mut self, sockets: &mut Sockets, key: Key) {
        let slot = sockets.owned(key);
        if slot.receiving == Repeating::Idle && slot.end.is_none() {
            slot.receiving = Repeating::Armed;
            self.register_for(sockets, key);
        }
    }

    fn pause_receive(&mut self, sockets: &mut Sockets, key: Key) {
        // The registration follows when readiness next shows: most pauses are over before that.
        sockets.owned(key).receiving = Repeating::Idle;
    }

    fn send(&mut self, sockets: &mut Sockets, key: Key, buf: SendBuf) {
        add(&self.counters.sends, 1);
        sockets.begin_send(key, buf);
        self.unsent.push(key);
    }

    fn shutdown_write(&mut self, sockets: &mut Sockets, key: Key) {
        sockets.owned(key).shutdown_write();
    }

    fn close(&mut self, sockets: &mut Sockets, key: Key, how: Close) {
        if how == Close::Orderly && sockets.owned(key).sending.is_some() {
            // What was sent in this turn is delivered, as far as the socket takes it.
            self.continue_send(sockets, key);
        }
        let slot = sockets.owned(key);
        if how == Close::Abort
            && let Some(fd) = &slot.fd
        {
            // It fails only for sockets that are gone already.
            let _ = rustix::net::sockopt::set_socket_linger(fd, Some(Duration::ZERO));
        }
        let waiting = slot.accepted.take();
        // Closing the only descriptor of a socket takes it out of the epoll set. A listener may have others, and so may what
        // was given to us: its readiness would end each wait at once, for ever.
        if (waiting.is_some() || slot.is_shared)
            && slot.interest & REGISTERED != 0
            && let Some(fd) = &slot.fd
        {
            let _ = epoll::delete(&self.epoll, fd);
        }
        sockets.remove(key);
        for key in waiting.into_iter().flat_map(|waiting| *waiting) {
            self.close(sockets, key, Close::Orderly);
        }
    }

    fn wait(&mut self, sockets: &mut Sockets, timeout: Option<Duration>) -> io::Result<()> {
        let starved = std::mem::take(&mut self.starved);
        let has_news = self.send_all(sockets) || !starved.is_empty();
        let timeout = if has_news { Some(Duration::ZERO) } else { timeout };
        self.wait_for_events(timeout)?;
        for key in starved {
            self.receive(sockets, key);
        }
        let events = std::mem::take(&mut self.events);
        add(&self.counters.completions, events.len() as u64);
        for event in &events {
            let data = event.data.u64();
            if data == WAKE {
                self.wake.drain();
                continue;
            }
            // A key of a former socket finds no slot: its descriptor was closed and used again within this batch.
            let key = key_of(data);
            let Some(slot) = sockets.get(key) else { continue };
            let flags = event.flags;
            if slot.accepted.is_some() {
                self.accept(sockets, key);
                continue;
            }
            if slot.connecting {
                let result = slot.fd.as_ref().map_or(Err(Errno::BADF), socket::connected);
                slot.connected(result);
                self.register_for(sockets, key);
                continue;
            }
            if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                self.continue_send(sockets, key);
            }
            if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                self.receive_or_end(sockets, key, flags);
            }
        }
        self.events = events;
        Ok(())
    }

    fn local_address(&self, sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>> {
        socket::local_address(sockets.fd(key)?)
    }

    fn peer_address(&self, sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>> {
        socket::peer_address(sockets.fd(key)?)
    }

    fn finish(&mut self, _sockets: &mut Sockets) -> bool {
        // The kernel refers to no memory of ours between calls.
        true
    }

    fn readiness_fd(&mut self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    fn report(&self) -> DriverReport {
        DriverReport { driver: "epoll", line: format!("driver epoll ({})", self.why) }
    }

    fn counters(&self) -> Arc<DriverCounters> {
        Arc::clone(&self.counters)
    }
}

impl Epoll {
    /// A reset or hang-up shows whatever is registered; a paused stream must not spin on it.
    fn receive_or_end(&mut self, sockets: &mut Sockets, key: Key, flags: EventFlags) {
        let Some(slot) = sockets.get(key) else { return };
        if slot.receiving != Repeating::Armed && flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // What has arrived is kept; the end is told behind it, by the next receive. Out of the set until then.
            if let Some(fd) = &slot.fd {
                let _ = epoll::delete(&self.epoll, fd);
                slot.interest = 0;
            }
            slot.wake_receiver();
            return;
        }
        self.receive(sockets, key);
    }
}
