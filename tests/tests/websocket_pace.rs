//! A handler that takes its time: what has come meanwhile waits, and what comes behind it is not forgotten.

use ringgate::{App, Core, websocket::WebSocket};
use ringgate_tests::{
    gateway::{Wire, on_every_driver},
    websocket::{close, text},
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
