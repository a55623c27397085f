//! Our codec against independent ones, under property tests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use ringgate_protocols::hpack::decode::{BlockLimits, Decoder, Outcome};
use ringgate_protocols::hpack::encode::Encoder;
use ringgate_protocols::hpack::huffman;
use ringgate_protocols::hpack::text::Text;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

const LIMITS: BlockLimits = BlockLimits { header_bytes_max: 1 << 20, field_count_max: 1000 };

fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<Fields> {
    let mut text = Text::default();
    let mut fields = vec![];
    let outcome = decoder.decode(block, &mut text, LIMITS, |bytes, field| {
        fields.push((field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec()));
    });
    (outcome == Ok(Outcome::Complete)).then_some(fields)
}

/// Names and values that repeat often enough to use the tables, with arbitrary ones among them.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = prop_oneof![
        Just(":method"),
        Just(":path"),
        Just("content-length"),
        Just("content-type"),
        Just("cookie"),
        Just("set-cookie"),
        Just("authorization"),
        Just("date"),
        Just("x-one"),
        Just("x-two"),
    ]
    .prop_map(|name| name.as_bytes().to_vec());
    let name = prop_oneof![4 => name, 1 => proptest::collection::vec(any::<u8>(), 0..40)];
    let value = prop_oneof![
        3 => prop_oneof![Just("GET"), Just("/"), Just("0"), Just("text/html"), Just("a longer value, told twice")]
            .prop_map(|value| value.as_bytes().to_vec()),
        2 => "[ -~]{0,30}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ];
    (name, value)
}

fn blocks() -> impl Strategy<Value = Vec<Fields>> {
    proptest::collection::vec(proptest::collection::vec(field(), 1..20), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    /// What we encode, we, `hpack` and `fluke-hpack` decode to the same fields, block after block, through changes of
    /// the table's size.
    #[test]
    fn our_blocks_are_read_alike(blocks in blocks(), sizes in proptest::collection::vec(0..6000usize, 12)) {
        let mut encoder = Encoder::new(4096);
        let (mut ours, mut hpack, mut fluke) = (Decoder::new(4096), hpack::Decoder::new(), fluke_hpack::Decoder::new());
        for (fields, size) in blocks.iter().zip(sizes) {
            encoder.set_peer_limit(size);
            let mut block = vec![];
            encoder.begin(&mut block);
            for (index, (name, value)) in fields.iter().enumerate() {
                encoder.field(&mut block, name, value, index % 7 == 6);
            }
            prop_assert_eq!(decode(&mut ours, &block), Some(fields.clone()));
            prop_assert_eq!(ours.table().size(), encoder.table().size());
            prop_assert!(encoder.table().size_max() <= 4096);
            let theirs = catch_unwind(AssertUnwindSafe(|| hpack.decode(&block)));
            prop_assert_eq!(theirs.ok().and_then(Result::ok), Some(fields.clone()));
            let theirs = catch_unwind(AssertUnwindSafe(|| fluke.decode(&block)));
            prop_assert_eq!(theirs.ok().and_then(Result::ok), Some(fields.clone()));
        }
    }

    /// What `hpack` and `fluke-hpack` encode, we decode.
    #[test]
    fn their_blocks_are_read(blocks in blocks()) {
        let (mut one, mut two) = (Decoder::new(4096), Decoder::new(4096));
        let (mut hpack, mut fluke) = (hpack::Encoder::new(), fluke_hpack::Encoder::new());
        for fields in &blocks {
            let pairs: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            prop_assert_eq!(decode(&mut one, &hpack.encode(pairs.iter().copied())), Some(fields.clone()));
            prop_assert_eq!(decode(&mut two, &fluke.encode(pairs.iter().copied())), Some(fields.clone()));
        }
    }

    /// Arbitrary bytes: whatever `hpack` reads without a panic and we read as well, is the same. We may be stricter
    /// (late and large size updates), never more lenient, except where it refuses what the RFC allows.
    #[test]
    fn arbitrary_blocks(block in proptest::collection::vec(any::<u8>(), 0..80)) {
        let ours = decode(&mut Decoder::new(4096), &block);
        let theirs = catch_unwind(AssertUnwindSafe(|| hpack::Decoder::new().decode(&block).ok())).ok().flatten();
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            prop_assert_eq!(ours, theirs);
        }
    }

    /// Huffman both ways for any bytes.
    #[test]
    fn huffman_there_and_back(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut coded = vec![];
        huffman::encode(&text, &mut coded);
        prop_assert_eq!(coded.len(), huffman::encoded_length(&text));
        let mut target = vec![0; huffman::decoded_length_max(coded.len())];
        let length = huffman::decode(&coded, &mut target).unwrap();
        prop_assert_eq!(&target[..length], &text[..]);
        // Any cut is either shorter text or an error, never a panic.
        for cut in 0..coded.len() {
            let _ = huffman::decode(&coded[..cut], &mut target);
        }
    }
}
