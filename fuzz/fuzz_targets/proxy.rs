//! Arbitrary bytes as the header of a proxy: what is read of a part is never taken back by the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringgate_protocols::proxy::{PROXY_V2_BYTES_MAX, Step, read};

fuzz_target!(|data: &[u8]| {
    let whole = read(data);
    for cut in 0..data.len() {
        match read(&data[..cut]) {
            Ok(Step::NeedInput) => assert!(cut < PROXY_V2_BYTES_MAX),
            Ok(Step::Whole { consumed, .. }) => {
                assert!(consumed <= cut);
                assert_eq!(read(&data[..cut]), whole);
            }
            Err(fault) => assert_eq!(Err(fault), whole),
        }
    }
});
