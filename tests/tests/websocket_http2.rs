//! WebSockets on HTTP/2 streams (RFC 8441), with frames said by hand.

use ringgate::{
    App, Config, Core, Request, blocking,
    websocket::{SocketError, WebSocket},
};
use ringgate_tests::{
    gateway::{Client, Http2, Server, Wire, grounds, on_every_driver, on_every_driver_with},
    websocket::{close, extended_connect, frame, frames, text},
};
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    assert_eq!(socket.protocol().as_str(), "HTTP/2");
    while let Some(message) = socket.recv().await {
        socket.send(message?).await?;
    }
    Ok(())
}

fn echo_blocking(mut socket: blocking::WebSocket) {
    while let Some(Ok(message)) = socket.recv() {
        if socket.send(message).is_err() {
            return;
        }
    }
}

async fn leaves(_: WebSocket) {}

static GONE: AtomicUsize = AtomicUsize::new(0);

async fn watches(mut socket: WebSocket) {
    assert_eq!(socket.recv().await, Some(Err(SocketError::Disconnected)));
    GONE.fetch_add(1, SeqCst);
}

fn app(_: &Core) -> App {
    App::new()
        .route("/ws", echo)
        .route("/blocking", echo_blocking)
        .route("/leaves", leaves)
        .route("/watches", watches)
        .route("/plain", |_: &Request| "plain")
}

fn without(_: &Core) -> App {
    App::new().route("/plain", |_: &Request| "plain")
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

fn frame2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields with new names, not indexed, not Huffman-coded (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

fn connect(path: &str, protocol: &str, further: &[(&str, &str)]) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("sec-websocket-version", "13"),
    ];
    block(&[&fields[..], further].concat())
}

/// A client of HTTP/2 that keeps what came by kind.
struct Connection<W> {
    wire: W,
    heard: Vec<u8>,
}

impl<W: Wire> Connection<W> {
    fn begin(client: Client<W>) -> Self {
        let mut wire = client.wire;
        wire.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.say(&frame2(SETTINGS, 0, 0, &[]));
        Self { wire, heard: Vec::new() }
    }

    /// The next frame but for acknowledgements and window updates; `None` at the end.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            let length = match self.heard[..] {
                [a, b, c, ..] => u32::from_be_bytes([0, a, b, c]) as usize + 9,
                _ => usize::MAX,
            };
            if self.heard.len() < length {
                let more = self.wire.hear();
                if more.is_empty() {
                    return None;
                }
                self.heard.extend(more);
                continue;
            }
            let frame: Vec<u8> = self.heard.drain(..length).collect();
            let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap());
            match (frame[3], frame[4]) {
                (SETTINGS, 0) if !SEEN_SETTINGS.get() => {
                    SEEN_SETTINGS.set(true);
                    return Some((SETTINGS, 0, 0, frame[9..].to_vec()));
                }
                (SETTINGS | WINDOW_UPDATE, _) => {}
                // Nobody reads the rest of a request that is answered.
                (RST_STREAM, _) if frame[9..] == [0; 4] => {}
                (kind, flags) => return Some((kind, flags, stream, frame[9..].to_vec())),
            }
        }
    }

    fn settings(&mut self) -> Vec<(u16, u32)> {
        SEEN_SETTINGS.set(false);
        let (_, _, _, payload) = self.next().unwrap();
        SEEN_SETTINGS.set(true);
        self.wire.say(&frame2(SETTINGS, 1, 0, &[]));
        let entry = |entry: &[u8]| {
            (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes(entry[2..].try_into().unwrap()))
        };
        payload.chunks(6).map(entry).collect()
    }

    /// Opens a stream; the first byte of the answer's block is its status if that is in the static table.
    fn open(&mut self, stream: u32, block: &[u8]) -> (u8, Vec<u8>) {
        self.wire.say(&frame2(HEADERS, 4, stream, block));
        let (kind, flags, answered, payload) = self.next().unwrap();
        assert_eq!((kind, answered), (HEADERS, stream));
        (flags, payload)
    }

    /// Bytes of a stream until there are so many.
    fn bytes(&mut self, stream: u32, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let (kind, _, answered, payload) = self.next().unwrap();
            assert_eq!((kind, answered), (DATA, stream));
            bytes.extend(payload);
        }
        bytes
    }
}

thread_local! {
    static SEEN_SETTINGS: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
}

/// The entry of the static table for `:status: 200`, as one byte.
const OK: u8 = 0x88;

#[test]
fn x_1_announced_only_where_there_is_a_websocket() {
    on_every_driver(app, |server| {
        let settings = Connection::begin(server.connect()).settings();
        assert!(settings.contains(&(8, 1)), "{settings:?}");
    });
    on_every_driver(without, |server| {
        let mut client = Connection::begin(server.connect());
        let settings = client.settings();
        assert!(!settings.contains(&(8, 1)), "{settings:?}");
        client.wire.say(&frame2(HEADERS, 4, 1, &connect("/ws", "websocket", &[])));
        assert_eq!(client.next().unwrap().0, RST_STREAM, "X-2: malformed where it was not announced");
    });
}

#[test]
fn x_2_echo_on_streams_beside_ordinary_ones() {
    on_every_driver(app, |server| {
        let mut client = Connection::begin(server.connect());
        client.settings();
        for (stream, path) in [(1, "/ws"), (3, "/blocking")] {
            let (flags, payload) = client.open(stream, &connect(path, "websocket", &[]));
            assert_eq!((flags & 1, payload[0]), (0, OK), "{path}");
        }
        for stream in [1, 3] {
            // A frame in two DATA frames, and two in one.
            let message = text("in two pieces");
            client.wire.say(&frame2(DATA, 0, stream, &message[..5]));
            client.wire.say(&frame2(DATA, 0, stream, &message[5..]));
            assert_eq!(frames(&client.bytes(stream, 15)), [(0x81, b"in two pieces".to_vec())]);
            client.wire.say(&frame2(DATA, 0, stream, &[text("a"), text("b")].concat()));
            assert_eq!(frames(&client.bytes(stream, 6)), [(0x81, b"a".to_vec()), (0x81, b"b".to_vec())]);
        }
        let get = [(":method", "GET"), (":scheme", "http"), (":path", "/plain"), (":authority", "test")];
        client.wire.say(&frame2(HEADERS, 5, 5, &block(&get)));
        let (kind, _, stream, payload) = client.next().unwrap();
        assert_eq!((kind, stream, payload[0]), (HEADERS, 5, OK));
        assert_eq!(client.bytes(5, 5), b"plain");

        // 200 KiB through the windows of both sides.
        let large = frame(0x82, &vec![7; 50_000]);
        for _ in 0..4 {
            for part in large.chunks(16_000) {
                client.wire.say(&frame2(DATA, 0, 1, part));
            }
            let echo = client.bytes(1, 50_004);
            assert_eq!(frames(&echo), [(0x82, vec![7; 50_000])]);
            for stream in [0, 1] {
                client.wire.say(&frame2(WINDOW_UPDATE, 0, stream, &50_004_u32.to_be_bytes()));
            }
        }
        client.wire.say(&frame2(DATA, 0, 1, &close(1000)));
        assert_eq!(frames(&client.bytes(1, 4)), [(0x88, vec![3, 232])]);
        let (kind, flags, stream, payload) = client.next().unwrap();
        assert_eq!((kind, flags, stream, payload), (DATA, 1, 1, vec![]), "X-3: END_STREAM behind the Close");
    });
}

#[test]
fn refusals_on_a_stream() {
    on_every_driver(app, |server| {
        let mut client = Connection::begin(server.connect());
        client.settings();
        let mut stream = 1;
        let mut status = |block: Vec<u8>| {
            let (_, payload) = client.open(stream, &block);
            while client.next().is_some_and(|(_, flags, of, _)| of != stream || flags & 1 == 0) {}
            stream += 2;
            payload
        };
        // Statuses of the static table: 8c is 400, 8d is 404. Others are a literal with the name of entry 8.
        assert_eq!(status(connect("/nowhere", "websocket", &[]))[0], 0x8d);
        assert_eq!(status(connect("/ws", "websocket", &[("sec-websocket-version", "13")]))[0], 0x8c);
        for (path, protocol, further, code) in [
            ("/ws", "connect-udp", &[][..], "501"),
            ("/plain", "websocket", &[], "501"),
            ("/ws", "websocket", &[("origin", "http://elsewhere")], "403"),
        ] {
            let payload = status(connect(path, protocol, further));
            let plain = payload.windows(3).any(|part| part == code.as_bytes());
            let huffman: &[u8] = match code {
                "501" => &[0x6c, 0x03],
                _ => &[0x68, 0x0c],
            };
            let coded = payload[..8].windows(2).any(|part| part[0] == huffman[0]);
            assert!(plain || coded, "{path} {protocol}: {payload:02x?}");
        }
    });
}

/// RST_STREAM with CANCEL is an abort, in both directions; a handler that ends closes in good order.
#[test]
fn x_3_ends() {
    on_every_driver(app, |server| {
        let mut client = Connection::begin(server.connect());
        client.settings();
        for (stream, end) in [(1, frame2(RST_STREAM, 0, 1, &8_u32.to_be_bytes())), (3, frame2(DATA, 1, 3, b""))] {
            let before = GONE.load(SeqCst);
            assert_eq!(client.open(stream, &connect("/watches", "websocket", &[])).1[0], OK);
            client.wire.say(&end);
            server.until("a disconnect", || GONE.load(SeqCst) > before);
        }
        let (kind, _, stream, payload) = client.next().unwrap();
        assert_eq!((kind, stream, payload), (RST_STREAM, 3, 8_u32.to_be_bytes().to_vec()));
        client.open(5, &connect("/leaves", "websocket", &[]));
        assert_eq!(frames(&client.bytes(5, 4)), [(0x88, vec![3, 232])]);
        client.wire.say(&frame2(DATA, 0, 5, &close(1000)));
        let (kind, flags, stream, _) = client.next().unwrap();
        assert_eq!((kind, flags, stream), (DATA, 1, 5));
        server.await_count("websockets_open", 0);
        // Masking stays required.
        client.open(7, &connect("/ws", "websocket", &[]));
        client.wire.say(&frame2(DATA, 0, 7, b"\x81\x01x"));
        assert_eq!(frames(&client.bytes(7, 4)), [(0x88, 1002_u16.to_be_bytes().to_vec())]);
    });
}

#[test]
fn a_drain_closes_streams_with_1001() {
    for ground in grounds() {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        let mut client = Connection::begin(server.connect());
        client.settings();
        client.open(1, &connect("/ws", "websocket", &[]));
        let stopping = server.stop(Duration::from_secs(5));
        let mut data = Vec::new();
        while let Some((kind, _, _, payload)) = client.next() {
            assert!([DATA, GOAWAY, 6].contains(&kind), "{kind}");
            if kind == 6 {
                client.wire.say(&frame2(6, 1, 0, &payload));
            }
            if kind == DATA {
                data.extend(payload);
                if data.len() == 4 {
                    client.wire.say(&frame2(DATA, 1, 1, &close(1001)));
                }
            }
        }
        drop(client);
        let report = stopping.report();
        assert_eq!(frames(&data), [(0x88, vec![3, 233])]);
        assert_eq!(report.cut, 0, "{report:?}");
    }
}

/// What answers a Close waits for its window no longer than any other send: the stream is given up then, and only that.
#[test]
fn an_answer_that_nobody_takes_is_timed() {
    let hasty = |config: &mut Config| config.timeouts.progress_grace_ms = 300;
    on_every_driver_with(app, hasty, |server| {
        for path in ["/ws", "/blocking"] {
            // No window for any stream.
            let mut http2 = Http2::with_settings(server.wire(), &[(4, 0)]);
            let id = http2.open_fields(&extended_connect(path), false);
            let begun = server.now_ms();
            http2.send(id, &close(1000), false);
            while http2.streams[&id].reset.is_none() {
                assert!(http2.listen(), "{path}: the connection ended");
            }
            assert_eq!(http2.streams[&id].reset, Some(8), "{path}: CANCEL");
            let took = server.now_ms() - begun;
            assert!((250..5_000).contains(&took), "{path}: {took} ms");
            let other = http2.begin("/plain");
            http2.give_window(other, 100);
            assert_eq!(http2.answer(other).text(), "plain");
        }
        assert_eq!(server.count("timeouts_send"), 2);
    });
}
