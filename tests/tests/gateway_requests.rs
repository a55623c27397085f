//! Requests and their handlers: routes, methods, middleware, what a request knows.

use http::{HeaderValue, Method, StatusCode};
use ringgate::{
    App, Core, Middleware, Next, Request, Response, any, blocking, get,
    helpers::{
        cookie::{cookies, cookies_blocking},
        form::{FormError, query_blocking},
    },
    post,
};
use ringgate_tests::gateway::{Talk, Wire, on_every_driver};

struct Mark(&'static str);

impl Middleware for Mark {
    fn before(&self, request: &Request) -> Option<Response> {
        request.set_value(self.0);
        (request.header("x-refuse") == Some(self.0.as_bytes())).then(|| Response::new(StatusCode::FORBIDDEN))
    }

    fn after(&self, _: &Request, response: &mut Response) {
        response.append(http::HeaderName::from_static("x-mark"), HeaderValue::from_static(self.0));
    }
}

async fn timed(request: Request, next: Next) -> Response {
    request.handle().sleep(std::time::Duration::from_millis(1)).await;
    next.run(request).await.header("x-around", "yes")
}

fn value(request: &Request) -> String {
    format!("{:?}", request.value::<&'static str>().map(|value| *value))
}

async fn value_async(request: Request) -> String {
    value(&request)
}

fn value_blocking(request: blocking::Request) -> String {
    format!("{:?}", request.value::<&'static str>().map(|value| *value))
}

struct Greeting(&'static str);

fn app(_: &Core) -> App {
    let inner = App::new()
        .route("/", get(|request: &Request| format!("inner {}", request.path())))
        .route("/value", get(value))
        .route("/value-async", get(value_async))
        .route("/value-blocking", get(value_blocking))
        .fallback(|_: &Request| (StatusCode::NOT_FOUND, "inner nothing"))
        .wrap(Mark("inner"));
    App::new()
        .route("/plain", |_: &Request| "plain")
        .route(
            "/methods",
            get(|_: &Request| "got").post(async |_: Request| "posted").on(method("PURGE"), |_: &Request| "purged"),
        )
        .route("/get-only", get(|_: &Request| "got"))
        .route("/any", any(|request: &Request| request.method().to_string()))
        .route("/user/{id}/{*rest}", get(parameters))
        .route("/user/{id}", get(parameters))
        .route("/user/root", get(|_: &Request| "the root"))
        .route("/blocking/{id}", get(|request: blocking::Request| request.param("id").unwrap_or_default().into_owned()))
        .route("/query", get(|request: &Request| format!("{:?} {:?}", request.query(), request.query_value("a b"))))
        .route(
            "/fields",
            get(|request: &Request| format!("{:?}", request.headers().get_all("x-list").iter().collect::<Vec<_>>())),
        )
        .route("/cookies", get(|request: &Request| format!("{:?}", cookies(request).collect::<Vec<_>>())))
        .route("/cookies-blocking", |request: blocking::Request| {
            format!("{:?}", cookies_blocking(&request).collect::<Vec<_>>())
        })
        .route("/query-blocking", |request: blocking::Request| {
            Ok::<_, FormError>(format!("{:?}", query_blocking::<Vec<(String, u32)>>(&request)?))
        })
        .route(
            "/where",
            get(|request: &Request| {
                format!("{} {:?} {}", request.protocol(), request.route(), request.peer_address().is_some())
            }),
        )
        .route("/state", get(|request: &Request| request.state::<Greeting>().0))
        .route("/no-state", get(|request: &Request| request.state::<u32>().to_string()))
        .route(
            "/split",
            get(|_: &Request| {
                Response::text("x").try_header("x", "a\r\nset-cookie: b").map_err(|_| StatusCode::IM_A_TEAPOT)
            }),
        )
        .route("/own-date", get(|_: &Request| Response::text("x").header("date", "never").header("server", "other")))
        .mount("/inner", inner)
        .mount("/around", App::new().route("/inline", get(value)).route("/blocking", get(value_blocking)).around(timed))
        .state(Greeting("good day"))
        .wrap(Mark("outer"))
}

fn method(name: &str) -> Method {
    name.parse().unwrap()
}

fn parameters(request: &Request) -> String {
    format!("{:?} {:?} {:?}", request.param("id"), request.param("rest"), request.param("other"))
}

fn texts(client: &mut dyn Talk, expected: &[(&str, &str)]) {
    for (target, text) in expected {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.text()), (200, *text), "{target}");
    }
}

#[test]
fn routes_find_their_handlers() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            eprintln!("over {protocol}");
            let client = client.as_mut();
            texts(
                client,
                &[
                    ("/plain", "plain"),
                    ("/user/7", "Some(\"7\") None None"),
                    ("/user/a%20b/c/d", "Some(\"a b\") Some(\"c/d\") None"),
                    ("/user/root", "the root"),
                    ("/blocking/5", "5"),
                    ("/query?x=1&a+b=%32", "Some(\"x=1&a+b=%32\") Some(\"2\")"),
                    ("/query", "None None"),
                    ("/inner", "inner /inner"),
                    ("/inner/", "inner /inner/"),
                ],
            );
            assert_eq!(client.get("/nothing").status, 404);
            assert_eq!(client.get("/inner/nothing").text(), "inner nothing");
            assert_eq!(client.get("/innermost").text(), "not found\n");
            assert_eq!(client.get("/where").text(), format!("{protocol} Some(\"/where\") true"));
            if protocol == "HTTP/1.1" {
                assert_eq!(client.get("http://test/plain").text(), "plain");
            }
        }
        assert_eq!(server.count("connections_accepted"), 2, "all of it over one connection each");
    });
}

#[test]
fn h1_17_methods() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            eprintln!("over {protocol}");
            let client = client.as_mut();
            assert_eq!(client.post("/methods", b"").text(), "posted");
            assert_eq!(client.ask("PURGE /methods HTTP/1.1").text(), "purged");
            let head = client.ask("HEAD /methods HTTP/1.1");
            assert_eq!((head.status, head.field("content-length")), (200, Some("3")));
            let refused = client.ask("DELETE /methods HTTP/1.1");
            assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD, POST, OPTIONS, PURGE")));
            let options = client.ask("OPTIONS /get-only HTTP/1.1");
            assert_eq!((options.status, options.field("allow")), (204, Some("GET, HEAD, OPTIONS")));
            assert_eq!(client.ask("BREW /get-only HTTP/1.1").status, 501);
            assert_eq!(client.ask("BREW /any HTTP/1.1").text(), "BREW");
            assert_eq!(client.ask("OPTIONS * HTTP/1.1").status, 204);
            if protocol == "HTTP/1.1" {
                assert_eq!(client.ask("CONNECT test:443 HTTP/1.1").status, 501);
            }
        }
    });
}

#[test]
fn middleware_is_an_onion_and_keeps_the_worlds() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            eprintln!("over {protocol}");
            let client = client.as_mut();
            for target in ["/inner/value", "/inner/value-async", "/inner/value-blocking"] {
                let answer = client.get(target);
                assert_eq!(answer.text(), "Some(\"inner\")", "{target}");
                let marks: Vec<_> =
                    answer.fields.iter().filter(|(name, _)| name == "x-mark").map(|(_, v)| v.as_str()).collect();
                assert_eq!(marks, ["inner", "outer"], "{target}");
            }
            for target in ["/around/inline", "/around/blocking"] {
                let answer = client.get(target);
                assert_eq!((answer.text(), answer.field("x-around")), ("Some(\"outer\")", Some("yes")), "{target}");
            }
            assert_eq!(client.ask("GET /plain HTTP/1.1\r\nx-refuse: outer").status, 403);
            assert_eq!(client.ask("GET /plain HTTP/1.1\r\nx-refuse: inner").status, 200);
            assert_eq!(client.get("/nothing").field("x-mark"), Some("outer"), "hooks see what no route answers");
        }
    });
}

#[test]
fn a_request_knows_its_fields_and_its_state() {
    on_every_driver(app, |server| {
        for (protocol, mut client) in server.tongues() {
            eprintln!("over {protocol}");
            let client = client.as_mut();
            let list = client.ask("GET /fields HTTP/1.1\r\nX-List: a\r\nother: x\r\nx-list:  b ");
            assert_eq!(list.text(), "[\"a\", \"b\"]");
            for path in ["/cookies", "/cookies-blocking"] {
                let cookies = client.ask(&format!("GET {path} HTTP/1.1\r\ncookie: a=1; b=2\r\ncookie: c=3"));
                assert_eq!(cookies.text(), "[(\"a\", \"1\"), (\"b\", \"2\"), (\"c\", \"3\")]", "{path}");
            }
            assert_eq!(client.ask("GET /query-blocking?a+b=1&c=2 HTTP/1.1").text(), "[(\"a b\", 1), (\"c\", 2)]");
            assert_eq!(client.ask("GET /query-blocking?a=b HTTP/1.1").status, 400);
            assert_eq!(client.get("/state").text(), "good day");
            assert_eq!(client.get("/no-state").status, 500);
            assert_eq!(client.get("/split").status, 418);
            let own = client.get("/own-date");
            assert_eq!(own.fields.iter().filter(|(name, _)| name == "date" || name == "server").count(), 2);
            assert_eq!(own.field("server"), Some("ringgate"));
        }
    });
}

#[test]
fn a_head_in_pieces_is_the_same_head() {
    on_every_driver(app, |server| {
        let request =
            b"GET /user/a/b HTTP/1.1\r\nhost: test\r\nx-y: z\r\n\r\nGET /plain HTTP/1.1\r\nhost: test\r\n\r\n";
        for step in [1, 7, 30] {
            let mut client = server.connect();
            for piece in request.chunks(step) {
                client.wire.say(piece);
                if !server.is_sim() {
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            }
            assert_eq!(client.answer(false).text(), "Some(\"a\") Some(\"b\") None");
            assert_eq!(client.answer(false).text(), "plain");
        }
    });
}

#[test]
fn bad_requests_are_answered_once_and_the_connection_ends() {
    on_every_driver(app, |server| {
        for (request, status) in [
            ("GET /plain HTTP/1.1\r\n\r\n", 400),
            ("GET /plain HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
            ("GET /plain HTTP/2.0\r\nhost: a\r\n\r\n", 505),
            ("GET /plain HTTP/1.1\r\nhost: a\r\nexpect: tea\r\n\r\n", 417),
            ("\0\0\0", 400),
        ] {
            let mut client = server.connect();
            client.wire.say(request.as_bytes());
            client.begin("/plain");
            let answer = client.answer(false);
            assert_eq!((answer.status, answer.field("connection")), (status, Some("close")), "{request:?}");
            assert!(client.is_over(), "nothing more after {request:?}");
        }
        let mut client = server.connect();
        client.wire.say(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(9000)).as_bytes());
        assert_eq!(client.answer(false).status, 414);
    });
}

#[test]
fn what_is_not_served_is_refused_in_its_own_tongue() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        client.wire.say(b"\x16\x03\x01\x00\x05hello");
        assert_eq!(client.rest(), b"\x15\x03\x01\0\x02\x02\x28", "a TLS alert");
    });
}

#[test]
fn extension_methods_of_a_post_only_route() {
    on_every_driver(
        |_| App::new().route("/", post(|_: &Request| "")),
        |server| {
            for (protocol, mut client) in server.tongues() {
                assert_eq!(client.ask("HEAD / HTTP/1.1").status, 405, "{protocol}");
                assert_eq!(client.get("/").field("allow"), Some("POST, OPTIONS"), "{protocol}");
            }
        },
    );
}
