//! How an executor talks to the kernel: three drivers of one trait.
//!
//! # The room and its unsafe
//! Only `uring.rs` has unsafe code; its essay stands at its top. `epoll.rs` and `sim.rs` have none.

pub(crate) mod epoll;
pub(crate) mod slot;
pub(crate) mod uring;

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::buffer::SendBuf;
use crate::driver::slot::{Key, Sockets};

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
    /// A descriptor that becomes readable when `wait` has something to do, for somebody else's loop.
    fn readiness_fd(&self) -> Option<RawFd>;
    /// What runs and why.
    fn report(&self) -> DriverReport;
    /// The driver's counters.
    fn counters(&self) -> Arc<DriverCounters>;
}
