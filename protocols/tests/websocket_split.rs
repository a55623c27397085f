//! However the input is cut, the same is told and the same is answered.

mod websocket_common;

use std::io::{Read, Write};

use proptest::prelude::*;
use ringgate_protocols::websocket::message::Kind;
use tungstenite::protocol::{Role, WebSocket};
use websocket_common::{End, NO_TAKEOVER, TAKEOVER, Told, frame, unmasked};

fn conversations() -> Vec<Vec<u8>> {
    let umlaut = "käse 🦀".as_bytes();
    vec![
        frame(0x81, b"Hello"),
        [frame(0x81, b""), frame(0x82, b""), frame(0x81, b"x")].concat(),
        [frame(0x81, umlaut), frame(0x82, umlaut), frame(0x89, b"ping"), frame(0x88, b"\x03\xe8bye")].concat(),
        [frame(0x01, &umlaut[..2]), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, &umlaut[2..])].concat(),
        [frame(0x02, b"ab"), frame(0x00, b"cd"), frame(0x00, b"ef"), frame(0x80, b""), frame(0x81, b"next")].concat(),
        [frame(0x82, &[b'z'; 126]), frame(0x82, &vec![b'y'; 300]), frame(0x8a, &[1; 125])].concat(),
        // Compressed.
        [frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"), frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")].concat(),
        [frame(0x41, b"\xf2\x48\xcd"), frame(0x89, b""), frame(0x00, b""), frame(0x80, b"\xc9\xc9\x07\x00")].concat(),
        [frame(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), frame(0x81, b"plain"), frame(0xc2, b"\x00")].concat(),
        // Faults in the middle.
        [frame(0x81, b"good"), frame(0x81, b"b\xffd"), frame(0x81, b"never")].concat(),
        [frame(0x81, b"good"), frame(0x89, b"p"), frame(0x83, b""), frame(0x81, b"never")].concat(),
        [frame(0x01, b"good"), unmasked(0x80, b"bad")].concat(),
        [frame(0x81, b"\xe2\x82"), frame(0x81, b"never")].concat(),
        [frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"), frame(0xc1, b"\xff\xff\xff")].concat(),
        [frame(0x88, b"\x03"), frame(0x81, b"never")].concat(),
        [frame(0x88, b"\x03\xe8"), frame(0x81, b"never"), b"\xff\xff\xff".to_vec()].concat(),
        b"\x82\xfe\x00\x05".to_vec(),
        b"\x82\xff\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00".to_vec(),
    ]
}

/// What is told and answered when the input comes in these pieces.
fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, compression: usize) -> (Vec<Told>, Vec<u8>) {
    let mut end = End::server([None, Some(NO_TAKEOVER), Some(TAKEOVER)][compression]);
    end.echo = true;
    pieces.into_iter().for_each(|piece| end.feed(piece));
    (end.told, end.out)
}

#[test]
fn every_split() {
    for (number, bytes) in conversations().iter().enumerate() {
        for compression in 0..3 {
            let whole = outcome([&bytes[..]], compression);
            assert!(!whole.0.is_empty());
            assert_eq!(outcome(bytes.chunks(1), compression), whole, "conversation {number}, byte by byte");
            for cut in 0..=bytes.len() {
                let (left, right) = bytes.split_at(cut);
                assert_eq!(outcome([left, right], compression), whole, "conversation {number}, cut at {cut}");
            }
        }
    }
}

/// A frame of any sense or nonsense.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        4 => prop::sample::select(vec![0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0xc1, 0xc2, 0x41]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..140),
        "[a-zé🦀]{0,40}".prop_map(String::into_bytes),
        Just(b"\xf2\x48\xcd\xc9\xc9\x07\x00".to_vec()),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_in_any_pieces(
        frames in prop::collection::vec(any_frame(), 1..12),
        noise in prop::collection::vec(any::<u8>(), 0..20),
        steps in prop::collection::vec(1_usize..60, 1..8),
        compression in 0_usize..3,
    ) {
        let bytes = [frames.concat(), noise].concat();
        let whole = outcome([&bytes[..]], compression);
        prop_assert_eq!(&outcome(bytes.chunks(1), compression), &whole);
        let (mut rest, mut pieces) = (&bytes[..], Vec::new());
        for step in steps.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at((*step).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        prop_assert_eq!(&outcome(pieces, compression), &whole);
    }

    /// An independent client talks to our server and hears its own words; an independent server to our client.
    #[test]
    fn tungstenite_agrees(
        messages in prop::collection::vec((any::<bool>(), "[a-zé🦀]{0,300}", 0_usize..4), 1..10),
        step in 1_usize..200,
    ) {
        for role in [Role::Client, Role::Server] {
            let mut ours = if role == Role::Client { End::server(None) } else { End::client(None) };
            ours.echo = true;
            let mut theirs = WebSocket::from_raw_socket(Wire::default(), role, None);
            for (binary, body, control) in &messages {
                if *control == 0 {
                    theirs.send(tungstenite::Message::Ping(body.bytes().take(100).collect())).unwrap();
                }
                let message = match binary {
                    true => tungstenite::Message::binary(body.clone().into_bytes()),
                    false => tungstenite::Message::text(body.clone()),
                };
                theirs.send(message.clone()).unwrap();
                let sent = std::mem::take(&mut theirs.get_mut().out);
                sent.chunks(step).for_each(|piece| ours.feed(piece));
                let kind = if *binary { Kind::Binary } else { Kind::Text };
                prop_assert_eq!(ours.told.last(), Some(&Told::Message(kind, body.clone().into_bytes())));
                theirs.get_mut().input.extend(ours.out.drain(..));
                if *control == 0 {
                    prop_assert!(theirs.read().unwrap().is_pong());
                }
                prop_assert_eq!(theirs.read().unwrap(), message);
            }
            theirs.close(None).unwrap();
            let _ = theirs.flush();
            let sent = std::mem::take(&mut theirs.get_mut().out);
            ours.feed(&sent);
            prop_assert!(ours.socket.is_closed());
            theirs.get_mut().input.extend(ours.out.drain(..));
            prop_assert!(theirs.read().unwrap().is_close());
        }
    }
}

/// One end of a pretended wire.
#[derive(Default)]
struct Wire {
    input: std::collections::VecDeque<u8>,
    out: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.input.is_empty() { Err(std::io::ErrorKind::WouldBlock.into()) } else { self.input.read(buffer) }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.out.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
