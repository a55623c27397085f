//! Hundreds of exchanges of every kind, good and bad ends: what the process holds stays what it was. One test only,
//! since the allocator counts the whole process.

use http::{HeaderMap, HeaderName, HeaderValue};
use ringgate::{
    App, BodyError, Chunk, Core, Request, Response, blocking, get, post,
    websocket::{DeflateConfig, SocketError, WebSocket, websocket},
};
use ringgate_tests::{
    gateway::{Asked, Ground, Server, Wire, drivers},
    websocket::{PROTOCOLS, close, frame, text},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    cell::Cell,
    io::Read,
    panic,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Times that each kind of exchange is had.
const TIMES: usize = 200;
/// The same for WebSockets, of which there are more kinds.
const SOCKETS: usize = 50;
/// What each of them may leave behind on average: the smallest piece of memory is more.
const BYTES_MAX: usize = 12;
/// Times that it is tried again while memory grows: a pool grows whenever more clients meet than ever before, which is a
/// matter of luck and comes to an end; a leak grows each time.
const TRIES: usize = 12;

fn held() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

async fn channel(request: Request) -> Response {
    let (mut sender, response) = Response::channel();
    let handle = request.handle().clone();
    let is_broken = request.query_value("broken").is_some();
    let push = async move {
        for _ in 0..3 {
            let _ = sender.send(vec![b'p'; 6_000]).await;
        }
        if !is_broken {
            let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("4"))]);
            let _ = sender.finish_with(trailers).await;
        }
    };
    handle.spawn("push", push).detach();
    response
}

struct Endless;

impl futures_core::Stream for Endless {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Ok(vec![b'e'; 8_000].into())))
    }
}

async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv().await {
        socket.send(message?).await?;
    }
    Ok(())
}

static ROOMS: AtomicUsize = AtomicUsize::new(0);

/// Both halves and a subscription in tasks of their own, the request kept.
async fn halves(mut socket: WebSocket) {
    let request = socket.take_request();
    let core = socket.core().clone();
    // A topic that nobody else will ever ask for.
    let room = core.topic(&format!("room {}", ROOMS.fetch_add(1, SeqCst)));
    let here = room.subscribe(&socket);
    let (mut sender, mut receiver) = socket.split();
    let speak = async move {
        let _ = sender.send("hello").await;
        drop((here, request));
        std::future::pending::<()>().await;
    };
    let task = core.handle().spawn("speak", speak);
    while let Some(Ok(message)) = receiver.recv().await {
        room.publish(message).await;
    }
    drop(task);
}

fn echo_blocking(socket: blocking::WebSocket) {
    let room = socket.core().topic("room");
    let _here = room.subscribe(&socket);
    let (mut sender, receiver) = socket.split();
    for message in receiver {
        let Ok(message) = message else { return };
        if sender.send(message).is_err() {
            return;
        }
    }
}

fn app(_: &Core) -> App {
    let inner = App::new()
        .route("/user/{id}", |request: &Request| {
            request.set_value(7_u64);
            request.early_hints([HeaderValue::from_static("</style.css>; rel=preload")]);
            format!("{:?} {:?}", request.param("id"), request.value::<u64>())
        })
        .around(async |request: Request, next: ringgate::Next| next.run(request).await);
    App::new()
        .mount("/inner", inner)
        .state(Rc::new(Cell::new(0)))
        .route("/leak", |_: &Request| {
            Box::leak(Box::new(0_u128));
            "leaked"
        })
        .route("/now", |_: &Request| "now")
        .route("/later", async |request: Request| {
            request.handle().sleep(Duration::from_micros(10)).await;
            "later"
        })
        .route("/forever", async |request: Request| {
            let _kept = request;
            std::future::pending::<&'static str>().await
        })
        .route("/thread", |_: blocking::Request| "thread")
        .route("/ignore", post(|_: &Request| "ignored"))
        .route("/collect", post(async |mut request: Request| request.body_mut().collect().await))
        .route("/echo", post(async |request: Request| Response::stream(request.into_body())))
        .route(
            "/collect-thread",
            post(|mut request: blocking::Request| {
                let mut bytes = Vec::new();
                request.body_mut().read_to_end(&mut bytes).map(|_| bytes)
            }),
        )
        .route("/channel", channel)
        .route("/endless", |_: &Request| Response::stream(Endless))
        .route("/writer", |_: &Request| Response::writer(|out| out.write_all(&[b'w'; 40_000])))
        .route("/endless-writer", |_: &Request| {
            Response::writer(|out| {
                loop {
                    out.write_all(&[b'w'; 8_000])?;
                }
            })
        })
        .route("/big", |_: &Request| Response::bytes(vec![b'b'; 100_000]))
        .route("/panic", |_: &Request| -> &'static str { panic!("on purpose") })
        .route("/panic-later", async |request: Request| -> &'static str {
            request.handle().sleep(Duration::from_micros(10)).await;
            panic!("on purpose")
        })
        .route("/panic-thread", |_: blocking::Request| -> &'static str { panic!("on purpose") })
        .route("/ws", echo)
        .route("/ws-deflate", get(websocket(echo).deflate(DeflateConfig::default())))
        .route("/ws-halves", halves)
        .route("/ws-thread", echo_blocking)
        .route("/ws-panic", async |mut socket: WebSocket| {
            assert!(socket.recv().await.is_none(), "on purpose");
        })
}

/// Nobody is connected any more, and what ended has let go.
fn settled(server: &Server) -> usize {
    server.await_count("connections_open", 0);
    let (begun, mut least) = (Instant::now(), held());
    // Threads of the crew put away what they had a moment later.
    while begun.elapsed() < Duration::from_millis(30) {
        thread::sleep(Duration::from_millis(5));
        least = least.min(held());
    }
    least
}

/// The least that so many exchanges leave behind. Pools may still grow to the size that suits them; what leaks grows each
/// time.
fn growth(server: &Server, times: usize, mut exchanges: impl FnMut(&Server, usize)) -> usize {
    exchanges(server, times / 4);
    let mut least = usize::MAX;
    for _ in 0..TRIES {
        let before = settled(server);
        exchanges(server, times);
        least = least.min(settled(server).saturating_sub(before));
        if least <= BYTES_MAX * times {
            break;
        }
    }
    least
}

fn flat(server: &Server, name: &str, exchanges: impl FnMut(&Server, usize)) {
    flat_after(server, TIMES, name, exchanges);
}

fn flat_after(server: &Server, times: usize, name: &str, exchanges: impl FnMut(&Server, usize)) {
    let grown = growth(server, times, exchanges);
    assert!(grown <= BYTES_MAX * times, "{name}: {times} of them leave {grown} bytes behind");
}

#[test]
fn what_is_held_stays_what_it_was() {
    // A thousand panics on purpose say nothing; those of the test say where.
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some("on purpose") {
            told(info);
        }
    }));
    for driver in drivers() {
        eprintln!("{driver:?}");
        let server = Server::start(Ground::Kernel(driver), app);
        for times in [TIMES, SOCKETS] {
            let leaking = growth(&server, times, |server, times| {
                let mut client = server.connect();
                (0..times).for_each(|_| assert_eq!(client.get("/leak").status, 200));
            });
            assert!(leaking > BYTES_MAX * times, "the smallest leak is seen");
        }
        everything(&server);
    }
}

fn everything(server: &Server) {
    let answered = [
        ("/now", 200),
        ("/later", 200),
        ("/thread", 200),
        ("/inner/user/seven", 200),
        ("/nowhere", 404),
        ("/channel", 200),
        ("/writer", 200),
        ("/big", 200),
        ("/panic", 500),
        ("/panic-later", 500),
        ("/panic-thread", 500),
    ];
    for (place, protocol) in PROTOCOLS.into_iter().enumerate() {
        for (path, status) in answered {
            flat(server, &format!("{path} over {protocol}"), |server, times| {
                let (protocol, mut client) = server.tongues().into_iter().nth(place).unwrap();
                for _ in 0..times {
                    assert_eq!(client.get(path).status, status, "{protocol} {path}");
                }
            });
        }
        for path in ["/ignore", "/collect", "/echo", "/collect-thread"] {
            flat(server, &format!("{path} over {protocol}"), |server, times| {
                let (protocol, mut client) = server.tongues().into_iter().nth(place).unwrap();
                let head = format!("POST {path} HTTP/1.1");
                let body = Some(&[b'b'; 5_000][..]);
                for time in 0..times {
                    let trailers = if time % 2 == 0 { &[("x-sum", "4")][..] } else { &[] };
                    let asked = Asked { head: &head, body, trailers, ..Asked::default() };
                    assert_eq!(client.exchange(&asked).1.status, 200, "{protocol} {path}");
                }
            });
        }
    }
    left_alone(server);
    sockets(server);
}

/// Clients that leave in the middle.
fn left_alone(server: &Server) {
    for path in ["/forever", "/endless", "/endless-writer", "/channel?broken", "/now"] {
        flat(server, &format!("{path} and away"), |server, times| {
            for _ in 0..times {
                let mut client = server.connect();
                client.begin(path);
                if path != "/forever" {
                    client.wire.hear();
                }
            }
            server.await_count("connections_open", 0);
        });
        flat(server, &format!("{path} and away over HTTP/2"), |server, times| {
            for _ in 0..times / 10 {
                let mut client = server.connect_http2();
                let ids: Vec<u32> = (0..10).map(|_| client.begin(path)).collect();
                client.round_trip();
                ids.iter().step_by(5).for_each(|id| client.reset(*id, 8));
                client.round_trip();
            }
            server.await_count("connections_open", 0);
        });
    }
    for path in ["/collect", "/echo", "/collect-thread", "/ignore"] {
        flat(server, &format!("{path} and away"), |server, times| {
            for _ in 0..times {
                let mut client = server.connect();
                client.wire.say(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\nabc").as_bytes());
            }
            server.await_count("connections_open", 0);
        });
        flat(server, &format!("{path} and away over HTTP/2"), |server, times| {
            for _ in 0..times / 10 {
                let mut client = server.connect_http2();
                for _ in 0..10 {
                    let id = client.open(&format!("POST {path} HTTP/2"), false);
                    client.send(id, b"abc", false);
                }
                client.round_trip();
            }
            server.await_count("connections_open", 0);
        });
    }
}

fn sockets(server: &Server) {
    for protocol in PROTOCOLS {
        for path in ["/ws", "/ws-deflate", "/ws-halves", "/ws-thread", "/ws-panic"] {
            // A Close, an end without one, and a broken rule.
            for end in [close(1000), Vec::new(), frame(0x83, b"")] {
                flat_after(server, SOCKETS, &format!("{path} over {protocol}"), |server, times| {
                    for _ in 0..times {
                        let fields = "sec-websocket-extensions: permessage-deflate\r\n";
                        let mut client = server.websocket(protocol, path, fields);
                        client.wire.say(&text("a message that goes there and back again"));
                        if path != "/ws-panic" {
                            client.frame();
                        }
                        client.wire.say(&end);
                        if !end.is_empty() {
                            client.frame();
                        }
                    }
                    server.await_count("connections_open", 0);
                });
            }
        }
    }
}
