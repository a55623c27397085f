//! What the object promises beyond an echo: that giving up a wait loses nothing, that its ends can be looked at again, and
//! that halves live and end by themselves.

use futures_core::Stream;
use futures_sink::Sink;
use ringgate::{
    App, Core, blocking, get,
    websocket::{CloseCode, DeflateConfig, Message, SocketError, WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Server, Wire, on_every_driver, on_every_kernel_driver},
    websocket::{close, frame, text},
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

/// Notices nothing, and says when it is dropped.
async fn oblivious(socket: WebSocket) {
    struct Dropped;
    impl Drop for Dropped {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }
    let _dropped = Dropped;
    let _socket = socket;
    std::future::pending().await
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// How long to think about a message that says it, and about others.
fn time_for(message: &Message) -> Duration {
    Duration::from_millis(message.to_text().and_then(|text| text.parse().ok()).unwrap_or(20))
}

/// Takes its time for each reply.
async fn ponders(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    while let Some(message) = socket.recv().await {
        let message = message?;
        core.handle().sleep(time_for(&message)).await;
        socket.send(message).await?;
    }
    Ok(())
}

fn ponders_blocking(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.next() {
        let message = message?;
        std::thread::sleep(time_for(&message));
        socket.send(message)?;
    }
    Ok(())
}

async fn ponders_in_halves(socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    let (mut sender, mut receiver) = socket.split();
    while let Some(piece) = receiver.recv_piece().await {
        core.handle().sleep(Duration::from_millis(20)).await;
        sender.send(Message::from(std::str::from_utf8(&piece?.bytes).unwrap())).await?;
    }
    Ok(())
}

fn ponders_in_halves_blocking(socket: blocking::WebSocket) -> Result<(), SocketError> {
    let (mut sender, mut receiver) = socket.split();
    while let Some(piece) = receiver.recv_piece() {
        std::thread::sleep(Duration::from_millis(20));
        sender.send(Message::from(std::str::from_utf8(&piece?.bytes).unwrap()))?;
    }
    Ok(())
}

/// Takes one message, and then only speaks.
async fn stops_listening(mut socket: WebSocket) {
    let core = socket.core().clone();
    let _ = socket.recv().await;
    while socket.send("tick").await.is_ok() {
        core.handle().sleep(Duration::from_millis(20)).await;
    }
    STOPPED[0].fetch_add(1, SeqCst);
}

fn stops_listening_blocking(mut socket: blocking::WebSocket) {
    let _ = socket.recv();
    while socket.send("tick").is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    STOPPED[1].fetch_add(1, SeqCst);
}

static STOPPED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

fn app(_: &Core) -> App {
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
        .route("/ponders", ponders)
        .route("/ponders-blocking", ponders_blocking)
        .route("/ponders-in-halves", ponders_in_halves)
        .route("/ponders-in-halves-blocking", ponders_in_halves_blocking)
        .route("/stops-listening", stops_listening)
        .route("/stops-listening-blocking", stops_listening_blocking)
        .route("/oblivious", get(websocket(oblivious).limits(hasty)))
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
            let mut other = server.websocket(protocol, "/ponders", "");
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

/// What notices nothing is dropped, after the time for a Close; its peer does not wait for that.
#[test]
fn a_handler_that_notices_nothing_is_dropped() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/oblivious") {
            let (before, begun) = (DROPPED.load(SeqCst), server.now_ms());
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000, "{protocol}");
            // On a busy machine all of it may take long; then what did not come first is the end of the handler.
            let is_at_once = server.now_ms() - begun < 250 || DROPPED.load(SeqCst) == before;
            assert!(is_at_once, "{protocol}: the peer has waited");
            drop(client);
            server.until("the handler's end", || DROPPED.load(SeqCst) == before + 1);

            let client = server.websocket(protocol, "/oblivious", "");
            drop(client);
            server.until("the handler's end", || DROPPED.load(SeqCst) == before + 2);
        }
        server.await_count("websockets_open", 0);
    });
}

/// The peer's Close waits for the replies to what came before it, even if the peer has ended its side as well.
#[test]
fn a_close_does_not_cut_off_the_replies_before_it() {
    on_every_driver(app, |server| {
        for path in ["/ponders", "/ponders-blocking", "/ponders-in-halves", "/ponders-in-halves-blocking"] {
            for (protocol, mut client) in server.websockets(path) {
                client
                    .wire
                    .say(&[text("one"), frame(0x89, b"?"), text("two"), frame(0x89, b"!"), close(4002)].concat());
                client.wire.finish();
                let [mut words, mut pongs] = [const { String::new() }; 2];
                let end = loop {
                    match client.attempt_frame() {
                        Some((0x81, word)) => words += str::from_utf8(&word).unwrap(),
                        Some((0x8a, pong)) => pongs += str::from_utf8(&pong).unwrap(),
                        end => break end,
                    }
                };
                assert_eq!((&*words, &*pongs), ("onetwo", "?!"), "{path} over {protocol}");
                assert_eq!(end, Some((0x88, 4002_u16.to_be_bytes().to_vec())), "{path} over {protocol}");
                assert!(client.is_over());

                let mut client = server.websocket(protocol, path, "");
                client.wire.say(&text("1"));
                assert_eq!(client.text(), "1");
                let begun = server.now_ms();
                client.wire.say(&close(4003));
                assert_eq!(client.closed(), 4003, "{path} over {protocol}");
                assert!(server.now_ms() - begun < 900, "{path} over {protocol}: there is nothing to wait for");
            }
        }
        server.await_count("websockets_open", 0);
    });
}

/// Each reply has a second from when the handler has its message.
#[test]
fn the_time_for_a_reply_begins_with_its_message() {
    on_every_kernel_driver(app, |server| {
        let paths = ["/ponders", "/ponders-blocking"];
        let mut clients = paths.map(|path| server.websocket("HTTP/1.1", path, ""));
        for client in &mut clients {
            client.wire.say(&[text("600"), text("601"), text("602"), close(1000)].concat());
        }
        for (client, path) in clients.iter_mut().zip(paths) {
            assert_eq!([client.text(), client.text(), client.text()], ["600", "601", "602"], "{path}");
            assert_eq!(client.closed(), 1000);
        }
    });
}

/// It waits for a second at most: a handler may have no more use for what it is told.
fn is_answered_anyway(server: &Server, path: &str, ends: &AtomicUsize) {
    for (protocol, mut client) in server.websockets(path) {
        let (before, begun) = (ends.load(SeqCst), server.now_ms());
        let goodbye = close(4004);
        client.wire.say(&[&text("go on"), &goodbye[..4]].concat());
        server.pass(50);
        client.wire.say(&goodbye[4..]);
        let end = loop {
            match client.frame() {
                (0x81, tick) => assert_eq!(tick, b"tick"),
                end => break end,
            }
        };
        assert_eq!(end, (0x88, 4004_u16.to_be_bytes().to_vec()), "{path} over {protocol}");
        let (time, late) = (server.now_ms() - begun, if server.is_sim() { 0 } else { 5_000 });
        assert!((900..2_000 + late).contains(&time), "{path} over {protocol}: {time} ms");
        assert!(client.is_over());
        server.until("the handler's end", || ends.load(SeqCst) > before);
    }
    server.await_count("websockets_open", 0);
}

#[test]
fn a_close_is_answered_whatever_the_handler_does() {
    on_every_driver(app, |server| is_answered_anyway(server, "/stops-listening", &STOPPED[0]));
}

#[test]
fn a_close_is_answered_whatever_the_thread_does() {
    on_every_kernel_driver(app, |server| is_answered_anyway(server, "/stops-listening-blocking", &STOPPED[1]));
}
