//! RFC 6455 behind the handshake: each row of the requirements and of the attacks that one machine can show.

mod websocket_common;

use proptest::prelude::*;
use ringgate_protocols::websocket::close::CloseCode;
use ringgate_protocols::websocket::connection::Connection;
use ringgate_protocols::websocket::error::{Fault, Misuse};
use ringgate_protocols::websocket::message::Kind;
use ringgate_protocols::websocket::state::State;
use websocket_common::{End, Told, binary, close_frame, frame, text, unmasked};

/// The fault, the close code on the wire, nothing else in answer, and everything after it ignored.
#[track_caller]
fn refused(bytes: &[u8], fault: Fault) {
    let mut end = End::server(None);
    end.echo = true;
    assert_eq!(end.answer(bytes), close_frame(fault.close_code().get()), "{bytes:x?}");
    assert_eq!(end.told.last(), Some(&Told::Fault(fault)), "{bytes:x?}");
    assert!(end.socket.is_closed());
    let told = end.told.len();
    assert_eq!(end.answer(&frame(0x81, b"still there?")), b"");
    assert_eq!(end.answer(&frame(0x89, b"ping")), b"");
    assert_eq!(end.told.len(), told, "nothing is delivered after a violation");
    assert_eq!(end.socket.send_message(&mut end.out, Kind::Text, b"x"), Err(Misuse::Closing));
    assert!(end.out.is_empty());
}

#[test]
fn ws_3_examples_of_section_5_7() {
    let mut end = End::server(None);
    // A single-frame masked text message.
    end.feed(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    // A masked pong that carries "Hello".
    end.feed(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    // The fragmented text message, masked here since it goes to a server.
    end.feed(&frame(0x01, b"Hel"));
    end.feed(&frame(0x80, b"lo"));
    assert_eq!(end.told, [text(b"Hello"), Told::Pong(b"Hello".to_vec()), text(b"Hello")]);

    // What a server sends: unmasked text, fragments, ping, 256 bytes, 64 KiB.
    let mut out = Vec::new();
    let socket = &mut end.socket;
    socket.send_message(&mut out, Kind::Text, b"Hello").unwrap();
    assert_eq!(std::mem::take(&mut out), b"\x81\x05Hello");
    socket.begin_message(Kind::Text, false).unwrap();
    socket.send_fragment(&mut out, b"Hel", false, &mut end.pool).unwrap();
    socket.send_fragment(&mut out, b"lo", true, &mut end.pool).unwrap();
    assert_eq!(std::mem::take(&mut out), b"\x01\x03Hel\x80\x02lo");
    socket.ping(&mut out, b"Hello").unwrap();
    assert_eq!(std::mem::take(&mut out), b"\x89\x05Hello");
    socket.send_header(&mut out, Kind::Binary, 256).unwrap();
    assert_eq!(std::mem::take(&mut out), b"\x82\x7e\x01\x00");
    socket.send_header(&mut out, Kind::Binary, 65_536).unwrap();
    assert_eq!(out, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
}

#[test]
fn w_01_unmasked_client_frame() {
    refused(&unmasked(0x81, b"Hello"), Fault::Mask);
    // A client refuses a masked one.
    let mut client = End::client(None);
    client.feed(&frame(0x81, b"Hello"));
    assert_eq!(client.told, [Told::Fault(Fault::Mask)]);
}

#[test]
fn w_02_reserved_bits_opcodes_lengths() {
    for bits in 1..8_u8 {
        for opcode in [0x1, 0x2, 0x8, 0x9, 0xa] {
            refused(&frame(0x80 | bits << 4 | opcode, b""), Fault::ReservedBit);
        }
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        refused(&frame(0x80 | opcode, b""), Fault::Opcode);
    }
    refused(b"\x82\xfe\x00\x05", Fault::Length);
    refused(b"\x82\xff\x00\x00\x00\x00\x00\x00\x01\x00", Fault::Length);
}

#[test]
fn w_03_control_frames_and_order() {
    for opcode in [0x8, 0x9, 0xa] {
        refused(&frame(opcode, b""), Fault::ControlFrame);
        refused(&frame(0x80 | opcode, &[b'x'; 126]), Fault::ControlFrame);
    }
    refused(&frame(0x80, b"x"), Fault::ContinuationWithoutStart);
    refused(&frame(0x00, b"x"), Fault::ContinuationWithoutStart);
    for opcode in [0x01, 0x02, 0x81, 0x82] {
        let mut bytes = frame(0x01, b"begin");
        bytes.extend(frame(opcode, b"again"));
        refused(&bytes, Fault::MessageInsideMessage);
    }
    // After a finished message a continuation has nothing to continue.
    let mut end = End::server(None);
    end.feed(&[frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")].concat());
    assert_eq!(end.told, [text(b"ab"), Told::Fault(Fault::ContinuationWithoutStart)]);
    // 125 bytes are good.
    let mut end = End::server(None);
    assert_eq!(end.answer(&frame(0x89, &[b'x'; 125])), unmasked(0x8a, &[b'x'; 125]));
}

#[test]
#[cfg_attr(miri, ignore = "megabytes take minutes")]
fn w_04_length_is_judged_from_the_header() {
    refused(b"\x82\xff\x80", Fault::Length);
    refused(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", Fault::MessageTooBig);
    // 1,048,576 passes, one more does not, also spread over frames; the payload is not waited for.
    refused(b"\x82\xff\x00\x00\x00\x00\x00\x10\x00\x01\x00\x00\x00\x00", Fault::MessageTooBig);
    let mut end = End::server(None);
    end.feed(&frame(0x82, &vec![7; 1_048_576]));
    assert_eq!(end.told, [binary(&vec![7; 1_048_576])]);
    let mut end = End::server(None);
    end.feed(&frame(0x02, &vec![7; 1_048_576]));
    end.feed(&frame(0x00, b""));
    assert_eq!(end.fault(), None);
    end.feed(b"\x80\x81\x00\x00\x00\x00");
    assert_eq!(end.fault(), Some(Fault::MessageTooBig));
}

#[test]
#[cfg_attr(miri, ignore = "thousands of frames take minutes")]
fn w_05_fragment_flood() {
    for (count, good) in [(1_024, true), (1_025, false)] {
        for payload in [&b""[..], b"x"] {
            let mut bytes = frame(0x01, payload);
            for _ in 2..count {
                bytes.extend(frame(0x00, payload));
            }
            bytes.extend(frame(0x80, payload));
            let mut end = End::server(None);
            end.feed(&bytes);
            if good {
                // Tiny fragments are one message in one piece: one event, and one that asks for more.
                assert_eq!(end.told, [text(&payload.repeat(count))]);
                assert_eq!(end.events, 2);
            } else {
                assert_eq!(end.told, [Told::Fault(Fault::TooManyFragments)]);
                assert_eq!(end.answer(b""), close_frame(1008));
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of frames take minutes")]
fn w_06_only_the_latest_ping_is_answered_and_floods_end() {
    let mut end = End::server(None);
    let mut around = Vec::new();
    let (mut pool, mut scratch) = (Default::default(), Vec::new());
    // Output is blocked: nobody polls it.
    let limits = end.limits.clone();
    for number in 0..1_000_u32 {
        let mut bytes = frame(0x89, &number.to_be_bytes());
        let mut around = ringgate_protocols::websocket::event::Environment {
            limits: &limits,
            pool: &mut pool,
            scratch: &mut scratch,
            now_ms: 0,
        };
        end.socket.handle_input(&mut bytes, &mut around).unwrap();
    }
    assert!(end.socket.poll_output(&mut around));
    assert_eq!(around, unmasked(0x8a, &999_u32.to_be_bytes()));
    assert!(!end.socket.poll_output(&mut around));
    // The bucket is empty; 33 come back in a second.
    end.now_ms = 1_000;
    for _ in 0..33 {
        assert_eq!(end.answer(&frame(0x89, b"")), unmasked(0x8a, b""));
    }
    assert_eq!(end.answer(&frame(0x89, b"")), close_frame(1008));
    assert_eq!(end.fault(), Some(Fault::Flood));

    // Pongs nobody asked for are charged alike.
    let mut end = End::server(None);
    end.feed(&frame(0x8a, b"").repeat(1_000));
    assert_eq!(end.fault(), None);
    end.feed(&frame(0x8a, b""));
    assert_eq!(end.fault(), Some(Fault::Flood));
}

#[test]
fn w_10_utf8_fails_fast() {
    // Inside a frame of which only a part has come.
    let mut end = End::server(None);
    let bytes = frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited");
    let header = 6;
    end.feed(&bytes[..header + 12]);
    assert_eq!(end.fault(), None);
    end.feed(&bytes[header + 12..header + 13]);
    assert_eq!(end.answer(b""), close_frame(1007));
    // At the end of a message inside a character.
    refused(&frame(0x81, b"\xe2\x82"), Fault::Utf8);
    // In the reason of a Close.
    refused(&frame(0x88, b"\x03\xe8\xff"), Fault::Utf8);
    refused(&frame(0x88, b"\x03\xe8\xe2\x82"), Fault::Utf8);
    // Binary is not judged.
    let mut end = End::server(None);
    end.feed(&frame(0x82, b"\xff\xfe"));
    assert_eq!(end.told, [binary(b"\xff\xfe")]);
}

#[test]
fn w_11_ws_7_close_bodies() {
    refused(&frame(0x88, b"\x03"), Fault::CloseBody);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        refused(&frame(0x88, &code.to_be_bytes()), Fault::CloseBody);
    }
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let mut end = End::server(None);
        let body = [&code.to_be_bytes(), &b"why"[..]].concat();
        assert_eq!(end.answer(&frame(0x88, &body)), close_frame(code));
        assert_eq!(end.told, [Told::Close(CloseCode::new(code), "why".into())]);
    }
    let mut end = End::server(None);
    assert_eq!(end.answer(&frame(0x88, b"")), unmasked(0x88, b""));
    assert_eq!(end.told, [Told::Close(None, String::new())]);
}

#[test]
fn w_12_ws_6_the_close_handshake_both_ways() {
    // The peer closes: echoed once, and what follows is discarded.
    let mut end = End::server(None);
    end.echo = true;
    let bytes = [frame(0x88, b"\x03\xe8"), frame(0x81, b"late"), frame(0x89, b"late"), frame(0x88, b"")].concat();
    assert_eq!(end.answer(&bytes), close_frame(1000));
    assert_eq!(end.told, [Told::Close(Some(CloseCode::NORMAL), String::new())]);
    assert!(end.socket.is_closed());
    assert_eq!(end.answer(b"\xff\xff garbage"), b"");
    assert_eq!(end.told.len(), 1);

    // We close: messages on the way still come, pings are not answered, a second Close of ours is refused.
    let mut end = End::server(None);
    end.socket.close(&mut end.out, Some(CloseCode::GOING_AWAY), "bye", 0).unwrap();
    assert_eq!(end.out, b"\x88\x05\x03\xe9bye");
    end.out.clear();
    assert_eq!(end.socket.close(&mut end.out, None, "", 0), Err(Misuse::Closing));
    assert_eq!(end.socket.send_message(&mut end.out, Kind::Text, b"x"), Err(Misuse::Closing));
    assert_eq!(end.answer(&[frame(0x81, b"on its way"), frame(0x89, b"?")].concat()), b"");
    assert_eq!(end.socket.state(), State::Closing);
    assert_eq!(end.answer(&frame(0x88, b"\x03\xe9")), b"");
    assert!(end.socket.is_closed());
    assert_eq!(end.told.len(), 3);

    // What a ping before it is owed goes ahead of it: behind a Close nothing is said.
    let mut end = End::server(None);
    end.feed(&frame(0x89, b"?"));
    end.socket.close(&mut end.out, Some(CloseCode::NORMAL), "", 0).unwrap();
    assert_eq!(end.out, [unmasked(0x8a, b"?"), close_frame(1000)].concat());
    assert!(!end.socket.has_output());

    // Both at once: no answer to the answer.
    let (mut server, mut client) = (End::server(None), End::client(None));
    server.socket.close(&mut server.out, Some(CloseCode::NORMAL), "", 0).unwrap();
    client.socket.close(&mut client.out, Some(CloseCode::GOING_AWAY), "", 0).unwrap();
    let (from_server, from_client) = (std::mem::take(&mut server.out), std::mem::take(&mut client.out));
    assert_eq!(server.answer(&from_client), b"");
    assert_eq!(client.answer(&from_server), b"");
    assert!(server.socket.is_closed() && client.socket.is_closed());

    // The application answers with a code of its own.
    let mut socket = End::server(None);
    let mut bytes = frame(0x88, b"\x03\xe8");
    let mut around = ringgate_protocols::websocket::event::Environment {
        limits: &socket.limits,
        pool: &mut socket.pool,
        scratch: &mut socket.scratch,
        now_ms: 0,
    };
    socket.socket.handle_input(&mut bytes, &mut around).unwrap();
    let mut out = Vec::new();
    socket.socket.close(&mut out, CloseCode::new(4000), "", 0).unwrap();
    assert_eq!(out, close_frame(4000));
    assert!(!socket.socket.poll_output(&mut out));
    assert!(socket.socket.is_closed());
    // A violation while we wait for the Close cannot be answered any more.
    let mut end = End::server(None);
    end.socket.close(&mut end.out, None, "", 0).unwrap();
    end.out.clear();
    assert_eq!(end.answer(&unmasked(0x81, b"x")), b"");
    assert!(end.socket.is_closed());
}

#[test]
fn w_17_a_client_takes_a_fresh_key_for_each_frame() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU8::new(0));
    let count = asked.clone();
    let keys = Box::new(move || [count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1; 4]);
    let mut socket = Connection::client(None, keys, 0);
    let mut out = Vec::new();
    socket.send_message(&mut out, Kind::Text, b"a").unwrap();
    socket.ping(&mut out, b"b").unwrap();
    socket.close(&mut out, Some(CloseCode::NORMAL), "", 0).unwrap();
    let expected = b"\x81\x81\x01\x01\x01\x01\x60\x89\x81\x02\x02\x02\x02\x60\x88\x82\x03\x03\x03\x03\x00\xeb";
    assert_eq!(out, expected);
    let mut server = End::server(None);
    server.feed(&out);
    let close = Told::Close(Some(CloseCode::NORMAL), String::new());
    assert_eq!(server.told, [text(b"a"), Told::Ping(b"b".to_vec()), close]);
}

#[test]
fn ws_4_control_frames_between_fragments() {
    let mut end = End::server(None);
    let bytes = [frame(0x01, b"Hel"), frame(0x89, b"p"), frame(0x00, b"l"), frame(0x8a, b"q"), frame(0x80, b"o")];
    assert_eq!(end.answer(&bytes.concat()), unmasked(0x8a, b"p"));
    assert_eq!(end.told, [Told::Ping(b"p".to_vec()), Told::Pong(b"q".to_vec()), text(b"Hello")]);
    // A Close ends the conversation also inside a message.
    let mut end = End::server(None);
    assert_eq!(end.answer(&[frame(0x01, b"Hel"), frame(0x88, b"")].concat()), unmasked(0x88, b""));
    assert_eq!(end.told, [Told::Close(None, String::new())]);
    // And we may speak control between our fragments, but begin no other message.
    let mut end = End::server(None);
    end.socket.begin_message(Kind::Text, false).unwrap();
    end.socket.send_fragment(&mut end.out, b"a", false, &mut end.pool).unwrap();
    assert_eq!(end.socket.send_message(&mut end.out, Kind::Text, b"x"), Err(Misuse::MessageUnfinished));
    assert_eq!(end.socket.begin_message(Kind::Text, false), Err(Misuse::MessageUnfinished));
    end.socket.ping(&mut end.out, b"").unwrap();
    end.socket.send_fragment(&mut end.out, b"", true, &mut end.pool).unwrap();
    assert_eq!(end.out, b"\x01\x01a\x89\x00\x80\x00");
    assert_eq!(end.socket.send_fragment(&mut end.out, b"", true, &mut end.pool), Err(Misuse::NoMessage));
    assert_eq!(end.socket.ping(&mut end.out, &[0; 126]), Err(Misuse::ControlTooLong));
    let long = "x".repeat(124);
    let closed = end.socket.close(&mut end.out, Some(CloseCode::NORMAL), &long, 0);
    assert_eq!(closed, Err(Misuse::ControlTooLong));
    end.socket.close(&mut end.out, Some(CloseCode::NORMAL), &long[..123], 0).unwrap();
}

#[test]
fn ws_5_utf8_is_judged_over_the_whole_message() {
    let whole = "κόσμε 🦀".as_bytes();
    for cut in 0..=whole.len() {
        let mut end = End::server(None);
        end.feed(&[frame(0x01, &whole[..cut]), frame(0x89, b""), frame(0x80, &whole[cut..])].concat());
        assert_eq!(end.told, [Told::Ping(Vec::new()), text(whole)], "cut {cut}");
    }
    // The next message begins anew.
    let mut end = End::server(None);
    end.feed(&[frame(0x81, whole), frame(0x81, whole)].concat());
    assert_eq!(end.told, [text(whole), text(whole)]);
}

#[test]
fn ws_8_the_cuts_of_fragments_are_not_told() {
    let whole: Vec<u8> = (0..100).collect();
    let mut bytes = frame(0x02, &whole[..10]);
    for piece in whole[10..90].chunks(7) {
        bytes.extend(frame(0x00, piece));
    }
    bytes.extend(frame(0x80, &whole[90..]));
    let mut end = End::server(None);
    end.feed(&bytes);
    assert_eq!(end.told, [binary(&whole)]);
    assert_eq!(end.events, 2, "one message, and the wish for more");
}

/// over an HTTP/2 stream the same frames travel, and masking stays required.
#[test]
fn x_3_masking_on_a_stream() {
    let mut end = End::server(None);
    assert_eq!(end.answer(&unmasked(0x82, b"no mask")), close_frame(1002));
    // The end of the machine is the moment for END_STREAM.
    assert!(end.socket.is_closed());
}

/// The end of the longest prefix of UTF-8 that a continuation could make valid.
fn fails_at(bytes: &[u8]) -> Option<usize> {
    let error = std::str::from_utf8(bytes).err()?;
    error.error_len()?;
    let good = error.valid_up_to();
    (good + 1..=bytes.len()).find(|&end| std::str::from_utf8(&bytes[good..end]).is_err_and(|e| e.error_len().is_some()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// W-10: long texts with at most one bad place fail at the byte that std names, whatever the pieces.
    #[test]
    #[cfg_attr(miri, ignore = "to make up the texts alone takes minutes")]
    fn w_10_long_texts_fail_where_std_says(
        mut bytes in "[ -~]{0,400}[a-zé€🦀]{0,200}[ -~]{0,200}".prop_map(String::into_bytes),
        bad in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        step in 1_usize..400,
    ) {
        if let Some((place, byte)) = bad && !bytes.is_empty() {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let framed = frame(0x81, &bytes);
        let header = framed.len() - bytes.len();
        let expected = fails_at(&bytes);
        let mut end = End::server(None);
        end.feed(&framed[..header]);
        let (mut at, mut failed) = (header, None);
        for piece in framed[header..].chunks(step) {
            at += piece.len();
            end.feed(piece);
            if end.fault().is_some() {
                failed = Some(at - header);
                break;
            }
        }
        match expected {
            // In the very piece that holds the bad byte.
            Some(place) => prop_assert_eq!(failed, Some(place.div_ceil(step) * step).map(|end| end.min(bytes.len()))),
            None if std::str::from_utf8(&bytes).is_ok() => prop_assert_eq!(end.told, [text(&bytes)]),
            None => prop_assert_eq!(failed, Some(bytes.len())),
        }
    }
}

/// An idle connection is small, and holds nothing besides.
#[test]
fn a_connection_is_small() {
    let bytes = size_of::<Connection>();
    assert!(bytes <= 200, "{bytes} bytes");
}
