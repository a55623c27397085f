//! The connection a request came by.

use crate::core::Core;
use ringgate_runtime::net::Address;
use std::{cell::Cell, rc::Rc};

/// What a request knows of its connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) core: Core,
    pub(crate) peer: Option<Address>,
    pub(crate) local: Option<Rc<Address>>,
    /// HTTP/2: promises that the client would still take.
    pub(crate) promises_left: Cell<u32>,
    /// The last response is out, and the connection only waits for the peer to close.
    pub(crate) is_finished: Cell<bool>,
}

impl Link {
    pub(crate) fn new(core: Core, peer: Option<Address>, local: Option<Rc<Address>>) -> Self {
        Self {
            core,
            peer,
            local,
            promises_left: Cell::default(),
            is_finished: Cell::new(false),
        }
    }
}
