//! Bytes to frames: the part that knows about pieces.

use crate::http2::connection::{Connection, Event, Step};
use crate::http2::error::{ConnectionError, Fault};
use crate::http2::frame::{
    FrameHeader, HEADER_BYTES, PAYLOAD_BYTES, continuation, data, flag, goaway, headers, ping, priority,
    priority_update, push_promise, rst_stream, settings, window_update,
};
use crate::http2::reason::Reason;
use crate::http2::request::HeadPool;
use crate::http2::stream::StreamKey;

/// What a connection begins with, section 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    /// The client preface, of which so many bytes have matched.
    Preface(u8),
    /// A frame header, perhaps begun in `partial`.
    Header,
    /// The payload of this frame, collected in `partial` up to so many bytes; what is beyond is skipped.
    Payload(FrameHeader, u32),
    /// The pad length of DATA.
    PadLength(Data),
    /// The payload of DATA.
    Data(Data),
    /// Bytes without meaning.
    Skip(u32),
}

/// DATA whose payload is arriving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    /// To whom it goes; nobody when the stream is over.
    pub(super) stream: Option<StreamKey>,
    /// Bytes of body still to come.
    pub(super) remaining: u32,
    /// Bytes of padding behind.
    pub(super) padding: u32,
    pub(super) end_stream: bool,
}

const fn connection_error(reason: Reason, fault: Fault) -> ConnectionError {
    ConnectionError { reason, fault }
}

impl Connection {
    /// Takes received bytes. Gives at most one event; the rest of the input is to be handed in again. Without an event
    /// everything was consumed, incomplete frames included.
    ///
    /// `now_ms` is the current time on any monotonic clock that the caller uses throughout.
    ///
    /// # Errors
    /// The peer broke the connection. GOAWAY is queued; the machine ignores everything from here on.
    pub fn handle_input(&mut self, heads: &mut HeadPool, input: &[u8], now_ms: u64) -> Result<Step, ConnectionError> {
        self.now_ms = now_ms;
        let mut at = 0;
        while self.dead.is_none() {
            match self.read(heads, input, &mut at) {
                Ok(None) if at < input.len() => {}
                Ok(event) => return Ok(Step { consumed: at, event }),
                Err(error) => {
                    self.die(error);
                    return Err(error);
                }
            }
        }
        Ok(Step { consumed: input.len(), event: None })
    }

    /// Reads one frame, or what there is of it.
    #[inline]
    fn read(&mut self, heads: &mut HeadPool, input: &[u8], at: &mut usize) -> Result<Option<Event>, ConnectionError> {
        let rest = &input[*at..];
        match self.reading {
            Reading::Header => {
                if self.partial.is_empty() {
                    self.partial_ms = self.now_ms;
                }
                let header = match (rest.first_chunk::<HEADER_BYTES>(), self.partial.is_empty()) {
                    (Some(bytes), true) => {
                        *at += HEADER_BYTES;
                        FrameHeader::read(bytes)
                    }
                    _ => {
                        if !self.collect(HEADER_BYTES, rest, at) {
                            return Ok(None);
                        }
                        let bytes = self.partial.first_chunk().map_or([0; HEADER_BYTES], |bytes| *bytes);
                        self.partial.clear();
                        FrameHeader::read(&bytes)
                    }
                };
                self.frame_begins(heads, header, input, at)
            }
            Reading::Data(data) => self.data_payload(data, rest, at),
            Reading::Payload(header, wanted) => {
                if !self.collect(wanted as usize, rest, at) {
                    return Ok(None);
                }
                self.reading = Reading::skip(header.length - wanted);
                let mut payload = std::mem::take(&mut self.partial);
                let event = self.frame(heads, header, &payload);
                payload.clear();
                payload.shrink_to(64);
                self.partial = payload;
                event
            }
            Reading::PadLength(data) => {
                let Some(&padding) = rest.first() else { return Ok(None) };
                *at += 1;
                if let Some(event) = self.data_padding(data, padding)? {
                    return Ok(Some(event));
                }
                self.data_or_header(&input[*at..], at)
            }
            Reading::Skip(left) => {
                let now = (left as usize).min(rest.len());
                *at += now;
                self.reading = Reading::skip(left - now as u32);
                Ok(None)
            }
            Reading::Preface(matched) => {
                let matched = usize::from(matched);
                let now = rest.len().min(PREFACE.len() - matched);
                if rest[..now] != PREFACE[matched..matched + now] {
                    return Err(connection_error(Reason::PROTOCOL_ERROR, Fault::Preface));
                }
                *at += now;
                self.reading = if matched + now == PREFACE.len() {
                    Reading::Header
                } else {
                    Reading::Preface((matched + now) as u8)
                };
                Ok(None)
            }
        }
    }

    /// Fills `partial` up to `wanted` bytes; true when they are all there.
    fn collect(&mut self, wanted: usize, rest: &[u8], at: &mut usize) -> bool {
        let now = (wanted - self.partial.len()).min(rest.len());
        self.partial.extend_from_slice(&rest[..now]);
        *at += now;
        self.partial.len() == wanted
    }

    #[inline]
    fn frame_begins(
        &mut self,
        heads: &mut HeadPool,
        header: FrameHeader,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        let wanted = self.check_header(header)?;
        let rest = &input[*at..];
        if header.kind == data::KIND {
            if let Some(event) = self.data_frame(header)? {
                return Ok(Some(event));
            }
            return self.data_or_header(rest, at);
        }
        if rest.len() >= header.length as usize {
            // The whole frame is here: read it where it stands.
            *at += header.length as usize;
            self.reading = Reading::Header;
            return self.frame(heads, header, &rest[..wanted as usize]);
        }
        self.reading = Reading::Payload(header, wanted);
        Ok(None)
    }

    /// Goes on with DATA in the same call, so that an empty one is not forgotten at the end of the input.
    #[inline]
    fn data_or_header(&mut self, rest: &[u8], at: &mut usize) -> Result<Option<Event>, ConnectionError> {
        match self.reading {
            Reading::Data(data) => self.data_payload(data, rest, at),
            _ => Ok(None),
        }
    }

    /// All that the header alone decides: order of frames, length, stream 0 or not. Gives how many bytes of payload are
    /// needed to act on the frame.
    #[inline]
    fn check_header(&mut self, header: FrameHeader) -> Result<u32, ConnectionError> {
        let FrameHeader { length, kind, flags: _, stream } = header;
        // A size error on the whole connection also where a stream error would do (section 5.4.1 lets us).
        if length > PAYLOAD_BYTES as u32 {
            return Err(connection_error(Reason::FRAME_SIZE_ERROR, Fault::FrameSize));
        }
        if let Some(block) = &self.block
            && (kind != continuation::KIND || stream != block.stream)
        {
            return Err(connection_error(Reason::PROTOCOL_ERROR, Fault::HeaderBlock));
        }
        if kind == headers::KIND && self.first_settings_seen && !stream.is_connection() {
            return Ok(length);
        }
        self.check_other_header(header)
    }

    fn check_other_header(&mut self, header: FrameHeader) -> Result<u32, ConnectionError> {
        let FrameHeader { length, kind, flags: _, stream } = header;
        if !self.first_settings_seen && (kind != settings::KIND || header.has(flag::ACK) || !stream.is_connection()) {
            return Err(connection_error(Reason::PROTOCOL_ERROR, Fault::Preface));
        }
        // Type → (on stream 0?, lengths, bytes wanted)
        let (on_connection, lengths, wanted) = match kind {
            data::KIND => (false, 0..=PAYLOAD_BYTES as u32, 0),
            headers::KIND => (false, 0..=PAYLOAD_BYTES as u32, length),
            // A wrong length is a stream error, so the frame is looked at in any case.
            priority::KIND => (false, 0..=PAYLOAD_BYTES as u32, 0),
            rst_stream::KIND => (false, rst_stream::LENGTH..=rst_stream::LENGTH, length),
            settings::KIND => (true, 0..=PAYLOAD_BYTES as u32, length),
            push_promise::KIND => return Err(connection_error(Reason::PROTOCOL_ERROR, Fault::Push)),
            ping::KIND => (true, ping::LENGTH..=ping::LENGTH, length),
            goaway::KIND => (true, goaway::LENGTH_MIN..=PAYLOAD_BYTES as u32, goaway::LENGTH_MIN),
            window_update::KIND => (stream.is_connection(), window_update::LENGTH..=window_update::LENGTH, length),
            continuation::KIND if self.block.is_some() => (false, 0..=PAYLOAD_BYTES as u32, length),
            continuation::KIND => return Err(connection_error(Reason::PROTOCOL_ERROR, Fault::HeaderBlock)),
            priority_update::KIND => {
                (true, priority_update::LENGTH_MIN..=PAYLOAD_BYTES as u32, length.min(priority_update::LENGTH_MAX))
            }
            _ => return Ok(0), // section 4.1: ignored, wherever it stands
        };
        if stream.is_connection() != on_connection {
            return Err(connection_error(Reason::PROTOCOL_ERROR, Fault::WrongStream));
        }
        let entries_max = self.limits.settings_entries_max as usize * settings::ENTRY_BYTES;
        if kind == settings::KIND {
            let ack = header.has(flag::ACK);
            if !(length as usize).is_multiple_of(settings::ENTRY_BYTES) || (ack && length != 0) {
                return Err(connection_error(Reason::FRAME_SIZE_ERROR, Fault::FrameSize));
            }
            if length as usize > entries_max {
                return Err(connection_error(Reason::ENHANCE_YOUR_CALM, Fault::Setting));
            }
        }
        if !lengths.contains(&length) {
            return Err(connection_error(Reason::FRAME_SIZE_ERROR, Fault::FrameSize));
        }
        Ok(wanted)
    }
}

impl Reading {
    /// Skips so many bytes, and none at all by reading the next header.
    pub(super) const fn skip(bytes: u32) -> Self {
        if bytes == 0 { Self::Header } else { Self::Skip(bytes) }
    }
}
