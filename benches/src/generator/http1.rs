//! HTTP/1.1 requests, and responses with a Content-Length.

use std::io;
use std::net::TcpStream;

use crate::generator::exchange::{Exchange, Progress};

/// Responses up to this size are recognised by comparison with the last one; longer ones are counted by length.
const TEMPLATE_BYTES_MAX: usize = 4 * 1024;
/// No server we measure sends a longer head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// GET without a body, or POST with one.
#[derive(Debug)]
pub struct Http1 {
    request: Vec<u8>,
    /// A complete response that was verified: the next ones are equal until the Date changes.
    template: Vec<u8>,
    /// The length of the first response's body: all others must have the same.
    body_bytes: Option<u64>,
}

impl Http1 {
    /// A request for the path; with `body_bytes` a POST whose body is that long.
    #[must_use]
    pub fn new(path: &str, body_bytes: usize) -> Self {
        let mut request = if body_bytes == 0 {
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
        } else {
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {body_bytes}\r\n\r\n");
            head.into_bytes()
        };
        request.extend((0..body_bytes).map(|index| b'a' + (index % 26) as u8));
        Self { request, template: Vec::new(), body_bytes: None }
    }

    /// Reads a complete head; returns the length of the body.
    fn read_head(&mut self, head: &[u8]) -> Result<u64, String> {
        let text = std::str::from_utf8(head).map_err(|_| "a response head that is not text".to_owned())?;
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        if !status_line.starts_with("HTTP/1.1 200 ") {
            return Err(format!("unexpected status line {status_line:?}"));
        }
        let lengths: Vec<&str> = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map(|(_, value)| value.trim())
            .collect();
        let [length] = lengths[..] else { return Err(format!("a response without one Content-Length: {text:?}")) };
        let length = length.parse().map_err(|_| format!("Content-Length {length:?}"))?;
        match *self.body_bytes.get_or_insert(length) {
            first if first == length => Ok(length),
            first => Err(format!("a body of {length} bytes after one of {first}")),
        }
    }
}

impl Exchange for Http1 {
    fn open(&mut self, _stream: &mut TcpStream) -> io::Result<()> {
        Ok(())
    }

    fn request(&self) -> &[u8] {
        &self.request
    }

    fn verify(&mut self, progress: &mut Progress, mut received: &[u8]) -> Result<usize, String> {
        let mut answers = 0;
        while !received.is_empty() {
            if progress.body_left > 0 {
                let taken = received.len().min(usize::try_from(progress.body_left).unwrap_or(usize::MAX));
                progress.body_left -= taken as u64;
                answers += usize::from(progress.body_left == 0);
                received = &received[taken..];
            } else if progress.pending.is_empty()
                && !self.template.is_empty()
                && let Some(rest) = received.strip_prefix(&self.template[..])
            {
                answers += 1;
                received = rest;
            } else {
                let before = progress.pending.len();
                progress.pending.extend_from_slice(received);
                let pending = std::mem::take(&mut progress.pending);
                let Some(head_bytes) = pending.windows(4).position(|window| window == b"\r\n\r\n") else {
                    progress.pending = pending;
                    return if progress.pending.len() > HEAD_BYTES_MAX {
                        Err("a response head without end".to_owned())
                    } else {
                        Ok(answers)
                    };
                };
                let response_bytes = head_bytes as u64 + 4 + self.read_head(&pending[..head_bytes])?;
                if let Some(response) = usize::try_from(response_bytes).ok().and_then(|length| pending.get(..length)) {
                    answers += 1;
                    if response.len() <= TEMPLATE_BYTES_MAX {
                        self.template.clear();
                        self.template.extend_from_slice(response);
                    }
                    received = &received[response.len() - before..];
                } else {
                    progress.body_left = response_bytes - pending.len() as u64;
                    received = &[];
                }
            }
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify_split(bytes: &[u8], step: usize) -> Result<usize, String> {
        let (mut exchange, mut progress) = (Http1::new("/", 0), Progress::default());
        bytes.chunks(step).try_fold(0, |sum, chunk| Ok(sum + exchange.verify(&mut progress, chunk)?))
    }

    #[test]
    fn responses_are_counted_at_every_split() {
        let one = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: 1\r\n\r\nhello";
        let two = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: 2\r\n\r\nhello";
        let all = [&one[..], &one[..], &two[..], &one[..], &two[..]].concat();
        for step in 1..=all.len() {
            assert_eq!(verify_split(&all, step), Ok(5), "in pieces of {step}");
            assert_eq!(verify_split(&all[..all.len() - 1], step), Ok(4), "in pieces of {step}");
        }
    }

    #[test]
    fn wrong_responses_are_errors() {
        for wrong in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\naa",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
        ] {
            assert!(verify_split(wrong.as_bytes(), 7).is_err(), "{wrong:?}");
        }
    }
}
