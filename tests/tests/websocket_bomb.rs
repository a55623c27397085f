//! W-07: compression bombs against a whole gateway. Alone in its process, because it looks at the memory of all of it.

use ringgate::{
    App, Core, get,
    websocket::{WebSocket, WebSocketLimits, websocket},
};
use ringgate_tests::{
    gateway::{Wire, on_every_kernel_driver},
    websocket::{PROTOCOLS, frame},
};
use std::{fs, time::Instant};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

fn app(_: &Core) -> App {
    let any_ratio = WebSocketLimits { inflate_ratio_max: u32::MAX, ..WebSocketLimits::default() };
    App::new()
        .route("/ratio", get(websocket(echo).deflate(Default::default())))
        .route("/size", get(websocket(echo).deflate(Default::default()).limits(any_ratio)))
}

/// A hundred MiB of zeros as DEFLATE has them at its best (RFC 1951 section 3.2.7): a code of its own, in which a copy of
/// 258 bytes takes two bits, one for the length and one for the distance. About 1,030 to 1.
fn bomb() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0, 1); // not the last block
    bits.put(2, 2); // dynamic
    bits.put(286 - 257, 5); // literal and length codes, up to 285: 258 bytes
    bits.put(0, 5); // one distance code
    bits.put(18 - 4, 4); // lengths of the code for code lengths, in their odd order up to that of 1
    // 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1: "18" (zeros), "1", and "2" are used.
    for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
        let length = match symbol {
            18 => 1,
            1 | 2 => 2,
            _ => 0,
        };
        bits.put(length, 3);
    }
    // Canonical: 18 is 0, 1 is 10, 2 is 11. Literal 0 and the end (256) have two bits, 285 has one.
    let (zeros, one, two) = ((0b0, 1), (0b10, 2), (0b11, 2));
    bits.code(two); // literal 0
    for count in [138, 117] {
        bits.code(zeros);
        bits.put(count - 11, 7);
    }
    bits.code(two); // 256
    bits.code(zeros);
    bits.put(28 - 11, 7); // 257 to 284
    bits.code(one); // 285
    bits.code(one); // distance 1
    // Canonical again: 285 is 0, literal 0 is 10, the end is 11; the distance is 0.
    bits.code((0b10, 2));
    for _ in 0..400_000 {
        bits.put(0, 2);
    }
    bits.code((0b11, 2));
    // The empty stored block that ends a message, without its four bytes (RFC 7692 section 7.2.1).
    bits.put(0, 3);
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn put(&mut self, value: u32, count: usize) {
        for place in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> place & 1) as u8) << (self.used % 8);
            self.used += 1;
        }
    }

    /// A Huffman code begins with its highest bit.
    fn code(&mut self, (code, count): (u32, usize)) {
        (0..count).rev().for_each(|place| self.put(code >> place & 1, 1));
    }
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A hundred MiB in a hundred KiB, from many at once: each costs no more than a message of the size that is allowed.
#[test]
fn w_07_bombs_cost_bounded_memory_and_time() {
    let bomb = frame(0xc2, &bomb());
    assert!(bomb.len() < 101_000, "{}", bomb.len());
    on_every_kernel_driver(app, |server| {
        for (path, sockets_max) in [("/ratio", 50), ("/size", 25)] {
            for protocol in PROTOCOLS {
                // What a socket with a compression context costs anyway is not the bomb's.
                let mut clients: Vec<_> = (0..sockets_max)
                    .map(|_| server.websocket(protocol, path, "sec-websocket-extensions: permessage-deflate\r\n"))
                    .collect();
                let (before, begun) = (peak_kib(), Instant::now());
                for client in &mut clients {
                    client.wire.say(&bomb);
                }
                for client in &mut clients {
                    assert_eq!(client.closed(), 1009, "{path} over {protocol}");
                }
                let (grown, took) = (peak_kib() - before, begun.elapsed());
                eprintln!("{path} over {protocol}: {grown} KiB more at the peak, {took:?} for {sockets_max}");
                assert!(grown < 32 << 10, "{path} over {protocol}: {grown} KiB");
                assert!(took.as_secs() < 20, "{path} over {protocol}: {took:?}");
            }
        }
    });
}
