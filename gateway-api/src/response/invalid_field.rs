//! What cannot stand in a field.

use http::header::{InvalidHeaderName, InvalidHeaderValue};
use std::fmt;

/// A name or a value that cannot stand in a field. Returned by a handler it is a 500, and says nothing of what was wrong.
///
/// ```
/// use http::StatusCode;
/// use ringgate::{App, InvalidField, Request, Response};
/// // What comes from outside may be anything.
/// fn tagged(request: &Request) -> Result<Response, InvalidField> {
///     Response::text("tagged\n").try_header("x-tag", &request.query_value("tag").unwrap_or_default())
/// }
/// # fn application() -> App { App::new().route("/tagged", tagged) }
/// assert_eq!(Response::default().try_header("x-tag", "a\r\nb: c").unwrap_err(), InvalidField::Value);
/// assert_eq!(Response::default().try_header("x tag", "a").unwrap_err(), InvalidField::Name);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(application(), "GET /tagged?tag=a%0d%0ab:c HTTP/1.1", "").starts_with("HTTP/1.1 500 "));
/// # assert!(client::ask(application(), "GET /tagged?tag=a HTTP/1.1", "").contains("\r\nx-tag: a\r\n"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidField {
    /// The name is not a token (RFC 9110 section 5.6.2).
    Name,
    /// The value has controls in it (RFC 9110 section 5.5).
    Value,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the field name is not a token",
            Self::Value => "the field value has controls in it",
        })
    }
}

impl std::error::Error for InvalidField {}

impl From<InvalidHeaderName> for InvalidField {
    fn from(_: InvalidHeaderName) -> Self {
        Self::Name
    }
}

impl From<InvalidHeaderValue> for InvalidField {
    fn from(_: InvalidHeaderValue) -> Self {
        Self::Value
    }
}
