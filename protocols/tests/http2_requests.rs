//! What makes a request, and what is malformed: RFC 9113 section 8, rows H2-15 to H2-23, U-01, U-03, X-1, X-2, F-08.

mod peer;

use peer::*;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::limits::Http2Limits;

const BASE: [(&str, &str); 4] = GET;

fn with(extra: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = block(&BASE);
    bytes.extend(block(extra));
    bytes
}

fn without(name: &str) -> Vec<u8> {
    block(&BASE.iter().copied().filter(|field| field.0 != name).collect::<Vec<_>>())
}

fn replaced(name: &str, value: &str) -> Vec<u8> {
    block(&BASE.map(|field| if field.0 == name { (name, value) } else { field }))
}

/// Malformed: RST_STREAM(PROTOCOL_ERROR), never an event (H2-16), and the connection lives.
#[track_caller]
fn malformed(block: &[u8]) {
    let mut talk = Talk::new();
    let told = talk.expect_stream_error(&frame(HEADERS, END_HEADERS | END_STREAM, 1, block), 1, Reason::PROTOCOL_ERROR);
    assert_eq!(told, []);
    assert_eq!(talk.feed(&get(3)).unwrap().len(), 1);
}

#[track_caller]
fn accepted(block: &[u8]) -> Told {
    let mut told = Talk::new().feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, block)).unwrap();
    assert_eq!(told.len(), 1);
    told.remove(0)
}

#[test]
fn h2_16_malformed_never_reaches_the_handler_and_costs() {
    let mut talk = Talk::new();
    let before = talk.connection.glitch_tokens();
    talk.expect_stream_error(&frame(HEADERS, END_HEADERS, 1, &with(&[("X", "1")])), 1, Reason::PROTOCOL_ERROR);
    assert_eq!(before - talk.connection.glitch_tokens(), 10);
    // What is in flight behind is ignored.
    assert_eq!(talk.feed(&frame(DATA, END_STREAM, 1, b"body")), Ok(vec![]));
    assert_eq!(talk.sent(), []);
}

#[test]
fn h2_17_u_01_f_08_bytes_of_names_and_values() {
    for name in ["", "X", "a b", "a:b", "a\0", "a\r", "a\n", "é", "a\x7f", "a(b"] {
        malformed(&with(&[(name, "v")]));
    }
    for value in ["a\0b", "a\rb", "a\nb", "\r\nx: y", " a", "a ", "\ta", "a\t", "a\x01b", "a\x0b", "\x7f"] {
        malformed(&with(&[("x", value)]));
    }
    accepted(&with(&[("x-1_!#$%&'*+-.^`|~", "a \t b"), ("x", "")]));
    let mut bytes = block(&BASE);
    raw_field(&mut bytes, b"x", &[0x80, 0xff, 0x9f]);
    accepted(&bytes);
}

#[test]
fn u_01_smuggling_through_pseudo_headers() {
    for (name, values) in [
        (":method", &["", "GET /", "GET\r\n", "G ET", "GE\0T", "GET\t"][..]),
        (":scheme", &["", "http ", "ht\ntp", "1http", "http:"]),
        (
            ":path",
            &["", "a", "/ HTTP/1.1\r\nx: y", "/a b", "/a#f", "/\0", "/\x7f", "/é", "/\"", "/<", "//\t", "*", "/a\\b"],
        ),
        (
            ":authority",
            &[
                "", "u@h", "a b", "a/b", "a?b", "a#b", "a\r\nb", "a\0", "a\\b", "é", "a,b", "a:b", "a:123456", ":80",
                "[::1", "[x]", "a:1:2",
            ],
        ),
    ] {
        for value in values {
            malformed(&replaced(name, value));
        }
    }
    for path in ["/", "/a?b", "//a", "/%20", "/a|b{c}^`", "/?#".strip_suffix('#').unwrap()] {
        accepted(&replaced(":path", path));
    }
    accepted(&block(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "[::1]:80")]));
}

#[test]
fn h2_15_content_length_and_the_sum_of_data() {
    for bad in ["+5", "-5", "0x5", "5_0", "5,5", "", "5 5", "18446744073709551616", "9223372036854775808", "٣"] {
        malformed(&with(&[("content-length", bad)]));
    }
    malformed(&with(&[("content-length", "5"), ("content-length", "6")]));
    malformed(&with(&[("content-length", "5"), ("content-length", "5")])); // ours
    malformed(&with(&[("content-length", "1")])); // END_STREAM without a body
    accepted(&with(&[("content-length", "0")]));
    let sized = |length: &str| request(1, 0, &[POST.as_slice(), &[("content-length", length)]].concat());
    // (length, DATA frames, last one ends?) that are right
    let mut talk = Talk::new();
    talk.feed(&sized("5")).unwrap();
    talk.feed(&frame(DATA, 0, 1, b"ab")).unwrap();
    talk.feed(&frame(DATA, PADDED | END_STREAM, 1, b"\x04cde\0\0\0\0")).unwrap();
    assert_eq!(talk.sent(), []);
    // Too long, before the bytes are handed over; too short at the end; too short at trailers.
    for tail in [
        frame(DATA, 0, 1, b"abcdef"),
        frame(DATA, END_STREAM, 1, b"abcd"),
        frame(DATA, END_STREAM, 1, b""),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "y")])),
    ] {
        let mut talk = Talk::new();
        talk.feed(&sized("5")).unwrap();
        let told = talk.expect_stream_error(&tail, 1, Reason::PROTOCOL_ERROR);
        assert_eq!(told, [Told::Reset { id: 1, reason: Reason::PROTOCOL_ERROR, by_peer: false }]);
    }
    let mut talk = Talk::new();
    talk.feed(&sized("0")).unwrap();
    talk.expect_stream_error(&frame(DATA, 0, 1, b"a"), 1, Reason::PROTOCOL_ERROR);
}

#[test]
fn h2_18_connection_specific_fields_and_te() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        malformed(&with(&[(name, "x")]));
    }
    for te in ["gzip", "trailers, gzip", "", "trailers;q=1"] {
        malformed(&with(&[("te", te)]));
    }
    accepted(&with(&[("te", "trailers")]));
    // Also by index, from the dynamic table.
    let mut talk = Talk::new();
    let mut first = block(&BASE);
    first.extend(b"\x40\x0aconnection\x05close");
    talk.expect_stream_error(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first), 1, Reason::PROTOCOL_ERROR);
    let mut second = block(&BASE);
    second.push(0xbe);
    talk.expect_stream_error(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &second), 3, Reason::PROTOCOL_ERROR);
}

#[test]
fn h2_19_cookie_crumbs_are_joined() {
    let told = accepted(&with(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]));
    let Told::Request { fields, .. } = told else { panic!() };
    assert_eq!(fields, [("cookie".into(), "a=1; b=2; c=3".into()), ("x".into(), "y".into())]);
}

#[test]
fn h2_20_pseudo_headers() {
    for name in [":method", ":scheme", ":path"] {
        malformed(&without(name));
        let twice = [block(&BASE), block(&[BASE.iter().copied().find(|field| field.0 == name).unwrap()])].concat();
        malformed(&twice);
    }
    malformed(&[block(&BASE), block(&[(":authority", "a")])].concat());
    malformed(&with(&[(":status", "200")]));
    malformed(&with(&[(":unknown", "x")]));
    malformed(&[block(&BASE[..3]), block(&[("x", "y")]), block(&BASE[3..])].concat());
    malformed(&without(":authority")); // and no host either: ours, an http request names its authority
}

#[test]
fn h2_21_authority_and_host() {
    malformed(&with(&[("host", "b")]));
    malformed(&with(&[("host", "a"), ("host", "a")]));
    accepted(&with(&[("host", "A")]));
    let mut talk = Talk::new();
    let bytes = [without(":authority"), block(&[("host", "h:1")])].concat();
    talk.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bytes)).unwrap();
    let head = talk.last_head.unwrap();
    assert_eq!(head.head.authority.of(head.bytes()), b"h:1");
}

#[test]
fn one_content_type() {
    accepted(&with(&[("content-type", "a/b")]));
    malformed(&with(&[("content-type", "a/b"), ("x", "y"), ("content-type", "a/b")]));
    // The second by the entry of the table that the first one made.
    let mut bytes = with(&[]);
    bytes.extend_from_slice(b"\x5f\x03a/b\xbe");
    malformed(&bytes);
}

#[test]
fn h2_22_plain_connect() {
    let mut talk = Talk::new();
    talk.feed(&request(1, 0, &[(":method", "CONNECT"), (":authority", "a:80")])).unwrap();
    let head = talk.last_head.unwrap();
    assert_eq!((head.head.target.of(head.bytes()), head.protocol), (&b"a:80"[..], None));
    malformed(&block(&[(":method", "CONNECT"), (":authority", "a:80"), (":path", "/")]));
    malformed(&block(&[(":method", "CONNECT"), (":authority", "a:80"), (":scheme", "http")]));
    malformed(&block(&[(":method", "CONNECT")]));
    for without_port in ["a", "a:", "10", "[::1]", "[::1]:"] {
        malformed(&block(&[(":method", "CONNECT"), (":authority", without_port)]));
    }
}

#[test]
fn h2_22_a_tunnel_carries_data_and_nothing_else() {
    let heads: [&[(&str, &str)]; 2] = [
        &[(":method", "CONNECT"), (":authority", "a:80")],
        &[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
    ];
    for head in heads {
        for end in [0, END_STREAM] {
            let mut talk = Talk::new();
            talk.feed(&request(1, 0, head)).unwrap();
            assert_eq!(talk.feed(&frame(DATA, 0, 1, b"abc")).unwrap().len(), 1);
            let trailers = frame(HEADERS, END_HEADERS | end, 1, &block(&[("x-trailer", "1")]));
            talk.expect_stream_error(&trailers, 1, Reason::PROTOCOL_ERROR);
        }
        // It has no body, so it announces none (S-17).
        malformed(&block(&[head, &[("content-length", "3")]].concat()));
    }
}

#[test]
fn u_03_x_1_x_2_extended_connect() {
    const EXTENDED: [(&str, &str); 5] = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat?x"),
        (":authority", "a"),
    ];
    // X-1: announced in our first SETTINGS.
    let mut talk = Talk::fresh(Http2Limits::default());
    let first = talk.sent().remove(0);
    assert!(first.payload.chunks(6).any(|entry| entry == [0, 8, 0, 0, 0, 1]));
    let mut talk = Talk::new();
    talk.feed(&request(1, 0, &EXTENDED)).unwrap();
    let head = talk.last_head.unwrap();
    assert_eq!(head.protocol.unwrap().of(head.bytes()), b"websocket");
    assert_eq!(head.head.path.of(head.bytes()), b"/chat");
    // Without CONNECT, with a piece missing, or not announced: malformed.
    malformed(&with(&[(":protocol", "websocket")]));
    malformed(&[block(&[(":protocol", "websocket")]), block(&BASE)].concat());
    for missing in [":scheme", ":path", ":authority"] {
        malformed(&block(&EXTENDED.into_iter().filter(|field| field.0 != missing).collect::<Vec<_>>()));
    }
    let mut talk = Talk::with(Http2Limits { connect_protocol: false, ..Default::default() });
    talk.expect_stream_error(&request(1, 0, &EXTENDED), 1, Reason::PROTOCOL_ERROR);
}

/// RFC 9218 section 5, RFC 8941 section 4.2: the lines of the field are one dictionary.
#[test]
fn q_1_priority_in_several_lines() {
    let priority = |lines: &[&str]| {
        let mut talk = Talk::new();
        let mut fields = GET.to_vec();
        for line in lines {
            fields.extend([("priority", *line), ("cookie", "a=b")]);
        }
        assert_eq!(talk.feed(&request(1, END_STREAM, &fields)).unwrap().len(), 1);
        let head = talk.last_head.unwrap();
        let names: Vec<&[u8]> = head.head.fields.iter().map(|field| field.name.of(head.bytes())).collect();
        assert_eq!(
            names.iter().filter(|name| **name == b"priority").count(),
            lines.len(),
            "the application sees them all"
        );
        (head.priority.urgency, head.priority.incremental)
    };
    assert_eq!(priority(&["u=1", "i"]), (1, true));
    assert_eq!(priority(&["i", "u=1", "x=y"]), (1, true));
    assert_eq!(priority(&["u=5, i", "u=2, i=?0"]), (2, false));
    // None means anything by itself: here one does not parse, there none does, and all together do.
    assert_eq!(priority(&["u=1", "U=2"]), (3, false));
    assert_eq!(priority(&["U=2", "u=1"]), (3, false));
    assert_eq!(priority(&["u=1", ""]), (3, false));
    assert_eq!(priority(&["i, a=\"x", "y\", u=0"]), (0, true));
}

#[test]
fn h2_23_trailers() {
    let trailers = |flags, fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    talk.feed(&frame(DATA, 0, 1, b"x")).unwrap();
    let names = ["host", "content-length", "content-type", "cookie", "range", "authorization", "expect", "priority"];
    let fields: Vec<_> = [("x-sum", "1")].into_iter().chain(names.map(|name| (name, "9"))).collect();
    let told = talk.feed(&trailers(END_STREAM, &fields)).unwrap();
    assert_eq!(told, [Told::Trailers { id: 1, fields: vec![("x-sum".into(), "1".into())] }]);
    for (flags, fields) in [
        (0, &[("x", "y")][..]),
        (END_STREAM, &[(":path", "/")]),
        (END_STREAM, &[("X", "y")]),
        (END_STREAM, &[("connection", "y")]),
        (END_STREAM, &[("", "y")]),
    ] {
        let mut talk = Talk::new();
        talk.feed(&post(1)).unwrap();
        talk.expect_stream_error(&trailers(flags, fields), 1, Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn r_10_trailers_share_the_limits_of_the_head() {
    // The head has 4 fields and 167 bytes, 32 for each field included.
    let trailers = |id, values: &[&str]| {
        let fields: Vec<_> = values.iter().map(|value| ("a", *value)).collect();
        frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&fields))
    };
    let begin = |field_count_max, header_bytes_max| {
        let mut talk = Talk::with(Http2Limits { field_count_max, header_bytes_max, ..Default::default() });
        // The stream before it in the same slot had a larger head, and does not count.
        talk.feed(&request(1, 0, &[&POST[..], &[("a", "1")]].concat())).unwrap();
        talk.feed(&rst(1)).unwrap();
        talk.done(1);
        talk.feed(&post(3)).unwrap();
        talk
    };
    for (values, count, bytes) in [(&["1", "2"][..], 6, 1_000), (&["1", "2"], 100, 167 + 68), (&["123"], 5, 167 + 36)] {
        let told = begin(count, bytes).feed(&trailers(3, values)).unwrap();
        assert!(matches!(&told[..], [Told::Trailers { id: 3, fields }] if fields.len() == values.len()), "{told:?}");
    }
    for (values, count, bytes) in [(&["1", "2"][..], 5, 1_000), (&["1", "2"], 100, 167 + 67), (&["123"], 5, 167 + 35)] {
        let mut talk = begin(count, bytes);
        talk.expect_stream_error(&trailers(3, values), 3, Reason::PROTOCOL_ERROR);
        assert_eq!(talk.feed(&post(5)).unwrap().len(), 1, "and the connection goes on");
    }
    // Twice the limit in all is a flood.
    begin(100, 300).expect_connection_error(&trailers(3, &["v".repeat(433).as_str()]), Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn h2_10_compression_errors_end_the_connection_also_on_refused_and_reset_streams() {
    for bad in
        [&[0x80][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x00, 0x05, b'a'], &[0x82, 0x20], &[0x3f], &[0x40]]
    {
        Talk::new().expect_connection_error(&frame(HEADERS, END_HEADERS, 1, bad), Reason::COMPRESSION_ERROR);
        let mut talk = Talk::with(Http2Limits { streams_max: 1, ..Default::default() });
        talk.feed(&post(1)).unwrap();
        talk.expect_connection_error(&frame(HEADERS, END_HEADERS, 3, bad), Reason::COMPRESSION_ERROR);
        let mut talk = Talk::new();
        talk.feed(&post(1)).unwrap();
        talk.connection.reset(talk.key(1), Reason::CANCEL);
        talk.expect_connection_error(&frame(HEADERS, END_HEADERS, 1, bad), Reason::COMPRESSION_ERROR);
    }
    // The table is kept in step by blocks that nobody wants.
    let mut talk = Talk::with(Http2Limits { streams_max: 1, ..Default::default() });
    talk.feed(&post(1)).unwrap();
    let mut bytes = block(&GET);
    bytes.extend(b"\x40\x01a\x01b");
    talk.expect_stream_error(&frame(HEADERS, END_HEADERS, 3, &bytes), 3, Reason::REFUSED_STREAM);
    talk.done(1);
    talk.feed(&rst(1)).unwrap();
    let mut bytes = block(&GET);
    bytes.push(0xbe);
    let told = talk.feed(&frame(HEADERS, END_HEADERS, 5, &bytes)).unwrap();
    assert!(matches!(&told[0], Told::Request { fields, .. } if fields == &[("a".into(), "b".into())]));
}

#[test]
fn h2_14_padding() {
    for (kind, payload) in [(DATA, &b""[..]), (DATA, &[1]), (DATA, &[5, 1, 2, 3, 4]), (HEADERS, &[]), (HEADERS, &[1])] {
        let mut talk = Talk::new();
        talk.feed(&post(1)).unwrap();
        talk.expect_connection_error(
            &frame(kind, PADDED | END_STREAM | END_HEADERS, 1, payload),
            Reason::PROTOCOL_ERROR,
        );
    }
    let mut talk = Talk::new();
    let mut padded = vec![3];
    padded.extend(block(&POST));
    padded.extend([0; 3]);
    talk.feed(&frame(HEADERS, PADDED | END_HEADERS, 1, &padded)).unwrap();
    let told = talk.feed(&frame(DATA, PADDED, 1, b"\x02abc\0\0")).unwrap();
    assert_eq!(told, [Told::Data { id: 1, bytes: b"abc".to_vec(), end: false }]);
    let told = talk.feed(&frame(DATA, PADDED | END_STREAM, 1, b"\x02\0\0")).unwrap();
    assert_eq!(told, [Told::Data { id: 1, bytes: vec![], end: true }]);
    // HEADERS with the priority fields of RFC 7540, also when they name their own stream (H2-24).
    let mut old = vec![0, 0, 0, 3, 16];
    old.extend(block(&GET));
    assert_eq!(talk.feed(&frame(HEADERS, 0x20 | END_HEADERS | END_STREAM, 3, &old)).unwrap().len(), 1);
}

#[test]
fn h2_24_priority_is_checked_for_length_only() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    assert_eq!(talk.feed(&frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])), Ok(vec![]));
    assert_eq!(talk.feed(&frame(PRIORITY, 0, 99, &[0, 0, 0, 1, 9])), Ok(vec![]));
    talk.expect_stream_error(&frame(PRIORITY, 0, 1, &[0; 4]), 1, Reason::FRAME_SIZE_ERROR);
    // The rule does not end with the stream.
    talk.feed(&get(3)).unwrap();
    talk.respond(3, b"over");
    talk.sent();
    talk.expect_stream_error(&frame(PRIORITY, 0, 3, &[0; 6]), 3, Reason::FRAME_SIZE_ERROR);
    talk.expect_connection_error(&frame(PRIORITY, 0, 101, &[0; 6]), Reason::FRAME_SIZE_ERROR);
}

#[test]
fn k7_never_indexed_is_remembered_per_field() {
    let mut bytes = block(&GET);
    bytes.extend(b"\x10\x01s\x01v");
    bytes.extend(b"\x00\x01t\x01v");
    let mut talk = Talk::new();
    talk.feed(&frame(HEADERS, END_HEADERS, 1, &bytes)).unwrap();
    let head = talk.last_head.unwrap();
    assert_eq!((head.never_indexed(0), head.never_indexed(1), head.never_indexed(200)), (true, false, true));
}
