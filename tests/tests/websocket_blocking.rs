//! The WebSocket of a thread: every method of the async one, and what happens to a thread that blocks when its peer, its
//! queue or its gateway does not go on.

use ringgate::{
    App, Core, blocking, get,
    websocket::{CloseCode, Fault, Kind, Outgoing, Prepared, QueuePolicy, SocketError, WebSocketLimits, websocket},
};
use ringgate_runtime::sys::placement::Placement;
use ringgate_tests::{
    gateway::{
        Client, Ground, Server, Wire, drivers, on_every_driver, on_every_driver_with, on_every_kernel_driver,
        start_gateway,
    },
    websocket::{PROTOCOLS, SocketClient, close, frame, header, opening, text},
};
use std::{
    io::Write as _,
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

/// What handlers have seen, by what they are called with: tests run beside each other in one process.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn tell(line: String) {
    SEEN.lock().unwrap().push(line);
}

/// Waits until a handler has told this, and forgets it.
fn told(server: &Server, line: &str) {
    server.until(&format!("the word {line}"), || {
        let mut seen = SEEN.lock().unwrap();
        let place = seen.iter().position(|known| known == line);
        place.map(|place| seen.remove(place)).is_some()
    });
}

fn pieces(mut socket: blocking::WebSocket) {
    let (mut count, mut bytes) = (0, 0);
    while let Some(Ok(piece)) = socket.recv_piece() {
        assert_eq!(piece.first, count == 0);
        count += 1;
        bytes += piece.bytes.len();
        if piece.last {
            let _ = socket.send(format!("{:?} of {bytes} in {count}", piece.kind));
            (count, bytes) = (0, 0);
        }
    }
}

/// One piece, then whole messages: the rest of the first is passed over.
fn changes_its_mind(mut socket: blocking::WebSocket) {
    let first = socket.recv_piece().unwrap().unwrap();
    assert!(first.first && !first.last);
    let _ = socket.send("go on");
    while let Some(Ok(message)) = socket.recv() {
        let _ = socket.send(message);
        // A piece behind a whole message begins the next one.
        let Some(Ok(piece)) = socket.recv_piece() else { return };
        assert!(piece.first);
        let _ = socket.send(format!("piece of {}", piece.bytes.len().min(1)));
    }
}

fn states(mut socket: blocking::WebSocket) {
    assert!(socket.is_open());
    let peer = socket.peer_address().is_some();
    let protocol = socket.protocol();
    let line = format!("{protocol} {:?} {} {peer}", socket.subprotocol(), socket.is_deflated());
    socket.send(line).unwrap();
    assert_eq!(socket.ping(&[0; 126]), Err(SocketError::TooLong));
    socket.ping(b"are you there?").unwrap();
    assert_eq!(socket.core().index(), 0);
    assert!(!socket.core().is_draining());
    assert!(socket.core().metrics().get("websockets_opened").is_some());
    let hello = Prepared::text(&"hello ".repeat(50));
    socket.send(&hello).unwrap();
    socket.send(Outgoing::from(&hello).compressed(false)).unwrap();
    let mut writer = socket.begin(Kind::Text).unwrap();
    writer.write("in ").unwrap();
    writer.write("parts").unwrap();
    writer.finish().unwrap();
    assert_eq!(socket.close(CloseCode::NORMAL, &"x".repeat(124)), Err(SocketError::TooLong));
    socket.close(CloseCode::new(4001).unwrap(), "enough").unwrap();
    assert!(!socket.is_open());
    assert_eq!(socket.send("more"), Err(SocketError::Closed));
    assert_eq!(socket.ping(b""), Err(SocketError::Closed));
    assert_eq!(socket.close(CloseCode::NORMAL, ""), Err(SocketError::Closed));
    let last: Vec<_> = socket.by_ref().map(|message| message.unwrap().to_text().unwrap().to_owned()).collect();
    assert_eq!(last, ["still delivered"]);
    assert_eq!(socket.close_frame().unwrap().code.map(CloseCode::get), Some(4001));
    tell(format!("states over {protocol}"));
}

/// Answers the peer's Close in its own words.
fn last_words(mut socket: blocking::WebSocket) {
    let _ = socket.send("here");
    while socket.is_open() {
        thread::sleep(Duration::from_millis(1));
    }
    tell("the peer closed".to_owned());
}

fn unfinished(mut socket: blocking::WebSocket) {
    let mut writer = socket.begin(Kind::Binary).unwrap();
    writer.write([1, 2, 3]).unwrap();
}

/// Both halves on threads of their own, which outlive the handler.
fn halves(socket: blocking::WebSocket) {
    let (mut sender, receiver) = socket.split();
    thread::spawn(move || {
        for message in receiver.map_while(Result::ok) {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
}

/// Says what became of a thread that waits for a word.
fn waits(mut socket: blocking::WebSocket) {
    let path = socket.request().unwrap().path().to_owned();
    let _ = socket.send("here");
    let end = loop {
        match socket.recv() {
            Some(Ok(_)) => {}
            Some(Err(error)) => break format!("{error:?}"),
            None => {
                break format!("closed {:?}", socket.close_frame().and_then(|close| close.code).map(CloseCode::get));
            }
        }
    };
    assert_eq!(socket.recv(), None);
    assert_eq!(socket.recv_piece(), None);
    tell(format!("{path} {end}"));
}

/// Talks to somebody who does not listen, 64 KiB at a time, until it is stopped.
fn talks(mut socket: blocking::WebSocket) {
    let target = socket.request().unwrap().target().to_owned();
    let words = vec![b'w'; 65_536];
    let mut said = 0;
    let end = loop {
        match socket.send(&words[..]) {
            Ok(()) if said == 400 => break "all said".to_owned(),
            Ok(()) => said += 1,
            Err(error) => break format!("{error:?}"),
        }
        if target.ends_with("gone") {
            SAID.fetch_add(1, SeqCst);
        }
    };
    let _ = socket.send("end");
    tell(format!("{target} {end}"));
    let _ = socket.recv();
}

static SAID: AtomicUsize = AtomicUsize::new(0);

/// A chat of threads.
fn room(socket: blocking::WebSocket) {
    let room = socket.core().topic("room");
    assert_eq!(room.name(), "room");
    let place = room.subscribe(&socket);
    let (mut sender, mut receiver) = socket.split();
    let _ = sender.send(format!("{} here", room.subscribers()));
    while let Some(Ok(message)) = receiver.recv() {
        match message.to_text() {
            Some("leave") => break,
            Some("count") => drop(sender.send(format!("{} here", room.subscribers()))),
            _ => drop(room.publish(message)),
        }
    }
    drop(place);
    // In order: this thread's socket does not hear it any more.
    room.publish("somebody left");
    let again = room.subscribe_sender(&sender);
    let _ = sender.send("left");
    let _ = receiver.recv();
    drop(again);
    // The socket is over, its core is not.
    room.publish("somebody is gone");
}

fn app(_: &Core) -> App {
    let quick = || WebSocketLimits { close_timeout_ms: 200, message_bytes_max: 8 << 20, ..WebSocketLimits::default() };
    App::new()
        .route("/pieces", get(websocket(pieces).limits(quick()).deflate(Default::default())))
        .route("/changes", changes_its_mind)
        .route("/states", get(websocket(states).deflate(Default::default()).subprotocols(["v1"])))
        .route("/last-words", last_words)
        .route("/unfinished", unfinished)
        .route("/halves", halves)
        .route("/waits", get(websocket(waits).limits(quick())))
        .route("/talks", get(websocket(talks).limits(quick())))
        .route("/talks-oldest", get(websocket(talks).limits(quick()).queue(200_000, QueuePolicy::DropOldest)))
        .route("/talks-close", get(websocket(talks).limits(quick()).queue(200_000, QueuePolicy::Close)))
        .route("/room", room)
}

/// Answers the server's Close.
fn part(client: &mut SocketClient, code: u16) {
    client.wire.say(&close(code));
    assert!(client.is_over());
}

#[test]
fn messages_come_in_pieces() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/pieces") {
            // Where the wire cuts is its own affair; in a simulation it cuts everything.
            let pieces = |line: String, whole: &str| -> usize {
                let (told, count) = line.split_once(" in ").unwrap();
                assert_eq!(told, whole, "{protocol}");
                count.parse().unwrap()
            };
            client.wire.say(&text("whole"));
            let count = pieces(client.text(), "Text of 5");
            assert!(count == 1 || server.is_sim(), "{protocol}: {count} pieces");
            let large = server.scaled(400_000);
            client.wire.say(&frame(0x82, &vec![1; large]));
            let count = pieces(client.text(), &format!("Binary of {large}"));
            assert!(count > 1 || server.is_sim(), "{protocol}");
            client.wire.say(&[frame(0x01, b"one, "), frame(0x89, b"!"), frame(0x80, b"two")].concat());
            assert_eq!(client.frame(), (0x8a, b"!".to_vec()));
            assert!(pieces(client.text(), "Text of 8") > 1, "{protocol}");
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000);
        }
    });
}

/// A message that is taken in pieces is not put together before: the peer is kept waiting with its rest.
#[test]
fn a_large_message_is_not_held() {
    fn slow(mut socket: blocking::WebSocket) {
        let mut bytes = 0;
        thread::sleep(Duration::from_millis(100));
        while let Some(Ok(piece)) = socket.recv_piece() {
            bytes += piece.bytes.len();
            if piece.first {
                thread::sleep(Duration::from_millis(300));
            }
            if piece.last {
                break;
            }
        }
        let _ = socket.send(bytes.to_string());
    }
    fn app(_: &Core) -> App {
        let roomy = WebSocketLimits { message_bytes_max: 1 << 30, ..WebSocketLimits::default() };
        App::new().route("/slow", get(websocket(slow).limits(roomy)))
    }
    on_every_kernel_driver(app, |server| {
        let mut client = Client::new(server.socket());
        client.open("/slow");
        let mut said = 0;
        let begun = Instant::now();
        client.wire.say(&header(0x82, 64 << 20));
        // Nothing of the kernel's takes 64 MiB while nobody reads.
        client.wire.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let part = vec![0; 65_536];
        while begun.elapsed() < Duration::from_millis(250) {
            said += client.wire.write(&part).unwrap_or(0);
        }
        assert!(said < 32 << 20, "{said} bytes were taken by a thread that sleeps");
        client.wire.set_write_timeout(None).unwrap();
        while said < 64 << 20 {
            let rest = part.len().min((64 << 20) - said);
            said += client.wire.write(&part[..rest]).unwrap();
        }
        assert_eq!(client.text(), (64 << 20).to_string());
    });
}

#[test]
fn pieces_and_messages_in_turn() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.websockets("/changes") {
            client.wire.say(&frame(0x02, b"the beginning"));
            assert_eq!(client.text(), "go on", "{protocol}");
            let rest = [frame(0x00, b"passed over"), frame(0x80, b"to its end")].concat();
            client.wire.say(&[rest, frame(0x01, b"who"), frame(0x80, b"le"), frame(0x82, b"p"), text("next")].concat());
            assert_eq!(client.text(), "whole", "{protocol}");
            assert_eq!(client.text(), "piece of 1", "{protocol}");
            assert_eq!(client.text(), "next", "{protocol}");
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000);
        }
    });
}

#[test]
fn every_method_in_turn() {
    on_every_driver(app, |server| {
        let fields = "sec-websocket-extensions: permessage-deflate\r\nsec-websocket-protocol: v1\r\n";
        for protocol in PROTOCOLS {
            let mut client = server.websocket(protocol, "/states", fields);
            assert_eq!(client.text(), format!("{protocol} Some(\"v1\") true true"));
            assert_eq!(client.frame(), (0x89, b"are you there?".to_vec()));
            let (first, payload) = client.frame();
            assert!(first == 0xc1 && payload.len() < 40, "{first:x}, {} bytes", payload.len());
            assert_eq!(client.text(), "hello ".repeat(50));
            // Three fragments, whatever is in them: compressed.
            assert_eq!(client.frame().0, 0x41);
            let mut last = client.frame();
            while last.0 == 0x00 {
                last = client.frame();
            }
            assert_eq!(last.0, 0x80);
            assert_eq!(client.frame(), (0x88, [&4001_u16.to_be_bytes()[..], b"enough"].concat()));
            client.wire.say(&text("still delivered"));
            part(&mut client, 4001);
            told(server, &format!("states over {protocol}"));
            server.await_count("websockets_open", 0);
        }
    });
}

/// Until its Close is answered a socket may say why in its own words: here it does not, and leaves.
#[test]
fn a_thread_that_only_looks_sees_the_end() {
    on_every_driver(app, |server| {
        for (_, mut client) in server.websockets("/last-words") {
            assert_eq!(client.text(), "here");
            client.wire.say(&close(1001));
            assert_eq!(client.closed(), 1001);
            told(server, "the peer closed");
        }
    });
}

#[test]
fn a_message_without_its_end_closes_with_1011() {
    on_every_driver(app, |server| {
        for (_, mut client) in server.websockets("/unfinished") {
            assert_eq!(client.frame(), (0x02, vec![1, 2, 3]));
            assert_eq!(client.frame(), (0x88, 1011_u16.to_be_bytes().to_vec()));
            part(&mut client, 1011);
        }
    });
}

/// The socket lives as long as the last of its halves, on threads that no simulation waits for.
#[test]
fn halves_outlive_their_handler() {
    on_every_kernel_driver(app, |server| {
        for (_, mut client) in server.websockets("/halves") {
            for word in ["one", "two"] {
                client.wire.say(&text(word));
                assert_eq!(client.text(), word);
            }
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000);
        }
    });
}

/// A peer that goes, closes or breaks the rules while a thread waits for its word.
#[test]
fn a_thread_that_waits_learns_how_it_ended() {
    on_every_driver(app, |server| {
        for (_, mut client) in server.websockets("/waits") {
            assert_eq!(client.text(), "here");
            drop(client);
            told(server, "/waits Disconnected");
        }
        for (_, mut client) in server.websockets("/waits") {
            assert_eq!(client.text(), "here");
            client.wire.say(&close(4711));
            assert_eq!(client.closed(), 4711);
            told(server, "/waits closed Some(4711)");
        }
        for (_, mut client) in server.websockets("/waits") {
            assert_eq!(client.text(), "here");
            client.wire.say(&[frame(0x01, b"half of "), frame(0x81, b"another")].concat());
            assert_eq!(client.closed(), 1002);
            told(server, &format!("/waits {:?}", SocketError::Fault(Fault::MessageInsideMessage)));
        }
    });
}

/// A peer that reads nothing: `send` blocks, and is woken when the peer is gone.
#[test]
fn a_thread_that_sends_to_nobody() {
    // In a simulation this takes long.
    let some = drivers().into_iter().map(Ground::Kernel).chain([Ground::Sim(1)]);
    for ground in some {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        for (protocol, mut client) in server.websockets("/talks?gone") {
            SAID.store(0, SeqCst);
            server.pass(500);
            let said = SAID.load(SeqCst);
            assert!(said < 300, "{protocol}: {said} times 64 KiB were said to nobody");
            server.pass(200);
            assert_eq!(SAID.load(SeqCst), said, "{protocol}: send does not block");
            assert_eq!(client.frame().0, 0x82);
            drop(client);
            told(&server, "/talks?gone Disconnected");
        }
        server.assert_at_rest();
    }
}

/// The other policies: the oldest messages go, or the socket does.
#[test]
fn slow_readers_follow_the_policy() {
    for driver in drivers() {
        let server = Server::start(Ground::Kernel(driver), app);
        for (protocol, mut client) in server.websockets("/talks-oldest") {
            told(&server, "/talks-oldest all said");
            let before = server.count("websocket_messages_dropped");
            assert!(before > 0, "{protocol}");
            let mut heard = 0;
            loop {
                match client.frame() {
                    (0x82, _) => heard += 1,
                    (0x81, end) => break assert_eq!(end, b"end", "{protocol}: the latest is there"),
                    other => panic!("{other:?}"),
                }
            }
            assert!(heard < 350, "{protocol}: {heard} messages waited for a slow reader");
            client.wire.say(&close(1000));
        }
        assert_eq!(server.count("websockets_closed_slow"), 0);
        for (protocol, mut client) in server.websockets("/talks-close") {
            // It is told while it sends, not first when it receives.
            server.until(protocol, || server.count("websockets_closed_slow") > 0);
            let mut last = client.frame();
            while last.0 == 0x82 {
                last = client.frame();
            }
            assert_eq!(last, (0x88, [&1008_u16.to_be_bytes()[..], b"too slow"].concat()), "{protocol}");
            part(&mut client, 1008);
            told(&server, "/talks-close Closed");
        }
        assert_eq!(server.count("websockets_closed_slow"), 2);
    }
}

/// A gateway that is told to stop, while threads wait for a word or for room.
#[test]
fn a_drain_reaches_threads_that_block() {
    // In a simulation this takes long.
    let some = drivers().into_iter().map(Ground::Kernel).chain([Ground::Sim(1)]);
    for ground in some {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        let mut waiting: Vec<_> = server.websockets("/waits?drain").collect();
        for (_, client) in &mut waiting {
            assert_eq!(client.text(), "here");
        }
        let talked: Vec<_> = server.websockets("/talks?drain").collect();
        server.pass(300);
        let stopping = server.stop(Duration::from_millis(800));
        for (protocol, client) in &mut waiting {
            assert_eq!(client.frame(), (0x88, vec![3, 233]), "{protocol}");
            client.wire.say(&close(1001));
            assert!(client.is_over(), "{protocol}");
        }
        drop(waiting);
        // Those that read nothing are given up after the time for a closing handshake. Only HTTP/2 has more to say to
        // them, and is cut.
        let report = stopping.report();
        assert!(report.open == 4 && report.cut <= 1, "{report:?}");
        let count = |line: &str| SEEN.lock().unwrap().iter().filter(|seen| *seen == line).count();
        let begun = Instant::now();
        while count("/waits closed Some(1001)") < 2
            || count("/talks?drain Disconnected") + count("/talks?drain Closed") < 2
        {
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", SEEN.lock().unwrap());
            thread::sleep(Duration::from_millis(2));
        }
        SEEN.lock().unwrap().retain(|line| !line.contains("?drain") && line != "/waits closed Some(1001)");
        drop(talked);
    }
}

#[test]
fn threads_publish_and_subscribe() {
    on_every_driver(app, |server| {
        let mut clients: Vec<_> = PROTOCOLS
            .into_iter()
            .cycle()
            .take(4)
            .enumerate()
            .map(|(number, protocol)| {
                let mut client = server.websocket(protocol, "/room", "");
                assert_eq!(client.text(), format!("{} here", number + 1));
                client
            })
            .collect();
        for number in 0..8 {
            let word = format!("word {number}");
            clients[number % 4].wire.say(&text(&word));
            clients.iter_mut().for_each(|client| assert_eq!(client.text(), word));
        }
        let mut leaving = clients.remove(0);
        leaving.wire.say(&text("leave"));
        assert_eq!(leaving.text(), "left", "and not that somebody left");
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), "somebody left"));
        clients[0].wire.say(&text("count"));
        assert_eq!(clients[0].text(), "4 here", "it has come back");
        drop(leaving);
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), "somebody is gone"));
        clients[0].wire.say(&text("count"));
        assert_eq!(clients[0].text(), "3 here");
        for client in &mut clients {
            client.wire.say(&text("leave"));
            let mut last = client.text();
            while last != "left" {
                assert_eq!(last, "somebody left");
                last = client.text();
            }
        }
    });
}

/// Threads of all cores are in one room.
#[test]
fn topics_of_threads_reach_all_cores() {
    for driver in drivers() {
        let gateway = start_gateway(driver, app, |gateway| gateway.cores(Placement::Unpinned { count: 2 }));
        let mut clients: Vec<_> = (0..8)
            .map(|_| {
                let stream = TcpStream::connect(gateway.addresses()[0].to_string()).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut client = Client::new(stream);
                client.open("/room");
                assert!(client.text().ends_with("here"));
                client
            })
            .collect();
        for number in 0..16 {
            let word = format!("word {number}");
            clients[number % 8].wire.say(&text(&word));
            clients.iter_mut().for_each(|client| assert_eq!(client.text(), word));
        }
        let sent = gateway.metrics().get("websocket_broadcasts");
        assert_eq!(sent, Some(16));
    }
}

/// A thread that asks its core for something when there is no core any more.
#[test]
fn a_core_that_is_gone_answers_nothing() {
    static LATE: Mutex<Option<blocking::Core>> = Mutex::new(None);
    fn keeps(mut socket: blocking::WebSocket) {
        *LATE.lock().unwrap() = Some(socket.core().clone());
        let _ = socket.send("here");
        let _ = socket.recv();
    }
    fn app(_: &Core) -> App {
        App::new().route("/keeps", keeps)
    }
    for driver in drivers() {
        let server = Server::start(Ground::Kernel(driver), app);
        let mut client = server.websocket("HTTP/1.1", "/keeps", "");
        assert_eq!(client.text(), "here");
        let core = LATE.lock().unwrap().clone().unwrap();
        assert_eq!(core.topic("anything").subscribers(), 0);
        let stopping = server.stop(Duration::from_secs(5));
        assert_eq!(client.frame(), (0x88, vec![3, 233]));
        part(&mut client, 1001);
        drop(client);
        stopping.report();
        assert!(core.is_draining());
        assert_eq!((core.topic("anything").subscribers(), core.topic("anything").publish("?")), (0, 0));
    }
}

/// No thread is free: the handshake is refused, and the connection lives on.
#[test]
fn without_a_thread_there_is_no_socket() {
    on_every_driver_with(
        app,
        |config| (config.limits.blocking_threads_max, config.limits.blocking_queue_max) = (1, 0),
        |server| {
            let mut first = server.websocket("HTTP/1.1", "/waits", "");
            assert_eq!(first.text(), "here");
            let mut second = server.connect();
            second.wire.say(opening("/waits", "").as_bytes());
            assert_eq!(second.answer(false).status, 503);
            first.wire.say(&close(1000));
            assert_eq!(first.closed(), 1000);
            told(server, "/waits closed Some(1000)");
            server.until("a free thread", || {
                second.wire.say(opening("/waits", "").as_bytes());
                second.answer(true).status == 101
            });
        },
    );
}
