//! The floor for HTTP/1.1 on epoll: counts the ends of heads and sends as many canned answers, in one write.

use ringgate_benches::raw::epoll::{Answer, serve};
use ringgate_benches::raw::requests::count_heads;
use ringgate_benches::raw::{CANNED, listen_as_told};

struct Canned;

impl Answer for Canned {
    type State = ();

    fn answer(&self, (): &mut (), input: &mut [u8], output: &mut Vec<u8>) -> Option<usize> {
        let (heads, end) = count_heads(input);
        for _ in 0..heads {
            output.extend_from_slice(CANNED);
        }
        Some(end)
    }
}

fn main() -> Result<(), String> {
    serve(listen_as_told()?, &Canned).map_err(|error| error.to_string())
}
