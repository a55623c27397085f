//! A client of HTTP/2 that hides nothing: it speaks frames, keeps to windows, and remembers what it was told.
//!
//! Written from RFC 9113 alone, with another crate's HPACK decoder, so that it shares no mistake with the gateway. Its
//! own header blocks are literals without indexing.

use crate::gateway::{Answer, Asked, Talk, Wire};
use std::collections::BTreeMap;

/// Kinds of frames, section 6.
pub mod kind {
    #![allow(missing_docs, reason = "the names of the standard")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Codes of section 7.
pub mod code {
    #![allow(missing_docs, reason = "the names of the standard")]
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// What a frame may carry unless the peer has said more; more than this we never send.
const FRAME_BYTES_MAX: usize = 16_384;
const WINDOW_INITIAL: i64 = 65_535;
const ROUND_TRIP: &[u8; 8] = b"ringgate";
/// SETTINGS entries.
pub const ENABLE_PUSH: u16 = 2;
/// SETTINGS entries.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// One frame as bytes.
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals without indexing (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                bytes.push(text.len() as u8);
            } else {
                bytes.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    bytes.push(rest as u8 | 128);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
            }
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// Names and values.
pub type Fields = Vec<(String, String)>;

/// What is known of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// 1xx, in their order.
    pub interim: Vec<Answer>,
    /// The final response, as far as it has come.
    pub answer: Option<Answer>,
    /// The peer has ended its side.
    pub is_ended: bool,
    /// The peer has reset it, with this code.
    pub reset: Option<u32>,
    send_window: i64,
}

/// A frame that came, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// One of [`kind`].
    pub kind: u8,
    /// Of the stream, or 0.
    pub id: u32,
    /// Of the payload.
    pub bytes: usize,
    /// The last one of its stream.
    pub is_end: bool,
}

/// A connection of HTTP/2, the client's end.
pub struct Http2<W> {
    /// The connection.
    pub wire: W,
    heard: Vec<u8>,
    read: usize,
    decoder: fluke_hpack::Decoder<'static>,
    next_id: u32,
    /// All streams there ever were.
    pub streams: BTreeMap<u32, Stream>,
    /// Everything that came, in its order.
    pub came: Vec<Came>,
    /// (last stream, code) of every GOAWAY.
    pub goaways: Vec<(u32, u32)>,
    /// (parent, promised stream, fields of the request).
    pub promises: Vec<(u32, u32, Fields)>,
    /// Gives windows back for what it receives.
    pub gives_windows: bool,
    /// The connection has ended.
    pub is_over: bool,
    pongs: usize,
    send_window: i64,
    initial_window: i64,
}

impl<W: Wire> Http2<W> {
    /// Says preface and empty SETTINGS.
    pub fn new(wire: W) -> Self {
        Self::with_settings(wire, &[])
    }

    /// Says preface and these SETTINGS.
    pub fn with_settings(mut wire: W, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        wire.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.say(&frame(kind::SETTINGS, 0, 0, &payload));
        Self {
            wire,
            heard: Vec::new(),
            read: 0,
            decoder: fluke_hpack::Decoder::new(),
            next_id: 1,
            streams: BTreeMap::new(),
            came: Vec::new(),
            goaways: Vec::new(),
            promises: Vec::new(),
            gives_windows: true,
            is_over: false,
            pongs: 0,
            send_window: WINDOW_INITIAL,
            initial_window: WINDOW_INITIAL,
        }
    }

    /// Begins a request: `head` as for HTTP/1, without its last empty line. What HTTP/2 has no place for is left out.
    pub fn open(&mut self, head: &str, is_end: bool) -> u32 {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().expect("a request line").split(' ');
        let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
        let mut fields = vec![(":method", method), (":scheme", "http"), (":authority", "test"), (":path", target)];
        let lower: Vec<(String, &str)> = lines
            .map(|line| line.split_once(':').expect("a field line"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .filter(|(name, _)| !matches!(name.as_str(), "host" | "connection" | "transfer-encoding"))
            .collect();
        fields.extend(lower.iter().map(|(name, value)| (name.as_str(), *value)));
        self.open_fields(&fields, is_end)
    }

    /// Begins a request with exactly these fields.
    pub fn open_fields(&mut self, fields: &[(&str, &str)], is_end: bool) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        let flags = END_HEADERS | if is_end { END_STREAM } else { 0 };
        let bytes = frame(kind::HEADERS, flags, id, &block(fields));
        self.streams.insert(id, Stream { send_window: self.initial_window, ..Stream::default() });
        self.wire.say(&bytes);
        id
    }

    /// GET, begun.
    pub fn begin(&mut self, target: &str) -> u32 {
        self.open(&format!("GET {target} HTTP/2"), true)
    }

    /// A piece of a body, as far and as soon as windows allow. Ends early when the stream has ended.
    pub fn send(&mut self, id: u32, mut bytes: &[u8], is_end: bool) {
        loop {
            let stream = &self.streams[&id];
            if self.is_over || stream.reset.is_some() || stream.is_ended {
                return;
            }
            let room = stream.send_window.min(self.send_window).max(0) as usize;
            let count = bytes.len().min(room).min(FRAME_BYTES_MAX);
            if count == 0 && !bytes.is_empty() {
                self.listen();
                continue;
            }
            let (piece, rest) = bytes.split_at(count);
            bytes = rest;
            let flags = if is_end && bytes.is_empty() { END_STREAM } else { 0 };
            self.wire.say(&frame(kind::DATA, flags, id, piece));
            self.send_window -= count as i64;
            self.streams.get_mut(&id).expect("it was just seen").send_window -= count as i64;
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// Ends a request with trailers.
    pub fn send_trailers(&mut self, id: u32, fields: &[(&str, &str)]) {
        self.wire.say(&frame(kind::HEADERS, END_HEADERS | END_STREAM, id, &block(fields)));
    }

    /// Resets a stream.
    pub fn reset(&mut self, id: u32, code: u32) {
        self.wire.say(&frame(kind::RST_STREAM, 0, id, &code.to_be_bytes()));
    }

    /// Opens a window.
    pub fn give_window(&mut self, id: u32, bytes: u32) {
        self.wire.say(&frame(kind::WINDOW_UPDATE, 0, id, &bytes.to_be_bytes()));
    }

    /// How much of a body the peer would take now.
    pub fn window(&self, id: u32) -> i64 {
        self.streams[&id].send_window.min(self.send_window)
    }

    /// Sends PING and hears everything up to its answer.
    pub fn round_trip(&mut self) {
        let before = self.pongs;
        self.wire.say(&frame(kind::PING, 0, 0, ROUND_TRIP));
        while !self.is_over && self.pongs == before {
            self.listen();
        }
    }

    fn more(&mut self) -> bool {
        if self.read > 0 {
            self.heard.drain(..self.read);
            self.read = 0;
        }
        let bytes = self.wire.hear();
        self.heard.extend_from_slice(&bytes);
        !bytes.is_empty()
    }

    /// Hears one frame; false at the end of the connection.
    pub fn listen(&mut self) -> bool {
        let header = loop {
            if let Some(header) = self.heard.get(self.read..self.read + 9) {
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                if self.heard.len() - self.read >= 9 + length {
                    break (length, header[3], header[4], u32::from_be_bytes(header[5..9].try_into().expect("four")));
                }
            }
            if !self.more() {
                self.is_over = true;
                return false;
            }
        };
        let (length, kind, flags, id) = header;
        let payload = self.heard[self.read + 9..self.read + 9 + length].to_vec();
        self.read += 9 + length;
        assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        self.take(kind, flags, id & 0x7fff_ffff, &payload);
        true
    }

    fn take(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        let is_end = matches!(kind, kind::DATA | kind::HEADERS) && flags & END_STREAM != 0;
        self.came.push(Came { kind, id, bytes: payload.len(), is_end });
        match kind {
            kind::DATA => {
                let stream = self.streams.get_mut(&id).expect("DATA of a stream that was opened");
                assert!(!stream.is_ended && stream.reset.is_none(), "DATA behind the end of stream {id}");
                stream.answer.as_mut().expect("a head before its body").body.extend_from_slice(payload);
                stream.is_ended = is_end;
                if self.gives_windows && !payload.is_empty() {
                    self.give_window(0, payload.len() as u32);
                    if !is_end {
                        self.give_window(id, payload.len() as u32);
                    }
                }
            }
            kind::HEADERS => {
                assert!(flags & END_HEADERS != 0, "a block in one frame");
                let fields = self.fields(payload);
                let stream = self.streams.get_mut(&id).expect("HEADERS of a stream that was opened");
                assert!(!stream.is_ended && stream.reset.is_none(), "HEADERS behind the end of stream {id}");
                stream.is_ended = is_end;
                match &mut stream.answer {
                    Some(answer) => answer.trailers = fields,
                    None => {
                        let status = fields[0].1.parse().expect("a status");
                        assert!(fields[0].0 == ":status" && fields[1..].iter().all(|(name, _)| !name.starts_with(':')));
                        let answer =
                            Answer { status, fields: fields[1..].to_vec(), body: Vec::new(), trailers: Vec::new() };
                        match status {
                            100..200 => stream.interim.push(answer),
                            _ => stream.answer = Some(answer),
                        }
                    }
                }
            }
            kind::RST_STREAM => {
                self.streams.get_mut(&id).expect("a reset of a stream that was opened").reset = Some(number(0));
            }
            kind::SETTINGS if flags & ACK == 0 => {
                for entry in payload.chunks(6) {
                    let value = u32::from_be_bytes(entry[2..6].try_into().expect("four bytes"));
                    if u16::from_be_bytes([entry[0], entry[1]]) == INITIAL_WINDOW_SIZE {
                        let change = i64::from(value) - self.initial_window;
                        self.initial_window = i64::from(value);
                        self.streams.values_mut().for_each(|stream| stream.send_window += change);
                    }
                }
                self.wire.say(&frame(kind::SETTINGS, ACK, 0, &[]));
            }
            kind::PUSH_PROMISE => {
                let fields = self.fields(&payload[4..]);
                self.streams.insert(number(0), Stream::default());
                self.promises.push((id, number(0), fields));
            }
            kind::PING if flags & ACK == 0 => self.wire.say(&frame(kind::PING, ACK, 0, payload)),
            kind::GOAWAY => self.goaways.push((number(0), number(4))),
            kind::WINDOW_UPDATE if id == 0 => self.send_window += i64::from(number(0)),
            kind::WINDOW_UPDATE => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.send_window += i64::from(number(0));
                }
            }
            kind::PING => self.pongs += usize::from(payload == ROUND_TRIP),
            kind::SETTINGS => {}
            other => panic!("a frame of kind {other}"),
        }
    }

    fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let fields = self.decoder.decode(block).expect("a header block");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        for (name, _) in &fields {
            let forbidden = ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"];
            assert!(!forbidden.contains(&name.as_str()) && *name == name.to_ascii_lowercase(), "a field {name}");
        }
        fields
    }

    /// Waits until a stream has ended, one way or the other.
    pub fn finish(&mut self, id: u32) -> &Stream {
        loop {
            let stream = &self.streams[&id];
            if stream.is_ended || stream.reset.is_some() {
                return &self.streams[&id];
            }
            assert!(self.listen(), "the connection ended before stream {id}: {:?}", self.goaways);
        }
    }

    /// The whole answer of a stream.
    pub fn answer(&mut self, id: u32) -> Answer {
        let stream = self.finish(id);
        assert!(stream.is_ended, "stream {id} was reset: {:?}", stream.reset);
        let answer = stream.answer.clone().expect("a response");
        if let Some(length) = answer.field("content-length")
            && !answer.body.is_empty()
        {
            assert_eq!(length, answer.body.len().to_string());
        }
        answer
    }

    /// GET and its answer.
    pub fn get(&mut self, target: &str) -> Answer {
        let id = self.begin(target);
        self.answer(id)
    }

    /// Hears everything to the end of the connection. What it said last, if that was a GOAWAY.
    pub fn rest(&mut self) -> Option<(u32, u32)> {
        while self.listen() {}
        self.goaways.last().copied()
    }
}

impl<W: Wire> Talk for Http2<W> {
    fn exchange(&mut self, asked: &Asked<'_>) -> (Vec<Answer>, Answer) {
        let has_body = asked.body.is_some() || !asked.trailers.is_empty();
        let id = match asked.body {
            Some(body) if !asked.is_streamed => {
                self.open(&format!("{}\r\ncontent-length: {}", asked.head, body.len()), false)
            }
            _ => self.open(asked.head, !has_body),
        };
        if let Some(body) = asked.body {
            self.send(id, body, asked.trailers.is_empty());
        }
        if !asked.trailers.is_empty() {
            self.send_trailers(id, asked.trailers);
        }
        let answer = self.answer(id);
        (self.streams[&id].interim.clone(), answer)
    }
}
