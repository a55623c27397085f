//! What the object promises beyond an echo: that giving up a wait loses nothing, that its ends can be looked at again,
//! that halves live and end by themselves, and that the newest of a burst is what a policy keeps.

use futures_core::Stream;
use futures_sink::Sink;
use ringgate::{
    App, Core, blocking, get,
    websocket::{
        CloseCode, DeflateConfig, Kind, Message, Outgoing, QueuePolicy, SocketError, WebSocket, WebSocketLimits,
        websocket,
    },
};
use ringgate_protocols::websocket::deflate::{Bounds, Inflater};
use ringgate_tests::{
    gateway::{Wire, on_every_driver, on_every_kernel_driver},
    websocket::{PROTOCOLS, close, frame, text},
};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

/// The outcome of `wait`, unless it takes longer than `time`; it is given up then.
async fn within<F: Future>(core: &Core, time: Duration, wait: F) -> Option<F::Output> {
    let (mut wait, mut sleep) = (pin!(wait), pin!(core.handle().sleep(time)));
    poll_fn(|cx| match wait.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

const MOMENT: Duration = Duration::from_millis(1);

/// Gives up each wait after a moment, and asks again.
async fn impatient(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    loop {
        match within(&core, MOMENT, socket.recv()).await {
            None => _ = GIVEN_UP.fetch_add(1, SeqCst),
            Some(None) => return Ok(()),
            Some(Some(message)) => socket.send(message?).await?,
        }
    }
}

static GIVEN_UP: AtomicUsize = AtomicUsize::new(0);

/// Numbers its messages, gives up what does not go out at once, and says at the end which numbers it has sent.
async fn gives_up_sending(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    let mut sent = String::new();
    for number in 0..200 {
        let message = vec![number; 40_000];
        match within(&core, MOMENT, socket.send(message)).await {
            Some(outcome) => {
                outcome?;
                sent += &format!("{number} ");
            }
            None => _ = REFUSED.fetch_add(1, SeqCst),
        }
    }
    socket.send(sent).await
}

static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Only speaks, when it was told the word; what else comes is nobody's.
async fn only_sends(socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    let (mut sender, receiver) = socket.split();
    drop(receiver);
    for number in 0..10 {
        sender.send(format!("{number}")).await?;
        core.handle().sleep(Duration::from_millis(5)).await;
    }
    core.handle().sleep(Duration::from_millis(400)).await;
    Ok(())
}

/// Only listens.
async fn only_receives(socket: WebSocket) {
    let (sender, mut receiver) = socket.split();
    drop(sender);
    while let Some(Ok(message)) = receiver.recv().await {
        HEARD.lock().unwrap().push(message.to_text().unwrap().to_owned());
    }
}

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn only_sends_blocking(socket: blocking::WebSocket) -> Result<(), SocketError> {
    let (mut sender, receiver) = socket.split();
    drop(receiver);
    for number in 0..10 {
        sender.send(format!("{number}"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(400));
    Ok(())
}

fn only_receives_blocking(socket: blocking::WebSocket) {
    let (sender, receiver) = socket.split();
    drop(sender);
    for message in receiver.map_while(Result::ok) {
        HEARD.lock().unwrap().push(message.to_text().unwrap().to_owned());
    }
}

/// Halves whose task panics.
async fn panics_in_a_task(socket: WebSocket) {
    let handle = socket.core().handle().clone();
    let (mut sender, mut receiver) = socket.split();
    let task = async move {
        let _ = receiver.recv().await;
        let _ = sender.send("last words").await;
        panic!("a task that holds the halves of a socket");
    };
    handle.spawn("panics", task).detach();
}

fn panics_in_a_thread(socket: blocking::WebSocket) {
    let (mut sender, mut receiver) = socket.split();
    std::thread::spawn(move || {
        let _ = receiver.recv();
        let _ = sender.send("last words");
        panic!("a thread that holds the halves of a socket");
    });
}

async fn panics_behind_its_words(mut socket: WebSocket) {
    let _ = socket.recv().await;
    let _ = socket.send("last words").await;
    panic!("what was said before is said");
}

fn panics_behind_its_words_blocking(mut socket: blocking::WebSocket) {
    let _ = socket.recv();
    let _ = socket.send("last words");
    panic!("what was said before is said");
}

/// Looks at the ends again.
async fn looks_again(mut socket: WebSocket) {
    async fn next(socket: &mut WebSocket) -> Option<Result<Message, SocketError>> {
        poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await
    }
    assert_eq!(next(&mut socket).await, Some(Ok(Message::from("x"))));
    poll_fn(|cx| Pin::new(&mut socket).poll_ready(cx)).await.unwrap();
    Pin::new(&mut socket).start_send(Message::from("y")).unwrap();
    poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await.unwrap();
    poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await.unwrap();
    poll_fn(|cx| Pin::new(&mut socket).poll_close(cx)).await.unwrap();
    poll_fn(|cx| Pin::new(&mut socket).poll_close(cx)).await.unwrap();
    assert_eq!(poll_fn(|cx| Pin::new(&mut socket).poll_ready(cx)).await, Err(SocketError::Closed));
    assert_eq!(Pin::new(&mut socket).start_send(Message::from("z")), Err(SocketError::Closed));
    assert_eq!(socket.close(CloseCode::NORMAL, ""), Err(SocketError::Closed));
    // What was on its way is still received; then it is over, for good.
    assert_eq!(next(&mut socket).await, Some(Ok(Message::from("on its way"))));
    for _ in 0..3 {
        assert_eq!(next(&mut socket).await, None);
    }
    assert_eq!(socket.close_frame().unwrap().code, Some(CloseCode::NORMAL));
    poll_fn(|cx| Pin::new(&mut socket).poll_close(cx)).await.unwrap();
    ENDS.fetch_add(1, SeqCst);
}

fn looks_again_blocking(mut socket: blocking::WebSocket) {
    assert_eq!(socket.next(), Some(Ok(Message::from("x"))));
    socket.send("y").unwrap();
    socket.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(socket.close(CloseCode::NORMAL, ""), Err(SocketError::Closed));
    assert_eq!(socket.send("z"), Err(SocketError::Closed));
    assert_eq!(socket.next(), Some(Ok(Message::from("on its way"))));
    for _ in 0..3 {
        assert_eq!(socket.next(), None);
    }
    assert_eq!(socket.close_frame().unwrap().code, Some(CloseCode::NORMAL));
    ENDS.fetch_add(1, SeqCst);
}

static ENDS: AtomicUsize = AtomicUsize::new(0);

/// Somebody whose end is a panic.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("an end that panics costs nobody else anything");
        }
    }
}

async fn ends_spitefully(mut socket: WebSocket) {
    let _spiteful = Spiteful;
    let _ = socket.recv().await;
}

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
    for number in 0..4_000 {
        let line = format!("{number} and ").repeat(1_000);
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

/// Bytes in which there is nothing to find.
fn noise(seed: u32) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed), next).map(|state| (state >> 24) as u8).take(1_500).collect()
}

/// Notices nothing, and says when it is dropped.
async fn oblivious(socket: WebSocket) {
    struct Dropped;
    impl Drop for Dropped {
        fn drop(&mut self) {
            ENDS.fetch_add(1, SeqCst);
        }
    }
    let _dropped = Dropped;
    let _socket = socket;
    std::future::pending().await
}

fn app(_: &Core) -> App {
    let takeover = DeflateConfig {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        ..DeflateConfig::default()
    };
    let hasty = WebSocketLimits { close_timeout_ms: 300, ..WebSocketLimits::default() };
    let deflated = |route: ringgate::websocket::WebSocketRoute| route.deflate(DeflateConfig::default());
    App::new()
        .route("/impatient", get(deflated(websocket(impatient))))
        .route("/gives-up-sending", gives_up_sending)
        .route("/only-sends", only_sends)
        .route("/only-sends-blocking", only_sends_blocking)
        .route("/only-receives", only_receives)
        .route("/only-receives-blocking", only_receives_blocking)
        .route("/panics-in-a-task", panics_in_a_task)
        .route("/panics-in-a-thread", panics_in_a_thread)
        .route("/panics-behind-its-words", panics_behind_its_words)
        .route("/panics-behind-its-words-blocking", panics_behind_its_words_blocking)
        .route("/looks-again", looks_again)
        .route("/looks-again-blocking", looks_again_blocking)
        .route("/ends-spitefully", ends_spitefully)
        .route("/compresses/wait", get(websocket(compresses).deflate(takeover)))
        .route(
            "/compresses/oldest",
            get(websocket(compresses).deflate(takeover).queue(20_000, QueuePolicy::DropOldest)),
        )
        .route("/oblivious", get(websocket(oblivious).limits(hasty)))
        .route("/bursts/wait", get(websocket(bursts).queue(10_000, QueuePolicy::Wait)))
        .route("/bursts/oldest", get(websocket(bursts).queue(10_000, QueuePolicy::DropOldest)))
        .route("/bursts/close", get(websocket(bursts).queue(10_000, QueuePolicy::Close)))
        .route("/hurries/wait", get(websocket(hurries).queue(10_000, QueuePolicy::Wait)))
        .route("/hurries/oldest", get(websocket(hurries).queue(10_000, QueuePolicy::DropOldest)))
        .route("/hurries/close", get(websocket(hurries).queue(10_000, QueuePolicy::Close)))
        .route("/choirs/oldest", get(websocket(choirs).queue(10_000, QueuePolicy::DropOldest)))
        .route("/choirs/close", get(websocket(choirs).queue(10_000, QueuePolicy::Close)))
        .route("/streams/oldest", get(websocket(streams).queue(10_000, QueuePolicy::DropOldest)))
        .route("/streams/close", get(websocket(streams).queue(10_000, QueuePolicy::Close)))
}

#[test]
fn a_wait_that_is_given_up_loses_no_message() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/impatient") {
            let before = GIVEN_UP.load(SeqCst);
            for number in 0..20 {
                let word = format!("word {number} in pieces");
                let (start, end) = word.as_bytes().split_at(number % word.len());
                let bytes = [frame(0x01, start), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, end)].concat();
                for piece in bytes.chunks(bytes.len() / 3 + 1) {
                    client.wire.say(piece);
                    server.pass(2);
                }
                assert_eq!(client.frame(), (0x8a, b"?".to_vec()), "{protocol}");
                assert_eq!(client.text(), word, "{protocol}");
            }
            assert!(GIVEN_UP.load(SeqCst) > before, "nothing was given up");
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000);
        }
    });
}

#[test]
fn a_send_that_is_given_up_has_sent_nothing() {
    on_every_kernel_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/gives-up-sending") {
            let before = REFUSED.load(SeqCst);
            server.pass(600);
            let mut heard = String::new();
            let said = loop {
                match client.frame() {
                    (0x82, message) => heard += &format!("{} ", message[0]),
                    (first, said) => {
                        assert_eq!(first, 0x81);
                        break String::from_utf8(said).unwrap();
                    }
                }
            };
            assert_eq!(heard, said, "{protocol}");
            assert!(REFUSED.load(SeqCst) > before, "nothing was given up");
        }
    });
}

#[test]
fn one_half_alone() {
    on_every_driver(app, |server| {
        for path in ["/only-sends", "/only-sends-blocking"] {
            for (protocol, mut client) in server.websockets(path) {
                client.wire.say(&[text("nobody's"), frame(0x89, b"?"), text("nor this").repeat(50)].concat());
                let mut heard = Vec::new();
                let mut pongs = 0;
                while heard.len() < 10 {
                    match client.frame() {
                        (0x8a, pong) => {
                            assert_eq!(pong, b"?");
                            pongs += 1;
                        }
                        (first, word) => {
                            assert_eq!(first, 0x81, "{path} over {protocol}");
                            heard.push(String::from_utf8(word).unwrap());
                        }
                    }
                }
                assert_eq!(heard.concat(), "0123456789", "{path} over {protocol}");
                assert_eq!(pongs, 1, "{path} over {protocol}");
                client.wire.say(&close(1001));
                assert_eq!(client.closed(), 1001, "{path} over {protocol}");
            }
        }
        for path in ["/only-receives", "/only-receives-blocking"] {
            for (protocol, mut client) in server.websockets(path) {
                HEARD.lock().unwrap().clear();
                for word in ["one", "two", "three"] {
                    client.wire.say(&text(word));
                    server.pass(5);
                }
                client.wire.say(&frame(0x89, b"still there?"));
                assert_eq!(client.frame(), (0x8a, b"still there?".to_vec()), "{path} over {protocol}");
                client.wire.say(&close(1000));
                assert_eq!(client.closed(), 1000, "{path} over {protocol}");
                server.until("all words", || HEARD.lock().unwrap().len() == 3);
                assert_eq!(*HEARD.lock().unwrap(), ["one", "two", "three"], "{path} over {protocol}");
            }
        }
        server.await_count("websockets_open", 0);
    });
}

#[test]
fn whoever_panics_closes_with_1011_behind_what_was_said() {
    on_every_driver(app, |server| {
        for path in [
            "/panics-behind-its-words",
            "/panics-behind-its-words-blocking",
            "/panics-in-a-task",
            "/panics-in-a-thread",
        ] {
            for (protocol, mut client) in server.websockets(path) {
                client.wire.say(&text("go on"));
                assert_eq!(client.text(), "last words");
                let (first, payload) = client.frame();
                assert_eq!((first, payload), (0x88, 1011_u16.to_be_bytes().to_vec()), "{path} over {protocol}");
                client.wire.say(&close(1011));
                assert!(client.is_over(), "{path} over {protocol}");
            }
        }
        server.await_count("websockets_open", 0);
    });
}

#[test]
fn ends_can_be_looked_at_again() {
    on_every_driver(app, |server| {
        for path in ["/looks-again", "/looks-again-blocking"] {
            for (protocol, mut client) in server.websockets(path) {
                let before = ENDS.load(SeqCst);
                client.wire.say(&text("x"));
                assert_eq!(client.text(), "y", "{path} over {protocol}");
                assert_eq!(client.frame(), (0x88, vec![3, 232]), "{path} over {protocol}");
                client.wire.say(&[text("on its way"), close(1000), text("too late")].concat());
                assert!(client.is_over(), "{path} over {protocol}");
                server.until("the handler's end", || ENDS.load(SeqCst) > before);
            }
        }
    });
}

#[test]
fn an_end_that_panics_costs_nobody_else_anything() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/ends-spitefully") {
            let mut other = server.websocket(protocol, "/impatient", "");
            client.wire.say(&text("go on"));
            let (first, payload) = client.frame();
            assert_eq!((first, payload), (0x88, 1011_u16.to_be_bytes().to_vec()), "{protocol}");
            client.wire.say(&close(1011));
            assert!(client.is_over());
            other.wire.say(&text("and you?"));
            assert_eq!(other.text(), "and you?");
        }
        server.await_count("websockets_open", 0);
    });
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
                    let line = String::from_utf8(message).expect("text");
                    if line.starts_with("the last word") {
                        break;
                    }
                    let (number, _) = line.split_once(' ').unwrap();
                    assert_eq!(line, format!("{number} and ").repeat(1_000), "{path} over {protocol}");
                }
                assert!(compressed > 5 && plain > 5, "{path} over {protocol}: {compressed} and {plain}");
                let dropped = server.count("websocket_messages_dropped") - before;
                assert_eq!(compressed + plain + dropped, 4_001, "{path} over {protocol}");
            }
        }
    });
}

/// What notices nothing is dropped, after the time for a Close; its peer does not wait for that.
#[test]
fn a_handler_that_notices_nothing_is_dropped() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/oblivious") {
            let (before, begun) = (ENDS.load(SeqCst), server.now_ms());
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000, "{protocol}");
            assert!(server.now_ms() - begun < 250, "{protocol}: the peer has waited");
            drop(client);
            server.until("the handler's end", || ENDS.load(SeqCst) == before + 1);

            let client = server.websocket(protocol, "/oblivious", "");
            drop(client);
            server.until("the handler's end", || ENDS.load(SeqCst) == before + 2);
        }
        server.await_count("websockets_open", 0);
    });
}
