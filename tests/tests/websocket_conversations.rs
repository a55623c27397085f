//! Random conversations that end in a Close of the peer's: by seed, in the simulated world, and on the kernel's drivers.

use ringgate::{
    App, Config, Core, get,
    websocket::{DeflateConfig, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Client, Ground, Server, in_every_world, on_every_driver, seeds},
    obedient::{obeys, obeys_blocking, obeys_by_pieces, obeys_in_a_task, obeys_in_a_thread},
    websocket::{PROTOCOLS, SocketClient, Tunnel, close, frame, hear, text},
};

fn app(_: &Core) -> App {
    let hasty = WebSocketLimits { close_timeout_ms: 0, ..WebSocketLimits::default() };
    App::new()
        .route("/obeys", obeys)
        .route("/deflated", get(websocket(obeys).deflate(DeflateConfig::default())))
        .route("/task", obeys_in_a_task)
        .route("/pieces", obeys_by_pieces)
        .route("/blocking", obeys_blocking)
        .route("/thread", obeys_in_a_thread)
        .route("/hasty", get(websocket(obeys_in_a_task).limits(hasty.clone())))
        .route("/hasty-blocking", get(websocket(obeys_blocking).limits(hasty)))
}

const ASYNC: [&str; 5] = ["/obeys", "/deflated", "/task", "/pieces", "/hasty"];

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

/// What a client says, up to its Close, and what is to be heard of it.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    code: u16,
    /// Answers that must come, in their order.
    expected: Vec<String>,
    pings: usize,
    /// Time for thoughts, in ms.
    thinks: u64,
    /// There is a thought for which a Close does not wait: what comes behind it may be cut off.
    is_broken: bool,
    /// The handler itself closes before that, and perhaps behind it.
    is_closed: bool,
    may_close: bool,
}

impl Script {
    fn new(dice: &mut Dice, is_deflated: bool, think_max: u64) -> Self {
        let mut script = Self { code: 4_000 + dice.roll(900) as u16, ..Self::default() };
        for number in 0..dice.roll(12) as usize {
            let think = if dice.one_in(3) { dice.roll(think_max) } else { dice.roll(4) };
            let (replies, manner) = (dice.roll(4) as usize, ['-', '-', 'f', 's', 'c'][dice.roll(5) as usize]);
            // What is sent in parts is compressed where that is agreed on, and this client cannot read it.
            let is_plain = (manner == 'c' && !dice.one_in(4)) || (manner == 'f' && is_deflated);
            let manner = if is_plain { '-' } else { manner };
            script.thinks += think;
            script.is_broken |= think >= 900;
            if !script.is_broken && !script.is_closed {
                script.expected.extend((0..replies).map(|part| format!("{number}.{part}")));
                script.is_closed |= manner == 'c';
            }
            script.may_close |= manner == 'c';
            let order = format!("{number} {think} {replies} {manner}");
            if is_deflated && dice.one_in(2) {
                script.bytes.extend(frame(0xc1, &stored(order.as_bytes())));
            } else if dice.one_in(3) {
                let (head, rest) = order.as_bytes().split_at(dice.roll(order.len() as u64) as usize);
                script.bytes.extend(frame(0x01, head));
                script.ping(dice);
                script.bytes.extend(frame(0x80, rest));
            } else {
                script.bytes.extend(text(&order));
            }
            script.ping(dice);
        }
        if dice.one_in(4) {
            // Never to be whole.
            script.bytes.extend(frame(0x01, b"half"));
        }
        script.bytes.extend(close(script.code));
        if dice.one_in(4) {
            let behind = text(&"behind".repeat(dice.roll(200) as usize));
            script.bytes.extend([behind, frame(0x89, b"!"), close(1000)].concat());
        }
        script
    }

    fn ping(&mut self, dice: &mut Dice) {
        if dice.one_in(4) {
            self.pings += 1;
            self.bytes.extend(frame(0x89, b"?"));
        }
    }

    /// In one, or cut anywhere, and not at once.
    fn say(&self, server: &Server, client: &mut SocketClient, dice: &mut Dice) {
        let mut rest = &self.bytes[..];
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
    }
}

/// A conversation by seed. Everything that the handler answers in time has its answer ahead of the Close, once.
fn converses(server: &Server, protocol: &str, path: &str, dice: &mut Dice, think_max: u64) {
    let is_deflated = path == "/deflated";
    let fields = if is_deflated { "sec-websocket-extensions: permessage-deflate\r\n" } else { "" };
    let mut client = server.websocket(protocol, path, fields);
    let script = Script::new(dice, is_deflated, think_max);
    script.say(server, &mut client, dice);
    let begun = server.now_ms();
    let heard = hear(&mut client);
    let took = server.now_ms() - begun;
    let about = format!("{path} over {protocol}, {took} ms: {heard:?}");
    // Nobody is asleep until the time for a reply is over.
    assert!(took < script.thinks + 900 || script.is_broken, "{about} and thought about for {} ms", script.thinks);
    let Script { code, expected, pings, is_broken, is_closed, may_close, .. } = script;
    if !is_broken || is_closed {
        assert_eq!(heard.words, expected, "{about}");
    } else {
        assert!(heard.words.starts_with(&expected), "{about}, expected {expected:?}");
        assert!(heard.words.windows(2).all(|pair| pair[0] != pair[1]), "{about}");
    }
    if is_closed {
        assert_eq!(heard.code, Some(4999), "{about}");
    } else {
        assert!(heard.code == Some(code) || (may_close && is_broken && heard.code == Some(4999)), "{about}: {code}");
        // While an answer is on its way only the latest ping needs one (RFC 6455 section 5.5.3).
        let pongs = if !is_broken { pings.min(1)..=pings } else { 0..=pings };
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

/// Clients that leave in the middle, and wires that die: nothing is said behind a Close, and nothing is left.
#[test]
fn conversations_that_break_off() {
    for seed in seeds(3) {
        eprintln!("seed {seed}");
        let mut dice = Dice(seed);
        let server = Server::start_sim(seed, app, Config::default(), |sim| {
            sim.window_bytes = sim.window_bytes.max(4_096);
            sim.faults.resets = 10;
        });
        for (path, protocol) in ASYNC.into_iter().flat_map(|path| PROTOCOLS.map(|protocol| (path, protocol))) {
            let Some(mut client) = attempt(&server, protocol, path) else { continue };
            Script::new(&mut dice, false, 1_600).say(&server, &mut client, &mut dice);
            if dice.one_in(2) {
                server.pass(dice.roll(1_200));
            } else {
                hear(&mut client);
            }
        }
        server.await_count("websockets_open", 0);
        server.assert_at_rest();
    }
}

/// A socket, unless its connection dies before.
fn attempt(server: &Server, protocol: &str, path: &str) -> Option<SocketClient> {
    if protocol == "HTTP/2" {
        return Tunnel::attempt(server.connect_http2(), path, "").map(|tunnel| Client::new(Box::new(tunnel) as _));
    }
    let mut client = server.connect();
    client.attempt_open(path).then_some(client)
}
