//! A response on its way from a thread to its core.

use crate::response::{Payload, Response, WriteBody};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A response that can change threads: everything but a stream, which belongs to the core it was made on.
pub(crate) struct Portable {
    status: StatusCode,
    content_type: Option<&'static str>,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: PortableBody,
    trailers: Option<Box<HeaderMap>>,
}

enum PortableBody {
    Empty,
    Static(&'static [u8]),
    Bytes(Bytes),
    Writer { write: WriteBody, length: Option<u64> },
}

impl Portable {
    /// # Panics
    /// When the body is a stream: blocking code answers with `Response::writer`. The handler's panic, a 500.
    pub(crate) fn new(response: Response) -> Self {
        let body = match response.body {
            Payload::Empty => PortableBody::Empty,
            Payload::Static(bytes) => PortableBody::Static(bytes),
            Payload::Bytes(bytes) => PortableBody::Bytes(bytes),
            Payload::Writer { write, length } => PortableBody::Writer { write, length },
            Payload::Stream { .. } | Payload::Upgrade(_) => panic!("a blocking handler streams with Response::writer"),
        };
        let Response { status, content_type, fields, trailers, .. } = response;
        Self { status, content_type, fields, body, trailers }
    }

    pub(crate) fn into_response(self) -> Response {
        let body = match self.body {
            PortableBody::Empty => Payload::Empty,
            PortableBody::Static(bytes) => Payload::Static(bytes),
            PortableBody::Bytes(bytes) => Payload::Bytes(bytes),
            PortableBody::Writer { write, length } => Payload::Writer { write, length },
        };
        let Self { status, content_type, fields, trailers, .. } = self;
        Response { status, content_type, fields, body, trailers }
    }
}
