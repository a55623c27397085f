//! Counting the ends of request heads: all the parsing that the raw HTTP/1.1 loops do.

/// How many heads end in the bytes, and where the last one ends.
///
/// ```
/// use ringgate_benches::raw::requests::count_heads;
/// assert_eq!(count_heads(b"GET / HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\nGET"), (2, 37));
/// ```
#[must_use]
pub fn count_heads(bytes: &[u8]) -> (usize, usize) {
    let (mut heads, mut end, mut position) = (0, 0, 3);
    // Looks at every fourth byte only, until one can belong to the end of a head.
    while position < bytes.len() {
        let step = match bytes[position] {
            b'\n' if &bytes[position - 3..=position] == b"\r\n\r\n" => {
                heads += 1;
                end = position + 1;
                4
            }
            b'\n' => 2,
            b'\r' => 1,
            _ => 4,
        };
        position += step;
    }
    (heads, end)
}

#[cfg(test)]
mod tests {
    use super::count_heads;

    #[test]
    fn every_alignment_is_found() {
        for padding in 0..20 {
            let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n", "x".repeat(padding));
            let all = head.repeat(5);
            assert_eq!(count_heads(all.as_bytes()), (5, all.len()));
            assert_eq!(count_heads(&all.as_bytes()[..all.len() - 1]), (4, all.len() - head.len()));
        }
        assert_eq!(count_heads(b"\r\n\r"), (0, 0));
        assert_eq!(count_heads(b"\r\r\n\r\n"), (1, 5));
        assert_eq!(count_heads(b"\n\r\n\r\n"), (1, 5));
    }
}
