//! A head of HTTP/2 is kept in one of several forms: decoded for a handler that answers at once, packed for one that takes
//! its time, copied for a thread. All of them read the same.

use ringgate::{App, Core, Next, Request, blocking};
use ringgate_tests::gateway::on_every_driver;
use std::fmt::Write;

/// Everything that can be asked of a request's head, in both worlds.
macro_rules! told {
    ($request:expr) => {{
        let request = $request;
        let mut told = String::new();
        let _ = write!(told, "{} {} {:?}", request.method(), request.target(), request.protocol());
        let _ = write!(told, " path {} query {:?}", request.path(), request.query());
        let _ = write!(told, " x {:?} authority {}", request.query_value("x"), request.authority());
        let _ = write!(told, " route {:?} id {:?}", request.route().map(|route| route.len()), request.param("id"));
        let _ = write!(told, " cookie {:?}", request.header("Cookie").map(String::from_utf8_lossy));
        let _ = write!(told, " none {:?} other {:?}", request.header("none"), request.header_str("x-other"));
        for (name, value) in request.headers().iter().filter(|(name, _)| *name != "x-kind") {
            let _ = write!(told, " {name}: {value:?}");
        }
        told
    }};
}

fn app(_: &Core) -> App {
    let around = async |request: Request, next: Next| next.run(request).await;
    let wrapped = App::new().route("/{id}", |request: &Request| told!(request)).around(around);
    let wrapped_blocking = App::new().route("/{id}", |request: blocking::Request| told!(&request)).around(around);
    App::new()
        .route("/i/{id}", |request: &Request| told!(request))
        .route("/a/{id}", async |request: Request| {
            request.handle().sleep(std::time::Duration::from_millis(1)).await;
            told!(&request)
        })
        .route("/b/{id}", |request: blocking::Request| told!(&request))
        .mount("/w", wrapped)
        .mount("/v", wrapped_blocking)
}

#[test]
fn a_head_reads_the_same_in_every_form() {
    let large = "v".repeat(9_000);
    let many: Vec<(String, String)> = (0..90).map(|number| (format!("x-{number}"), number.to_string())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let heads: [&[(&str, &str)]; 6] = [
        &[],
        &[("accept", "*/*"), ("x-other", ""), ("x-other", "second")],
        &[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("x-other", "o"), ("cookie", "c=3")],
        &[("x-other", "o"), ("cookie", "a=1"), ("cookie", "b=2")],
        &[("x-large", &large)],
        &many,
    ];
    on_every_driver(app, |server| {
        let mut client = server.connect_http2();
        for method in ["GET", "DELETE", "PROPFIND"] {
            for target in ["%41b", "9?", "9?x=%2f+y&x=2", "a-long-one-that-ends?y"] {
                for head in heads {
                    let mut ask = |kind: &str| {
                        let path = format!("/{kind}/{target}");
                        let fields =
                            [(":method", method), (":scheme", "http"), (":authority", "a:1"), (":path", &path)];
                        let id = client.open_fields(&[&fields[..], head].concat(), true);
                        let answer = client.answer(id);
                        assert_eq!(answer.status, 200, "{method} {path}");
                        answer.text().replace(&format!("/{kind}/"), "/*/")
                    };
                    let inline = ask("i");
                    assert!(method != "GET" || inline.contains("id Some"), "{inline}");
                    for kind in ["a", "b", "w", "v"] {
                        assert_eq!(ask(kind), inline, "{kind}");
                    }
                }
            }
        }
    });
}
