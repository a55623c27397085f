//! Is every response framed as RFC 9112 says, and does misuse write nothing? H1-08 to H1-23, E-1 and E-2.

use http::{HeaderName, HeaderValue, StatusCode, header};
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::close::CloseReason;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::encode::{BodyFraming, BodyLength, Opening, ResponseHead};
use ringgate_protocols::http1::error::{Fault, Misuse};
use ringgate_protocols::http1::event::{Event, Then};
use ringgate_protocols::limits::Limits;

type Fields = Vec<(HeaderName, HeaderValue)>;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let line = |&(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    lines.iter().map(line).collect()
}

fn lent(fields: &Fields) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    fields.iter().map(|(name, value)| (name, value))
}

/// A machine that has just read this request.
fn asked(request: &str) -> Connection {
    let (mut connection, mut head) = (Connection::new(), Head::default());
    let request = request.replace('\n', "\r\n");
    let step = connection.handle_input(request.as_bytes(), &mut head, &Limits::default()).unwrap();
    assert!(matches!(step.event, Event::Request(_)));
    connection
}

const GET: &str = "GET / HTTP/1.1\nHost: a\n\n";
const HEAD: &str = "HEAD / HTTP/1.1\nHost: a\n\n";
const OLD: &str = "GET / HTTP/1.0\n\n";
const OLD_KEPT: &str = "GET / HTTP/1.0\nConnection: keep-alive\n\n";
const CONNECT: &str = "CONNECT a:1 HTTP/1.1\nHost: a:1\n\n";
const CLOSING: &str = "GET / HTTP/1.1\nHost: a\nConnection: close\n\n";

/// Sends a head and says what came out, without the status line, and the framing.
fn head(
    request: &str,
    status: u16,
    length: BodyLength,
    lines: &[(&str, &str)],
) -> Result<(String, BodyFraming), Misuse> {
    let (mut connection, mut out, lines) = (asked(request), b"before".to_vec(), fields(lines));
    let head = ResponseHead { status: StatusCode::from_u16(status).unwrap(), block: b"", fields: lent(&lines) };
    let result = connection.send_head(&mut out, head, length);
    let framing = result.inspect_err(|_| assert_eq!(out, b"before"))?;
    let text = String::from_utf8(out).unwrap();
    let (first, rest) = text.split_once("\r\n").unwrap();
    assert!(first.starts_with(&format!("beforeHTTP/1.1 {status} ")));
    Ok((rest.strip_suffix("\r\n").unwrap().replace("\r\n", "\n"), framing))
}

fn wrote(text: &str, framing: BodyFraming) -> Result<(String, BodyFraming), Misuse> {
    Ok((text.to_owned(), framing))
}

use BodyLength::{Known, None as Nothing, Unknown};

#[test]
fn h1_08_no_body_and_no_length_where_there_is_none() {
    assert_eq!(head(GET, 204, Nothing, &[]), wrote("", BodyFraming::None));
    assert_eq!(head(GET, 204, Known(0), &[("content-length", "0")]), wrote("", BodyFraming::None));
    assert_eq!(head(GET, 204, Known(1), &[]), Err(Misuse::BodyNotAllowed));
    assert_eq!(head(GET, 205, Nothing, &[]), wrote("content-length: 0\n", BodyFraming::None));
    assert_eq!(head(GET, 205, Unknown, &[]), Err(Misuse::BodyNotAllowed));
    assert_eq!(head(GET, 304, Nothing, &[]), wrote("", BodyFraming::None));
    assert_eq!(head(GET, 304, Unknown, &[]), wrote("", BodyFraming::None));
    assert_eq!(head(CONNECT, 200, Nothing, &[]), wrote("", BodyFraming::Tunnel));
    assert_eq!(head(CONNECT, 200, Unknown, &[]), wrote("", BodyFraming::Tunnel));
    assert_eq!(head(CONNECT, 403, Known(2), &[]), wrote("content-length: 2\n", BodyFraming::Sized(2)));
    assert_eq!(head(GET, 100, Nothing, &[]), Err(Misuse::StatusInvalid));
    assert_eq!(head(GET, 101, Nothing, &[]), Err(Misuse::StatusInvalid));
}

#[test]
fn h1_08_h1_23_head_and_304_tell_the_length_of_get_or_none() {
    assert_eq!(head(HEAD, 200, Known(7), &[]), wrote("content-length: 7\n", BodyFraming::None));
    assert_eq!(head(HEAD, 200, Known(0), &[]), wrote("content-length: 0\n", BodyFraming::None));
    assert_eq!(head(HEAD, 200, Nothing, &[]), wrote("", BodyFraming::None));
    assert_eq!(head(HEAD, 200, Unknown, &[]), wrote("", BodyFraming::None));
    assert_eq!(head(HEAD, 200, Nothing, &[("content-length", "9")]), wrote("content-length: 9\n", BodyFraming::None));
    assert_eq!(head(GET, 304, Known(0), &[]), wrote("", BodyFraming::None));
    assert_eq!(head(GET, 304, Known(0), &[("content-length", "9")]), wrote("content-length: 9\n", BodyFraming::None));
}

#[test]
fn h1_09_old_clients_get_no_chunks() {
    assert_eq!(head(GET, 200, Unknown, &[]), wrote("transfer-encoding: chunked\n", BodyFraming::Chunked));
    assert_eq!(head(OLD, 200, Unknown, &[]), wrote("connection: close\n", BodyFraming::UntilClose));
    assert_eq!(head(OLD_KEPT, 200, Unknown, &[]), wrote("connection: close\n", BodyFraming::UntilClose));
    let mut connection = asked(OLD_KEPT);
    let mut out = Vec::new();
    let response = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
    connection.send_head(&mut out, response, Unknown).unwrap();
    out.clear();
    connection.send_data(&mut out, b"abc").unwrap();
    assert!(!connection.sends_trailers());
    let trailers = fields(&[("x", "y")]);
    assert_eq!(connection.send_end(&mut out, lent(&trailers)), Ok(Then::Close(CloseReason::EndsBody)));
    assert_eq!(out, b"abc");
}

#[test]
fn h1_11_persistence_is_told() {
    let length = "content-length: 2\n";
    let sized = BodyFraming::Sized(2);
    assert_eq!(head(GET, 200, Known(2), &[]), wrote(length, sized));
    assert_eq!(head(CLOSING, 200, Known(2), &[]), wrote(&format!("{length}connection: close\n"), sized));
    assert_eq!(head(OLD, 200, Known(2), &[]), wrote(&format!("{length}connection: close\n"), sized));
    assert_eq!(head(OLD_KEPT, 200, Known(2), &[]), wrote(&format!("{length}connection: keep-alive\n"), sized));
    let lines = [("connection", "x, Close"), ("keep-alive", "timeout=5")];
    assert_eq!(head(GET, 200, Known(2), &lines), wrote(&format!("{length}connection: close\n"), sized));
    let mut connection = asked(GET);
    connection.close_after_response();
    let mut out = Vec::new();
    let response = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
    let then = connection.send_response(&mut out, response, b"", &Limits::default());
    assert_eq!(then, Ok(Then::Close(CloseReason::Server)));
    assert!(String::from_utf8(out).unwrap().contains("connection: close\r\n"));
    let step = connection.handle_input(b"GET / HTTP/1.1\r\n\r\n", &mut Head::default(), &Limits::default());
    assert_eq!(step.unwrap().event, Event::Closed);
}

#[test]
fn the_application_does_not_frame() {
    assert_eq!(head(GET, 200, Unknown, &[("transfer-encoding", "chunked")]), Err(Misuse::CodingSet));
    assert_eq!(head(GET, 200, Known(2), &[("content-length", "3")]), Err(Misuse::LengthContradicted));
    assert_eq!(head(GET, 200, Nothing, &[("content-length", "3")]), Err(Misuse::LengthContradicted));
    assert_eq!(head(GET, 200, Unknown, &[("content-length", "x")]), Err(Misuse::LengthContradicted));
    let twice = [("content-length", "2"), ("content-length", "2")];
    assert_eq!(head(GET, 200, Known(2), &twice), Err(Misuse::LengthContradicted));
    let length = wrote("content-length: 2\n", BodyFraming::Sized(2));
    assert_eq!(head(GET, 200, Known(2), &[("content-length", "2")]), length);
    assert_eq!(head(GET, 200, Unknown, &[("content-length", "2")]), length);
    assert_eq!(head(GET, 200, Nothing, &[]), wrote("content-length: 0\n", BodyFraming::None));
    let upgrade = wrote("upgrade: h2c\ncontent-length: 0\nconnection: upgrade\n", BodyFraming::None);
    assert_eq!(head(GET, 426, Nothing, &[("upgrade", "h2c")]), upgrade, "H1-18");
}

#[test]
fn announced_lengths_are_kept() {
    let response = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
    let mut out = Vec::new();
    let mut connection = asked(GET);
    assert_eq!(connection.send_data(&mut out, b"x"), Err(Misuse::OutOfOrder));
    connection.send_head(&mut out, response, Known(3)).unwrap();
    assert_eq!(connection.send_head(&mut out, response, Known(3)), Err(Misuse::OutOfOrder));
    out.clear();
    connection.send_data(&mut out, b"ab").unwrap();
    assert_eq!(connection.send_data(&mut out, b"cd"), Err(Misuse::BodyTooLong));
    assert_eq!(out, b"ab");
    assert_eq!(connection.close_reason(), Some(CloseReason::Misuse(Misuse::BodyTooLong)));

    let mut connection = asked(GET);
    connection.send_head(&mut out, response, Known(3)).unwrap();
    connection.send_data(&mut out, b"ab").unwrap();
    assert_eq!(connection.send_end(&mut out, lent(&Vec::new())), Err(Misuse::BodyTooShort));
    assert_eq!(connection.close_reason(), Some(CloseReason::Misuse(Misuse::BodyTooShort)));

    let mut connection = asked(GET);
    connection.send_head(&mut out, response, Known(3)).unwrap();
    connection.send_data(&mut out, b"abc").unwrap();
    assert_eq!(connection.send_end(&mut out, lent(&Vec::new())), Ok(Then::KeepAlive));
    assert_eq!(connection.send_end(&mut out, lent(&Vec::new())), Err(Misuse::OutOfOrder));
}

#[test]
fn e_2_chunks_and_trailers() {
    let response = ResponseHead { status: StatusCode::OK, block: b"server: r\r\n", fields: [] };
    let (mut out, mut connection) = (Vec::new(), asked(GET));
    assert_eq!(connection.send_head(&mut out, response, Unknown), Ok(BodyFraming::Chunked));
    assert_eq!(out, b"HTTP/1.1 200 OK\r\nserver: r\r\ntransfer-encoding: chunked\r\n\r\n");
    out.clear();
    assert!(connection.sends_trailers());
    connection.send_data(&mut out, b"").unwrap();
    connection.send_data(&mut out, b"hello world").unwrap();
    connection.send_data_start(&mut out, 2).unwrap();
    out.extend_from_slice(b"!!");
    connection.send_data_end(&mut out, 2);
    let trailers = fields(&[("x-sum", "1"), ("content-length", "5"), ("host", "b")]);
    assert_eq!(connection.send_end(&mut out, lent(&trailers)), Ok(Then::KeepAlive));
    assert_eq!(out, b"b\r\nhello world\r\n2\r\n!!\r\n0\r\nx-sum: 1\r\n\r\n");
}

#[test]
fn e_1_interim_responses() {
    let hints = fields(&[("link", "</a>; rel=preload")]);
    for request in [GET, HEAD] {
        let (mut out, mut connection) = (Vec::new(), asked(request));
        assert_eq!(connection.send_interim(&mut out, StatusCode::EARLY_HINTS, lent(&hints)), Ok(true));
        assert_eq!(connection.send_interim(&mut out, StatusCode::EARLY_HINTS, lent(&hints)), Ok(true));
        assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n".repeat(2));
        for status in [StatusCode::OK, StatusCode::SWITCHING_PROTOCOLS] {
            assert_eq!(connection.send_interim(&mut out, status, lent(&hints)), Err(Misuse::StatusInvalid));
        }
        let response = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
        connection.send_head(&mut out, response, Nothing).unwrap();
        let late = connection.send_interim(&mut out, StatusCode::EARLY_HINTS, lent(&hints));
        assert_eq!(late, Err(Misuse::OutOfOrder));
    }
    let (mut out, mut connection) = (Vec::new(), asked(OLD));
    assert_eq!(connection.send_interim(&mut out, StatusCode::EARLY_HINTS, lent(&hints)), Ok(false));
    assert!(out.is_empty());
}

#[test]
fn h1_18_switching_protocols() {
    let offer = "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n\n";
    let upgrade = fields(&[("upgrade", "websocket")]);
    let (mut out, mut connection) = (Vec::new(), asked(offer));
    assert_eq!(connection.send_switch(&mut out, b"", lent(&Vec::new())), Err(Misuse::SwitchNotOffered));
    assert!(out.is_empty());
    assert_eq!(connection.send_switch(&mut out, b"", lent(&upgrade)), Ok(()));
    assert_eq!(out, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n");
    let step = connection.handle_input(b"\x81\x00", &mut Head::default(), &Limits::default()).unwrap();
    assert_eq!((step.consumed, step.event), (0, Event::Closed));

    let mut out = Vec::new();
    assert_eq!(asked(GET).send_switch(&mut out, b"", lent(&upgrade)), Err(Misuse::SwitchNotOffered));
    let with_body = offer.replace("Host: a", "Host: a\nContent-Length: 3");
    assert_eq!(asked(&with_body).send_switch(&mut out, b"", lent(&upgrade)), Err(Misuse::SwitchNotOffered));
    assert!(out.is_empty());
}

#[test]
fn h1_15_the_block_of_server_and_date_is_copied() {
    let (mut out, mut connection) = (Vec::new(), asked(GET));
    let lines = fields(&[(header::CONTENT_TYPE.as_str(), "text/plain")]);
    let block = b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let response = ResponseHead { status: StatusCode::NOT_FOUND, block, fields: lent(&lines) };
    assert_eq!(connection.send_response(&mut out, response, b"no\n", &Limits::default()), Ok(Then::KeepAlive));
    let expected = "HTTP/1.1 404 Not Found\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: text/plain\r\n\
        content-length: 3\r\n\r\nno\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn faults_are_answered_unless_a_response_has_begun() {
    let (mut out, mut connection) = (Vec::new(), Connection::new());
    assert!(connection.send_fault(&mut out, Fault::HeaderTimeout, b"server: r\r\n"));
    let expected = "HTTP/1.1 408 Request Timeout\r\nserver: r\r\ncontent-type: text/plain\r\ncontent-length: 37\r\n\
        connection: close\r\n\r\nThe request took too long to arrive.\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(connection.close_reason(), Some(CloseReason::Fault(Fault::HeaderTimeout)));

    let mut out = Vec::new();
    assert!(!asked(GET).send_fault(&mut out, Fault::Truncated, b""));
    let mut connection = asked(GET);
    let response = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
    connection.send_head(&mut out, response, Unknown).unwrap();
    out.clear();
    assert!(!connection.send_fault(&mut out, Fault::BodyTooLarge, b""));
    assert!(out.is_empty());
    assert!(!connection.send_fault(&mut out, Fault::BodyTooLarge, b""), "once");
}

/// The opening made before and the head written line by line say the same; what is not ordinary writes nothing.
#[test]
fn an_ordinary_response_is_the_same_response() {
    const BLOCK: &[u8] = b"server: ringgate\r\ndate: now\r\n";
    let posted = "POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\n";
    let awaited = "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nExpect: 100-continue\n\n";
    let requests = [GET, HEAD, OLD, OLD_KEPT, CONNECT, CLOSING, posted, awaited];
    let lines: [&[(&str, &str)]; 9] = [
        &[],
        &[("x-a", "1"), ("set-cookie", "a=b"), ("set-cookie", "c=d")],
        &[("keep-alive", "timeout=5"), ("x-a", "1")],
        &[("connection", "keep-alive")],
        &[("x-a", "1"), ("connection", "close")],
        &[("content-length", "5")],
        &[("content-length", "7")],
        &[("transfer-encoding", "chunked")],
        &[("x-a", "1"), ("upgrade", "websocket")],
    ];
    let long = "x".repeat(1_234_567);
    let mut ordinary = 0;
    for request in requests {
        for lines in lines.map(fields) {
            for status in [200, 204, 205, 206, 299, 304, 404, 500, 599].map(|code| StatusCode::from_u16(code).unwrap())
            {
                for body in ["", "Hello", "Hello, World", &long] {
                    let (mut one, mut other) = (asked(request), asked(request));
                    let (mut quick, mut whole) = (b"before".to_vec(), b"before".to_vec());
                    let opening = Opening::new(status, BLOCK);
                    assert_eq!(opening.block(), BLOCK);
                    let is_sent = one.send_ordinary(&mut quick, &opening, lent(&lines), body.as_bytes());
                    if !is_sent {
                        assert_eq!(quick, b"before");
                        continue;
                    }
                    ordinary += 1;
                    let head = ResponseHead { status, block: BLOCK, fields: lent(&lines) };
                    let then = other.send_response(&mut whole, head, body.as_bytes(), &Limits::default());
                    assert_eq!((then, request), (Ok(Then::KeepAlive), GET));
                    let sorted = |text: &[u8]| {
                        let (head, body) = std::str::from_utf8(text).unwrap().split_once("\r\n\r\n").unwrap();
                        let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
                        lines[1..].sort();
                        (lines, body.to_owned())
                    };
                    assert_eq!(sorted(&quick), sorted(&whole));
                    // Both go on with the next request.
                    for connection in [&mut one, &mut other] {
                        let next = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
                        let step = connection.handle_input(next, &mut Head::default(), &Limits::default()).unwrap();
                        assert!(matches!(step.event, Event::Request(_)));
                    }
                }
            }
        }
    }
    // Four lists of fields, six statuses, four bodies.
    assert_eq!(ordinary, 4 * 6 * 4);
    let mut connection = asked(GET);
    connection.close_after_response();
    assert!(!connection.send_ordinary(&mut Vec::new(), &Opening::new(StatusCode::OK, b""), [], b""));
}
