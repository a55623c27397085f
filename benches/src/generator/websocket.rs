//! WebSocket echo: masked messages out, and exactly the same payload back in one unmasked frame.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::generator::exchange::{Exchange, Progress};

/// The key of RFC 6455 section 1.3. One fixed key lets the reference loop answer with a fixed value.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The accept value that belongs to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Any mask will do for a measurement; one with four different bytes makes the server do the work.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Messages of one size and kind, echoed by the server.
#[derive(Debug)]
pub struct WebSocketEcho {
    path: String,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl WebSocketEcho {
    /// Messages of `payload_bytes` printable bytes, text or binary.
    #[must_use]
    pub fn new(path: &str, payload_bytes: usize, binary: bool) -> Self {
        let payload: Vec<u8> = (0..payload_bytes).map(|index| b'a' + (index % 26) as u8).collect();
        let mut request = header(payload_bytes, binary, 0x80);
        request.extend(MASK);
        request.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let response = [header(payload_bytes, binary, 0), payload].concat();
        Self { path: path.to_owned(), request, response }
    }
}

/// The frame header of RFC 6455 section 5.2 up to the masking key, with the shortest form of the length.
fn header(payload_bytes: usize, binary: bool, mask_bit: u8) -> Vec<u8> {
    let mut header = vec![0x80 | if binary { 2 } else { 1 }];
    match payload_bytes {
        0..=125 => header.push(mask_bit | payload_bytes as u8),
        126..=0xffff => {
            header.push(mask_bit | 126);
            header.extend((payload_bytes as u16).to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    header
}

impl Exchange for WebSocketEcho {
    fn open(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let path = &self.path;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        // Byte by byte, because what follows the head already belongs to the first frame.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head);
        if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
            Ok(())
        } else {
            Err(io::Error::other(format!("the server refused the WebSocket: {head:?}")))
        }
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn verify(&mut self, progress: &mut Progress, mut received: &[u8]) -> Result<usize, String> {
        let mut answers = 0;
        while !received.is_empty() {
            let expected = &self.response[progress.verified..];
            let length = expected.len().min(received.len());
            if received[..length] != expected[..length] {
                return Err(format!("not the echo of the message, after {} bytes of it", progress.verified));
            }
            progress.verified += length;
            received = &received[length..];
            if progress.verified == self.response.len() {
                progress.verified = 0;
                answers += 1;
            }
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_shortest_length_form() {
        assert_eq!(header(125, false, 0x80), [0x81, 0xfd]);
        assert_eq!(header(126, true, 0), [0x82, 126, 0, 126]);
        assert_eq!(header(65536, true, 0), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn echoes_are_verified_across_receives() {
        let mut exchange = WebSocketEcho::new("/ws", 300, true);
        let echoes = exchange.response.repeat(3);
        for step in [1, 7, 303, 304, 500, 912] {
            let mut progress = Progress::default();
            let answers: usize = echoes.chunks(step).map(|part| exchange.verify(&mut progress, part).unwrap()).sum();
            assert_eq!(answers, 3);
        }
        let mut wrong = exchange.response.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(exchange.verify(&mut Progress::default(), &wrong).is_err());
    }
}
