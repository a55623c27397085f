//! What HTTP/2 adds, end to end: many streams, windows, resets, priorities, push, GOAWAY.
//!
//! What both protocols can say is in the other suites, which run over both.

use ringgate::{App, Config, Core, Request, Response, blocking, post};
use ringgate_tests::gateway::{
    Http2, Server, Wire, grounds,
    http2::{ENABLE_PUSH, block, code, frame, kind},
    on_every_driver, on_every_driver_with, on_every_kernel_driver,
};
use std::{
    io::Read,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, SeqCst);
    }
}

async fn forever(_: Request) -> &'static str {
    let _dropped = Dropped;
    std::future::pending::<()>().await;
    "never"
}

/// The same, and no other test counts how often it ends.
async fn never(_: Request) -> &'static str {
    std::future::pending().await
}

fn number(request: &Request, name: &str) -> usize {
    request.query_value(name).and_then(|text| text.parse().ok()).expect("a number")
}

async fn later(request: Request) -> String {
    let milliseconds = number(&request, "ms");
    request.handle().sleep(Duration::from_millis(milliseconds as u64)).await;
    format!("later {milliseconds}")
}

/// Begins to read after a while.
async fn slow_reader(mut request: Request) -> String {
    request.handle().sleep(Duration::from_millis(500)).await;
    format!("{} bytes", request.body_mut().collect().await.unwrap().len())
}

fn count_blocking(mut request: blocking::Request) -> String {
    let mut bytes = Vec::new();
    let read = request.body_mut().read_to_end(&mut bytes);
    format!("{} bytes, {}", bytes.len(), read.is_ok())
}

async fn count(mut request: Request) -> String {
    match request.body_mut().collect().await {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => error.to_string(),
    }
}

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/later", later)
        .route("/beside", |request: blocking::Request| {
            std::thread::sleep(Duration::from_millis(5));
            request.query().unwrap_or_default().to_owned()
        })
        .route("/forever", forever)
        .route("/never", never)
        .route("/slow-reader", post(slow_reader))
        .route("/count", post(count))
        .route("/count-blocking", post(count_blocking))
        .route("/big", |request: &Request| Response::bytes(vec![b'b'; number(request, "bytes")]))
        .route("/panic", |_: &Request| -> Response { panic!("inline") })
        .route("/panic-async", async |request: Request| -> Response {
            request.handle().sleep(Duration::from_millis(1)).await;
            panic!("async")
        })
        .route("/page", |request: &Request| format!("{} {:?}", request.features().push, request.push("/now")))
        .route("/page-async", async |request: Request| {
            let forms = [request.push("/later?ms=1"), request.push("/now")];
            request.handle().sleep(Duration::from_millis(1)).await;
            format!("{forms:?}")
        })
}

#[test]
fn many_streams_are_in_flight_at_once_in_every_world() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        let streams: Vec<(u32, String)> = (0..90)
            .map(|number| {
                let (target, expected) = match number % 3 {
                    0 => ("/now".to_owned(), "now".to_owned()),
                    1 => (format!("/later?ms={}", 90 - number), format!("later {}", 90 - number)),
                    _ => (format!("/beside?{number}"), number.to_string()),
                };
                (client.begin(&target), expected)
            })
            .collect();
        for (id, expected) in streams {
            assert_eq!(client.answer(id).text(), expected, "stream {id}");
        }
        let ends: Vec<u32> = client.came.iter().filter(|came| came.is_end).map(|came| came.id).collect();
        assert_eq!(ends.len(), 90);
        assert!(!ends.is_sorted(), "nobody waits for those before it");
        assert_eq!(server.count("connections_accepted"), 1);
    });
}

/// What was under way when a hundred uploads were answered at once, their bodies in turns and their trailers.
#[test]
fn h2_06_uploads_that_are_answered_early_cost_no_connection() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        client.round_trip();
        for _ in 0..4 {
            let uploads: Vec<u32> = (0..100).map(|_| client.open("POST /now HTTP/2", false)).collect();
            for _ in 0..3 {
                uploads.iter().for_each(|&id| client.wire.say(&frame(kind::DATA, 0, id, &[7; 500])));
            }
            uploads.iter().for_each(|&id| client.send_trailers(id, &[("x-sum", "1")]));
            for id in uploads {
                assert_eq!(client.answer(id).text(), "now");
            }
        }
        assert_eq!(client.get("/now").text(), "now");
        assert_eq!(server.count("connections_accepted"), 1);
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_may_come_again() {
    on_every_driver_with(
        app,
        |config| config.limits.http2.streams_max = 3,
        |server| {
            let mut client = server.connect_http2();
            client.round_trip();
            let running = [0; 3].map(|_| client.begin("/later?ms=50"));
            let refused = client.begin("/now");
            assert_eq!(client.finish(refused).reset, Some(code::REFUSED_STREAM));
            for id in running {
                assert_eq!(client.answer(id).text(), "later 50");
            }
            assert_eq!(client.get("/now").text(), "now");
        },
    );
}

#[test]
fn h2_14_a_slow_handler_shuts_its_own_window_and_no_other() {
    on_every_driver_with(
        app,
        |config| config.limits.http2.stream_window_bytes = 8192,
        |server| {
            let mut client = server.connect_http2();
            client.round_trip();
            let slow = client.open("POST /slow-reader HTTP/2", false);
            client.send(slow, &[1; 8192], false);
            client.round_trip();
            assert_eq!(client.window(slow), 0, "as long as nobody reads");
            for target in ["/count", "/count-blocking"] {
                let id = client.open(&format!("POST {target} HTTP/2"), false);
                client.send(id, &[2; 40_000], true);
                assert!(client.answer(id).text().starts_with("40000 bytes"), "{target}");
            }
            client.send(slow, &[1; 8192], true);
            assert_eq!(client.answer(slow).text(), "16384 bytes", "it goes on when it is read");
        },
    );
}

#[test]
fn a_reset_drops_the_handler_and_nothing_else() {
    on_every_driver(app, |server| {
        let before = DROPPED.load(SeqCst);
        let mut client = server.connect_http2();
        let streams = [0; 4].map(|_| client.begin("/forever"));
        client.round_trip();
        for (number, id) in streams.into_iter().enumerate() {
            client.reset(id, code::CANCEL);
            client.round_trip();
            server.until("the handler's end", || DROPPED.load(SeqCst) == before + number + 1);
            server.await_count("disconnects", number as u64 + 1);
            assert_eq!(client.get("/now").text(), "now");
        }
    });
}

/// The handler is done and the rest of its body waits for the window: the next stream takes over the place of this one.
#[test]
fn a_reset_of_what_is_still_going_out_leaves_its_place_to_the_next() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        for _ in 0..3 {
            let big = client.begin("/big?bytes=3000000");
            client.wire.say(&frame(kind::RST_STREAM, 0, big, &code::CANCEL.to_be_bytes()));
            client.round_trip();
            let later = client.begin("/later?ms=1");
            assert_eq!(client.answer(later).text(), "later 1");
            client.round_trip();
        }
    });
}

#[test]
fn a_panic_is_a_500_on_its_own_stream() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        let running = client.begin("/later?ms=30");
        for target in ["/panic", "/panic-async"] {
            assert_eq!(client.get(target).status, 500, "{target}");
        }
        assert_eq!(client.answer(running).text(), "later 30");
        assert_eq!(server.count("handler_panics"), 2);
    });
}

#[test]
fn a_body_of_another_length_than_announced_resets_its_stream() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        for target in ["/count", "/count-blocking"] {
            for bytes in [&b"abc"[..], b"abcdef"] {
                let id = client.open(&format!("POST {target} HTTP/2\r\ncontent-length: 5"), false);
                client.send(id, bytes, true);
                assert_eq!(client.finish(id).reset, Some(code::PROTOCOL_ERROR), "{target} {bytes:?}");
            }
            let id = client.open(&format!("POST {target} HTTP/2\r\ncontent-length: 5"), true);
            assert_eq!(client.finish(id).reset, Some(code::PROTOCOL_ERROR), "{target}, no body");
        }
        assert_eq!(client.get("/now").text(), "now");
    });
}

#[test]
fn expect_continue_invites_the_body() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        for target in ["/count", "/count-blocking"] {
            let id = client.open(&format!("POST {target} HTTP/2\r\ncontent-length: 3\r\nexpect: 100-continue"), false);
            while client.streams[&id].interim.is_empty() {
                assert!(client.listen());
            }
            assert_eq!(client.streams[&id].interim[0].status, 100);
            client.send(id, b"abc", true);
            assert!(client.answer(id).text().starts_with("3 bytes"), "{target}");
        }
    });
}

/// Shuts the connection's window with a response of the least urgency, of which some is left.
fn shut<W: Wire>(client: &mut Http2<W>) -> u32 {
    client.gives_windows = false;
    let id = client.open("GET /big?bytes=70000 HTTP/2\r\npriority: u=7", true);
    while client.streams[&id].answer.as_ref().is_none_or(|answer| answer.body.len() < 65_535) {
        assert!(client.listen());
    }
    id
}

/// RFC 9218: with the connection's window shut, whoever is most urgent goes first when it opens.
#[test]
fn priorities_decide_who_sends_next() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        let first = shut(&mut client);
        let [late, soon, usual] = [6, 1, 3]
            .map(|urgency| client.open(&format!("GET /big?bytes=20000 HTTP/2\r\npriority: u={urgency}"), true));
        client.round_trip();
        let seen = client.came.len();
        client.give_window(first, 100_000);
        client.give_window(0, 100_000);
        for id in [late, soon, usual, first] {
            client.answer(id);
        }
        let data = client.came[seen..].iter().filter(|came| came.kind == kind::DATA);
        let mut order: Vec<u32> = data.map(|came| came.id).collect();
        order.dedup();
        assert_eq!(order, [soon, usual, late, first]);
    });
}

#[test]
fn incremental_streams_of_one_urgency_share_the_wire() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        shut(&mut client);
        let streams = [0; 3].map(|_| client.open("GET /big?bytes=50000 HTTP/2\r\npriority: u=3, i", true));
        client.round_trip();
        client.give_window(0, 150_000);
        for id in streams {
            assert_eq!(client.answer(id).body.len(), 50_000);
        }
        let place = |id: u32, is_end: bool| {
            client.came.iter().position(|came| came.kind == kind::DATA && came.id == id && came.is_end == is_end)
        };
        let begin_of_last = streams.iter().map(|id| place(*id, false)).max();
        let end_of_first = streams.iter().map(|id| place(*id, true)).min();
        assert!(end_of_first > begin_of_last, "none ends before the last has begun: {:?}", client.came);
    });
}

#[test]
fn e_3_a_push_is_promised_or_hinted_and_says_so() {
    let configure = |config: &mut Config| config.limits.http2.push = true;
    on_every_driver_with(app, configure, |server| {
        let mut client = server.connect_http2();
        client.round_trip();
        let page = client.begin("/page");
        assert_eq!(client.answer(page).text(), "true Promised");
        let (parent, promised, fields) = client.promises[0].clone();
        assert_eq!((parent, promised), (page, 2));
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!((field(":method"), field(":path"), field(":authority")), (Some("GET"), Some("/now"), Some("test")));
        assert_eq!(client.answer(promised).text(), "now");
        let page = client.begin("/page-async");
        assert_eq!(client.answer(page).text(), "[Promised, Promised]");
        let pushed: Vec<u32> = client.promises[1..].iter().map(|(_, promised, _)| *promised).collect();
        assert_eq!((client.answer(pushed[0]).text(), client.answer(pushed[1]).text()), ("later 1", "now"));

        let mut client = Http2::with_settings(server.wire(), &[(ENABLE_PUSH, 0)]);
        client.round_trip();
        for target in ["/page", "/page-async"] {
            let id = client.begin(target);
            assert!(client.answer(id).text().contains("Hinted(Interim)"), "{target}");
            let interim = &client.streams[&id].interim[0];
            assert_eq!(interim.status, 103);
            assert!(interim.field("link").is_some_and(|link| link.ends_with(">; rel=preload")));
        }
        assert!(client.promises.is_empty());

        let mut client = server.connect();
        client.wire.say(b"GET /page HTTP/1.0\r\n\r\n");
        let answer = client.answer(false);
        assert_eq!(answer.text(), "false Hinted(LinkField)");
        assert_eq!(answer.field("link"), Some("</now>; rel=preload"));
    });
}

#[test]
fn push_is_off_unless_configured() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        client.round_trip();
        assert_eq!(client.get("/page").text(), "false Hinted(Interim)");
        assert!(client.promises.is_empty());
    });
}

#[test]
fn a_client_that_says_goaway_gets_what_it_asked_for() {
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        let running = client.begin("/later?ms=30");
        client.wire.say(&frame(kind::GOAWAY, 0, 0, &[0; 8]));
        assert_eq!(client.answer(running).text(), "later 30");
        client.wire.finish();
        assert!(matches!(client.rest(), None | Some((_, code::NO_ERROR))));
        server.await_count("connections_open", 0);
        assert_eq!(server.count("disconnects"), 0);
    });
}

#[test]
fn a_drain_says_goaway_twice_finishes_streams_and_cuts_at_the_deadline() {
    for ground in grounds() {
        eprintln!("on {ground:?}");
        let server = Server::start(ground, app);
        let (mut idle, mut running, mut endless) =
            (server.connect_http2(), server.connect_http2(), server.connect_http2());
        assert_eq!(idle.get("/now").text(), "now");
        running.round_trip();
        let stream = running.begin("/later?ms=200");
        running.round_trip();
        endless.begin("/never");
        endless.round_trip();
        let stopping = server.stop(Duration::from_millis(800));
        while running.goaways.is_empty() {
            assert!(running.listen());
        }
        assert_eq!(running.goaways, [(0x7fff_ffff, code::NO_ERROR)], "the first announces");
        // The PING behind it is not answered yet: this request has crossed it.
        let crossed = running.begin("/now");
        assert_eq!(running.answer(crossed).text(), "now");
        assert_eq!(running.answer(stream).text(), "later 200");
        assert_eq!(running.rest(), Some((crossed, code::NO_ERROR)), "the second names the last stream");
        assert_eq!(running.goaways.len(), 2);
        assert_eq!(idle.rest(), Some((1, code::NO_ERROR)));
        drop((running, idle));
        let report = stopping.report();
        assert_eq!((report.open, report.cut), (3, 1));
        endless.rest();
    }
}

#[test]
fn what_many_streams_say_in_a_turn_leaves_in_one_send() {
    const STREAMS: u32 = 32;
    on_every_kernel_driver(app, |server| {
        for target in ["/now", "/later?ms=30"] {
            let mut client = server.connect_http2();
            client.round_trip();
            let head = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", target)]);
            let requests = (0..STREAMS).flat_map(|number| frame(kind::HEADERS, 5, 2 * number + 1, &head));
            let (sends, answers) = (server.runtime_count("sends"), server.count("responses_2xx"));
            client.wire.say(&requests.collect::<Vec<u8>>());
            server.await_count("responses_2xx", answers + u64::from(STREAMS));
            // The books are published behind the turn. Some timers may fall into the next one, hardly each into its own.
            server.pass(20);
            let sends = server.runtime_count("sends") - sends;
            assert!((1..=4).contains(&sends), "{target}: {sends} sends for {STREAMS} responses");
        }
    });
}
