//! Clients of HTTP/2 that mean no good, end to end: floods, peers that never read, bodies that never come.

use ringgate::{App, BodyError, Chunk, Config, Core, Request, Response, blocking, post};
use ringgate_runtime::{executor::Handle, time::Sleep};
use ringgate_tests::gateway::{
    Http2, Server, Wire, grounds,
    http2::{INITIAL_WINDOW_SIZE, code, frame, kind},
    in_every_world, on_every_driver, on_every_driver_with,
};
use std::{
    cell::Cell,
    future::Future,
    io::Read,
    pin::Pin,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::{Context, Poll, ready},
    time::Duration,
};

const PIECE: usize = 8192;

static READS_BEGUN: AtomicUsize = AtomicUsize::new(0);
static READS_FAILED: AtomicUsize = AtomicUsize::new(0);

/// Bytes made for responses on this core: what an unread response makes the server hold.
#[derive(Default)]
struct Made(Rc<Cell<usize>>);

/// A body without an end.
struct Endless(Rc<Cell<usize>>);

impl futures_core::Stream for Endless {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.set(self.0.get() + PIECE);
        Poll::Ready(Some(Ok(vec![b'e'; PIECE].into())))
    }
}

/// A hundred bytes every 20 s, for five minutes.
struct Drops(Handle, Option<(Sleep, u32)>);

impl futures_core::Stream for Drops {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self(handle, pause) = &mut *self;
        let (sleep, made) = pause.get_or_insert_with(|| (handle.sleep(Duration::from_secs(20)), 0));
        ready!(Pin::new(&mut *sleep).poll(cx));
        (*sleep, *made) = (handle.sleep(Duration::from_secs(20)), *made + 1);
        Poll::Ready((*made <= 15).then(|| Ok(vec![b'd'; 100].into())))
    }
}

async fn echo(mut request: Request) -> Response {
    request.body_mut().set_bytes_max(u64::MAX);
    Response::stream(request.into_body())
}

/// Has no time for the body until much later.
async fn busy(mut request: Request) -> String {
    request.handle().sleep(Duration::from_secs(60)).await;
    match request.body_mut().collect().await {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => error.to_string(),
    }
}

/// Wants nothing of the body, and takes its time.
async fn ignore(request: Request) -> &'static str {
    let handle = request.handle().clone();
    drop(request.into_body());
    handle.sleep(Duration::from_millis(800)).await;
    "ignored"
}

fn app(_: &Core) -> App {
    App::new()
        .route("/ignore", post(ignore))
        .state(Made::default())
        .route("/now", |_: &Request| "now")
        .route("/made", |request: &Request| request.state::<Made>().0.get().to_string())
        .route("/endless", |request: &Request| Response::stream(Endless(request.state::<Made>().0.clone())))
        .route("/drops", |request: &Request| Response::stream(Drops(request.handle().clone(), None)))
        .route("/page", |request: &Request| {
            let made = &request.state::<Made>().0;
            made.set(made.get() + 4_000);
            Response::static_bytes(&[b'p'; 4_000])
        })
        .route(
            "/read",
            post(|mut request: blocking::Request| {
                READS_BEGUN.fetch_add(1, SeqCst);
                let read = request.body_mut().read_to_end(&mut Vec::new());
                READS_FAILED.fetch_add(usize::from(read.is_err()), SeqCst);
                format!("{read:?}")
            }),
        )
        .route("/forever", async |_: Request| std::future::pending::<&'static str>().await)
        .route("/count", post(async |mut request: Request| request.body_mut().collect().await))
        .route("/echo", post(echo))
        .route(
            "/echo-blocking",
            post(|request: blocking::Request| {
                let mut body = request.into_body();
                Response::writer(move |out| std::io::copy(&mut body, out).map(|_| ()))
            }),
        )
        .route(
            "/late",
            post(async |mut request: Request| {
                request.handle().sleep(Duration::from_millis(100)).await;
                request.body_mut().collect().await
            }),
        )
        .route("/busy", post(busy))
        .route(
            "/ignored",
            post(async |request: Request| {
                drop(request);
                std::future::pending::<&'static str>().await
            }),
        )
}

/// Says so until the gateway has had enough, and what it said then; others are served all the time.
fn flood(server: &Server, what: &str, most: usize, mut say: impl FnMut(&mut Http2<Box<dyn Wire>>)) {
    let mut other = server.connect_http2();
    let mut client = server.connect_http2();
    for round in 0.. {
        assert!(round < most, "{what}: {most} rounds, and nobody minds");
        (0..50).for_each(|_| say(&mut client));
        assert_eq!(other.get("/now").text(), "now", "{what}");
        client.round_trip();
        if client.is_over {
            break;
        }
    }
    assert_eq!(client.goaways.last().map(|goaway| goaway.1), Some(code::ENHANCE_YOUR_CALM), "{what}");
    assert_eq!(server.connect_http2().get("/now").text(), "now", "{what}");
}

#[test]
fn f_01_floods_end_with_enhance_your_calm_and_cost_nobody_else() {
    on_every_driver(app, |server| {
        flood(server, "rapid reset", 100, |client| {
            let id = client.begin("/forever");
            client.reset(id, code::CANCEL);
        });
        flood(server, "made you reset", 100, |client| {
            let id = client.begin("/forever");
            client.wire.say(&frame(kind::WINDOW_UPDATE, 0, id, &[0; 4]));
        });
        flood(server, "settings", 100, |client| client.wire.say(&frame(kind::SETTINGS, 0, 0, &[])));
        flood(server, "pings", 100, |client| client.wire.say(&frame(kind::PING, 0, 0, &[0; 8])));
    });
}

/// Windows stay shut: no stream makes more than may wait for it, and each is reset when it has stalled for long enough.
#[test]
fn f_05_a_peer_that_gives_no_window_holds_a_bounded_amount_and_is_reset() {
    in_every_world(
        app,
        |config| config.limits.body_buffer_bytes_max = 16_384,
        |_| {},
        |server| {
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 0)]);
            client.gives_windows = false;
            let streams: Vec<u32> = (0..20).map(|_| client.begin("/endless")).collect();
            client.round_trip();
            server.pass(5_000);
            let made: usize = server.connect().get("/made").text().parse().unwrap();
            assert!(made >= 20 * 16_384, "every stream has begun: {made}");
            assert!(made <= 20 * (16_384 + PIECE), "{made} bytes were made for windows that are shut");
            let begun = server.now_ms();
            for id in streams {
                assert_eq!(client.finish(id).reset, Some(code::CANCEL));
            }
            assert!((20_000..60_000).contains(&(server.now_ms() - begun)), "after stall_timeout_ms or so");
        },
    );
}

/// The slow read: windows open by a few bytes now and then. That costs the streams it is done to, and no other.
#[test]
fn f_16_a_peer_that_takes_too_slowly_loses_what_it_takes_so() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 65_536,
        |server| {
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 65_535)]);
            client.gives_windows = false;
            client.give_window(0, 0x7000_0000);
            client.round_trip();
            let begun = server.now_ms();
            let (slow, steady) = (client.begin("/endless"), client.begin("/endless"));
            // All is taken of what is made slowly, but not at once.
            let mut patient = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 100)]);
            patient.gives_windows = false;
            let (drops, mut given) = (patient.begin("/drops"), 100);
            for second in 0..340 {
                server.pass(1_000);
                patient.round_trip();
                let came = patient.streams[&drops].answer.as_ref().map_or(0, |answer| answer.body.len());
                if second % 7 == 0 && came == given {
                    given += 100;
                    patient.give_window(drops, 100);
                }
                if second % 30 == 0 && client.streams[&slow].reset.is_none() {
                    client.give_window(slow, 64);
                }
                client.give_window(steady, 1_000);
                client.round_trip();
            }
            assert_eq!(client.streams[&slow].reset, Some(code::CANCEL));
            assert_eq!((client.streams[&steady].reset, patient.streams[&drops].reset), (None, None));
            assert!(patient.streams[&drops].answer.as_ref().unwrap().body.len() > 1_000);
            assert_eq!(server.count("timeouts_send"), 1);
            // Nobody takes anything from here on.
            assert_eq!(client.finish(steady).reset, Some(code::CANCEL));
            assert!(server.now_ms() - begun < 500_000);
            // The window of the connection is one for all of its streams.
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 0x7000_0000)]);
            client.gives_windows = false;
            client.round_trip();
            let streams = [client.begin("/endless"), client.begin("/endless")];
            for second in 0..200 {
                server.pass(1_000);
                if second % 30 == 0 {
                    client.give_window(0, 64);
                }
                client.round_trip();
            }
            assert!(streams.iter().all(|id| client.streams[id].reset == Some(code::CANCEL)));
        },
    );
}

/// Behind a slow line a client opens its windows late, since it does not have yet what would let it. What stands in our own
/// send meanwhile is not taken for its choice.
#[test]
fn f_16_a_slow_line_is_not_a_slow_reader() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 4_096,
        |server| {
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 65_535)]);
            client.give_window(0, 0x7000_0000);
            client.round_trip();
            let stream = client.begin("/endless");
            let (mut heard, mut given, begun) = (0, 0, server.now_ms());
            while server.now_ms() - begun < 1_000_000 {
                // 560 bytes per second, and the window is given back when nearly all of it has come.
                while (heard as u64) < (server.now_ms() - begun) * 560 / 1_000 {
                    let bytes = client.wire.hear().len();
                    assert!(bytes > 0, "cut after {} ms", server.now_ms() - begun);
                    heard += bytes;
                }
                if heard - given > 60_500 {
                    given += 60_000;
                    client.give_window(stream, 60_000);
                }
                server.pass(1_000);
            }
            assert_eq!(server.count("timeouts_send"), 0);
            assert_eq!(server.count("connections_open"), 1);
        },
    );
}

/// Windows are wide open, and the socket is not read: what waits is bounded as a whole, and the send has its time.
#[test]
fn f_09_a_peer_that_never_reads_its_socket_holds_a_bounded_amount_and_is_cut() {
    in_every_world(
        app,
        |config: &mut Config| {
            config.limits.body_buffer_bytes_max = 16_384;
            config.limits.output_bytes_max = 65_536;
        },
        |_| {},
        |server| {
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
            client.gives_windows = false;
            client.give_window(0, 0x7fff_0000);
            let begun = server.now_ms();
            for _ in 0..20 {
                client.begin("/endless");
            }
            server.pass(5_000);
            let made: usize = server.connect().get("/made").text().parse().unwrap();
            // What waits at the streams, what is being sent and what is next, and what is under way to the client.
            let most = 20 * (16_384 + PIECE) + 2 * 65_536 + 65_536;
            assert!((65_536..=most).contains(&made), "{made} bytes were made for nobody, and {most} are the bound");
            while server.count("timeouts_send") == 0 {
                server.pass(500);
                assert!(server.now_ms() - begun < 300_000, "nobody ends it");
            }
            server.await_count("connections_open", 0);
        },
    );
}

#[test]
fn r_02_a_body_that_comes_too_slowly_is_408_or_a_reset() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 65_536,
        |server| {
            let mut client = server.connect_http2();
            client.round_trip();
            let begun = server.now_ms();
            // Nothing comes; a byte now and then; a byte now and then with the response under way.
            let silent = client.open("POST /count HTTP/2", false);
            let drop_wise = client.open("POST /count HTTP/2", false);
            let echoed = client.open("POST /echo HTTP/2", false);
            // Nobody has read what came of this one, and nobody ever will read the other: not the client's fault.
            let busy = client.open("POST /busy HTTP/2", false);
            client.send(busy, &[1; 65_536], false);
            let ignored = client.open("POST /ignored HTTP/2", false);
            // Fast enough.
            let steady = client.open("POST /count HTTP/2", false);
            for second in 0..30 {
                for id in [drop_wise, echoed] {
                    client.send(id, b"x", false);
                }
                client.send(steady, &[2; 1000], second == 29);
                server.pass(1_000);
                client.round_trip();
            }
            assert_eq!(client.answer(silent).status, 408);
            assert_eq!(client.answer(drop_wise).status, 408);
            let echoed = client.finish(echoed);
            assert_eq!((echoed.reset, echoed.answer.as_ref().unwrap().status), (Some(code::CANCEL), 200));
            assert_eq!(client.answer(steady).body.len(), 30_000);
            assert_eq!(server.count("timeouts_body"), 3);
            client.send(busy, &[1; 10], true);
            assert_eq!(client.answer(busy).text(), "65546 bytes");
            assert!(server.now_ms() - begun >= 60_000);
            assert!(client.streams[&ignored].reset.is_none());
            assert_eq!((client.get("/now").text(), server.count("timeouts_body")), ("now", 3));
        },
    );
}

/// A wave that never lets go of its streams is bounded by their number alone.
#[test]
fn f_16_streams_that_stay_open_take_the_place_of_no_other_connection() {
    on_every_driver(app, |server| {
        let mut clients: Vec<_> = (0..3).map(|_| server.connect_http2()).collect();
        for client in &mut clients {
            client.round_trip();
            for _ in 0..100 {
                client.begin("/forever");
            }
            let refused = client.begin("/now");
            assert_eq!(client.finish(refused).reset, Some(code::REFUSED_STREAM));
        }
        assert_eq!(server.connect_http2().get("/now").text(), "now");
        drop(clients);
        server.await_count("connections_open", 0);
    });
}

/// Small answers, ready at once, to thousands of requests in a few packets: what they come to is bounded too.
#[test]
fn r_11_answers_that_are_ready_at_once_wait_for_the_socket() {
    in_every_world(
        app,
        |config| config.limits.http2.output_bytes_max = 65_536,
        |sim| sim.window_bytes = 16_384,
        |server| {
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
            client.gives_windows = false;
            client.give_window(0, 0x7fff_0000);
            client.round_trip();
            let streams: Vec<u32> = (0..600).map(|_| client.begin("/page")).collect();
            server.pass(3_000);
            let made: usize = server.connect().get("/made").text().parse().unwrap();
            // In flight, next, one page too many in each, and under way to the client.
            let most = 2 * (65_536 + PIECE) + 16_384;
            assert!(made <= most, "{made} bytes were made for nobody, and {most} are the bound");
            for id in streams {
                assert_eq!(client.answer(id).body.len(), 4_000);
            }
        },
    );
}

/// A thread of the crew that reads a body is let go, however the connection ends.
#[test]
fn a_blocking_reader_learns_every_end() {
    on_every_driver(app, |server| {
        let begin = |server: &Server| {
            let mut client = server.connect_http2();
            let begun = READS_BEGUN.load(SeqCst);
            let id = client.open("POST /read HTTP/2", false);
            client.send(id, b"abc", false);
            server.until("the reader's begin", || {
                client.round_trip();
                READS_BEGUN.load(SeqCst) > begun
            });
            (client, id)
        };
        let failed = READS_FAILED.load(SeqCst);
        let (mut client, id) = begin(server);
        client.reset(id, code::CANCEL);
        server.until("the reset", || READS_FAILED.load(SeqCst) == failed + 1);
        // A connection error: PING of seven bytes.
        let (mut client, _) = begin(server);
        client.wire.say(&frame(kind::PING, 0, 0, &[0; 7]));
        client.rest();
        server.until("the connection error", || READS_FAILED.load(SeqCst) == failed + 2);
        let (client, _) = begin(server);
        drop(client);
        server.until("the end of the connection", || READS_FAILED.load(SeqCst) == failed + 3);
    });
    for ground in grounds() {
        let failed = READS_FAILED.load(SeqCst);
        let server = Server::start(ground, app);
        let mut client = server.connect_http2();
        let id = client.open("POST /read HTTP/2", false);
        client.send(id, b"abc", false);
        client.round_trip();
        let mut other = server.connect();
        other.wire.say(b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc");
        server.pass(100);
        assert_eq!(server.stop(Duration::from_millis(100)).report().cut, 2);
        let begun = std::time::Instant::now();
        while READS_FAILED.load(SeqCst) < failed + 2 {
            assert!(begun.elapsed() < Duration::from_secs(5), "on {ground:?}: threads wait for what was cut");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A body in frames of one byte arrives as it is, read late or at once, and echoed.
#[test]
fn f_17_a_body_that_dribbles_is_the_same_body() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 65_536,
        |server| {
            let body: Vec<u8> = (0..1500_u32).map(|byte| byte as u8).collect();
            let mut client = server.connect_http2();
            client.round_trip();
            for target in ["/count", "/echo", "/late", "/echo-blocking"] {
                let id = client.open(&format!("POST {target} HTTP/2"), false);
                body.chunks(1).for_each(|byte| client.send(id, byte, false));
                client.send(id, &[], true);
                assert!(client.answer(id).body == body, "{target}");
            }
        },
    );
}

/// S-06 over HTTP/2: a body that its handler does not want is thrown away to a bound, and then its window stays shut.
#[test]
fn s_06_an_unwanted_body_is_drained_to_a_bound() {
    on_every_driver_with(
        app,
        |config| {
            config.limits.drain_bytes_max = 20_000;
            config.limits.http2.stream_window_bytes = 65_535;
        },
        |server| {
            let mut client = server.connect_http2();
            client.round_trip();
            let id = client.open("POST /ignore HTTP/2", false);
            let mut sent = 0;
            let mut waits = 0;
            while waits < 20 && sent < 800_000 {
                let room = client.window(id).clamp(0, 4_000) as usize;
                if room == 0 {
                    waits += 1;
                    client.round_trip();
                } else {
                    client.send(id, &vec![7; room], false);
                    sent += room;
                }
            }
            // One window, what of it came before the handler let go, and the bound; without one it would be 800,000.
            assert!((65_535..=2 * 65_535 + 20_000 + 4_000).contains(&sent), "{sent} bytes were taken");
            assert_eq!(client.answer(id).text(), "ignored");
            assert_eq!(client.get("/now").text(), "now");
        },
    );
}

/// What was offered to the machine is still there when the peer has ended its side and reads on: nothing of it goes out,
/// and nobody stumbles over it.
#[test]
fn a_peer_that_ends_its_side_in_the_middle_of_a_download_is_left_in_peace() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 16_384,
        |server| {
            let mut client = Http2::with_settings(server.wire(), &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
            client.gives_windows = false;
            client.give_window(0, 0x7fff_0000);
            for _ in 0..3 {
                client.begin("/endless");
            }
            // The wire is full now. What the protocol has to say waits behind it when the end comes.
            server.pass(500);
            client.wire.say(&frame(kind::PING, 0, 0, &[7; 8]));
            client.wire.finish();
            server.pass(500);
            while client.listen() {}
            assert_eq!(server.count("handler_panics"), 0);
            server.await_count("connections_open", 0);
            assert_eq!(server.runtime_count("panics"), 0);
            assert_eq!(server.connect().get("/now").text(), "now");
        },
    );
}
