//! What a connection holds, counted by the allocator.

mod websocket_common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use ringgate_protocols::websocket::connection::Connection;
use ringgate_protocols::websocket::deflate::{Deflater, Inflater, Pool};
use ringgate_protocols::websocket::event::Environment;
use ringgate_protocols::websocket::message::Kind;
use websocket_common::{End, NO_TAKEOVER, TAKEOVER, frame};

/// Counts the bytes that are held.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator with the same arguments; only a number is kept beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes held by what `make` makes.
fn held<T>(make: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.load(Ordering::Relaxed);
    let made = make();
    (made, HELD.load(Ordering::Relaxed) - before)
}

/// One test, since the count is of the whole process.
#[test]
fn contexts_cost_what_is_written_and_idle_connections_nothing() {
    // The numbers of the module's documentation.
    let (inflater, bytes) = held(|| {
        let mut inflater = Inflater::new(15);
        let bounds =
            ringgate_protocols::websocket::deflate::Bounds { bytes_max: 100, ratio_max: 100, ratio_from_bytes: 100 };
        inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", &mut Vec::with_capacity(1_024), bounds).unwrap();
        inflater
    });
    println!("inflater {bytes}");
    assert!((40_000..=49_152).contains(&bytes), "inflater: {bytes} bytes");
    drop(inflater);
    for (window_bits, most) in [(15, 381_000), (9, 252_000)] {
        let (deflater, bytes) = held(|| Deflater::new(window_bits, 3));
        println!("deflater {window_bits} {bytes}");
        assert!((most - 40_000..=most).contains(&bytes), "deflater of {window_bits}: {bytes} bytes");
        drop(deflater);
    }

    // A message each way, a ping, half a frame; then at rest nothing is held, but for the windows of a takeover.
    for (parameters, least, most) in [(None, 0, 0), (Some(NO_TAKEOVER), 0, 0), (Some(TAKEOVER), 400_000, 440_000)] {
        let mut socket = Connection::server(parameters, 0);
        let ((), bytes) = held(|| {
            let mut end = End::server(parameters);
            let mut pool = Pool::new(3, 0);
            let mut around = Environment { limits: &end.limits, pool: &mut pool, scratch: &mut end.scratch, now_ms: 0 };
            let first = if parameters.is_some() { 0xc1 } else { 0x81 };
            let payload: &[u8] = if parameters.is_some() { b"\xf2\x48\xcd\xc9\xc9\x07\x00" } else { b"Hello" };
            let mut out = Vec::new();
            for mut bytes in [frame(first, payload), frame(0x89, b"ping"), frame(0x01, b"a"), frame(0x80, b"b")] {
                let step = socket.handle_input(&mut bytes, &mut around).unwrap();
                assert_eq!(step.consumed, bytes.len());
                socket.poll_output(&mut out);
            }
            socket.send_compressed(&mut out, Kind::Text, &b"repeat ".repeat(50), &mut pool).unwrap();
            end.out = out;
        });
        assert!((least..=most).contains(&bytes), "{parameters:?}: {bytes} bytes");
        // The end gives everything back.
        let ((), bytes) = held(|| {
            let mut out = Vec::new();
            socket.close(&mut out, None, "", 0).unwrap();
            let mut end = End::server(None);
            let mut around =
                Environment { limits: &end.limits, pool: &mut end.pool, scratch: &mut end.scratch, now_ms: 0 };
            socket.handle_input(&mut frame(0x88, b""), &mut around).unwrap();
        });
        assert!(socket.is_closed());
        assert!((-most..=-least).contains(&bytes), "{parameters:?}: {bytes} bytes given back");
    }
}
