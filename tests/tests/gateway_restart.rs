//! Many gateways in one process, one after the other: nothing is left of any of them. Alone in its process, whose
//! descriptors and threads it counts.

use ringgate::{App, Config, Core, Gateway, Request, blocking, websocket::WebSocket};
use ringgate_runtime::{net::Address, sys::placement::Placement};
use ringgate_tests::gateway::drivers;
use std::{
    future::pending,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

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
        .route("/forever", async |_: Request| pending::<&'static str>().await)
        .route("/beside", |request: blocking::Request| request.core().index().to_string())
        .route("/held", |request: blocking::Request| {
            while !request.is_disconnected() {
                std::thread::sleep(Duration::from_millis(1));
            }
            "held"
        })
        .route("/ws", async |socket: WebSocket| {
            let _here = socket.core().topic("all").subscribe(&socket);
            pending::<()>().await;
        })
        .route("/ws-thread", |socket: blocking::WebSocket| socket.for_each(drop))
}

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

/// What the process has open, when that has come to rest.
fn held() -> (usize, usize) {
    let begun = Instant::now();
    loop {
        let held = (count("fd"), count("task"));
        std::thread::sleep(Duration::from_millis(30));
        if held == (count("fd"), count("task")) || begun.elapsed() > Duration::from_secs(5) {
            return held;
        }
    }
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
                client.read_exact(&mut [0; 12]).unwrap();
                client
            };
            let mut answered = [ask("/now"), ask("/beside")];
            answered.iter_mut().for_each(|client| client.read_exact(&mut [0; 12]).unwrap());
            // In every state, as the gateway ends: nothing said, a part of a head, at a handler, at a thread, open.
            let clients = [connect(), ask("/forever"), ask("/held"), open("/ws"), open("/ws-thread")];
            let mut begun = connect();
            begun.write_all(b"GET /now HT").unwrap();
            if deadline.is_zero() {
                drop(gateway);
            } else {
                gateway.stop(deadline).unwrap();
            }
            drop((answered, clients, begun));
        };
        once(Duration::from_millis(50));
        let before = held();
        for round in 0..10 {
            once(Duration::from_millis(if round % 2 == 0 { 0 } else { 30 }));
        }
        let after = held();
        assert_eq!(before, after, "{driver:?}: descriptors and threads");
        assert!(!path.exists());
    }
}
