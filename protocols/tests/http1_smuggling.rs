//! Can two parties be made to disagree on where a request ends? The attacks S-01 to S-20.

mod support;

use http::{HeaderName, HeaderValue, StatusCode};
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::close::CloseReason;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::encode::{BodyLength, ResponseHead};
use ringgate_protocols::http1::event::{Drain, Event, Then};
use ringgate_protocols::limits::Limits;
use support::check_vectors;

macro_rules! rows {
    ($($name:ident = $row:literal;)+) => {
        $(#[test]
        fn $name() {
            check_vectors("smuggling.txt", $row);
        })+
    };
}

rows! {
    s_01_content_length_with_transfer_encoding = "s_01";
    s_02_obscure_transfer_encoding = "s_02";
    s_03_repeated_content_length = "s_03";
    s_04_bad_content_length = "s_04";
    s_05_body_of_every_method = "s_05";
    s_07_expect_tricks = "s_07";
    s_08_bad_chunk_size = "s_08";
    s_09_line_ends_in_chunks = "s_09";
    s_10_quotes_in_chunk_extensions = "s_10";
    s_11_chunk_data_of_other_length = "s_11";
    s_12_bare_line_ends_and_controls = "s_12";
    s_13_folds_and_bad_names = "s_13";
    s_14_forbidden_trailers = "s_14";
    s_15_bad_request_line = "s_15";
    s_16_bad_host = "s_16";
    s_17_upgrade_and_connect_with_more = "s_17";
    s_18_connection_removes_nothing_that_frames = "s_18";
    s_20_underscores = "s_20";
}

const SECOND: &[u8] = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n";

fn ok(connection: &mut Connection, out: &mut Vec<u8>, limits: &Limits) -> Then {
    let head = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
    connection.send_response(out, head, b"done", limits).unwrap()
}

/// Answers before the body was read, then drains; says what the machine did with `GET /second` hidden in the body.
fn answer_early(request: &[u8], limits: &Limits) -> (Then, Drain, Vec<String>) {
    let (mut connection, mut head, mut out) = (Connection::new(), Head::default(), Vec::new());
    let mut rest = request.to_vec();
    let step = connection.handle_input(&rest, &mut head, limits).unwrap();
    assert!(matches!(step.event, Event::Request(_)));
    rest.drain(..step.consumed);
    let then = ok(&mut connection, &mut out, limits);
    let drain = connection.begin_drain(limits);
    let mut events = Vec::new();
    loop {
        let step = connection.handle_input(&rest, &mut head, limits).unwrap();
        let read = rest.drain(..step.consumed).collect::<Vec<_>>();
        match step.event {
            Event::Request(_) => {
                events.push(String::from_utf8_lossy(head.target.of(&read)).into_owned());
                ok(&mut connection, &mut out, limits);
            }
            Event::End => events.push("end".into()),
            Event::Closed => {
                events.push("closed".into());
                return (then, drain, events);
            }
            Event::NeedInput => return (then, drain, events),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn s_06_unread_body_is_drained_and_never_parsed() {
    let limits = Limits::default();
    let mut request = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n".to_vec();
    request.extend_from_slice(SECOND);
    request.extend_from_slice(b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n");
    let (then, drain, events) = answer_early(&request, &limits);
    assert_eq!(then, Then::Drain);
    assert_eq!(drain, Drain::Reading);
    assert_eq!(events, ["end", "/third"]);

    let mut request = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n21\r\n".to_vec();
    request.extend_from_slice(SECOND);
    request.extend_from_slice(b"\r\n0\r\nt: u\r\n\r\nGET /third HTTP/1.1\r\nHost: a\r\n\r\n");
    let (then, drain, events) = answer_early(&request, &limits);
    assert_eq!((then, drain), (Then::Drain, Drain::Reading));
    assert_eq!(events, ["end", "/third"]);
}

#[test]
fn s_06_unread_body_beyond_the_limit_closes() {
    let limits = Limits { drain_bytes_max: 33, ..Limits::default() };
    for (length, closes) in [(33, false), (34, true)] {
        let mut request = format!("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.extend_from_slice(SECOND);
        let (then, drain, events) = answer_early(&request, &limits);
        if closes {
            // Known when the head was written, so the head says it.
            assert_eq!(then, Then::Close(CloseReason::UnreadBody));
            assert_eq!(drain, Drain::Close(CloseReason::UnreadBody));
            assert_eq!(events, ["closed"]);
        } else {
            assert_eq!((then, drain), (Then::Drain, Drain::Reading));
            assert_eq!(events, ["end"]);
        }
    }
    // With chunks it shows later.
    let mut request = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n21\r\n".to_vec();
    request.extend_from_slice(SECOND);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    request.extend_from_slice(SECOND);
    let (then, drain, events) = answer_early(&request, &limits);
    assert_eq!((then, drain), (Then::Drain, Drain::Reading));
    assert_eq!(events, ["closed"]);
}

#[test]
fn s_06_drain_within_a_chunk() {
    let limits = Limits { drain_bytes_max: 10, ..Limits::default() };
    for (size, expected) in [("a", Drain::Reading), ("c", Drain::Close(CloseReason::UnreadBody))] {
        let (mut connection, mut head, mut out) = (Connection::new(), Head::default(), Vec::new());
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nx");
        let step = connection.handle_input(request.as_bytes(), &mut head, &limits).unwrap();
        let step = connection.handle_input(&request.as_bytes()[step.consumed..], &mut head, &limits).unwrap();
        assert!(matches!(step.event, Event::Body(_)));
        assert_eq!(ok(&mut connection, &mut out, &limits), Then::Drain);
        assert_eq!(connection.begin_drain(&limits), expected);
    }
}

#[test]
fn s_07_final_status_without_the_invited_body_closes() {
    let limits = Limits::default();
    let (mut connection, mut head, mut out) = (Connection::new(), Head::default(), Vec::new());
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    let step = connection.handle_input(request, &mut head, &limits).unwrap();
    let Event::Request(facts) = step.event else { panic!() };
    assert!(facts.expect_continue && connection.is_continue_due());
    assert_eq!(ok(&mut connection, &mut out, &limits), Then::Close(CloseReason::UnreadBody));
    assert!(out.windows(19).any(|window| window == b"connection: close\r\n"));
    assert_eq!(connection.handle_input(SECOND, &mut head, &limits).unwrap().event, Event::Closed);
}

#[test]
fn s_17_no_tunnel_before_we_have_said_so() {
    let limits = Limits::default();
    let (mut connection, mut head, mut out) = (Connection::new(), Head::default(), Vec::new());
    let request = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let step = connection.handle_input(request, &mut head, &limits).unwrap();
    let rest = &request[step.consumed..];
    assert_eq!(connection.handle_input(rest, &mut head, &limits).unwrap().event, Event::Busy);
    let refuse = ResponseHead { status: StatusCode::METHOD_NOT_ALLOWED, block: b"", fields: [] };
    assert_eq!(connection.send_response(&mut out, refuse, b"", &limits), Ok(Then::KeepAlive));
    assert!(matches!(connection.handle_input(rest, &mut head, &limits).unwrap().event, Event::Request(_)));
}

#[test]
fn s_19_responses_cannot_be_split() {
    for bad in ["a\r\nb: c", "a\nb", "a\rb", "a\0b"] {
        assert!(HeaderValue::from_str(bad).is_err());
        assert!(HeaderName::from_bytes(bad.as_bytes()).is_err());
    }
    // The reason phrase is the registered one, or empty.
    let limits = Limits::default();
    let (mut connection, mut head, mut out) = (Connection::new(), Head::default(), Vec::new());
    connection.handle_input(SECOND, &mut head, &limits).unwrap();
    let odd = ResponseHead { status: StatusCode::from_u16(599).unwrap(), block: b"", fields: [] };
    connection.send_head(&mut out, odd, BodyLength::None).unwrap();
    assert_eq!(out, b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n");
}
