//! Extensible priorities, RFC 9218.

/// Urgency and incremental flag of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    /// 0 (first) to 7 (last); 3 unless said otherwise.
    pub urgency: u8,
    /// The response is useful in pieces, so it shares the connection with others of its urgency.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

impl Priority {
    /// Reads the value of a `priority` field or of PRIORITY_UPDATE: a dictionary of structured fields, of which `u` and
    /// `i` count and later members win. A value that does not parse is ignored as a whole, never an error.
    ///
    /// ```
    /// use ringgate_protocols::http2::priority::Priority;
    /// assert_eq!(Priority::parse(b"u=1, i"), Priority { urgency: 1, incremental: true });
    /// assert_eq!(Priority::parse(b"u=9"), Priority::default());
    /// ```
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        Self::parse_dictionary(value).unwrap_or_default()
    }

    fn parse_dictionary(value: &[u8]) -> Option<Self> {
        let mut priority = Self::default();
        if value.trim_ascii().is_empty() {
            return Some(priority);
        }
        for member in value.split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            // Parameters of a member say nothing to us.
            let member = member.split(|&byte| byte == b';').next()?;
            let mut parts = member.splitn(2, |&byte| byte == b'=');
            let key = parts.next()?;
            let bare = parts.next();
            if !matches!(key.first(), Some(b'a'..=b'z' | b'*'))
                || !key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'))
                || bare.is_some_and(|bare| bare.is_empty() || !bare.iter().all(|&byte| (0x20..0x7f).contains(&byte)))
            {
                return None;
            }
            match (key, bare) {
                // A value of another type or out of range is ignored (section 4).
                (b"u", Some([digit @ b'0'..=b'7'])) => priority.urgency = digit - b'0',
                (b"i", None | Some(b"?1")) => priority.incremental = true,
                (b"i", Some(b"?0")) => priority.incremental = false,
                _ => {}
            }
        }
        Some(priority)
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn q1_urgency_and_incremental_errors_ignored() {
        let at = |value: &str| {
            let priority = Priority::parse(value.as_bytes());
            (priority.urgency, priority.incremental)
        };
        assert_eq!(at("u=0"), (0, false));
        assert_eq!(at("u=7,i"), (7, true));
        assert_eq!(at(" i=?1 ,u=5;x=1, foo=bar"), (5, true));
        assert_eq!(at("i, i=?0"), (3, false));
        for ignored in
            ["", "u", "u=8", "u=-1", "u=3.0", "U=1", "u=1,,i", "=", "u=", "u=1,", "i=1", "u=\x01", "\u{fc}=1"]
        {
            assert_eq!(at(ignored), (3, false), "{ignored}");
        }
    }
}
