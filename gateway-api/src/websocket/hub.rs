//! What the sockets of a core share.

use crate::{core::Core, websocket::topic::Topics};
use bytes::Bytes;
use ringgate_protocols::websocket::deflate::Pool;
use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

/// Scratch memory that is kept between messages; more is given back.
const SCRATCH_KEPT_BYTES_MAX: usize = 65_536;

/// Memory of messages that came in pieces is kept up to this size each, and so many of them: 2 MiB a core. Without it
/// every message of some ten KiB would have its pages made anew by the kernel.
const KEPT_BYTES_MAX: usize = 262_144;
const KEPT_MAX: usize = 8;

/// Contexts and memory for the message in hand, and the topics.
pub(crate) struct Hub {
    pub(crate) workshop: RefCell<Workshop>,
    pub(crate) topics: Topics,
    kept: Arc<Kept>,
}

/// Memory for messages that come in pieces. Behind a lock, because a message may be dropped on any thread.
#[derive(Default)]
struct Kept(Mutex<Vec<Vec<u8>>>);

/// The memory of a message; it goes back when the message is dropped.
struct Borrowed {
    bytes: Vec<u8>,
    kept: Arc<Kept>,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX && self.bytes.capacity() <= KEPT_BYTES_MAX {
            self.bytes.clear();
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// What a machine borrows while it works.
#[derive(Default)]
pub(crate) struct Workshop {
    pub(crate) pool: Pool,
    pub(crate) scratch: Vec<u8>,
}

impl Workshop {
    /// Makes room for the next message.
    pub(crate) fn clear(&mut self) {
        if !self.scratch.is_empty() {
            self.scratch.clear();
            self.scratch.shrink_to(SCRATCH_KEPT_BYTES_MAX);
        }
    }
}

impl Hub {
    /// The one hub of a core.
    pub(crate) fn of(core: &Core) -> Rc<Self> {
        core.shared.extension(|| Self { workshop: RefCell::default(), topics: Topics::new(core), kept: Arc::default() })
    }

    /// Memory for a message of at least so many bytes.
    pub(crate) fn memory(&self, bytes: usize) -> Vec<u8> {
        let mut memory = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        memory.reserve_exact(bytes);
        memory
    }

    /// A message in such memory.
    pub(crate) fn message(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() > KEPT_BYTES_MAX {
            return bytes.into();
        }
        Bytes::from_owner(Borrowed { bytes, kept: self.kept.clone() })
    }
}
