//! Receiving: frames become messages, in place or by inflation.

use crate::limits::WebSocketLimits;
use crate::span::Span;
use crate::websocket::close::CloseCode;
use crate::websocket::connection::{Connection, Incoming};
use crate::websocket::deflate::{Bounds, Inflater, Parameters};
use crate::websocket::error::Fault;
use crate::websocket::event::{Environment, Event, Step, Whole};
use crate::websocket::frame::{Expectation, Header, Opcode};
use crate::websocket::mask::Mask;
use crate::websocket::message::{Kind, Payload};
use crate::websocket::state::{Occurrence, State};
use crate::websocket::utf8::{NotUtf8, Validator};

/// Bytes of a following fragment that are moved up to their message rather than told apart: moving so few costs less
/// than one more event.
const COALESCED_BYTES_MAX: u64 = 2_048;

/// Received bytes of a compressed message after which empty blocks are counted.
const CHARGE_EVERY_BYTES: u64 = 4_096;

impl Connection {
    /// The usual case by itself: a message that is one plain frame, all of it at the beginning of `input`. `None`, and
    /// nothing is done, where it is anything else: [`Connection::handle_input`], which begins with this, knows what.
    ///
    /// # Errors
    /// [`Fault::Utf8`], as from `handle_input`.
    #[inline(always)] // What it answers stays in registers: written out and read again at once, it costs as much as the work.
    pub fn take_message(
        &mut self,
        input: &mut [u8],
        limits: &WebSocketLimits,
        now_ms: u64,
    ) -> Option<Result<Whole, Fault>> {
        if self.state != State::Open || self.in_message() || self.keys.is_some() {
            return None;
        }
        // FIN and no reserved bit; a mask, and a length in its shortest form.
        let kind = match input.first()? {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            _ => return None,
        };
        let (start, length) = match input.get(1)? {
            short @ 0x80..=0xfd => (6, usize::from(short & 0x7f)),
            0xfe => match u16::from_be_bytes(*input.get(2..)?.first_chunk()?) {
                length @ 126.. => (8, usize::from(length)),
                _ => return None,
            },
            _ => return None,
        };
        if length as u64 > limits.message_bytes_max || limits.fragment_count_max == 0 {
            return None;
        }
        let (header, payload) = input.get_mut(..start + length)?.split_at_mut(start);
        let mut mask = Mask::new(*header.last_chunk()?);
        (self.heard_ms, self.message_ms) = (now_ms, now_ms);
        match kind {
            Kind::Binary => mask.apply(payload),
            Kind::Text => {
                if !Validator::judge_masked(payload, &mut mask) {
                    self.fail(Fault::Utf8);
                    return Some(Err(Fault::Utf8));
                }
            }
        }
        let consumed = start + length;
        Some(Ok(Whole { kind, payload: Span::new(start as u32, consumed as u32), consumed }))
    }

    /// Tells the next event of `input`, which an open or closing connection has received.
    pub(super) fn receive(&mut self, input: &mut [u8], around: &mut Environment<'_>) -> Result<Step, Fault> {
        let Some(mut incoming) = self.incoming.take() else {
            let mut incoming = Incoming::default();
            let told = self.receive_into(&mut incoming, input, around);
            self.incoming = incoming.is_begun.then(|| Box::new(incoming));
            return told;
        };
        let told = self.receive_into(&mut incoming, input, around);
        self.incoming = incoming.is_begun.then_some(incoming);
        told
    }

    fn receive_into(
        &mut self,
        incoming: &mut Incoming,
        input: &mut [u8],
        around: &mut Environment<'_>,
    ) -> Result<Step, Fault> {
        let scratch_start = around.scratch.len();
        let (mut start, mut end) = (0, 0);
        let mut at = 0;
        let ended = loop {
            if !incoming.in_frame {
                let Some((header, bytes)) = Header::parse(&input[at..], self.expectation(incoming))? else {
                    break false;
                };
                if header.opcode.is_control() {
                    // A piece in hand is told first; the control frame is then at the beginning of the input.
                    if end > start || around.scratch.len() > scratch_start {
                        break false;
                    }
                    if input.len() - at - bytes < header.length as usize {
                        break false;
                    }
                    let body = at + bytes..at + bytes + header.length as usize;
                    return self.control(header, input, body, around);
                }
                if end > start && header.length > COALESCED_BYTES_MAX {
                    break false;
                }
                incoming.begin_frame(header, around)?;
                at += bytes;
            }
            let here = usize::try_from(incoming.frame_left).unwrap_or(usize::MAX).min(input.len() - at);
            incoming.frame_left -= here as u64;
            incoming.wire_bytes += here as u64;
            let bytes = &mut input[at..at + here];
            if incoming.compressed {
                self.inflate(incoming, bytes, around)?;
            } else {
                self.unmask(incoming, bytes)?;
                incoming.message_bytes += here as u64;
                if end == start {
                    (start, end) = (at, at + here);
                } else {
                    input.copy_within(at..at + here, end);
                    end += here;
                }
            }
            at += here;
            if incoming.frame_left > 0 {
                break false;
            }
            incoming.in_frame = false;
            if incoming.last_frame {
                if incoming.compressed {
                    self.finish_inflating(incoming, around)?;
                }
                if incoming.is_text && !incoming.text.is_complete() {
                    return Err(Fault::Utf8);
                }
                break true;
            }
        };
        let payload = if incoming.compressed {
            Payload::Scratch(Span::new(scratch_start as u32, around.scratch.len() as u32))
        } else {
            Payload::Input(Span::new(start as u32, end as u32))
        };
        let kind = incoming.kind();
        let event = if ended {
            let first = !std::mem::take(&mut incoming.told);
            incoming.is_begun = false;
            self.message_ms = around.now_ms;
            if first { Event::Message { kind, payload } } else { Event::Piece { kind, payload, first, last: true } }
        } else if payload.is_empty() {
            Event::NeedInput
        } else {
            let first = !std::mem::replace(&mut incoming.told, true);
            Event::Piece { kind, payload, first, last: false }
        };
        Ok(Step { consumed: at, event })
    }

    #[inline]
    fn expectation(&self, incoming: &Incoming) -> Expectation {
        Expectation {
            masked: self.keys.is_none(),
            compression: self.parameters.is_some(),
            unfinished: incoming.is_begun,
        }
    }

    /// Unmasks in place and, for text, judges the bytes while they are at hand.
    #[inline]
    fn unmask(&self, incoming: &mut Incoming, bytes: &mut [u8]) -> Result<(), Fault> {
        match (incoming.kind(), self.keys.is_some()) {
            (Kind::Binary, true) => Ok(()),
            (Kind::Binary, false) => {
                incoming.mask.apply(bytes);
                Ok(())
            }
            (Kind::Text, true) => incoming.text.feed(bytes).map_err(not_utf8),
            (Kind::Text, false) => incoming.text.feed_masked(bytes, &mut incoming.mask).map_err(not_utf8),
        }
    }

    /// Unmasks and inflates into the scratch, in steps that end where empty blocks are counted: the count must not depend
    /// on how the input was cut.
    fn inflate(
        &mut self,
        incoming: &mut Incoming,
        bytes: &mut [u8],
        around: &mut Environment<'_>,
    ) -> Result<(), Fault> {
        let mut wire = incoming.wire_bytes - bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let step = (CHARGE_EVERY_BYTES - wire % CHARGE_EVERY_BYTES).min(rest.len() as u64);
            let (block, later) = rest.split_at_mut(step as usize);
            rest = later;
            wire += step;
            if self.keys.is_none() {
                incoming.mask.apply(block);
            }
            self.inflate_with(incoming, around, |inflater, scratch, bounds| inflater.inflate(block, scratch, bounds))?;
            if wire.is_multiple_of(CHARGE_EVERY_BYTES) {
                self.charge_emptiness(incoming, wire, around)?;
            }
        }
        Ok(())
    }

    fn finish_inflating(&mut self, incoming: &mut Incoming, around: &mut Environment<'_>) -> Result<(), Fault> {
        let takeover = self.parameters.is_some_and(|parameters| !peer_window(parameters, self.keys.is_some()).0);
        self.inflate_with(incoming, around, |inflater, scratch, bounds| inflater.finish(takeover, scratch, bounds))?;
        self.charge_emptiness(incoming, incoming.wire_bytes, around)?;
        if !takeover && let Some(inflater) = self.inflater.take() {
            around.pool.give_inflater(inflater);
        }
        Ok(())
    }

    fn inflate_with(
        &mut self,
        incoming: &mut Incoming,
        around: &mut Environment<'_>,
        work: impl FnOnce(&mut Inflater, &mut Vec<u8>, Bounds) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let inflater = match &mut self.inflater {
            Some(inflater) => inflater,
            none => {
                none.insert(match self.parameters.map(|parameters| peer_window(parameters, self.keys.is_some())) {
                    // What is kept for long is made no larger than the peer's window.
                    Some((false, window_bits)) => Box::new(Inflater::new(window_bits)),
                    _ => around.pool.take_inflater(),
                })
            }
        };
        let bounds = Bounds {
            bytes_max: around.limits.message_bytes_max,
            ratio_max: around.limits.inflate_ratio_max,
            ratio_from_bytes: around.limits.inflate_ratio_from_bytes,
        };
        let length = around.scratch.len();
        let outcome = work(inflater, around.scratch, bounds);
        incoming.message_bytes += (around.scratch.len() - length) as u64;
        if incoming.is_text {
            // Also what was inflated before a fault: had the input been cut there, it would have been judged.
            incoming.text.feed(&around.scratch[length..]).map_err(not_utf8)?;
        }
        outcome
    }

    /// W-08: received bytes that inflate to nothing are work without a purpose. Half a kibibyte and an eighth of the
    /// content are free: the heads of blocks, flushes, incompressible data. The rest costs a token for 64 bytes.
    fn charge_emptiness(&mut self, incoming: &mut Incoming, wire: u64, around: &Environment<'_>) -> Result<(), Fault> {
        let fair = incoming.message_bytes + incoming.message_bytes / 8 + 512;
        let tokens = u32::try_from(wire.saturating_sub(fair) / 64).unwrap_or(u32::MAX);
        let more = tokens.saturating_sub(incoming.charged);
        incoming.charged = incoming.charged.max(tokens);
        self.charge(more, around)
    }

    fn charge(&mut self, tokens: u32, around: &Environment<'_>) -> Result<(), Fault> {
        let limits = around.limits;
        if self.budget.charge(tokens, limits.ping_tokens_max, limits.ping_tokens_per_s, around.now_ms) {
            Ok(())
        } else {
            Err(Fault::Flood)
        }
    }

    /// Takes one control frame that lies whole in `input`.
    fn control(
        &mut self,
        header: Header,
        input: &mut [u8],
        body: std::ops::Range<usize>,
        around: &mut Environment<'_>,
    ) -> Result<Step, Fault> {
        let span = Span::new(body.start as u32, body.end as u32);
        let consumed = body.end;
        let body = &mut input[body];
        if let Some(key) = header.mask {
            Mask::new(key).apply(body);
        }
        let event = match header.opcode {
            Opcode::Ping => {
                self.charge(1, around)?;
                // 5.5.3: only the latest ping need be answered. After our own Close nothing is said any more.
                if self.state == State::Open {
                    self.pong = Some(Box::new(body.to_vec()));
                }
                Event::Ping(span)
            }
            Opcode::Pong => {
                if !std::mem::take(&mut self.waiting_for_pong) {
                    self.charge(1, around)?;
                }
                Event::Pong(span)
            }
            _ => {
                let (code, reason) = match *body {
                    [] => (None, Span::new(span.end() as u32, span.end() as u32)),
                    [high, low, ref reason @ ..] => {
                        let code = CloseCode::new(u16::from_be_bytes([high, low])).ok_or(Fault::CloseBody)?;
                        std::str::from_utf8(reason).map_err(|_| Fault::Utf8)?;
                        (Some(code), Span::new(span.start() as u32 + 2, span.end() as u32))
                    }
                    [_] => return Err(Fault::CloseBody),
                };
                // 5.5.1: "the endpoint typically echos the status code it received."
                self.answer = code.map_or(0, CloseCode::get);
                self.turn(Occurrence::ReceiveClose);
                Event::Close { code, reason }
            }
        };
        Ok(Step { consumed, event })
    }
}

impl Incoming {
    const fn kind(&self) -> Kind {
        if self.is_text { Kind::Text } else { Kind::Binary }
    }

    /// Takes the header of a data frame; all limits are judged here, before a byte of the payload is looked at.
    #[inline]
    fn begin_frame(&mut self, header: Header, around: &mut Environment<'_>) -> Result<(), Fault> {
        if header.opcode != Opcode::Continuation {
            *self = Self {
                is_begun: true,
                is_text: header.opcode == Opcode::Text,
                compressed: header.compressed,
                since_ms: around.now_ms,
                ..Self::default()
            };
        }
        self.fragments += 1;
        if self.fragments > around.limits.fragment_count_max {
            return Err(Fault::TooManyFragments);
        }
        let most = around.limits.message_bytes_max;
        // Blocks that are stored rather than compressed, and flushes, make a message a little longer than it is.
        let most = if self.compressed { most.saturating_add(most / 8).saturating_add(1_024) } else { most };
        if header.length > most.saturating_sub(self.wire_bytes) {
            return Err(Fault::MessageTooBig);
        }
        self.mask = Mask::new(header.mask.unwrap_or_default());
        self.frame_left = header.length;
        self.in_frame = true;
        self.last_frame = header.last;
        Ok(())
    }
}

/// Whether the peer begins each message with an empty window, and how large its window is.
const fn peer_window(parameters: Parameters, we_are_client: bool) -> (bool, u8) {
    if we_are_client {
        (parameters.server_no_context_takeover, parameters.server_window_bits)
    } else {
        (parameters.client_no_context_takeover, parameters.client_window_bits)
    }
}

const fn not_utf8(NotUtf8: NotUtf8) -> Fault {
    Fault::Utf8
}
