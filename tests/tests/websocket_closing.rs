//! A peer's Close that has come while the handler may still reply to what was before it: attacks on the wait, and random
//! conversations that end so.

use futures_core::Stream;
use futures_sink::Sink;
use ringgate::{
    App, Core, blocking, get,
    websocket::{
        CloseCode, DeflateConfig, Kind, Message, QueuePolicy, SocketError, WebSocket, WebSocketLimits, websocket,
    },
};
use ringgate_tests::{
    gateway::{
        Client, Ground, Server, Wire, drivers, http2::code, in_every_world, on_every_driver, on_every_kernel_driver,
        seeds,
    },
    websocket::{PROTOCOLS, SocketClient, close, extended_connect, frame, text},
};
use std::{
    future::{Future, poll_fn},
    io::Write as _,
    pin::{Pin, pin},
    sync::Mutex,
    task::Poll,
    thread,
    time::Duration,
};

/// What a message asks for: `number think_ms replies manner`.
struct Order {
    number: usize,
    think: Duration,
    replies: usize,
    manner: char,
}

impl Order {
    fn of(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        Self {
            number: words[0].parse().unwrap(),
            think: Duration::from_millis(words[1].parse().unwrap()),
            replies: words[2].parse().unwrap(),
            manner: words[3].chars().next().unwrap(),
        }
    }

    fn reply(&self, part: usize) -> String {
        format!("{}.{part}", self.number)
    }
}

/// Does as it is told.
async fn obeys(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    while let Some(message) = socket.recv().await {
        let message = message?;
        let order = Order::of(message.to_text().unwrap());
        core.handle().sleep(order.think).await;
        for part in 0..order.replies {
            let reply = order.reply(part);
            match order.manner {
                'f' => {
                    let mut writer = socket.begin(Kind::Text)?;
                    writer.write(&reply[..1]).await?;
                    core.handle().sleep(Duration::from_millis(1)).await;
                    writer.write(&reply[1..]).await?;
                    writer.finish().await?;
                }
                's' => {
                    poll_fn(|cx| Pin::new(&mut socket).poll_ready(cx)).await?;
                    Pin::new(&mut socket).start_send(Message::from(reply))?;
                    poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await?;
                }
                _ => socket.send(reply).await?,
            }
        }
        if order.manner == 'c' {
            socket.close(CloseCode::new(4999).unwrap(), "enough")?;
        }
    }
    Ok(())
}

/// The same with halves: one task listens, and thinks, and the other way to receive.
async fn obeys_in_a_task(socket: WebSocket) -> Result<(), SocketError> {
    let handle = socket.core().handle().clone();
    let (mut sender, mut receiver) = socket.split();
    let task = handle.clone().spawn("obeys", async move {
        while let Some(message) = poll_fn(|cx| Pin::new(&mut receiver).poll_next(cx)).await {
            let message = message?;
            let order = Order::of(message.to_text().unwrap());
            handle.sleep(order.think).await;
            for part in 0..order.replies {
                sender.send(order.reply(part)).await?;
            }
            if order.manner == 'c' {
                sender.close(CloseCode::new(4999).unwrap(), "enough")?;
            }
        }
        Ok(())
    });
    task.await.unwrap()
}

/// Takes pieces, and gives up each wait after a moment.
async fn obeys_by_pieces(mut socket: WebSocket) -> Result<(), SocketError> {
    let core = socket.core().clone();
    let mut whole = Vec::new();
    loop {
        let piece = {
            let (mut wait, mut sleep) =
                (pin!(socket.recv_piece()), pin!(core.handle().sleep(Duration::from_millis(1))));
            poll_fn(|cx| match wait.as_mut().poll(cx) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
            })
            .await
        };
        let Some(piece) = piece else { continue };
        let Some(piece) = piece else { return Ok(()) };
        let piece = piece?;
        whole.extend_from_slice(&piece.bytes);
        if piece.last {
            let order = Order::of(std::str::from_utf8(&whole).unwrap());
            whole.clear();
            core.handle().sleep(order.think).await;
            for part in 0..order.replies {
                socket.send(order.reply(part)).await?;
            }
            if order.manner == 'c' {
                socket.close(CloseCode::new(4999).unwrap(), "enough")?;
            }
        }
    }
}

fn obeys_blocking(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.next() {
        let message = message?;
        let order = Order::of(message.to_text().unwrap());
        thread::sleep(order.think);
        for part in 0..order.replies {
            let reply = order.reply(part);
            if order.manner == 'f' {
                let mut writer = socket.begin(Kind::Text)?;
                writer.write(&reply[..1])?;
                writer.write(&reply[1..])?;
                writer.finish()?;
            } else {
                socket.send(reply)?;
            }
        }
        if order.manner == 'c' {
            socket.close(CloseCode::new(4999).unwrap(), "enough")?;
        }
    }
    Ok(())
}

/// The same on a thread of its own, by pieces.
fn obeys_in_a_thread(socket: blocking::WebSocket) {
    let (mut sender, mut receiver) = socket.split();
    thread::spawn(move || {
        let mut whole = Vec::new();
        while let Some(piece) = receiver.recv_piece() {
            let piece = piece?;
            whole.extend_from_slice(&piece.bytes);
            if piece.last {
                let order = Order::of(std::str::from_utf8(&whole).unwrap());
                whole.clear();
                thread::sleep(order.think);
                for part in 0..order.replies {
                    sender.send(order.reply(part))?;
                }
                if order.manner == 'c' {
                    sender.close(CloseCode::new(4999).unwrap(), "enough")?;
                }
            }
        }
        Ok::<_, SocketError>(())
    });
}

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
    let hasty = WebSocketLimits { close_timeout_ms: 0, ..WebSocketLimits::default() };
    let idle = WebSocketLimits { idle_timeout_ms: 500, ..WebSocketLimits::default() };
    App::new()
        .route("/obeys", obeys)
        .route("/ticks", ticks)
        .route("/looks-late", get(websocket(looks_late).limits(quick)))
        .route("/hasty", get(websocket(obeys_in_a_task).limits(hasty.clone())))
        .route("/hasty-blocking", get(websocket(obeys_blocking).limits(hasty)))
        .route("/floods", floods)
        .route("/floods-oldest", get(websocket(floods).queue(200_000, QueuePolicy::DropOldest)))
        .route("/floods-close", get(websocket(floods).queue(200_000, QueuePolicy::Close)))
        .route("/floods-blocking", floods_blocking)
        .route("/floods-blocking-oldest", get(websocket(floods_blocking).queue(200_000, QueuePolicy::DropOldest)))
        .route("/floods-blocking-close", get(websocket(floods_blocking).queue(200_000, QueuePolicy::Close)))
        .route("/deflated", get(websocket(obeys).deflate(DeflateConfig::default())))
        .route("/idle", get(websocket(obeys).limits(idle)))
        .route("/task", obeys_in_a_task)
        .route("/pieces", obeys_by_pieces)
        .route("/blocking", obeys_blocking)
        .route("/thread", obeys_in_a_thread)
}

const ASYNC: [&str; 5] = ["/obeys", "/deflated", "/task", "/pieces", "/hasty"];

/// What a client has heard at the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    words: Vec<String>,
    pongs: usize,
    /// Of the Close, behind which there was nothing.
    code: Option<u16>,
}

fn hear(client: &mut SocketClient) -> Heard {
    let (mut heard, mut word) = (Heard::default(), Vec::new());
    while let Some((first, payload)) = client.attempt_frame() {
        assert_eq!(heard.code, None, "{first:x} {payload:?} behind the Close");
        match first & 0x0f {
            0x0a => heard.pongs += 1,
            0x08 => heard.code = Some(payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))),
            0x00..=0x02 => {
                word.extend(payload);
                if first & 0x80 != 0 {
                    heard.words.push(String::from_utf8(std::mem::take(&mut word)).unwrap());
                }
            }
            _ => panic!("{first:x}"),
        }
    }
    heard
}

/// Numbers that a seed makes (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// Compressed, after a fashion: a block that is stored (RFC 7692 section 7.2.3.3).
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len() as u16;
    [&[0], &length.to_le_bytes()[..], &(!length).to_le_bytes(), bytes, &[0]].concat()
}

/// A conversation by seed. Everything that the handler answers in time has its answer ahead of the Close, once.
fn converses(server: &Server, protocol: &str, path: &str, dice: &mut Dice, think_max: u64) {
    let is_deflated = path == "/deflated";
    let fields = if is_deflated { "sec-websocket-extensions: permessage-deflate\r\n" } else { "" };
    let mut client = server.websocket(protocol, path, fields);
    let (mut bytes, mut expected, mut pings, mut thinks) = (Vec::new(), Vec::new(), 0, 0);
    // Behind the first that takes too long for a Close to wait for, or with which the handler itself closes.
    let (mut is_bound, mut is_closed, mut may_close) = (true, false, false);
    for number in 0..dice.roll(12) as usize {
        let think = if dice.one_in(3) { dice.roll(think_max) } else { dice.roll(4) };
        let (replies, manner) = (dice.roll(4) as usize, ['-', '-', 'f', 's', 'c'][dice.roll(5) as usize]);
        // What is sent in parts is compressed where that is agreed on, and this client cannot read it.
        let is_plain = (manner == 'c' && !dice.one_in(4)) || (manner == 'f' && is_deflated);
        let manner = if is_plain { '-' } else { manner };
        is_bound &= think < 900;
        if is_bound && !is_closed {
            expected.extend((0..replies).map(|part| format!("{number}.{part}")));
            is_closed |= manner == 'c';
        }
        may_close |= manner == 'c';
        let order = format!("{number} {think} {replies} {manner}");
        let cut = dice.roll(order.len() as u64) as usize;
        let mut ping = |bytes: &mut Vec<u8>, dice: &mut Dice| {
            if dice.one_in(4) {
                pings += 1;
                bytes.extend(frame(0x89, b"?"));
            }
        };
        thinks += think;
        if is_deflated && dice.one_in(2) {
            bytes.extend(frame(0xc1, &stored(order.as_bytes())));
        } else if dice.one_in(3) {
            bytes.extend(frame(0x01, &order.as_bytes()[..cut]));
            ping(&mut bytes, dice);
            bytes.extend(frame(0x80, &order.as_bytes()[cut..]));
        } else {
            bytes.extend(text(&order));
        }
        ping(&mut bytes, dice);
    }
    let code = 4_000 + dice.roll(900) as u16;
    if dice.one_in(4) {
        // Never to be whole.
        bytes.extend(frame(0x01, b"half"));
    }
    bytes.extend(close(code));
    if dice.one_in(4) {
        bytes.extend([text("behind"), frame(0x89, b"!"), close(1000)].concat());
    }
    // In one, or cut anywhere, and not at once.
    let mut rest = &bytes[..];
    let is_cut = dice.one_in(2);
    while !rest.is_empty() {
        let part = if is_cut { 1 + dice.roll(rest.len() as u64) as usize } else { rest.len() };
        client.wire.say(&rest[..part]);
        rest = &rest[part..];
        if is_cut && !rest.is_empty() {
            server.pass(dice.roll(40));
        }
    }
    if dice.one_in(3) {
        client.wire.finish();
    }
    let begun = server.now_ms();
    let heard = hear(&mut client);
    let took = server.now_ms() - begun;
    let about = format!("{path} over {protocol}, {took} ms: {heard:?}");
    // Nobody is asleep until the time for a reply is over.
    assert!(took < thinks + 900 || !is_bound, "{about} and thought about for {thinks} ms");
    if is_bound || is_closed {
        assert_eq!(heard.words, expected, "{about}");
    } else {
        assert!(heard.words.starts_with(&expected), "{about}, expected {expected:?}");
        assert!(heard.words.windows(2).all(|pair| pair[0] != pair[1]), "{about}");
    }
    if is_closed {
        assert_eq!(heard.code, Some(4999), "{about}");
    } else {
        assert!(heard.code == Some(code) || (may_close && !is_bound && heard.code == Some(4999)), "{about}: {code}");
        // While an answer is on its way only the latest ping needs one (RFC 6455 section 5.5.3).
        let pongs = if is_bound { pings.min(1)..=pings } else { 0..=pings };
        assert!(pongs.contains(&heard.pongs), "{about}: {pings} pings");
    }
}

#[test]
fn conversations_that_end_in_a_close() {
    in_every_world(
        app,
        |_| {},
        |_| {},
        |server| {
            let Ground::Sim(seed) = server.ground() else { unreachable!() };
            let mut dice = Dice(seed);
            for _ in 0..6 {
                for path in ASYNC {
                    for protocol in PROTOCOLS {
                        let think_max = if dice.one_in(4) { 1_600 } else { 300 };
                        converses(server, protocol, path, &mut dice, think_max);
                    }
                }
            }
            server.await_count("websockets_open", 0);
            assert_eq!((server.count("websocket_faults"), server.count("disconnects")), (0, 0));
        },
    );
}

/// The same with threads, on every driver.
#[test]
fn conversations_of_threads_that_end_in_a_close() {
    on_every_driver(app, |server| {
        let seed = if let Ground::Sim(seed) = server.ground() { seed } else { 1_000 };
        let mut dice = Dice(seed);
        for _ in 0..4 {
            for path in ["/blocking", "/thread", "/hasty-blocking"] {
                if server.is_sim() && path == "/thread" {
                    // No simulation waits for threads of the handler's own.
                    continue;
                }
                for protocol in PROTOCOLS {
                    converses(server, protocol, path, &mut dice, 30);
                }
            }
        }
        server.await_count("websockets_open", 0);
        assert_eq!((server.count("websocket_faults"), server.count("disconnects")), (0, 0));
    });
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
        assert_eq!(server.count("websocket_faults"), 18);
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
        assert!(said < 16 << 20, "{said} bytes were taken by a task that has looked at 3,000 messages");
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
            for (protocol, mut client) in server.websockets("/looks-late") {
                let words = words.iter().flat_map(|word| text(word)).collect();
                client.wire.say(&[words, close(4000)].concat());
                assert_eq!(hear(&mut client).code, Some(4000), "{protocol}");
                server.until("the end", || LATE.lock().unwrap().last().is_some_and(|line| line.contains(' ')));
                assert_eq!(LATE.lock().unwrap().drain(..).collect::<Vec<_>>().join(","), seen, "{protocol}");
            }
        }
    });
}
