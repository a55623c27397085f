//! Header blocks that we send: responses, interim responses, trailers, promises.

use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::hpack::encode;
use crate::hpack::kind::{self, Kind};
use crate::http::trailer;
use crate::http2::connection::Connection;
use crate::http2::error::{PushRefused, SendError};
use crate::http2::frame::{FrameHeader, HEADER_BYTES, continuation, data, flag, headers, push_promise};
use crate::http2::reason::Reason;
use crate::http2::repeat::RepeatKey;
use crate::http2::state::{self, Sending, State};
use crate::http2::stream::{Stream, StreamKey};
use crate::http2::stream_id::StreamId;
use crate::http2::window::WINDOW_INITIAL;

/// A promised request, RFC 9113 section 8.4. It has no body.
#[derive(Clone, Copy, Debug)]
pub struct Promise<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// `http` or `https`, as the parent has it.
    pub scheme: &'a str,
    /// An authority we speak for: the parent's.
    pub authority: &'a str,
    /// Path and query.
    pub path: &'a str,
}

impl Connection {
    /// Writes an interim response (1xx, but never 101: section 8.6). Any number of them, before the final response.
    ///
    /// # Errors
    /// [`SendError`], and nothing was written.
    pub fn send_interim<'a>(
        &mut self,
        out: &mut Vec<u8>,
        key: StreamKey,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<(), SendError> {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Status);
        }
        let stream = self.sendable(key)?;
        if stream.head_sent {
            return Err(SendError::HeadSent);
        }
        stream.open_promised();
        self.write_headers(out, key.id, Some(status), fields, false);
        Ok(())
    }

    /// The next response has the head with this key. True when its block is kept: then it needs no fields, and those that
    /// are given are not looked at.
    #[inline]
    pub fn repeat(&mut self, key: RepeatKey) -> bool {
        self.repeat = Some(key);
        self.repeated.block(key, &self.encoder).is_some()
    }

    /// Writes the head of the final response; with `end_stream` there is no body and there are no trailers.
    ///
    /// Fields that HTTP/2 forbids (`connection` and its kin) are left out, so that an application written for HTTP/1
    /// works unchanged.
    ///
    /// # Errors
    /// [`SendError`], and nothing was written.
    #[inline]
    pub fn send_response<'a>(
        &mut self,
        out: &mut Vec<u8>,
        key: StreamKey,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        end_stream: bool,
    ) -> Result<(), SendError> {
        let repeat = self.repeat.take();
        if status.is_informational() {
            return Err(SendError::Status);
        }
        let stream = self.sendable(key)?;
        if stream.head_sent {
            return Err(SendError::HeadSent);
        }
        stream.head_sent = true;
        stream.open_promised();
        match repeat {
            None => self.write_headers(out, key.id, Some(status), fields, end_stream),
            Some(repeat) => self.write_repeated(out, key.id, repeat, status, fields, end_stream),
        }
        if end_stream {
            self.sent_end(key);
        }
        Ok(())
    }

    /// Writes head and body of a complete response in one go, the body being copied into `out`: the fastest path for
    /// small bodies. Gives how many bytes of the body were taken. The rest, if windows or more urgent streams are
    /// in the way, counts as offered with an end, and is granted by [`next_data`](Self::next_data).
    ///
    /// # Errors
    /// [`SendError`], and nothing was written.
    #[inline]
    pub fn send_response_with_body<'a>(
        &mut self,
        out: &mut Vec<u8>,
        key: StreamKey,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        body: &[u8],
    ) -> Result<usize, SendError> {
        self.send_response(out, key, status, fields, body.is_empty())?;
        if body.is_empty() {
            return Ok(0);
        }
        let initial = self.peer.initial_window_size;
        let most_urgent = self.streams.most_urgent();
        let connection = self.send_window.available(WINDOW_INITIAL);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(0) };
        let open = stream.send_window.available(initial).min(connection).min(i64::from(self.peer.max_frame_size));
        if body.len() as i64 <= open && u32::from(stream.priority.urgency) <= most_urgent {
            stream.send_window.spend(body.len());
            self.send_window.spend(body.len());
            self.budget.data_sent();
            data::write_header(out, key.id, body.len() as u32, true);
            out.extend_from_slice(body);
            self.sent_end(key);
            return Ok(body.len());
        }
        self.offer(out, key, body.len(), true)?;
        Ok(0)
    }

    /// Writes trailers, which end the stream; names that may not be trailers are left out. All offered bytes have been
    /// granted before.
    ///
    /// # Errors
    /// [`SendError`], and nothing was written.
    pub fn send_trailers<'a>(
        &mut self,
        out: &mut Vec<u8>,
        key: StreamKey,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<(), SendError> {
        let stream = self.sendable(key)?;
        if !stream.head_sent {
            return Err(SendError::HeadMissing);
        }
        if stream.offered > 0 || stream.end_offered {
            return Err(SendError::BodyPending);
        }
        let allowed = |(name, _): &(&HeaderName, _)| !trailer::is_forbidden(name.as_str().as_bytes());
        self.write_headers(out, key.id, None, fields.into_iter().filter(allowed), true);
        self.sent_end(key);
        Ok(())
    }

    /// Resets a stream for the application's own reasons. Offered bytes that were not granted are forgotten. A stream
    /// that is over stays as it is: RST_STREAM is never answered by RST_STREAM (section 5.4.2).
    pub fn reset(&mut self, key: StreamKey, reason: Reason) {
        if self.streams.get(key).is_some_and(|stream| !stream.state.is_closed()) {
            self.reset_live(key, reason);
        }
    }

    /// Promises a request on the parent's stream; the response is then sent on the stream that is given back, as any
    /// other. To be called before the body that refers to the promised resource.
    ///
    /// # Errors
    /// [`PushRefused`], and nothing was written.
    pub fn push_promise<'a>(
        &mut self,
        out: &mut Vec<u8>,
        parent: StreamKey,
        promise: Promise<'_>,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<StreamKey, PushRefused> {
        if !self.limits.push || !self.peer.enable_push {
            return Err(PushRefused::Disabled);
        }
        if !matches!(*promise.method, Method::GET | Method::HEAD) {
            return Err(PushRefused::Method);
        }
        let open = self.streams.get(parent).is_some_and(|stream| stream.state.is_sending() && parent.id.is_client());
        if !open || self.peer_goaway || self.is_draining() || self.dead.is_some() {
            return Err(PushRefused::Parent);
        }
        if !self.can_push() || self.last_promised.get() + 2 > StreamId::MAX.get() {
            return Err(PushRefused::TooMany);
        }
        let id = StreamId::new(self.last_promised.get() + 2);
        self.last_promised = id;
        self.promised_live += 1;
        let state = state::send(State::Idle, Sending::Promised).unwrap_or(State::ReservedLocal);
        let key = self.streams.insert(Stream::new(id, state, 0));
        self.poll_output(out);
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.extend_from_slice(&id.get().to_be_bytes());
        self.encoder.begin(out);
        self.encoder.field(out, b":method", promise.method.as_str().as_bytes(), false);
        self.encoder.field(out, b":scheme", promise.scheme.as_bytes(), false);
        self.encoder.field(out, b":authority", promise.authority.as_bytes(), false);
        self.encoder.field(out, b":path", promise.path.as_bytes(), false);
        self.encode_fields(out, fields);
        self.finish_block(out, start, push_promise::KIND, 0, parent.id);
        Ok(key)
    }

    /// The head of a response that may be kept, or kept already.
    #[inline]
    fn write_repeated<'a>(
        &mut self,
        out: &mut Vec<u8>,
        id: StreamId,
        repeat: RepeatKey,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        end_stream: bool,
    ) {
        self.poll_output(out);
        if let Some(block) = self.repeated.block(repeat, &self.encoder) {
            let flags = flag::END_HEADERS | if end_stream { flag::END_STREAM } else { 0 };
            FrameHeader { length: block.len() as u32, kind: headers::KIND, flags, stream: id }.write(out);
            out.extend_from_slice(block);
            return;
        }
        let (start, changes) = (out.len() + HEADER_BYTES, self.encoder.changes());
        self.write_headers(out, id, Some(status), fields, end_stream);
        self.repeated.keep(repeat, changes, out.get(start..).unwrap_or_default(), &self.encoder);
    }

    #[inline]
    fn write_headers<'a>(
        &mut self,
        out: &mut Vec<u8>,
        id: StreamId,
        status: Option<StatusCode>,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        end_stream: bool,
    ) {
        self.poll_output(out);
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.encoder.begin(out);
        if let Some(status) = status {
            self.encoder.status(out, status.as_u16());
        }
        self.encode_fields(out, fields);
        self.finish_block(out, start, headers::KIND, if end_stream { flag::END_STREAM } else { 0 }, id);
    }

    #[inline]
    fn encode_fields<'a>(
        &mut self,
        out: &mut Vec<u8>,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) {
        for (name, value) in fields {
            let (name, text) = (name.as_str().as_bytes(), value.as_bytes());
            let hash = encode::hash(name, text);
            if value.is_sensitive() || !self.encoder.indexed(out, hash, name, text) {
                self.encode_new(out, hash, name, text, value.is_sensitive());
            }
        }
    }

    /// A field that the table does not hold, or is not looked for in. What section 8.2.2 forbids never gets into the table,
    /// so it is enough to look for it here.
    #[inline(never)]
    fn encode_new(&mut self, out: &mut Vec<u8>, hash: u32, name: &[u8], value: &[u8], sensitive: bool) {
        if kind::of_name(name) == Kind::ConnectionSpecific {
            return;
        }
        // Section 8.2.1: a value neither begins nor ends with white space.
        let trimmed = value.trim_ascii();
        let hash = if trimmed.len() == value.len() { hash } else { encode::hash(name, trimmed) };
        self.encoder.literal(out, hash, name, trimmed, sensitive);
    }

    /// Writes the frame header in front of the block at `start`, and cuts the block into CONTINUATION frames when it is
    /// longer than the peer takes.
    #[inline]
    fn finish_block(&self, out: &mut Vec<u8>, start: usize, kind: u8, flags: u8, stream: StreamId) {
        let length = out.len() - start - HEADER_BYTES;
        let most = self.peer.max_frame_size as usize;
        let (first, flags) = if length <= most { (length, flags | flag::END_HEADERS) } else { (most, flags) };
        let header = FrameHeader { length: first as u32, kind, flags, stream };
        out[start..start + HEADER_BYTES].copy_from_slice(&header.bytes());
        if length > most {
            let rest = out.split_off(start + HEADER_BYTES + most);
            let mut pieces = rest.chunks(most).peekable();
            while let Some(piece) = pieces.next() {
                let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
                FrameHeader { length: piece.len() as u32, kind: continuation::KIND, flags, stream }.write(out);
                out.extend_from_slice(piece);
            }
        }
    }
}
