//! Where the head of a request is, and how it is read there.

use crate::request::packed::{self, Packed};
use http::{Method, Version};
use ringgate_protocols::{
    http::head::{Field, Head},
    http2::request::RequestHead,
    span::Span,
};
use ringgate_runtime::buffer::Lease;
use std::{borrow::Cow, slice};

/// The head of a request, in one of its places.
#[derive(Debug, Default)]
pub(crate) enum Stored {
    #[default]
    Nothing,
    /// HTTP/1: places in what the kernel received.
    InPlace(Box<InPlace>),
    /// HTTP/2: places in the text that its block was decoded to.
    Decoded(Box<RequestHead>),
    /// HTTP/2: what a handler that takes its time needs of it, and no byte more.
    Packed(Packed),
}

/// A head of HTTP/1 and the received bytes that its spans point into.
#[derive(Debug)]
pub(crate) struct InPlace {
    pub(crate) head: Head,
    pub(crate) lease: Lease,
    /// Offset of the head in `lease`.
    pub(crate) base: usize,
}

impl Default for InPlace {
    fn default() -> Self {
        Self { head: Head::default(), lease: Lease::empty(), base: 0 }
    }
}

impl InPlace {
    /// Gives the received bytes back and keeps the memory of the head.
    pub(crate) fn release(&mut self) {
        self.lease = Lease::empty();
    }
}

/// A head by its two ways of being read.
pub(crate) enum View<'a> {
    Spans(&'a Head, &'a [u8]),
    Packed(&'a Packed),
    Nothing,
}

impl<'a> View<'a> {
    pub(crate) fn target(&self) -> &'a [u8] {
        match self {
            View::Spans(head, bytes) => head.target.of(bytes),
            View::Packed(packed) => packed.target(),
            View::Nothing => &[],
        }
    }

    #[inline]
    pub(crate) fn path(&self) -> &'a [u8] {
        match self {
            View::Spans(head, bytes) => head.path.of(bytes),
            View::Packed(packed) => packed.path(),
            View::Nothing => &[],
        }
    }

    pub(crate) fn query(&self) -> Option<&'a [u8]> {
        match self {
            View::Spans(head, bytes) => head.query.map(|query| query.of(bytes)),
            View::Packed(packed) => packed.query(),
            View::Nothing => None,
        }
    }

    pub(crate) fn authority(&self) -> &'a [u8] {
        match self {
            View::Spans(head, bytes) => head.authority.of(bytes),
            View::Packed(packed) => packed.authority(),
            View::Nothing => &[],
        }
    }

    /// The value of the first field with this name, in any case.
    #[inline]
    pub(crate) fn field(&self, name: &str) -> Option<&'a [u8]> {
        match self {
            View::Spans(head, bytes) => {
                let fields = head.fields.iter().filter(|field| field.name.len() == name.len());
                let mut found = fields.filter(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()));
                found.next().map(|field| field.value.of(bytes))
            }
            View::Packed(packed) => {
                let found = packed.fields().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
                found.map(|(_, value)| value)
            }
            View::Nothing => None,
        }
    }

    /// Names and values, in their order.
    pub(crate) fn fields(&self) -> Fields<'a> {
        match self {
            View::Spans(head, bytes) => Fields::Spans(head.fields.iter(), bytes),
            View::Packed(packed) => Fields::Packed(packed.fields()),
            View::Nothing => Fields::Spans([].iter(), &[]),
        }
    }
}

impl Stored {
    /// The bytes that spans of this head, and of the route's parameters, point into.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(place) => &place.lease[place.base..],
            Self::Decoded(head) => head.bytes(),
            Self::Packed(packed) => packed.bytes(),
            Self::Nothing => &[],
        }
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::InPlace(place) => View::Spans(&place.head, &place.lease[place.base..]),
            Self::Decoded(head) => View::Spans(&head.head, head.bytes()),
            Self::Packed(packed) => View::Packed(packed),
            Self::Nothing => View::Nothing,
        }
    }

    #[inline]
    pub(crate) fn method(&self) -> &Method {
        match self {
            Self::InPlace(place) => &place.head.method,
            Self::Decoded(head) => &head.head.method,
            Self::Packed(packed) => packed.method(),
            Self::Nothing => &packed::METHODS[0],
        }
    }

    #[inline]
    pub(crate) fn version(&self) -> Version {
        match self {
            Self::InPlace(place) => place.head.version,
            _ => Version::HTTP_2,
        }
    }

    /// Where the path begins in [`bytes`](Self::bytes).
    pub(crate) fn path_start(&self) -> usize {
        match self.view() {
            View::Spans(head, _) => head.path.start(),
            View::Packed(packed) => packed.path_start(),
            View::Nothing => 0,
        }
    }

    /// The `:protocol` of an extended CONNECT (RFC 8441).
    #[inline]
    pub(crate) fn connect_protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Decoded(head) => head.protocol.map(|protocol| protocol.of(head.bytes())),
            _ => None,
        }
    }

    /// The head as the protocols have it, and the bytes it refers to.
    pub(crate) fn head_and_bytes(&self) -> (Cow<'_, Head>, Cow<'_, [u8]>) {
        match self.view() {
            View::Spans(head, bytes) => (Cow::Borrowed(head), bytes.into()),
            View::Packed(packed) => {
                let (head, bytes) = packed.unpack();
                (Cow::Owned(head), bytes.into())
            }
            View::Nothing => (Cow::Owned(Head::default()), Cow::default()),
        }
    }
}

/// Offset behind the last byte that a head refers to.
pub(crate) fn end(head: &Head) -> usize {
    let ends = head.fields.iter().map(|field| field.value.end());
    ends.chain([head.target.end(), head.authority.end()]).max().unwrap_or(0)
}

/// Fields of a head, names and values.
pub(crate) enum Fields<'a> {
    Spans(slice::Iter<'a, Field>, &'a [u8]),
    Packed(packed::Fields<'a>),
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Spans(fields, bytes) => fields.next().map(|field| (field.name.of(bytes), field.value.of(bytes))),
            Self::Packed(fields) => fields.next(),
        }
    }
}

impl Packed {
    /// The same head in places, and the text they are in.
    fn unpack(&self) -> (Head, Vec<u8>) {
        let mut bytes = Vec::with_capacity(self.bytes().len() + UNPACKED_MORE_BYTES);
        let mut place = |part: &[u8]| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(part);
            Span::new(start, start + part.len() as u32)
        };
        let (target, authority) = (place(self.target()), place(self.authority()));
        let at = |length: usize| target.start() as u32 + length as u32;
        let (path, end) = (self.path().len(), target.end() as u32);
        let fields = self.fields().map(|(name, value)| Field { name: place(name), value: place(value) }).collect();
        let head = Head {
            method: self.method().clone(),
            version: Version::HTTP_2,
            target,
            path: Span::new(at(0), at(path)),
            query: self.query().map(|_| Span::new(at(path + 1), end)),
            authority,
            fields,
        };
        (head, bytes)
    }
}

/// About what the names that are not in a packed head come to.
const UNPACKED_MORE_BYTES: usize = 128;
