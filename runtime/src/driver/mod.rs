//! How an executor talks to the kernel: three drivers of one trait.
//!
//! # The room and its unsafe
//! Only `uring` has unsafe code; its essay stands at its top. `epoll` and `sim` have none.

pub(crate) mod epoll;
pub mod sim;
pub(crate) mod slot;
pub(crate) mod socket;
pub(crate) mod uring;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use std::rc::Rc;

use crate::buffer::{ReceivePool, SendBuf};
use crate::driver::epoll::Epoll;
use crate::driver::slot::{Key, Sockets};
use crate::driver::uring::Uring;
pub use crate::driver::uring::{RingConfig, RingFeature};
use crate::sys::address::Address;
use crate::sys::wake::WakeCell;

/// Which driver to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, otherwise epoll; [`DriverReport`] says why.
    #[default]
    Auto,
    /// io_uring, or an error that names the remedy.
    IoUring,
    /// epoll.
    Epoll,
}

/// Which driver and tier won, and why: one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverReport {
    /// `io_uring`, `epoll` or `sim`.
    pub driver: &'static str,
    /// The whole line.
    pub line: String,
}

/// Starts the driver that was chosen.
pub(crate) fn start(
    choice: DriverChoice,
    ring: RingConfig,
    pool: &Rc<ReceivePool>,
    wake: &Arc<WakeCell>,
) -> io::Result<Box<dyn Driver>> {
    if choice == DriverChoice::Epoll {
        return Ok(Box::new(Epoll::new(pool, wake, "as configured".to_owned())?));
    }
    let why = match choice {
        DriverChoice::Auto => "the first choice, and allowed here",
        DriverChoice::IoUring | DriverChoice::Epoll => "as configured",
    };
    match Uring::new(ring, pool, wake, why) {
        Ok(driver) => Ok(Box::new(driver)),
        Err(unavailable) if choice == DriverChoice::Auto => {
            Ok(Box::new(Epoll::new(pool, wake, format!("io_uring is not available: {unavailable}"))?))
        }
        Err(unavailable) => Err(io::Error::new(
            io::Error::from_raw_os_error(unavailable.errno).kind(),
            format!("io_uring was demanded and is not available: {unavailable}"),
        )),
    }
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    /// FIN behind what has gone to the kernel.
    Orderly,
    /// RST, at once.
    Abort,
}

/// Counters that a driver keeps; one writer, any reader.
#[derive(Debug, Default)]
pub(crate) struct DriverCounters {
    pub(crate) enters: AtomicU64,
    pub(crate) enters_refused: AtomicU64,
    pub(crate) completions: AtomicU64,
    pub(crate) sends: AtomicU64,
    pub(crate) send_bytes: AtomicU64,
    pub(crate) receives: AtomicU64,
    pub(crate) receive_bytes: AtomicU64,
    pub(crate) accepts: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) enobufs: AtomicU64,
    pub(crate) pauses: AtomicU64,
    pub(crate) overflows: AtomicU64,
}

/// Adds to a counter of which this thread is the only writer: no locked instruction is needed.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The seam between an executor and the kernel.
///
/// None of these runs code of a task: `wait` only stores what has happened in the slots and wakes. Only `wait` blocks.
pub(crate) trait Driver {
    /// Binds and listens; every core may listen on the same TCP address.
    fn listen(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key>;
    /// Begins to connect; the slot says when it is done.
    fn connect(&mut self, sockets: &mut Sockets, address: &Address) -> io::Result<Key>;
    /// Takes over a bound, listening descriptor.
    fn adopt_listener(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key>;
    /// Takes over a connected descriptor.
    fn adopt_stream(&mut self, sockets: &mut Sockets, fd: OwnedFd) -> io::Result<Key>;
    /// Begins to accept; connections gather in the slot.
    fn arm_accept(&mut self, sockets: &mut Sockets, key: Key);
    /// Begins to receive; leases gather in the slot.
    fn arm_receive(&mut self, sockets: &mut Sockets, key: Key);
    /// Stops receiving; what has already arrived is kept.
    fn pause_receive(&mut self, sockets: &mut Sockets, key: Key);
    /// Sends all of `buf`. The slot has no other send in flight.
    fn send(&mut self, sockets: &mut Sockets, key: Key, buf: SendBuf);
    /// FIN behind what has been sent.
    fn shutdown_write(&mut self, sockets: &mut Sockets, key: Key);
    /// Closes; the slot is freed after the last completion.
    fn close(&mut self, sockets: &mut Sockets, key: Key, how: Close);
    /// Submits what is queued, waits at most `timeout` (`None`: until something happens), stores what has happened.
    fn wait(&mut self, sockets: &mut Sockets, timeout: Option<Duration>) -> io::Result<()>;
    /// A socket's own address.
    fn local_address(&self, sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>>;
    /// The address of its peer.
    fn peer_address(&self, sockets: &mut Sockets, key: Key) -> io::Result<Option<Address>>;
    /// Lets go of everything, all sockets being closed; false if the kernel may still use their memory.
    fn finish(&mut self, sockets: &mut Sockets) -> bool;
    /// A descriptor that becomes readable when `wait` has something to do, for somebody else's loop.
    fn readiness_fd(&mut self) -> Option<BorrowedFd<'_>>;
    /// What runs and why.
    fn report(&self) -> DriverReport;
    /// The driver's counters.
    fn counters(&self) -> Arc<DriverCounters>;
}
