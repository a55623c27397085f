//! Waking a core that sleeps in its driver, from any thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd that is written only when the core is about to sleep or sleeps.
///
/// The protocol is Dekker's: the core announces its sleep and then looks for work once more; a waker publishes its
/// work and then looks whether the core sleeps. A full fence between the two steps on either side makes sure that at
/// least one of them sees the other.
#[derive(Debug)]
pub(crate) struct WakeCell {
    eventfd: OwnedFd,
    sleeping: AtomicBool,
}

impl WakeCell {
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { eventfd, sleeping: AtomicBool::new(false) })
    }

    /// Called by any thread after it has published work for the core.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            // A full counter (EAGAIN) wakes just as well, and no other error is possible on an eventfd of our own.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// Called by the core before it sleeps; it must look for published work once more after this.
    pub(crate) fn about_to_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called by the core when it is up again, or found work and does not sleep.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Empties the eventfd, so that it can fire again. True if it had fired.
    pub(crate) fn drain(&self) -> bool {
        // EAGAIN means that there was nothing to drain.
        rustix::io::read(&self.eventfd, &mut [0_u8; 8]).is_ok()
    }
}

impl AsFd for WakeCell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
