//! Does every limit hold at the limit and break at one more, before more is buffered, and is work linear?.

mod support;

use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::limits::Limits;
use support::{Transcript, every_split, outcome};

fn small() -> Limits {
    Limits {
        header_bytes_max: 60,
        field_count_max: 4,
        field_line_bytes_max: 20,
        target_bytes_max: 10,
        method_bytes_max: 6,
        leading_empty_lines_max: 1,
        chunk_extension_bytes_max: 12,
        chunk_extension_line_bytes_max: 8,
        body_bytes_max: 10,
        drain_bytes_max: 20,
    }
}

fn expect(input: &str, expected: &str) {
    every_split(input.as_bytes(), &small(), |outcome| {
        assert_eq!(outcome, expected, "{}", input.escape_default());
    });
}

/// Without its end, so that the limit must speak before the line is whole.
fn expect_unfinished(input: &str, fault: &str) {
    let (all_but_one, _) = outcome([&input.as_bytes()[..input.len() - 1]], &small());
    assert_eq!(all_but_one, "need", "{}", input.escape_default());
    every_split(input.as_bytes(), &small(), |outcome| {
        assert_eq!(outcome, fault, "{}", input.escape_default());
    });
}

#[test]
fn r_07_target_length() {
    expect("GET /123456789 HTTP/1.1\r\nHost: a\r\n\r\n", "request(GET /123456789) need");
    expect("GET /1234567890 HTTP/1.1\r\nHost: a\r\n\r\n", "fault(TargetTooLong 414)");
    expect_unfinished("GET /1234567890", "fault(TargetTooLong 414)");
}

#[test]
fn r_07_method_length() {
    expect("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "request(DELETE /) need");
    expect("DELETES / HTTP/1.1\r\nHost: a\r\n\r\n", "fault(MethodTooLong 501)");
    expect_unfinished("DELETES ", "fault(MethodTooLong 501)");
    // What has no space at all within eight times the limit is no request line.
    let word = "D".repeat(48);
    expect_unfinished(&format!("{word} "), "fault(MethodTooLong 501)");
    expect_unfinished(&format!("{word}D"), "fault(RequestLineInvalid 400)");
    expect(&format!("{word}\r\n"), "fault(RequestLineInvalid 400)");
}

/// Counts are kept in few bits; a limit beyond them is the largest number, and the cuts of the input change nothing.
#[test]
fn limits_beyond_what_is_counted() {
    let most = u32::MAX;
    let limits = Limits {
        header_bytes_max: most,
        field_count_max: most,
        leading_empty_lines_max: most,
        chunk_extension_line_bytes_max: most,
        chunk_extension_bytes_max: most,
        ..Limits::default()
    };
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X:\r\n".repeat(fields - 1)).into_bytes();
    for (input, expected) in [
        (head(65_535), "request(GET /) need"),
        (head(65_536), "fault(TooManyFields 431)"),
        ([&b"\r\n".repeat(255)[..], &head(1)].concat(), "request(GET /) need"),
        (b"\r\n".repeat(256), "fault(TooManyEmptyLines 400)"),
    ] {
        let middle = input.len() / 2;
        assert_eq!(outcome([&input[..]], &limits).0, expected);
        assert_eq!(outcome([&input[..middle], &input[middle..]], &limits).0, expected);
    }
    let chunk = |zeros: usize| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{}1\r\nx\r\n0\r\n\r\n", "0".repeat(zeros)).into_bytes()
    };
    assert!(outcome([&chunk(65_535)[..]], &limits).0.ends_with("end need"));
    assert!(outcome([&chunk(65_536)[..]], &limits).0.ends_with("fault(ChunkExtensionTooLong 400)"));
}

#[test]
fn r_07_version_without_end() {
    let (all, _) = outcome([&b"GET / HTTP/1.11111"[..]], &small());
    assert_eq!(all, "fault(VersionInvalid 400)");
}

#[test]
fn r_07_field_line_length() {
    expect("GET / HTTP/1.1\r\nHost: a\r\nX: 3456789012345678_\r\n\r\n", "request(GET /) need");
    expect("GET / HTTP/1.1\r\nHost: a\r\nX: 3456789012345678_1\r\n\r\n", "fault(FieldLineTooLong 431)");
    expect_unfinished("GET / HTTP/1.1\r\nHost: a\r\nX: 3456789012345678_1", "fault(FieldLineTooLong 431)");
}

#[test]
fn r_07_header_bytes() {
    // 9 + 17 + 17 + 17 bytes are 60.
    let lines = "Host: a\r\nA: 345678901234\r\nB: 345678901234\r\n";
    expect(&format!("GET / HTTP/1.1\r\n{lines}C: 345678901234\r\n\r\n"), "request(GET /) need");
    expect(&format!("GET / HTTP/1.1\r\n{lines}C: 3456789012345\r\n\r\n"), "fault(HeaderTooLarge 431)");
    expect_unfinished(&format!("GET / HTTP/1.1\r\n{lines}C: 3456789012345"), "fault(HeaderTooLarge 431)");
}

#[test]
fn r_07_field_count() {
    expect("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\n\r\n", "request(GET /) need");
    expect("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\n\r\n", "fault(TooManyFields 431)");
    expect_unfinished("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\n", "fault(TooManyFields 431)");
}

#[test]
fn r_06_leading_empty_lines() {
    expect("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "request(GET /) need");
    expect("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "fault(TooManyEmptyLines 400)");
    // They are counted for each request, and hold no buffer.
    let mut transcript = Transcript::new(&small());
    transcript.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n");
    assert!(transcript.rest.is_empty() && transcript.connection.is_idle());
    transcript.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n");
    assert_eq!(transcript.outcome(), "request(GET /) request(GET /) need");
}

const CHUNKED: &str = "PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:chunked\r\n\r\n";

/// The limits above, with room for the line that says chunked.
fn chunked(input: &str, expected: &str) {
    let limits = Limits { field_line_bytes_max: 30, ..small() };
    every_split(format!("{CHUNKED}{input}").as_bytes(), &limits, |outcome| {
        assert_eq!(outcome, format!("request(PUT / +chunked) {expected}"), "{}", input.escape_default());
    });
}

#[test]
fn r_08_chunk_extensions() {
    chunked("1;a=4567\r\nZ\r\n0;abc\r\n\r\n", "body(Z) end need");
    chunked("1;a=45678\r\nZ\r\n0\r\n\r\n", "body(Z) end need");
    chunked("1;a=456789\r\nZ\r\n0\r\n\r\n", "fault(ChunkExtensionTooLong 400)");
    chunked("1;a=4567\r\nZ\r\n0;abcd\r\n\r\n", "body(Z) end need");
    chunked("1;a=4567\r\nZ\r\n0;abcde\r\n\r\n", "body(Z) fault(ChunkExtensionTooLong 400)");
    chunked("000000001\r\nZ\r\n0\r\n\r\n", "body(Z) end need");
    chunked("0000000001\r\nZ\r\n0\r\n\r\n", "fault(ChunkExtensionTooLong 400)");
}

#[test]
fn r_09_one_byte_chunks_cost_one_step_each() {
    let count = 100_000;
    let limits = Limits { body_bytes_max: count, ..Limits::default() };
    let (mut connection, mut head) = (Connection::new(), Head::default());
    let mut input = CHUNKED.as_bytes().to_vec();
    for _ in 0..count {
        input.extend_from_slice(b"1\r\nZ\r\n");
    }
    let (mut at, mut steps) = (0, 0);
    while at < input.len() {
        let step = connection.handle_input(&input[at..], &mut head, &limits).unwrap();
        at += step.consumed;
        steps += 1;
        assert!(step.consumed > 0);
    }
    assert!(steps <= count + 2, "{steps}");
}

#[test]
fn r_10_trailers_share_the_limits_of_the_head() {
    // The head has 2 of 4 fields and 9 + 27 of 60 bytes.
    chunked("0\r\nA: 1\r\nB: 2\r\n\r\n", "trailers(A: 1, B: 2) end need");
    chunked("0\r\nA:\r\nB:\r\nC:\r\n\r\n", "fault(TooManyFields 431)");
    chunked("0\r\nA: 345678\r\nB: 34567\r\n\r\n", "trailers(A: 345678, B: 34567) end need");
    chunked("0\r\nA: 345678\r\nB: 3456789012\r\n\r\n", "fault(HeaderTooLarge 431)");
    chunked("0\r\nA: 345678901234567890123\r\n", "fault(HeaderTooLarge 431)");
}

#[test]
fn body_length() {
    let sized = |length| format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n0123456789");
    expect(&sized(10), "request(PUT / +10) body(0123456789) end need");
    expect(&sized(11), "request(PUT / +11) fault(BodyTooLarge 413)");
    chunked("5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", "body(0123456789) end need");
    chunked("5\r\n01234\r\n6\r\n", "body(01234) fault(BodyTooLarge 413)");
}

/// The time of feeding one byte at a time may grow with the bytes, not with their square. Time is a poor witness, so
/// the factor that decides lies far from both: linear work takes 8 times as long here, quadratic 64 times.
#[test]
fn r_12_one_byte_at_a_time_is_linear() {
    let time = |bytes: usize| {
        let limits =
            Limits { header_bytes_max: 1 << 30, field_line_bytes_max: 1 << 30, target_bytes_max: 1 << 30, ..small() };
        let limits = Limits { field_count_max: 60_000, ..limits };
        let mut input = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        input.extend(b"X-Some-Name: some value\r\n".repeat(bytes / 50));
        input.extend(b"Y: ");
        input.resize(input.len() + bytes / 2, b'y');
        let best = |_| {
            let (mut connection, mut head) = (Connection::new(), Head::default());
            let start = std::time::Instant::now();
            for end in 1..=input.len() {
                let step = connection.handle_input(&input[..end], &mut head, &limits).unwrap();
                assert_eq!(step.consumed, 0);
            }
            start.elapsed()
        };
        (0..3).map(best).min().unwrap()
    };
    let (short, long) = (time(16_000), time(128_000));
    assert!(long < short * 32, "{short:?} for 16,000 bytes, {long:?} for 128,000");
}
