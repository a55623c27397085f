//! Rows F-01 to F-23: what a hostile peer tries, each at the limit and one beyond.

mod peer;

use peer::*;
use ringgate_protocols::http2::error::Fault;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::limits::Http2Limits;

/// Feeds `bytes(n)` for n = 0, 1, … until the connection ends; gives how many passed.
fn until_calm(talk: &mut Talk, mut bytes: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for count in 0..200_000 {
        match talk.feed(&bytes(count)) {
            Ok(told) => {
                for event in told {
                    if let Told::Reset { id, .. } = event {
                        talk.done(id);
                    }
                }
                talk.sent();
            }
            Err(error) => {
                assert_eq!((error.reason, error.fault), (Reason::ENHANCE_YOUR_CALM, Fault::Budget));
                return count;
            }
        }
    }
    panic!("the budget never ended it");
}

#[test]
fn f_01_rapid_reset() {
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |n| [post(2 * n + 1), rst(2 * n + 1)].concat()), 100);
    // The handler counts until it has really ended, not until RST_STREAM.
    let mut talk = Talk::with(Http2Limits { streams_max: 3, ..Default::default() });
    for id in [1, 3, 5] {
        talk.feed(&[post(id), rst(id)].concat()).unwrap();
    }
    talk.expect_stream_error(&post(7), 7, Reason::REFUSED_STREAM);
    talk.done(3);
    assert_eq!(talk.feed(&post(9)).unwrap().len(), 1);
    talk.expect_stream_error(&post(11), 11, Reason::REFUSED_STREAM);
}

#[test]
fn f_02_made_you_reset() {
    for provoke in [
        (|id: u32| window_update(id, 0)) as fn(u32) -> Vec<u8>,
        |id| window_update(id, 0x7fff_ffff),
        |id| frame(DATA, 0, id, b"half-closed"),
        |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[("x", "y")])),
        |id| frame(PRIORITY, 0, id, &[0; 4]),
    ] {
        let mut talk = Talk::new();
        let passed = until_calm(&mut talk, |n| [get(2 * n + 1), provoke(2 * n + 1)].concat());
        assert!((90..=100).contains(&passed), "{passed}");
    }
    let mut talk = Talk::new();
    let wrong = |id| request(id, 0, &[POST.as_slice(), &[("content-length", "1")]].concat());
    let passed = until_calm(&mut talk, |n| [wrong(2 * n + 1), frame(DATA, 0, 2 * n + 1, b"22")].concat());
    assert_eq!(passed, 100);
}

#[test]
fn f_03_refused_streams() {
    let mut talk = Talk::with(Http2Limits { streams_max: 1, ..Default::default() });
    talk.feed(&post(1)).unwrap();
    assert_eq!(until_calm(&mut talk, |n| get(2 * n + 3)), 100);
}

#[test]
fn f_04_continuation_flood() {
    let begin = frame(HEADERS, 0, 1, &block(&GET));
    let more = |flags| frame(CONTINUATION, flags, 1, b"");
    let mut talk = Talk::new();
    talk.feed(&begin).unwrap();
    for _ in 0..7 {
        talk.feed(&more(0)).unwrap();
    }
    assert_eq!(talk.feed(&more(END_HEADERS)).unwrap().len(), 1, "eight are allowed");
    let mut talk = Talk::new();
    talk.feed(&begin).unwrap();
    for _ in 0..8 {
        talk.feed(&more(0)).unwrap();
    }
    talk.expect_connection_error(&more(0), Reason::ENHANCE_YOUR_CALM);
    // Bytes: 32,768 in all and one more.
    let filler = vec![0x82; 16_384];
    let mut talk = Talk::new();
    talk.feed(&frame(HEADERS, 0, 1, &filler)).unwrap();
    talk.feed(&frame(CONTINUATION, 0, 1, &filler)).unwrap();
    talk.expect_connection_error(&frame(CONTINUATION, 0, 1, &[0x82]), Reason::ENHANCE_YOUR_CALM);
    // Time: the block has a deadline, however fast it comes.
    let mut talk = Talk::with(Http2Limits { header_bytes_per_s_min: 1, ..Default::default() });
    talk.now = 100;
    talk.feed(&begin).unwrap();
    assert_eq!(talk.connection.poll_timeout(), Some(10_100));
    assert_eq!(talk.connection.handle_timeout(10_099).map(|event| event.is_none()), Ok(true));
    assert_eq!(talk.connection.handle_timeout(10_100).unwrap_err().reason, Reason::ENHANCE_YOUR_CALM);
    // It runs from the first byte of the first frame, not from its last one.
    let mut talk = Talk::new();
    talk.now = 100;
    talk.feed(&frame(HEADERS, 0, 1, &filler)[..8_000]).unwrap();
    talk.now = 9_000;
    talk.feed(&frame(HEADERS, 0, 1, &filler)[8_000..]).unwrap();
    assert_eq!(talk.connection.poll_timeout(), Some(10_100));
    assert_eq!(talk.connection.handle_timeout(10_100).unwrap_err().fault, Fault::Timeout);
}

#[test]
fn f_04_one_frame_that_dribbles_in() {
    let mut talk = Talk::with(Http2Limits { header_grace_ms: 10_000, ..Default::default() });
    talk.now = 100;
    talk.feed(&get(1)[..12]).unwrap();
    talk.now = 9_000;
    talk.feed(&get(1)[12..14]).unwrap();
    assert_eq!(talk.connection.poll_timeout(), Some(10_100));
    assert_eq!(talk.connection.handle_timeout(10_100).unwrap_err().fault, Fault::Timeout);
    let mut talk = Talk::new();
    talk.feed(&get(1)[..12]).unwrap();
    talk.feed(&get(1)[12..]).unwrap();
    assert_eq!(talk.connection.poll_timeout(), None);
}

#[test]
fn r_01_a_head_that_drips_is_given_up_after_its_grace() {
    let head = [block(&GET), vec![0x82; 3_000]].concat();
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    let (begin, more) = (frame(HEADERS, 0, 1, &head[..100]), frame(CONTINUATION, 0, 1, &head[100..200]));
    // Where it drips: in the frame's own header, in its payload, between the frames of a block, and in each of these
    // again. For each how much of the block has come.
    let cases: [(Vec<u8>, u64); 6] = [
        (whole[..4].to_vec(), 4),
        (whole[..9].to_vec(), 0),
        (whole[..1_009].to_vec(), 1_000),
        (begin.clone(), 100),
        ([&begin[..], &more].concat(), 200),
        ([&begin[..], &more[..59]].concat(), 150),
    ];
    for (bytes, arrived) in cases {
        let due = 100 + 2_000 + arrived * 2;
        for piece in [1, 7, bytes.len()] {
            let mut talk = Talk::new();
            talk.now = 100;
            bytes.chunks(piece).for_each(|piece| assert_eq!(talk.feed(piece), Ok(vec![])));
            assert_eq!(talk.connection.poll_timeout(), Some(due), "{arrived}");
            assert!(talk.connection.handle_timeout(due - 1).unwrap().is_none());
            let error = talk.connection.handle_timeout(due).unwrap_err();
            assert_eq!((error.reason, error.fault), (Reason::ENHANCE_YOUR_CALM, Fault::Timeout));
            let sent = talk.sent();
            assert_eq!((sent.len(), sent[0].kind), (1, GOAWAY));
        }
    }
    // At the least rate it may go on for as long as a head may take, and no longer.
    let mut talk = Talk::new();
    let head = [block(&GET), vec![0x82; 10_000]].concat();
    for (at, piece) in frame(HEADERS, END_HEADERS, 1, &head)[..8_000].chunks(50).enumerate() {
        talk.now = at as u64 * 100;
        assert!(talk.connection.handle_timeout(talk.now).unwrap().is_none(), "{at}");
        talk.feed(piece).unwrap();
        if talk.now >= 9_900 {
            break;
        }
    }
    assert_eq!(talk.connection.poll_timeout(), Some(10_000));
    // What was not read for a while, because the answers wait, is not the peer's delay.
    for bytes in [&whole[..4], &[&begin[..], &more[..59]].concat()] {
        let mut talk = Talk::new();
        talk.feed(bytes).unwrap();
        let due = talk.connection.poll_timeout().unwrap();
        talk.connection.excuse(due - 1);
        assert_eq!(talk.connection.poll_timeout(), Some(2 * due - 1));
        assert!(talk.connection.handle_timeout(due).unwrap().is_none());
        assert!(talk.connection.handle_timeout(2 * due - 1).is_err());
    }
    // When it is whole its time is over, and that of the next one begins with its first byte.
    let mut talk = Talk::new();
    talk.feed(&get(1)[..5]).unwrap();
    talk.now = 1_900;
    talk.feed(&get(1)[5..]).unwrap();
    assert_eq!(talk.connection.poll_timeout(), None);
    talk.feed(&get(3)[..5]).unwrap();
    assert_eq!(talk.connection.poll_timeout(), Some(1_900 + 2_010));
}

#[test]
fn f_05_the_bomb_of_indexed_references() {
    // One large entry, then references to it: 431 up to twice the limit, the end beyond.
    let bomb = |references: usize| {
        let mut bytes = block(&GET);
        bytes.extend(b"\x40\x01a\x7f\x81\x1e"); // 4,000 bytes of value
        bytes.extend(vec![b'v'; 0x7f + 0x01 + (0x1e << 7)]);
        bytes.extend(vec![0xbe; references]);
        bytes
    };
    let mut talk = Talk::new();
    assert_eq!(talk.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(6))).unwrap().len(), 1);
    let mut talk = Talk::new();
    assert_eq!(talk.feed(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(8))), Ok(vec![]));
    let sent = talk.sent();
    assert_eq!((sent.len(), sent[0].kind, &sent[0].payload[..]), (1, HEADERS, &b"\x08\x03431"[..]));
    Talk::new().expect_connection_error(&frame(HEADERS, END_HEADERS, 1, &bomb(20)), Reason::ENHANCE_YOUR_CALM);
    // Crumbs and empty fields count as fields: 100 pass, 101 are answered by 431.
    let crumbs = |count: usize| [block(&GET), block(&vec![("cookie", ""); count])].concat();
    assert_eq!(Talk::new().feed(&frame(HEADERS, END_HEADERS, 1, &crumbs(96))).unwrap().len(), 1);
    let mut talk = Talk::new();
    assert_eq!(talk.feed(&frame(HEADERS, END_HEADERS, 1, &crumbs(97))), Ok(vec![]));
    assert_eq!(talk.sent().iter().map(|sent| sent.kind).collect::<Vec<_>>(), [HEADERS, RST_STREAM]);
    Talk::new().expect_connection_error(&frame(HEADERS, END_HEADERS, 1, &crumbs(197)), Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn f_09_ping_and_settings_floods_with_acks_unread() {
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |_| frame(PING, 0, 0, &[0; 8])), 1000);
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |_| settings(&[])), 1000);
    // Nothing is read out: reading stops first, and the queue itself has an end.
    let limits = Http2Limits { output_bytes_max: 170, control_frames_queued_max: 20, ..Default::default() };
    let mut talk = Talk::with(limits);
    for count in 0..20 {
        assert_eq!(talk.connection.wants_input(0), count <= 10, "{count}");
        talk.feed(&frame(PING, 0, 0, &[0; 8])).unwrap();
    }
    assert!(!talk.connection.wants_input(0));
    let error = talk.feed(&frame(PING, 0, 0, &[0; 8])).unwrap_err();
    assert_eq!(error.fault, Fault::ControlQueue);
    assert!(Talk::new().connection.wants_input(262_144));
    assert!(!Talk::new().connection.wants_input(262_145));
}

#[test]
fn f_10_settings_with_many_entries() {
    assert!(Talk::new().feed(&settings(&[(0xff, 1); 32])).is_ok());
    Talk::new().expect_connection_error(&settings(&[(0xff, 1); 33]), Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn f_11_initial_window_toggling() {
    let mut talk = Talk::new();
    for id in (1..200).step_by(2) {
        talk.feed(&get(id)).unwrap();
    }
    let passed = until_calm(&mut talk, |n| settings(&[(4, if n % 2 == 0 { 0 } else { 0x7fff_ffff })]));
    assert_eq!(passed, 1000);
}

#[test]
fn f_12_malformed_heads() {
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |n| request(2 * n + 1, 0, &[("X", "")])), 100);
}

#[test]
fn f_13_priority_churn() {
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |n| frame(PRIORITY, 0, 1 + 2 * (n % 50), &[0, 0, 0, 3, 1])), 1000);
}

#[test]
fn f_13_goaway_again_and_again() {
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |_| frame(GOAWAY, 0, 0, &[0; 8])), 1000);
}

#[test]
fn f_14_priority_update_for_idle_streams_is_bounded() {
    let mut talk = Talk::with(Http2Limits { streams_max: 10, ..Default::default() });
    let before = talk.connection.memory_bytes();
    for id in 0..900u32 {
        let payload = [&(2 * id + 1).to_be_bytes()[..], b"u=1"].concat();
        talk.feed(&frame(PRIORITY_UPDATE, 0, 0, &payload)).unwrap();
    }
    assert!(talk.connection.memory_bytes() - before <= 16 * 8);
    assert!(until_calm(&mut talk, |_| frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1")) <= 100);
}

#[test]
fn f_15_tiny_windows_are_charged() {
    let mut talk = Talk::new();
    talk.feed(&settings(&[(4, 0)])).unwrap();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], false).unwrap();
    talk.connection.offer(&mut talk.out, key, 1 << 20, false).unwrap();
    talk.sent();
    let mut sent = 0;
    while talk.connection.error().is_none() {
        if talk.feed(&window_update(1, 1)).is_err() {
            break;
        }
        while let Some(grant) = talk.connection.next_data(&mut talk.out, 16_384) {
            assert_eq!(grant.length, 1);
            sent += 1;
        }
        talk.out.clear();
    }
    assert!(sent <= 1001, "{sent}");
    assert_eq!(talk.connection.error().unwrap().reason, Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn f_17_empty_and_padding_only_data() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    assert_eq!(until_calm(&mut talk, |_| frame(DATA, 0, 1, b"")), 200);
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    assert_eq!(until_calm(&mut talk, |_| frame(DATA, PADDED, 1, b"\x01\0")), 200);
    // An empty frame that ends the stream is how many clients end it.
    let mut talk = Talk::new();
    for id in (1..2001).step_by(2) {
        talk.feed(&[post(id), frame(DATA, END_STREAM, id, b"")].concat()).unwrap();
        talk.respond(id, b"x");
    }
    assert_eq!(talk.connection.glitch_tokens(), 1000);
}

#[test]
fn f_18_f_19_header_table_and_frame_size() {
    let mut talk = Talk::new();
    talk.feed(&settings(&[(1, u32::MAX)])).unwrap();
    for id in (1..400).step_by(2) {
        talk.feed(&get(id)).unwrap();
        let key = talk.key(id);
        let value = http::HeaderValue::from_str(&format!("{id:0100}")).unwrap();
        let fields = [(&http::header::SERVER, &value)];
        talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, fields, true).unwrap();
        talk.done(id);
    }
    assert!(talk.connection.memory_bytes() < 20_000);
    for size in [0, 16_383, 1 << 24] {
        Talk::new().expect_connection_error(&settings(&[(5, size)]), Reason::PROTOCOL_ERROR);
    }
    assert!(Talk::new().feed(&settings(&[(5, 16_384), (5, (1 << 24) - 1)])).is_ok());
}

#[test]
fn f_20_junk_after_a_connection_error() {
    let mut talk = Talk::new();
    talk.feed(&post(1)).unwrap();
    talk.feed(&frame(PING, 0, 1, &[0; 8])).unwrap_err();
    talk.sent();
    for junk in [&[0xff; 100][..], &get(3), &frame(DATA, 0, 1, b"x"), b""] {
        assert_eq!(talk.feed(junk), Ok(vec![]));
    }
    let key = talk.key(1);
    let _ = talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], true);
    talk.connection.release_capacity(key, 100);
    talk.connection.reset(key, Reason::CANCEL);
    talk.connection.drain(0);
    talk.done(1);
    assert_eq!(talk.sent(), [], "nothing goes out behind the last GOAWAY");
    assert!(talk.connection.is_finished());
    assert_eq!(talk.connection.poll_timeout(), None);
    assert!(!talk.connection.wants_input(0));
}

#[test]
fn f_21_unassigned_frame_types() {
    let mut talk = Talk::new();
    assert_eq!(until_calm(&mut talk, |n| frame(0x0b + (n % 5) as u8 + 0x10, 0xff, n % 3, b"?")), 1000);
}

#[test]
fn f_22_many_distinct_names() {
    let names: Vec<String> = (0..95).map(|number| format!("n{number}")).collect();
    let mut bytes = block(&GET);
    bytes.extend(names.iter().flat_map(|name| block(&[(name, "v")])));
    assert_eq!(Talk::new().feed(&frame(HEADERS, END_HEADERS, 1, &bytes)).unwrap().len(), 1);
    let mut talk = Talk::new();
    bytes.extend(block(&[("one", "more"), ("two", "more")]));
    assert_eq!(talk.feed(&frame(HEADERS, END_HEADERS, 1, &bytes)), Ok(vec![]));
    assert_eq!(&talk.sent()[0].payload[..], b"\x08\x03431");
}

#[test]
fn f_23_slow_preface() {
    let mut talk = Talk::fresh(Http2Limits::default());
    talk.feed(&PREFACE[..20]).unwrap();
    assert_eq!(talk.connection.poll_timeout(), Some(5_000));
    assert!(talk.connection.handle_timeout(4_999).is_ok());
    assert_eq!(talk.connection.handle_timeout(5_000).unwrap_err().fault, Fault::Timeout);
}

#[test]
fn the_budget_works_after_goaway_of_either_side() {
    let mut talk = Talk::new();
    talk.connection.drain(0);
    assert_eq!(until_calm(&mut talk, |_| frame(PING, 0, 0, &[0; 8])), 1000);
    let mut talk = Talk::new();
    // It costs a token itself.
    talk.feed(&frame(GOAWAY, 0, 0, &[0; 8])).unwrap();
    assert_eq!(until_calm(&mut talk, |n| [post(2 * n + 1), rst(2 * n + 1)].concat()), 99);
}

#[test]
fn honest_peers_never_come_near_the_bottom() {
    // A large download with two WINDOW_UPDATEs for every DATA frame.
    let mut talk = Talk::new();
    talk.feed(&get(1)).unwrap();
    let key = talk.key(1);
    talk.connection.send_response(&mut talk.out, key, http::StatusCode::OK, [], false).unwrap();
    for _ in 0..5_000 {
        talk.connection.offer(&mut talk.out, key, 16_384, false).unwrap();
        while talk.connection.next_data(&mut talk.out, 16_384).is_some() {}
        talk.out.clear();
        talk.feed(&[window_update(0, 16_384), window_update(1, 16_384)].concat()).unwrap();
    }
    assert!(talk.connection.glitch_tokens() >= 990);
    // h2load -m 100: batches of a hundred requests.
    let mut talk = Talk::new();
    for batch in 0..50 {
        for id in (0..100).map(|number| 200 * batch + 2 * number + 1) {
            talk.feed(&get(id)).unwrap();
        }
        for id in (0..100).map(|number| 200 * batch + 2 * number + 1) {
            talk.respond(id, b"hello");
        }
        talk.feed(&window_update(0, 500)).unwrap();
        talk.sent();
    }
    assert_eq!(talk.connection.glitch_tokens(), 1000);
    // A trickle of small messages with a cancel every half second.
    let mut talk = Talk::new();
    for second in 0..100u32 {
        talk.now = u64::from(second) * 1000;
        for id in [4 * second + 1, 4 * second + 3] {
            talk.feed(&post(id)).unwrap();
            for _ in 0..100 {
                talk.feed(&frame(DATA, 0, id, b"\0\0\0\0\x05hello")).unwrap();
                talk.connection.release_capacity(talk.key(id), 10);
            }
            talk.feed(&rst(id)).unwrap();
            talk.done(id);
            talk.sent();
        }
    }
    assert!(talk.connection.glitch_tokens() > 900);
}

#[test]
fn f_07_decoding_work_is_linear() {
    use ringgate_protocols::hpack::huffman;
    use std::time::{Duration, Instant};
    // The longest codes, and a string of 8 times the length: the work may not grow by much more than 8 times.
    let time = |length: usize| {
        let mut coded = vec![];
        huffman::encode(&vec![b'\n'; length], &mut coded);
        let mut target = vec![0; huffman::decoded_length_max(coded.len())];
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(huffman::decode(&coded, &mut target), Ok(length));
        }
        begun.elapsed()
    };
    // The shortest times count, and on a busy machine it takes more rounds until there are such of both.
    let (mut short, mut long) = (Duration::MAX, Duration::MAX);
    let is_linear = (0..200).any(|round| {
        (short, long) = (short.min(time(1_000)), long.min(time(8_000)));
        round >= 7 && long < short * 8 * 4
    });
    assert!(is_linear, "{short:?} for 1,000 and {long:?} for 8,000");
}
