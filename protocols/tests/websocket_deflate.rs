//! RFC 7692 against its examples and against an independent implementation of DEFLATE.

mod websocket_common;

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{decompress, inflate_flags};
use miniz_oxide::{MZFlush, deflate, inflate};
use proptest::prelude::*;
use ringgate_protocols::websocket::deflate::Parameters;
use ringgate_protocols::websocket::error::Fault;
use ringgate_protocols::websocket::message::{Kind, Prepared, Variant};
use websocket_common::{End, NO_TAKEOVER, TAKEOVER, Told, binary, close_frame, frame, text, unmasked};

const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A sender of the independent implementation, with context takeover.
struct Sender(Box<CompressorOxide>);

impl Sender {
    fn new(level: i32) -> Self {
        Self(Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(level, -15, 0))))
    }

    fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; payload.len() + payload.len() / 8 + 1_024];
        let result = deflate::stream::deflate(&mut self.0, payload, &mut out, MZFlush::Sync);
        assert_eq!(result.bytes_consumed, payload.len());
        out.truncate(result.bytes_written);
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - 4);
        out
    }
}

/// All messages of one connection, inflated by the independent implementation.
fn inflated(messages: &[&[u8]]) -> Vec<u8> {
    let mut stream: Vec<u8> = messages.iter().flat_map(|message| [message, &TAIL[..]].concat()).collect();
    stream.extend(b"\x01\x00\x00\xff\xff");
    inflate::decompress_to_vec(&stream).expect("what we deflate is DEFLATE")
}

/// The payload of a compressed frame of ours.
#[track_caller]
fn payload_of(frame: &[u8], first: u8) -> &[u8] {
    assert_eq!(frame[0], first);
    match frame[1] {
        length @ 0..126 => {
            assert_eq!(frame.len(), 2 + usize::from(length));
            &frame[2..]
        }
        126 => &frame[4..],
        _ => &frame[10..],
    }
}

fn english(bytes: usize) -> Vec<u8> {
    let mut number = 1_u32;
    let words = ["market", " data", " of the ", "quick ", "brown ", "fox ", "1024", ", ", "price: ", "\n", "é", "🦀"];
    let mut out = Vec::new();
    while out.len() < bytes {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend(words[(number >> 24) as usize % words.len()].as_bytes());
    }
    out.truncate(bytes);
    while std::str::from_utf8(&out).is_err() {
        *out.last_mut().unwrap() = b'.';
        let end = out.len();
        let bad = std::str::from_utf8(&out).err().map_or(end, |error| error.valid_up_to());
        out[bad..].fill(b'.');
    }
    out
}

#[test]
fn d_4_examples_of_section_7_2_3() {
    let examples: [(&str, &[&[u8]]); 5] = [
        ("7.2.3.1, one block", &[&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")]),
        ("7.2.3.1, two frames", &[&frame(0x41, b"\xf2\x48\xcd"), &frame(0x80, b"\xc9\xc9\x07\x00")]),
        ("7.2.3.3, stored", &[&frame(0xc1, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")]),
        ("7.2.3.4, BFINAL", &[&frame(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")]),
        ("7.2.3.5, two blocks", &[&frame(0xc1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")]),
    ];
    for parameters in [NO_TAKEOVER, TAKEOVER] {
        for (name, frames) in examples {
            let mut end = End::server(Some(parameters));
            for frame in frames.iter().chain(frames) {
                end.feed(frame);
            }
            assert_eq!(end.told, [text(b"Hello"), text(b"Hello")], "{name}");
        }
    }
    // 7.2.3.2: the second message refers to the first.
    let second = frame(0xc1, b"\xf2\x00\x11\x00\x00");
    let mut end = End::server(Some(TAKEOVER));
    end.feed(&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"));
    end.feed(&second);
    assert_eq!(end.told, [text(b"Hello"), text(b"Hello")]);
    // Without takeover there is nothing to refer to.
    let mut end = End::server(Some(NO_TAKEOVER));
    end.feed(&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"));
    assert_eq!(end.answer(&second), close_frame(1007));
    assert_eq!(end.fault(), Some(Fault::Deflate));
}

#[test]
fn d_4_empty_messages_and_bfinal_without_its_block() {
    let mut end = End::server(Some(TAKEOVER));
    end.feed(&frame(0xc1, b"\x00"));
    // 7.2.3.6 is the `00`; an empty frame is understood as well.
    end.feed(&frame(0xc2, b""));
    end.feed(&frame(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00"));
    end.feed(&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"));
    assert_eq!(end.told, [text(b""), binary(b""), text(b"Hello"), text(b"Hello")]);
    for parameters in [NO_TAKEOVER, TAKEOVER] {
        let mut end = End::server(Some(parameters));
        for _ in 0..3 {
            end.socket.begin_message(Kind::Binary, true).unwrap();
            end.socket.send_fragment(&mut end.out, b"", true, &mut end.pool).unwrap();
            assert_eq!(std::mem::take(&mut end.out), b"\xc2\x01\x00");
        }
    }
}

/// The tail completes an empty block and nothing else: bytes of it must never be taken for content.
#[test]
fn d_4_a_message_that_ends_within_a_block_is_none() {
    let cut = [
        ("stored, 3 bytes of 10", &b"\x00\x0a\x00\xf5\xffabc"[..]),
        ("stored, 6 bytes of 10", b"\x00\x0a\x00\xf5\xffabcdef"),
        ("stored, before its length", b"\x00\x0a"),
        ("within a symbol", b"\xf2\x48\xcd\xc9"),
    ];
    for (name, payload) in cut {
        for parameters in [NO_TAKEOVER, TAKEOVER] {
            let mut end = End::server(Some(parameters));
            assert_eq!(end.answer(&frame(0xc2, payload)), close_frame(1007), "{name}, {parameters:?}");
            assert_eq!(end.told, [Told::Fault(Fault::Deflate)], "{name}, {parameters:?}");
        }
    }
    // Where the next message begins anew, the block in hand must have ended, be there content in it or not.
    for payload in [&b"\xf2\x48\xcd\xc9\xc9\x07"[..], b"\x00\x0a\x00\xf5\xffabcdefghij", b"\x02"] {
        let mut end = End::server(Some(NO_TAKEOVER));
        end.feed(&frame(0xc2, payload));
        assert_eq!(end.told, [Told::Fault(Fault::Deflate)], "{payload:x?}");
    }
}

#[test]
fn d_3_rsv1_only_on_the_first_data_frame() {
    for first in [0xc8, 0xc9, 0xca] {
        let mut end = End::server(Some(NO_TAKEOVER));
        assert_eq!(end.answer(&frame(first, b"")), close_frame(1002));
    }
    let mut end = End::server(Some(NO_TAKEOVER));
    let bytes = [frame(0x41, b"\xf2\x48\xcd"), frame(0xc0, b"\xc9\xc9\x07\x00")].concat();
    assert_eq!(end.answer(&bytes), close_frame(1002));
    // Not negotiated: a reserved bit like the others.
    let mut end = End::server(None);
    assert_eq!(end.answer(&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")), close_frame(1002));
    // Plain messages are good on a compressed connection.
    let mut end = End::server(Some(NO_TAKEOVER));
    end.feed(&frame(0x81, b"Hello"));
    assert_eq!(end.told, [text(b"Hello")]);
    // We set it on the first fragment alone.
    end.socket.begin_message(Kind::Text, true).unwrap();
    for last in [false, false, true] {
        end.socket.send_fragment(&mut end.out, b"Hello Hello ", last, &mut end.pool).unwrap();
    }
    let mut at = 0;
    let mut firsts = Vec::new();
    while at < end.out.len() {
        firsts.push(end.out[at]);
        at += 2 + usize::from(end.out[at + 1]);
    }
    assert_eq!(firsts, [0x41, 0x00, 0x80]);
    let mut client = End::client(Some(NO_TAKEOVER));
    client.feed(&end.out);
    assert_eq!(client.told, [text(b"Hello Hello Hello Hello Hello Hello ")]);
}

#[test]
fn w_07_the_limit_is_on_the_inflated_size() {
    let limit = 1_048_576;
    let message = english(limit + 1);
    for (bytes, good) in [(&message[1..], true), (&message[..], false)] {
        let bytes = if good { english(limit) } else { bytes.to_vec() };
        let compressed = Sender::new(6).deflate(&bytes);
        assert!(compressed.len() < limit / 2);
        let mut end = End::server(Some(NO_TAKEOVER));
        end.feed(&frame(0xc1, &compressed));
        if good {
            assert_eq!(end.told, [text(&bytes)]);
        } else {
            assert_eq!(end.told, [Told::Fault(Fault::MessageTooBig)]);
            assert_eq!(end.answer(b""), close_frame(1009));
            assert!(end.scratch.len() <= limit + 1);
        }
    }
}

#[test]
fn w_07_a_bomb_costs_bounded_memory() {
    // 65,536 bytes of the same letter are fine, whatever the ratio.
    let mut end = End::server(Some(NO_TAKEOVER));
    end.feed(&frame(0xc1, &Sender::new(9).deflate(&[b'a'; 65_536])));
    assert_eq!(end.told, [text(&[b'a'; 65_536])]);
    // Ten mebibytes of it are given up at the first step beyond.
    let bomb = Sender::new(9).deflate(&vec![0; 10 << 20]);
    assert!(bomb.len() < 12_000);
    let mut end = End::server(Some(NO_TAKEOVER));
    end.feed(&frame(0xc2, &bomb));
    assert_eq!(end.told, [Told::Fault(Fault::InflateRatio)]);
    assert_eq!(end.answer(b""), close_frame(1009));
    assert!(end.scratch.len() <= 65_536 + 16_384, "{}", end.scratch.len());
    // With the ratio open, the size stops it.
    let mut end = End::server(Some(NO_TAKEOVER));
    end.limits.inflate_ratio_max = u32::MAX;
    end.feed(&frame(0xc2, &bomb));
    assert_eq!(end.told, [Told::Fault(Fault::MessageTooBig)]);
    assert!(end.scratch.len() <= (1 << 20) + 1);
}

#[test]
fn w_08_empty_blocks_are_charged() {
    // Empty stored blocks; 60,000 bytes of them give nothing and cost about 930 tokens.
    let empty = b"\x00\x00\x00\xff\xff".repeat(12_000);
    let message = [&empty[..], b"\x00"].concat();
    let mut end = End::server(Some(NO_TAKEOVER));
    end.feed(&frame(0xc1, &message));
    assert_eq!(end.told, [text(b"")]);
    assert_eq!(end.answer(&frame(0xc1, &message)), close_frame(1008));
    assert_eq!(end.fault(), Some(Fault::Flood));
    // Honest messages cost nothing: tiny, empty, incompressible.
    let mut end = End::server(Some(NO_TAKEOVER));
    let noise: Vec<u8> = (0..10_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..2_000 {
        end.feed(&frame(0xc2, &Sender::new(1).deflate(b"{}")));
        end.feed(&frame(0xc2, b"\x00"));
    }
    for _ in 0..20 {
        end.feed(&frame(0xc2, &Sender::new(0).deflate(&noise)));
    }
    assert_eq!(end.fault(), None);
    assert_eq!(end.told.len(), 4_020);
}

#[test]
fn w_10_inflated_text_is_judged() {
    let mut sender = Sender::new(6);
    let mut end = End::server(Some(TAKEOVER));
    end.feed(&frame(0xc2, &sender.deflate(b"\xff\xff")));
    assert_eq!(end.fault(), None);
    assert_eq!(end.answer(&frame(0xc1, &sender.deflate(b"abc\xff"))), close_frame(1007));
    assert_eq!(end.fault(), Some(Fault::Utf8));
    // A character may be cut where the input is.
    let whole = english(5_000);
    let bytes = frame(0xc1, &Sender::new(6).deflate(&whole));
    let mut end = End::server(Some(NO_TAKEOVER));
    bytes.iter().for_each(|byte| end.feed(&[*byte]));
    assert_eq!(end.told, [text(&whole)]);
}

#[test]
fn w_18_compression_is_a_choice_per_message() {
    let payload = english(2_000);
    let mut end = End::server(Some(TAKEOVER));
    end.socket.send_message(&mut end.out, Kind::Text, &payload).unwrap();
    assert_eq!(end.out, unmasked(0x81, &payload));
    end.out.clear();
    end.socket.send_compressed(&mut end.out, Kind::Text, &payload, &mut end.pool).unwrap();
    assert!(end.out[0] == 0xc1 && end.out.len() < payload.len() / 2);
    end.out.clear();
    // Not negotiated: the same call sends plain. What does not shrink goes plain too.
    let mut end = End::server(None);
    end.socket.send_compressed(&mut end.out, Kind::Text, &payload, &mut end.pool).unwrap();
    assert_eq!(end.out, unmasked(0x81, &payload));
    let mut end = End::server(Some(NO_TAKEOVER));
    end.socket.send_compressed(&mut end.out, Kind::Binary, b"\x01\x02\x03", &mut end.pool).unwrap();
    assert_eq!(end.out, unmasked(0x82, b"\x01\x02\x03"));
}

#[test]
fn prepared_messages_are_shared_and_do_not_confuse_the_window() {
    let payload = english(3_000);
    let prepared = Prepared::new(Kind::Text, &payload);
    let (mut pool, mut sent) = (Default::default(), Vec::new());
    let mut bytes = Vec::new();
    for parameters in [NO_TAKEOVER, TAKEOVER, Parameters { server_window_bits: 9, ..TAKEOVER }] {
        let mut server = End::server(Some(parameters));
        let mut client = End::client(Some(parameters));
        for round in 0..3 {
            // Before, between and after messages of the connection's own context.
            let own = english(500 + round);
            server.socket.send_compressed(&mut server.out, Kind::Text, &own, &mut server.pool).unwrap();
            let shared = server.socket.send_prepared(&prepared, true, &mut pool).unwrap();
            assert_eq!(shared[0], 0xc1);
            server.out.extend_from_slice(&shared);
            client.feed(&std::mem::take(&mut server.out));
            assert_eq!(client.told, [text(&own), text(&payload)]);
            client.told.clear();
            sent.push(shared);
        }
        let plain = server.socket.send_prepared(&prepared, false, &mut pool).unwrap();
        assert_eq!(plain[..], unmasked(0x81, &payload));
        bytes.push(plain);
    }
    assert_eq!(sent[0].as_ptr(), sent[5].as_ptr(), "one variant is one piece of memory");
    assert_ne!(sent[0].as_ptr(), sent[8].as_ptr());
    let mut plain = End::server(None);
    assert_eq!(plain.socket.variant(), Variant::Plain);
    let shared = plain.socket.send_prepared(&prepared, true, &mut pool).unwrap();
    assert_eq!(shared.as_ptr(), bytes[0].as_ptr());
}

/// Texts that repeat, bytes that do not, and everything between.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        (0_usize..30_000).prop_map(english),
        (any::<u8>(), 0_usize..60_000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// What we deflate, the independent implementation inflates, with any window and with or without takeover.
    #[test]
    fn ours_is_inflated_by_miniz(
        payloads in prop::collection::vec((payload(), prop::collection::vec(0_usize..2_000, 0..4)), 1..5),
        takeover: bool,
        server_window_bits in 9_u8..=15,
    ) {
        let base = if takeover { TAKEOVER } else { NO_TAKEOVER };
        let mut end = End::server(Some(Parameters { server_window_bits, ..base }));
        let mut client = End::client(Some(Parameters { server_window_bits, ..base }));
        let mut compressed: Vec<Vec<u8>> = Vec::new();
        let mut expected = Vec::new();
        for (payload, cuts) in &payloads {
            end.socket.begin_message(Kind::Binary, true).unwrap();
            let mut rest = &payload[..];
            let mut message = Vec::new();
            for (number, cut) in cuts.iter().enumerate() {
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                end.out.clear();
                end.socket.send_fragment(&mut end.out, piece, false, &mut end.pool).unwrap();
                client.feed(&end.out);
                message.extend(payload_of(&end.out, if number == 0 { 0x42 } else { 0x00 }));
            }
            end.out.clear();
            end.socket.send_fragment(&mut end.out, rest, true, &mut end.pool).unwrap();
            client.feed(&end.out);
            message.extend(payload_of(&end.out, if cuts.is_empty() { 0xc2 } else { 0x80 }));
            if !takeover {
                prop_assert_eq!(&inflated(&[&message]), payload);
            }
            compressed.push(message);
            expected.extend_from_slice(payload);
        }
        let compressed: Vec<&[u8]> = compressed.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(inflated(&compressed), expected);
        if client.fault() != Some(Fault::InflateRatio) {
            let told: Vec<Told> = payloads.iter().map(|(payload, _)| binary(payload)).collect();
            prop_assert_eq!(client.told, told);
        }
    }

    /// What the independent implementation deflates, we inflate, however it is cut.
    #[test]
    fn miniz_is_inflated_by_us(
        payloads in prop::collection::vec(payload(), 1..5),
        takeover: bool,
        level in 0_i32..=9,
        step in 1_usize..3_000,
    ) {
        let mut end = End::server(Some(if takeover { TAKEOVER } else { NO_TAKEOVER }));
        end.limits.inflate_ratio_max = u32::MAX;
        let mut sender = Sender::new(level);
        let mut bytes = Vec::new();
        for payload in &payloads {
            if !takeover {
                sender = Sender::new(level);
            }
            bytes.extend(frame(0xc2, &sender.deflate(payload)));
        }
        bytes.chunks(step).for_each(|piece| end.feed(piece));
        let told: Vec<Told> = payloads.iter().map(|payload| binary(payload)).collect();
        prop_assert_eq!(end.told, told);
    }
}

/// What an independent implementation makes of some bytes: its verdict, how many it has read, and the content.
fn judged(bytes: &[u8], flags: u32) -> (TINFLStatus, usize, Vec<u8>) {
    let mut out = vec![0; 1 << 20];
    let flags = flags | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = decompress(&mut Box::default(), bytes, &mut out, 0, flags);
    out.truncate(written);
    (status, read, out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// D-4: damaged messages are taken where, and for what, the other implementation takes them.
    #[test]
    fn d_4_damaged_messages_as_the_other_one_has_them(
        length in 0..3_000_usize,
        level in 0..10,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut payload = Sender::new(level).deflate(&english(length));
        for (place, byte) in damage {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        if let Some(end) = end {
            payload.truncate(end.index(payload.len()).max(1));
        }
        let mut server = End::server(Some(NO_TAKEOVER));
        server.feed(&frame(0xc2, &payload));
        // With the tail, and a last block behind it that shows where the tail has led.
        let whole = [&payload[..], &TAIL, b"\x03\x00"].concat();
        let (_, _, content) = judged(&payload, inflate_flags::TINFL_FLAG_HAS_MORE_INPUT);
        match judged(&whole, 0) {
            (TINFLStatus::Done, read, expected) if read == whole.len() && expected == content => {
                prop_assert_eq!(&server.told, &[binary(&expected)]);
            }
            // A last block came before: what stands behind it is another stream, of which it knows nothing.
            (TINFLStatus::Done, read, expected) if read < whole.len() => {
                if let [Told::Message(_, message)] = &server.told[..] {
                    prop_assert!(message.starts_with(&expected));
                }
            }
            _ => prop_assert_eq!(&server.told, &[Told::Fault(Fault::Deflate)]),
        }
    }
}
