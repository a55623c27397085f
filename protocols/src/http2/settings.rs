//! What SETTINGS mean, RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1.

use crate::http2::error::Fault;
use crate::http2::frame::PAYLOAD_BYTES;
use crate::http2::frame::settings::entries;
use crate::http2::reason::Reason;
use crate::http2::window::{WINDOW_INITIAL, WINDOW_MAX};

/// Identifiers.
pub mod id {
    /// Octets of the receiver's field compression table.
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    /// Whether a server may push.
    pub const ENABLE_PUSH: u16 = 0x2;
    /// Streams the receiver may open at once.
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    /// Window of new streams.
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    /// Longest payload.
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    /// Advice on the size of field sections.
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// Extended CONNECT.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    /// The priority tree of RFC 7540 is not used.
    pub const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// What the peer has told us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerSettings {
    /// Octets our encoder's table may take.
    pub header_table_size: u32,
    /// Whether promises are welcome.
    pub enable_push: bool,
    /// Streams we may have promised and not finished at once.
    pub max_concurrent_streams: u32,
    /// What we may send on a new stream.
    pub initial_window_size: u32,
    /// Longest payload we may send.
    pub max_frame_size: u32,
    /// Set in the first SETTINGS, then fixed.
    pub no_rfc7540_priorities: Option<bool>,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            header_table_size: 4096,
            enable_push: true,
            max_concurrent_streams: u32::MAX,
            initial_window_size: WINDOW_INITIAL,
            max_frame_size: PAYLOAD_BYTES as u32,
            no_rfc7540_priorities: None,
        }
    }
}

impl PeerSettings {
    /// Applies the entries in their order; unknown ones are ignored. `first` is true for the first SETTINGS.
    ///
    /// # Errors
    /// The connection error that a value out of range is.
    pub fn apply(&mut self, payload: &[u8], first: bool) -> Result<(), (Reason, Fault)> {
        const OUT_OF_RANGE: (Reason, Fault) = (Reason::PROTOCOL_ERROR, Fault::Setting);
        for (identifier, value) in entries(payload) {
            match identifier {
                id::HEADER_TABLE_SIZE => self.header_table_size = value,
                id::ENABLE_PUSH => self.enable_push = flag(value).ok_or(OUT_OF_RANGE)?,
                id::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = value,
                id::INITIAL_WINDOW_SIZE => {
                    if i64::from(value) > WINDOW_MAX {
                        return Err((Reason::FLOW_CONTROL_ERROR, Fault::Setting));
                    }
                    self.initial_window_size = value;
                }
                id::MAX_FRAME_SIZE => {
                    if !(PAYLOAD_BYTES as u32..1 << 24).contains(&value) {
                        return Err(OUT_OF_RANGE);
                    }
                    self.max_frame_size = value;
                }
                id::ENABLE_CONNECT_PROTOCOL => {
                    flag(value).ok_or(OUT_OF_RANGE)?;
                }
                id::NO_RFC7540_PRIORITIES => {
                    let value = flag(value).ok_or(OUT_OF_RANGE)?;
                    // RFC 9218 section 2.1: a change after the first SETTINGS is an error. Absent means 0.
                    if !first && self.no_rfc7540_priorities.unwrap_or(false) != value {
                        return Err(OUT_OF_RANGE);
                    }
                    self.no_rfc7540_priorities = Some(value);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

const fn flag(value: u32) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
