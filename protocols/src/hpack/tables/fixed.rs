//! The static table, RFC 7541 appendix A.

use crate::hpack::kind::Kind;

/// Number of entries; dynamic entries are numbered from 62.
pub const COUNT: usize = 61;

/// Entry `n` of the appendix stands at `n - 1`.
pub static ENTRIES: [(&str, &str); COUNT] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// All names and values behind one another, with slack so that short texts are copied as one wide move.
pub(crate) static TEXT: [u8; TEXT_LENGTH + 32] = {
    let mut text = [0; TEXT_LENGTH + 32];
    let (mut index, mut at) = (0, 0);
    while index < COUNT {
        let (name, value) = (ENTRIES[index].0.as_bytes(), ENTRIES[index].1.as_bytes());
        let mut byte = 0;
        while byte < name.len() {
            text[at] = name[byte];
            at += 1;
            byte += 1;
        }
        byte = 0;
        while byte < value.len() {
            text[at] = value[byte];
            at += 1;
            byte += 1;
        }
        index += 1;
    }
    text
};

const TEXT_LENGTH: usize = {
    let (mut index, mut length) = (0, 0);
    while index < COUNT {
        length += ENTRIES[index].0.len() + ENTRIES[index].1.len();
        index += 1;
    }
    length
};

/// Where an entry stands in [`TEXT`], and what its name means.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) start: u16,
    pub(crate) name_length: u8,
    pub(crate) value_length: u8,
    pub(crate) kind: Kind,
}

/// Places by index; index 0 is not an entry.
pub(crate) static PLACES: [Place; COUNT + 1] = {
    let mut places = [Place { start: 0, name_length: 0, value_length: 0, kind: Kind::Malformed }; COUNT + 1];
    let (mut index, mut start) = (0, 0);
    while index < COUNT {
        let (name, value) = ENTRIES[index];
        places[index + 1] =
            Place { start, name_length: name.len() as u8, value_length: value.len() as u8, kind: kind_of(index + 1) };
        start += (name.len() + value.len()) as u16;
        index += 1;
    }
    places
};

const fn kind_of(index: usize) -> Kind {
    match index {
        1 => Kind::Authority,
        2 | 3 => Kind::Method,
        4 | 5 => Kind::Path,
        6 | 7 => Kind::Scheme,
        8..=14 => Kind::PseudoOther,
        23 | 49 | 55 => Kind::Sensitive,
        28 => Kind::ContentLength,
        31 => Kind::ContentType,
        32 => Kind::Cookie,
        38 => Kind::Host,
        57 => Kind::ConnectionSpecific,
        _ => Kind::Ordinary,
    }
}

/// Slots of the name hash; three times the names keeps probing short.
const SLOTS: usize = 256;

const fn slot_of(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    // First, middle and last byte and the length tell nearly all names of the table apart.
    let mixed = name[0] as usize * 7 + name[length / 2] as usize * 31 + name[length - 1] as usize * 101 + length * 13;
    (mixed ^ (mixed >> 6)) % SLOTS
}

/// Name to the first index with that name, open addressing, made at compile time.
static BY_NAME: [u8; SLOTS] = {
    let mut slots = [0u8; SLOTS];
    let mut index = COUNT;
    while index > 0 {
        let name = ENTRIES[index - 1].0.as_bytes();
        let mut slot = slot_of(name);
        while slots[slot] != 0 && !same(ENTRIES[slots[slot] as usize - 1].0.as_bytes(), name) {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = index as u8; // walked from the end, so the first index of a name stays
        index -= 1;
    }
    slots
};

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The first index whose name is `name`; 0 when there is none.
#[must_use]
pub fn find_name(name: &[u8]) -> usize {
    let mut slot = slot_of(name);
    loop {
        let index = usize::from(BY_NAME[slot]);
        if index == 0 || ENTRIES[index - 1].0.as_bytes() == name {
            return index;
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The index of the entry that holds `value`, among those named as entry `first`; 0 when there is none.
#[must_use]
pub fn find_value(first: usize, value: &[u8]) -> usize {
    let name = ENTRIES[first - 1].0;
    let mut index = first;
    while index <= COUNT && ENTRIES[index - 1].0 == name {
        if ENTRIES[index - 1].1.as_bytes() == value && !value.is_empty() {
            return index;
        }
        index += 1;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{COUNT, ENTRIES, PLACES, TEXT, find_name, find_value};
    use crate::hpack::kind;

    #[test]
    fn every_entry_is_found_and_stands_in_the_text() {
        for index in 1..=COUNT {
            let (name, value) = ENTRIES[index - 1];
            let place = PLACES[index];
            let (start, middle) = (usize::from(place.start), usize::from(place.start) + usize::from(place.name_length));
            assert_eq!(&TEXT[start..middle], name.as_bytes());
            assert_eq!(&TEXT[middle..middle + usize::from(place.value_length)], value.as_bytes());
            assert_eq!(place.kind, kind::of_name(name.as_bytes()), "{name}");
            let first = find_name(name.as_bytes());
            assert_eq!(ENTRIES[first - 1].0, name);
            assert!(first == 1 || ENTRIES[first - 2].0 != name);
            assert_eq!(find_value(first, value.as_bytes()), if value.is_empty() { 0 } else { index });
        }
        for absent in ["", "x", ":statu", "datf", "content-lengti", "WWW-Authenticate"] {
            assert_eq!(find_name(absent.as_bytes()), 0);
        }
    }
}
