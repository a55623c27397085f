//! A peer's Close that has come while the handler may still reply to what was before it: attacks on the wait, and random
//! conversations that end so.

use futures_core::Stream;
use futures_sink::Sink;
use ringgate::{
    App, Core, blocking, get,
    websocket::{CloseCode, DeflateConfig, Kind, Message, SocketError, WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Ground, Server, Wire, drivers, in_every_world, on_every_driver, on_every_kernel_driver},
    websocket::{PROTOCOLS, SocketClient, close, frame, text},
};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
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

fn app(_: &Core) -> App {
    let idle = WebSocketLimits { idle_timeout_ms: 500, ..WebSocketLimits::default() };
    App::new()
        .route("/obeys", obeys)
        .route("/deflated", get(websocket(obeys).deflate(DeflateConfig::default())))
        .route("/idle", get(websocket(obeys).limits(idle)))
        .route("/task", obeys_in_a_task)
        .route("/pieces", obeys_by_pieces)
        .route("/blocking", obeys_blocking)
        .route("/thread", obeys_in_a_thread)
}

const ASYNC: [&str; 4] = ["/obeys", "/deflated", "/task", "/pieces"];

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

/// A conversation by seed. Everything that the handler answers in time has its answer ahead of the Close, once.
fn converses(server: &Server, protocol: &str, path: &str, dice: &mut Dice, think_max: u64) {
    let mut client = server.websocket(protocol, path, "");
    let (mut bytes, mut expected, mut pings) = (Vec::new(), Vec::new(), 0);
    // Behind the first that takes too long for a Close to wait for, or with which the handler itself closes.
    let (mut is_bound, mut is_closed, mut may_close) = (true, false, false);
    for number in 0..dice.roll(12) as usize {
        let think = if dice.one_in(3) { dice.roll(think_max) } else { dice.roll(4) };
        let (replies, manner) = (dice.roll(4) as usize, ['-', '-', 'f', 's', 'c'][dice.roll(5) as usize]);
        let manner = if manner == 'c' && !dice.one_in(4) { '-' } else { manner };
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
        if dice.one_in(3) {
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
    let about = format!("{path} over {protocol}, {} ms: {heard:?}", server.now_ms() - begun);
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
            for path in ["/blocking", "/thread"] {
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
