//! The object a handler holds, in both worlds, against a client that is not ours and against frames said by hand.

use futures_core::Stream;
use ringgate::{
    App, Core, blocking, get,
    websocket::{CloseCode, Kind, Message, Outgoing, Prepared, QueuePolicy, SocketError, WebSocket, websocket},
};
use ringgate_runtime::sys::placement::Placement;
use ringgate_tests::{
    gateway::{Client, Ground, Server, Wire, drivers, grounds, on_every_driver, on_every_kernel_driver, start_gateway},
    websocket::{PROTOCOLS, close, frame, text},
};
use std::{
    future::poll_fn,
    io::{self, Read, Write},
    net::TcpStream,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};
use tungstenite::{Message as Theirs, WebSocket as TheirSocket, client, protocol::Role};

async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv().await {
        socket.send(message?).await?;
    }
    Ok(())
}

fn echo_blocking(mut socket: blocking::WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.next() {
        socket.send(message?)?;
    }
    Ok(())
}

/// The same through `Stream`, piece by piece, and through halves in tasks of their own.
async fn echo_stream(mut socket: WebSocket) {
    while let Some(Ok(message)) = poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await {
        if socket.send(&message).await.is_err() {
            return;
        }
    }
}

async fn echo_pieces(mut socket: WebSocket) -> Result<(), SocketError> {
    loop {
        let Some(piece) = socket.recv_piece().await else { return Ok(()) };
        let mut piece = piece?;
        let mut pieces = vec![piece.clone()];
        while !piece.last {
            let Some(next) = socket.recv_piece().await else { return Ok(()) };
            piece = next?;
            pieces.push(piece.clone());
        }
        let mut writer = socket.begin(pieces[0].kind)?;
        for piece in pieces {
            writer.write(&piece.bytes[..]).await?;
        }
        writer.finish().await?;
    }
}

async fn echo_halves(socket: WebSocket) {
    let handle = socket.core().handle().clone();
    let (mut sender, mut receiver) = socket.split();
    let echo = async move {
        while let Some(Ok(message)) = receiver.recv().await {
            if sender.send(message).await.is_err() {
                return;
            }
        }
    };
    handle.spawn("halves", echo).detach();
}

fn echo_halves_blocking(socket: blocking::WebSocket) {
    let (mut sender, receiver) = socket.split();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for message in receiver.map_while(Result::ok) {
                if sender.send(message.into_bytes()).is_err() {
                    return;
                }
            }
        });
    });
}

async fn leaves(_: WebSocket) {}

async fn fails(_: WebSocket) -> Result<(), &'static str> {
    Err("no")
}

async fn panics(mut socket: WebSocket) {
    let _ = socket.recv().await;
    panic!("a conversation that panics costs nobody else anything");
}

fn panics_blocking(_: blocking::WebSocket) {
    panic!("nor does one on a thread");
}

async fn closes(mut socket: WebSocket) {
    assert_eq!(socket.close(CloseCode::NORMAL, &"x".repeat(124)), Err(SocketError::TooLong));
    socket.close(CloseCode::new(4001).unwrap(), "enough").unwrap();
    assert_eq!(socket.send("more").await, Err(SocketError::Closed));
    while let Some(Ok(_)) = socket.recv().await {}
    assert_eq!(socket.close_frame().unwrap().code.map(CloseCode::get), Some(4001));
    CLOSED.fetch_add(1, SeqCst);
}

static CLOSED: AtomicUsize = AtomicUsize::new(0);
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Learns that its client is gone, both ways.
async fn watches(mut socket: WebSocket) {
    let _ = socket.send("here").await;
    assert_eq!(socket.recv().await, Some(Err(SocketError::Disconnected)));
    assert_eq!(socket.recv().await, None);
    assert_eq!(socket.send("gone?").await, Err(SocketError::Disconnected));
    LEFT.fetch_add(1, SeqCst);
}

fn watches_blocking(mut socket: blocking::WebSocket) {
    let _ = socket.send("here");
    assert_eq!(socket.recv(), Some(Err(SocketError::Disconnected)));
    assert_eq!(socket.recv(), None);
    while socket.send("gone?").is_ok() {}
    LEFT.fetch_add(1, SeqCst);
}

/// Waits for one word, then says 64 KiB at a time as long as it can, and tells how often that was.
async fn talks(mut socket: WebSocket) {
    let _ = socket.recv().await;
    let words = vec![b'w'; 65_536];
    for _ in 0..1_000 {
        let handle = socket.core().handle().clone();
        if socket.send(&words[..]).await.is_err() {
            return;
        }
        SAID.fetch_add(1, SeqCst);
        handle.yield_now().await;
    }
    let _ = socket.send("end").await;
}

static SAID: AtomicUsize = AtomicUsize::new(0);

async fn prepared(mut socket: WebSocket) {
    let hello = Prepared::text(&"hello ".repeat(50));
    let _ = socket.send(&hello).await;
    let _ = socket.send(Outgoing::from(&hello).compressed(false)).await;
    let _ = socket.send(Outgoing::new(Kind::Text, "plain ".repeat(50).into_bytes()).compressed(false)).await;
    let _ = socket.ping(b"!");
}

/// A broadcast waits behind a message in fragments, whose end never comes: the peer closes, or the handler gives up.
async fn breaks_off(mut socket: WebSocket) {
    let (core, waits) = (socket.core().clone(), socket.request().unwrap().query_value("waits").is_some());
    let room = core.topic("interrupted");
    let _here = room.subscribe(&socket);
    let mut writer = socket.begin(Kind::Text).unwrap();
    writer.write("a").await.unwrap();
    room.publish("between").await;
    if waits {
        std::future::pending().await
    }
    core.handle().sleep(Duration::from_millis(200)).await;
    let _ = writer.write("b").await;
}

fn app(_: &Core) -> App {
    App::new()
        .route("/echo", echo)
        .route("/echo-blocking", echo_blocking)
        .route("/echo-stream", echo_stream)
        .route("/echo-pieces", echo_pieces)
        .route("/echo-halves", echo_halves)
        .route("/echo-halves-blocking", echo_halves_blocking)
        .route("/leaves", leaves)
        .route("/fails", fails)
        .route("/panics", panics)
        .route("/panics-blocking", panics_blocking)
        .route("/closes", closes)
        .route("/watches", watches)
        .route("/watches-blocking", watches_blocking)
        .route("/prepared", get(websocket(prepared).deflate(Default::default())))
        .route("/talks", talks)
        .route("/breaks-off", breaks_off)
        .route("/talks-oldest", get(websocket(talks).queue(200_000, QueuePolicy::DropOldest)))
        .route("/talks-close", get(websocket(talks).queue(200_000, QueuePolicy::Close)))
}

/// A wire as other people's code wants it.
struct Foreign {
    wire: Box<dyn Wire>,
    heard: Vec<u8>,
}

impl Read for Foreign {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.heard.is_empty() {
            self.heard = self.wire.hear();
        }
        let count = self.heard.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.heard[..count]);
        self.heard.drain(..count);
        Ok(count)
    }
}

impl Write for Foreign {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.say(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Their client, with their handshake where it has one: over HTTP/1.1.
fn tungstenite(server: &Server, protocol: &str, path: &str) -> TheirSocket<Foreign> {
    if protocol == "HTTP/2" {
        let wire = server.websocket(protocol, path, "").wire;
        return TheirSocket::from_raw_socket(Foreign { wire, heard: Vec::new() }, Role::Client, None);
    }
    client(format!("ws://test{path}"), Foreign { wire: server.wire(), heard: Vec::new() }).unwrap().0
}

#[test]
fn every_kind_of_echo() {
    on_every_driver(app, |server| {
        for protocol in PROTOCOLS {
            for path in ["/echo", "/echo-blocking", "/echo-stream", "/echo-pieces", "/echo-halves"] {
                echoes(server, protocol, path);
            }
            let mut client = tungstenite(server, protocol, "/echo-halves-blocking");
            client.send(Theirs::binary(vec![1, 2])).unwrap();
            assert_eq!(client.read().unwrap(), Theirs::binary(vec![1, 2]));
        }
    });
}

fn echoes(server: &Server, protocol: &str, path: &str) {
    let mut client = tungstenite(server, protocol, path);
    let sizes: &[u32] =
        if server.is_sim() { &[0, 1, 125, 126, 700] } else { &[0, 1, 125, 126, 4_097, 65_535, 65_536, 700_000] };
    for size in sizes {
        let bytes: Vec<u8> = (0..*size).map(|number| (number * 7) as u8).collect();
        client.send(Theirs::binary(bytes.clone())).unwrap();
        assert_eq!(client.read().unwrap(), Theirs::binary(bytes), "{path} over {protocol}, {size} bytes");
        let text = "ä€".repeat(*size as usize / 5);
        client.send(Theirs::text(text.clone())).unwrap();
        assert_eq!(client.read().unwrap(), Theirs::text(text), "{path} over {protocol}, {size} bytes");
    }
    (0..100).for_each(|number: u32| client.write(Theirs::text(number.to_string())).unwrap());
    client.flush().unwrap();
    (0..100).for_each(|number: u32| assert_eq!(client.read().unwrap(), Theirs::text(number.to_string())));
    client.close(None).unwrap();
    while let Ok(message) = client.read() {
        assert!(message.is_close(), "{path} over {protocol}: {message}");
    }
}

/// Small sends of one turn leave as one: the sends of the driver are counted.
#[test]
fn messages_that_came_together_are_answered_together() {
    on_every_kernel_driver(app, |server| {
        let mut client = server.connect();
        client.open("/echo");
        client.wire.say(&text("x"));
        client.text();
        let before = server.runtime_count("sends");
        client.wire.say(&text("0123456789").repeat(500));
        let mut heard = 0;
        while heard < 500 * 12 {
            heard += client.wire.hear().len();
        }
        let sends = server.runtime_count("sends") - before;
        assert!((1..20).contains(&sends), "500 echoes left in {sends} sends");
    });
}

#[test]
fn the_end_of_a_handler_closes() {
    on_every_driver(app, |server| {
        for protocol in PROTOCOLS {
            let before = server.count("handler_panics");
            for (path, code) in [("/leaves", 1000), ("/fails", 1011), ("/panics-blocking", 1011), ("/panics", 1011)] {
                let mut client = server.websocket(protocol, path, "");
                client.wire.say(&text("go on"));
                let (first, payload) = client.frame();
                assert_eq!((first, payload), (0x88, (code as u16).to_be_bytes().to_vec()), "{path} over {protocol}");
                client.wire.say(&close(1000));
                assert!(client.is_over(), "{path} over {protocol}");
            }
            // A thread's ends close its socket before the thread itself has ended.
            server.await_count("handler_panics", before + 2);
            let mut client = server.websocket(protocol, "/closes", "");
            assert_eq!(client.frame(), (0x88, [&4001_u16.to_be_bytes()[..], b"enough"].concat()));
            let before = CLOSED.load(SeqCst);
            client.wire.say(&[text("still delivered"), close(4001)].concat());
            assert!(client.is_over());
            server.until("the handler's end", || CLOSED.load(SeqCst) > before);
            server.await_count("websockets_open", 0);
        }
    });
}

#[test]
fn a_client_that_is_gone_is_noticed_in_both_worlds() {
    on_every_driver(app, |server| {
        for path in ["/watches", "/watches-blocking"] {
            for (protocol, mut client) in server.websockets(path) {
                let before = LEFT.load(SeqCst);
                assert_eq!(client.text(), "here");
                drop(client);
                server.until(&format!("the end of {path} over {protocol}"), || LEFT.load(SeqCst) > before);
            }
        }
        server.await_count("websockets_open", 0);
    });
}

#[test]
fn prepared_messages_take_the_form_that_was_agreed_on() {
    on_every_driver(app, |server| {
        for protocol in PROTOCOLS {
            let mut client = server.websocket(protocol, "/prepared", "");
            assert_eq!(client.text(), "hello ".repeat(50));
            let mut client =
                server.websocket(protocol, "/prepared", "sec-websocket-extensions: permessage-deflate\r\n");
            let (first, payload) = client.frame();
            assert!(first == 0xc1 && payload.len() < 40, "{first:x}, {} bytes", payload.len());
            assert_eq!(client.text(), "hello ".repeat(50));
            assert_eq!(client.text(), "plain ".repeat(50));
            assert_eq!(client.frame(), (0x89, b"!".to_vec()), "{protocol}");
        }
    });
}

/// A slow reader: `send` waits, or the oldest go, or the socket goes.
#[test]
fn slow_readers_follow_the_policy() {
    for driver in drivers() {
        let server = Server::start(Ground::Kernel(driver), app);
        SAID.store(0, SeqCst);
        let mut client = server.connect();
        client.open("/talks");
        client.wire.say(&text("go"));
        std::thread::sleep(Duration::from_millis(300));
        let said = SAID.load(SeqCst);
        assert!(said < 500, "{said} times 64 KiB were said to nobody");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(SAID.load(SeqCst), said, "send does not wait");
        let mut heard = 0;
        while client.frame().0 == 0x82 {
            heard += 1;
        }
        assert_eq!(heard, 1_000);

        let mut client = server.connect();
        client.open("/talks-oldest");
        client.wire.say(&text("go"));
        std::thread::sleep(Duration::from_millis(500));
        let mut heard = 0;
        loop {
            match client.frame() {
                (0x82, _) => heard += 1,
                (0x81, end) => {
                    assert_eq!(end, b"end", "the latest is there");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(heard < 900, "{heard} messages waited for a slow reader");
        assert_eq!(server.count("websocket_messages_dropped"), 1_000 - heard);

        let mut client = server.connect();
        client.open("/talks-close");
        client.wire.say(&text("go"));
        server.await_count("websockets_closed_slow", 1);
        let mut last = client.frame();
        while last.0 == 0x82 {
            last = client.frame();
        }
        assert_eq!(last, (0x88, [&1008_u16.to_be_bytes()[..], b"too slow"].concat()));
    }
}

#[test]
fn a_drain_closes_with_1001() {
    for ground in grounds() {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        let mut clients: Vec<_> = ["/echo", "/echo-blocking", "/echo-halves"]
            .into_iter()
            .flat_map(|path| server.websockets(path).collect::<Vec<_>>())
            .collect();
        for (_, client) in &mut clients {
            client.wire.say(&text("x"));
            assert_eq!(client.text(), "x");
        }
        let stopping = server.stop(Duration::from_secs(5));
        for (protocol, client) in &mut clients {
            assert_eq!(client.frame(), (0x88, vec![3, 233]), "{protocol}");
            client.wire.say(&close(1001));
            assert!(client.is_over(), "{protocol}");
        }
        drop(clients);
        let report = stopping.report();
        assert_eq!((report.open, report.cut), (6, 0), "{report:?}");
    }
}

async fn room(socket: WebSocket) {
    let room = socket.core().topic("room");
    let place = room.subscribe(&socket);
    let (mut sender, mut receiver) = socket.split();
    let _ = sender.send(format!("{} here", room.subscribers())).await;
    while let Some(Ok(message)) = receiver.recv().await {
        match &message {
            Message::Text(text) if text.as_str() == "leave" => break,
            Message::Text(text) if text.starts_with("secret") => {
                room.publish(Outgoing::from(&message).compressed(false)).await
            }
            _ => room.publish(&message).await,
        };
    }
    drop(place);
    let _ = sender.send("left").await;
    let _ = receiver.recv().await;
}

fn rooms(_: &Core) -> App {
    App::new()
        .route("/room", get(websocket(room).deflate(Default::default())))
        .route("/slow-room", get(websocket(room).queue(10_000, QueuePolicy::DropOldest)))
}

/// What one says all hear, on whichever core they are, each in its form.
#[test]
fn topics_reach_all_subscribers_of_all_cores() {
    for driver in drivers() {
        let gateway = start_gateway(driver, rooms, |gateway| gateway.cores(Placement::Unpinned { count: 2 }));
        let connect = || {
            let stream = TcpStream::connect(gateway.addresses()[0].to_string()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Client::new(stream)
        };
        let mut clients: Vec<_> = (0..12)
            .map(|number| {
                let mut client = connect();
                let deflate = if number % 3 == 0 { "sec-websocket-extensions: permessage-deflate\r\n" } else { "" };
                client.open_with("/room", deflate);
                assert!(client.text().ends_with("here"));
                client
            })
            .collect();
        for number in 0..20 {
            clients[number % 12].wire.say(&text(&format!("word {number}")));
            let expected = format!("word {number}");
            clients.iter_mut().for_each(|client| assert_eq!(client.text(), expected));
        }
        let long = "a long line ".repeat(20);
        clients[0].wire.say(&text(&long));
        for (number, client) in clients.iter_mut().enumerate() {
            if number % 3 == 0 {
                let (first, payload) = client.frame();
                assert!(first == 0xc1 && payload.len() < 60, "{first:x}");
            } else {
                assert_eq!(client.text(), long);
            }
        }
        // W-18: who publishes can have it uncompressed for all.
        let secret = "secret ".repeat(20);
        clients[0].wire.say(&text(&secret));
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), secret));
        clients[3].wire.say(&text("leave"));
        assert_eq!(clients[3].text(), "left");
        clients[4].wire.say(&frame(0x82, b"binary"));
        for (number, client) in clients.iter_mut().enumerate().filter(|(number, _)| *number != 3) {
            assert_eq!(client.frame(), (0x82, b"binary".to_vec()), "{number}");
        }
    }
}

/// A subscriber that does not read costs bounded memory and holds up nobody.
#[test]
fn a_slow_subscriber_holds_up_nobody() {
    on_every_kernel_driver(rooms, |server| {
        let (mut slow, mut quick, mut speaker) = (server.connect(), server.connect(), server.connect());
        slow.open("/slow-room");
        for client in [&mut quick, &mut speaker] {
            client.open("/room");
            client.text();
        }
        let line = "x".repeat(60_000);
        for _ in 0..400 {
            speaker.wire.say(&text(&line));
            assert_eq!(quick.text().len(), line.len());
            assert_eq!(speaker.text().len(), line.len());
        }
        assert!(server.count("websocket_messages_dropped") > 100, "{}", server.count("websocket_messages_dropped"));
    });
}

#[test]
fn nothing_stands_in_a_broken_off_message_or_follows_a_close() {
    on_every_driver(app, |server| {
        for (path, ours, theirs) in
            [("/breaks-off", 1011, None), ("/breaks-off", 1000, Some(1000)), ("/breaks-off?waits", 1000, Some(1000))]
        {
            for (protocol, mut client) in server.websockets(path) {
                assert_eq!(client.frame(), (0x01, b"a".to_vec()), "{protocol} {path}");
                if let Some(code) = theirs {
                    client.wire.say(&close(code));
                } else {
                    assert_eq!(client.frame(), (0x00, b"b".to_vec()), "{protocol} {path}");
                }
                assert_eq!(client.closed(), ours, "{protocol} {path}");
            }
        }
        server.await_count("connections_open", 0);
    });
}
