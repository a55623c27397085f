//! `process_bytes_max`: beyond it what is new is refused, what runs goes on, and it ends when the memory is free again.

use ringgate::{App, Config, Core, Request, Response, blocking, get};
use ringgate_runtime::sys::memory;
use ringgate_tests::gateway::{Ground, Server, Talk, drivers, grounds, http2::code, on_every_driver_with};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What handlers of this program keep. The process is one: its tests go one after the other.
static KEPT: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());

/// What a handler takes at once.
const BLOCK: usize = 64 << 20;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kept() -> MutexGuard<'static, VecDeque<Vec<u8>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/later", async |request: Request| {
            request.handle().sleep(std::time::Duration::from_millis(600)).await;
            "later"
        })
        .route("/echo", async |request: Request| Response::stream(request.into_body()))
        .route("/take", |_: blocking::Request| {
            kept().push_back(vec![1; BLOCK]);
            "taken"
        })
        // As caches and queues do it: much, in small pieces, of which some live on.
        .route("/scatter", |_: &Request| {
            kept().extend((0..BLOCK / 4096).map(|_| vec![1; 4000]));
            "scattered"
        })
        .route(
            "/page",
            get(|request: &Request| {
                request.push("/now");
                "page"
            }),
        )
}

/// Longer than one look holds.
const LOOK_MS: u64 = 260;

#[test]
fn a_process_beyond_its_memory_takes_nothing_new() {
    let _alone = alone();
    let configure = |config: &mut Config| config.limits.process_bytes_max = Some(1);
    on_every_driver_with(app, configure, |server| {
        for target in ["/now", "/nowhere", "/take"] {
            let mut client = server.connect();
            let refused = client.get(target);
            assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")), "{target}");
            assert_eq!(refused.field("connection"), Some("close"));
            assert!(client.is_over());
        }
        let big = vec![b'b'; server.scaled(2_000_000)];
        assert_eq!(server.connect().post_streamed("/echo", &big).status, 503, "whatever its body");
        // Pipelined ones behind it are not answered: they may be asked again elsewhere.
        let mut client = server.connect();
        client.wire.say(b"GET /now HTTP/1.1\r\nhost: a\r\n\r\nGET /now HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.answer(false).status, 503);
        assert!(client.is_over());

        let mut client = server.connect_http2();
        let refused = client.get("/take");
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
        assert_eq!(client.goaways.first(), Some(&(u32::MAX >> 1, code::NO_ERROR)), "told at once to go elsewhere");
        assert_eq!(client.rest(), Some((1, code::NO_ERROR)), "and then how far it has come");
        drop(client);
        assert_eq!((server.count("requests_shed"), server.count("sheddings")), (6, 1));
        assert_eq!(kept().len(), 0, "no handler has run");
        server.await_count("connections_open", 0);
    });
}

/// A gateway that has room for less than one block.
fn narrow(ground: Ground) -> Server {
    let mut config = Config::default();
    config.limits.process_bytes_max = Some(memory::held_bytes().expect("procfs") + (BLOCK / 2) as u64);
    Server::start_with(ground, app, config)
}

#[test]
fn what_runs_goes_on_and_requests_are_taken_again_when_there_is_room() {
    let _alone = alone();
    for ground in grounds() {
        eprintln!("on {ground:?}");
        let server = narrow(ground);
        for (protocol, mut client) in server.tongues() {
            let mut running = server.connect();
            running.begin("/later");
            let mut waiting = server.connect();
            assert_eq!(waiting.get("/now").text(), "now");
            assert_eq!(client.get("/take").text(), "taken", "{protocol}");
            server.pass(LOOK_MS);
            assert_eq!(client.get("/now").status, 503, "{protocol}");
            assert_eq!(waiting.get("/now").status, 503, "also on a connection that was there before");
            assert!(waiting.is_over());
            assert_eq!(running.answer(false).text(), "later", "what runs goes on");
            server.pass(LOOK_MS);
            assert_eq!(server.connect_http2().get("/now").status, 503, "it does not end by itself");
            kept().clear();
            server.pass(LOOK_MS);
            assert_eq!(server.connect().get("/now").status, 200, "{protocol}");
            assert_eq!(server.connect_http2().get("/now").status, 200, "{protocol}");
        }
        assert_eq!(server.count("sheddings"), 2);
    }
}

#[test]
fn memory_that_the_allocator_keeps_does_not_keep_the_gateway_shut() {
    let _alone = alone();
    for driver in drivers() {
        eprintln!("on {driver:?}");
        let server = narrow(Ground::Kernel(driver));
        assert_eq!(server.connect().get("/scatter").text(), "scattered");
        server.pass(LOOK_MS);
        assert_eq!(server.connect().get("/now").status, 503);
        // One of a hundred stays where it is, so that no end of a heap is free.
        let mut number = 0;
        kept().retain(|_| {
            number += 1;
            number % 100 == 0
        });
        server.until("room", || {
            server.pass(50);
            server.connect().get("/now").status == 200
        });
        kept().clear();
    }
}

#[test]
fn the_default_is_below_what_this_machine_allows() {
    let _alone = alone();
    on_every_driver_with(app, |_| {}, |server| assert_eq!(server.connect().get("/now").text(), "now"));
}
