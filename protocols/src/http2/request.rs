//! The head of a request out of its fields, RFC 9113 section 8.

use crate::hpack::decode::DecodedField;
use crate::hpack::kind::Kind;
use crate::hpack::text::Text;
use crate::http::head::{Field, Head};
use crate::http::trailer;
use crate::http2::priority::Priority;
use crate::span::Span;

/// A decoded head or decoded trailers, with the text that the spans point into.
///
/// It comes from a [`HeadPool`] and is best given back to it when the exchange no longer needs it (F-05: a head is not
/// held for the life of a slow response).
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// Method, target, authority and fields. For trailers only `fields` has meaning.
    pub head: Head,
    /// The `:scheme`; empty for plain CONNECT.
    pub scheme: Span,
    /// The `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<Span>,
    /// The `content-length`, already well-formed.
    pub content_length: Option<u64>,
    /// What the `priority` field says, all its lines together.
    pub priority: Priority,
    /// Bit per field that must stay a never-indexed literal when sent on.
    never_indexed: u128,
    text: Text,
}

impl RequestHead {
    /// The bytes that all spans of this head point into.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.text.as_slice()
    }

    /// Whether field number `index` must stay a never-indexed literal when it is sent on (RFC 7541 section 7.1.3).
    /// Fields beyond the first 128 always answer yes, which is the safe side.
    #[must_use]
    pub const fn never_indexed(&self, index: usize) -> bool {
        index >= 128 || self.never_indexed >> index & 1 == 1
    }

    /// Bytes of memory held besides the value itself.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.text.capacity() + self.head.fields.capacity() * size_of::<Field>()
    }

    /// Makes an empty head a copy of another one, with this as its text.
    #[inline]
    pub(crate) fn assign(&mut self, other: &Self, text: &[u8]) {
        let Head { method, version, target, path, query, authority, fields } = &other.head;
        self.head.method.clone_from(method);
        (self.head.version, self.head.target, self.head.path) = (*version, *target, *path);
        (self.head.query, self.head.authority) = (*query, *authority);
        self.head.fields.extend_from_slice(fields);
        (self.scheme, self.protocol, self.content_length) = (other.scheme, other.protocol, other.content_length);
        (self.priority, self.never_indexed) = (other.priority, other.never_indexed);
        self.text.push(text);
    }

    fn clear(&mut self) {
        self.head.clear();
        self.head.version = http::Version::HTTP_2;
        self.scheme = Span::default();
        self.protocol = None;
        self.content_length = None;
        self.priority = Priority::default();
        self.never_indexed = 0;
        self.text.truncate(0);
    }
}

/// Heads to be used again. One pool serves all connections of a core, so that an idle connection holds none.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "a head travels in events as one pointer, and the box is what is used again")]
pub struct HeadPool {
    free: Vec<Box<RequestHead>>,
}

/// Heads kept at most; more are in use at once only under load, and then allocation is the least of it.
const POOLED_MAX: usize = 64;

/// A head that grew beyond this is not kept, so that one large request does not stay in memory.
const POOLED_TEXT_BYTES_MAX: usize = 8_192;

impl HeadPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an empty head.
    #[must_use]
    #[inline]
    pub fn take(&mut self) -> Box<RequestHead> {
        let mut head = self.free.pop().unwrap_or_default();
        head.clear();
        head
    }

    /// Gives a head back.
    #[inline]
    pub fn recycle(&mut self, mut head: Box<RequestHead>) {
        if self.free.len() < POOLED_MAX {
            head.text.shrink_to(POOLED_TEXT_BYTES_MAX);
            self.free.push(head);
        }
    }
}

/// Whether a block makes a head. A malformed one is a stream error PROTOCOL_ERROR (section 8.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// What has been seen while fields come in.
pub(crate) struct Assembly<'a> {
    head: &'a mut Head,
    scheme: &'a mut Span,
    protocol: &'a mut Option<Span>,
    content_length: &'a mut Option<u64>,
    priority: &'a mut Priority,
    never_indexed: &'a mut u128,
    seen: u8,
    malformed: bool,
    /// A field that is not a pseudo-field was seen; no pseudo-field may follow.
    regular: bool,
    cookies: u32,
    priorities: u32,
    host: Option<Span>,
    content_type: bool,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;
const PROTOCOL: u8 = 16;

impl RequestHead {
    /// The text to decode into, and what takes the fields.
    #[inline]
    pub(crate) const fn assemble(&mut self) -> (&mut Text, Assembly<'_>) {
        let assembly = Assembly {
            head: &mut self.head,
            scheme: &mut self.scheme,
            protocol: &mut self.protocol,
            content_length: &mut self.content_length,
            priority: &mut self.priority,
            never_indexed: &mut self.never_indexed,
            seen: 0,
            malformed: false,
            regular: false,
            cookies: 0,
            priorities: 0,
            host: None,
            content_type: false,
        };
        (&mut self.text, assembly)
    }

    /// Reads the `priority` of all its lines: they are one dictionary, in the order in which they came (RFC 8941 section
    /// 4.2), and no line means anything by itself.
    #[cold]
    pub(crate) fn join_priority(&mut self) {
        let text = self.text.as_slice();
        let lines = self.head.fields.iter().filter(|field| field.name.of(text) == b"priority");
        let lines: Vec<&[u8]> = lines.map(|field| field.value.of(text)).collect();
        self.priority = Priority::parse(&lines.join(&b", "[..]));
    }

    /// Joins cookie crumbs by `; ` (section 8.2.3): the first crumb's field gets the whole, the others go.
    #[cold]
    pub(crate) fn join_cookies(&mut self) {
        let start = self.text.len();
        let is_cookie = |text: &Text, field: &Field| field.name.of(text.as_slice()) == b"cookie";
        let mut first = None;
        for (index, field) in self.head.fields.iter().enumerate() {
            if is_cookie(&self.text, field) {
                if first.is_some() {
                    self.text.push(b"; ");
                }
                first = first.or(Some(index));
                self.text.append_within(field.value.start(), field.value.len());
            }
        }
        let Some(first) = first else { return };
        self.head.fields[first].value = Span::new(start as u32, self.text.len() as u32);
        let (mut index, mut kept, mut never) = (0, 0, 0u128);
        let (text, never_indexed) = (&self.text, self.never_indexed);
        self.head.fields.retain(|field| {
            let keep = index == first || !is_cookie(text, field);
            let bit = if index < 128 { never_indexed >> index & 1 } else { 1 };
            // A crumb that must not be indexed makes the joined cookie so.
            let place = if keep { kept } else { first };
            if place < 128 {
                never |= bit << place;
            }
            kept += usize::from(keep);
            index += 1;
            keep
        });
        self.never_indexed = never;
    }
}

impl Assembly<'_> {
    /// True when crumbs have to be joined.
    pub(crate) const fn has_crumbs(&self) -> bool {
        self.cookies > 1
    }

    /// True when the priority stands in more than one line.
    pub(crate) const fn has_priority_lines(&self) -> bool {
        self.priorities > 1
    }

    /// A field of a request head.
    #[inline]
    pub(crate) fn request_field(&mut self, text: &[u8], field: DecodedField) {
        match field.kind {
            Kind::Ordinary | Kind::Sensitive => {}
            Kind::Method => {
                self.pseudo(METHOD);
                self.head.method = match field.static_index {
                    2 => http::Method::GET,
                    3 => http::Method::POST,
                    _ => http::Method::from_bytes(field.value.of(text)).unwrap_or_else(|_| {
                        self.malformed = true;
                        http::Method::GET
                    }),
                };
                return;
            }
            Kind::Scheme => {
                self.pseudo(SCHEME);
                *self.scheme = field.value;
                return;
            }
            Kind::Path => {
                self.pseudo(PATH);
                self.head.target = field.value;
                return;
            }
            Kind::Authority => {
                self.pseudo(AUTHORITY);
                self.head.authority = field.value;
                return;
            }
            Kind::Protocol => {
                self.pseudo(PROTOCOL);
                *self.protocol = Some(field.value);
                return;
            }
            _ => self.special_field(text, field),
        }
        self.regular = true;
        self.push(field);
    }

    #[inline]
    fn push(&mut self, field: DecodedField) {
        if field.never_indexed && self.head.fields.len() < 128 {
            *self.never_indexed |= 1 << self.head.fields.len();
        }
        self.head.fields.push(Field { name: field.name, value: field.value });
    }

    #[inline]
    const fn pseudo(&mut self, bit: u8) {
        self.malformed |= self.regular || self.seen & bit != 0;
        self.seen |= bit;
    }

    /// Fields with a meaning of their own; all of them are pushed as well.
    fn special_field(&mut self, text: &[u8], field: DecodedField) {
        let value = field.value.of(text);
        match field.kind {
            Kind::Cookie => self.cookies += 1,
            Kind::ContentLength => {
                // One field, digits only; also identical duplicates are refused, since no client sends them.
                self.malformed |= self.content_length.is_some();
                *self.content_length = digits(value);
                self.malformed |= self.content_length.is_none();
            }
            // Which of several is meant, everybody decides differently (RFC 9110 section 8.3).
            Kind::ContentType => self.malformed |= std::mem::replace(&mut self.content_type, true),
            Kind::Host => {
                self.malformed |= self.host.is_some();
                self.host = Some(field.value);
            }
            Kind::Te => self.malformed |= !value.eq_ignore_ascii_case(b"trailers"),
            Kind::Priority => {
                self.priorities += 1;
                *self.priority = Priority::parse(value);
            }
            _ => self.malformed = true,
        }
    }

    /// A field of trailers: no pseudo-field, and those that only make sense in a head are dropped.
    pub(crate) fn trailer_field(&mut self, text: &[u8], field: DecodedField) {
        match field.kind {
            Kind::Ordinary if !trailer::is_forbidden(field.name.of(text)) => self.push(field),
            Kind::Ordinary | Kind::Cookie | Kind::ContentLength | Kind::ContentType => {}
            Kind::Host | Kind::Te | Kind::Priority | Kind::Sensitive => {}
            _ => self.malformed = true,
        }
    }

    /// Trailers are complete.
    pub(crate) const fn finish_trailers(&self) -> Result<(), Malformed> {
        if self.malformed { Err(Malformed) } else { Ok(()) }
    }

    /// All fields of a request are there; `extended` says whether extended CONNECT was announced.
    #[inline]
    pub(crate) fn finish_request(&mut self, text: &[u8], extended: bool) -> Result<(), Malformed> {
        if self.malformed {
            return Err(Malformed);
        }
        if self.seen & AUTHORITY == 0 {
            self.head.authority = self.host.unwrap_or_default();
        } else if let Some(host) = self.host
            && !host.of(text).eq_ignore_ascii_case(self.head.authority.of(text))
        {
            return Err(Malformed); // section 8.3.1
        }
        if self.head.authority.is_empty() {
            return Err(Malformed);
        }
        if self.head.method == http::Method::CONNECT || self.seen & PROTOCOL != 0 {
            return self.finish_connect(text, extended);
        }
        if self.seen & (METHOD | SCHEME | PATH) != METHOD | SCHEME | PATH {
            return Err(Malformed);
        }
        self.split_target(text)
    }

    #[inline]
    fn split_target(&mut self, text: &[u8]) -> Result<(), Malformed> {
        let target = self.head.target;
        let bytes = target.of(text);
        if bytes == b"*" && self.head.method != http::Method::OPTIONS {
            return Err(Malformed);
        }
        self.head.path = target;
        if let Some(mark) = bytes.iter().position(|&byte| byte == b'?') {
            let mark = target.start() + mark;
            self.head.path = Span::new(target.start() as u32, mark as u32);
            self.head.query = Some(Span::new(mark as u32 + 1, target.end() as u32));
        }
        Ok(())
    }

    /// Plain CONNECT has only `:method` and `:authority` (section 8.5); extended CONNECT has all five, and only where
    /// it was announced (RFC 8441 section 4).
    #[cold]
    fn finish_connect(&mut self, text: &[u8], extended: bool) -> Result<(), Malformed> {
        let wellformed = match self.seen {
            seen if seen == METHOD | AUTHORITY => {
                self.head.target = self.head.authority;
                // "the host and port": a colon, and digits behind it.
                let port = self.head.authority.of(text).last().is_some_and(u8::is_ascii_digit)
                    && self.head.authority.of(text).iter().rev().find(|byte| !byte.is_ascii_digit()) == Some(&b':');
                port && self.head.method == http::Method::CONNECT
            }
            seen if seen == METHOD | SCHEME | PATH | AUTHORITY | PROTOCOL => {
                self.split_target(text)?;
                extended && self.head.method == http::Method::CONNECT
            }
            _ => false,
        };
        if wellformed { Ok(()) } else { Err(Malformed) }
    }
}

/// `1*DIGIT` that fits into 63 bits.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let number = value.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })?;
    (number <= i64::MAX as u64).then_some(number)
}
