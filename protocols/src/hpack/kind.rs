//! What a field name means to HTTP/2, found once per name and remembered with table entries.

use crate::http::target::is_authority;

/// The meaning of a field name. Entries of the dynamic table keep it, so that a field sent by index is neither
/// classified nor checked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Kind {
    /// An ordinary field, well-formed.
    #[default]
    Ordinary,
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:path`.
    Path,
    /// `:authority`.
    Authority,
    /// `:protocol`, RFC 8441.
    Protocol,
    /// Any other name that begins with a colon: `:status` (a response's) and unknown ones.
    PseudoOther,
    /// `cookie`, whose crumbs are joined.
    Cookie,
    /// `content-length`.
    ContentLength,
    /// `content-type`, of which there is one.
    ContentType,
    /// `host`.
    Host,
    /// `te`, of which only `trailers` may be said.
    Te,
    /// `priority`, RFC 9218.
    Priority,
    /// `authorization`, `set-cookie` and the like: kept out of tables, dropped from trailers.
    Sensitive,
    /// `connection` and its kin, which HTTP/2 forbids (RFC 9113 section 8.2.2).
    ConnectionSpecific,
    /// The name or the value holds a byte that RFC 9113 section 8.2.1 forbids.
    Malformed,
}

/// Bytes a field name may hold: the token characters of RFC 9110 without upper case.
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut index = 0;
    while index < allowed.len() {
        table[allowed[index] as usize] = true;
        index += 1;
    }
    table
};

/// Classifies a name. An empty name is malformed (F-08).
#[must_use]
pub fn of_name(name: &[u8]) -> Kind {
    match name {
        b"cookie" => Kind::Cookie,
        b"content-length" => Kind::ContentLength,
        b"content-type" => Kind::ContentType,
        b"host" => Kind::Host,
        b"te" => Kind::Te,
        b"priority" => Kind::Priority,
        b"authorization" | b"proxy-authorization" | b"set-cookie" => Kind::Sensitive,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Kind::ConnectionSpecific
        }
        [] => Kind::Malformed,
        [b':', ..] => match name {
            b":method" => Kind::Method,
            b":scheme" => Kind::Scheme,
            b":path" => Kind::Path,
            b":authority" => Kind::Authority,
            b":protocol" => Kind::Protocol,
            _ => Kind::PseudoOther,
        },
        _ if name.iter().all(|&byte| NAME_BYTES[usize::from(byte)]) => Kind::Ordinary,
        _ => Kind::Malformed,
    }
}

/// True when a value holds no control character but HTAB, and neither begins nor ends with SP or HTAB. RFC 9113 section
/// 8.2.1 forbids NUL, CR and LF, RFC 9110 section 5.5 the others as well: a field means the same in both versions.
#[must_use]
#[inline]
pub fn value_is_well_formed(value: &[u8]) -> bool {
    // Without an early exit, so that it is compiled to wide compares.
    let bad = value.iter().fold(false, |bad, &byte| bad | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f));
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !(bad || blank(value.first()) || blank(value.last()))
}

/// True when `value` obeys the grammar of its pseudo-field, so that an entry of the table is checked once and not
/// whenever it is referred to. Ordinary values are only checked by [`value_is_well_formed`].
#[must_use]
#[inline]
pub fn value_fits(kind: Kind, value: &[u8]) -> bool {
    match kind {
        Kind::Path => {
            // Visible ASCII without what a browser would have encoded; `#` begins a fragment, which is never sent, and
            // some take a backslash for a slash. The same bytes as in HTTP/1.
            let bad = value.iter().fold(false, |bad, &byte| {
                bad | (byte <= b' ') | (byte >= 0x7f) | matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\')
            });
            !bad && matches!(value, [b'/', ..] | b"*")
        }
        Kind::Authority | Kind::Host => is_authority(value).is_some(),
        Kind::Scheme => {
            value.first().is_some_and(u8::is_ascii_alphabetic)
                && value.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        }
        Kind::Method | Kind::Protocol => {
            !value.is_empty() && value.iter().all(|&byte| NAME_BYTES[usize::from(byte.to_ascii_lowercase())])
        }
        _ => value_is_well_formed(value),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, of_name, value_is_well_formed};

    #[test]
    fn h2_17_every_byte_of_a_name_and_of_a_value() {
        for byte in 0..=255u8 {
            let well = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(of_name(&[b'x', byte, b'y']) == Kind::Ordinary, well, "name byte {byte:#x}");
            let well = !byte.is_ascii_control() || byte == b'\t';
            assert_eq!(value_is_well_formed(&[b'x', byte, b'y']), well, "value byte {byte:#x}");
            assert_eq!(value_is_well_formed(&[byte]), well && !b" \t".contains(&byte), "lone value byte {byte:#x}");
        }
        assert_eq!(of_name(b""), Kind::Malformed);
        assert!(value_is_well_formed(b""));
        assert_eq!(of_name(b":x"), Kind::PseudoOther);
    }
}
