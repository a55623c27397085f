//! A hand-driven client for the HTTP/2 suites: builds frames, feeds the machine, reads back events and frames.
#![allow(dead_code, unreachable_pub, reason = "a module of every suite, each uses its own part")]

pub mod model;

use std::collections::BTreeMap;

use ringgate_protocols::http2::connection::{Connection, Event};
use ringgate_protocols::http2::error::ConnectionError;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::http2::request::{HeadPool, RequestHead};
use ringgate_protocols::http2::stream::StreamKey;
use ringgate_protocols::limits::Http2Limits;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const PRIORITY_UPDATE: u8 = 0x10;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// One frame as bytes.
pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of literals that touch no table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![];
    for (name, value) in fields {
        raw_field(&mut bytes, name.as_bytes(), value.as_bytes());
    }
    bytes
}

pub fn raw_field(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
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
        bytes.extend(text);
    }
}

pub const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
pub const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// A complete GET on `id`.
pub fn get(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&GET))
}

/// The head of a POST on `id`, whose body is still to come.
pub fn post(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, &block(&POST))
}

pub fn request(id: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, id, &block(fields))
}

pub fn window_update(id: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &increment.to_be_bytes())
}

pub fn rst(id: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, id, &8u32.to_be_bytes())
}

pub fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = vec![];
    for (identifier, value) in entries {
        payload.extend(identifier.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// What the application was told, in a form that can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Request { id: u32, method: String, target: String, fields: Vec<(String, String)>, end: bool },
    Data { id: u32, bytes: Vec<u8>, end: bool },
    Trailers { id: u32, fields: Vec<(String, String)> },
    Reset { id: u32, reason: Reason, by_peer: bool },
    Goaway { last: u32, reason: Reason },
}

/// A frame that we sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

pub fn parse(mut bytes: &[u8]) -> Vec<Sent> {
    let mut frames = vec![];
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let id = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        frames.push(Sent { kind: bytes[3], flags: bytes[4], id, payload: bytes[9..9 + length].to_vec() });
        bytes = &bytes[9 + length..];
    }
    frames
}

fn texts(head: &RequestHead) -> Vec<(String, String)> {
    let text = |span: ringgate_protocols::span::Span| String::from_utf8_lossy(span.of(head.bytes())).into_owned();
    head.head.fields.iter().map(|field| (text(field.name), text(field.value))).collect()
}

/// The machine and its surroundings.
pub struct Talk {
    pub connection: Connection,
    pub heads: HeadPool,
    pub out: Vec<u8>,
    pub now: u64,
    pub keys: BTreeMap<u32, StreamKey>,
    pub last_head: Option<RequestHead>,
}

impl Talk {
    /// Nothing received yet.
    pub fn fresh(limits: Http2Limits) -> Self {
        Self {
            connection: Connection::new(limits, 0),
            heads: HeadPool::new(),
            out: vec![],
            now: 0,
            keys: BTreeMap::new(),
            last_head: None,
        }
    }

    /// Preface and SETTINGS are behind us, and so are all frames this made.
    pub fn with(limits: Http2Limits) -> Self {
        let mut talk = Self::fresh(limits);
        let mut hello = PREFACE.to_vec();
        hello.extend(settings(&[]));
        hello.extend(frame(SETTINGS, ACK, 0, &[]));
        assert_eq!(talk.feed(&hello), Ok(vec![]));
        talk.sent();
        talk
    }

    pub fn new() -> Self {
        Self::with(Http2Limits::default())
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Told>, ConnectionError> {
        let mut told = vec![];
        let mut at = 0;
        loop {
            let step = self.connection.handle_input(&mut self.heads, &bytes[at..], self.now)?;
            let input = &bytes[at..];
            at += step.consumed;
            match step.event {
                None => {
                    assert_eq!(at, bytes.len(), "without an event all input is consumed");
                    return Ok(told);
                }
                Some(event) => {
                    let event = self.tell(event, input);
                    told.push(event);
                }
            }
        }
    }

    pub fn tell(&mut self, event: Event, input: &[u8]) -> Told {
        match event {
            Event::Request { stream, head, end_stream } => {
                let id = stream.id().get();
                self.keys.insert(id, stream);
                let told = Told::Request {
                    id,
                    method: head.head.method.to_string(),
                    target: String::from_utf8_lossy(head.head.target.of(head.bytes())).into_owned(),
                    fields: texts(&head),
                    end: end_stream,
                };
                self.last_head = Some((*head).clone());
                self.heads.recycle(head);
                told
            }
            Event::Data { stream, span, end_stream } => {
                Told::Data { id: stream.id().get(), bytes: span.of(input).to_vec(), end: end_stream }
            }
            Event::Trailers { stream, head } => {
                let told = Told::Trailers { id: stream.id().get(), fields: texts(&head) };
                self.heads.recycle(head);
                told
            }
            Event::Reset { stream, reason, by_peer } => Told::Reset { id: stream.id().get(), reason, by_peer },
            Event::Goaway { last, reason } => Told::Goaway { last: last.get(), reason },
        }
    }

    /// All frames since the last call.
    pub fn sent(&mut self) -> Vec<Sent> {
        self.connection.poll_output(&mut self.out);
        let frames = parse(&self.out);
        self.out.clear();
        frames
    }

    pub fn key(&self, id: u32) -> StreamKey {
        self.keys[&id]
    }

    pub fn respond(&mut self, id: u32, body: &[u8]) {
        let key = self.key(id);
        self.connection.send_response_with_body(&mut self.out, key, http::StatusCode::OK, [], body).unwrap();
        self.connection.stream_done(key);
    }

    pub fn done(&mut self, id: u32) {
        let key = self.key(id);
        self.connection.stream_done(key);
    }

    /// Feeds, expects a connection error with this reason, GOAWAY with it on the wire, and deafness afterwards.
    pub fn expect_connection_error(mut self, bytes: &[u8], reason: Reason) {
        let error = self.feed(bytes).expect_err("a connection error");
        assert_eq!(error.reason, reason, "{error:?}");
        let last = self.sent().pop().expect("GOAWAY");
        assert_eq!((last.kind, &last.payload[4..8]), (GOAWAY, &reason.0.to_be_bytes()[..]));
        assert_eq!(self.feed(&get(0x7fff_fff1)), Ok(vec![]), "a dead machine ignores input (F-20)");
        assert!(self.sent().is_empty());
    }

    /// Feeds, expects RST_STREAM with this reason on this stream and a living connection.
    pub fn expect_stream_error(&mut self, bytes: &[u8], id: u32, reason: Reason) -> Vec<Told> {
        let told = self.feed(bytes).expect("no connection error");
        let resets = self.sent().into_iter().filter(|sent| sent.kind == RST_STREAM).collect::<Vec<_>>();
        assert_eq!(resets.len(), 1, "one RST_STREAM");
        assert_eq!((resets[0].id, &resets[0].payload[..]), (id, &reason.0.to_be_bytes()[..]));
        told
    }
}
