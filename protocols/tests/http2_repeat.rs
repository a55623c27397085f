//! What is sent again and again says the same again and again.

mod peer;

use http::{HeaderName, HeaderValue, StatusCode};
use peer::*;
use ringgate_protocols::hpack::decode::{BlockLimits, DecodedField, Decoder};
use ringgate_protocols::hpack::text::Text;
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::http2::repeat::RepeatKey;
use ringgate_protocols::limits::Http2Limits;

/// A head that is sent again and again is written from memory, and says the same to the peer's decoder whatever is sent in
/// between and however small the peer makes its table.
#[test]
fn a_repeated_head_is_the_same_head() {
    let field =
        |name: &'static str, value: String| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
    let mut talk = Talk::new();
    let mut decoder = Decoder::new(4096);
    let mut known = 0;
    for round in 0..400_u32 {
        let id = 2 * round + 1;
        if round == 200 {
            talk.feed(&settings(&[(1, 120)])).unwrap();
        }
        talk.feed(&get(id)).unwrap();
        talk.sent();
        // Two heads by turns, a few of each in a row, and now and then one of its own.
        let (which, is_own) = (round / 7 % 2, round % 11 == 0);
        let fields: Vec<_> = match is_own {
            true => vec![field("cache-control", format!("max-age={round}")), field("vary", "accept".into())],
            false => vec![field("server", "ringgate".into()), field("content-type", format!("text/{which}"))],
        };
        let (key, status) = (talk.key(id), StatusCode::from_u16(200 + which as u16).unwrap());
        let is_known = !is_own && talk.connection.repeat(RepeatKey([u64::from(which), 0, 0, 0]));
        let given = if is_known { &[][..] } else { &fields[..] };
        let given = given.iter().map(|(name, value)| (name, value));
        talk.connection.send_response(&mut talk.out, key, status, given, true).unwrap();
        talk.connection.stream_done(key);
        known += usize::from(is_known);
        let frames = parse(&talk.out);
        let [head] = &frames[..] else { panic!("one frame: {frames:?}") };
        assert_eq!((head.kind, head.flags, head.id), (HEADERS, END_HEADERS | END_STREAM, id));
        let (mut text, mut heard) = (Text::default(), vec![]);
        let limits = BlockLimits { header_bytes_max: 4096, field_count_max: 100 };
        let each = |text: &[u8], field: DecodedField| {
            heard.push((field.name.of(text).to_vec(), field.value.of(text).to_vec()));
        };
        decoder.decode(&head.payload, &mut text, limits, each).unwrap();
        let mut expected = vec![(b":status".to_vec(), status.as_str().as_bytes().to_vec())];
        expected.extend(fields.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().to_vec())));
        assert_eq!(heard, expected, "round {round}");
    }
    assert!(known > 150, "{known} of 400 were written from memory");
}

/// The same for what the peer sends: a block that comes again is the head that a decoder makes of it at that time, whatever
/// came in between.
#[test]
fn a_recurring_block_is_decoded_by_what_the_table_is_now() {
    // GET / of a:b with the newest two entries of the table, if there are any.
    let plain = [&block(&GET)[..], b"\x00\x01x\x01y"].concat();
    let references = [&block(&GET)[..], b"\xbe\xbf"].concat();
    let insert = |value: u8| [&block(&GET)[..], &[0x40, 1, b'n', 1, value]].concat();
    let shrink = [b"\x20", &block(&GET)[..]].concat();
    let grow = [b"\x3f\xe1\x1f", &block(&GET)[..]].concat();
    let (first, second) = (insert(b'1'), insert(b'2'));
    let mut script: Vec<(&[u8], Option<&str>)> = vec![(&plain, Some("x=y")); 4];
    script.extend([(&first[..], Some("n=1")), (&first, Some("n=1"))]);
    script.extend([(&references[..], Some("n=1 n=1")); 4]);
    script.extend([(&plain[..], Some("x=y")), (&references, Some("n=1 n=1")), (&second, Some("n=2"))]);
    script.extend([(&references[..], Some("n=2 n=1")); 4]);
    script.extend([(&first[..], Some("n=1")), (&references, Some("n=1 n=2"))]);
    script.extend([(&references[..], Some("n=1 n=2")); 3]);
    script.extend([(&shrink[..], Some("")), (&plain, Some("x=y")), (&plain, Some("x=y")), (&plain, Some("x=y"))]);
    script.extend([(&grow[..], Some("")), (&grow, Some("")), (&grow, Some("")), (&references, None)]);
    let mut talk = Talk::new();
    for (round, (block, expected)) in script.into_iter().enumerate() {
        let id = 2 * round as u32 + 1;
        let fed = talk.feed(&frame(HEADERS, END_HEADERS | END_STREAM, id, block));
        let Some(expected) = expected else {
            assert_eq!(fed.unwrap_err().reason, Reason::COMPRESSION_ERROR);
            return;
        };
        let told = fed.unwrap();
        let Told::Request { fields, .. } = &told[0] else { panic!("{told:?}") };
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(fields.join(" "), expected, "round {round}");
        talk.done(id);
    }
    panic!("an index beyond the table was accepted");
}

/// The table was made smaller: until the peer has said so nothing it sends is accepted, also not what was sent before.
#[test]
fn k_3_a_recurring_block_owes_its_size_update_too() {
    let limits = Http2Limits { table_bytes_max: 100, ..Default::default() };
    let mut talk = Talk::fresh(limits);
    talk.feed(PREFACE).unwrap();
    talk.feed(&settings(&[])).unwrap();
    for id in [1, 3, 5, 7] {
        talk.feed(&get(id)).unwrap();
    }
    talk.feed(&frame(SETTINGS, 1, 0, &[])).unwrap();
    assert_eq!(talk.feed(&get(9)).unwrap_err().reason, Reason::COMPRESSION_ERROR);
}
