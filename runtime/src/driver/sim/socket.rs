//! The simulated kernel's side of a socket: what it is on the wire, and which operations are under way.

use rustix::io::Errno;

use crate::driver::Close;
use crate::driver::sim::connection::End;
use crate::driver::slot::Key;

/// What a socket is on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Listener(u32),
    Stream(End),
    /// A connect that nobody answers, or not yet.
    Unconnected,
}

/// A repeating operation (accept or receive) in the simulated kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    None,
    Armed,
    /// A cancel is under way; it may lose the race.
    Cancelled,
}

/// The kernel's side of a slot.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) key: Key,
    pub(super) role: Role,
    pub(super) repeat: Repeat,
    pub(super) sending: bool,
    pub(super) connecting: Option<Result<(), Errno>>,
    /// Cancels of which the completion is to come.
    pub(super) cancels: u8,
    pub(super) closing: Option<Close>,
}

impl Socket {
    pub(super) fn operations(&self) -> u8 {
        u8::from(self.repeat != Repeat::None)
            + u8::from(self.sending)
            + u8::from(self.connecting.is_some())
            + self.cancels
    }
}
