//! A request on a thread of the crew.

use crate::{
    blocking::body::Body,
    features::{Features, HintsForm, Protocol},
    request::{header_map, value_in_query},
};
use http::{HeaderMap, HeaderValue, Method};
use ringgate_protocols::{http::head::Head, span::Span};
use ringgate_runtime::net::Address;
use std::{
    any::{Any, TypeId},
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// A request on a thread of the crew: the mirror of the async `Request`. The head is a copy, so that it can leave the
/// core; the body comes through a bounded pipe.
pub struct Request {
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
    pub(crate) features: Features,
    pub(crate) time_left: Option<Duration>,
    pub(crate) route: Option<&'static str>,
    pub(crate) parameters: Vec<(Box<str>, String)>,
    pub(crate) values: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
    pub(crate) peer: Option<Address>,
    pub(crate) local: Option<Address>,
    pub(crate) body: Body,
    pub(crate) line: Arc<Line>,
}

/// What thread and core tell each other besides the body.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) disconnected: AtomicBool,
    pub(crate) hints: Mutex<Hints>,
}

#[derive(Debug, Default)]
pub(crate) struct Hints {
    pub(crate) links: Vec<HeaderValue>,
    pub(crate) waker: Option<Waker>,
}

impl Request {
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }

    /// The method, RFC 9110 section 9.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The protocol this request came by.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.head.version {
            http::Version::HTTP_10 => Protocol::Http10,
            http::Version::HTTP_2 => Protocol::Http2,
            _ => Protocol::Http11,
        }
    }

    /// The same as a version of the `http` crate.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.head.version
    }

    /// What is possible for this request.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// The whole request-target as received.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.head.target)
    }

    /// The path of the target, percent-encoding and all.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.head.path)
    }

    /// What stands behind the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query.map(|query| self.text(query))
    }

    /// The first value of `key` in the query, decoded as a form (`+` is a space).
    #[must_use]
    pub fn query_value(&self, key: &str) -> Option<Cow<'_, str>> {
        value_in_query(self.query()?, key)
    }

    /// Host and port the client wants. Empty if there is none.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text(self.head.authority)
    }

    /// The first value of a field. Any case of `name` does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The first value of a field as text, if it is visible ASCII or UTF-8.
    #[must_use]
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every field line in its order: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.fields.iter().map(|field| (field.name.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// All fields as the `http` crate's map.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        header_map(self.fields())
    }

    /// The route that matched, as it was written in the application.
    #[must_use]
    pub fn route(&self) -> Option<&'static str> {
        self.route
    }

    /// A parameter of the path, percent-decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.parameters.iter().find(|(known, _)| **known == *name)?;
        Some(Cow::Borrowed(&found.1))
    }

    /// The other end, if it has an address.
    #[must_use]
    pub fn peer_address(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    /// Our end.
    #[must_use]
    pub fn local_address(&self) -> Option<&Address> {
        self.local.as_ref()
    }

    /// The time from the start of the handler to the deadline, if `request_timeout_ms` is set.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.time_left
    }

    /// The value of type `T` kept with this request by a middleware.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let found = self.values.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        found.1.clone().downcast().ok()
    }

    /// Tells the client early what the response will link to. What cannot go out as 103 becomes `Link` fields of the
    /// final response; the answer says which.
    pub fn early_hints(&self, links: impl IntoIterator<Item = HeaderValue>) -> HintsForm {
        let mut hints = self.line.hints.lock().unwrap_or_else(PoisonError::into_inner);
        hints.links.extend(links);
        let waker = hints.waker.take();
        drop(hints);
        waker.into_iter().for_each(Waker::wake);
        if self.features.early_hints { HintsForm::Interim } else { HintsForm::LinkField }
    }

    /// Whether the client went away, or the gateway gave the exchange up: nobody will see the response.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.line.disconnected.load(Ordering::Acquire)
    }

    /// The body, to be read.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The body, without the head.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", self.method())
            .field("target", &self.target())
            .field("protocol", &self.protocol())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
