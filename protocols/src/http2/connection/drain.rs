//! The graceful end, RFC 9113 section 6.8.

use crate::http2::connection::Connection;
use crate::http2::frame::{goaway, ping};
use crate::http2::reason::Reason;
use crate::http2::stream_id::StreamId;

/// How far the graceful end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Drain {
    /// Not begun.
    No,
    /// GOAWAY(2^31 - 1) and PING were sent at this time; requests under way to us are still taken.
    Announced(u64),
    /// GOAWAY with the last stream was sent; higher ones are ignored.
    Last(StreamId),
}

impl Drain {
    /// The last stream a GOAWAY may name: it never rises (H2-26).
    pub(super) const fn last_promised_to(self, last_client: StreamId) -> StreamId {
        match self {
            Self::Last(last) => last,
            _ => last_client,
        }
    }
}

/// The opaque bytes of the drain's PING.
const DRAIN_PING: [u8; 8] = *b"ringgate";

impl Connection {
    /// Begins the graceful end: GOAWAY that names no stream yet, and a PING. When its answer is back (or after
    /// `drain_ping_timeout_ms`) the last GOAWAY names the last stream taken; then streams finish, and
    /// [`is_finished`](Self::is_finished) turns true.
    pub fn drain(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.drain == Drain::No && self.dead.is_none() {
            goaway::write(&mut self.control, StreamId::MAX, Reason::NO_ERROR);
            ping::write(&mut self.control, false, DRAIN_PING);
            self.drain = Drain::Announced(self.now_ms);
        }
    }

    /// True between [`drain`](Self::drain) and the end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    pub(super) fn handle_pong(&mut self, opaque: &[u8]) -> bool {
        let ours = matches!(self.drain, Drain::Announced(_)) && opaque == DRAIN_PING;
        if ours {
            self.finish_drain();
        }
        ours
    }

    /// Until when the answer to the drain's PING is waited for.
    pub(super) fn drain_deadline_ms(&self) -> Option<u64> {
        match self.drain {
            Drain::Announced(since) => Some(since + u64::from(self.limits.drain_ping_timeout_ms)),
            _ => None,
        }
    }

    pub(super) fn finish_drain(&mut self) {
        goaway::write(&mut self.control, self.last_client, Reason::NO_ERROR);
        self.drain = Drain::Last(self.last_client);
    }
}
