//! Forms and queries as serde types.

use crate::{blocking, body::Body, error::BodyError, request::Request, response::IntoResponse, response::Response};
use http::StatusCode;
use serde::de::DeserializeOwned;
use std::fmt;

/// Why a form or a query is not the value that was asked for. Answers 400, or what the body's own error says.
#[derive(Debug)]
pub enum FormError {
    /// The body could not be read.
    Body(BodyError),
    /// It is not of this shape.
    Shape(serde_urlencoded::de::Error),
}

/// The query of a request as a value.
///
/// ```
/// use ringgate::{App, Request, helpers::form::{FormError, query}};
/// #[derive(serde::Deserialize)]
/// struct Page { number: u32 }
/// fn page(request: &Request) -> Result<String, FormError> {
///     Ok(format!("page {}\n", query::<Page>(request)?.number))
/// }
/// # let _ = App::new().route("/page", page);
/// ```
///
/// # Errors
/// [`FormError::Shape`] when it is not of this shape.
pub fn query<T: DeserializeOwned>(request: &Request) -> Result<T, FormError> {
    decode(request.query().unwrap_or_default().as_bytes())
}

/// The same for a request on a thread.
///
/// # Errors
/// [`FormError::Shape`] when it is not of this shape.
pub fn query_blocking<T: DeserializeOwned>(request: &blocking::Request) -> Result<T, FormError> {
    decode(request.query().unwrap_or_default().as_bytes())
}

/// The body of a request, `application/x-www-form-urlencoded`, as a value. Reads the whole body, within its limit.
///
/// # Errors
/// [`FormError`] says what is wrong with it.
pub async fn read<T: DeserializeOwned>(body: &mut Body) -> Result<T, FormError> {
    decode(&body.collect().await.map_err(FormError::Body)?)
}

/// The same on a thread: blocks.
///
/// # Errors
/// [`FormError`] says what is wrong with it.
pub fn read_blocking<T: DeserializeOwned>(body: &mut blocking::Body) -> Result<T, FormError> {
    decode(&body.collect().map_err(FormError::Body)?)
}

fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, FormError> {
    serde_urlencoded::from_bytes(text).map_err(FormError::Shape)
}

impl IntoResponse for FormError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(error) => error.into_response(),
            Self::Shape(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Shape(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FormError {}
