//! The epoll driver: equal in what it offers, for where io_uring is forbidden.
//!
//! Streams are edge-triggered and registered once. What an event has told of is kept in the slot until a receive has found
//! the socket empty, and a reader that falls behind or catches up costs no system call. A receive that gets less than it
//! asked for has found it empty (`epoll(7)`), unless an end, urgent bytes or passed descriptors may have stopped it. A
//! stream gets one receive per wait, so that no connection starves the others. Listeners are level-triggered: several
//! cores may share one.
//!
//! The sends of a turn leave one after the other before the wait, as a submission of io_uring does: application code and
//! the kernel's sending path each stay in the processor's cache, and a peer is woken once for what would else be many
//! wakes. `EPOLLOUT` is asked for only after the socket was full, which a send that takes less than it was offered says.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{Errno, retry_on_intr};
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

/// Events that tell of something to receive: bytes, FIN, urgent bytes, a reset.
const READABLE: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ERR).union(EventFlags::HUP);

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
    /// Streams that may hold something of which no event will tell: there was more than one receive takes, or no free
    /// buffer, or its reader begins to read again. Tried at the next wait.
    unread: Vec<Key>,
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
            unread: Vec::new(),
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
        if slot.accepted.is_none() {
            flags |= EventFlags::ET | EventFlags::RDHUP | EventFlags::PRI;
        }
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

    /// Receives once, if somebody wants it and there may be something.
    fn receive(&mut self, sockets: &mut Sockets, key: Key) {
        let Some(slot) = sockets.get(key) else { return };
        if slot.receiving != Repeating::Armed || !slot.is_unread {
            return;
        }
        match self.receive_into(slot) {
            Ok(is_full) => slot.is_unread = is_full || slot.is_mixed,
            Err(Errno::AGAIN) => slot.is_unread = false,
            Err(Errno::NOBUFS) => add(&self.counters.enobufs, 1),
            Err(errno) => {
                slot.receiving = Repeating::Idle;
                slot.ended(End::Failed(errno));
            }
        }
        if slot.is_behind() {
            add(&self.counters.pauses, 1);
            slot.receiving = Repeating::Idle;
        }
        list_unread(&mut self.unread, slot, key);
    }

    /// As many system calls as are needed to take what usually is there. True when there may be more bytes.
    fn receive_into(&self, slot: &mut Slot) -> Result<bool, Errno> {
        if slot.is_bulky {
            return self.receive_several(slot);
        }
        let is_full = self.receive_one(slot)?;
        if slot.is_behind() || slot.receiving != Repeating::Armed {
            return Ok(is_full);
        }
        match is_full {
            // A buffer that is filled to its end says that there is more.
            true => self.receive_several(slot),
            false if slot.is_mixed => self.receive_one(slot),
            false => Ok(false),
        }
    }

    /// One `recv`. True when it has filled its buffer.
    fn receive_one(&self, slot: &mut Slot) -> Result<bool, Errno> {
        let Some(fd) = &slot.fd else { return Ok(false) };
        let Some(buffer) = self.pool.take_free() else { return Err(Errno::NOBUFS) };
        let flags = RecvFlags::DONTWAIT;
        let received = self.pool.fill(buffer, |bytes| {
            retry_on_intr(|| rustix::net::recv(fd, &mut *bytes, flags)).map(|(length, _)| length as u32)
        });
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

    /// One `readv` for as much as the slot may hold. True when it has filled all of that.
    fn receive_several(&self, slot: &mut Slot) -> Result<bool, Errno> {
        let Some(fd) = &slot.fd else { return Ok(false) };
        let mut asked_bytes = 0;
        let receive = |parts: &mut [io::IoSliceMut<'_>]| match parts {
            [] => Err(Errno::NOBUFS),
            parts => {
                asked_bytes = parts.iter().map(|part| part.len()).sum();
                retry_on_intr(|| rustix::io::readv(fd, &mut *parts))
            }
        };
        let room = INBOUND_LEASES_MAX - slot.inbound();
        let leases = self.pool.fill_several::<INBOUND_LEASES_MAX, Errno>(room, receive)?;
        slot.is_bulky = leases[1].is_some();
        if leases[0].is_none() {
            slot.receiving = Repeating::Idle;
            slot.ended(End::Finished);
        }
        let taken_bytes: usize = leases.iter().flatten().map(|lease| lease.len()).sum();
        leases.into_iter().flatten().for_each(|lease| self.arrived(slot, lease));
        Ok(taken_bytes == asked_bytes)
    }

    fn arrived(&self, slot: &mut Slot, lease: Lease) {
        add(&self.counters.receives, 1);
        add(&self.counters.receive_bytes, lease.len() as u64);
        slot.arrived(lease);
    }

    /// Registers for what the slot's states ask for. A stream, whether anybody reads it or not, for reading: an edge
    /// that is not told is lost.
    fn register_for(&self, sockets: &mut Sockets, key: Key) {
        let Some(slot) = sockets.get(key) else { return };
        let read = if slot.accepted.is_none() || slot.receiving == Repeating::Armed { READ } else { 0 };
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
                    let is_mixed = slot.is_mixed;
                    let taken = sockets.insert(Some(fd));
                    sockets.owned(taken).is_mixed = is_mixed;
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
        let before = sending.sent;
        let outcome = send_rest(fd.as_fd(), sending);
        add(&self.counters.send_bytes, (sending.sent - before) as u64);
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

/// Puts a stream that somebody reads on the list, if no event will tell of what it may hold.
fn list_unread(unread: &mut Vec<Key>, slot: &mut Slot, key: Key) {
    if slot.is_unread && slot.receiving == Repeating::Armed && !std::mem::replace(&mut slot.is_listed, true) {
        unread.push(key);
    }
}

/// Sends what is left, until the socket is full: only then an event tells of room. `None` if it is.
fn send_rest(fd: BorrowedFd<'_>, sending: &mut Sending) -> Option<Result<(), Errno>> {
    loop {
        match send_pieces(fd, sending) {
            Ok((sent, offered)) => {
                sending.sent += sent;
                if sending.sent == sending.buf.len() {
                    return Some(Ok(()));
                }
                if sent < offered {
                    return None;
                }
            }
            Err(Errno::AGAIN) => return None,
            Err(errno) => return Some(Err(errno)),
        }
    }
}

/// One `send` or `sendmsg`: the bytes it took, and those it was offered.
fn send_pieces(fd: BorrowedFd<'_>, sending: &Sending) -> Result<(usize, usize), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if let Some(bytes) = sending.buf.single() {
        let rest = &bytes[sending.sent..];
        return retry_on_intr(|| rustix::net::send(fd, rest, flags)).map(|sent| (sent, rest.len()));
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
    let offered = pieces.iter().map(|piece| piece.len()).sum();
    let sent = retry_on_intr(|| rustix::net::sendmsg(fd, &pieces, &mut SendAncillaryBuffer::default(), flags))?;
    Ok((sent, offered))
}

impl Driver for Epoll {
    fn listen(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        self.adopt_listener(sockets, socket::listen(address)?)
    }

    fn connect(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key> {
        let (fd, done) = socket::connect(address)?;
        let is_mixed = socket::is_unix(&fd);
        let key = sockets.insert(Some(fd));
        sockets.owned(key).is_mixed = is_mixed;
        if !done {
            sockets.owned(key).connecting = true;
            self.register_for(sockets, key);
        }
        Ok(key)
    }

    fn adopt_listener(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let is_mixed = socket::is_unix(&fd);
        let key = sockets.insert(Some(fd));
        let slot = sockets.owned(key);
        slot.accepted = Some(Box::default());
        slot.is_mixed = is_mixed;
        Ok(key)
    }

    fn adopt_stream(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let is_mixed = socket::is_unix(&fd);
        let key = sockets.insert(Some(fd));
        let slot = sockets.owned(key);
        slot.is_shared = true;
        slot.is_mixed = is_mixed;
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
            list_unread(&mut self.unread, slot, key);
            if slot.interest == 0 {
                self.register_for(sockets, key);
            }
        }
    }

    fn pause_receive(&mut self, sockets: &mut Sockets, key: Key) {
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
        let unread = std::mem::take(&mut self.unread);
        let has_news = self.send_all(sockets) || !unread.is_empty();
        let timeout = if has_news { Some(Duration::ZERO) } else { timeout };
        self.wait_for_events(timeout)?;
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
            if flags.intersects(READABLE) {
                self.readable(sockets, key, flags);
            }
        }
        self.events = events;
        // Behind the events: what one of them has just emptied is passed over.
        for key in unread {
            if let Some(slot) = sockets.get(key) {
                slot.is_listed = false;
                self.receive(sockets, key);
            }
        }
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
    /// An event has told of something to receive.
    fn readable(&mut self, sockets: &mut Sockets, key: Key, flags: EventFlags) {
        let Some(slot) = sockets.get(key) else { return };
        slot.is_unread = true;
        slot.is_mixed |= flags.intersects(READABLE.difference(EventFlags::IN));
        if slot.receiving == Repeating::Armed {
            self.receive(sockets, key);
        } else if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // What has arrived is kept; the end is told behind it, by the next receive.
            slot.wake_receiver();
        }
    }
}
