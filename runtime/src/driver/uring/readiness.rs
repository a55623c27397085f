//! What somebody else's loop waits on between turns.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, epoll, eventfd};

use crate::sys::wake::WakeCell;

/// Two descriptors and the one above them.
pub(super) struct Readiness {
    /// Holds the two below: readable when one of them is.
    pub(super) epoll: OwnedFd,
    /// Registered with the ring.
    pub(super) eventfd: OwnedFd,
}

impl Readiness {
    /// The core's wake descriptor is in the set as well, although the ring reads it: a ring's eventfd that is to be
    /// signalled from within another eventfd's signal is signalled once, through RCU, and (6.18) never again.
    pub(super) fn new(wake: &WakeCell) -> io::Result<Self> {
        // Readable from the start: the first turn arms what is to be heard of.
        let eventfd = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        epoll::add(&epoll, wake, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        Ok(Self { epoll, eventfd })
    }

    /// Clears it. EAGAIN: it was clear.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
    }

    /// Makes it readable, so that the loop comes again at once. A full counter (EAGAIN) is as good.
    pub(super) fn set(&self) {
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }
}
