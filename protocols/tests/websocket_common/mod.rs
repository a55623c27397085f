//! A WebSocket machine with a memory of what it told, and makers of frames.
#![allow(dead_code, reason = "each test file uses a part of it")]

use ringgate_protocols::limits::WebSocketLimits;
use ringgate_protocols::websocket::close::CloseCode;
use ringgate_protocols::websocket::connection::Connection;
use ringgate_protocols::websocket::deflate::{Parameters, Pool};
use ringgate_protocols::websocket::error::Fault;
use ringgate_protocols::websocket::event::{Environment, Event};
use ringgate_protocols::websocket::message::{Kind, Payload};

/// What the application would know, whatever way the input was cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
    Fault(Fault),
}

/// A machine, its buffers and its transcript.
pub(crate) struct End {
    pub(crate) socket: Connection,
    pub(crate) limits: WebSocketLimits,
    pub(crate) pool: Pool,
    pub(crate) scratch: Vec<u8>,
    pub(crate) now_ms: u64,
    pub(crate) told: Vec<Told>,
    pub(crate) out: Vec<u8>,
    /// Echo each message as soon as it is whole.
    pub(crate) echo: bool,
    pub(crate) events: usize,
    input: Vec<u8>,
    message: Vec<u8>,
}

pub(crate) fn text(bytes: &[u8]) -> Told {
    Told::Message(Kind::Text, bytes.to_vec())
}

pub(crate) fn binary(bytes: &[u8]) -> Told {
    Told::Message(Kind::Binary, bytes.to_vec())
}

pub(crate) const NO_TAKEOVER: Parameters = Parameters {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_window_bits: 15,
    client_window_bits: 15,
};

pub(crate) const TAKEOVER: Parameters =
    Parameters { server_no_context_takeover: false, client_no_context_takeover: false, ..NO_TAKEOVER };

impl End {
    pub(crate) fn new(socket: Connection) -> Self {
        Self {
            socket,
            limits: WebSocketLimits::default(),
            pool: Pool::default(),
            scratch: Vec::new(),
            now_ms: 0,
            told: Vec::new(),
            out: Vec::new(),
            echo: false,
            events: 0,
            input: Vec::new(),
            message: Vec::new(),
        }
    }

    pub(crate) fn server(parameters: Option<Parameters>) -> Self {
        Self::new(Connection::server(parameters, 0))
    }

    pub(crate) fn client(parameters: Option<Parameters>) -> Self {
        let mut number = 0_u32;
        let keys = Box::new(move || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number.to_be_bytes()
        });
        Self::new(Connection::client(parameters, keys, 0))
    }

    /// Feeds bytes behind those that are left, until the machine asks for more.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let mut around = Environment {
                limits: &self.limits,
                pool: &mut self.pool,
                scratch: &mut self.scratch,
                now_ms: self.now_ms,
            };
            let step = match self.socket.handle_input(&mut self.input, &mut around) {
                Ok(step) => step,
                Err(fault) => {
                    self.told.push(Told::Fault(fault));
                    assert!(self.socket.state() != ringgate_protocols::websocket::state::State::Open);
                    continue;
                }
            };
            self.events += 1;
            let place = |span: ringgate_protocols::span::Span| span.of(&self.input).to_vec();
            let mut done = None;
            match step.event {
                Event::NeedInput => {
                    self.input.drain(..step.consumed);
                    if !self.socket.is_closed() {
                        assert!(self.input.len() <= 138, "{} bytes are left", self.input.len());
                    }
                    return;
                }
                Event::Message { kind, payload } => {
                    assert!(self.message.is_empty());
                    done = Some((kind, payload.of(&self.input, &self.scratch).to_vec()));
                    self.scratch.clear();
                }
                Event::Piece { kind, payload, first, last } => {
                    assert!(!(first && last));
                    assert!(!first || self.message.is_empty());
                    assert!(last || !payload.is_empty());
                    self.message.extend_from_slice(payload.of(&self.input, &self.scratch));
                    if let Payload::Scratch(_) = payload {
                        self.scratch.clear();
                    }
                    if last {
                        done = Some((kind, std::mem::take(&mut self.message)));
                    }
                }
                Event::Ping(span) => self.told.push(Told::Ping(place(span))),
                Event::Pong(span) => self.told.push(Told::Pong(place(span))),
                Event::Close { code, reason } => {
                    self.told.push(Told::Close(code, String::from_utf8(place(reason)).unwrap()));
                }
            }
            if let Some((kind, bytes)) = done {
                if kind == Kind::Text {
                    assert!(std::str::from_utf8(&bytes).is_ok(), "told text is UTF-8");
                }
                if self.echo && !self.socket.is_closed() {
                    self.socket.poll_output(&mut self.out);
                    // Not after a Close; the machine refuses then.
                    let _ = self.socket.send_compressed(&mut self.out, kind, &bytes, &mut self.pool);
                }
                self.told.push(Told::Message(kind, bytes));
            }
            assert!(step.consumed > 0, "an event makes progress");
            self.input.drain(..step.consumed);
            self.socket.poll_output(&mut self.out);
        }
    }

    /// Feeds, writes what is owed, and gives all that was written.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.feed(bytes);
        self.socket.poll_output(&mut self.out);
        std::mem::take(&mut self.out)
    }

    /// The fault in the transcript, if there is one.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.told.iter().find_map(|told| if let Told::Fault(fault) = told { Some(*fault) } else { None })
    }
}

/// A frame with the mask 37 fa 21 3d of the RFC's examples. `first` is its first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = unmasked(first, payload);
    let header = bytes.len() - payload.len();
    bytes[1] |= 0x80;
    let key = [0x37, 0xfa, 0x21, 0x3d];
    for (place, byte) in bytes[header..].iter_mut().enumerate() {
        *byte ^= key[place & 3];
    }
    bytes.splice(header..header, key);
    bytes
}

/// A frame without mask.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Our Close with a code and no reason.
pub(crate) fn close_frame(code: u16) -> Vec<u8> {
    unmasked(0x88, &code.to_be_bytes())
}
