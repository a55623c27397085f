//! JSON in and out.

use crate::{blocking, body::Body, error::BodyError, response::IntoResponse, response::Response};
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// A value as JSON: returned by a handler, or read from a body.
///
/// ```
/// use ringgate::{App, Request, helpers::json::{Json, JsonError}, post};
/// #[derive(serde::Deserialize)]
/// struct Order { item: String, count: u32 }
/// #[derive(serde::Serialize)]
/// struct Receipt { total: u32 }
/// async fn order(mut request: Request) -> Result<Json<Receipt>, JsonError> {
///     let Json(order) = Json::<Order>::read(request.body_mut()).await?;
///     Ok(Json(Receipt { total: order.count * order.item.len() as u32 }))
/// }
/// # fn application() -> App { App::new().route("/order", post(order)) }
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # let answer = client::ask(application(), "POST /order HTTP/1.1", r#"{"item": "tea", "count": 2}"#);
/// # assert!(answer.contains("\r\ncontent-type: application/json\r\n") && answer.ends_with(r#"{"total":6}"#), "{answer}");
/// # assert!(client::ask(application(), "POST /order HTTP/1.1", "{}").starts_with("HTTP/1.1 400 "));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// Why a body is not the value that was asked for. Answers 400, or what the body's own error says; the text of the answer
/// is the error's. Who wants to say it otherwise matches on it before.
#[derive(Debug)]
pub enum JsonError {
    /// The body could not be read.
    Body(BodyError),
    /// It is not JSON, or not of this shape.
    Shape(serde_json::Error),
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads the whole body, within its limit. Does not look at its `content-type`.
    ///
    /// # Errors
    /// [`JsonError`] says what is wrong with it.
    pub async fn read(body: &mut Body) -> Result<Self, JsonError> {
        let bytes = body.collect().await.map_err(JsonError::Body)?;
        serde_json::from_slice(&bytes).map(Self).map_err(JsonError::Shape)
    }

    /// The same on a thread: blocks.
    ///
    /// ```
    /// use ringgate::{App, blocking, helpers::json::{Json, JsonError}, post};
    /// fn sum(mut request: blocking::Request) -> Result<Json<u64>, JsonError> {
    ///     let Json(numbers) = Json::<Vec<u64>>::read_blocking(request.body_mut())?;
    ///     Ok(Json(numbers.iter().sum()))
    /// }
    /// # let app = App::new().route("/sum", post(sum));
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "POST /sum HTTP/1.1", "[1, 2, 3]").ends_with("\r\n\r\n6"));
    /// ```
    ///
    /// # Errors
    /// [`JsonError`] says what is wrong with it.
    pub fn read_blocking(body: &mut blocking::Body) -> Result<Self, JsonError> {
        let bytes = body.collect().map_err(JsonError::Body)?;
        serde_json::from_slice(&bytes).map(Self).map_err(JsonError::Shape)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => Response::bytes(bytes).content_type("application/json"),
            Err(_) => Response::text("the value has no JSON form\n").status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl IntoResponse for JsonError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(error) => error.into_response(),
            Self::Shape(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Shape(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JsonError {}
