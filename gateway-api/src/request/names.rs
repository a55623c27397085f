//! Names of fields that a packed head has a byte for: those that browsers, common clients and proxies send.

/// By length, so that few have to be compared.
#[rustfmt::skip]
const NAMES: [&str; 60] = [
    "te", "dnt", "via", "date", "from", "host", "link", "range", "accept", "cookie", "expect", "origin",
    "pragma", "referer", "sec-gpc", "upgrade", "if-match", "if-range", "priority", "forwarded", "sec-ch-ua",
    "x-api-key", "x-real-ip", "tracestate", "user-agent", "traceparent", "content-type", "grpc-timeout",
    "x-csrf-token", "x-request-id", "authorization", "cache-control", "if-none-match", "last-event-id",
    "accept-charset", "content-length", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user",
    "accept-encoding", "accept-language", "x-forwarded-for", "content-encoding", "content-language",
    "sec-ch-ua-mobile", "x-correlation-id", "x-forwarded-host", "x-forwarded-port", "x-requested-with",
    "if-modified-since", "x-forwarded-proto", "sec-ch-ua-platform", "content-disposition",
    "if-unmodified-since", "proxy-authorization", "grpc-accept-encoding", "upgrade-insecure-requests",
    "access-control-request-method", "access-control-request-headers",
];

/// The longest of them.
const LENGTH_MAX: usize = 30;

/// For each length how many names are shorter.
const SHORTER: [u8; LENGTH_MAX + 2] = {
    let mut shorter = [0; LENGTH_MAX + 2];
    let mut place = 0;
    while place < NAMES.len() {
        let mut length = NAMES[place].len() + 1;
        while length < shorter.len() {
            shorter[length] += 1;
            length += 1;
        }
        place += 1;
    }
    shorter
};

/// The number of a name, from 1 on. It means something to [`name`] only.
pub(crate) fn number(name: &[u8]) -> Option<u8> {
    let length = name.len();
    let (first, end) = (*SHORTER.get(length)?, *SHORTER.get(length + 1)?);
    let found = (first..end).find(|place| NAMES[usize::from(*place)].as_bytes() == name)?;
    Some(found + 1)
}

/// The name with a number.
pub(crate) fn name(number: u8) -> &'static [u8] {
    NAMES[usize::from(number) - 1].as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_by_its_number_and_no_other() {
        assert!(NAMES.is_sorted_by_key(|name| name.len()));
        for (place, known) in NAMES.iter().enumerate() {
            assert_eq!(number(known.as_bytes()), Some(place as u8 + 1), "{known}");
            assert_eq!(name(place as u8 + 1), known.as_bytes());
        }
        let long = [b'a'; LENGTH_MAX + 1];
        for other in [&b""[..], b"a", b"Accept", b"x-own", &long] {
            assert_eq!(number(other), None);
        }
    }
}
