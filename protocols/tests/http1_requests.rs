//! Is every request of RFC 9112 read as the RFC says? The rows H1-01 to H1-25, as far as they are about reading.

mod support;

use http::{Method, Version};
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http::options::UpgradeOffer;
use ringgate_protocols::http1::close::CloseReason;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::error::Fault;
use ringgate_protocols::http1::event::{Event, RequestFacts};
use ringgate_protocols::http1::framing::Body;
use ringgate_protocols::limits::Limits;
use support::check_vectors;

macro_rules! rows {
    ($($name:ident = $row:literal;)+) => {
        $(#[test]
        fn $name() {
            check_vectors("requests.txt", $row);
        })+
    };
}

rows! {
    h1_01_leading_empty_lines = "h1_01";
    h1_02_space_before_colon = "h1_02";
    h1_03_host = "h1_03";
    h1_04_folded_lines = "h1_04";
    h1_05_space_before_the_first_field = "h1_05";
    h1_06_transfer_encoding = "h1_06";
    h1_07_content_length = "h1_07";
    h1_10_chunked = "h1_10";
    h1_11_persistence = "h1_11";
    h1_12_pipelining = "h1_12";
    h1_14_target_forms = "h1_14";
    h1_16_expect = "h1_16";
    h1_17_unknown_methods = "h1_17";
    h1_21_duplicate_fields = "h1_21";
    r_06_empty_lines_are_bounded = "r_06";
}

fn read(input: &[u8]) -> (Head, RequestFacts) {
    let (mut connection, mut head) = (Connection::new(), Head::default());
    let step = connection.handle_input(input, &mut head, &Limits::default()).unwrap();
    let Event::Request(facts) = step.event else { panic!("{:?}", step.event) };
    assert_eq!(step.consumed, input.len());
    (head, facts)
}

#[test]
fn a_head_in_all_its_parts() {
    let input = b"\r\nPUT /a/b?c=d HTTP/1.1\r\nHost: example.com:80\r\nX-Empty:\r\nX-Spaces: \t  v v\t \r\nTE: trailers\r\n\r\n";
    let (head, facts) = read(input);
    assert_eq!((&head.method, head.version), (&Method::PUT, Version::HTTP_11));
    assert_eq!(head.target.of(input), b"/a/b?c=d");
    assert_eq!(head.path.of(input), b"/a/b");
    assert_eq!(head.query.unwrap().of(input), b"c=d");
    assert_eq!(head.authority.of(input), b"example.com:80");
    let fields: Vec<_> = head.fields.iter().map(|field| (field.name.of(input), field.value.of(input))).collect();
    assert_eq!(
        fields,
        [(&b"Host"[..], &b"example.com:80"[..]), (b"X-Empty", b""), (b"X-Spaces", b"v v"), (b"TE", b"trailers")]
    );
    assert_eq!(facts.body, Body::None);
    assert!(facts.keep_alive && facts.accepts_trailers && !facts.is_head && !facts.expect_continue);
    assert_eq!(head.value(input, "x-spaces"), Some(&b"v v"[..]));
    // The head is used again and holds nothing of before.
    let mut head = head;
    let next = b"GET / HTTP/1.0\r\n\r\n";
    Connection::new().handle_input(next, &mut head, &Limits::default()).unwrap();
    assert_eq!((head.path.of(next), head.query, head.fields.len()), (&b"/"[..], None, 0));
    assert!(head.authority.is_empty());
}

#[test]
fn h1_14_absolute_form_overrides_host() {
    let input = b"GET http://b:8080?q HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, _) = read(input);
    assert_eq!(head.authority.of(input), b"b:8080");
    assert_eq!(head.path.of(input), b"/");
    assert_eq!(head.query.unwrap().of(input), b"q");
    assert_eq!(head.target.of(input), b"http://b:8080?q");
    let input = b"\r\nCONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (head, _) = read(input);
    assert_eq!(head.authority.of(input), b"b:443");
    assert!(head.path.is_empty());
}

#[test]
fn h1_18_h1_19_upgrade_counts_with_its_option_and_not_in_1_0() {
    let offer = |version: &str, lines: &str| {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        read(input.as_bytes()).1.upgrade
    };
    assert_eq!(offer("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), UpgradeOffer::WebSocket);
    assert_eq!(offer("1.1", "Upgrade: h2c, WebSocket\r\nConnection: a, upgrade\r\n"), UpgradeOffer::WebSocket);
    assert_eq!(offer("1.1", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"), UpgradeOffer::H2c);
    assert_eq!(offer("1.1", "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n"), UpgradeOffer::Other);
    assert_eq!(offer("1.1", "Upgrade: websocket\r\n"), UpgradeOffer::None);
    assert_eq!(offer("1.1", "Connection: upgrade\r\n"), UpgradeOffer::None);
    assert_eq!(offer("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), UpgradeOffer::None);
}

#[test]
fn h1_16_continue_is_due_until_the_body_comes() {
    let limits = Limits::default();
    for body in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
        let (mut connection, mut head, mut out) = (Connection::new(), Head::default(), Vec::new());
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{body}\r\n\r\n");
        connection.handle_input(input.as_bytes(), &mut head, &limits).unwrap();
        assert_eq!(connection.handle_input(b"", &mut head, &limits).unwrap().event, Event::NeedInput);
        assert!(connection.is_continue_due());
        assert!(connection.send_continue(&mut out));
        assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert!(!connection.is_continue_due() && !connection.send_continue(&mut out));

        let mut connection = Connection::new();
        connection.handle_input(input.as_bytes(), &mut head, &limits).unwrap();
        connection.handle_input(b"3", &mut head, &limits).unwrap();
        assert!(!connection.is_continue_due(), "the body has begun");
    }
    for (version, body) in [("1.0", "Content-Length: 3"), ("1.1", "Content-Length: 0")] {
        let input = format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n{body}\r\n\r\n");
        let (_, facts) = read(input.as_bytes());
        assert!(!facts.expect_continue);
    }
}

#[test]
fn end_of_input_between_and_within_requests() {
    let limits = Limits::default();
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    for length in 0..=request.len() {
        let (mut connection, mut head) = (Connection::new(), Head::default());
        let input = &request[..length];
        let consumed = connection.handle_input(input, &mut head, &limits).unwrap().consumed;
        let result = connection.handle_end_of_input(&input[consumed..]);
        if length == 0 {
            assert_eq!(result, Ok(()));
            assert_eq!(connection.close_reason(), Some(CloseReason::EndOfInput));
        } else {
            assert_eq!(result, Err(Fault::Truncated));
        }
        assert_eq!(connection.handle_input(b"G", &mut head, &limits).unwrap().event, Event::Closed);
    }
}

#[test]
fn the_machine_is_small() {
    assert!(size_of::<Connection>() <= 64, "{}", size_of::<Connection>());
}

#[test]
fn faults_have_the_statuses_they_should() {
    let expected = [400, 408, 413, 414, 417, 431, 501, 505];
    let mut found: Vec<u16> = Fault::ALL.iter().map(|fault| fault.status().as_u16()).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, expected);
    assert!(Fault::ALL.iter().all(|fault| fault.reason().ends_with('\n') && fault.reason().len() < 80));
}
