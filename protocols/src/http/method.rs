//! The method of a request: RFC 9110 section 9.

use http::Method;

/// The method that a token names; `None` if the bytes are no token. Methods are case-sensitive.
#[must_use]
#[inline(always)]
pub fn from_token(token: &[u8]) -> Option<Method> {
    // The one that nearly every request has comes first; the rest of the work is the `http` crate's.
    if token == b"GET" { Some(Method::GET) } else { other(token) }
}

#[inline(never)]
fn other(token: &[u8]) -> Option<Method> {
    Method::from_bytes(token).ok()
}
