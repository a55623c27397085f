//! Random conversations that end in a Close of the peer's: by seed, in the simulated world, and on the kernel's drivers.

use ringgate::{
    App, Core, get,
    websocket::{DeflateConfig, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Ground, Server, in_every_world, on_every_driver},
    obedient::{obeys, obeys_blocking, obeys_by_pieces, obeys_in_a_task, obeys_in_a_thread},
    websocket::{PROTOCOLS, close, frame, hear, text},
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
