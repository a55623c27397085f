//! The floor for WebSocket echo on epoll: unmasks and sends back, all complete messages of one read in one write.
//!
//! It accepts only the generator's fixed key, checks no UTF-8 and knows no fragments, pings or closing handshake.

use ringgate_benches::generator::websocket::ACCEPT;
use ringgate_benches::raw::epoll::{Answer, serve};
use ringgate_benches::raw::listen_as_told;

struct Echo;

#[derive(Default)]
struct Opened(bool);

impl Answer for Echo {
    type State = Opened;

    fn answer(&self, opened: &mut Opened, input: &mut [u8], output: &mut Vec<u8>) -> Option<usize> {
        if !opened.0 {
            let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { return Some(0) };
            opened.0 = true;
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            );
            output.extend_from_slice(head.as_bytes());
            return Some(end + 4);
        }
        let mut done = 0;
        while let Some((header_bytes, payload_bytes)) = frame_lengths(&input[done..]) {
            let Some(frame) = input.get_mut(done..done + header_bytes + payload_bytes) else { break };
            let (header, payload) = frame.split_at_mut(header_bytes);
            // The server's header is the client's without the mask bit and the key.
            let (lengths, key) = header.split_at_mut(header_bytes - 4);
            if lengths[1] & 0x80 == 0 {
                return None;
            }
            lengths[1] &= 0x7f;
            unmask(payload, [key[0], key[1], key[2], key[3]]);
            output.extend_from_slice(lengths);
            output.extend_from_slice(payload);
            done += header_bytes + payload_bytes;
        }
        Some(done)
    }
}

/// Bytes of the header with the masking key, and bytes of the payload; `None` while the header is incomplete.
fn frame_lengths(frame: &[u8]) -> Option<(usize, usize)> {
    match frame.get(1)? & 0x7f {
        126 => Some((8, u16::from_be_bytes(*frame.get(2..4)?.first_chunk()?).into())),
        127 => Some((14, usize::try_from(u64::from_be_bytes(*frame.get(2..10)?.first_chunk()?)).ok()?)),
        short => Some((6, short.into())),
    }
}

/// Eight bytes at a time; the compiler makes vectors of it.
fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(key.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

fn main() -> Result<(), String> {
    serve(listen_as_told()?, &Echo).map_err(|error| error.to_string())
}
