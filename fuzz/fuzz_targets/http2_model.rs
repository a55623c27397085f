//! The reference model of the stream table in lockstep with the machine, under operations that the fuzzer makes up: the
//! model, and the client that speaks to the machine, are those of the property test. Memory stays bounded meanwhile.
#![no_main]

#[path = "../../protocols/tests/peer/mod.rs"]
mod peer;

use libfuzzer_sys::fuzz_target;
use peer::model::{Operation, run};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The machine, its heads and output, and what the client here remembers of it.
const BYTES_MAX: usize = 256 * 1024;

/// Four bytes make an operation: what, on which stream, and a number.
fn operation([what, stream, high, low]: [u8; 4]) -> Operation {
    let id = 2 * u32::from(stream % 7) + 1;
    let number = u32::from(high) << 8 | u32::from(low);
    let end = stream & 0x80 != 0;
    match what % 13 {
        0..=2 => Operation::Headers { id, end },
        3 | 4 => Operation::Data { id, length: usize::from(low) % 50, end },
        5 => Operation::Rst(id),
        6 => match high {
            0 => Operation::Widen { id, by: u32::from(low) },
            0xff => Operation::Widen { id, by: 0x7fff_ff00 | u32::from(low) },
            _ => Operation::Widen { id, by: number },
        },
        7 => Operation::Widen { id: 0, by: number % 40_000 + 1 },
        8 => Operation::InitialWindow(number),
        9 => Operation::Respond { id, bytes: number as usize },
        10 => Operation::Drain(number as usize % 30_000 + 1),
        11 => Operation::Reset(id),
        _ => Operation::Done(id),
    }
}

fuzz_target!(|data: &[u8]| {
    let held = || {
        let stats = COUNTED.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    };
    let before = held();
    let operations = data.chunks_exact(4).take(256).map(|four| operation([four[0], four[1], four[2], four[3]]));
    run(operations, |_| {
        let bytes = held().saturating_sub(before);
        assert!(bytes <= BYTES_MAX, "{bytes} bytes are held");
    });
});
