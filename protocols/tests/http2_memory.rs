//! The resource theorem: whatever arrives, the machine holds a bounded amount of memory, and says the truth about it.
//! One test only, since the allocator counts the whole process.

mod peer;

use std::alloc::System;

use peer::*;
use ringgate_protocols::http2::connection::{Connection, Event};
use ringgate_protocols::http2::request::HeadPool;
use ringgate_protocols::limits::Http2Limits;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as u32) % below
    }
}

/// A hostile client: large heads and tables, open streams that nobody finishes, control frames whose answers are not
/// read, priorities for streams to come, blocks that do not end.
fn attack(random: &mut Random, next: &mut u32) -> Vec<u8> {
    let id = 2 * random.next(*next / 2 + 1) + 1;
    match random.next(14) {
        0..=3 => {
            *next += 2;
            let name = format!("n{}", random.next(50));
            let mut bytes = block(&POST);
            for _ in 0..random.next(27) {
                bytes.extend([0x40, name.len() as u8]);
                bytes.extend(name.as_bytes());
                bytes.push(100);
                bytes.extend([b'v'; 100]);
                bytes.extend([0xbe; 3]);
            }
            let flags = if random.next(300) == 0 { 0 } else { END_HEADERS };
            frame(HEADERS, flags, *next, &bytes)
        }
        4 => {
            *next += 2;
            let mut large = block(&GET);
            raw_field(&mut large, b"large", &vec![b'v'; random.next(31_000) as usize]);
            let mut bytes = vec![];
            let pieces = large.chunks(16_000).count();
            for (index, piece) in large.chunks(16_000).enumerate() {
                // Now and then the last frame does not come, and its bytes are what stays.
                let end = index + 1 == pieces && random.next(60) > 0;
                let kind = if index == 0 { HEADERS } else { CONTINUATION };
                bytes.extend(frame(kind, if end { END_HEADERS } else { 0 }, *next, piece));
            }
            bytes
        }
        5..=6 => frame(DATA, 0, id, &vec![1; random.next(2_000) as usize + 1]),
        7 => frame(PING, 0, 0, &[0; 8]),
        8 => settings(&[(4, random.next(100_000)), (1, random.next(1 << 20))]),
        9 => frame(PRIORITY_UPDATE, 0, 0, &[&(*next + 2 * random.next(5_000)).to_be_bytes()[..], b"u=1,i"].concat()),
        10 => window_update(id, random.next(1000) + 1),
        11 => rst(id),
        12 => frame(GOAWAY, 0, 0, &vec![0; 8 + random.next(16_000) as usize]),
        _ => frame(0x70, 0, id, &vec![0; random.next(16_000) as usize]),
    }
}

#[test]
fn f_05_memory_is_bounded_for_whatever_arrives() {
    // Sizes that issue and notes promise.
    let hello = [PREFACE, &settings(&[]), &frame(SETTINGS, ACK, 0, &[])].concat();
    // The least of several, for the threads of the test program are counted too.
    let (bytes, said) = (0..5)
        .map(|_| {
            let region = Region::new(COUNTED);
            let mut idle = Connection::new(Http2Limits::default(), 0);
            let mut heads = HeadPool::new();
            assert!(idle.handle_input(&mut heads, &hello, 0).unwrap().event.is_none());
            idle.poll_output(&mut Vec::new());
            (held(&region) + size_of::<Connection>(), idle.memory_bytes())
        })
        .min()
        .unwrap();
    assert!(bytes <= 3 * 1024, "an idle connection that served nothing: {bytes}");
    assert!(said >= bytes, "{said} said, {bytes} held");

    let mut talk = Talk::new();
    for id in (1..200).step_by(2) {
        let _ = talk.connection.handle_input(&mut talk.heads, &post(id), 0).unwrap();
    }
    assert_eq!(talk.connection.streams_live(), 100);
    assert!(talk.connection.memory_bytes() <= 32 * 1024, "a hundred streams: {}", talk.connection.memory_bytes());
    drop(talk);

    // The bound for everything: machine + two tables + two block buffers + control queue + streams.
    let first = post(1);
    const BOUND: usize = 128 * 1024;
    let mut random = Random(11);
    let (mut peak, mut dead) = (0, 0);
    for _ in 0..200 {
        let mut heads = HeadPool::new();
        let region = Region::new(COUNTED);
        let mut connection = Connection::new(Http2Limits { glitch_tokens_max: 100_000, ..Default::default() }, 0);
        let mut next = 1;
        assert!(connection.handle_input(&mut heads, &hello, 0).is_ok());
        assert!(connection.handle_input(&mut heads, &first, 0).is_ok());
        for _ in 0..400 {
            let input = attack(&mut random, &mut next);
            let mut at = 0;
            let mut error = false;
            while let Ok(step) = connection.handle_input(&mut heads, &input[at..], 0).inspect_err(|_| error = true) {
                at += step.consumed;
                match step.event {
                    Some(Event::Request { head, .. } | Event::Trailers { head, .. }) => drop(head),
                    Some(_) => {}
                    None => break,
                }
            }
            drop(input);
            let bytes = held(&region);
            peak = peak.max(bytes);
            assert!(bytes <= BOUND, "{bytes} bytes held");
            let said = connection.memory_bytes();
            // The pool's heads are the core's and not the connection's.
            assert!(said + 40_000 >= bytes, "{said} said, {bytes} held");
            if error {
                dead += 1;
                break;
            }
        }
    }
    println!("peak {peak} bytes, {dead} of 200 ended");
    assert!(peak > 50_000, "the attack is no attack: {peak}");
    assert!((10..190).contains(&dead), "some attacks end in a connection error: {dead}");
}
