//! The target of a request and the authority it names: RFC 9112 section 3.2, RFC 3986.

use crate::scan::class::{HOST, PATH, QUERY};
use crate::span::Span;

/// The parts of a request-target, as places in the target itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    /// The path. `*` in asterisk-form, empty in authority-form, never empty otherwise: where an absolute target has
    /// none, it is the `/` before the authority, for `http://host` means `http://host/`.
    pub path: Span,
    /// What stands behind the `?`, if there is one.
    pub query: Option<Span>,
    /// The authority of absolute-form and authority-form; `None` where the Host field decides.
    pub authority: Option<Span>,
}

/// Takes a request-target apart. `None` when it has none of the four forms, or not the one its method allows:
/// authority-form goes with CONNECT and only with it, `*` only with OPTIONS.
///
/// ```
/// use ringgate_protocols::http::target::parse;
/// let target = b"http://example.com:8080/where?q=now";
/// let parts = parse(&http::Method::GET, target).unwrap();
/// assert_eq!(parts.path.of(target), b"/where");
/// assert_eq!(parts.query.unwrap().of(target), b"q=now");
/// assert_eq!(parts.authority.unwrap().of(target), b"example.com:8080");
/// ```
#[must_use]
pub fn parse(method: &http::Method, target: &[u8]) -> Option<Parts> {
    if *method == http::Method::CONNECT {
        let port = is_authority(target)?;
        return port.then(|| Parts { authority: Some(span(0, target.len())), ..Parts::default() });
    }
    match target {
        [b'/', ..] => path_and_query(target, 0),
        b"*" if *method == http::Method::OPTIONS => Some(Parts { path: span(0, 1), ..Parts::default() }),
        _ => absolute(target),
    }
}

fn absolute(target: &[u8]) -> Option<Parts> {
    let start = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?
        .len();
    let rest = &target[start..];
    let end = start + rest.iter().position(|&byte| byte == b'/' || byte == b'?').unwrap_or(rest.len());
    is_authority(&target[start..end])?;
    let mut parts = path_and_query(target, end)?;
    if parts.path.is_empty() {
        parts.path = span(start - 1, start);
    }
    parts.authority = Some(span(start, end));
    Some(parts)
}

fn path_and_query(target: &[u8], start: usize) -> Option<Parts> {
    let rest = &target[start..];
    let end = start + rest.iter().position(|&byte| byte == b'?').unwrap_or(rest.len());
    if !PATH.has_all(&target[start..end]) {
        return None;
    }
    let query = match target.get(end + 1..) {
        Some(query) if QUERY.has_all(query) => Some(span(end + 1, target.len())),
        Some(_) => return None,
        None => None,
    };
    Some(Parts { path: span(start, end), query, authority: None })
}

/// Judges `host [":" port]`, the value of Host and `:authority` (RFC 9110 section 7.2): `Some(whether it has a port)`
/// if it is good. No user information, no list, no empty host. The port, where there is a colon, may be empty (RFC 3986
/// section 3.2.3) and is at most 65535, in at most five digits.
#[must_use]
pub fn is_authority(authority: &[u8]) -> Option<bool> {
    let host_end = match authority {
        [b'[', rest @ ..] => {
            let close = rest.iter().position(|&byte| byte == b']')?;
            let address = std::str::from_utf8(&rest[..close]).ok()?;
            // RFC 3986 also has IPvFuture; nobody has ever registered a version of it.
            address.parse::<core::net::Ipv6Addr>().ok()?;
            close + 2
        }
        _ => {
            let end = authority.iter().position(|&byte| !HOST.has(byte)).unwrap_or(authority.len());
            if end == 0 {
                return None;
            }
            end
        }
    };
    port(&authority[host_end..])
}

/// True for nothing, and for numbers up to 65535: who keeps a port in 16 bits takes a larger one for another.
#[inline]
fn is_port(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit) && (digits.len() < 5 || digits.len() == 5 && digits <= &b"65535"[..])
}

/// Judges what follows the host: nothing, or a colon and a port.
#[inline]
pub(crate) fn port(rest: &[u8]) -> Option<bool> {
    match rest {
        [] => Some(false),
        [b':', port @ ..] if is_port(port) => Some(!port.is_empty()),
        _ => None,
    }
}

fn span(start: usize, end: usize) -> Span {
    Span::new(start as u32, end as u32)
}

#[cfg(test)]
mod tests {
    use super::{is_authority, parse};
    use http::Method;

    fn parts(method: &Method, target: &str) -> Option<(String, Option<String>, Option<String>)> {
        let text = |span: crate::span::Span| String::from_utf8(span.of(target.as_bytes()).to_vec()).unwrap();
        let parts = parse(method, target.as_bytes())?;
        Some((text(parts.path), parts.query.map(text), parts.authority.map(text)))
    }

    #[test]
    fn h1_14_four_forms() {
        let get = |target| parts(&Method::GET, target);
        let some = |path: &str, query: Option<&str>, authority: Option<&str>| {
            Some((path.to_owned(), query.map(str::to_owned), authority.map(str::to_owned)))
        };
        assert_eq!(get("/"), some("/", None, None));
        assert_eq!(get("/a/b?c=d?e"), some("/a/b", Some("c=d?e"), None));
        assert_eq!(get("/a?"), some("/a", Some(""), None));
        assert_eq!(get("http://a"), some("/", None, Some("a")));
        assert_eq!(get("HTTP://a:80?x"), some("/", Some("x"), Some("a:80")));
        assert_eq!(get("https://[::1]:443/y"), some("/y", None, Some("[::1]:443")));
        assert_eq!(parts(&Method::OPTIONS, "*"), some("*", None, None));
        assert_eq!(parts(&Method::CONNECT, "a:443"), some("", None, Some("a:443")));
        for target in ["*", "a:443", "a", "ftp://a/", "http://", "http:///x", "http://u@a/", "http://a,b/", "//x y"] {
            assert_eq!(get(target), None, "{target}");
        }
        for target in ["/", "*", "a", "a:", "http://a:1/", ":1", "a:x"] {
            assert_eq!(parts(&Method::CONNECT, target), None, "{target}");
        }
    }

    #[test]
    fn s_16_authorities() {
        for good in ["a", "a:1", "a:", "a.b-c_d:65535", "1.2.3.4", "[::1]", "[::1]:80", "%20"] {
            assert!(is_authority(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a,b",
            "u@h",
            "a/b",
            "a?b",
            "a b",
            "a:b",
            "a:123456",
            "a:65536",
            "a:99999",
            "[::1]:70000",
            "[::1",
            "[x]",
            "[::1]x",
            "a:1:2",
        ] {
            assert!(is_authority(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
