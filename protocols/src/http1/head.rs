//! The head of a request and the trailer section, read in place: RFC 9112 sections 3 and 5.
//!
//! There are two readers. The fast one goes over a whole head once, with vectors, and gives up at the first trouble.
//! The careful one, [`resume`](crate::http1::judge::resume), goes on from the line where the trouble was and alone says what it is: a fault, or
//! merely bytes that have not come yet. It is also the one that continues after a partial head, so the same bytes lead
//! to the same fault however they were cut. A line is judged when its end, or a control character, is there; before
//! that only its length counts. The fast reader goes over a byte when it comes first and when the head is whole, the
//! careful one once: the work is linear in the bytes, in however small pieces they come.

use http::Version;

use crate::http::head::{Field, Head};
use crate::http::method;
use crate::http::options::{ConnectionOptions, Expectation, UpgradeOffer};
use crate::http::target;
use crate::http1::framing::{Coding, Length};
use crate::http1::judge::{Budget, Progress};
use crate::limits::Limits;
use crate::scan::class::{ABSOLUTE, HOST, PATH, QUERY};
use crate::scan::{self, BLOCK, Job, Masks, Scan};
use crate::span::Span;

/// What the field lines say about the message itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) length: Length,
    pub(crate) coding: Coding,
    pub(crate) host: Span,
    pub(crate) hosts: u32,
    pub(crate) content_types: u32,
    /// The (last) value of Host is `host [":" port]`.
    pub(crate) is_host_good: bool,
    pub(crate) options: ConnectionOptions,
    pub(crate) expectation: Expectation,
    pub(crate) upgrade: UpgradeOffer,
    pub(crate) accepts_trailers: bool,
}

/// What the fast reader found.
pub(crate) enum Read {
    /// The whole section: where it ends, and how many bytes of field lines it has.
    Whole { end: usize, field_bytes: u32 },
    /// Trouble at this place; the careful reader knows which.
    Trouble(Progress),
}

/// Reads a request head that starts at `start`.
#[inline]
pub(crate) fn read_request(input: &[u8], start: usize, head: &mut Head, seen: &mut Seen, limits: &Limits) -> Read {
    scan::dispatch(ReadRequest { input, start, head, seen, limits })
}

/// Reads a trailer section that starts with the input.
pub(crate) fn read_trailers(input: &[u8], head: &mut Head, limits: &Limits, budget: Budget) -> Read {
    scan::dispatch(ReadTrailers { input, head, limits, budget })
}

struct ReadRequest<'a> {
    input: &'a [u8],
    start: usize,
    head: &'a mut Head,
    seen: &'a mut Seen,
    limits: &'a Limits,
}

impl Job for ReadRequest<'_> {
    type Output = Read;

    #[inline(always)]
    fn run<S: Scan>(self, scan: S) -> Read {
        let Self { input, start, head, seen, limits } = self;
        let mut block = Block::new(scan, input, start);
        let Some(fields_start) = request_line(&mut block, start, head, limits) else {
            return Read::Trouble(Progress::at_request_line(start));
        };
        let budget = Budget::of_head(limits);
        let read = field_lines(&mut block, fields_start, head, limits, budget, seen);
        seen.is_host_good = is_host(scan, input, seen.host);
        read
    }
}

struct ReadTrailers<'a> {
    input: &'a [u8],
    head: &'a mut Head,
    limits: &'a Limits,
    budget: Budget,
}

impl Job for ReadTrailers<'_> {
    type Output = Read;

    #[inline(always)]
    fn run<S: Scan>(self, scan: S) -> Read {
        let mut block = Block::new(scan, self.input, 0);
        field_lines(&mut block, 0, self.head, self.limits, self.budget, &mut ())
    }
}

/// A block of the input and what stands in it.
struct Block<'a, S> {
    scan: S,
    input: &'a [u8],
    base: usize,
    masks: Masks,
}

impl<'a, S: Scan> Block<'a, S> {
    #[inline(always)]
    fn new(scan: S, input: &'a [u8], at: usize) -> Self {
        Self { scan, input, base: at, masks: scan.masks(input, at) }
    }

    /// For the line that starts at `line_start`: the first byte that cannot stand in a name, and the first that cannot
    /// stand in a value; the end of the input if there is none. Lines are asked for in their order.
    #[inline(always)]
    fn line(&mut self, line_start: usize) -> (usize, usize) {
        let offset = line_start - self.base;
        if offset < BLOCK {
            let (names, stops) = (self.masks.not_name >> offset, self.masks.stop >> offset);
            // A byte that stops a value is not of a name either.
            if stops != 0 {
                return (line_start + names.trailing_zeros() as usize, line_start + stops.trailing_zeros() as usize);
            }
        }
        self.base = line_start;
        self.masks = self.scan.masks(self.input, line_start);
        let Masks { stop, not_name } = self.masks;
        if stop != 0 {
            return (line_start + not_name.trailing_zeros() as usize, line_start + stop.trailing_zeros() as usize);
        }
        let name_end = match not_name {
            0 => self.find(line_start + BLOCK, |masks| masks.not_name),
            _ => line_start + not_name.trailing_zeros() as usize,
        };
        (name_end, self.find(line_start + BLOCK, |masks| masks.stop))
    }

    /// The first place from `at` on where `which` has a bit, or the end of the input.
    #[inline(always)]
    fn find(&self, mut at: usize, which: impl Fn(Masks) -> u64) -> usize {
        while at < self.input.len() {
            let bits = which(self.scan.masks(self.input, at));
            if bits != 0 {
                return at + bits.trailing_zeros() as usize;
            }
            at += BLOCK;
        }
        self.input.len()
    }
}

#[inline(always)]
fn span(start: usize, end: usize) -> Span {
    Span::new(start as u32, end as u32)
}

/// The version that ends a request line, if it is one that we speak.
#[inline(always)]
fn version(end_of_line: &[u8; 11]) -> Option<Version> {
    // Compared as two numbers; they overlap in the point.
    if end_of_line.first_chunk::<8>()? != b" HTTP/1." {
        return None;
    }
    match end_of_line.last_chunk::<4>()? {
        b".1\r\n" => Some(Version::HTTP_11),
        b".0\r\n" => Some(Version::HTTP_10),
        _ => None,
    }
}

/// Reads the request line and says where the next line starts; `None` is trouble.
///
/// The end of the line is looked for first: where the next line starts then depends on nothing else, and the processor
/// reads on there while it still compares here.
#[inline(always)]
fn request_line<S: Scan>(block: &mut Block<'_, S>, start: usize, head: &mut Head, limits: &Limits) -> Option<usize> {
    let (scan, input) = (block.scan, block.input);
    let (method_end, stop) = block.line(start);
    let target_start = method_end + 1;
    // Before the end stand a space and the version, nine bytes.
    let target_end = stop.checked_sub(9)?;
    head.version = version(input.get(target_end..)?.first_chunk()?)?;
    let target = input.get(target_start..target_end)?;
    let method = input.get(start..method_end)?;
    if input[method_end] != b' '
        || method.len() > limits.method_bytes_max as usize
        || target.len() > limits.target_bytes_max as usize
    {
        return None;
    }
    head.target = span(target_start, target_end);
    head.path = Span::default();
    head.query = None;
    if *target.first()? == b'/' {
        let mut end = scan.skip(&PATH, input, target_start);
        head.path = span(target_start, end);
        if input.get(end) == Some(&b'?') {
            let query = end + 1;
            end = scan.skip(&QUERY, input, query);
            head.query = Some(span(query, end));
        }
        if end != target_end {
            return None;
        }
    } else if scan.skip(&ABSOLUTE, input, target_start) != target_end {
        return None;
    }
    head.method = method::from_token(method)?;
    Some(stop + 2)
}

/// Who wants to know what the field lines say.
trait Notes {
    fn note(&mut self, input: &[u8], name: Span, value: Span);
}

/// Nobody: trailers decide nothing.
impl Notes for () {
    #[inline(always)]
    fn note(&mut self, _: &[u8], _: Span, _: Span) {}
}

/// Reads field lines up to the empty one.
#[inline(always)]
fn field_lines<S: Scan>(
    block: &mut Block<'_, S>,
    fields_start: usize,
    head: &mut Head,
    limits: &Limits,
    budget: Budget,
    notes: &mut impl Notes,
) -> Read {
    let input = block.input;
    let fields = &mut head.fields;
    fields.clear();
    let bytes_max = (budget.bytes as usize).saturating_sub(2);
    let line_max = limits.field_line_bytes_max as usize;
    // Up to here no line can pass either limit.
    let surely_good = fields_start + bytes_max.min(line_max);
    let mut line_start = fields_start;
    loop {
        let (name_end, stop) = block.line(line_start);
        let has_line_end = input.get(stop..).and_then(<[u8]>::first_chunk) == Some(b"\r\n");
        if stop == line_start && has_line_end {
            return Read::Whole { end: line_start + 2, field_bytes: (line_start - fields_start) as u32 };
        }
        let is_good = has_line_end
            && name_end != line_start
            && input[name_end] == b':'
            && (stop <= surely_good || (stop - line_start <= line_max && stop - fields_start <= bytes_max))
            && fields.len() < budget.fields as usize;
        if !is_good {
            return Read::Trouble(Progress {
                line_start: line_start as u32,
                scanned: line_start as u32,
                fields_start: fields_start as u32,
                fields: fields.len() as u16,
            });
        }
        let name = span(line_start, name_end);
        let value = trim(input, name_end + 1, stop);
        fields.push(Field { name, value });
        notes.note(input, name, value);
        line_start = stop + 2;
    }
}

/// Takes the white space off both ends of a value. Nearly always it is one space in front.
#[inline(always)]
fn trim(input: &[u8], start: usize, end: usize) -> Span {
    let start = start + usize::from(input[start] == b' ');
    let is_space = |byte: u8| byte == b' ' || byte == b'\t';
    if start < end && !is_space(input[start]) && !is_space(input[end - 1]) {
        return span(start, end);
    }
    trim_rare(input, start, end)
}

#[cold]
fn trim_rare(input: &[u8], start: usize, end: usize) -> Span {
    let from_start = input[start..end].trim_ascii_start();
    // ASCII white space is more than SP and HTAB, but nothing else of it can stand in a value.
    span(end - from_start.len(), end - from_start.len() + from_start.trim_ascii_end().len())
}

/// Only eight names matter, of eight lengths.
impl Notes for Seen {
    #[inline(always)]
    fn note(&mut self, input: &[u8], name: Span, value: Span) {
        const LENGTHS: u32 = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 12 | 1 << 14 | 1 << 17;
        let length = name.len();
        if length > 17 || LENGTHS >> length & 1 == 0 {
            return;
        }
        let name = name.of(input);
        if is(name, b"host") {
            self.host = value;
            self.hosts += 1;
        } else {
            note_rare(name, value.of(input), self);
        }
    }
}

#[inline]
fn note_rare(name: &[u8], value: &[u8], seen: &mut Seen) {
    if is(name, b"connection") {
        seen.options.add(value);
    } else if is(name, b"content-length") {
        seen.length.add(value);
    } else if is(name, b"content-type") {
        seen.content_types += 1;
    } else if is(name, b"transfer-encoding") {
        seen.coding.add(value);
    } else if is(name, b"expect") {
        seen.expectation.add(value);
    } else if is(name, b"upgrade") {
        seen.upgrade.add(value);
    } else if is(name, b"te") {
        seen.accepts_trailers |= crate::http::field::has_element(value, "trailers");
    }
}

/// Compares a token with a name of lower-case letters and hyphens. Setting the bit that makes letters lower-case is
/// enough: of the bytes a token may have, no other becomes a letter or a hyphen by it.
#[inline(always)]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Some(name) = name.first_chunk::<N>().filter(|_| name.len() == N) else { return false };
    let four =
        |bytes: &[u8; N], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut different = 0;
    if N >= 4 {
        let mut at = 0;
        while at + 4 <= N {
            different |= (four(name, at) | 0x2020_2020) ^ four(lower, at);
            at += 4;
        }
        different |= (four(name, N - 4) | 0x2020_2020) ^ four(lower, N - 4);
    } else {
        for (byte, lower) in name.iter().zip(lower) {
            different |= u32::from((byte | 0x20) ^ lower);
        }
    }
    different == 0
}

/// True when the value of a Host field is good (RFC 9112 section 3.2).
#[inline(always)]
fn is_host<S: Scan>(scan: S, input: &[u8], host: Span) -> bool {
    let end = scan.skip(&HOST, input, host.start()).min(host.end());
    if end == host.start() {
        return target::is_authority(host.of(input)).is_some();
    }
    target::port(&input[end..host.end()]).is_some()
}
