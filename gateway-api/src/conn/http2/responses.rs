//! Responses: what is at hand goes out at once, the rest waits for the machine's grants.

use crate::{
    config::COPIED_BYTES_MAX,
    conn::{
        common_fields::{FieldRef, repeat_key},
        http2::Driver,
    },
    core::Core,
    error::BodyError,
    request::Link,
    response::{Payload, Response, is_bodiless},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ringgate_protocols::http2::{error::SendError, reason::Reason, stream::StreamKey};
use std::rc::Rc;

impl Driver {
    /// Writes a response, as far as it is at hand; the rest of its body waits for the machine's grants.
    pub(super) fn respond(&mut self, link: &Rc<Link>, key: StreamKey, is_head: bool, mut response: Response) {
        let core = &link.core;
        let announced = response.announced_length(is_head);
        let body = std::mem::take(&mut response.body);
        let is_bodiless = is_bodiless(response.status);
        let has_body = !is_head && !is_bodiless && announced != Some(0);
        let trailers = response.trailers.take().filter(|_| !is_head && !is_bodiless);
        let is_ended_by_body = trailers.is_none();
        let copied = body.at_hand().filter(|bytes| has_body && is_ended_by_body && bytes.len() <= COPIED_BYTES_MAX);
        let is_end = !has_body && is_ended_by_body;
        // What has no fields of its own is mostly sent again and again.
        let (now, content_type) = (core.handle().now(), response.content_type);
        let repeat = repeat_key(now, response.status, announced, content_type);
        let sent = if response.fields.is_empty() && self.machine.repeat(repeat) {
            self.send_head(key, response.status, [], copied, is_end)
        } else {
            let write = |ours: &[FieldRef<'_>]| {
                let replaced =
                    |name: &HeaderName| *name == header::CONTENT_LENGTH || ours.iter().any(|(known, _)| *known == name);
                let theirs = response.fields.iter().filter(|(name, _)| !replaced(name));
                let fields = ours.iter().copied().chain(theirs.map(|(name, value)| (name, value)));
                self.send_head(key, response.status, fields, copied, is_end)
            };
            core.shared.common_fields.with(now, announced, content_type, || core.shared.date(), write)
        };
        if sent.is_ok() {
            core.shared.counters.response(response.status);
        }
        let is_whole = match (&sent, copied) {
            (Ok(taken), Some(bytes)) => *taken == bytes.len(),
            (Ok(_), None) => !has_body && is_ended_by_body,
            // The stream is gone: its reset has been told or will be.
            (Err(_), _) => true,
        };
        if is_whole {
            return self.end(core, key, BodyError::Disconnected);
        }
        let is_offered = copied.is_some();
        let (driver, table) = (self.wakers.of(key.slot()), self.table.clone());
        let live = self.live_or_new(key, is_head);
        match body {
            Payload::Stream { chunks, .. } => {
                live.transfer().length_left = announced;
                live.stream(core, chunks, trailers, driver);
                self.offer(core, key);
            }
            Payload::Upgrade(upgrade) => live.open(link, &table, *upgrade, driver),
            body => {
                let transfer = live.transfer();
                transfer.pieces.extend(body.into_piece().filter(|_| has_body));
                transfer.trailers = trailers;
                let bytes = transfer.pieces.len();
                if bytes == 0 {
                    return self.trailers(core, key);
                }
                if !is_offered && self.machine.offer(self.buf.tail(), key, bytes, is_ended_by_body).is_err() {
                    return self.end(core, key, BodyError::Disconnected);
                }
                if is_ended_by_body {
                    self.handler_done(key);
                }
            }
        }
    }

    /// The head, and as much of a body at hand as windows allow.
    #[inline]
    fn send_head<'a>(
        &mut self,
        key: StreamKey,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        copied: Option<&[u8]>,
        is_end: bool,
    ) -> Result<usize, SendError> {
        let out = self.buf.tail();
        match copied {
            Some(bytes) => self.machine.send_response_with_body(out, key, status, fields, bytes),
            None => self.machine.send_response(out, key, status, fields, is_end).map(|()| 0),
        }
    }

    /// Tells the machine what a streamed body has come to.
    pub(super) fn offer(&mut self, core: &Core, key: StreamKey) {
        let transfer = self.live(key).and_then(|live| live.transfer.as_deref_mut());
        let Some(transfer) = transfer.filter(|transfer| !transfer.is_complete) else { return };
        let Some(outbound) = &transfer.outbound else { return };
        let fresh = outbound.take();
        let bytes = fresh.pieces.len();
        let is_empty = transfer.pieces.len() + bytes == 0;
        transfer.pieces.append(fresh.pieces);
        // Another length than announced makes the response malformed (section 8.1.1): it must not look whole.
        let is_misfit = transfer.length_left.is_some_and(|left| match &fresh.end {
            Some(Ok(())) => left != bytes as u64,
            _ => left < bytes as u64,
        });
        transfer.length_left = transfer.length_left.map(|left| left.saturating_sub(bytes as u64));
        if is_misfit || matches!(fresh.end, Some(Err(_))) {
            if is_misfit {
                core.shared.counters.responses_misused.up();
            }
            // RFC 8441 section 5: the abort of a tunnel's connection is CANCEL.
            let reason = if transfer.is_tunnel { Reason::CANCEL } else { Reason::INTERNAL_ERROR };
            self.machine.reset(key, reason);
            return self.end(core, key, BodyError::Disconnected);
        }
        let is_last = fresh.end.is_some() && fresh.trailers.is_none();
        let has_trailers = fresh.trailers.is_some();
        transfer.trailers = fresh.trailers;
        transfer.is_complete = fresh.end.is_some();
        if (bytes > 0 || is_last) && self.machine.offer(self.buf.tail(), key, bytes, is_last).is_err() {
            return self.end(core, key, BodyError::Disconnected);
        }
        match (is_empty, is_last) {
            (true, _) if has_trailers => self.trailers(core, key),
            (true, true) => self.end(core, key, BodyError::Disconnected),
            (false, true) => self.handler_done(key),
            _ => {}
        }
    }

    /// The body is out: trailers end the stream.
    pub(super) fn trailers(&mut self, core: &Core, key: StreamKey) {
        let transfer = self.live(key).and_then(|live| live.transfer.as_mut());
        let trailers = transfer.and_then(|transfer| transfer.trailers.take());
        let fields = trailers.iter().flat_map(|fields| fields.iter());
        if self.machine.send_trailers(self.buf.tail(), key, fields).is_err() {
            self.machine.reset(key, Reason::INTERNAL_ERROR);
        }
        self.end(core, key, BodyError::Disconnected);
    }
}
