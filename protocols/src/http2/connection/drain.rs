//! Time and the graceful end, RFC 9113 section 6.8.

use crate::http2::connection::input::Reading;
use crate::http2::connection::{Connection, Event};
use crate::http2::error::{ConnectionError, Fault};
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

    fn finish_drain(&mut self) {
        goaway::write(&mut self.control, self.last_client, Reason::NO_ERROR);
        self.drain = Drain::Last(self.last_client);
    }

    /// The time at which [`handle_timeout`](Self::handle_timeout) wants to be called, in the same milliseconds as all
    /// other times.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.dead.is_some() {
            return None;
        }
        let settings = if !self.first_settings_seen {
            Some(self.opened_ms + u64::from(self.limits.first_settings_timeout_ms))
        } else if !self.settings_acked {
            Some(self.opened_ms + self.settings_ack_timeout_ms())
        } else {
            None
        };
        let block = self.header_deadline_ms();
        let drain = match self.drain {
            Drain::Announced(since) => Some(since + u64::from(self.limits.drain_ping_timeout_ms)),
            _ => None,
        };
        [settings, block, drain, self.pace_check_at].into_iter().flatten().min()
    }

    /// When the header block that is arriving, be it in one frame or in several, is given up (F-04, R-01): at the end of
    /// its time, or earlier when it comes too slowly. Any other frame of which only a part has come has no more time.
    fn header_deadline_ms(&self) -> Option<u64> {
        let (since, bytes) = match &self.block {
            Some(block) => (block.since_ms, block.bytes.len() + self.partial.len()),
            None if matches!(self.reading, Reading::Payload(..)) || !self.partial.is_empty() => {
                (self.partial_ms, self.partial.len())
            }
            None => return None,
        };
        let limits = &self.limits;
        let at_least_rate = bytes as u64 * 1_000 / u64::from(limits.header_bytes_per_s_min.max(1));
        let slowly = u64::from(limits.header_grace_ms) + at_least_rate;
        Some(since + slowly.min(u64::from(limits.header_timeout_ms)))
    }

    /// For a while until `now_ms` nothing was read, because too much output waits: that the frame or block in hand is not
    /// complete is not the peer's doing, nor that windows did not open. The time of both begins anew.
    pub fn excuse(&mut self, now_ms: u64) {
        self.excuse_all_waits(now_ms);
        self.partial_ms = now_ms;
        if let Some(block) = &mut self.block {
            block.since_ms = now_ms;
        }
    }

    fn settings_ack_timeout_ms(&self) -> u64 {
        u64::from(self.limits.first_settings_timeout_ms) + u64::from(self.limits.header_timeout_ms)
    }

    /// Fires deadlines that have passed. Call again while it gives an event.
    ///
    /// # Errors
    /// A deadline of the connection has passed; the machine is dead.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<Option<Event>, ConnectionError> {
        self.now_ms = self.now_ms.max(now_ms);
        if self.dead.is_some() {
            return Ok(None);
        }
        let timeout = |reason| Err(ConnectionError { reason, fault: Fault::Timeout });
        let outcome = if !self.first_settings_seen
            && now_ms >= self.opened_ms + u64::from(self.limits.first_settings_timeout_ms)
        {
            timeout(Reason::PROTOCOL_ERROR)
        } else if !self.settings_acked && now_ms >= self.opened_ms + self.settings_ack_timeout_ms() {
            timeout(Reason::SETTINGS_TIMEOUT)
        } else if self.header_deadline_ms().is_some_and(|deadline| now_ms >= deadline) {
            timeout(Reason::ENHANCE_YOUR_CALM)
        } else {
            if let Drain::Announced(since) = self.drain
                && now_ms >= since + u64::from(self.limits.drain_ping_timeout_ms)
            {
                self.finish_drain();
            }
            Ok(self.check_pace())
        };
        outcome.inspect_err(|&error| self.die(error))
    }
}
