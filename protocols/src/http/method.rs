//! The method of a request: RFC 9110 section 9.

use http::Method;

/// The method that a token names; `None` if the bytes are no token. Methods are case-sensitive.
#[must_use]
#[inline]
pub fn from_token(token: &[u8]) -> Option<Method> {
    // The two that nearly every request has come first; the rest of the work is the `http` crate's.
    match token {
        b"GET" => Some(Method::GET),
        b"POST" => Some(Method::POST),
        _ => Method::from_bytes(token).ok(),
    }
}
