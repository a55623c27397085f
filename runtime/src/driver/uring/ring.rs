//! The two queues that are shared with the kernel, and the one system call.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use crate::driver::slot::Key;
use crate::driver::uring::buffer_ring::{BUFFER_GROUP, BufferRing};
use crate::driver::uring::operation::{Tag, user_data};
use crate::driver::{DriverCounters, add};

/// A completion: `user_data`, result, flags.
pub(super) type Completion = (u64, i32, u32);

/// What has become of a system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entered {
    /// What was queued is with the kernel, or stays queued behind what is to be reaped: look at the completions.
    Through,
    /// The kernel is short of memory, or of room for completions. What was queued stays so, and leaves with a later call.
    Refused,
}

impl Entered {
    /// What follows from an error of `io_uring_enter(2)`; `None` where the ring itself cannot go on.
    const fn after(errno: i32) -> Option<Self> {
        match errno {
            // The time is up, or a signal came.
            libc::ETIME | libc::EINTR => Some(Self::Through),
            // No memory for a request, or none for what the kernel keeps of a thread: that passes. And completions that
            // do not fit into their queue: reaping makes room.
            libc::EAGAIN | libc::ENOMEM | libc::EBUSY => Some(Self::Refused),
            // Among them EBADR: completions are lost, and nobody can say whose.
            _ => None,
        }
    }
}

/// The ring and what is under way in it.
pub(super) struct Ring {
    uring: IoUring,
    /// Operations that did not fit into the submission queue.
    backlog: VecDeque<squeue::Entry>,
    /// Operations of which the last completion is to come.
    in_flight: usize,
    counters: Arc<DriverCounters>,
}

impl Ring {
    pub(super) fn new(uring: IoUring, counters: Arc<DriverCounters>) -> Self {
        Self { uring, backlog: VecDeque::new(), in_flight: 0, counters }
    }

    /// Operations of which the last completion is to come.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Tells the kernel where it finds buffers.
    pub(super) fn register_buffers(&self, buffers: &BufferRing) -> io::Result<()> {
        let submitter = self.uring.submitter();
        // SAFETY: the ring of entries is page-aligned, has exactly `buffers` entries and lives until the ring is closed.
        unsafe { submitter.register_buf_ring_with_flags(buffers.address(), buffers.pool.buffers(), BUFFER_GROUP, 0) }
    }

    /// From now on the kernel writes `eventfd` for what completes.
    pub(super) fn register_eventfd(&self, eventfd: impl AsFd) -> io::Result<()> {
        self.uring.submitter().register_eventfd(eventfd.as_fd().as_raw_fd())
    }

    /// Queues an operation; a full queue is submitted first, and what still does not fit waits for the next turn, so that
    /// none is lost.
    pub(super) fn push(&mut self, tag: Tag, key: Key, entry: squeue::Entry) {
        let entry = entry.user_data(user_data(tag, key));
        self.in_flight += 1;
        if self.backlog.is_empty() {
            for _ in 0..2 {
                // SAFETY: what the entry refers to is kept as the room's first rule says.
                if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                    return;
                }
                // An error shows again at the next wait, which reports it.
                let _ = self.enter(0, None);
            }
        }
        self.backlog.push_back(entry);
    }

    /// Queues what did not fit before; true when nothing is left over.
    pub(super) fn push_backlog(&mut self) -> bool {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { self.uring.submission().push(entry) }.is_err() {
                return false;
            }
            self.backlog.pop_front();
        }
        true
    }

    /// The one system call: submits everything queued, waits for `want` completions, at most `timeout`.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<Entered> {
        let queued = self.uring.submission().len();
        let timespec = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            arguments = arguments.timespec(timespec);
        }
        add(&self.counters.enters, 1);
        // SAFETY: the arguments and the timespec they point to live across the call; queued entries obey rule 1.
        let entered = unsafe {
            self.uring.submitter().enter(
                queued as u32,
                want as u32,
                (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits(),
                Some(&arguments),
            )
        };
        let Err(error) = entered else { return Ok(Entered::Through) };
        let entered = error.raw_os_error().and_then(Entered::after).ok_or(error)?;
        if entered == Entered::Refused {
            add(&self.counters.enters_refused, 1);
        }
        Ok(entered)
    }

    /// Copies all completions out of their queue, so that it has room again before any of them is looked at.
    pub(super) fn take_completions(&mut self, harvest: &mut Vec<Completion>) {
        let mut queue = self.uring.completion();
        if queue.overflow() > 0 {
            self.counters.overflows.store(u64::from(queue.overflow()), Ordering::Relaxed);
        }
        queue.sync();
        let before = harvest.len();
        harvest.extend(queue.map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        let fresh = &harvest[before..];
        self.in_flight -= fresh.iter().filter(|(_, _, flags)| !cqueue::more(*flags)).count();
        add(&self.counters.completions, fresh.len() as u64);
    }

    /// Whether the kernel has taken everything that was pushed, and every completion that it has to give so far is in the
    /// queue.
    pub(super) fn is_all_told(&mut self) -> bool {
        let submission = self.uring.submission();
        submission.is_empty() && !submission.cq_overflow() && self.backlog.is_empty()
    }

    /// An operation has ended of which no completion comes.
    pub(super) const fn ended_silently(&mut self) {
        self.in_flight -= 1;
    }

    /// Nothing to submit, nothing to reap, no work that the kernel has put off.
    pub(super) fn has_nothing_to_do(&mut self) -> bool {
        let submission = self.uring.submission();
        let quiet = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        quiet && self.uring.completion().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_memory_is_asked_again_and_a_broken_ring_is_not() {
        let passing = [libc::EAGAIN, libc::ENOMEM, libc::EBUSY];
        assert!(passing.iter().all(|errno| Entered::after(*errno) == Some(Entered::Refused)));
        assert!([libc::ETIME, libc::EINTR].iter().all(|errno| Entered::after(*errno) == Some(Entered::Through)));
        let final_ones =
            [libc::EBADF, libc::EBADFD, libc::EBADR, libc::EEXIST, libc::EFAULT, libc::EINVAL, libc::ENXIO];
        assert!(final_ones.iter().all(|errno| Entered::after(*errno).is_none()));
    }
}
