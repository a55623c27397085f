//! A head of HTTP/2 for a handler that takes its time: all of it in one piece of memory, exactly as large as it is. A
//! hundred open streams hold a hundred of these (F-05), so every byte counts.
//!
//! ```text
//! method 1 · number of fields 2 · lengths of target, path and authority 2 each
//! for each field: length of name 2, of value 2
//! target · authority · names and values
//! ```
//! The path is the beginning of the target; what stands behind it and its `?` is the query.

use http::Method;
use ringgate_protocols::{http::head::Head, http2::request::RequestHead};

/// Methods that a byte stands for. A head with another one is not packed.
pub(crate) static METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Bytes before the lengths of the fields.
const FIXED_BYTES: usize = 9;

/// Bytes of the two lengths of a field.
const FIELD_BYTES: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Box<[u8]>,
}

impl Packed {
    /// A copy of this head. `None` for what hardly ever comes: an extension method, CONNECT, a part beyond 64 KiB.
    pub(crate) fn new(decoded: &RequestHead) -> Option<Self> {
        let (head, text): (&Head, &[u8]) = (&decoded.head, decoded.bytes());
        let is_path = head.path.start() == head.target.start() && !head.path.is_empty();
        if !is_path || decoded.protocol.is_some() {
            return None;
        }
        let method = METHODS.iter().position(|known| *known == head.method)?;
        let fields = head.fields.iter().map(|field| (field.name.of(text), field.value.of(text)));
        let lengths = fields.clone().map(|(name, value)| [name.len(), value.len()]);
        let mut bytes = Self::begin(method, head.target.of(text), head.path.len(), head.authority.of(text), lengths)?;
        // They stand one behind the other, unless crumbs were joined.
        let start = head.fields.first().map_or(0, |field| field.name.start());
        let mut end = start;
        let is_chain = head.fields.iter().all(|field| {
            let is_next = field.name.start() == end && field.value.start() == field.name.end();
            end = field.value.end();
            is_next
        });
        if is_chain {
            bytes.extend_from_slice(&text[start..end]);
        } else {
            fields.for_each(|(name, value)| {
                bytes.extend_from_slice(name);
                bytes.extend_from_slice(value);
            });
        }
        Some(Self { bytes: bytes.into_boxed_slice() })
    }

    /// `GET target`, without any field.
    pub(crate) fn get(target: &str, authority: &str) -> Option<Self> {
        let path = target.find('?').unwrap_or(target.len());
        let bytes = Self::begin(0, target.as_bytes(), path, authority.as_bytes(), [].into_iter())?;
        Some(Self { bytes: bytes.into_boxed_slice() })
    }

    /// Everything but the text of the fields, for which there is room exactly.
    fn begin(
        method: usize,
        target: &[u8],
        path_length: usize,
        authority: &[u8],
        lengths: impl ExactSizeIterator<Item = [usize; 2]> + Clone,
    ) -> Option<Vec<u8>> {
        let mut longest = lengths.len().max(target.len()).max(authority.len());
        let text: usize = lengths.clone().flatten().inspect(|length| longest = longest.max(*length)).sum();
        if longest > usize::from(u16::MAX) {
            return None;
        }
        let length = FIXED_BYTES + lengths.len() * FIELD_BYTES + target.len() + authority.len() + text;
        let number = |number: usize| (number as u16).to_le_bytes();
        let mut bytes = Vec::with_capacity(length);
        bytes.push(method as u8);
        let fixed = [lengths.len(), target.len(), path_length, authority.len()].map(number);
        bytes.extend_from_slice(fixed.as_flattened());
        lengths.for_each(|lengths| bytes.extend_from_slice(lengths.map(number).as_flattened()));
        bytes.extend_from_slice(target);
        bytes.extend_from_slice(authority);
        Some(bytes)
    }

    /// Everything: spans of a route's parameters point into it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn number(&self, at: usize) -> usize {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)))
    }

    pub(crate) fn method(&self) -> &'static Method {
        &METHODS[usize::from(self.bytes[0])]
    }

    /// Where the target begins, and so the path.
    pub(crate) fn path_start(&self) -> usize {
        FIXED_BYTES + self.number(1) * FIELD_BYTES
    }

    pub(crate) fn target(&self) -> &[u8] {
        &self.bytes[self.path_start()..][..self.number(3)]
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.target()[..self.number(5)]
    }

    pub(crate) fn query(&self) -> Option<&[u8]> {
        self.target()[self.number(5)..].strip_prefix(b"?")
    }

    pub(crate) fn authority(&self) -> &[u8] {
        &self.bytes[self.path_start() + self.number(3)..][..self.number(7)]
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        let start = self.path_start();
        let text = start + self.number(3) + self.number(7);
        Fields { lengths: &self.bytes[FIXED_BYTES..start], text: &self.bytes[text..] }
    }
}

/// Fields of a packed head.
pub(crate) struct Fields<'a> {
    lengths: &'a [u8],
    text: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([name0, name1, value0, value1], lengths) = self.lengths.split_first_chunk()?;
        self.lengths = lengths;
        let (name, rest) = self.text.split_at(usize::from(u16::from_le_bytes([*name0, *name1])));
        let (value, rest) = rest.split_at(usize::from(u16::from_le_bytes([*value0, *value1])));
        self.text = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let fields: [(&[u8], &[u8]); 3] = [(b"accept", b"*/*"), (b"empty", b""), (b"x", b"yz")];
        let lengths = fields.iter().map(|(name, value)| [name.len(), value.len()]);
        let mut bytes = Packed::begin(2, b"/a/b?c=d?e", 4, b"host:1", lengths).unwrap();
        let room = bytes.capacity();
        fields.iter().for_each(|(name, value)| bytes.extend([*name, *value].concat()));
        assert_eq!(
            (bytes.len(), bytes.capacity()),
            (9 + 3 * 4 + 10 + 6 + 9 + 5 + 3, room),
            "exactly as large as it is"
        );
        let packed = Packed { bytes: bytes.into_boxed_slice() };
        assert_eq!(packed.method(), Method::POST);
        assert_eq!((packed.target(), packed.path()), (&b"/a/b?c=d?e"[..], &b"/a/b"[..]));
        assert_eq!((packed.query(), packed.authority()), (Some(&b"c=d?e"[..]), &b"host:1"[..]));
        assert_eq!(packed.fields().collect::<Vec<_>>(), fields);
        assert_eq!(&packed.bytes()[packed.path_start()..][..4], b"/a/b");
    }

    #[test]
    fn a_query_may_be_empty_or_not_there() {
        let query = |target| Packed::get(target, "a").unwrap().query().map(<[u8]>::to_vec);
        assert_eq!((query("/a"), query("/a?"), query("/?b")), (None, Some(vec![]), Some(b"b".to_vec())));
    }

    #[test]
    fn what_is_too_long_for_its_number_is_not_packed() {
        assert!(Packed::get(&format!("/{}", "a".repeat(65_534)), "a").is_some());
        assert!(Packed::get(&format!("/{}", "a".repeat(65_535)), "a").is_none());
    }
}
