//! The gateway in simulated worlds: time-outs that take no time, wires that kill connections, runs that repeat.

use ringgate::{App, Config, Core, Request, Response, post};
use ringgate_runtime::driver::sim::SimConfig;
use ringgate_tests::gateway::{
    Client, Http2, Server, Talk, Wire,
    http2::{code, frame, kind},
    in_every_world, seeds,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/later", async |request: Request| {
            request.handle().sleep(Duration::from_millis(20)).await;
            "later"
        })
        .route("/forever", async |_: Request| std::future::pending::<&'static str>().await)
        .route("/collect", post(async |mut request: Request| request.body_mut().collect().await))
        .route(
            "/echo",
            post(async |mut request: Request| {
                request.body_mut().set_bytes_max(u64::MAX);
                Response::stream(request.into_body())
            }),
        )
        .route("/big", |_: &Request| Response::bytes(vec![b'b'; 40_000]))
}

/// Milliseconds of the world's time until the connection has ended.
fn lasts(server: &Server, wire: &mut dyn Wire) -> u64 {
    let begun = server.now_ms();
    while !wire.hear().is_empty() {}
    server.now_ms() - begun
}

fn wide(sim: &mut SimConfig) {
    sim.window_bytes = sim.window_bytes.max(4096);
}

/// The default time-outs, minutes of them, in moments.
#[test]
fn default_timeouts_take_no_real_time() {
    let real = Instant::now();
    let simulated_ms = AtomicU64::new(0);
    let nothing = |_: &mut Config| {};
    in_every_world(app, nothing, wide, |server| {
        let near = |milliseconds: u64, expected: u64| {
            assert!((expected - 50..expected + 3_000).contains(&milliseconds), "{milliseconds} for {expected}");
        };
        let mut silent = server.wire();
        near(lasts(server, &mut *silent), 10_000);
        let mut begun = server.wire();
        begun.say(b"GET /now HT");
        // Not the 10 s of a whole head: it comes too slowly.
        near(lasts(server, &mut *begun), 2_000);
        let mut client = server.connect();
        assert_eq!(client.get("/now").text(), "now");
        near(lasts(server, &mut client.wire), 75_000);
        let mut client = server.connect();
        client.wire.say(b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 408);
        let mut client = server.connect_http2();
        assert_eq!(client.get("/now").text(), "now");
        let begun = server.now_ms();
        assert_eq!(client.rest(), Some((1, code::NO_ERROR)), "idle");
        near(server.now_ms() - begun, 75_000);
        // A preface, and then nothing.
        let mut wire = server.wire();
        wire.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        near(lasts(server, &mut *wire), 5_000);
        // A head that has begun and stands.
        let mut client = server.connect_http2();
        client.round_trip();
        client.wire.say(&frame(kind::HEADERS, 0, 1, b"\x82"));
        let begun = server.now_ms();
        assert_eq!(client.rest(), Some((0, code::ENHANCE_YOUR_CALM)), "R-01");
        near(server.now_ms() - begun, 2_000);
        // Half of a preface is half of a head.
        let mut wire = server.wire();
        wire.say(b"PRI * HTTP/2.0\r\n");
        near(lasts(server, &mut *wire), 10_000);
        assert_eq!((server.count("timeouts_idle"), server.count("timeouts_body")), (2, 1));
        simulated_ms.fetch_add(server.now_ms(), Ordering::Relaxed);
    });
    // A hundredth of it on a machine at rest; a busy one may take ten times that.
    let simulated = Duration::from_millis(simulated_ms.into_inner());
    assert!(real.elapsed() < simulated / 8, "{:?} for {simulated:?}", real.elapsed());
}

/// Behind an answer the rest of the body has its time, then the next head has its own, with its least rate, or
/// else the connection is idle like any other.
#[test]
fn each_wait_behind_an_unread_body_has_its_own_time() {
    let nothing = |_: &mut Config| {};
    in_every_world(app, nothing, wide, |server| {
        let near = |milliseconds: u64, expected: u64| {
            assert!((expected - 50..expected + 3_000).contains(&milliseconds), "{milliseconds} for {expected}");
        };
        for target in ["/now", "/later"] {
            let begin = || {
                let mut client = server.connect();
                let head = format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\nabc");
                client.wire.say(head.as_bytes());
                assert_eq!(client.answer(false).status, 200);
                client
            };
            near(lasts(server, &mut begin().wire), 10_000);
            // It may stand for longer than a head may.
            let mut client = begin();
            server.pass(6_000);
            client.wire.say(&[b'd'; 57]);
            near(lasts(server, &mut client.wire), 75_000);
            let mut client = begin();
            server.pass(6_000);
            client.wire.say(&[b'd'; 57]);
            server.pass(30_000);
            client.wire.say(b"GET /now HT");
            near(lasts(server, &mut client.wire), 2_000);
            // The head comes with the end of the body.
            let mut client = begin();
            server.pass(6_000);
            client.wire.say(&[&[b'd'; 57], &b"GET /now HT"[..]].concat());
            near(lasts(server, &mut client.wire), 2_000);
            // Fast enough for the rate, too slow for the whole.
            let mut client = begin();
            client.wire.say(&[&[b'd'; 57], &b"GET /now HTTP/1.1\r\nhost: a\r\nx: "[..]].concat());
            let begun = server.now_ms();
            for _ in 0..9 {
                server.pass(1_000);
                client.wire.say(&[b'x'; 600]);
            }
            assert_eq!(client.answer(false).status, 408);
            near(server.now_ms() - begun, 10_000);
        }
        // A body for each target did not come to its end.
        assert_eq!((server.count("timeouts_header"), server.count("timeouts_body")), (6, 2));
    });
}

#[test]
fn a_handler_has_its_time_over_http2_too() {
    in_every_world(
        app,
        |config| config.timeouts.request_timeout_ms = 5_000,
        wide,
        |server| {
            for (protocol, mut client) in server.tongues() {
                assert_eq!(client.get("/forever").status, 503, "{protocol}");
            }
            let mut client = server.connect_http2();
            let (late, other) = (client.begin("/forever"), client.begin("/later"));
            assert_eq!((client.answer(other).text(), client.answer(late).status), ("later", 503));
            assert_eq!(client.get("/now").text(), "now");
            assert_eq!(server.count("timeouts_handler"), 3);
        },
    );
}

/// Connections die in the middle of anything: what was told is right as far as it goes, and nothing is left.
#[test]
fn a_wire_that_kills_connections_leaves_nothing_behind() {
    let (mut whole, mut broken) = (0, 0);
    for seed in seeds(20) {
        eprintln!("seed {seed}");
        let server = Server::start_sim(seed, app, Config::default(), |sim| {
            wide(sim);
            sim.faults.resets = 15;
        });
        for round in 0..6 {
            let body = vec![round; 3000];
            let mut client = server.connect();
            client.wire.say(b"GET /later HTTP/1.1\r\nhost: a\r\n\r\nPOST /echo HTTP/1.1\r\nhost: a\r\n");
            client.wire.say(b"connection: close\r\ncontent-length: 3000\r\n\r\n");
            client.wire.say(&body);
            let mut other = server.connect_http2();
            let streams = [other.begin("/now"), other.begin("/big"), other.begin("/later"), other.begin("/forever")];
            let echo = other.open("POST /echo HTTP/2", false);
            other.send(echo, &body, true);
            let heard = client.rest();
            if heard.ends_with(b"0\r\n\r\n") {
                whole += 1;
                let mut told = Client::new(Told(vec![heard]));
                assert_eq!((told.answer(false).text(), told.answer(false).body), ("later", body.clone()));
            } else {
                broken += 1;
            }
            while streams[..3].iter().chain([&echo]).any(|id| !other.streams[id].is_ended) && other.listen() {}
            let expected =
                [(streams[0], &b"now"[..]), (streams[1], &[b'b'; 40_000]), (streams[2], b"later"), (echo, &body)];
            for (id, expected) in expected {
                let stream = &other.streams[&id];
                let came = stream.answer.as_ref().map(|answer| &answer.body[..]).unwrap_or_default();
                assert!(expected.starts_with(came) && (!stream.is_ended || came == expected), "stream {id}");
                if stream.is_ended { whole += 1 } else { broken += 1 }
            }
        }
        server.assert_at_rest();
    }
    eprintln!("{whole} answers were whole, {broken} were not");
    assert!(whole > 100 && broken > 100, "{whole} answers were whole, {broken} were not");
}

/// What was heard before.
struct Told(Vec<Vec<u8>>);

impl Wire for Told {
    fn say(&mut self, _: &[u8]) {}

    fn hear(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn finish(&mut self) {}
}

/// One conversation over both protocols; the checksum of everything that happened in its world.
fn conversation(seed: u64) -> u64 {
    let server = Server::start_sim(seed, app, Config::default(), |_| {});
    for (protocol, mut client) in server.tongues() {
        assert_eq!(client.get("/later").text(), "later", "{protocol}");
        assert_eq!(client.post("/echo", &[7; 500]).body, [7; 500], "{protocol}");
    }
    server.assert_at_rest();
    server.world().digest()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digests: Vec<u64> = seeds(4).map(conversation).collect();
    for (seed, digest) in seeds(4).zip(&digests) {
        assert_eq!(conversation(seed), *digest, "seed {seed}");
    }
}

#[test]
fn an_end_of_the_clients_side_cancels_what_runs() {
    in_every_world(
        app,
        |_| {},
        wide,
        |server| {
            let mut client = server.connect_http2();
            let running = client.begin("/forever");
            client.round_trip();
            client.wire.finish();
            client.rest();
            assert!(!client.streams[&running].is_ended);
            assert!(client.came.iter().all(|came| came.kind != kind::DATA));
            server.await_count("disconnects", 1);
        },
    );
}

/// Every byte of a conversation alone, over HTTP/2.
#[test]
fn a_conversation_in_single_bytes() {
    struct Bytewise<W>(W);
    impl<W: Wire> Wire for Bytewise<W> {
        fn say(&mut self, bytes: &[u8]) {
            bytes.chunks(1).for_each(|byte| self.0.say(byte));
        }
        fn hear(&mut self) -> Vec<u8> {
            self.0.hear()
        }
        fn finish(&mut self) {
            self.0.finish();
        }
    }
    in_every_world(
        app,
        |_| {},
        |sim| sim.faults.short_receives = 1000,
        |server| {
            let mut client = Http2::new(Bytewise(server.wire()));
            assert_eq!(client.get("/later").text(), "later");
            assert_eq!(client.post("/collect", &[7; 3000]).body, [7; 3000]);
            assert_eq!(client.post_streamed("/echo", &[8; 3000]).body, [8; 3000]);
        },
    );
}

/// A send in flight and no stream that waits for it: what the protocol itself has to say still goes out behind it.
#[test]
fn an_answer_to_a_ping_waits_for_the_send_in_flight_and_no_longer() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 64,
        |server| {
            let mut client = server.connect_http2();
            let begun = server.now_ms();
            for _ in 0..20 {
                (0..10).for_each(|_| client.wire.say(&frame(kind::PING, 0, 0, &[0; 8])));
                client.round_trip();
            }
            let took = server.now_ms() - begun;
            assert!(took < 5_000, "220 answers took {took} ms");
        },
    );
}
