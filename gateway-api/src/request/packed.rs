//! A head of HTTP/2 for a handler that takes its time: all of it in one piece of memory, exactly as large as it is. A
//! hundred open streams hold a hundred of these (F-05), so every byte counts.
//!
//! ```text
//! method 1 · lengths of target, path and authority · length of what follows on the fields
//! for each field: number of its name, or 0 and the length of the name · length of the value
//! target · authority · names without a number, and values
//! ```
//! Lengths are in groups of seven bits, the lowest first. The path is the beginning of the target; what stands behind it
//! and its `?` is the query.

use crate::request::names;
use http::Method;
use ringgate_protocols::{http::head::Head, http2::request::RequestHead};

/// The methods that are known: in a packed head a byte stands for each, and a head with another one is not packed; a route
/// has a place for each.
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Box<[u8]>,
}

/// A packed head taken apart.
struct Parts<'a> {
    /// Where the target begins.
    start: usize,
    target: &'a [u8],
    path: &'a [u8],
    authority: &'a [u8],
    fields: Fields<'a>,
}

/// Bytes that a length takes.
const fn size(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn put(bytes: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

fn get(bytes: &mut &[u8]) -> usize {
    let (mut length, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    length
}

impl Packed {
    /// A copy of this head. `None` for what hardly ever comes: an extension method, CONNECT.
    pub(crate) fn new(decoded: &RequestHead) -> Option<Self> {
        let (head, text): (&Head, &[u8]) = (&decoded.head, decoded.bytes());
        let is_path = head.path.start() == head.target.start() && !head.path.is_empty();
        if !is_path || decoded.protocol.is_some() {
            return None;
        }
        let method = METHODS.iter().position(|known| *known == head.method)?;
        let fields = head.fields.iter().map(|field| (field.name.of(text), field.value.of(text)));
        Some(Self::pack(method, head.target.of(text), head.path.len(), head.authority.of(text), fields))
    }

    /// `GET target`, without any field.
    pub(crate) fn get(target: &str, authority: &str) -> Self {
        let path = target.find('?').unwrap_or(target.len());
        Self::pack(0, target.as_bytes(), path, authority.as_bytes(), [].into_iter())
    }

    fn pack<'a>(
        method: usize,
        target: &[u8],
        path_length: usize,
        authority: &[u8],
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Self {
        let (mut about_fields, mut text) = (0, target.len() + authority.len());
        for (name, value) in fields.clone() {
            about_fields += 1 + size(value.len());
            text += value.len();
            if names::number(name).is_none() {
                about_fields += size(name.len());
                text += name.len();
            }
        }
        let lengths = [target.len(), path_length, authority.len(), about_fields];
        let fixed: usize = 1 + lengths.map(size).iter().sum::<usize>();
        let mut bytes = Vec::with_capacity(fixed + about_fields + text);
        bytes.push(method as u8);
        lengths.into_iter().for_each(|length| put(&mut bytes, length));
        for (name, value) in fields.clone() {
            match names::number(name) {
                Some(number) => bytes.push(number),
                None => {
                    bytes.push(0);
                    put(&mut bytes, name.len());
                }
            }
            put(&mut bytes, value.len());
        }
        bytes.extend_from_slice(target);
        bytes.extend_from_slice(authority);
        for (name, value) in fields {
            if names::number(name).is_none() {
                bytes.extend_from_slice(name);
            }
            bytes.extend_from_slice(value);
        }
        Self { bytes: bytes.into_boxed_slice() }
    }

    fn parts(&self) -> Parts<'_> {
        let mut rest = self.bytes.get(1..).unwrap_or_default();
        let [target, path, authority, about_fields] = [(); 4].map(|()| get(&mut rest));
        let (about_fields, text) = rest.split_at(about_fields);
        let start = self.bytes.len() - text.len();
        let (target, text) = text.split_at(target);
        let (authority, text) = text.split_at(authority);
        Parts { start, target, path: &target[..path], authority, fields: Fields { about: about_fields, text } }
    }

    /// Everything: spans of a route's parameters point into it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn method(&self) -> &'static Method {
        &METHODS[usize::from(self.bytes[0])]
    }

    /// Where the target begins, and so the path.
    pub(crate) fn path_start(&self) -> usize {
        self.parts().start
    }

    pub(crate) fn target(&self) -> &[u8] {
        self.parts().target
    }

    pub(crate) fn path(&self) -> &[u8] {
        self.parts().path
    }

    pub(crate) fn query(&self) -> Option<&[u8]> {
        let parts = self.parts();
        parts.target[parts.path.len()..].strip_prefix(b"?")
    }

    pub(crate) fn authority(&self) -> &[u8] {
        self.parts().authority
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        self.parts().fields
    }
}

/// Fields of a packed head.
pub(crate) struct Fields<'a> {
    /// Numbers and lengths that have not been read.
    about: &'a [u8],
    text: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (number, about) = self.about.split_first()?;
        self.about = about;
        let name = match number {
            0 => self.text.split_off(..get(&mut self.about))?,
            number => names::name(*number),
        };
        Some((name, self.text.split_off(..get(&mut self.about))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let long = [b'v'; 20_000];
        let fields: [(&[u8], &[u8]); 4] = [(b"accept", b"*/*"), (b"x-empty", b""), (b"x", b"yz"), (b"cookie", &long)];
        let packed = Packed::pack(2, b"/a/b?c=d?e", 4, b"host:1", fields.into_iter());
        assert_eq!(
            packed.bytes.len(),
            5 + (2 + 3 + 3 + 4) + 10 + 6 + 3 + 7 + 3 + 20_000,
            "names that are known are not in it"
        );
        assert_eq!(packed.method(), Method::POST);
        assert_eq!((packed.target(), packed.path()), (&b"/a/b?c=d?e"[..], &b"/a/b"[..]));
        assert_eq!((packed.query(), packed.authority()), (Some(&b"c=d?e"[..]), &b"host:1"[..]));
        assert_eq!(packed.fields().collect::<Vec<_>>(), fields);
        assert_eq!(&packed.bytes()[packed.path_start()..][..4], b"/a/b");
    }

    #[test]
    fn it_takes_exactly_the_room_it_was_given() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut bytes = Vec::new();
            put(&mut bytes, length);
            assert_eq!(bytes.len(), size(length), "{length}");
            assert_eq!((get(&mut &bytes[..]), get(&mut &[&bytes[..], b"more"].concat()[..])), (length, length));
        }
    }

    #[test]
    fn a_query_may_be_empty_or_not_there() {
        let query = |target| Packed::get(target, "a").query().map(<[u8]>::to_vec);
        assert_eq!((query("/a"), query("/a?"), query("/?b")), (None, Some(vec![]), Some(b"b".to_vec())));
    }
}
