//! A peer's Close that has come while the handler may still reply to what was before it: attacks on the wait.

use ringgate::{
    App, Core, blocking, get,
    websocket::{QueuePolicy, SocketError, WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{
        Client, Ground, Server, Wire, drivers, http2::code, in_every_world, on_every_driver, on_every_kernel_driver,
        seeds,
    },
    obedient::{obeys, obeys_blocking, obeys_by_pieces, obeys_in_a_task},
    websocket::{Heard, close, extended_connect, frame, hear, text},
};
use std::{io::Write as _, sync::Mutex, thread, time::Duration};

/// Speaks as long as it is listened to, and takes no word amiss.
async fn ticks(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    loop {
        socket.send("tick").await?;
        core.handle().sleep(Duration::from_micros(300)).await;
    }
}

/// Answers its first message with 4 MiB.
async fn floods(mut socket: WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv().await {
        let _ = message?;
        for number in 0..64 {
            socket.send(format!("{number:065535}")).await?;
        }
    }
    Ok(())
}

fn floods_blocking(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.next() {
        let _ = message?;
        for number in 0..64 {
            socket.send(format!("{number:065535}"))?;
        }
    }
    Ok(())
}

/// Looks late, and says what it has seen.
fn looks_late(mut socket: blocking::WebSocket) {
    thread::sleep(Duration::from_millis(300));
    while let Some(Ok(message)) = socket.recv() {
        LATE.lock().unwrap().push(message.as_bytes().len().to_string());
        thread::sleep(Duration::from_millis(1_300));
    }
    LATE.lock().unwrap().push(format!(
        "{:?} {:?}",
        socket.close_frame().and_then(|close| close.code),
        socket.send("?")
    ));
}

static LATE: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn app(_: &Core) -> App {
    let quick = WebSocketLimits { close_timeout_ms: 100, ..WebSocketLimits::default() };
    let idle = WebSocketLimits { idle_timeout_ms: 500, ..WebSocketLimits::default() };
    App::new()
        .route("/obeys", obeys)
        .route("/ticks", ticks)
        .route("/looks-late", get(websocket(looks_late).limits(quick)))
        .route("/floods", floods)
        .route("/floods-oldest", get(websocket(floods).queue(200_000, QueuePolicy::DropOldest)))
        .route("/floods-close", get(websocket(floods).queue(200_000, QueuePolicy::Close)))
        .route("/floods-blocking", floods_blocking)
        .route("/floods-blocking-oldest", get(websocket(floods_blocking).queue(200_000, QueuePolicy::DropOldest)))
        .route("/floods-blocking-close", get(websocket(floods_blocking).queue(200_000, QueuePolicy::Close)))
        .route("/idle", get(websocket(obeys).limits(idle)))
        .route("/task", obeys_in_a_task)
        .route("/pieces", obeys_by_pieces)
        .route("/blocking", obeys_blocking)
}

/// Each message that a thread takes begins a new time, also those that it takes from a line that stays full.
#[test]
fn a_full_line_does_not_shorten_the_time_for_a_reply() {
    on_every_kernel_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/blocking") {
            let large = format!("2 1 1 - {}", " ".repeat(70_000));
            client.wire.say(&[text("0 600 1 -"), text("1 600 1 -"), text(&large), close(4000)].concat());
            let heard = hear(&mut client);
            assert_eq!((heard.words.join(" "), heard.code), ("0.0 1.0 2.0".to_owned(), Some(4000)), "{protocol}");
        }
    });
}

/// Who waits behind a handler that thinks is not idle.
#[test]
fn the_time_for_a_reply_is_no_idle_time() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/idle") {
            client.wire.say(&[text("0 1400 1 -"), text("1 1 1 -"), close(4000)].concat());
            let heard = hear(&mut client);
            assert_eq!((heard.words.join(" "), heard.code), ("0.0 1.0".to_owned(), Some(4000)), "{protocol}");
        }
    });
}

/// Small messages by the hundred, and a thread that takes its time for each.
#[test]
fn a_thread_answers_everything_before_the_close() {
    on_every_kernel_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/blocking") {
            let orders: Vec<u8> = (0..1_500).flat_map(|number| text(&format!("{number} 1 1 -"))).collect();
            client.wire.say(&[orders, close(4000)].concat());
            client.wire.finish();
            let heard = hear(&mut client);
            assert_eq!((heard.words.len(), heard.code), (1_500, Some(4000)), "{protocol}");
            assert!(heard.words.iter().enumerate().all(|(number, word)| *word == format!("{number}.0")));
        }
    });
}

/// A handler that meets the end while it speaks, and fails of it, does not put its failure in the place of the answer.
#[test]
fn an_end_that_a_handler_runs_into_is_answered_all_the_same() {
    in_every_world(
        app,
        |_| {},
        |_| {},
        |server| {
            for (protocol, mut client) in (0..8).flat_map(|_| server.websockets("/ticks")) {
                assert_eq!(client.text(), "tick");
                client.wire.say(&close(4000));
                assert_eq!(hear(&mut client).code, Some(4000), "{protocol}");
            }
        },
    );
}

/// A gateway that is told to stop does not wait for the reply: one Close, its own.
#[test]
fn a_drain_ends_the_wait() {
    for ground in drivers().into_iter().map(Ground::Kernel).chain(seeds(1).map(Ground::Sim)) {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        let mut clients: Vec<_> =
            ["/obeys", "/task", "/blocking"].into_iter().flat_map(|path| server.websockets(path)).collect();
        for (_, client) in &mut clients {
            client.wire.say(&[text("0 1 1 -"), text("1 600 1 -"), close(4000)].concat());
            assert_eq!(client.text(), "0.0");
        }
        server.pass(50);
        let stopping = server.stop(Duration::from_secs(5));
        for (protocol, client) in &mut clients {
            let heard = hear(client);
            assert_eq!((heard.words.len(), heard.code), (0, Some(1001)), "{protocol}");
        }
        drop(clients);
        assert_eq!(stopping.report().cut, 0);
    }
}

/// A peer that is gone while its Close waits leaves nothing behind.
#[test]
fn a_peer_that_does_not_wait_for_the_answer() {
    on_every_driver(app, |server| {
        for path in ["/obeys", "/task", "/pieces", "/blocking"] {
            for (_, mut client) in server.websockets(path) {
                client.wire.say(&[text("0 300 3 -"), text("1 1 3 -"), close(4000)].concat());
                server.pass(50);
                drop(client);
            }
            // The connection stays, the stream does not.
            let mut http2 = server.connect_http2();
            let id = http2.open_fields(&extended_connect(path), false);
            http2.send(id, &[text("0 300 3 -"), close(4000)].concat(), false);
            http2.round_trip();
            server.pass(50);
            http2.reset(id, code::CANCEL);
            server.await_count("websockets_open", 0);
            assert_eq!(http2.get("/").status, 404, "{path}");
        }
        server.assert_at_rest();
    });
}

/// A Close that breaks the rules is a fault, when its turn has come.
#[test]
fn a_wrong_close_waits_like_a_right_one() {
    on_every_driver(app, |server| {
        for path in ["/obeys", "/task", "/blocking"] {
            for (wrong, code) in
                [(frame(0x88, b"\x03"), 1002), (b"\x88\x02\x03\xe8".to_vec(), 1002), (close(1005), 1002)]
            {
                for (protocol, mut client) in server.websockets(path) {
                    client.wire.say(&[text("0 20 2 -"), frame(0x89, b"?"), wrong.clone()].concat());
                    let heard = hear(&mut client);
                    let words = vec!["0.0".to_owned(), "0.1".to_owned()];
                    assert_eq!(heard, Heard { words, pongs: 1, code: Some(code) }, "{path} over {protocol}");
                }
            }
        }
        server.await_count("websocket_faults", 18);
    });
}

/// What does not fit into the queue while a Close waits is treated as the route has it; the Close comes behind it.
#[test]
fn queues_that_fill_before_the_close() {
    on_every_kernel_driver(app, |server| {
        for path in ["/floods", "/floods-blocking"] {
            for (protocol, mut client) in server.websockets(path) {
                client.wire.say(&[text("go"), frame(0x89, b"?"), close(4000)].concat());
                server.pass(400);
                let heard = hear(&mut client);
                assert_eq!((heard.words.len(), heard.pongs, heard.code), (64, 1, Some(4000)), "{path} over {protocol}");
            }
            for (protocol, mut client) in server.websockets(&format!("{path}-oldest")) {
                client.wire.say(&[text("go"), close(4000)].concat());
                server.pass(400);
                let heard = hear(&mut client);
                assert_eq!(heard.code, Some(4000), "{path} over {protocol}");
                assert!(heard.words.last().unwrap().ends_with("063"), "{path} over {protocol}: the latest is there");
            }
            for (protocol, mut client) in server.websockets(&format!("{path}-close")) {
                client.wire.say(&[text("go"), close(4000)].concat());
                server.pass(400);
                let heard = hear(&mut client);
                let is_whole = heard.words.len() == 64 && heard.code == Some(4000);
                assert!(is_whole || heard.code == Some(1008), "{path} over {protocol}: {:?}", heard.code);
            }
        }
        server.await_count("websockets_open", 0);
    });
}

/// What another task has not taken is not read ahead of it.
#[test]
fn a_task_that_takes_its_time_holds_its_peer_back() {
    on_every_kernel_driver(app, |server| {
        let mut client = Client::new(server.socket());
        client.open("/task");
        client.wire.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let orders = text("0 1 0 -").repeat(5_000);
        let (begun, mut said) = (server.now_ms(), 0);
        while server.now_ms() - begun < 3_000 {
            said += client.wire.write(&orders).unwrap_or(0);
        }
        assert!(said < 10 << 20, "{said} bytes were taken by a task that has looked at 3,000 messages");
    });
}

/// A thread that is busy until long after the peer's Close was answered still learns that there was one.
#[test]
fn a_thread_that_looks_late_sees_the_close() {
    on_every_kernel_driver(app, |server| {
        let large = " ".repeat(70_000);
        for (words, seen) in [
            (vec![], "Some(CloseCode(4000)) Err(Closed)"),
            (vec!["1", &large], "1,70000,Some(CloseCode(4000)) Err(Closed)"),
        ] {
            let mut client = server.websocket("HTTP/1.1", "/looks-late", "");
            let words = words.iter().flat_map(|word| text(word)).collect();
            client.wire.say(&[words, close(4000)].concat());
            assert_eq!(hear(&mut client).code, Some(4000));
            server.until("the end", || LATE.lock().unwrap().last().is_some_and(|line| line.contains(' ')));
            assert_eq!(LATE.lock().unwrap().drain(..).collect::<Vec<_>>().join(","), seen);
        }
    });
}
