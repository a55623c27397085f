//! Request bodies: taken in, given windows for what was read, and their time.

use crate::{
    conn::{http2::Driver, wire::Wire},
    error::BodyError,
    request::Link,
    response::Response,
};
use http::StatusCode;
use ringgate_protocols::http2::{reason::Reason, stream::StreamKey};
use ringgate_runtime::{buffer::Lease, net::ByteStream, time::Instant};
use std::{rc::Rc, task::Context};

impl Driver {
    /// A piece of a request body. What nobody reads any more is thrown away up to `drain_bytes_max`; beyond it the
    /// stream's window stays shut.
    pub(super) fn data(&mut self, key: StreamKey, lease: Lease, end_stream: bool, drain_bytes_max: u64) {
        let length = lease.len();
        let Some(live) = self.live(key) else { return self.machine.release_capacity(key, length) };
        let Some(transfer) = live.transfer.as_mut() else { return self.machine.release_capacity(key, length) };
        let Some(inbound) = transfer.inbound.clone() else { return self.machine.release_capacity(key, length) };
        if let Some((_, bytes)) = &mut transfer.waiting {
            *bytes += length as u64;
        }
        if length > 0 && inbound.push(lease).is_err() {
            transfer.released += length as u64;
            transfer.discarded += length as u64;
            if transfer.discarded <= drain_bytes_max {
                self.machine.release_capacity(key, length);
            }
        }
        if end_stream {
            inbound.finish(None);
            self.receiving.retain(|other| *other != key);
        }
    }

    /// Gives windows back for what readers have taken, asks for bodies that are waited for, and keeps their time.
    pub(super) fn release<S: ByteStream>(&mut self, wire: &Wire<S>, cx: &mut Context<'_>) {
        let (now, config) = (wire.now(), &wire.core().shared.config);
        self.body_deadline = None;
        for key in &self.receiving {
            let live = self.streams.get_mut(key.slot()).and_then(Option::as_mut).filter(|live| live.id == key.id());
            let Some(live) = live.and_then(|live| live.transfer.as_mut()) else { continue };
            let Some(inbound) = live.inbound.as_ref() else { continue };
            let consumed = inbound.watch(cx);
            if consumed > live.released {
                self.machine.release_capacity(*key, (consumed - live.released) as usize);
                live.released = consumed;
            }
            if live.expects_continue && inbound.poll_wanted(cx).is_ready() {
                live.expects_continue = false;
                // Too late when the response has begun: then nobody waits for it.
                let _ = self.machine.send_interim(self.buf.tail(), *key, StatusCode::CONTINUE, []);
            }
            // A tunnel may be silent; its own protocol judges that. The client is not judged while nobody reads, be it that
            // too many answers wait, nor while it may not send: before it was invited, and when windows may be shut for
            // want of a reader. They are given back when half of them is free at the latest, so below that there is room
            // for certain.
            let unread = inbound.unread(cx) as u64;
            let limits = &config.limits.http2;
            let may_send = !self.is_paused
                && !live.is_tunnel
                && !live.expects_continue
                && !inbound.is_abandoned()
                && unread * 2 < u64::from(limits.stream_window_bytes)
                && self.machine.held_bytes() * 2 < u64::from(limits.unread_bytes_max);
            live.waiting = may_send.then(|| live.waiting.unwrap_or((now, 0)));
            if let Some((since, bytes)) = live.waiting {
                let due = since + config.timeouts.progress(bytes);
                self.body_deadline = Some(self.body_deadline.map_or(due, |first| first.min(due)));
            }
        }
    }

    /// Ends the exchanges whose request body comes too slowly: 408 where the response has not begun, a reset
    /// where it has. The handler is dropped.
    pub(super) fn end_slow_bodies(&mut self, link: &Rc<Link>, now: Instant) {
        let core = &link.core;
        let is_slow = |key: &&StreamKey| {
            let live = self.streams.get(key.slot()).and_then(Option::as_ref).filter(|live| live.id == key.id());
            let waiting = live.and_then(|live| live.transfer.as_ref()?.waiting);
            waiting.is_some_and(|(since, bytes)| since + core.shared.config.timeouts.progress(bytes) <= now)
        };
        let slow: Vec<StreamKey> = self.receiving.iter().filter(is_slow).copied().collect();
        for key in slow {
            core.shared.counters.timeouts_body.up();
            if self.live(key).is_some_and(|live| live.request.is_some()) {
                let slow = Response::text("the request body came too slowly\n").status(StatusCode::REQUEST_TIMEOUT);
                self.answer_instead(link, key, BodyError::TooSlow, slow);
            } else {
                self.machine.reset(key, Reason::CANCEL);
                self.end(core, key, BodyError::TooSlow);
            }
        }
    }
}
