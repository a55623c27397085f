//! The opening handshake: who gets a socket, who a refusal, and what follows it.

use http::StatusCode;
use ringgate::{
    App, Core, Request, Response, get,
    websocket::{DeflateConfig, Origins, WebSocket, websocket},
};
use ringgate_tests::{
    gateway::{Wire, on_every_driver},
    websocket::{KEY, close, frames, opening, text},
};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Says what was agreed on, and where it was asked.
async fn agreed(mut socket: WebSocket) {
    let path = socket.request().map(|request| request.target().to_owned()).unwrap_or_default();
    let line = format!("{path} {} {:?} {}", socket.protocol(), socket.subprotocol(), socket.is_deflated());
    let _ = socket.send(line).await;
}

/// Keeps its request.
async fn keeps(mut socket: WebSocket) {
    let request = socket.take_request().unwrap();
    let Some(Ok(_)) = socket.recv().await else { return };
    let _ = socket.send(request.header_str("x-name").unwrap_or("?")).await;
}

fn page(request: &Request) -> Response {
    Response::html(format!("page {}", request.features().websocket))
}

struct Marked;

impl ringgate::Middleware for Marked {
    fn before(&self, request: &Request) -> Option<Response> {
        (request.header("x-refuse").is_some()).then(|| Response::new(StatusCode::FORBIDDEN))
    }

    fn after(&self, _: &Request, response: &mut Response) {
        response.append(http::HeaderName::from_static("x-marked"), http::HeaderValue::from_static("yes"));
    }
}

async fn around(request: Request, next: ringgate::Next) -> Response {
    request.handle().yield_now().await;
    next.run(request).await
}

fn app(_: &Core) -> App {
    let some = websocket(agreed).subprotocols(["v2", "v1"]).deflate(DeflateConfig::default());
    let listed = Origins::Listed(vec!["https://app.example.org".to_owned()]);
    App::new()
        .route("/ws", echo)
        .route("/agreed", get(some))
        .route("/listed", get(websocket(echo).origins(listed)))
        .route("/any", get(websocket(echo).origins(Origins::Any)))
        .route("/page", get(websocket(echo).otherwise(page)))
        .route("/keeps", keeps)
        .route("/features", |request: &Request| request.features().websocket.to_string())
        .mount("/around", App::new().route("/ws", echo).around(around).wrap(Marked))
}

#[test]
fn what_is_no_proper_handshake_is_refused_and_the_connection_lives_on() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        let refused = client.get("/ws");
        assert_eq!(refused.status, 426);
        assert_eq!(refused.field("upgrade"), Some("websocket"));
        assert_eq!(refused.field("connection"), Some("upgrade"));
        assert_eq!(refused.field("sec-websocket-version"), Some("13"));

        // W-16: a wrong version opens no tunnel; what follows is HTTP.
        client.wire.say(opening("/ws", "").replace(": 13", ": 8").as_bytes());
        let refused = client.answer(false);
        assert_eq!((refused.status, refused.field("sec-websocket-version")), (426, Some("13")));
        for wrong in [
            opening("/ws", "").replace(KEY, "dG9vIHNob3J0"),
            opening("/ws", "").replace(&format!("sec-websocket-key: {KEY}\r\n"), ""),
            opening("/ws", &format!("sec-websocket-key: {KEY}\r\n")),
            opening("/ws", "").replace("GET", "PUT"),
            opening("/ws", "origin: http://a\r\norigin: http://a\r\n"),
            opening("/ws", "content-length: 3\r\n") + "abc",
            opening("/ws", "sec-websocket-protocol: two words\r\n"),
            opening("/agreed", "sec-websocket-extensions: permessage-deflate;\r\n"),
        ] {
            client.wire.say(wrong.as_bytes());
            let status = client.answer(false).status;
            assert!(matches!(status, 400 | 403), "{status} for {wrong}");
        }
        assert_eq!(client.get("/features").text(), "false");
        assert_eq!(server.count("websockets_opened"), 0);
        client.open("/ws");
        client.wire.say(&text("after all"));
        assert_eq!(client.text(), "after all");
    });
}

/// W-15.
#[test]
fn pages_of_other_hosts_are_refused_unless_they_are_listed() {
    on_every_driver(app, |server| {
        for (path, origin, status) in [
            ("/ws", "http://test", 101),
            ("/ws", "http://test.attacker.example", 403),
            ("/ws", "https://app.example.org", 403),
            ("/ws", "null", 403),
            ("/listed", "https://app.example.org", 101),
            ("/listed", "http://test", 101),
            ("/listed", "https://example.org", 403),
            ("/any", "https://anywhere.example", 101),
        ] {
            let mut client = server.connect();
            client.wire.say(opening(path, &format!("origin: {origin}\r\n")).as_bytes());
            assert_eq!(client.answer(status == 101).status, status, "{path} from {origin}");
        }
    });
}

#[test]
fn subprotocol_compression_and_request_are_known_to_the_handler() {
    on_every_driver(app, |server| {
        for (fields, protocol, line) in [
            ("", None, "/agreed?a=1 HTTP/1.1 None false"),
            ("sec-websocket-protocol: v0\r\n", None, "/agreed?a=1 HTTP/1.1 None false"),
            ("sec-websocket-protocol: v0, v1, v2\r\n", Some("v1"), "/agreed?a=1 HTTP/1.1 Some(\"v1\") false"),
            ("sec-websocket-extensions: permessage-deflate\r\n", None, "/agreed?a=1 HTTP/1.1 None true"),
            ("sec-websocket-extensions: other\r\n", None, "/agreed?a=1 HTTP/1.1 None false"),
        ] {
            let mut client = server.connect();
            client.wire.say(opening("/agreed?a=1", fields).as_bytes());
            let answer = client.answer(true);
            assert_eq!((answer.status, answer.field("sec-websocket-protocol")), (101, protocol));
            assert_eq!(client.text(), line);
            client.wire.say(&close(1000));
            assert_eq!(client.closed(), 1000);
        }
        let mut client = server.connect();
        client.open_with("/keeps", "x-name: Ada\r\n");
        client.wire.say(&text("who?"));
        assert_eq!(client.text(), "Ada");
    });
}

#[test]
fn a_page_answers_who_asks_for_none() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        assert_eq!(client.get("/page").text(), "page false");
        client.open("/page");
        client.wire.say(&text("x"));
        assert_eq!(client.text(), "x");
    });
}

#[test]
fn middleware_stands_before_a_socket_too() {
    on_every_driver(app, |server| {
        let mut client = server.connect();
        client.wire.say(opening("/around/ws", "x-refuse: 1\r\n").as_bytes());
        assert_eq!(client.answer(false).status, 403);
        client.wire.say(opening("/around/ws", "").as_bytes());
        let answer = client.answer(true);
        assert_eq!((answer.status, answer.field("x-marked")), (101, Some("yes")));
        client.wire.say(&text("x"));
        assert_eq!(client.text(), "x");
    });
}

/// Bytes sent before the upgrade was accepted belong to the socket, in whatever pieces they come.
#[test]
fn bytes_ahead_of_the_101_are_the_sockets() {
    on_every_driver(app, |server| {
        for path in ["/ws", "/around/ws"] {
            let whole = [opening(path, "").into_bytes(), text("early"), text("bird"), close(1000)].concat();
            for cut in (0..whole.len()).step_by(17) {
                let mut client = server.connect();
                client.wire.say(&whole[..cut]);
                if cut % 2 == 0 {
                    server.pass(1);
                }
                client.wire.say(&whole[cut..]);
                assert_eq!(client.answer(true).status, 101);
                let answers = frames(&client.rest());
                let expected = [(0x81, b"early".to_vec()), (0x81, b"bird".to_vec()), (0x88, vec![3, 232])];
                assert_eq!(answers, expected, "cut at {cut}");
            }
        }
    });
}
