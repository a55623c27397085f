//! Field values that are lists: RFC 9110 section 5.6.1.

/// The elements of a comma-separated list, without the white space around them. Empty elements are left out, as the
/// RFC asks of recipients. Commas in quoted strings separate too: use it only for lists of tokens.
///
/// ```
/// use ringgate_protocols::http::field::elements;
/// assert!(elements(b"keep-alive , ,Upgrade").eq([&b"keep-alive"[..], b"Upgrade"]));
/// ```
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// The bytes without SP and HTAB at both ends.
#[must_use]
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// True when a comma-separated list of tokens has the given one. `lower` is written in lower case; the list may have
/// it in any.
#[must_use]
pub fn has_element(value: &[u8], lower: &str) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(lower.as_bytes()))
}
