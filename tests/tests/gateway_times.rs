//! Everything has its time, and who keeps to the least rate has more of it.

use ringgate::{App, Config, Core, Request, Response, blocking, post};
use ringgate_tests::gateway::{
    Client, Ground, Server, Wire, grounds,
    http2::{block, code, frame, kind},
    on_every_driver_with,
};
use std::{future::pending, io, sync::Mutex};

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

#[test]
fn r_01_to_r_05_everything_has_its_time() {
    for ground in grounds() {
        eprintln!("on {ground:?}");
        // What a busy machine takes from us must not be taken for the peer's.
        let slower = if matches!(ground, Ground::Sim(_)) { 1 } else { 4 };
        let mut config = Config::default();
        config.timeouts.header_timeout_ms = 150 * slower;
        config.timeouts.idle_timeout_ms = 300 * slower;
        config.timeouts.progress_grace_ms = 200 * slower;
        config.timeouts.progress_bytes_per_s_min = 1_000_000;
        config.timeouts.request_timeout_ms = 250 * slower;
        config.timeouts.linger_timeout_ms = 100;
        let server = &Server::start_with(ground, app, config);
        let took = |client: &mut Client<Box<dyn Wire>>| {
            let begun = server.now_ms();
            assert!(client.is_over());
            server.now_ms() - begun
        };
        // How late it is told depends on the machine.
        let late = if matches!(ground, Ground::Sim(_)) { 0 } else { 5_000 };
        let silent = took(&mut server.connect());
        assert!((100 * slower..280 * slower + late).contains(&silent), "r_04: connect and wait: {silent}");
        let mut client = server.connect();
        client.wire.say(b"GET /now HT");
        assert_eq!(client.answer(false).status, 408, "r_01: a head that does not end");
        let mut client = server.connect();
        assert_eq!(client.get("/now").status, 200);
        let idle = took(&mut client);
        assert!((220 * slower..900 * slower + late).contains(&idle), "r_05: keep-alive without a request: {idle}");
        let mut client = server.connect();
        assert_eq!(client.get("/now").status, 200);
        server.pass(200 * slower);
        client.wire.say(b"GET /now HT");
        assert_eq!(client.answer(false).status, 408, "a later head that does not end");
        let mut client = server.connect();
        client.wire.say(b"POST /collect HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 408, "r_02: a body that does not come");
        client.begin("/now");
        assert_eq!(client.rest(), b"", "s_06: nor is what comes after the pause a request");
        let mut client = server.connect();
        client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\n\r\nabc");
        assert_eq!(client.answer(false).status, 200, "a body that nobody waits for");
        server.pass(100);
        client.begin("/now");
        assert_eq!(client.rest(), b"", "s_06: nor is it one behind an early answer");
        let mut client = server.connect();
        assert_eq!(client.get("/forever").status, 503, "a handler that does not answer");
        let mut client = server.connect();
        client.begin("/big");
        server.await_count("timeouts_send", 1);
        assert!(client.rest().len() < 20_000_000, "r_03: a client that does not read");
        server.await_count("connections_open", 0);
        assert_eq!((server.count("timeouts_header"), server.count("timeouts_body")), (3, 2));
        server.assert_at_rest();
    }
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
    let configure = |config: &mut Config| config.timeouts.progress_grace_ms = 200;
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
    let configure = |config: &mut Config| {
        config.timeouts.header_timeout_ms = 20_000;
        config.timeouts.header_grace_ms = 200;
    };
    on_every_driver_with(app, configure, |server| {
        for before in [None, Some("/now"), Some("/beside")] {
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
            let mut client = server.connect();
            client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\nx: ");
            for _ in 0..10 {
                server.pass(50);
                client.wire.say(&[b'y'; 120]);
            }
            client.wire.say(b"\r\n\r\n");
            assert_eq!(client.answer(false).status, 200, "slow, but faster than the least");
        }
    });
}

#[test]
fn r_01_a_head_of_http2_that_drips_is_not_waited_for() {
    let configure = |config: &mut Config| {
        config.timeouts.header_timeout_ms = 20_000;
        config.timeouts.header_grace_ms = 200;
    };
    let long = "v".repeat(1_200);
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/now"), ("x", &long)];
    let head = block(&head);
    on_every_driver_with(app, configure, |server| {
        for before in [false, true] {
            for is_one_frame in [false, true] {
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
            }
        }
        server.await_count("timeouts_header", 4);
        let mut client = server.connect_http2();
        for piece in frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &head).chunks(120) {
            client.wire.say(piece);
            server.pass(50);
        }
        // Slow, but faster than the least. The two before it were answered on their connections.
        server.await_count("responses_2xx", 3);
        assert_eq!(server.count("timeouts_header"), 4);
    });
}

#[test]
fn a_head_of_http2_has_as_much_time_as_one_of_http1() {
    let configure = |config: &mut Config| {
        config.limits.http2.header_timeout_ms = 50;
        config.timeouts.header_timeout_ms = 20_000;
        config.timeouts.header_grace_ms = 10_000;
    };
    let head = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/now")]);
    on_every_driver_with(app, configure, |server| {
        let mut client = server.connect_http2();
        client.round_trip();
        client.wire.say(&frame(kind::HEADERS, END_STREAM, 1, &head[..1]));
        server.pass(300);
        client.wire.say(&frame(kind::CONTINUATION, END_HEADERS, 1, &head[1..]));
        server.await_count("responses_2xx", 1);
        assert_eq!(server.count("timeouts_header"), 0);
    });
}
