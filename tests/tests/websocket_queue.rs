//! The outgoing queue and its policy, where it fills faster than anybody reads: bursts of our own, many voices in one turn,
//! messages in fragments, windows that are kept over what is dropped.

use ringgate::{
    App, Core, get,
    websocket::{DeflateConfig, Kind, Outgoing, QueuePolicy, SocketError, WebSocket, websocket},
};
use ringgate_protocols::websocket::deflate::{Bounds, Inflater};
use ringgate_tests::{
    gateway::{Wire, on_every_kernel_driver},
    websocket::{PROTOCOLS, close, text},
};

/// More than a queue of the routes here holds, and less than a peer takes that does not even read: the windows of HTTP/2.
const BURST: u32 = 500;

/// Publishes more in one go than a queue holds.
async fn bursts(mut socket: WebSocket) {
    let room = socket.core().topic("bursts");
    let _here = room.subscribe(&socket);
    let _ = socket.recv().await;
    for number in 0..BURST {
        room.publish(format!("{number:0100}")).await;
    }
    while let Some(Ok(_)) = socket.recv().await {}
}

/// The same by many, each of whom says one word, and all in the same turn.
async fn choirs(mut socket: WebSocket) {
    let core = socket.core().clone();
    let _here = core.topic("choirs").subscribe(&socket);
    let _ = socket.recv().await;
    for number in 0..BURST {
        let room = core.topic("choirs");
        let voice = async move { _ = room.publish(format!("{number:0100}")).await };
        core.handle().spawn("voice", voice).detach();
    }
    while let Some(Ok(_)) = socket.recv().await {}
}

/// Sends more in one go than a queue holds.
async fn hurries(mut socket: WebSocket) {
    let _ = socket.recv().await;
    for number in 0..BURST {
        if socket.send(format!("{number:0100}")).await.is_err() {
            return;
        }
    }
    while let Some(Ok(_)) = socket.recv().await {}
}

/// Pings without end; and says something behind that.
async fn pings(mut socket: WebSocket) -> Result<(), SocketError> {
    for _ in 0..100_000 {
        socket.ping(b"are you there?")?;
    }
    assert_eq!(socket.ping(&[0; 126]), Err(SocketError::TooLong));
    socket.send("done").await
}

/// Sends a message in fragments, which no reader can be as quick as.
async fn streams(mut socket: WebSocket) -> Result<(), SocketError> {
    let mut writer = socket.begin(Kind::Binary)?;
    for _ in 0..1_000 {
        writer.write([b'f'; 16_384]).await?;
    }
    writer.finish().await
}

/// Says much that can be compressed, and publishes it as well, to a reader who does not read; then a last word.
async fn compresses(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    let room = core.topic("compresses");
    let _here = room.subscribe(&socket);
    let _ = socket.recv().await;
    for number in 0..2_000 {
        let line = line(number);
        match number % 4 {
            0 => _ = room.publish(line).await,
            1 => socket.send(Outgoing::from(&line).compressed(false)).await?,
            // What compression would lengthen.
            2 => socket.send(noise(number)).await?,
            _ => socket.send(line).await?,
        }
        core.handle().next_turn().await;
    }
    socket.send("the last word, and it is long enough to be compressed, as it says itself at some length").await
}

/// What is sent plain fills the queue.
fn line(number: u32) -> String {
    format!("{number} and ").repeat(if number % 4 == 1 { 4_000 } else { 200 })
}

/// Bytes in which there is nothing to find.
fn noise(seed: u32) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed), next).map(|state| (state >> 24) as u8).take(1_500).collect()
}

fn app(_: &Core) -> App {
    let takeover = DeflateConfig {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        ..DeflateConfig::default()
    };
    App::new()
        .route("/compresses/wait", get(websocket(compresses).deflate(takeover)))
        .route(
            "/compresses/oldest",
            get(websocket(compresses).deflate(takeover).queue(20_000, QueuePolicy::DropOldest)),
        )
        .route("/bursts/wait", get(websocket(bursts).queue(10_000, QueuePolicy::Wait)))
        .route("/bursts/oldest", get(websocket(bursts).queue(10_000, QueuePolicy::DropOldest)))
        .route("/bursts/close", get(websocket(bursts).queue(10_000, QueuePolicy::Close)))
        .route("/hurries/wait", get(websocket(hurries).queue(10_000, QueuePolicy::Wait)))
        .route("/hurries/oldest", get(websocket(hurries).queue(10_000, QueuePolicy::DropOldest)))
        .route("/hurries/close", get(websocket(hurries).queue(10_000, QueuePolicy::Close)))
        .route("/choirs/oldest", get(websocket(choirs).queue(10_000, QueuePolicy::DropOldest)))
        .route("/choirs/close", get(websocket(choirs).queue(10_000, QueuePolicy::Close)))
        .route("/pings", get(websocket(pings).queue(10_000, QueuePolicy::Wait)))
        .route("/streams/oldest", get(websocket(streams).queue(10_000, QueuePolicy::DropOldest)))
        .route("/streams/close", get(websocket(streams).queue(10_000, QueuePolicy::Close)))
}

/// What is said in one turn meets a queue that nothing could leave yet. That is no slow peer.
#[test]
fn a_burst_of_ones_own_is_not_the_peers_slowness() {
    on_every_kernel_driver(app, |server| {
        for path in
            ["/bursts/wait", "/bursts/oldest", "/bursts/close", "/hurries/wait", "/hurries/oldest", "/hurries/close"]
        {
            for (protocol, mut client) in server.websockets(path) {
                client.wire.say(&text("go"));
                for number in 0..BURST {
                    assert_eq!(client.text(), format!("{number:0100}"), "{path} over {protocol}");
                }
            }
        }
        assert_eq!(server.count("websocket_messages_dropped"), 0);
        assert_eq!(server.count("websockets_closed_slow"), 0);
    });
}

/// Where nobody can wait, the latest have to be there, and nobody is closed who reads.
#[test]
fn of_what_many_say_in_a_turn_the_latest_stay() {
    on_every_kernel_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/choirs/oldest") {
            let before = server.count("websocket_messages_dropped");
            client.wire.say(&text("go"));
            let mut heard = Vec::new();
            while heard.last() != Some(&(BURST - 1)) {
                heard.push(client.text().parse::<u32>().unwrap());
            }
            assert!(heard.is_sorted(), "{protocol}: {heard:?}");
            let dropped = server.count("websocket_messages_dropped") - before;
            assert_eq!(dropped as usize + heard.len(), BURST as usize, "{protocol}");
            assert!(dropped > 0, "{protocol}: the queue holds 10,000 bytes");
        }
        for (protocol, mut client) in server.websockets("/choirs/close") {
            let before = server.count("websocket_messages_dropped");
            client.wire.say(&text("go"));
            assert_eq!(client.text().parse(), Ok(0));
            server.until("the drops", || server.count("websocket_messages_dropped") > before);
            client.wire.say(&close(1000));
            while client.frame().0 == 0x81 {}
            assert!(client.is_over(), "{protocol}");
        }
        assert_eq!(server.count("websockets_closed_slow"), 0);
    });
}

/// Pings are bounded as anything else that waits.
#[test]
fn pings_find_the_queue_full_too() {
    on_every_kernel_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/pings") {
            let mut count = 0;
            while client.frame() == (0x89, b"are you there?".to_vec()) {
                count += 1;
            }
            assert!((100..1_000).contains(&count), "{protocol}: {count} pings of 16 bytes in 10,000 bytes");
        }
    });
}

/// Whatever the policy: a part of a message can neither be dropped nor be the reason to close.
#[test]
fn a_message_in_fragments_waits_for_its_reader() {
    on_every_kernel_driver(app, |server| {
        for path in ["/streams/oldest", "/streams/close"] {
            for (protocol, mut client) in server.websockets(path) {
                server.pass(200);
                let mut bytes = 0;
                loop {
                    let (first, payload) = client.frame();
                    bytes += payload.len();
                    match first {
                        0x02 | 0x00 => {}
                        0x80 => break,
                        _ => panic!("{path} over {protocol}: {first:x} {payload:?} behind {bytes} bytes"),
                    }
                }
                assert_eq!(bytes, 16_384_000, "{path} over {protocol}");
            }
        }
    });
}

/// With a window that is kept over messages, what was dropped, sent plain or framed for many must leave no gap in it.
#[test]
fn a_kept_window_survives_what_is_dropped() {
    let bounds = Bounds { bytes_max: 1 << 20, ratio_max: 2_000, ratio_from_bytes: 0 };
    on_every_kernel_driver(app, |server| {
        for path in ["/compresses/wait", "/compresses/oldest"] {
            for protocol in PROTOCOLS {
                let offer = "sec-websocket-extensions: permessage-deflate\r\n";
                let mut client = server.websocket(protocol, path, offer);
                let before = server.count("websocket_messages_dropped");
                client.wire.say(&text("go"));
                if path.ends_with("oldest") {
                    server.until("drops", || server.count("websocket_messages_dropped") > before + 100);
                }
                let mut inflater = Inflater::new(15);
                let (mut compressed, mut plain) = (0, 0);
                loop {
                    let (first, payload) = client.frame();
                    let mut message = Vec::new();
                    if first & 0x40 == 0 {
                        message = payload;
                        plain += 1;
                    } else {
                        inflater.inflate(&payload, &mut message, bounds).expect("it inflates");
                        inflater.finish(true, &mut message, bounds).expect("it ends");
                        compressed += 1;
                    }
                    if first & 0x0f == 2 {
                        assert_eq!(message.len(), 1_500);
                        continue;
                    }
                    let heard = String::from_utf8(message).expect("text");
                    if heard.starts_with("the last word") {
                        break;
                    }
                    let (number, _) = heard.split_once(' ').unwrap();
                    assert_eq!(heard, line(number.parse().unwrap()), "{path} over {protocol}");
                }
                assert!(compressed > 5 && plain > 5, "{path} over {protocol}: {compressed} and {plain}");
                let dropped = server.count("websocket_messages_dropped") - before;
                assert_eq!(compressed + plain + dropped, 2_001, "{path} over {protocol}");
            }
        }
    });
}
