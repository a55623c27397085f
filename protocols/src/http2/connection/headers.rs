//! Header blocks: requests, trailers, and blocks that are only decoded for the table's sake.

use http::Method;

use crate::hpack::decode::{BlockLimits, BlockSize, DecodeFault, Outcome};
use crate::http2::budget::Cost;
use crate::http2::connection::drain::Drain;
use crate::http2::connection::{Block, Connection, Event};
use crate::http2::error::{ConnectionError, Fault, StreamError};
use crate::http2::frame::{self, FrameHeader, flag, rst_stream};
use crate::http2::reason::Reason;
use crate::http2::request::{HeadPool, Malformed, RequestHead};
use crate::http2::state::{self, Receipt, State, Verdict};
use crate::http2::stream::{LENGTH_OF_TUNNEL, LENGTH_UNKNOWN, Stream, StreamKey};
use crate::http2::stream_id::StreamId;

/// How a block is read.
#[derive(Clone, Copy)]
enum Section {
    Request,
    /// Behind a head of this size.
    Trailers(BlockSize),
}

/// What a block is.
enum Decoded {
    Well,
    Malformed,
    /// More than the limits allow, less than would end the connection.
    OverLimit,
}

const fn flood() -> ConnectionError {
    ConnectionError { reason: Reason::ENHANCE_YOUR_CALM, fault: Fault::HeaderFlood }
}

/// No new stream can have this number (section 5.1.1).
const fn out_of_order() -> ConnectionError {
    ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::StreamOrder }
}

impl Connection {
    #[inline]
    pub(super) fn headers(
        &mut self,
        heads: &mut HeadPool,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let Some(fragment) = frame::headers::fragment(header, payload) else {
            return Err(ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::Padding });
        };
        let end_stream = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.header_block(heads, header.stream, end_stream, fragment);
        }
        if fragment.len() > self.limits.header_bytes_max as usize {
            return Err(flood());
        }
        self.block = Some(Box::new(Block {
            stream: header.stream,
            end_stream,
            frames: 0,
            bytes: fragment.to_vec(),
            // Its time has run since the frame began.
            since_ms: self.partial_ms,
        }));
        Ok(None)
    }

    /// Frames and bytes are bounded before anything is kept or decoded (F-04).
    pub(super) fn continuation(
        &mut self,
        heads: &mut HeadPool,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let Some(mut block) = self.block.take() else {
            return Err(ConnectionError { reason: Reason::PROTOCOL_ERROR, fault: Fault::HeaderBlock });
        };
        block.frames += 1;
        if block.frames > self.limits.continuation_frames_max
            || block.bytes.len() + payload.len() > self.limits.header_bytes_max as usize
        {
            return Err(flood());
        }
        block.bytes.extend_from_slice(payload);
        if header.has(flag::END_HEADERS) {
            return self.header_block(heads, block.stream, block.end_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(None)
    }

    #[inline]
    fn header_block(
        &mut self,
        heads: &mut HeadPool,
        id: StreamId,
        end_stream: bool,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if id.is_client() && id > self.last_client {
            return self.request(heads, id, end_stream, block);
        }
        self.further_block(heads, id, end_stream, block)
    }

    /// A new stream.
    #[inline]
    fn request(
        &mut self,
        heads: &mut HeadPool,
        id: StreamId,
        end_stream: bool,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let mut head = heads.take();
        let (decoded, size) = match self.recurring.recall(block, &self.decoder, &mut head) {
            Some(size) => (Decoded::Well, size),
            None => self.decode_request(&mut head, block)?,
        };
        let next = StreamId::new((self.last_client.get() + 1) | 1);
        if id != next {
            self.streams.skip(next, id);
        }
        self.last_client = id;
        if let Drain::Last(_) = self.drain {
            // H2-27: ignored behind our GOAWAY, but decoded.
            heads.recycle(head);
            return self.charge(Cost::Frame).map(|()| None);
        }
        let early = self.early_priority(id);
        match decoded {
            Decoded::Well if self.streams.live_client() < self.limits.streams_max as usize => {}
            Decoded::Well => {
                heads.recycle(head);
                return self.refuse(id, Reason::REFUSED_STREAM);
            }
            Decoded::OverLimit => {
                heads.recycle(head);
                return self.refuse_large(id, end_stream);
            }
            Decoded::Malformed => {
                heads.recycle(head);
                return self.stream_error_over(id, Reason::PROTOCOL_ERROR).map(|()| None);
            }
        }
        let is_tunnel = head.head.method == Method::CONNECT;
        if (end_stream || is_tunnel) && head.content_length.is_some_and(|length| length != 0) {
            heads.recycle(head);
            return self.stream_error_over(id, Reason::PROTOCOL_ERROR).map(|()| None); // H2-15, S-17
        }
        let receipt = if end_stream { Receipt::HeadersEnd } else { Receipt::Headers };
        let state = match state::receive(State::Idle, receipt) {
            Verdict::Next(next) => next,
            _ => State::Open,
        };
        let mut stream = Stream::new(id, state, self.limits.stream_window_bytes);
        stream.expected = if is_tunnel { LENGTH_OF_TUNNEL } else { head.content_length.unwrap_or(LENGTH_UNKNOWN) };
        // RFC 9218 section 7: the frame, being later knowledge, beats the field.
        stream.priority = early.unwrap_or(head.priority);
        let stream = self.streams.insert(stream);
        if !end_stream {
            self.streams.keep_head_size(stream, size);
        }
        self.budget.stream_opened();
        Ok(Some(Event::Request { stream, head, end_stream }))
    }

    /// A stream above our limit (F-03, H2-08). The block was decoded.
    #[cold]
    fn refuse(&mut self, id: StreamId, reason: Reason) -> Result<Option<Event>, ConnectionError> {
        self.charge(Cost::Refused)?;
        self.count_control()?;
        rst_stream::write(&mut self.control, id, reason);
        self.budget.stream_reset();
        Ok(None)
    }

    /// A head over the limit: answered by 431 without a handler.
    #[cold]
    fn refuse_large(&mut self, id: StreamId, end_stream: bool) -> Result<Option<Event>, ConnectionError> {
        self.charge(Cost::Refused)?;
        self.count_control()?;
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        block.extend_from_slice(b"\x08\x03431"); // :status 431 as a literal that leaves the table alone
        FrameHeader {
            length: block.len() as u32,
            kind: frame::headers::KIND,
            flags: flag::END_HEADERS | flag::END_STREAM,
            stream: id,
        }
        .write(&mut self.control);
        self.control.extend_from_slice(&block);
        if end_stream {
            self.streams.remember(id, State::Finished);
        } else {
            rst_stream::write(&mut self.control, id, Reason::NO_ERROR);
            self.budget.stream_reset();
        }
        Ok(None)
    }

    /// A block on a stream that exists or existed: trailers, or a mistake.
    fn further_block(
        &mut self,
        heads: &mut HeadPool,
        id: StreamId,
        end_stream: bool,
        block: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let key = self.streams.find(id);
        if key.is_none() && (!id.is_client() || self.streams.recall(id).is_none()) {
            // Even, or never opened because a higher one was.
            return Err(out_of_order());
        }
        let receipt = if end_stream { Receipt::HeadersEnd } else { Receipt::Headers };
        let verdict = state::receive(self.state_of(id, key), receipt);
        if let Verdict::ConnectionError(reason) = verdict {
            return Err(ConnectionError { reason, fault: Fault::State });
        }
        let mut head = heads.take();
        let before = match (verdict, key) {
            (Verdict::Next(_), Some(key)) => self.streams.head_size(key),
            _ => BlockSize::default(),
        };
        let (decoded, _) = self.decode(&mut head, block, Section::Trailers(before))?;
        match (verdict, key) {
            (Verdict::Next(next), Some(key)) if end_stream => self.trailers(heads, key, next, head, &decoded),
            // Section 8.1: a second block without END_STREAM is malformed.
            (Verdict::Next(_), Some(key)) => {
                heads.recycle(head);
                self.stream_error(key, StreamError { reason: Reason::PROTOCOL_ERROR })
            }
            (Verdict::StreamError(reason), Some(key)) => {
                heads.recycle(head);
                self.stream_error(key, StreamError { reason })
            }
            (Verdict::StreamError(reason), None) => {
                heads.recycle(head);
                self.stream_error_over(id, reason).map(|()| None)
            }
            _ => {
                heads.recycle(head);
                let is_trailers = end_stream && !matches!(decoded, Decoded::Malformed);
                if key.is_none() && !is_trailers && self.streams.is_forgotten(id) {
                    return Err(out_of_order());
                }
                self.charge_late().map(|()| None)
            }
        }
    }

    fn trailers(
        &mut self,
        heads: &mut HeadPool,
        key: StreamKey,
        next: State,
        head: Box<RequestHead>,
        decoded: &Decoded,
    ) -> Result<Option<Event>, ConnectionError> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        // A body that falls short of its length, or a tunnel, where only DATA may follow (section 8.5).
        let is_misplaced = !matches!(stream.expected, 0 | LENGTH_UNKNOWN);
        if is_misplaced || !matches!(decoded, Decoded::Well) {
            heads.recycle(head);
            return self.stream_error(key, StreamError { reason: Reason::PROTOCOL_ERROR });
        }
        stream.state = next;
        if stream.handled {
            return Ok(Some(Event::Trailers { stream: key, head }));
        }
        heads.recycle(head);
        self.settle(key);
        Ok(None)
    }

    /// A request whose block is another one than the last.
    fn decode_request(
        &mut self,
        head: &mut RequestHead,
        block: &[u8],
    ) -> Result<(Decoded, BlockSize), ConnectionError> {
        let changes = self.decoder.changes();
        let (decoded, size) = self.decode(head, block, Section::Request)?;
        if let Decoded::Well = decoded {
            self.recurring.consider(block, changes, &self.decoder, head, size);
        }
        Ok((decoded, size))
    }

    /// Decodes a block into `head`. Every block goes through here exactly once, wanted or not (H2-10, F-07), but for
    /// those that are known ([`Recurring`](crate::http2::recurring::Recurring)).
    #[inline]
    fn decode(
        &mut self,
        head: &mut RequestHead,
        block: &[u8],
        section: Section,
    ) -> Result<(Decoded, BlockSize), ConnectionError> {
        let limits = BlockLimits {
            header_bytes_max: self.limits.header_bytes_max,
            field_count_max: self.limits.field_count_max,
        };
        let (text, mut assembly) = head.assemble();
        let mut count = 0;
        let outcome = match section {
            Section::Request => self.decoder.decode(block, text, limits, |text, field| {
                count += 1;
                assembly.request_field(text, field);
            }),
            Section::Trailers(before) => self
                .decoder
                .decode_behind(before, block, text, limits, |text, field| assembly.trailer_field(text, field)),
        };
        let size = BlockSize::new(count, text.len());
        match outcome {
            Ok(Outcome::Complete) => {}
            Ok(Outcome::OverLimit) => return Ok((Decoded::OverLimit, size)),
            Err(DecodeFault::TooLarge) => return Err(flood()),
            Err(_) => {
                return Err(ConnectionError { reason: Reason::COMPRESSION_ERROR, fault: Fault::Compression });
            }
        }
        let finished = match section {
            Section::Request => assembly.finish_request(text.as_slice(), self.limits.connect_protocol),
            Section::Trailers(_) => assembly.finish_trailers(),
        };
        if finished == Err(Malformed) {
            return Ok((Decoded::Malformed, size));
        }
        let has_priority_lines = assembly.has_priority_lines();
        if assembly.has_crumbs() {
            head.join_cookies();
        }
        if has_priority_lines {
            head.join_priority();
        }
        Ok((Decoded::Well, size))
    }
}
