//! Do others agree? Whatever we accept, httparse accepts with the same fields; and no cut changes what we say.

mod support;

use proptest::prelude::*;
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::event::Event;
use ringgate_protocols::limits::Limits;
use support::{every_split, outcome, vectors};

/// Compares one head with the oracle. Returns whether we accepted it.
fn agree(input: &[u8]) -> bool {
    let (mut connection, mut head) = (Connection::new(), Head::default());
    let Ok(step) = connection.handle_input(input, &mut head, &Limits::default()) else { return false };
    let Event::Request(_) = step.event else { return false };
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut fields);
    let consumed = match request.parse(input) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        other => panic!("httparse says {other:?} of {}", input.escape_ascii()),
    };
    assert_eq!(consumed, step.consumed);
    assert_eq!(request.method.unwrap(), head.method.as_str());
    assert_eq!(request.path.unwrap().as_bytes(), head.target.of(input));
    assert_eq!(request.version.unwrap() == 1, head.version == http::Version::HTTP_11);
    assert_eq!(request.headers.len(), head.fields.len());
    for (theirs, ours) in request.headers.iter().zip(&head.fields) {
        assert_eq!(theirs.name.as_bytes(), ours.name.of(input));
        assert_eq!(theirs.value, ours.value.of(input));
    }
    true
}

#[test]
fn vectors_agree_with_the_oracle() {
    let mut accepted = 0;
    for file in ["smuggling.txt", "requests.txt"] {
        accepted += vectors(file, |_| true).iter().filter(|vector| agree(&vector.input)).count();
    }
    assert!(accepted > 50, "{accepted}");
}

/// Heads that are nearly right: pieces in the right order, now and then a strange one.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![8 => Just(&b"GET"[..]), 2 => Just(&b"POST"[..]), 1 => Just(&b"OPTIONS"[..]),
        1 => Just(&b"G(T"[..]), 1 => Just(&b""[..])];
    let target = prop_oneof![4 => Just(&b"/"[..]), 2 => Just(&b"/a?b=c"[..]), 1 => Just(&b"http://h:1/x"[..]),
        1 => Just(&b"*"[..]), 1 => Just(&b"/\xff"[..]), 1 => Just(&b"/a#b"[..]), 1 => Just(&b"/|{}"[..])];
    let version = prop_oneof![8 => Just(&b" HTTP/1.1"[..]), 2 => Just(&b" HTTP/1.0"[..]), 1 => Just(&b" HTTP/1.2"[..]),
        1 => Just(&b"  HTTP/1.1"[..]), 1 => Just(&b""[..])];
    let end = || {
        prop_oneof![40 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b"\r"[..]),
        1 => Just(&b"\r\r\n"[..])]
    };
    let name = prop_oneof![
        Just(&b"Host"[..]),
        Just(&b"Content-Length"[..]),
        Just(&b"Transfer-Encoding"[..]),
        Just(&b"Connection"[..]),
        Just(&b"Expect"[..]),
        Just(&b"X-A"[..]),
        Just(&b"A-Rather-Long-Name-Of-A-Field"[..]),
        Just(&b" folded"[..]),
        Just(&b"a b"[..]),
        Just(&b""[..])
    ];
    let colon =
        prop_oneof![20 => Just(&b": "[..]), 2 => Just(&b":"[..]), 1 => Just(&b" :"[..]), 1 => Just(&b":\t "[..])];
    let value = prop_oneof![
        Just(b"a".to_vec()),
        Just(b"5".to_vec()),
        Just(b"chunked".to_vec()),
        Just(b"close".to_vec()),
        Just(b"gzip, chunked".to_vec()),
        Just(b"100-continue".to_vec()),
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..4),
        prop::collection::vec(b' '..b'~', 0..140)
    ];
    let line = (name, colon, value, end()).prop_map(|(name, colon, value, end)| [name, colon, &value, end].concat());
    (method, target, version, end(), prop::collection::vec(line, 0..6), any::<bool>(), 0..4u8).prop_map(
        |(method, target, version, end, lines, host, tail)| {
            let mut head = [method, b" ", target, version, end].concat();
            if host {
                head.extend_from_slice(b"Host: h\r\n");
            }
            head.extend(lines.concat());
            if tail > 0 {
                head.extend_from_slice(b"\r\n");
            }
            if tail > 1 {
                head.extend_from_slice(b"5\r\nhello\r\n0\r\n\r\n");
            }
            head
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_we_accept_httparse_accepts(input in nearly()) {
        agree(&input);
    }

    #[test]
    fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..200)) {
        agree(&input);
        outcome([&input[..]], &Limits::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_cut_changes_what_happens(input in nearly()) {
        every_split(&input, &Limits::default(), |_| {});
    }

    #[test]
    fn no_cut_changes_what_happens_within_tight_limits(input in nearly(), bytes in 0..200u32, line in 0..60u32,
        fields in 0..5u32, target in 0..8u32) {
        let limits = Limits { header_bytes_max: bytes, field_line_bytes_max: line, field_count_max: fields,
            target_bytes_max: target, method_bytes_max: 5, ..Limits::default() };
        every_split(&input, &limits, |_| {});
    }
}
