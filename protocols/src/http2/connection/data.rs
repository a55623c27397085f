//! DATA in both directions, and the windows.

use crate::http2::budget::Cost;
use crate::http2::connection::input::{Data, Reading};
use crate::http2::connection::{Connection, Event};
use crate::http2::error::{ConnectionError, Fault, SendError, StreamError};
use crate::http2::frame::{FrameHeader, data, flag, window_update};
use crate::http2::reason::Reason;
use crate::http2::state::{self, Receipt, Sending, State, Verdict};
use crate::http2::stream::{Found, LENGTH_OF_TUNNEL, StreamKey};
use crate::http2::stream_id::StreamId;
use crate::http2::window::WINDOW_INITIAL;
use crate::span::Span;

/// Leave to send: the frame header is written, exactly `length` body bytes follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Whose bytes.
    pub stream: StreamKey,
    /// How many.
    pub length: usize,
    /// They are the last ones.
    pub end_stream: bool,
}

/// DATA shorter than this, cut so by the peer's window, is charged (F-15).
const TINY_BYTES: usize = 64;

impl Connection {
    /// DATA begins: flow control and state are decided by its header (section 6.9: the whole payload counts). Says in
    /// `reading` what becomes of the payload.
    #[inline]
    pub(super) fn data_frame(&mut self, header: FrameHeader) -> Result<Option<Event>, ConnectionError> {
        let FrameHeader { length, stream: id, .. } = header;
        let padded = header.has(flag::PADDED);
        if padded && length == 0 {
            return Err(ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::Padding });
        }
        if !self.receive_window.charge(length, 0) {
            return Err(ConnectionError { reason: Reason::FLOW_CONTROL_ERROR, fault: Fault::FlowControl });
        }
        // Credited on receipt, whatever becomes of it (H2-13).
        self.uncredited += length;
        self.credit_connection();
        let end_stream = header.has(flag::END_STREAM);
        let receipt = if end_stream { Receipt::DataEnd } else { Receipt::Data };
        let key = self.streams.find(id);
        let state = self.state_of(id, key);
        let mut data = Data { stream: None, remaining: length, padding: 0, end_stream };
        let mut event = None;
        match (state::receive(state, receipt), key) {
            (Verdict::Next(next), Some(key)) => {
                // What a peer that has not yet seen a smaller window may have under way is tolerated.
                let full = self.limits.stream_window_bytes;
                let slack = if self.settings_acked { 0 } else { WINDOW_INITIAL.saturating_sub(full) };
                let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
                if stream.receive_window.charge(length, slack) {
                    stream.state = next;
                    data.stream = Some(key);
                } else {
                    event = self.stream_error(key, StreamError { reason: Reason::FLOW_CONTROL_ERROR })?;
                }
            }
            (Verdict::StreamError(reason), Some(key)) => event = self.stream_error(key, StreamError { reason })?,
            (Verdict::StreamError(reason), None) => self.stream_error_over(id, reason)?,
            (Verdict::ConnectionError(reason), _) => return Err(ConnectionError { reason, fault: Fault::State }),
            // In flight behind our reset: accounted for above, otherwise ignored. Only what carries nothing is charged, so
            // that it is no free way to keep us busy; `data_body` charges the one without END_STREAM.
            _ if length == 0 && end_stream => self.charge_late()?,
            _ => {}
        }
        if padded {
            self.reading = Reading::PadLength(data);
            return Ok(event);
        }
        let malformed = self.data_body(data)?;
        Ok(event.or(malformed))
    }

    /// The pad length of a DATA frame has arrived.
    pub(super) fn data_padding(&mut self, mut data: Data, padding: u8) -> Result<Option<Event>, ConnectionError> {
        data.padding = u32::from(padding);
        // Section 6.1: padding as long as the payload or longer; the pad length itself is one byte of it.
        data.remaining = (data.remaining - 1)
            .checked_sub(data.padding)
            .ok_or(ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::Padding })?;
        if let Some(key) = data.stream {
            self.credit_stream(key, data.padding + 1);
        }
        self.data_body(data)
    }

    /// The length of the body in this frame is known: `content-length` (H2-15) and emptiness (F-17) are judged.
    #[inline]
    fn data_body(&mut self, data: Data) -> Result<Option<Event>, ConnectionError> {
        self.reading = Reading::Data(data);
        if data.remaining == 0 && !data.end_stream {
            self.charge(Cost::EmptyData)?;
        }
        let Some(key) = data.stream else { return Ok(None) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if stream.expected >= LENGTH_OF_TUNNEL {
            return Ok(None);
        }
        let left = stream.expected.checked_sub(u64::from(data.remaining));
        match left {
            Some(left) if left == 0 || !data.end_stream => {
                stream.expected = left;
                Ok(None)
            }
            _ => self.stream_error(key, StreamError { reason: Reason::PROTOCOL_ERROR }),
        }
    }

    /// Hands on what there is of a DATA payload.
    #[inline]
    pub(super) fn data_payload(
        &mut self,
        mut data: Data,
        rest: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        let target = data.stream.and_then(|key| self.streams.get_mut(key));
        let Some((key, stream)) = data.stream.zip(target).filter(|(_, stream)| {
            // `Finished` still takes the bytes in front of the END_STREAM that finished it.
            stream.handled && !matches!(stream.state, State::Reset | State::Cancelled)
        }) else {
            self.reading = Reading::skip(data.remaining + data.padding);
            return Ok(None);
        };
        let now = (data.remaining as usize).min(rest.len()) as u32;
        data.remaining -= now;
        let complete = data.remaining == 0;
        if now == 0 && !(complete && data.end_stream) {
            if complete {
                self.reading = Reading::skip(data.padding);
            }
            return Ok(None);
        }
        stream.held += now;
        self.held += u64::from(now);
        let span = Span::new(*at as u32, *at as u32 + now);
        *at += now as usize;
        self.reading = if complete { Reading::skip(data.padding) } else { Reading::Data(data) };
        Ok(Some(Event::Data { stream: key, span, end_stream: complete && data.end_stream }))
    }

    /// Where a stream is, live or not.
    #[inline]
    pub(super) fn state_of(&self, id: StreamId, key: Option<StreamKey>) -> State {
        match key {
            Some(key) => self.streams.get(key).map_or(State::Idle, |stream| stream.state),
            None if self.is_idle(id) => State::Idle,
            None => self.streams.recall(id).unwrap_or(State::Finished),
        }
    }

    /// True for a number that was never used and not skipped either (section 5.1.1).
    pub(super) fn is_idle(&self, id: StreamId) -> bool {
        id > if id.is_client() { self.last_client } else { self.last_promised }
    }

    /// Gives received bytes back to the connection's window, unless the application sits on too many of them.
    #[inline]
    fn credit_connection(&mut self) {
        if self.held > u64::from(self.limits.unread_bytes_max) {
            return;
        }
        let full = self.limits.connection_window_bytes.max(WINDOW_INITIAL);
        if let Some(increment) = self.receive_window.consume(std::mem::take(&mut self.uncredited), full) {
            window_update::write(&mut self.control, StreamId::CONNECTION, increment);
        }
    }

    /// Gives bytes back to a stream's window, while the peer may still send on it.
    #[inline]
    fn credit_stream(&mut self, key: StreamKey, bytes: u32) {
        let full = self.limits.stream_window_bytes;
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.state.is_receiving()
            && let Some(increment) = stream.receive_window.consume(bytes, full)
        {
            window_update::write(&mut self.control, key.id, increment);
        }
    }

    /// The application has consumed `bytes` of the body it was given; the peer may send as many more. More than was
    /// given is not counted.
    #[inline]
    pub fn release_capacity(&mut self, key: StreamKey, bytes: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let bytes = stream.held.min(u32::try_from(bytes).unwrap_or(u32::MAX));
        stream.held -= bytes;
        self.held -= u64::from(bytes);
        self.credit_stream(key, bytes);
        self.credit_connection();
    }

    /// Announces `bytes` more body bytes as ready, and with `end` that the body ends behind them. They are sent when
    /// [`next_data`](Self::next_data) grants it. An end without any waiting byte is written at once.
    ///
    /// # Errors
    /// [`SendError`], and nothing was announced.
    pub fn offer(&mut self, out: &mut Vec<u8>, key: StreamKey, bytes: usize, end: bool) -> Result<(), SendError> {
        self.poll_output(out);
        let stream = self.sendable(key)?;
        if !stream.head_sent {
            return Err(SendError::HeadMissing);
        }
        if stream.end_offered {
            return Err(SendError::BodyPending);
        }
        if stream.offered == 0 {
            stream.found = Found::Never;
        }
        stream.offered += bytes as u64;
        stream.end_offered = end;
        if stream.offered > 0 {
            self.streams.enqueue(key.slot);
            if self.pace_check_at.is_none() {
                self.pace_check_at = Some(self.now_ms + self.pace_check_ms());
            }
        } else if end {
            data::write_header(out, key.id, 0, true);
            self.sent_end(key);
        }
        Ok(())
    }

    /// Who may send now, and how much: at most `length_max` bytes, within both windows and the peer's frame size. The
    /// frame header is appended to `out`; the caller puts exactly that many body bytes behind it.
    ///
    /// Order is by urgency (RFC 9218): non-incremental responses one after the other, incremental ones in turns.
    pub fn next_data(&mut self, out: &mut Vec<u8>, length_max: usize) -> Option<Grant> {
        if self.dead.is_some() || length_max == 0 {
            return None;
        }
        self.poll_output(out);
        loop {
            let connection = self.send_window.available(WINDOW_INITIAL);
            if connection <= 0 {
                return None;
            }
            let key = self.streams.pick()?;
            let initial = self.peer.initial_window_size;
            let stream = self.streams.get_mut(key)?;
            let open = stream.send_window.available(initial).min(connection);
            if open <= 0 {
                // It comes back with a WINDOW_UPDATE or a larger initial window.
                self.streams.dequeue(key.slot);
                continue;
            }
            let wanted = stream.offered.min(length_max as u64).min(u64::from(self.peer.max_frame_size)) as usize;
            let length = wanted.min(open as usize);
            let is_tiny = length < wanted && length < TINY_BYTES;
            stream.offered -= length as u64;
            if let Some(book) = &mut self.book {
                book.count(key.slot, length);
            }
            stream.send_window.spend(length);
            self.send_window.spend(length);
            let (empty, end_stream) = (stream.offered == 0, stream.offered == 0 && stream.end_offered);
            let (incremental, shut) = (stream.priority.incremental, stream.send_window.available(initial) <= 0);
            data::write_header(out, key.id, length as u32, end_stream);
            self.budget.data_sent();
            if empty || shut || incremental {
                self.streams.dequeue(key.slot);
            }
            if end_stream {
                self.sent_end(key);
            } else if incremental && !empty && !shut {
                self.streams.enqueue(key.slot);
            }
            if is_tiny && let Err(error) = self.charge(Cost::TinyWindow) {
                // The grant stands; what follows on the wire behind it is GOAWAY.
                self.die(error);
            }
            return Some(Grant { stream: key, length, end_stream });
        }
    }

    /// Puts streams back in the queue that a larger initial window has opened.
    pub(super) fn requeue_opened(&mut self) {
        let opened: Vec<u16> = self
            .streams
            .keys()
            .filter(|&key| {
                let initial = self.peer.initial_window_size;
                self.streams.get(key).is_some_and(|stream| {
                    stream.offered > 0 && !stream.queued && stream.send_window.available(initial) > 0
                })
            })
            .map(|key| key.slot)
            .collect();
        for slot in opened {
            self.streams.enqueue(slot);
        }
    }

    /// END_STREAM was written.
    #[inline]
    pub(super) fn sent_end(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.end_offered = true;
        if let Some(next) = state::send(stream.state, Sending::End) {
            stream.state = next;
        }
        self.settle(key);
    }

    /// Nothing more is asked of this stream's handler, but it still runs, on a thread perhaps, and goes on counting
    /// against the limit until [`stream_done`](Self::stream_done) (F-01).
    ///
    /// On the wire it is over: a response that nobody will finish is reset, and so is a request that nobody reads.
    pub fn abandon(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        self.held -= u64::from(std::mem::take(&mut stream.held));
        if stream.state.is_sending() && !stream.end_offered {
            self.reset_live(key, Reason::INTERNAL_ERROR);
        } else if stream.state == State::HalfClosedLocal {
            self.reset_live(key, Reason::NO_ERROR);
        }
        if self.uncredited > 0 {
            self.credit_connection();
        }
    }

    /// The handler of this stream has ended: from here on it no longer counts against the limit.
    ///
    /// Body bytes already offered are still sent. A response that nobody will finish is reset; a request that nobody
    /// reads to its end is stopped by RST_STREAM(NO_ERROR) behind the complete response (section 8.1).
    pub fn stream_done(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.handled = false;
        self.held -= u64::from(std::mem::take(&mut stream.held));
        if stream.state.is_sending() && !stream.end_offered {
            self.reset_live(key, Reason::INTERNAL_ERROR);
        } else {
            self.settle(key);
        }
        if self.uncredited > 0 {
            self.credit_connection();
        }
    }
}
