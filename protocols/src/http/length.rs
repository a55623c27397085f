//! The value of Content-Length: RFC 9110 section 8.6.

/// Reads `1*DIGIT` and nothing else: no sign, no list, no white space, no other base. `None` also when the number does
/// not fit into 63 bits, so that no sum with it can wrap.
///
/// ```
/// use ringgate_protocols::http::length::parse_content_length;
/// assert_eq!(parse_content_length(b"42"), Some(42));
/// assert_eq!(parse_content_length(b"+42"), None);
/// ```
#[must_use]
pub fn parse_content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for &byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (number <= i64::MAX as u64).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::parse_content_length;

    #[test]
    fn s_04_only_digits_are_a_length() {
        for (value, number) in [("0", 0), ("007", 7), ("9223372036854775807", i64::MAX as u64)] {
            assert_eq!(parse_content_length(value.as_bytes()), Some(number));
        }
        let bad: [&[u8]; 12] = [
            b"",
            b"+5",
            b"-5",
            b"0x5",
            b"5_0",
            b"5,5",
            b"5 ",
            b"\xa05",
            b"5.0",
            b"9223372036854775808",
            b"18446744073709551616",
            b"99999999999999999999999999",
        ];
        for value in bad {
            assert_eq!(parse_content_length(value), None, "{}", value.escape_ascii());
        }
    }
}
