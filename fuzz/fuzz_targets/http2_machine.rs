//! Operations on the machine: bytes of a client in pieces, verbs of an application, time. Nothing panics, memory stays
//! bounded, as the allocator counts it and as the machine says, and when everything has ended every slot and byte is back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringgate_protocols::http2::connection::{Connection, Event};
use ringgate_protocols::http2::reason::Reason;
use ringgate_protocols::http2::request::HeadPool;
use ringgate_protocols::http2::stream::StreamKey;
use ringgate_protocols::limits::Http2Limits;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// For eight streams: the machine, two tables, a block that arrives in pieces, the control queue.
const MACHINE_BYTES_MAX: usize = 96 * 1024;

/// A head that is used again, with text for twice the limit.
const HEAD_BYTES_MAX: usize = 2 * 33 * 1024;

fn held() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fuzz_target!(|data: &[u8]| {
    let before = held();
    let limits = Http2Limits { streams_max: 8, push: true, ..Default::default() };
    let (mut connection, mut heads, mut out) = (Connection::new(limits, 0), HeadPool::new(), Vec::new());
    let mut streams: Vec<StreamKey> = vec![];
    let mut now = 0;
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
    assert!(connection.handle_input(&mut heads, hello, 0).unwrap().event.is_none());
    let mut rest = data;
    while let [operation, argument, tail @ ..] = rest {
        rest = tail;
        let key = streams.get(usize::from(*argument) % streams.len().max(1)).copied();
        match (operation % 16, key) {
            (0..=7, _) => {
                let (mut piece, behind) = tail.split_at(tail.len().min(usize::from(*argument)));
                rest = behind;
                while let Ok(step) = connection.handle_input(&mut heads, piece, now) {
                    piece = &piece[step.consumed..];
                    match step.event {
                        None => {
                            assert!(piece.is_empty());
                            break;
                        }
                        Some(Event::Request { stream, head, .. }) => {
                            for field in &head.head.fields {
                                assert!(!field.name.of(head.bytes()).is_empty());
                                let _ = field.value.of(head.bytes());
                            }
                            let _ = head.head.target.of(head.bytes());
                            heads.recycle(head);
                            streams.push(stream);
                        }
                        Some(Event::Trailers { head, .. }) => heads.recycle(head),
                        Some(_) => {}
                    }
                }
            }
            (8, Some(key)) => {
                let end = argument & 0x80 != 0;
                let _ = connection.send_response(&mut out, key, http::StatusCode::OK, [], end);
            }
            (9, Some(key)) => drop(connection.offer(&mut out, key, usize::from(*argument) << 6, argument & 1 != 0)),
            (10, _) => drop(connection.next_data(&mut out, usize::from(*argument) << 4)),
            (11, Some(key)) => connection.release_capacity(key, usize::from(*argument) << 6),
            // Stays in the list: a response may still be on its way, and late verbs must do no harm.
            (12, Some(key)) => connection.stream_done(key),
            (13, Some(key)) => connection.reset(key, Reason::CANCEL),
            (14, Some(key)) => drop(connection.send_trailers(&mut out, key, [])),
            _ => {
                now += u64::from(*argument) << 6;
                while let Ok(Some(_)) = connection.handle_timeout(now) {}
                if *argument == 0 {
                    connection.drain(now);
                }
            }
        }
        out.clear();
        connection.poll_output(&mut out);
        out = Vec::new();
        let said = connection.memory_bytes();
        let counted = held().saturating_sub(before) - streams.capacity() * size_of::<StreamKey>();
        assert!(said <= MACHINE_BYTES_MAX, "the machine says {said} bytes");
        assert!(counted <= said + HEAD_BYTES_MAX, "{counted} bytes are held, and {said} are said");
    }
    for key in streams.drain(..) {
        connection.reset(key, Reason::CANCEL);
        connection.stream_done(key);
    }
    assert_eq!(connection.held_bytes(), 0);
    assert_eq!(connection.streams_live(), 0);
});
