//! Forms and queries as serde types.

use crate::{blocking, body::Body, error::BodyError, request::Request, response::IntoResponse, response::Response};
use http::StatusCode;
use serde::de::DeserializeOwned;
use std::fmt;

/// Why a form or a query is not the value that was asked for. Answers 400, or what the body's own error says; the text of
/// the answer is the error's. Who wants to say it otherwise looks at it before:
///
/// ```
/// use http::StatusCode;
/// use ringgate::{App, IntoResponse, Request, Response, helpers::form::{FormError, query}};
/// fn page(request: &Request) -> Response {
///     match query::<Vec<(String, u32)>>(request) {
///         Ok(numbers) => format!("{numbers:?}\n").into_response(),
///         Err(FormError::Shape(_)) => (StatusCode::UNPROCESSABLE_ENTITY, "numbers only\n").into_response(),
///         Err(error) => error.into_response(),
///     }
/// }
/// # let app = App::new().route("/page", page);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /page?a=b HTTP/1.1", "").starts_with("HTTP/1.1 422 "));
/// ```
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
/// # fn application() -> App { App::new().route("/page", page) }
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(application(), "GET /page?number=7 HTTP/1.1", "").ends_with("page 7\n"));
/// # assert!(client::ask(application(), "GET /page?number=x HTTP/1.1", "").starts_with("HTTP/1.1 400 "));
/// ```
///
/// # Errors
/// [`FormError::Shape`] when it is not of this shape.
pub fn query<T: DeserializeOwned>(request: &Request) -> Result<T, FormError> {
    decode(request.query().unwrap_or_default().as_bytes())
}

/// The same for a request on a thread.
///
/// ```
/// use ringgate::{App, blocking, helpers::form::{FormError, query_blocking}};
/// fn sum(request: blocking::Request) -> Result<String, FormError> {
///     let parts: Vec<(String, u32)> = query_blocking(&request)?;
///     Ok(format!("{}\n", parts.iter().map(|(_, part)| part).sum::<u32>()))
/// }
/// # let app = App::new().route("/sum", sum);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /sum?a=1&b=2 HTTP/1.1", "").ends_with("\r\n\r\n3\n"));
/// ```
///
/// # Errors
/// [`FormError::Shape`] when it is not of this shape.
pub fn query_blocking<T: DeserializeOwned>(request: &blocking::Request) -> Result<T, FormError> {
    decode(request.query().unwrap_or_default().as_bytes())
}

/// The body of a request, `application/x-www-form-urlencoded`, as a value. Reads the whole body, within its limit, and does
/// not look at its `content-type`.
///
/// ```
/// use http::StatusCode;
/// use ringgate::{App, Request, helpers::form::{self, FormError}, post};
/// #[derive(serde::Deserialize)]
/// struct Note { title: String, text: String }
/// async fn store(mut request: Request) -> Result<(StatusCode, String), FormError> {
///     let note: Note = form::read(request.body_mut()).await?;
///     Ok((StatusCode::CREATED, format!("{} ({} bytes)\n", note.title, note.text.len())))
/// }
/// # fn application() -> App { App::new().route("/note", post(store)) }
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(application(), "POST /note HTTP/1.1", "title=To+do&text=%C3%A4").ends_with("To do (2 bytes)\n"));
/// # assert!(client::ask(application(), "POST /note HTTP/1.1", "title=To+do").starts_with("HTTP/1.1 400 "));
/// ```
///
/// # Errors
/// [`FormError`] says what is wrong with it.
pub async fn read<T: DeserializeOwned>(body: &mut Body) -> Result<T, FormError> {
    decode(&body.collect().await.map_err(FormError::Body)?)
}

/// The same on a thread: blocks.
///
/// ```
/// use ringgate::{App, blocking, helpers::form::{FormError, read_blocking}, post};
/// fn keys(mut request: blocking::Request) -> Result<String, FormError> {
///     let pairs: Vec<(String, String)> = read_blocking(request.body_mut())?;
///     Ok(pairs.into_iter().map(|(key, _)| key + "\n").collect())
/// }
/// # let app = App::new().route("/keys", post(keys));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "POST /keys HTTP/1.1", "a=1&b=2").ends_with("\r\n\r\na\nb\n"));
/// ```
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
