//! The deadlines of a connection: settings, header blocks, the graceful end, and slow readers.

use crate::http2::connection::input::Reading;
use crate::http2::connection::{Connection, Event};
use crate::http2::error::{ConnectionError, Fault};
use crate::http2::reason::Reason;
use crate::limits::Http2Limits;

impl Connection {
    /// The time at which [`handle_timeout`](Self::handle_timeout) wants to be called, in the same milliseconds as all
    /// other times.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.dead.is_some() {
            return None;
        }
        let deadlines = [self.settings_deadline_ms(), self.header_deadline_ms(), self.drain_deadline_ms()];
        deadlines.into_iter().chain([self.pace_check_at]).flatten().min()
    }

    /// When the client's first SETTINGS must have come, and then its acknowledgement of ours.
    fn settings_deadline_ms(&self) -> Option<u64> {
        let Http2Limits { first_settings_timeout_ms, header_timeout_ms, .. } = self.limits;
        let first = self.opened_ms + u64::from(first_settings_timeout_ms);
        match (self.first_settings_seen, self.settings_acked) {
            (false, _) => Some(first),
            (true, false) => Some(first + u64::from(header_timeout_ms)),
            (true, true) => None,
        }
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

    /// Fires deadlines that have passed. Call again while it gives an event.
    ///
    /// # Errors
    /// A deadline of the connection has passed; the machine is dead.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<Option<Event>, ConnectionError> {
        self.now_ms = self.now_ms.max(now_ms);
        if self.dead.is_some() {
            return Ok(None);
        }
        let is_over = |deadline: Option<u64>| deadline.is_some_and(|deadline| now_ms >= deadline);
        let timeout = |reason| Err(ConnectionError { reason, fault: Fault::Timeout });
        let outcome = if is_over(self.settings_deadline_ms()) {
            timeout(if self.first_settings_seen { Reason::SETTINGS_TIMEOUT } else { Reason::PROTOCOL_ERROR })
        } else if is_over(self.header_deadline_ms()) {
            timeout(Reason::ENHANCE_YOUR_CALM)
        } else {
            if is_over(self.drain_deadline_ms()) {
                self.finish_drain();
            }
            Ok(self.check_pace())
        };
        outcome.inspect_err(|&error| self.die(error))
    }
}
