//! One slot per socket: what is in flight, what has arrived, who waits.
//!
//! ```text
//! receiving   Idle ──arm──▶ Armed ──pause──▶ Pausing ──last completion──▶ Idle
//!               ▲             │ multishot ended: buffers out, end, error       │
//!               └─────────────┴──── arm again on the next poll ◀───────────────┘
//! sending     Idle ──start──▶ InFlight ──done | failed──▶ Idle (an error is kept)
//! slot        Open ──close──▶ Closing (operations pending) ──last completion──▶ free, generation + 1
//! ```
//!
//! A slot is freed only after the last completion of its operations, so a completion always finds the slot it belongs
//! to; the generation in its identity tells a late one of a former socket, should the kernel ever send it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::task::Waker;

use rustix::io::Errno;

use crate::buffer::{Lease, SendBuf};

/// Received leases a socket may hold before the driver stops receiving for it: the reader is behind.
/// Eight buffers take 64 KiB and the frame around them at once, and keep a fast reader busy while the kernel refills;
/// more would only hide that it is slow.
pub(crate) const INBOUND_LEASES_MAX: usize = 8;

/// Accepted connections that may wait in a listener's slot; beyond it they wait in the kernel's backlog.
pub(crate) const ACCEPTED_MAX: usize = 256;

/// Pieces of one vectored send; the kernel's own bound is `IOV_MAX`, 1,024. What is left goes with the next.
pub(crate) const SEND_PIECES_MAX: usize = 256;

/// Names one socket of one core for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    /// 24 bits: it travels in an operation's `user_data`.
    pub(crate) generation: u32,
}

/// Bits of a generation.
const GENERATION_MASK: u32 = (1 << 24) - 1;

/// The state of a kind of operation that the kernel repeats by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Repeating {
    /// Nothing is asked of the kernel.
    #[default]
    Idle,
    /// The kernel delivers as things arrive.
    Armed,
    /// We have asked it to stop; what comes until the last completion is kept.
    Pausing,
    /// It stopped because no buffer was free; it is armed again when one returns.
    Starved,
}

/// How the peer's side of a stream has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// FIN.
    Finished,
    /// RST, or any error of the socket.
    Failed(Errno),
}

/// One send in flight: the memory the kernel reads stays here until its completion.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    pub(crate) buf: SendBuf,
    /// Bytes that have gone to the kernel already.
    pub(crate) sent: usize,
    /// Driver's memory for a vectored send (io_uring: `msghdr` and `iovec`s).
    pub(crate) vectored: Option<Box<dyn std::any::Any>>,
    /// Who waits for its end.
    pub(crate) waker: Option<Waker>,
}

impl Sending {
    pub(crate) const fn new(buf: SendBuf) -> Self {
        Self { buf, sent: 0, vectored: None, waker: None }
    }
}

/// Everything about one socket.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    generation: u32,
    pub(crate) in_use: bool,
    /// The descriptor; the simulated driver has none.
    pub(crate) fd: Option<OwnedFd>,
    /// Closing: the owner is gone, the slot waits for the last completions.
    pub(crate) closing: bool,
    /// FIN is to follow the send in flight.
    pub(crate) finish_after_send: bool,
    /// A connect was begun and has not ended.
    pub(crate) connecting: bool,
    pub(crate) receiving: Repeating,
    /// Operations of which a completion is still to come (a repeating one counts as one).
    pub(crate) operations: u8,
    pub(crate) end: Option<End>,
    /// A failed send, until somebody asks.
    pub(crate) send_error: Option<Errno>,
    /// epoll: what the descriptor is registered for (bits of the driver's own choosing).
    pub(crate) interest: u8,
    /// epoll: somebody else may hold the descriptor too, so that closing ours does not take it out of the set.
    pub(crate) is_shared: bool,
    /// epoll: the last receive took more than one buffer; the next one asks for as much.
    pub(crate) is_bulky: bool,
    /// epoll: the socket may hold something of which no further event will tell.
    pub(crate) is_unread: bool,
    /// epoll: it is on the list of those that are tried at the next wait.
    pub(crate) is_listed: bool,
    /// epoll: bytes may be followed by something else, so that fewer than were asked for need not be all. Of a listener:
    /// those of its connections.
    pub(crate) is_mixed: bool,
    /// What has arrived, first to last. The first stands in the slot itself: usually there is no other.
    first: Option<Lease>,
    #[expect(clippy::box_collection, reason = "an idle connection pays 8 bytes for it, not 32")]
    more: Option<Box<VecDeque<Lease>>>,
    /// Who waits to receive, to accept, or to be connected.
    pub(crate) receive_waker: Option<Waker>,
    pub(crate) sending: Option<Box<Sending>>,
    /// Of a listener: connections that wait to be taken.
    #[expect(clippy::box_collection, reason = "a connection, which has none, pays 8 bytes for it, not 32")]
    pub(crate) accepted: Option<Box<VecDeque<Key>>>,
}

impl Slot {
    /// Wakes whoever waits to receive, to accept or to be connected. The waker stays: most tasks wait here again, with the same one.
    pub(crate) fn wake_receiver(&self) {
        if let Some(waker) = &self.receive_waker {
            waker.wake_by_ref();
        }
    }

    /// Keeps what has arrived and wakes the receiver.
    pub(crate) fn arrived(&mut self, lease: Lease) {
        if self.closing {
            return;
        }
        if self.first.is_none() {
            self.first = Some(lease);
        } else {
            self.more.get_or_insert_default().push_back(lease);
        }
        self.wake_receiver();
    }

    /// Keeps how the peer's side has ended and wakes the receiver.
    pub(crate) fn ended(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
        }
        self.wake_receiver();
    }

    /// The reader is behind: the driver should stop receiving.
    pub(crate) fn is_behind(&self) -> bool {
        match &self.accepted {
            Some(accepted) => accepted.len() >= ACCEPTED_MAX,
            None => self.inbound() >= INBOUND_LEASES_MAX,
        }
    }

    /// Leases that wait for the reader.
    pub(crate) fn inbound(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    /// The oldest lease that waits.
    pub(crate) fn take_inbound(&mut self) -> Option<Lease> {
        let lease = self.first.take()?;
        if let Some(more) = &mut self.more {
            self.first = more.pop_front();
            if self.first.is_none() {
                // An idle connection keeps no queue.
                self.more = None;
            }
        }
        Some(lease)
    }

    /// A connect has ended; wakes whoever waits for it.
    pub(crate) fn connected(&mut self, result: Result<(), Errno>) {
        self.connecting = false;
        self.send_error = result.err();
        self.wake_receiver();
    }

    /// Forgets who waits, and what has arrived: the owner is gone.
    pub(crate) fn abandon(&mut self) {
        self.first = None;
        self.more = None;
        self.receive_waker = None;
        if let Some(sending) = &mut self.sending {
            sending.waker = None;
        }
    }

    /// FIN, now or behind the send in flight. An error means that the peer is gone: receiving tells.
    pub(crate) fn shutdown_write(&mut self) {
        self.finish_after_send = self.sending.is_some();
        if !self.finish_after_send
            && let Some(fd) = &self.fd
        {
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
        }
    }
}

/// All sockets of one core.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Streams whose repeating receive ended for want of a buffer.
    starved: Vec<Key>,
    /// Since the last wait somebody has begun to wait for a send to complete: its sender, or a FIN.
    pub(crate) completion_awaited: bool,
    /// Emptied send buffers, to be used again.
    spare: Vec<SendBuf>,
    /// What sends were kept in, for the next ones.
    #[expect(clippy::vec_box, reason = "the boxes are what is used again")]
    spare_sendings: Vec<Box<Sending>>,
}

/// Emptied send buffers kept per core; a turn rarely has more sends in flight.
const SPARE_MAX: usize = 64;
/// A send buffer that has grown beyond this is not kept: one large response must not hold memory for ever.
const SPARE_BYTES_MAX: usize = 65_536;

impl Sockets {
    /// A fresh slot for a descriptor.
    pub(crate) fn insert(&mut self, fd: Option<OwnedFd>) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        debug_assert!(!slot.in_use);
        slot.in_use = true;
        slot.fd = fd;
        Key { slot: index, generation: slot.generation }
    }

    /// Frees a slot whose last completion has come.
    pub(crate) fn remove(&mut self, key: Key) {
        let slot = &mut self.slots[key.slot as usize];
        debug_assert!(slot.in_use && slot.generation == key.generation && slot.operations == 0);
        *slot = Slot { generation: (slot.generation + 1) & GENERATION_MASK, ..Slot::default() };
        self.free.push(key.slot);
    }

    /// The slot, unless the key is of a former socket.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(key.slot as usize).filter(|slot| slot.in_use && slot.generation == key.generation)
    }

    /// The descriptor of a socket that its owner still holds.
    pub(crate) fn fd(&mut self, key: Key) -> io::Result<&OwnedFd> {
        self.owned(key).fd.as_ref().ok_or_else(|| Errno::BADF.into())
    }

    /// The slot of a key that its owner still holds.
    pub(crate) fn owned(&mut self, key: Key) -> &mut Slot {
        self.get(key).expect("a socket's owner keeps its slot in use")
    }

    /// Sockets that are in use, closing ones included.
    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Every key in use.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let keys = self.slots.iter().enumerate().filter(|(_, slot)| slot.in_use);
        keys.map(|(index, slot)| Key { slot: index as u32, generation: slot.generation }).collect()
    }

    /// An empty send buffer.
    pub(crate) fn take_send_buf(&mut self) -> SendBuf {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps the memory of a send that is done.
    pub(crate) fn recycle(&mut self, mut buf: SendBuf) {
        buf.clear();
        if self.spare.len() < SPARE_MAX && (1..=SPARE_BYTES_MAX).contains(&buf.capacity()) {
            self.spare.push(buf);
        }
    }

    /// Keeps `buf` in the slot, where nothing is in flight, to be sent.
    pub(crate) fn begin_send(&mut self, key: Key, buf: SendBuf) {
        let mut sending = self.spare_sendings.pop().unwrap_or_default();
        sending.buf = buf;
        let slot = self.owned(key);
        debug_assert!(slot.sending.is_none(), "one send in flight per connection");
        slot.sending = Some(sending);
    }

    /// The send in flight is over: wakes whoever waits for that, and keeps its memory. True when somebody did.
    pub(crate) fn end_send(&mut self, key: Key, result: Result<(), Errno>) -> bool {
        let Some(slot) = self.get(key) else { return false };
        if let Err(errno) = result {
            slot.send_error = Some(errno);
        }
        let Some(mut sending) = slot.sending.take() else { return false };
        if slot.finish_after_send {
            slot.shutdown_write();
        }
        let Sending { buf, waker, .. } = std::mem::take(&mut *sending);
        self.recycle(buf);
        if self.spare_sendings.len() < SPARE_MAX {
            self.spare_sendings.push(sending);
        }
        waker.map(Waker::wake).is_some()
    }

    /// A stream's repeating receive has ended. True if it is to begin again at once: it ended by itself while somebody
    /// waits. Without a buffer it begins again when there is one ([`take_starved`](Self::take_starved)).
    pub(crate) fn receive_ended(&mut self, key: Key, is_without_buffer: bool) -> bool {
        let Some(slot) = self.get(key) else { return false };
        slot.operations -= 1;
        let is_starved = is_without_buffer && slot.receiving == Repeating::Armed && !slot.closing;
        slot.receiving = if is_starved { Repeating::Starved } else { Repeating::Idle };
        let is_awaited = slot.receive_waker.is_some() && slot.inbound() == 0;
        let again = !is_starved && is_awaited && !slot.closing && slot.end.is_none();
        if is_starved {
            self.starved.push(key);
        }
        again
    }

    /// Now that there is a buffer: the streams whose receive is to begin again.
    pub(crate) fn take_starved(&mut self) -> Vec<Key> {
        let mut starved = std::mem::take(&mut self.starved);
        starved.retain(|key| match self.get(*key) {
            Some(slot) if slot.receiving == Repeating::Starved && !slot.closing => {
                slot.receiving = Repeating::Idle;
                true
            }
            _ => false,
        });
        starved
    }

    /// What receiving has for the owner now: bytes, the end (an empty lease), an error, or nothing yet.
    pub(crate) fn take_received(&mut self, key: Key) -> Option<io::Result<Lease>> {
        let slot = self.owned(key);
        if let Some(lease) = slot.take_inbound() {
            return Some(Ok(lease));
        }
        match slot.end {
            Some(End::Finished) => Some(Ok(Lease::empty())),
            Some(End::Failed(errno)) => Some(Err(errno.into())),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg_attr(miri, ignore = "errors of rustix are larger where it goes through the C library")]
    fn an_idle_socket_is_small() {
        assert_eq!(size_of::<super::Slot>(), 96);
    }
}
