//! WebSockets in simulated worlds: conversations by seed, wires that kill connections, and time-outs that take no time.

use ringgate::{
    App, Config, Core, get,
    websocket::{QueuePolicy, SocketError, WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Client, Server, in_every_world, seeds},
    websocket::{PROTOCOLS, SocketClient, Tunnel, close, frame, header, text},
};
use std::time::Duration;

async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv().await {
        socket.send(message?).await?;
    }
    Ok(())
}

/// Sleeps between messages, and answers each with two.
async fn ponders(mut socket: WebSocket) -> Result<(), SocketError> {
    let handle = socket.core().handle().clone();
    while let Some(message) = socket.recv().await {
        let message = message?;
        handle.sleep(Duration::from_millis(7)).await;
        socket.send(&message).await?;
        let mut writer = socket.begin(message.kind())?;
        for piece in message.as_bytes().chunks(100) {
            writer.write(piece).await?;
        }
        writer.finish().await?;
    }
    Ok(())
}

async fn room(socket: WebSocket) {
    let room = socket.core().topic("room");
    let _place = room.subscribe(&socket);
    let (_sender, mut receiver) = socket.split();
    while let Some(Ok(message)) = receiver.recv().await {
        room.publish(message).await;
    }
}

fn app(_: &Core) -> App {
    let slow = WebSocketLimits { progress_grace_ms: 5_000, ..WebSocketLimits::default() };
    let idle = WebSocketLimits { idle_timeout_ms: 60_000, ..WebSocketLimits::default() };
    App::new()
        .route("/echo", get(websocket(echo).deflate(Default::default())))
        .route("/ponders", ponders)
        .route("/slow", get(websocket(echo).limits(slow)))
        .route("/idle", get(websocket(echo).limits(idle)))
        .route("/room", get(websocket(room).deflate(Default::default()).queue(20_000, QueuePolicy::DropOldest)))
}

fn nothing(_: &mut Config) {}

/// A message in fragments, pings and all; what comes back is whole.
fn converses(client: &mut SocketClient, number: usize, times: usize) {
    let word = format!("message {number} ").repeat(number * 13 % 60);
    let cut = word.len() / 3;
    let parts = [frame(0x01, &word.as_bytes()[..cut]), frame(0x89, b"p"), frame(0x80, &word.as_bytes()[cut..])];
    client.wire.say(&parts.concat());
    let (mut pongs, mut heard, mut message) = (0, 0, Vec::new());
    while pongs < 1 || heard < times {
        let (first, payload) = client.frame();
        match first & 0x0f {
            0x0a => pongs += 1,
            0x00..=0x02 => {
                message.extend(payload);
                if first & 0x80 != 0 {
                    assert_eq!(message, word.as_bytes());
                    (heard, message) = (heard + 1, Vec::new());
                }
            }
            _ => panic!("{first:x}"),
        }
    }
}

#[test]
fn conversations_by_seed() {
    in_every_world(
        app,
        nothing,
        |_| {},
        |server| {
            for (_, mut client) in server.websockets("/ponders") {
                (0..6).for_each(|number| converses(&mut client, number, 2));
                client.wire.say(&close(1000));
                assert_eq!(client.closed(), 1000);
            }
            // All at once, each in its own pace.
            let mut clients: Vec<_> = ["/echo", "/ponders"]
                .into_iter()
                .flat_map(|path| server.websockets(path).collect::<Vec<_>>())
                .collect();
            for number in 0..8 {
                for (place, (_, client)) in clients.iter_mut().enumerate() {
                    converses(client, number, 1 + place / 2);
                }
            }
        },
    );
}

/// The same seed, the same world.
#[test]
fn a_seed_replays() {
    let run = |seed| {
        let server = Server::start_sim(seed, app, Config::default(), |_| {});
        for (_, mut client) in server.websockets("/ponders") {
            (0..5).for_each(|number| converses(&mut client, number, 2));
        }
        server.assert_at_rest();
        server.world().digest()
    };
    for seed in seeds(1) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// A room of which members die at any moment: those that live hear what is said, and nothing is left of the others.
#[test]
fn rooms_survive_their_members() {
    let (mut whole, mut broken) = (0, 0);
    for seed in seeds(3) {
        eprintln!("seed {seed}");
        let server = Server::start_sim(seed, app, Config::default(), |sim| {
            sim.window_bytes = sim.window_bytes.max(4_096);
            sim.faults.resets = 10;
        });
        let mut members: Vec<_> = (0..8).filter_map(|number| attempt(&server, PROTOCOLS[number % 2])).collect();
        for number in 0..10 {
            let word = format!("word {number} ").repeat(number);
            let Some(speaker) = members.first_mut() else { break };
            speaker.wire.say(&text(&word));
            members.retain_mut(|member| {
                let hears = hears(member, &word);
                *if hears { &mut whole } else { &mut broken } += 1;
                hears
            });
        }
        drop(members);
        server.await_count("websockets_open", 0);
        server.assert_at_rest();
    }
    assert!(whole > 20 * broken.min(1) && broken > 0, "{whole} words were heard, {broken} members died");
}

/// A socket, unless its connection dies before.
fn attempt(server: &Server, protocol: &str) -> Option<SocketClient> {
    if protocol == "HTTP/2" {
        let tunnel = Tunnel::attempt(server.connect_http2(), "/room", "")?;
        return Some(Client::new(Box::new(tunnel)));
    }
    let mut client = server.connect();
    client.attempt_open("/room").then_some(client)
}

/// Hears a message; false when the connection dies before.
fn hears(client: &mut SocketClient, word: &str) -> bool {
    loop {
        match client.attempt_frame() {
            Some((0x81, payload)) => {
                assert_eq!(payload, word.as_bytes());
                return true;
            }
            // While others died time went by.
            Some((0x89, _)) => client.wire.say(&frame(0x8a, b"")),
            // And more of it than a peer may be silent, or its connection was the next.
            Some((0x88, _)) | None => return false,
            Some(other) => panic!("{other:?}"),
        }
    }
}

/// W-13: a message has to make progress; silence within one is not forgiven by pings.
#[test]
fn w_13_messages_that_do_not_go_on() {
    in_every_world(
        app,
        nothing,
        |_| {},
        |server| {
            for (protocol, mut client) in server.websockets("/slow") {
                let begun = server.now_ms();
                client.wire.say(&header(0x82, 1_000));
                client.wire.say(b"x");
                assert_eq!(client.closed(), 1008, "{protocol}");
                let took = server.now_ms() - begun;
                assert!((4_900..12_000).contains(&took), "{protocol}: {took} ms");
            }
        },
    );
}

/// The default times: silence is pinged, and given up.
#[test]
fn default_times_take_no_real_time() {
    let limits = WebSocketLimits::default();
    let (interval, patience) = (u64::from(limits.ping_interval_ms), u64::from(limits.pong_timeout_ms));
    // Minutes, even if virtual: some seeds do.
    for seed in seeds(1) {
        let server = Server::start_sim(seed, app, Config::default(), |_| {});
        for (protocol, mut client) in server.websockets("/echo") {
            let begun = server.now_ms();
            for round in 1..=3 {
                assert_eq!(client.frame(), (0x89, Vec::new()), "{protocol}");
                let took = server.now_ms() - begun;
                assert!((round * interval - 100..round * (interval + 3_000)).contains(&took), "{protocol}: {took} ms");
                client.wire.say(&frame(0x8a, b""));
            }
            assert_eq!(client.frame(), (0x89, Vec::new()), "{protocol}");
            let begun = server.now_ms();
            assert_eq!(client.closed(), 1011, "{protocol}");
            let took = server.now_ms() - begun;
            assert!((patience - 100..patience + 20_000).contains(&took), "{protocol}: {took} ms");
        }
        // The beginning of a frame is no life of its own.
        for (protocol, mut client) in server.websockets("/echo") {
            client.wire.say(&text("x")[..3]);
            let begun = server.now_ms();
            assert_eq!(client.frame(), (0x89, Vec::new()), "{protocol}");
            assert_eq!(client.closed(), 1011, "{protocol}");
            let took = server.now_ms() - begun;
            let both = interval + patience;
            assert!((both - 100..both + 23_000).contains(&took), "{protocol}: {took} ms");
        }
        server.assert_at_rest();
    }
}

/// Where a route wants it so, a socket on which nothing is said is closed, however well its pings are answered.
#[test]
fn a_socket_on_which_nothing_is_said() {
    // Minutes, even if virtual: some seeds do.
    for seed in seeds(1) {
        let server = Server::start_sim(seed, app, Config::default(), |_| {});
        for (protocol, mut client) in server.websockets("/idle") {
            client.wire.say(&text("x"));
            assert_eq!(client.text(), "x");
            let begun = server.now_ms();
            let mut last = client.frame();
            while last.0 == 0x89 {
                client.wire.say(&frame(0x8a, &last.1));
                last = client.frame();
            }
            assert_eq!(last, (0x88, 1001_u16.to_be_bytes().to_vec()), "{protocol}");
            let took = server.now_ms() - begun;
            assert!((59_000..63_000).contains(&took), "{protocol}: {took} ms");
            client.wire.say(&close(1001));
            assert!(client.is_over());
        }
        server.assert_at_rest();
    }
}
