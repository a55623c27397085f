//! A handler that takes its time: what has come meanwhile waits, and what comes behind it is not forgotten.

use ringgate::{
    App, Core, get,
    websocket::{WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Wire, on_every_driver},
    websocket::{close, frame, text},
};
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

async fn ponders(mut socket: WebSocket) {
    let handle = socket.core().handle().clone();
    while let Some(Ok(message)) = socket.recv().await {
        handle.sleep(Duration::from_millis(60)).await;
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

fn app(_: &Core) -> App {
    App::new().route("/ponders", ponders)
}

#[test]
fn a_handler_that_ponders_hears_everything() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/ponders") {
            for word in ["one", "two", "three", "four"] {
                client.wire.say(&text(word));
                server.pass(10);
            }
            for word in ["one", "two", "three", "four"] {
                assert_eq!(client.text(), word, "{protocol}");
            }
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000);
        }
    });
}

/// Takes longer over each piece than a message may take that comes too slowly.
async fn ponders_pieces(mut socket: WebSocket) {
    let handle = socket.core().handle().clone();
    let mut whole = Vec::new();
    while let Some(Ok(piece)) = socket.recv_piece().await {
        handle.sleep(Duration::from_millis(300)).await;
        whole.extend_from_slice(&piece.bytes);
        if piece.last && socket.send(&std::mem::take(&mut whole)[..]).await.is_err() {
            return;
        }
    }
}

fn pieces(_: &Core) -> App {
    let limits = WebSocketLimits { progress_grace_ms: 150, ..WebSocketLimits::default() };
    App::new().route("/pieces", get(websocket(ponders_pieces).limits(limits)))
}

/// W-13: what is not read because the handler is busy is not the peer's delay.
#[test]
fn a_message_that_waits_for_its_handler_does_not_come_too_slowly() {
    on_every_driver(pieces, |server| {
        for (protocol, mut client) in server.websockets("/pieces") {
            let words = [(2, "one "), (0, "two "), (0, "three "), (0x80, "four")];
            let mut frames = words.map(|(first, word)| frame(first, word.as_bytes())).to_vec();
            if !server.is_sim() {
                // A pause of a busy machine would be the peer's: there nothing is left to come late.
                frames = vec![frames.concat()];
            }
            for frame in frames {
                client.wire.say(&frame);
                server.pass(20);
            }
            assert_eq!(client.frame(), (0x82, b"one two three four".to_vec()), "{protocol}");
            // It is, where it does not come at all.
            client.wire.say(&frame(2, b"one "));
            assert_eq!(client.closed(), 1008, "{protocol}");
        }
    });
}

static LEFT: AtomicUsize = AtomicUsize::new(0);

async fn talks(mut socket: WebSocket) {
    let words = vec![b'w'; 65_536];
    while socket.send(&words[..]).await.is_ok() {}
    LEFT.fetch_add(1, SeqCst);
}

fn talking(_: &Core) -> App {
    App::new().route("/talks", talks)
}

/// The peer goes while nothing is read from it because it does not read either.
#[test]
fn a_peer_that_is_gone_is_noticed_while_send_waits() {
    on_every_driver(talking, |server| {
        for (protocol, mut client) in server.websockets("/talks") {
            let before = LEFT.load(SeqCst);
            server.pass(300);
            assert_eq!(client.frame().0, 0x82);
            drop(client);
            server.until(&format!("the end over {protocol}"), || LEFT.load(SeqCst) > before);
        }
    });
}
