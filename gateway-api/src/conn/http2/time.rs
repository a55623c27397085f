//! What a connection waits for at most: one timer for all of it.

use crate::conn::{
    http2::{Driver, milliseconds, wakers::StreamWakers},
    wire::{Gone, Wire},
};
use ringgate_runtime::{net::ByteStream, time::Instant};
use std::{
    task::{Context, Poll},
    time::Duration,
};

/// Places for streams that a connection without any keeps.
const IDLE_SLOTS_MAX: usize = 8;

impl Driver {
    /// Waits for the first of the machine's deadlines, the idle time, and the end of a send. Ready when the peer takes
    /// nothing any more.
    pub(super) fn poll_time<S: ByteStream>(&mut self, wire: &mut Wire<S>, cx: &mut Context<'_>) -> Poll<Gone> {
        let now = wire.now();
        if self.live > 0 || self.machine.streams_live() > 0 {
            self.idle_since = now;
        } else if self.streams.len() > IDLE_SLOTS_MAX {
            (self.streams, self.receiving) = (Vec::new(), Vec::new());
            self.wakers = StreamWakers::default();
        }
        if self.is_paused {
            self.machine.excuse(milliseconds(now));
        }
        loop {
            let timeouts = &wire.core().shared.config.timeouts;
            let is_idle = self.live == 0 && self.machine.streams_live() == 0 && !self.machine.is_draining();
            let idle = is_idle.then(|| self.idle_since + Duration::from_millis(timeouts.idle_timeout_ms));
            let machine = self.machine.poll_timeout().map(|due| Instant::from_nanos((due + 1) * 1_000_000));
            let send = wire.stream.is_sending().then_some(self.send_deadline);
            let Some(first) =
                [idle, machine, send, self.body_deadline, self.request_deadline].into_iter().flatten().min()
            else {
                return Poll::Pending;
            };
            wire.deadline = first;
            if wire.poll_deadline(cx).is_pending() {
                return Poll::Pending;
            }
            let counters = &wire.core().shared.counters;
            if send == Some(first) {
                counters.timeouts_send.up();
                return Poll::Ready(Gone);
            }
            if self.body_deadline == Some(first) {
                self.end_slow_bodies(&wire.link, now);
                self.release(wire, cx);
            } else if self.request_deadline == Some(first) {
                self.end_late_handlers(&wire.link, now);
            } else if idle == Some(first) {
                counters.timeouts_idle.up();
                self.machine.drain(milliseconds(now));
            }
            self.expire(wire, now);
            if let Err(gone) = self.send(wire, cx) {
                return Poll::Ready(gone);
            }
            if self.machine.is_finished() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Lets the machine judge who is late.
    fn expire<S: ByteStream>(&mut self, wire: &Wire<S>, now: Instant) {
        if wire.stream.is_sending() {
            // For as long as a send may stand by its length, peers lack its bytes, and not the will to take more.
            let grace = Duration::from_millis(wire.core().shared.config.timeouts.progress_grace_ms);
            let slowest = Instant::from_nanos((self.send_deadline.as_nanos()).saturating_sub(grace.as_nanos() as u64));
            self.machine.excuse_waits(milliseconds(self.send_begun), milliseconds(now.min(slowest)));
        }
        loop {
            match self.machine.handle_timeout(milliseconds(now)) {
                Ok(Some(event)) => {
                    wire.core().shared.counters.timeouts_send.up();
                    self.event(&wire.link, event);
                }
                Ok(None) => break,
                Err(_) => {
                    wire.core().shared.counters.timeouts_header.up();
                    break;
                }
            }
        }
    }
}
