//! What the sockets of a core share.

use crate::{core::Core, websocket::topic::Topics};
use ringgate_protocols::websocket::deflate::Pool;
use std::{cell::RefCell, rc::Rc};

/// Scratch memory that is kept between messages; more is given back.
const SCRATCH_KEPT_BYTES_MAX: usize = 65_536;

/// Contexts and memory for the message in hand, and the topics.
pub(crate) struct Hub {
    pub(crate) workshop: RefCell<Workshop>,
    pub(crate) topics: Topics,
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
        core.shared.extension(|| Self { workshop: RefCell::default(), topics: Topics::new(core) })
    }
}
