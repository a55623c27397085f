//! Close codes, RFC 6455 section 7.4.

/// A code that may stand in a Close frame.
///
/// ```
/// use ringgate_protocols::websocket::close::CloseCode;
/// assert_eq!(CloseCode::new(1000), Some(CloseCode::NORMAL));
/// assert_eq!(CloseCode::new(1006), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: a protocol error.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data that cannot be accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: data that does not fit its kind, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: a policy was violated.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client misses an extension.
    pub const EXTENSION_MISSING: Self = Self(1010);
    /// 1011: an unexpected condition at the server.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the service restarts (IANA registry).
    pub const RESTART: Self = Self(1012);
    /// 1013: try again later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code, if it may be on the wire: 1000 to 1003, 1007 to 1014 as registered, 3000 to 4999. 1004 is reserved;
    /// 1005, 1006 and 1015 are for reports only (section 7.4.1).
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Bytes of the longest reason: a control frame carries 125 (section 5.5), the code takes two.
pub const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use super::CloseCode;

    /// WS-7: the codes accepted, all 65,536 judged.
    #[test]
    fn ws_7_codes() {
        for code in (0..=u16::MAX).step_by(if cfg!(miri) { 101 } else { 1 }) {
            let good = matches!(code, 1000 | 1001 | 1002 | 1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(CloseCode::new(code).is_some(), good, "{code}");
        }
    }
}
