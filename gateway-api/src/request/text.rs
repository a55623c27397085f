//! Text of a head in other forms.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// Lines the grammar has accepted, as the `http` crate's map.
pub(crate) fn header_map<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// The first value of `key` in a query, decoded as a form.
pub(crate) fn value_in_query<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(name, _)| decode(name, true) == key).map(|(_, value)| decode(value, true))
}

/// Percent-decoding; what is not UTF-8 then is replaced. With `form` a plus is a space.
pub(crate) fn decode(text: &str, form: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (form && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        let hex = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            (b'+', ..) if form => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(
        String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        assert_eq!(decode("plain", true), "plain");
        assert_eq!(decode("a+b%20c%2B", true), "a b c+");
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(decode("%zz%4", false), "%zz%4");
        assert_eq!(decode("%ff", false), "\u{fffd}");
        assert_eq!(decode("%E2%82%AC", false), "\u{20ac}");
    }
}
