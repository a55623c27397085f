//! F-01 where it costs most: handlers on threads cannot be dropped with their streams. However a stream ends, its place
//! on the connection is free only when its threads have returned.

use ringgate::{App, Core, Request, Response, blocking};
use ringgate_tests::gateway::{Http2, Server, Wire, http2::code, on_every_driver_with};
use std::sync::{
    Condvar, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

const STREAMS: usize = 4;

/// Threads that run, and the most there were.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static IS_OPEN: Mutex<bool> = Mutex::new(false);
static OPENED: Condvar = Condvar::new();

/// The tests share the gate.
static ONE: Mutex<()> = Mutex::new(());

fn open(is_open: bool) {
    *IS_OPEN.lock().unwrap() = is_open;
    OPENED.notify_all();
}

/// Waits for the test, deaf to everything else.
fn gate() {
    MOST.fetch_max(RUNNING.fetch_add(1, SeqCst) + 1, SeqCst);
    let mut is_open = IS_OPEN.lock().unwrap();
    while !*is_open {
        is_open = OPENED.wait(is_open).unwrap();
    }
    drop(is_open);
    RUNNING.fetch_sub(1, SeqCst);
}

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/gate", |_: blocking::Request| gate())
        .route("/wrapped", |_: blocking::Request| gate())
        .route("/writer", |_: &Request| {
            Response::writer(|out| {
                out.write_all(b"begun")?;
                out.flush()?;
                gate();
                Ok(())
            })
        })
        .route("/wait", async |_: Request| std::future::pending::<&'static str>().await)
        .around(async |request: Request, next: ringgate::Next| next.run(request).await)
}

type Client = Http2<Box<dyn Wire>>;

fn is_refused(client: &mut Client) -> bool {
    let id = client.begin("/now");
    client.finish(id).reset == Some(code::REFUSED_STREAM)
}

/// Fills the connection with threads, ends their streams, and looks when there is room again.
fn outlive(server: &Server, target: &str, end: impl Fn(&mut Client, u32)) {
    open(false);
    let mut client = server.connect_http2();
    client.round_trip();
    let streams: Vec<u32> = (0..STREAMS).map(|_| client.begin(target)).collect();
    server.until("all threads", || {
        client.round_trip();
        RUNNING.load(SeqCst) == STREAMS
    });
    streams.iter().for_each(|id| end(&mut client, *id));
    client.round_trip();
    for _ in 0..3 {
        assert!(is_refused(&mut client), "{target}: the streams are over and their threads are not");
    }
    assert_eq!(server.connect_http2().get("/now").text(), "now", "another connection has places of its own");
    open(true);
    server.until("room", || !is_refused(&mut client));
    server.until("the end of all threads", || RUNNING.load(SeqCst) == 0);
}

#[test]
fn f_01_a_thread_keeps_the_place_of_a_stream_that_was_reset() {
    let _one = ONE.lock().unwrap();
    let configure = |config: &mut ringgate::Config| config.limits.http2.streams_max = STREAMS as u32;
    on_every_driver_with(app, configure, |server| {
        let reset = |client: &mut Client, id: u32| client.reset(id, code::CANCEL);
        for target in ["/gate", "/wrapped", "/writer"] {
            outlive(server, target, reset);
        }
        // Without end: the peer never has more threads than streams.
        open(false);
        MOST.store(0, SeqCst);
        let mut client = server.connect_http2();
        for _ in 0..60 {
            let id = client.begin("/gate");
            client.reset(id, code::CANCEL);
        }
        client.round_trip();
        server.pass(20);
        open(true);
        server.until("the end of all threads", || RUNNING.load(SeqCst) == 0);
        assert!(MOST.load(SeqCst) <= STREAMS, "{} threads at once", MOST.load(SeqCst));
        // An async handler goes with its stream, and its place with it.
        let mut client = server.connect_http2();
        for _ in 0..5 {
            let streams: Vec<u32> = (0..STREAMS).map(|_| client.begin("/wait")).collect();
            streams.into_iter().for_each(|id| client.reset(id, code::CANCEL));
            client.round_trip();
            assert_eq!(client.get("/now").text(), "now");
        }
    });
}

#[test]
fn f_01_a_thread_keeps_the_place_of_a_stream_that_was_answered_in_its_stead() {
    let _one = ONE.lock().unwrap();
    let configure = |config: &mut ringgate::Config| {
        config.limits.http2.streams_max = STREAMS as u32;
        config.timeouts.request_timeout_ms = 100;
    };
    on_every_driver_with(app, configure, |server| {
        outlive(server, "/gate", |client, id| assert_eq!(client.answer(id).status, 503));
        assert_eq!(server.count("timeouts_handler"), STREAMS as u64);
    });
}
