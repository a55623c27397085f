//! What follows from each completion. It is stored in the slots and wakes; no code of a task runs here.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;
use rustix::io::Errno;

use crate::driver::slot::{End, Key, Repeating, Sockets};
use crate::driver::uring::Uring;
use crate::driver::uring::operation::{Tag, Telling, identity};
use crate::driver::{Driver as _, add, socket};

impl Uring {
    /// Copies the completions out of the queue, then looks at each; returns how many there were.
    pub(super) fn reap(&mut self, sockets: &mut Sockets) -> usize {
        let is_all_told = self.ring.is_all_told();
        let mut harvest = std::mem::take(&mut self.harvest);
        self.ring.take_completions(&mut harvest);
        let came = harvest.len();
        for (user_data, result, flags) in harvest.drain(..) {
            self.complete(sockets, user_data, result, flags);
        }
        self.harvest = harvest;
        if is_all_told {
            self.untold_sends_are_done(sockets);
        }
        came
    }

    /// Sends that tell only if they go short, and were submitted and have not told, have gone out whole.
    fn untold_sends_are_done(&mut self, sockets: &mut Sockets) {
        let mut untold = std::mem::take(&mut self.untold);
        for (key, count) in untold.drain(..) {
            self.ring.ended_silently();
            self.sent(sockets, key, count as i64);
        }
        self.untold = untold;
    }

    fn complete(&mut self, sockets: &mut Sockets, user_data: u64, result: i32, flags: u32) {
        let (tag, key) = identity(user_data);
        match tag {
            Some(Tag::Receive) => self.received(sockets, key, result, flags),
            Some(Tag::Send) => {
                // It has told: rare, so looking for it may take a moment.
                if let Some(place) = self.untold.iter().position(|(untold, _)| *untold == key) {
                    self.untold.swap_remove(place);
                }
                self.sent(sockets, key, i64::from(result));
            }
            Some(Tag::Accept) => self.accepted(sockets, key, result, flags),
            Some(Tag::Cancel) => Self::ended(sockets, key),
            Some(Tag::Wake) => self.wake_armed = false,
            Some(Tag::Connect) => Self::connected(sockets, key),
            None => debug_assert!(false, "an operation without a tag"),
        }
    }

    fn received(&mut self, sockets: &mut Sockets, key: Key, result: i32, flags: u32) {
        let mut slot = sockets.get(key);
        let buffer = cqueue::buffer_select(flags);
        if let Some(buffer) = buffer {
            // A late completion gives its buffers back.
            self.buffers.filled(buffer, result.max(0) as u32, |lease| match &mut slot {
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
        if sockets.receive_ended(key, -result == libc::ENOBUFS) {
            self.arm_receive(sockets, key);
        }
        Self::free_if_closed(sockets, key);
    }

    fn sent(&mut self, sockets: &mut Sockets, key: Key, result: i64) {
        let Some(slot) = sockets.get(key) else { return };
        slot.operations -= 1;
        let Some(sending) = &mut slot.sending else { return };
        let outcome = match result {
            0.. => {
                sending.sent += result as usize;
                add(&self.counters.send_bytes, result as u64);
                if sending.sent == sending.buf.len() { Some(Ok(())) } else { None }
            }
            _ => match Errno::from_raw_os_error(-result as i32) {
                Errno::AGAIN | Errno::INTR => None,
                errno => Some(Err(errno)),
            },
        };
        match outcome {
            None if !slot.closing => self.submit_send(sockets, key, Telling::AtItsEnd),
            None => _ = sockets.end_send(key, Err(Errno::CANCELED)),
            Some(result) => _ = sockets.end_send(key, result),
        }
        Self::free_if_closed(sockets, key);
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
        Self::free_if_closed(sockets, key);
    }

    /// The socket became writable, or failed: either way the connect has ended.
    fn connected(sockets: &mut Sockets, key: Key) {
        let Some(slot) = sockets.get(key) else { return };
        slot.operations -= 1;
        let result = slot
            .fd
            .as_ref()
            .map_or(Err(Errno::BADF), |fd| socket::connected(fd).and_then(|()| rustix::io::ioctl_fionbio(fd, false)));
        slot.connected(result);
        Self::free_if_closed(sockets, key);
    }

    /// The completion of a cancel says nothing; only the operation's own last completion does.
    fn ended(sockets: &mut Sockets, key: Key) {
        if let Some(slot) = sockets.get(key) {
            slot.operations -= 1;
            Self::free_if_closed(sockets, key);
        }
    }

    fn free_if_closed(sockets: &mut Sockets, key: Key) {
        if let Some(slot) = sockets.get(key)
            && slot.closing
            && slot.operations == 0
        {
            sockets.remove(key);
        }
    }
}
