//! What each frame means, once it is complete. DATA is in `data`, header blocks are in `headers`.

use crate::http2::budget::Cost;
use crate::http2::connection::{Connection, Event};
use crate::http2::error::{ConnectionError, Fault, StreamError};
use crate::http2::frame::{
    FrameHeader, continuation, flag, goaway, headers, ping, priority, priority_update, rst_stream, settings,
    window_update,
};
use crate::http2::priority::Priority;
use crate::http2::reason::Reason;
use crate::http2::request::HeadPool;
use crate::http2::state::{self, Receipt, State, Verdict};
use crate::http2::stream_id::StreamId;
use crate::http2::window::{WINDOW_INITIAL, WINDOW_MAX};

impl Connection {
    /// A complete frame (or the part of it that counts) whose header was checked.
    #[inline]
    pub(super) fn frame(
        &mut self,
        heads: &mut HeadPool,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        match header.kind {
            headers::KIND => self.headers(heads, header, payload),
            window_update::KIND => self.window_update(header, payload),
            continuation::KIND => self.continuation(heads, header, payload),
            rst_stream::KIND => self.rst_stream(header, payload),
            settings::KIND => self.settings(header, payload),
            ping::KIND => self.ping(header, payload),
            priority::KIND => self.priority(header),
            priority_update::KIND => self.priority_update(header, payload),
            goaway::KIND => self.goaway(payload),
            _ => self.charge(Cost::Frame).map(|()| None),
        }
    }

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        if header.has(flag::ACK) {
            if !std::mem::replace(&mut self.settings_acked, true) {
                self.decoder.set_size_limit(self.limits.table_bytes_max as usize);
            } else {
                self.charge(Cost::Frame)?;
            }
            return Ok(None);
        }
        let first = !std::mem::replace(&mut self.first_settings_seen, true);
        if !first {
            self.charge(Cost::Frame)?;
        }
        let before = self.peer.initial_window_size;
        self.peer.apply(payload, first).map_err(|(reason, fault)| ConnectionError { reason, fault })?;
        self.encoder.set_peer_limit(self.peer.header_table_size as usize);
        let initial = self.peer.initial_window_size;
        if initial > before {
            // Section 6.9.2: a change that takes any window above the maximum is a connection error. Only when it could
            // be so are the streams looked at one by one (F-11). One that is over has no window, be it that its handler
            // still runs.
            if i64::from(initial) + self.send_delta_max > WINDOW_MAX {
                let live = self.streams.keys().filter_map(|key| self.streams.get(key));
                let windows = live.filter(|stream| !stream.state.is_closed());
                self.send_delta_max = windows.map(|stream| stream.send_window.delta()).max().unwrap_or(0).max(0);
                if i64::from(initial) + self.send_delta_max > WINDOW_MAX {
                    return Err(ConnectionError { reason: Reason::FLOW_CONTROL_ERROR, fault: Fault::FlowControl });
                }
            }
            self.requeue_opened();
        }
        self.count_control()?;
        self.control.extend_from_slice(&settings::ACK);
        Ok(None)
    }

    fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        if !self.budget.charge_window_update(self.now_ms) {
            return Err(ConnectionError { reason: Reason::ENHANCE_YOUR_CALM, fault: Fault::Budget });
        }
        let increment = window_update::read(payload);
        let id = header.stream;
        if id.is_connection() {
            if increment == 0 {
                return Err(ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::FlowControl });
            }
            if !self.send_window.widen(WINDOW_INITIAL, increment) {
                return Err(ConnectionError { reason: Reason::FLOW_CONTROL_ERROR, fault: Fault::FlowControl });
            }
            self.widened = self.widened.wrapping_add(increment);
            return Ok(None);
        }
        let key = self.streams.find(id);
        match (state::receive(self.state_of(id, key), Receipt::WindowUpdate), key) {
            (Verdict::ConnectionError(reason), _) => Err(ConnectionError { reason, fault: Fault::State }),
            (Verdict::Next(_), Some(key)) => {
                let initial = self.peer.initial_window_size;
                let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
                if increment == 0 {
                    return self.stream_error(key, StreamError { reason: Reason::PROTOCOL_ERROR });
                }
                if !stream.send_window.widen(initial, increment) {
                    return self.stream_error(key, StreamError { reason: Reason::FLOW_CONTROL_ERROR });
                }
                self.send_delta_max = self.send_delta_max.max(stream.send_window.delta());
                if stream.offered > 0 && stream.send_window.available(initial) > 0 {
                    self.streams.enqueue(key.slot);
                }
                Ok(None)
            }
            _ => Ok(None), // late, tolerated
        }
    }

    fn rst_stream(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        let id = header.stream;
        let key = self.streams.find(id);
        match (state::receive(self.state_of(id, key), Receipt::RstStream), key) {
            (Verdict::ConnectionError(reason), _) => Err(ConnectionError { reason, fault: Fault::State }),
            (Verdict::Next(next), Some(key)) => {
                // A browser may well decline every promise; that is no abuse.
                self.charge(if id.is_client() { Cost::Reset } else { Cost::Frame })?;
                let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
                let is_told = stream.concerns_application();
                stream.state = next;
                stream.offered = 0;
                self.streams.dequeue(key.slot);
                self.settle(key);
                let event = Event::Reset { stream: key, reason: rst_stream::read(payload), by_peer: true };
                Ok(is_told.then_some(event))
            }
            _ => self.charge_late().map(|()| None),
        }
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        if header.has(flag::ACK) && self.handle_pong(payload) {
            return Ok(None);
        }
        self.charge(Cost::Frame)?;
        if !header.has(flag::ACK) {
            self.count_control()?;
            let opaque = payload.first_chunk().map_or([0; 8], |opaque| *opaque);
            ping::write(&mut self.control, true, opaque);
        }
        Ok(None)
    }

    /// It may come more than once, but not for ever.
    fn goaway(&mut self, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        self.charge(Cost::Frame)?;
        let (last, reason) = goaway::read(payload);
        self.peer_goaway = true;
        Ok(Some(Event::Goaway { last, reason }))
    }

    fn priority(&mut self, header: FrameHeader) -> Result<Option<Event>, ConnectionError> {
        self.charge(Cost::Frame)?;
        if header.length == priority::LENGTH {
            return Ok(None);
        }
        // Section 6.3: a stream error, on a stream that is over as well; an idle one must not be reset (section 6.4).
        match self.streams.find(header.stream) {
            Some(key) => self.stream_error(key, StreamError { reason: Reason::FRAME_SIZE_ERROR }),
            None if self.is_idle(header.stream) => {
                Err(ConnectionError { reason: Reason::FRAME_SIZE_ERROR, fault: Fault::FrameSize })
            }
            None => self.stream_error_over(header.stream, Reason::FRAME_SIZE_ERROR).map(|()| None),
        }
    }

    fn priority_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        self.charge(Cost::Frame)?;
        let (id, value) = priority_update::read(payload);
        if id.is_connection() || (!id.is_client() && self.is_idle(id)) {
            return Err(ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::Priority });
        }
        if header.length > priority_update::LENGTH_MAX {
            return Ok(None); // no such value says anything to us
        }
        let priority = Priority::parse(value);
        if let Some(key) = self.streams.find(id) {
            let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
            let queued = stream.queued;
            self.streams.dequeue(key.slot);
            if let Some(stream) = self.streams.get_mut(key) {
                stream.priority = priority;
            }
            if queued {
                self.streams.enqueue(key.slot);
            }
        } else if self.is_idle(id) {
            self.remember_priority(id, priority);
        }
        Ok(None)
    }

    /// Keeps the priority of a stream to come; at most `streams_max` of them, further ones are dropped (F-14).
    fn remember_priority(&mut self, id: StreamId, priority: Priority) {
        if let Some(known) = self.early_priorities.iter_mut().find(|(known, _)| *known == id) {
            known.1 = priority;
        } else if self.early_priorities.len() < self.limits.streams_max as usize {
            self.early_priorities.push((id, priority));
        }
    }

    /// Takes what was remembered for a stream, and drops what was for streams that were skipped.
    #[inline]
    pub(super) fn early_priority(&mut self, id: StreamId) -> Option<Priority> {
        if self.early_priorities.is_empty() {
            return None;
        }
        let found = self.early_priorities.iter().find(|(known, _)| *known == id).map(|(_, priority)| *priority);
        self.early_priorities.retain(|(known, _)| *known > id);
        found
    }

    /// The stream is live and in this state. For tests and metrics.
    #[must_use]
    pub fn stream_state(&self, id: StreamId) -> State {
        self.state_of(id, self.streams.find(id))
    }
}
