//! Sets of ASCII bytes, in the two forms in which they are looked up: a table of 256 for one byte at a time, and a
//! table of 16 for a whole vector at a time.

/// A set of ASCII bytes. Bytes from 0x80 up are never members.
pub(crate) struct Class {
    /// Bit `h` of entry `l` says whether the byte `h << 4 | l` is a member, `h` being 0..=7.
    pub(super) nibbles: [u8; 16],
    members: [bool; 256],
}

impl Class {
    /// ASCII letters and digits, and the given bytes.
    pub(crate) const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut class = Self { nibbles: [0; 16], members: [false; 256] };
        let mut byte = 0u8;
        while byte < 0x80 {
            if byte.is_ascii_alphanumeric() {
                class.insert(byte);
            }
            byte += 1;
        }
        let mut index = 0;
        while index < others.len() {
            class.insert(others[index]);
            index += 1;
        }
        class
    }

    const fn insert(&mut self, byte: u8) {
        assert!(byte < 0x80);
        self.nibbles[(byte & 0x0f) as usize] |= 1 << (byte >> 4);
        self.members[byte as usize] = true;
    }

    /// True when `byte` is a member.
    #[inline(always)]
    pub(crate) const fn has(&self, byte: u8) -> bool {
        self.members[byte as usize]
    }

    /// True when every byte of `bytes` is a member.
    pub(crate) fn has_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.has(byte))
    }
}

/// `tchar` of RFC 9110 section 5.6.2: the bytes of field names and methods.
pub(crate) static TOKEN: Class = TOKEN_TABLE;

/// The same as a constant, for tables that are made from it.
pub(super) const TOKEN_TABLE: Class = Class::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// The bytes of a path: `pchar` and `/` of RFC 3986 section 3.3; and those that clients commonly send as they are
/// (`?ids[]=1`), which no parser of HTTP reads differently. The backslash stays out: some take it for a slash.
pub(crate) static PATH: Class = Class::alphanumeric_and(b"-._~%!$&'()*+,;=:@/[]{}|^`");

/// The bytes of a query: those of a path, and `?` (RFC 3986 section 3.4).
pub(crate) static QUERY: Class = Class::alphanumeric_and(b"-._~%!$&'()*+,;=:@/[]{}|^`?");

/// The bytes of a target in absolute-form: those of a query; the brackets also stand around an IPv6 address.
pub(crate) static ABSOLUTE: Class = Class::alphanumeric_and(b"-._~%!$&'()*+,;=:@/[]{}|^`?");

/// The bytes of a registered name or IPv4 address (RFC 3986 section 3.2.2) without the comma: a list of hosts is what
/// two joined Host fields look like.
pub(crate) static HOST: Class = Class::alphanumeric_and(b"-._~%!$&'()*+;=");

/// True for the bytes that cannot stand in a field value: the controls without HTAB, and DEL.
#[inline(always)]
pub(crate) const fn is_stop(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}
