//! Everything has its time, and who keeps to the least rate has more of it.

use ringgate::{App, Config, Core, Request, Response, blocking, post};
use ringgate_tests::gateway::{
    Client, Ground, Server, Wire, grounds,
    http2::{block, code, frame, kind},
    on_every_driver_with,
};
use std::{future::pending, io, ops::Range, sync::Mutex};

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/beside", |_: blocking::Request| "beside")
        .route("/forever", async |_: Request| pending::<&'static str>().await)
        .route("/read", post(read))
        .route("/collect", post(async |mut request: Request| request.body_mut().collect().await))
        .route("/big", |_: &Request| Response::bytes(vec![b'b'; 20_000_000]))
}

/// A test of its own, with a server of its own.
type Wait<'a> = &'a (dyn Fn(&Server) + Sync);

/// Most of these tests' time goes by in waiting: the kernel's drivers do all of it at once.
fn all_at_once(configure: impl Fn(&mut Config, Ground) + Sync, waits: &[Wait<'_>]) {
    let run = |ground: Ground, wait: Wait<'_>| {
        let mut config = Config::default();
        configure(&mut config, ground);
        let server = Server::start_with(ground, app, config);
        wait(&server);
        server.assert_at_rest();
    };
    std::thread::scope(|scope| {
        for ground in grounds() {
            eprintln!("on {ground:?}");
            for (number, &wait) in waits.iter().enumerate() {
                if let Ground::Sim(_) = ground {
                    run(ground, wait);
                    continue;
                }
                let thread = std::thread::Builder::new().name(format!("wait {number} on {ground:?}"));
                thread.spawn_scoped(scope, move || run(ground, wait)).expect("a thread");
            }
        }
    });
}

/// What a busy machine takes from us must not be taken for the peer's.
fn slower(ground: Ground) -> u64 {
    if matches!(ground, Ground::Sim(_)) { 1 } else { 4 }
}

/// The server closes the connection after so many milliseconds. How late that is told depends on the machine.
fn assert_over_in(server: &Server, client: &mut Client<Box<dyn Wire>>, times: Range<u64>) {
    let (slower, late) = (slower(server.ground()), if server.is_sim() { 0 } else { 5_000 });
    let begun = server.now_ms();
    assert!(client.is_over());
    let took = server.now_ms() - begun;
    assert!((times.start * slower..times.end * slower + late).contains(&took), "{took} ms");
}

/// With all clients gone: so many heads, and so many bodies, have not come in time.
fn assert_timeouts(server: &Server, heads: u64, bodies: u64) {
    server.await_count("connections_open", 0);
    assert_eq!((server.count("timeouts_header"), server.count("timeouts_body")), (heads, bodies));
}

#[test]
fn r_01_to_r_05_everything_has_its_time() {
    let configure = |config: &mut Config, ground| {
        config.timeouts.header_timeout_ms = 150 * slower(ground);
        config.timeouts.idle_timeout_ms = 300 * slower(ground);
        config.timeouts.progress_grace_ms = 200 * slower(ground);
        config.timeouts.progress_bytes_per_s_min = 1_000_000;
        config.timeouts.request_timeout_ms = 250 * slower(ground);
        config.timeouts.linger_timeout_ms = 100;
    };
    let connect_and_wait = |server: &Server| {
        assert_over_in(server, &mut server.connect(), 100..280); // r_04
        assert_timeouts(server, 1, 0);
    };
    let a_head_that_does_not_end = |server: &Server| {
        let mut client = server.connect();
        client.wire.say(b"GET /now HT");
        assert_eq!(client.answer(false).status, 408, "r_01");
        assert_timeouts(server, 1, 0);
    };
    let keep_alive_without_a_request = |server: &Server| {
        let mut client = server.connect();
        assert_eq!(client.get("/now").status, 200);
        assert_over_in(server, &mut client, 220..900); // r_05
        assert_timeouts(server, 0, 0);
    };
    let a_later_head_that_does_not_end = |server: &Server| {
        let mut client = server.connect();
        assert_eq!(client.get("/now").status, 200);
        server.pass(200 * slower(server.ground()));
        client.wire.say(b"GET /now HT");
        assert_eq!(client.answer(false).status, 408);
        assert_timeouts(server, 1, 0);
    };
    let a_body_that_does_not_come = |server: &Server| {
        let mut client = server.connect();
        client.wire.say(b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 408, "r_02");
        client.begin("/now");
        assert_eq!(client.rest(), b"", "s_06: nor is what comes after the pause a request");
        assert_timeouts(server, 0, 1);
    };
    let a_body_that_nobody_waits_for = |server: &Server| {
        let mut client = server.connect();
        client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 200);
        server.pass(100);
        client.begin("/now");
        assert_eq!(client.rest(), b"", "s_06: what comes behind an early answer is no request");
        assert_timeouts(server, 0, 1);
    };
    let a_handler_that_does_not_answer = |server: &Server| {
        assert_eq!(server.connect().get("/forever").status, 503);
        assert_timeouts(server, 0, 0);
    };
    let a_client_that_does_not_read = |server: &Server| {
        let mut client = server.connect();
        client.begin("/big");
        server.await_count("timeouts_send", 1);
        assert!(client.rest().len() < 20_000_000, "r_03");
        assert_timeouts(server, 0, 0);
    };
    let waits: [Wait<'_>; 8] = [
        &connect_and_wait,
        &a_head_that_does_not_end,
        &keep_alive_without_a_request,
        &a_later_head_that_does_not_end,
        &a_body_that_does_not_come,
        &a_body_that_nobody_waits_for,
        &a_handler_that_does_not_answer,
        &a_client_that_does_not_read,
    ];
    all_at_once(configure, &waits);
}

/// What threads got to read. One test uses it.
static READ: Mutex<Vec<Result<String, io::ErrorKind>>> = Mutex::new(Vec::new());

fn read(mut request: blocking::Request) -> io::Result<String> {
    let read = io::read_to_string(request.body_mut());
    READ.lock().unwrap().push(read.as_ref().cloned().map_err(io::Error::kind));
    read
}

/// An async handler is dropped; a thread goes on, and should not take its client for one that has left.
#[test]
fn r_02_a_thread_learns_that_its_body_came_too_slowly() {
    let configure = |config: &mut Config| config.timeouts.progress_grace_ms = 50;
    on_every_driver_with(app, configure, |server| {
        let told = |times: usize| {
            server.until("its thread knows", || READ.lock().unwrap().len() == times);
            READ.lock().unwrap()[times - 1].clone()
        };
        READ.lock().unwrap().clear();
        let mut client = server.connect();
        client.wire.say(b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 408);
        assert_eq!(told(1), Err(io::ErrorKind::TimedOut), "over HTTP/1");
        let mut client = server.connect_http2();
        let id = client.open("POST /read HTTP/1.1", false);
        client.send(id, b"abc", false);
        assert_eq!(client.answer(id).status, 408);
        assert_eq!(told(2), Err(io::ErrorKind::TimedOut), "over HTTP/2");
    });
}

#[test]
fn r_01_a_head_that_drips_is_not_waited_for() {
    let configure = |config: &mut Config, _| {
        config.timeouts.header_timeout_ms = 20_000;
        config.timeouts.header_grace_ms = 200;
    };
    let drips = |server: &Server, before: Option<&str>| {
        let mut client = server.connect();
        assert!(before.is_none_or(|target| client.get(target).status == 200));
        let begun = server.now_ms();
        client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\nx: ");
        for _ in 0..10 {
            server.pass(50);
            client.wire.say(b"y");
        }
        assert_eq!(client.answer(false).status, 408);
        assert!(server.now_ms() - begun < 10_000, "long before its time is over");
    };
    let is_slow = |server: &Server| {
        let mut client = server.connect();
        client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\nx: ");
        for _ in 0..10 {
            server.pass(50);
            client.wire.say(&[b'y'; 120]);
        }
        client.wire.say(b"\r\n\r\n");
        assert_eq!(client.answer(false).status, 200, "slow, but faster than the least");
    };
    let first = |server: &Server| drips(server, None);
    let behind_now = |server: &Server| drips(server, Some("/now"));
    let behind_a_thread = |server: &Server| drips(server, Some("/beside"));
    all_at_once(configure, &[&first, &behind_now, &behind_a_thread, &is_slow]);
}

#[test]
fn r_01_a_head_of_http2_that_drips_is_not_waited_for() {
    let configure = |config: &mut Config, _| {
        config.timeouts.header_timeout_ms = 20_000;
        config.timeouts.header_grace_ms = 200;
    };
    let long = "v".repeat(1_200);
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/now"), ("x", &long)];
    let head = block(&head);
    let drips = |server: &Server, before: bool, is_one_frame: bool| {
        let mut client = server.connect_http2();
        assert!(!before || client.get("/now").status == 200);
        client.round_trip();
        let (id, last) = if before { (3, 1) } else { (1, 0) };
        let begun = server.now_ms();
        match is_one_frame {
            true => client.wire.say(&frame(kind::HEADERS, END_HEADERS, id, &head)[..60]),
            false => client.wire.say(&frame(kind::HEADERS, 0, id, &head[..60])),
        }
        for byte in &head[60..67] {
            server.pass(50);
            match is_one_frame {
                true => client.wire.say(&[*byte]),
                false => client.wire.say(&frame(kind::CONTINUATION, 0, id, &[*byte])),
            }
        }
        assert_eq!(client.rest(), Some((last, code::ENHANCE_YOUR_CALM)), "{before} {is_one_frame}");
        assert!(server.now_ms() - begun < 10_000, "long before its time is over");
        server.await_count("timeouts_header", 1);
    };
    let is_slow = |server: &Server| {
        let mut client = server.connect_http2();
        for piece in frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &head).chunks(120) {
            client.wire.say(piece);
            server.pass(50);
        }
        // Slow, but faster than the least.
        server.await_count("responses_2xx", 1);
        assert_eq!(server.count("timeouts_header"), 0);
    };
    let first_in_one = |server: &Server| drips(server, false, true);
    let first_in_many = |server: &Server| drips(server, false, false);
    let later_in_one = |server: &Server| drips(server, true, true);
    let later_in_many = |server: &Server| drips(server, true, false);
    all_at_once(configure, &[&first_in_one, &first_in_many, &later_in_one, &later_in_many, &is_slow]);
}

#[test]
fn a_head_of_http2_has_as_much_time_as_one_of_http1() {
    let configure = |config: &mut Config, _| {
        config.limits.http2.header_timeout_ms = 50;
        config.timeouts.header_timeout_ms = 20_000;
        config.timeouts.header_grace_ms = 10_000;
    };
    let head = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/now")]);
    let waits = |server: &Server| {
        let mut client = server.connect_http2();
        client.round_trip();
        client.wire.say(&frame(kind::HEADERS, END_STREAM, 1, &head[..1]));
        server.pass(300);
        client.wire.say(&frame(kind::CONTINUATION, END_HEADERS, 1, &head[1..]));
        server.await_count("responses_2xx", 1);
        assert_eq!(server.count("timeouts_header"), 0);
    };
    all_at_once(configure, &[&waits]);
}
