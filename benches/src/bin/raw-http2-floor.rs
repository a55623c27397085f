//! The floor for HTTP/2: every HEADERS frame is answered with the same two frames, without looking into it.
//!
//! No HPACK decoding, no flow control, no state of streams: it must only be asked for small bodies by a client that
//! sends each request as one HEADERS frame, as h2load does.

use ringgate_benches::raw::epoll::{Answer, serve};
use ringgate_benches::raw::{HELLO, listen_as_told};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM_OR_ACK: u8 = 1;
const END_HEADERS: u8 = 4;

struct Floor {
    /// A HEADERS and a DATA frame for stream 0, to be copied and given their stream.
    canned: Vec<u8>,
    data_offset: usize,
}

impl Floor {
    fn new() -> Self {
        // RFC 7541 section 6: `:status 200` indexed, then literals without indexing whose names are indexed.
        let mut block = vec![0x88];
        for (index, value) in [(31u8, "text/plain"), (28, "13"), (54, "canned"), (33, "Sun, 06 Nov 1994 08:49:37 GMT")]
        {
            block.extend([0x0f, index - 15, value.len() as u8]);
            block.extend(value.as_bytes());
        }
        let mut canned = frame(HEADERS, END_HEADERS, &block);
        let data_offset = canned.len();
        canned.extend(frame(DATA, END_STREAM_OR_ACK, HELLO.as_bytes()));
        Self { canned, data_offset }
    }
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, 0], payload].concat()
}

#[derive(Default)]
struct Opened(bool);

impl Answer for Floor {
    type State = Opened;

    fn answer(&self, opened: &mut Opened, input: &mut [u8], output: &mut Vec<u8>) -> Option<usize> {
        let mut done = 0;
        if !opened.0 {
            if input.len() < PREFACE.len() {
                return Some(0);
            }
            if !input.starts_with(PREFACE) {
                return None;
            }
            opened.0 = true;
            done = PREFACE.len();
            // SETTINGS_MAX_CONCURRENT_STREAMS = 256
            output.extend(frame(SETTINGS, 0, &[0, 3, 0, 0, 1, 0]));
        }
        while let Some(header) = input[done..].first_chunk::<9>() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let (kind, flags, stream) = (header[3], header[4], [header[5], header[6], header[7], header[8]]);
            let Some(payload) = input.get(done + 9..done + 9 + length) else { break };
            match kind {
                HEADERS => {
                    let start = output.len();
                    output.extend_from_slice(&self.canned);
                    output[start + 5..start + 9].copy_from_slice(&stream);
                    let data = start + self.data_offset;
                    output[data + 5..data + 9].copy_from_slice(&stream);
                }
                SETTINGS if flags & END_STREAM_OR_ACK == 0 => output.extend(frame(SETTINGS, END_STREAM_OR_ACK, &[])),
                PING if flags & END_STREAM_OR_ACK == 0 => output.extend(frame(PING, END_STREAM_OR_ACK, payload)),
                GOAWAY => return None,
                _ => {}
            }
            done += 9 + length;
        }
        Some(done)
    }
}

fn main() -> Result<(), String> {
    serve(listen_as_told()?, &Floor::new()).map_err(|error| error.to_string())
}
