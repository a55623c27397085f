//! A handler that takes its time: what has come meanwhile waits, and what comes behind it is not forgotten.

use ringgate::{App, Core, websocket::WebSocket};
use ringgate_tests::{
    gateway::{Wire, on_every_driver},
    websocket::{close, text},
};
use std::time::Duration;

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
