//! A WebSocket client that says frames, right and wrong ones.

use crate::gateway::{Client, Http2, Server, Wire};

/// The key of RFC 6455 section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it; `first` is the byte with FIN, reserved bits and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Only its header, with the mask, for a payload of this length.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(0x80 | length as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// A text message.
pub fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A Close.
pub fn close(code: u16) -> Vec<u8> {
    frame(0x88, &code.to_be_bytes())
}

/// The opening request, with further field lines.
pub fn opening(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: {KEY}\r\n{fields}\r\n"
    )
}

/// Frames as a server sends them, one after the other: first byte and payload.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (u16::from_be_bytes([rest[0], rest[1]]) as usize, &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().expect("eight bytes")) as usize, &rest[8..]),
            length => (*length as usize, rest),
        };
        frames.push((*first, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

impl<W: Wire> Client<W> {
    /// Opens a WebSocket.
    pub fn open(&mut self, path: &str) {
        self.open_with(path, "");
    }

    /// Opens a WebSocket with further field lines.
    pub fn open_with(&mut self, path: &str, fields: &str) {
        self.wire.say(opening(path, fields).as_bytes());
        let answer = self.answer(true);
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    /// The next frame: first byte and payload.
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        let [first, length] = self.exactly(2)[..] else { unreachable!("two bytes") };
        assert_eq!(length & 0x80, 0, "a server does not mask");
        let length = match length {
            126 => u16::from_be_bytes(self.exactly(2).try_into().expect("two bytes")) as usize,
            127 => u64::from_be_bytes(self.exactly(8).try_into().expect("eight bytes")) as usize,
            length => length as usize,
        };
        (first, self.exactly(length))
    }

    /// The next frame, unless the connection ends before it is whole.
    pub fn attempt_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        if !self.has(2) {
            return None;
        }
        let header = match self.peek()[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if !self.has(header) {
            return None;
        }
        let length = match (header, self.peek()) {
            (4, heard) => u16::from_be_bytes([heard[2], heard[3]]) as usize,
            (10, heard) => u64::from_be_bytes(heard[2..10].try_into().expect("eight bytes")) as usize,
            (_, heard) => heard[1] as usize,
        };
        self.has(header + length).then(|| self.frame())
    }

    /// Opens a WebSocket, unless the connection ends before.
    pub fn attempt_open(&mut self, path: &str) -> bool {
        self.wire.say(opening(path, "").as_bytes());
        self.has_head() && self.answer(true).status == 101
    }

    /// The next text message.
    pub fn text(&mut self) -> String {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x81, "{:?}", payload.escape_ascii().to_string());
        String::from_utf8(payload).expect("text")
    }

    /// The code of the Close that must come next, and behind which there must be nothing.
    pub fn closed(&mut self) -> u16 {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x88, "{:?}", payload.escape_ascii().to_string());
        let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
        assert!(self.is_over(), "something follows the Close");
        code
    }
}

/// A stream of HTTP/2 that was accepted as a tunnel (RFC 8441), as a wire like any other.
pub struct Tunnel<W> {
    http2: Http2<W>,
    id: u32,
}

/// The fields of an extended CONNECT that asks for a WebSocket (RFC 8441 section 5).
pub fn extended_connect(path: &str) -> [(&str, &str); 6] {
    [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("sec-websocket-version", "13"),
    ]
}

impl<W: Wire> Tunnel<W> {
    /// Asks for a WebSocket by extended CONNECT; the answer's status must be 200.
    pub fn open(http2: Http2<W>, path: &str, fields: &str) -> Self {
        Self::attempt(http2, path, fields).expect("the connection ended before the answer")
    }

    /// The same; `None` when the connection ends before the answer.
    pub fn attempt(mut http2: Http2<W>, path: &str, fields: &str) -> Option<Self> {
        let fields: Vec<(&str, &str)> =
            fields.split_terminator("\r\n").map(|line| line.split_once(": ").expect("a field line")).collect();
        let id = http2.open_fields(&[&extended_connect(path)[..], &fields].concat(), false);
        while http2.streams[&id].answer.is_none() {
            if !http2.listen() {
                return None;
            }
            assert_eq!(http2.streams[&id].reset, None);
        }
        let answer = http2.streams[&id].answer.as_ref().expect("it has come");
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(Self { http2, id })
    }
}

impl<W: Wire> Wire for Tunnel<W> {
    fn say(&mut self, bytes: &[u8]) {
        self.http2.send(self.id, bytes, false);
    }

    fn hear(&mut self) -> Vec<u8> {
        loop {
            let stream = self.http2.streams.get_mut(&self.id).expect("our stream");
            let heard = stream.answer.as_mut().map(|answer| std::mem::take(&mut answer.body)).unwrap_or_default();
            if !heard.is_empty() || stream.is_ended || stream.reset.is_some() || self.http2.is_over {
                return heard;
            }
            self.http2.listen();
        }
    }

    fn finish(&mut self) {
        self.http2.send(self.id, b"", true);
    }
}

/// Somebody who opened a WebSocket over either protocol.
pub type SocketClient = Client<Box<dyn Wire>>;

/// What a WebSocket can travel over.
pub const PROTOCOLS: [&str; 2] = ["HTTP/1.1", "HTTP/2"];

impl Server {
    /// A WebSocket over one of [`PROTOCOLS`], on a connection of its own, asked for with further field lines.
    pub fn websocket(&self, protocol: &str, path: &str, fields: &str) -> SocketClient {
        if protocol == "HTTP/2" {
            return Client::new(Box::new(Tunnel::open(self.connect_http2(), path, fields)));
        }
        let mut client = self.connect();
        client.open_with(path, fields);
        client
    }

    /// A WebSocket over each protocol in turn: what one of them is told, the other is told as well.
    pub fn websockets(&self, path: &str) -> impl Iterator<Item = (&'static str, SocketClient)> {
        PROTOCOLS.into_iter().map(move |protocol| (protocol, self.websocket(protocol, path, "")))
    }
}

/// What a client has heard at the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Messages.
    pub words: Vec<String>,
    /// How many.
    pub pongs: usize,
    /// Of the Close, behind which there was nothing.
    pub code: Option<u16>,
}

/// Hears everything, up to the end of the connection.
pub fn hear(client: &mut SocketClient) -> Heard {
    let (mut heard, mut word) = (Heard::default(), Vec::new());
    while let Some((first, payload)) = client.attempt_frame() {
        assert_eq!(heard.code, None, "{first:x} {payload:?} behind the Close");
        match first & 0x0f {
            0x0a => heard.pongs += 1,
            0x08 => heard.code = Some(payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))),
            0x00..=0x02 => {
                word.extend(payload);
                if first & 0x80 != 0 {
                    heard.words.push(String::from_utf8(std::mem::take(&mut word)).expect("text"));
                }
            }
            _ => panic!("{first:x}"),
        }
    }
    heard
}
