//! Time: pings after silence, the waits that have an end, the rate of a message.

use crate::limits::WebSocketLimits;
use crate::websocket::close::CloseCode;
use crate::websocket::connection::Connection;
use crate::websocket::error::Fault;
use crate::websocket::event::Expiry;
use crate::websocket::frame::Opcode;
use crate::websocket::state::{Occurrence, State};

impl Connection {
    /// When [`Connection::handle_timeout`] is next to be called, in milliseconds of the caller's clock.
    #[must_use]
    pub fn poll_timeout(&self, limits: &WebSocketLimits) -> Option<u64> {
        let after = |since_ms: u64, time_ms: u32| (time_ms > 0).then(|| since_ms + u64::from(time_ms));
        match self.state {
            State::Open => {
                let life = if self.waiting_for_pong && self.heard_ms <= self.waiting_since_ms {
                    after(self.waiting_since_ms, limits.pong_timeout_ms)
                } else {
                    after(self.heard_ms, limits.ping_interval_ms)
                };
                let idle = after(self.message_ms, limits.idle_timeout_ms).filter(|_| !self.in_message());
                [life, idle, self.progress_deadline(limits)].into_iter().flatten().min()
            }
            State::Closing => after(self.waiting_since_ms, limits.close_timeout_ms),
            State::Answering | State::Failing | State::Closed => None,
        }
    }

    /// W-13: when the message in hand falls below its rate if nothing more comes.
    fn progress_deadline(&self, limits: &WebSocketLimits) -> Option<u64> {
        let incoming = self.incoming.as_ref().filter(|_| limits.progress_bytes_per_s_min > 0)?;
        let earned = incoming.wire_bytes.saturating_mul(1_000) / u64::from(limits.progress_bytes_per_s_min);
        Some(incoming.since_ms.saturating_add(earned.max(u64::from(limits.progress_grace_ms))))
    }

    /// The messages sent since the last call, if any, are handed to the wire at `now_ms`: the idle time counts from then.
    /// Where an owner does not say so, the next [`Connection::handle_timeout`] does.
    #[inline]
    pub fn date_sent(&mut self, now_ms: u64) {
        if std::mem::take(&mut self.spoke) {
            self.message_ms = now_ms;
        }
    }

    /// For a while until `now_ms` nothing was read, because nobody took what had come: neither that silence nor the time of
    /// the message in hand is the peer's doing. Both count from now on.
    pub fn excuse(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        if let Some(incoming) = &mut self.incoming {
            incoming.since_ms = now_ms;
        }
    }

    /// Does what is due at `now_ms`: a ping after silence, the Close of an idle connection, the end of a peer that does not
    /// answer or dribbles. Calling it early is harmless.
    pub fn handle_timeout(&mut self, out: &mut Vec<u8>, limits: &WebSocketLimits, now_ms: u64) -> Expiry {
        self.date_sent(now_ms);
        if self.poll_timeout(limits).is_none_or(|deadline| now_ms < deadline) {
            return Expiry::Nothing;
        }
        if self.state == State::Closing {
            self.turn(Occurrence::Expired);
            return Expiry::Abandoned;
        }
        if self.progress_deadline(limits).is_some_and(|deadline| now_ms >= deadline) {
            self.fail(Fault::TooSlow);
            return Expiry::Fault(Fault::TooSlow);
        }
        let idle = limits.idle_timeout_ms > 0 && !self.in_message();
        if idle && now_ms >= self.message_ms + u64::from(limits.idle_timeout_ms) {
            let closed = self.close(out, Some(CloseCode::GOING_AWAY), "", now_ms);
            debug_assert_eq!(closed, Ok(()), "an open connection can be closed");
            return Expiry::Wrote;
        }
        if self.waiting_for_pong && self.heard_ms <= self.waiting_since_ms {
            self.fail(Fault::Unresponsive);
            return Expiry::Fault(Fault::Unresponsive);
        }
        (self.waiting_for_pong, self.waiting_since_ms) = (true, now_ms);
        self.write_control(out, Opcode::Ping, b"");
        Expiry::Wrote
    }
}
