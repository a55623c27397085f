//! What turns into a response.

use crate::{
    error::BodyError,
    response::{InvalidField, Payload, Response, TEXT},
};
use bytes::Bytes;
use http::StatusCode;
use std::io;

/// What a handler may return. Text and bytes are a 200; `()` is one without content; `None` is 404; of a `Result` either side
/// answers; a status beside a value replaces its status.
///
/// ```
/// use http::StatusCode;
/// use ringgate::{App, IntoResponse, Request, Response};
/// struct Celsius(f32);
/// impl IntoResponse for Celsius {
///     fn into_response(self) -> Response {
///         format!("{:.1} °C\n", self.0).into_response().header("cache-control", "max-age=60")
///     }
/// }
/// let app = App::new()
///     .route("/outside", |_: &Request| Celsius(-3.5))
///     .route("/inside", |request: &Request| request.query_value("room").map(|_| Celsius(21.0))) // or 404
///     .route("/broken", |_: &Request| (StatusCode::SERVICE_UNAVAILABLE, "no sensor\n"));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /outside HTTP/1.1", "").ends_with("\r\n\r\n-3.5 °C\n"));
/// ```
pub trait IntoResponse {
    /// Makes the response.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    #[inline]
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::new(StatusCode::OK)
    }
}

impl IntoResponse for &'static str {
    #[inline]
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for String {
    #[inline]
    fn into_response(self) -> Response {
        Response::of(Payload::Bytes(self.into()), TEXT)
    }
}

impl IntoResponse for std::borrow::Cow<'static, str> {
    fn into_response(self) -> Response {
        match self {
            Self::Borrowed(text) => Response::text(text),
            Self::Owned(text) => text.into_response(),
        }
    }
}

impl IntoResponse for &'static [u8] {
    fn into_response(self) -> Response {
        Response::static_bytes(self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        Response::bytes(self)
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        Response::bytes(self)
    }
}

impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        Response::default().status(self)
    }
}

impl<T: IntoResponse> IntoResponse for (StatusCode, T) {
    fn into_response(self) -> Response {
        self.1.into_response().status(self.0)
    }
}

impl<T: IntoResponse> IntoResponse for Option<T> {
    /// `None` is 404.
    fn into_response(self) -> Response {
        self.map_or_else(|| Response::new(StatusCode::NOT_FOUND), IntoResponse::into_response)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        Response::bytes(format!("{self}\n")).content_type(TEXT).status(self.status())
    }
}

impl IntoResponse for InvalidField {
    fn into_response(self) -> Response {
        Response::text("the answer could not be written\n").status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for io::Error {
    /// The error's text stays here: it can name paths and addresses.
    fn into_response(self) -> Response {
        match self.get_ref().and_then(|inner| inner.downcast_ref::<BodyError>()) {
            Some(error) => error.into_response(),
            None => Response::text("internal error\n").status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}
