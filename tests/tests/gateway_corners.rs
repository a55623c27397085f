//! Corners: what a handler gets wrong, bodies that nobody asks for, times that must not be the peer's fault.

use futures_core::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ringgate::{App, BodyError, Core, Middleware, Request, Response, blocking, post, websocket::WebSocket};
use ringgate_tests::gateway::{
    Asked, Ground, Server, Wire, drivers, http2::code, in_every_world, on_every_driver, on_every_kernel_driver, seeds,
};
use std::{
    io::{ErrorKind, Read, Write},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Takes half a minute before it asks for the body.
async fn patient(mut request: Request) -> Result<String, BodyError> {
    request.handle().sleep(Duration::from_secs(30)).await;
    let body = request.body_mut().collect().await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Speaks for half a minute, and wants no body.
async fn ticks(request: Request) -> Response {
    let (mut sender, response) = Response::channel();
    let handle = request.handle().clone();
    drop(request);
    let speak = {
        let handle = handle.clone();
        async move {
            for tick in 0..30 {
                sender.send(format!("{tick}\n")).await.unwrap();
                handle.sleep(Duration::from_secs(1)).await;
            }
            sender.finish();
        }
    };
    handle.spawn("ticks", speak).detach();
    response
}

/// `bytes` in one piece, pushed.
fn pushed(request: &Request, bytes: &'static str) -> Response {
    let (mut sender, response) = Response::channel();
    let push = async move {
        let _ = sender.send(bytes).await;
        sender.finish();
    };
    request.handle().spawn("push", push).detach();
    response
}

/// A body in one piece, of which only the wire knows the length.
struct Whole(Option<Vec<u8>>);

impl Stream for Whole {
    type Item = Result<Vec<u8>, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

/// Reads until it is told twice that the body is too large.
fn read_on(mut request: blocking::Request) -> String {
    let body = request.body_mut();
    let first = std::io::copy(body, &mut std::io::sink()).map_err(|error| error.kind());
    let second = body.read(&mut [0; 10]).map_err(|error| error.kind());
    format!("{first:?} {second:?} {:?}", body.next().map(|next| next.map(|bytes| bytes.len())))
}

fn app(_: &Core) -> App {
    App::new()
        .route("/now", |_: &Request| "now")
        .route("/patient", post(patient))
        .route("/ticks", post(ticks))
        .route("/ignored", post(|_: &Request| "ignored"))
        .route("/framed", |_: &Request| {
            Response::text("four").header("transfer-encoding", "chunked").header("content-length", "4")
        })
        .route("/dated", |_: &Request| Response::text("now").header("date", "its own").header("server", "its own"))
        .route("/misframed", |_: &Request| Response::text("four").header("content-length", "40"))
        .route("/empty", |_: &Request| Response::new(StatusCode::OK))
        .route("/empty-claimed", |request: &Request| {
            let status = request.query_value("status").map_or(200, |status| status.parse().unwrap());
            Response::new(StatusCode::from_u16(status).unwrap()).header("content-length", "5")
        })
        .route("/misnumbered", |request: &Request| pushed(request, "four").header("content-length", "four"))
        .route("/framed-stream", |request: &Request| {
            pushed(request, "four").header("transfer-encoding", "chunked").header("connection", "keep-alive")
        })
        .route("/broken", async |request: Request| {
            let (mut sender, response) = Response::channel();
            let handle = request.handle().clone();
            let speak = async move {
                let _ = sender.send("half").await;
                handle.sleep(Duration::from_millis(100)).await;
            };
            request.handle().spawn("speak", speak).detach();
            response
        })
        .route("/unending", |request: &Request| {
            let (mut sender, response) = Response::channel();
            let speak = async move {
                let _ = sender.send("half").await;
                std::future::pending::<()>().await;
            };
            request.handle().spawn("speak", speak).detach();
            response
        })
        .route("/much", |_: &Request| Response::stream(Whole(Some(vec![b'm'; 20_000_000]))))
        .route("/claimed", |request: &Request| pushed(request, "four").header("content-length", "4"))
        .route("/overclaimed", |request: &Request| pushed(request, "four").header("content-length", "40"))
        .route("/status/{code}", |request: &Request| {
            let code = request.param("code").unwrap().parse().unwrap();
            Response::text("content").status(StatusCode::from_u16(code).unwrap())
        })
        .route("/stream-status/{code}", |request: &Request| {
            let code = request.param("code").unwrap().parse().unwrap();
            pushed(request, "content").status(StatusCode::from_u16(code).unwrap())
        })
        .route("/informal", |_: &Request| Response::new(StatusCode::EARLY_HINTS))
        .route("/trailers", |request: &Request| {
            let fields = [("content-length", "9"), ("x-sum", "4"), ("set-cookie", "a=b"), ("host", "evil")];
            let fields = fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            pushed(request, "four").trailers(HeaderMap::from_iter(fields))
        })
        .route("/{{literal}}/{id}", |request: &Request| format!("{:?}", request.param("id")))
        .route("/read-on", post(read_on))
        .mount("/un", App::new().route("/switched", async |_: WebSocket| ()).wrap(Unswitched))
}

/// Takes away what a switch of protocols needs.
struct Unswitched;

impl Middleware for Unswitched {
    fn after(&self, _: &Request, response: &mut Response) {
        response.remove(&header::UPGRADE);
    }
}

#[test]
fn a_body_that_was_not_invited_is_not_late() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 65_536,
        |server| {
            let mut client = server.connect();
            client.wire.say(b"POST /patient HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 4\r\n\r\n");
            assert_eq!(client.answer(false).status, 100);
            client.wire.say(b"body");
            assert_eq!(client.answer(false).text(), "body");
            // A response that goes out without it is not cut either.
            client.wire.say(b"POST /ticks HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
            let answer = client.answer(false);
            assert_eq!((answer.status, answer.text().lines().count()), (200, 30));
            assert!(client.is_over(), "nobody knows whether the body would still come");

            let mut client = server.connect_http2();
            let id = client.open("POST /patient HTTP/2\r\nexpect: 100-Continue\r\ncontent-length: 4", false);
            while client.streams[&id].interim.is_empty() {
                assert!(client.listen(), "the invitation comes");
            }
            client.send(id, b"body", true);
            assert_eq!(client.answer(id).text(), "body");
            assert_eq!(server.count("timeouts_body"), 0);
        },
    );
}

#[test]
fn a_connection_whose_body_was_thrown_away_is_idle_like_any_other() {
    in_every_world(
        app,
        |_| {},
        |sim| sim.window_bytes = 65_536,
        |server| {
            let mut client = server.connect();
            client.wire.say(b"POST /ignored HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345");
            assert_eq!(client.answer(false).text(), "ignored");
            server.pass(1_000);
            client.wire.say(b"67890");
            // Longer than a head may take, shorter than the idle time.
            server.pass(30_000);
            assert_eq!(client.get("/now").text(), "now");
            assert_eq!(server.count("timeouts_idle"), 0);
        },
    );
}

#[test]
fn framing_is_the_gateways_business_over_every_protocol() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            for path in ["/framed", "/misframed", "/framed-stream", "/claimed"] {
                let answer = client.get(path);
                assert_eq!((answer.status, answer.text()), (200, "four"), "{protocol} {path}");
                let lengths = answer.fields.iter().filter(|(name, _)| name == "content-length");
                assert!(lengths.clone().count() <= 1 && lengths.clone().all(|(_, value)| value == "4"), "{protocol}");
                assert_eq!(lengths.count() == 1, path != "/framed-stream", "{protocol} {path}");
            }
            assert_eq!(client.get("/informal").status, 500, "{protocol}");
        }
        let mut client = server.connect_http2();
        let id = client.begin("/overclaimed");
        assert_eq!(client.finish(id).reset, Some(code::INTERNAL_ERROR), "a part is not taken for the whole");
        let mut client = server.connect();
        client.begin("/overclaimed");
        let heard = String::from_utf8(client.rest()).unwrap();
        let body = heard.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!("four".starts_with(body), "{heard}");
    });
}

/// RFC 9110 section 8.6: what goes without its body may tell the length that GET would have; nothing else may differ from
/// its body.
#[test]
fn a_length_without_a_body_counts_where_none_belongs_over_every_protocol() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            let mut length = |method: &str, target: &str, status: u16| {
                let answer = client.ask(&format!("{method} {target} HTTP/1.1"));
                assert_eq!((answer.status, answer.body.len()), (status, 0), "{protocol} {method} {target}");
                assert!(answer.fields.iter().filter(|(name, _)| name == "content-length").count() <= 1);
                answer.field("content-length").map(str::to_owned)
            };
            assert_eq!(length("GET", "/empty", 200).as_deref(), Some("0"), "{protocol}");
            assert_eq!(length("GET", "/empty-claimed", 200).as_deref(), Some("0"), "{protocol}");
            assert_eq!(length("HEAD", "/empty-claimed", 200).as_deref(), Some("5"), "{protocol}");
            assert_eq!(length("HEAD", "/empty", 200), None, "{protocol}: it may just not have been made");
            assert_eq!(length("HEAD", "/misframed", 200).as_deref(), Some("4"), "{protocol}");
            for method in ["GET", "HEAD"] {
                assert_eq!(length(method, "/empty-claimed?status=304", 304).as_deref(), Some("5"), "{protocol}");
                assert_eq!(length(method, "/empty-claimed?status=204", 204), None, "{protocol}");
                assert_eq!(length(method, "/status/304", 304).as_deref(), Some("7"), "{protocol}");
            }
            let answer = client.get("/misnumbered");
            assert_eq!((answer.text(), answer.field("content-length")), ("four", None), "{protocol}: no number");
        }
        assert_eq!(server.count("responses_misused"), 0);
    });
}

#[test]
fn what_is_counted_is_what_went_out() {
    on_every_driver(app, |server| {
        let head = "GET /un/switched HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(server.connect().ask(head).status, 500);
        let counts = ["responses_1xx", "responses_5xx", "responses_misused"].map(|name| server.count(name));
        assert_eq!(counts, [0, 1, 1], "not the 101 that it has replaced");
    });
}

#[test]
fn a_status_without_content_has_none_over_every_protocol() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            for path in ["/status", "/stream-status"] {
                for status in [204, 205, 304] {
                    let answer = client.get(&format!("{path}/{status}"));
                    assert_eq!((answer.status, answer.body.len()), (status, 0), "{protocol} {path}");
                }
            }
            assert_eq!(client.get("/now").text(), "now", "{protocol}");
        }
        assert_eq!(server.count("responses_misused"), 0);
    });
}

#[test]
fn s_14_names_that_may_not_be_trailers_do_not_go_out_over_any_protocol() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            let head = "GET /trailers HTTP/1.1\r\nte: trailers\r\nconnection: te";
            let answer = client.exchange(&Asked { head, ..Asked::default() }).1;
            assert_eq!(answer.trailers, [("x-sum".to_owned(), "4".to_owned())], "{protocol}");
        }
    });
}

#[test]
fn braces_that_are_meant_literally_are_no_parameters() {
    on_every_driver(app, |server| {
        assert_eq!(server.connect().get("/{literal}/seven").text(), "Some(\"seven\")");
    });
}

#[test]
fn an_error_of_a_body_is_final_on_a_thread_too() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            let answer = client.post_streamed("/read-on", &vec![b'x'; 1_100_000]);
            let error = "Err(FileTooLarge)";
            assert_eq!(answer.text(), format!("{error} {error} Some(Err(TooLarge))"), "{protocol}");
        }
    });
}

#[test]
fn fields_that_are_the_gateways_are_sent_once_and_not_the_handlers() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            for path in ["/now", "/dated"] {
                let answer = client.get(path);
                for name in ["date", "server"] {
                    let values: Vec<_> = answer.fields.iter().filter(|(known, _)| known == name).collect();
                    assert!(values.len() == 1 && values[0].1 != "its own", "{protocol} {path}: {values:?}");
                }
            }
        }
    });
}

/// HTTP/1.0 knows no end of a body but that of the connection.
#[test]
fn a_part_is_not_taken_for_the_whole_where_the_connection_ends_the_body() {
    on_every_kernel_driver(app, |server| {
        let heard = |path: &str| {
            let mut socket = server.socket();
            write!(socket, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
            let mut heard = String::new();
            let read = socket.read_to_string(&mut heard).map_err(|error| error.kind());
            (read.map(|_| ()), heard)
        };
        let (read, whole) = heard("/framed-stream");
        assert!(read == Ok(()) && whole.ends_with("\r\n\r\nfour"), "{read:?} {whole}");
        assert_eq!(heard("/broken").0, Err(ErrorKind::ConnectionReset));
    });
}

/// The same when it is the deadline of a drain that ends the connection: with more to come, or with the last piece made
/// and not yet taken.
#[test]
fn a_part_is_not_taken_for_the_whole_after_a_cut() {
    for driver in drivers() {
        for path in ["/unending", "/much"] {
            let server = Server::start(Ground::Kernel(driver), app);
            let mut socket = server.socket();
            write!(socket, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
            let mut heard = vec![0; 20];
            socket.read_exact(&mut heard).unwrap();
            server.pass(100);
            assert_eq!(server.stop(Duration::from_millis(100)).report().cut, 1);
            let read = socket.read_to_end(&mut heard).map_err(|error| error.kind());
            assert_eq!(read, Err(ErrorKind::ConnectionReset), "{driver:?} {path}: {} bytes", heard.len());
        }
    }
    for seed in seeds(1) {
        for path in ["/unending", "/much"] {
            let server = Server::start(Ground::Sim(seed), app);
            let mut wire = server.world().connect();
            wire.say(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
            assert!(!wire.hear().is_empty());
            server.pass(100);
            let world = server.world().clone();
            assert_eq!(server.stop(Duration::from_millis(100)).report().cut, 1);
            world.pass(Duration::from_secs(1));
            assert!(wire.peer.is_reset(), "seed {seed} {path}");
        }
    }
}

/// And when the peer takes too long over the last of it.
#[test]
fn a_part_is_not_taken_for_the_whole_by_who_is_too_slow() {
    in_every_world(
        app,
        |_| {},
        |_| {},
        |server| {
            let mut wire = server.world().connect();
            wire.say(b"GET /much HTTP/1.0\r\n\r\n");
            server.pass(86_400_000);
            assert_eq!(server.count("timeouts_send"), 1);
            assert!(wire.peer.is_reset());
        },
    );
}
