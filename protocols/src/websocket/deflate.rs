//! permessage-deflate, RFC 7692: the two directions of compression and the pool of their contexts.
//!
//! Memory, with zlib-rs at window bits 15: an inflating context holds about 47 KiB, a deflating one about 372 KiB (the
//! test `websocket_memory` measures them). A direction without context takeover holds one only while a
//! message is under way and then gives it back to the [`Pool`] of its core, so that an idle connection holds nothing. A
//! direction with context takeover keeps its own from its first compressed message to the end of the connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::websocket::error::Fault;

/// What was negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// The server begins each message with an empty window (section 7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client begins each message with an empty window (section 7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Base-two logarithm of the server's window, 9 to 15 (section 7.1.2.1).
    pub server_window_bits: u8,
    /// Base-two logarithm of the client's window, 8 to 15 (section 7.1.2.2).
    pub client_window_bits: u8,
}

/// The end of a flush, taken off each message and put back by the receiver (section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The same and an empty last block (RFC 1951 section 3.2.6), which only ends the stream where a block may begin.
const TAIL_AND_END: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// Bytes inflated in one step, so that limits are judged before memory grows.
const STEP_BYTES_MAX: usize = 16_384;

/// The limits of one message while it is inflated.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Inflated bytes the message may have in all.
    pub bytes_max: u64,
    /// Inflated bytes per received byte.
    pub ratio_max: u32,
    /// Inflated bytes up to which the ratio is not judged.
    pub ratio_from_bytes: u64,
}

/// An inflating context.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// Bytes of the message in hand, received and inflated.
    received: u64,
    inflated: u64,
    /// The stream has met a block with BFINAL and stands behind it.
    ended: bool,
}

impl Inflater {
    /// A context for a window of `window_bits`; 8 is read with a window of 9, a larger one reads all smaller.
    #[must_use]
    pub fn new(window_bits: u8) -> Self {
        // flate2 panics outside 9..=15.
        let stream = Decompress::new_with_window_bits(false, window_bits.clamp(9, 15));
        Self { stream, received: 0, inflated: 0, ended: false }
    }

    /// Inflated bytes of the message in hand.
    #[must_use]
    pub const fn inflated(&self) -> u64 {
        self.inflated
    }

    /// Inflates the next bytes of a message and appends to `out`.
    ///
    /// # Errors
    /// `Deflate`, `MessageTooBig` and `InflateRatio`. `out` has then grown by at most one byte beyond its bound.
    pub fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>, bounds: Bounds) -> Result<(), Fault> {
        let before = self.received;
        self.received += input.len() as u64;
        self.run(input, before, out, bounds)
    }

    /// Ends the message: puts the tail back and, without context takeover, forgets the window.
    ///
    /// # Errors
    /// As [`Inflater::inflate`]; `Deflate` also where the message ends within a block, of which the tail would become a
    /// part. With context takeover that shows only where it would become content.
    pub fn finish(&mut self, takeover: bool, out: &mut Vec<u8>, bounds: Bounds) -> Result<(), Fault> {
        // A sender that ends with BFINAL adds an empty block for the tail to complete (section 7.2.3.4). One that
        // forgets it is understood as well, and so is one that sends an empty message as nothing.
        if !self.ended && self.received > 0 {
            let inflated = self.inflated;
            self.run(if takeover { &TAIL[..] } else { &TAIL_AND_END }, self.received, out, bounds)?;
            if self.inflated != inflated || self.ended == takeover {
                return Err(Fault::Deflate);
            }
        }
        if !takeover || self.ended {
            self.stream.reset(false);
        }
        (self.received, self.inflated, self.ended) = (0, 0, false);
        Ok(())
    }

    fn run(&mut self, mut input: &[u8], mut received: u64, out: &mut Vec<u8>, bounds: Bounds) -> Result<(), Fault> {
        loop {
            if self.ended && !input.is_empty() {
                // BFINAL ends a DEFLATE stream (RFC 1951 section 3.2.3); what follows is another one. Senders that
                // use it have ended their own stream, so that the window is not missed.
                self.stream.reset(false);
                self.ended = false;
            }
            let allowed =
                usize::try_from(bounds.bytes_max.saturating_sub(self.inflated)).unwrap_or(usize::MAX).saturating_add(1);
            let room = STEP_BYTES_MAX.min((4 * input.len()).max(256)).min(allowed);
            let length = out.len();
            out.resize(length + room, 0);
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress(input, &mut out[length..], FlushDecompress::Sync);
            let read = (self.stream.total_in() - read) as usize;
            let written = (self.stream.total_out() - written) as usize;
            out.truncate(length + written);
            let status = status.map_err(|_| Fault::Deflate)?;
            input = &input[read..];
            received += read as u64;
            self.inflated += written as u64;
            if self.inflated > bounds.bytes_max {
                return Err(Fault::MessageTooBig);
            }
            if self.inflated > bounds.ratio_from_bytes
                && self.inflated > received.saturating_mul(u64::from(bounds.ratio_max))
            {
                return Err(Fault::InflateRatio);
            }
            match status {
                Status::StreamEnd => {
                    self.ended = true;
                    if input.is_empty() {
                        return Ok(());
                    }
                }
                Status::Ok | Status::BufError if written == room => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(()),
                Status::Ok | Status::BufError if read == 0 && written == 0 => return Err(Fault::Deflate),
                Status::Ok | Status::BufError => {}
            }
        }
    }
}

/// A deflating context.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
    window_bits: u8,
}

impl Deflater {
    /// A context for a window of `window_bits`, 9 to 15, with a level of 1 (fast) to 9 (small).
    #[must_use]
    pub fn new(window_bits: u8, level: u8) -> Self {
        // flate2 panics outside 9..=15; negotiation has declined 8, which raw zlib cannot produce.
        let window_bits = window_bits.clamp(9, 15);
        let level = Compression::new(u32::from(level.clamp(1, 9)));
        Self { stream: Compress::new_with_window_bits(level, false, window_bits), window_bits }
    }

    /// Forgets the window, so that the next message does not refer to earlier ones.
    pub fn reset(&mut self) {
        self.stream.reset();
    }

    /// Appends `payload`, deflated, to `out`. Everything given so far can then be inflated by the receiver; behind the
    /// `last` piece of a message the tail is left away.
    pub fn deflate(&mut self, mut payload: &[u8], out: &mut Vec<u8>, last: bool) {
        let start = out.len();
        loop {
            // The flush is complete once room is left over (zlib's rule for `deflate` with a flush).
            out.reserve((payload.len() / 2).clamp(64, STEP_BYTES_MAX));
            let read = self.stream.total_in();
            let status = self.stream.compress_vec(payload, out, FlushCompress::Sync);
            payload = &payload[(self.stream.total_in() - read) as usize..];
            let stuck = !matches!(status, Ok(Status::Ok));
            if payload.is_empty() && (out.len() < out.capacity() || stuck) {
                break;
            }
            debug_assert!(!stuck, "deflate with room to write always goes on");
        }
        if last {
            if out[start..].ends_with(&TAIL) {
                out.truncate(out.len() - TAIL.len());
            }
            if out.len() == start {
                // Section 7.2.1: an empty message is the head of an empty block.
                out.push(0);
            }
        }
    }
}

/// The contexts of one core that no message uses at the moment.
#[derive(Debug)]
#[allow(clippy::vec_box, reason = "a box goes to a connection and comes back; it is made once")]
pub struct Pool {
    inflaters: Vec<Box<Inflater>>,
    deflaters: Vec<Box<Deflater>>,
    /// Contexts of each kind that are kept.
    kept_max: usize,
    level: u8,
}

impl Default for Pool {
    /// Level 3 (a gateway is bound by time rather than by bytes), two contexts of each kind kept: one message is
    /// deflated at a time on a core, and a few are being received in pieces.
    fn default() -> Self {
        Self::new(3, 2)
    }
}

impl Pool {
    /// A pool that deflates with `level`, 1 (fast) to 9 (small), and keeps up to `kept_max` contexts of each kind.
    #[must_use]
    pub const fn new(level: u8, kept_max: usize) -> Self {
        Self { inflaters: Vec::new(), deflaters: Vec::new(), kept_max, level }
    }

    /// A context with an empty window of 32 KiB, which reads every smaller one.
    pub(crate) fn take_inflater(&mut self) -> Box<Inflater> {
        self.inflaters.pop().unwrap_or_else(|| Box::new(Inflater::new(15)))
    }

    /// Takes back a context whose last message was finished without takeover.
    pub(crate) fn give_inflater(&mut self, inflater: Box<Inflater>) {
        if self.inflaters.len() < self.kept_max {
            self.inflaters.push(inflater);
        }
    }

    /// A context with an empty window.
    pub(crate) fn take_deflater(&mut self, window_bits: u8) -> Box<Deflater> {
        match self.deflaters.iter().rposition(|deflater| deflater.window_bits == window_bits) {
            Some(place) => self.deflaters.swap_remove(place),
            None => Box::new(Deflater::new(window_bits, self.level)),
        }
    }

    /// Takes back a context. It is emptied here.
    pub(crate) fn give_deflater(&mut self, mut deflater: Box<Deflater>) {
        if self.kept_max == 0 {
            return;
        }
        if self.deflaters.len() >= self.kept_max {
            // Connections of another window size would otherwise never find theirs.
            self.deflaters.remove(0);
        }
        deflater.reset();
        self.deflaters.push(deflater);
    }
}
