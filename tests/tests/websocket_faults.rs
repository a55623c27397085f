//! Peers that break the protocol or a limit: the right close code, and nothing echoed behind it.

use ringgate::{
    App, Core, get,
    websocket::{WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Client, Wire, on_every_driver, on_every_kernel_driver},
    websocket::{close, frame, header, text},
};
use std::{io::Write, net::TcpStream, time::Duration};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

fn app(_: &Core) -> App {
    let small = WebSocketLimits {
        message_bytes_max: 1_000,
        fragment_count_max: 10,
        ping_tokens_max: 50,
        close_timeout_ms: 200,
        ..WebSocketLimits::default()
    };
    App::new().route("/ws", echo).route("/small", get(websocket(echo).limits(small)))
}

/// W-01, W-02, W-03, W-04, W-05, W-10, W-11: the frame, and the code it is answered with. Before it goes a good message,
/// which is echoed; behind it another, which is not.
#[test]
fn violations_have_their_codes_and_nothing_is_echoed_behind_them() {
    let unmasked = |first: u8, payload: &[u8]| [&[first, payload.len() as u8], payload].concat();
    let tiny: Vec<u8> = std::iter::once(frame(0x01, b"a")).chain((0..10).map(|_| frame(0x00, b""))).flatten().collect();
    let cases: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("W-01 unmasked", "/ws", unmasked(0x81, b"hello"), 1002),
        ("W-02 RSV1 without deflate", "/ws", frame(0xc1, b"x"), 1002),
        ("W-02 RSV2", "/ws", frame(0xa1, b"x"), 1002),
        ("W-02 reserved opcode", "/ws", frame(0x83, b"x"), 1002),
        ("W-02 reserved control opcode", "/ws", frame(0x8b, b"x"), 1002),
        ("W-02 length not minimal", "/ws", b"\x81\xfe\0\x05\0\0\0\0hello".to_vec(), 1002),
        ("W-03 ping in fragments", "/ws", frame(0x09, b"x"), 1002),
        ("W-03 long ping", "/ws", frame(0x89, &[b'x'; 126]), 1002),
        ("W-03 continuation of nothing", "/ws", frame(0x80, b"x"), 1002),
        ("W-03 message inside a message", "/ws", [frame(0x01, b"x"), frame(0x81, b"y")].concat(), 1002),
        ("W-04 top bit of the length", "/ws", b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), 1002),
        ("W-04 too long by its header alone", "/ws", header(0x82, 1 << 40), 1009),
        ("W-04 limit + 1", "/small", frame(0x82, &[0; 1_001]), 1009),
        ("W-05 limit + 1 in fragments", "/small", [frame(0x02, &[0; 1_000]), frame(0x80, b"x")].concat(), 1009),
        ("W-05 tiny fragments", "/small", tiny, 1008),
        ("W-10 text that is not UTF-8", "/ws", frame(0x81, b"a\xff"), 1007),
        ("W-10 fail fast, inside a frame", "/ws", frame(0x01, b"\xed\xa0\x80 and so on"), 1007),
        ("W-10 reason that is not UTF-8", "/ws", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("W-11 close of one byte", "/ws", frame(0x88, b"\x03"), 1002),
        ("W-11 close code 1005", "/ws", close(1005), 1002),
        ("W-11 close code 999", "/ws", close(999), 1002),
    ];
    on_every_driver(app, |server| {
        for (name, path, wrong, code) in &cases {
            for (protocol, together) in [("HTTP/1.1", true), ("HTTP/1.1", false), ("HTTP/2", true), ("HTTP/2", false)] {
                let mut client = server.websocket(protocol, path, "");
                let mut parts = vec![text("before"), wrong.clone(), text("behind")];
                if together {
                    parts = vec![parts.concat()];
                }
                parts.iter().for_each(|part| client.wire.say(part));
                assert_eq!(client.text(), "before", "{name} over {protocol}");
                assert_eq!(client.closed(), *code, "{name} over {protocol}");
            }
        }
        assert_eq!(server.count("websocket_faults"), 4 * cases.len() as u64);
    });
}

/// The limit itself passes.
#[test]
fn w_04_the_limit_is_exact() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/small") {
            client.wire.say(&frame(0x82, &[7; 1_000]));
            assert_eq!(client.frame(), (0x82, vec![7; 1_000]), "{protocol}");
        }
    });
}

/// W-12, and the answer to a Close is the same code.
#[test]
fn w_12_data_behind_a_close_is_discarded() {
    on_every_driver(app, |server| {
        for (protocol, code) in [("HTTP/1.1", 1000), ("HTTP/1.1", 3999), ("HTTP/2", 1001), ("HTTP/2", 4000)] {
            let mut client = server.websocket(protocol, "/ws", "");
            client.wire.say(&[text("before"), close(code), text("behind"), frame(0x89, b"ping")].concat());
            assert_eq!(client.text(), "before");
            assert_eq!(client.closed(), code, "{protocol}");
        }
    });
}

/// Each ping is answered in its place, also between fragments.
#[test]
fn pings_between_fragments_are_answered() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/ws") {
            let pings = [frame(0x89, b"first"), frame(0x89, b"second")].concat();
            client.wire.say(&[frame(0x01, b"one, "), pings, frame(0x80, b"two")].concat());
            for expected in [(0x8a, &b"first"[..]), (0x8a, b"second"), (0x81, b"one, two")] {
                assert_eq!(client.frame(), (expected.0, expected.1.to_vec()), "{protocol}");
            }
        }
    });
}

/// W-06: pings without end are a flood; pings of a peer that does not read cost no memory.
#[test]
fn w_06_ping_floods() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/small") {
            client.wire.say(&frame(0x89, b"x").repeat(60));
            let mut last = client.frame();
            while last.0 == 0x8a {
                last = client.frame();
            }
            assert_eq!(last, (0x88, 1008_u16.to_be_bytes().to_vec()), "{protocol}");
        }
    });
    on_every_kernel_driver(app, |server| {
        // Messages that nobody reads, so that the output is blocked: the server must stop reading and not pile up.
        let mut client = Client::new(TcpStream::connect(server.gateway().addresses()[0].to_string()).unwrap());
        client.open("/ws");
        client.wire.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let message = frame(0x82, &[1; 60_000]);
        let mut said = 0;
        while said < 64 << 20 {
            match client.wire.write(&message) {
                Ok(count) if count == message.len() => said += count,
                _ => break,
            }
        }
        assert!(said < 64 << 20, "64 MiB were taken from a peer that reads nothing");
    });
}

async fn leaves(mut socket: WebSocket) {
    let _ = socket.send("bye").await;
}

fn impatient(_: &Core) -> App {
    let closing = WebSocketLimits { close_timeout_ms: 200, ..WebSocketLimits::default() };
    let pinging = WebSocketLimits { ping_interval_ms: 100, pong_timeout_ms: 100, ..WebSocketLimits::default() };
    App::new()
        .route("/leaves", get(websocket(leaves).limits(closing)))
        .route("/pings", get(websocket(echo).limits(pinging)))
}

/// A peer that does not answer our Close is cut after `close_timeout_ms`.
#[test]
fn the_wait_for_a_close_is_timed() {
    on_every_driver(impatient, |server| {
        for (protocol, mut client) in server.websockets("/leaves") {
            let begun = server.now_ms();
            assert_eq!(client.text(), "bye");
            assert_eq!(client.frame(), (0x88, vec![3, 232]));
            assert!(client.rest().is_empty());
            let took = server.now_ms() - begun;
            assert!((150..4_000).contains(&took), "{protocol}: {took} ms");
        }
    });
}

/// Silence is pinged, and who does not answer is given up with 1011.
#[test]
fn silence_is_pinged() {
    on_every_driver(impatient, |server| {
        for (protocol, mut client) in server.websockets("/pings") {
            assert_eq!(client.frame(), (0x89, Vec::new()));
            if server.is_sim() {
                // Where nothing but the answer itself can make it late.
                client.wire.say(&frame(0x8a, b""));
                assert_eq!(client.frame(), (0x89, Vec::new()));
            }
            assert_eq!(client.closed(), 1011, "{protocol}");
        }
    });
}
