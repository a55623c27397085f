//! Many gateways in one process, one after the other: nothing is left of any of them. Alone in its process, whose
//! descriptors and threads it counts.

use ringgate::{App, Config, Core, Gateway, Request, blocking, websocket::WebSocket};
use ringgate_runtime::{net::Address, sys::placement::Placement};
use ringgate_tests::gateway::drivers;
use std::{
    future::pending,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// Handlers that have begun and do not end by themselves.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// State that holds its own core.
struct Keeper(Core);

fn app(core: &Core) -> App {
    let handle = core.handle().clone();
    let background = {
        let handle = handle.clone();
        async move {
            loop {
                handle.sleep(Duration::from_secs(1)).await;
            }
        }
    };
    handle.spawn("background", background).detach();
    App::new()
        .state(Keeper(core.clone()))
        .route("/now", |request: &Request| request.state::<Keeper>().0.index().to_string())
        .route("/forever", async |_: Request| {
            BEGUN.fetch_add(1, SeqCst);
            pending::<&'static str>().await
        })
        .route("/beside", |request: blocking::Request| request.core().index().to_string())
        .route("/held", |request: blocking::Request| {
            BEGUN.fetch_add(1, SeqCst);
            while !request.is_disconnected() {
                std::thread::sleep(Duration::from_millis(1));
            }
            "held"
        })
        .route("/ws", async |socket: WebSocket| {
            let _here = socket.core().topic("all").subscribe(&socket);
            BEGUN.fetch_add(1, SeqCst);
            pending::<()>().await;
        })
        .route("/ws-thread", |socket: blocking::WebSocket| {
            BEGUN.fetch_add(1, SeqCst);
            socket.for_each(drop);
        })
}

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

/// Descriptors and threads of the process.
fn held() -> (usize, usize) {
    (count("fd"), count("task"))
}

/// Waits until it is so, for ten seconds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} has not come in ten seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reads the beginning of a response.
fn starts(client: &mut TcpStream, expected: &str) {
    let mut start = vec![0; expected.len()];
    client.read_exact(&mut start).unwrap();
    assert_eq!(String::from_utf8_lossy(&start), expected);
}

#[test]
fn nothing_is_left_of_a_gateway_that_has_ended() {
    let mut config = Config::default();
    config.limits.blocking_threads_max = 8;
    for driver in drivers() {
        let path = std::env::temp_dir().join(format!("ringgate-restart-{}.sock", std::process::id()));
        let once = |deadline: Duration| {
            let gateway = Gateway::builder(app)
                .listen("127.0.0.1:0".parse().unwrap())
                .listen(Address::Unix(path.clone()))
                .cores(Placement::Unpinned { count: 2 })
                .limits(config.limits.clone())
                .driver(driver)
                .start()
                .unwrap();
            let connect = || TcpStream::connect(gateway.addresses()[0].to_string()).unwrap();
            let ask = |target: &str| {
                let mut client = connect();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                write!(client, "GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                client
            };
            let open = |target: &str| {
                let mut client = connect();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13";
                write!(
                    client,
                    "GET {target} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n{key}\r\n\r\n"
                )
                .unwrap();
                starts(&mut client, "HTTP/1.1 101");
                client
            };
            let mut answered = [ask("/now"), ask("/beside")];
            answered.iter_mut().for_each(|client| starts(client, "HTTP/1.1 200"));
            let before = BEGUN.load(SeqCst);
            // In every state, as the gateway ends: nothing said, a part of a head, at a handler, at a thread, open.
            let clients = [connect(), ask("/forever"), ask("/held"), open("/ws"), open("/ws-thread")];
            let mut begun = connect();
            begun.write_all(b"GET /now HT").unwrap();
            until("the handlers", || BEGUN.load(SeqCst) == before + 4);
            if deadline.is_zero() {
                drop(gateway);
            } else {
                gateway.stop(deadline).unwrap();
            }
            drop((answered, clients, begun));
        };
        // Before there was any; a thread that has done its work may take its time to go.
        let before = held();
        for round in 0..10 {
            once(Duration::from_millis(if round % 2 == 0 { 0 } else { 30 }));
        }
        until(&format!("the return of descriptors and threads to {before:?} on {driver:?}"), || held() == before);
        assert!(!path.exists());
    }
}
