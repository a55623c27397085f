//! What a request knows beside its head, for a service that only sees types of the `http` crate.

use crate::{
    features::{Features, Protocol},
    request::{Request, Values},
};
use http::{Uri, Version};
use ringgate_runtime::net::Address;
use std::{fmt, sync::Arc};

/// Where a request came from, by what, and what was made of its path. An extension of every request that a mounted
/// service sees; on the way out a host leaves one with what it knows ([`Origin::of`]).
///
/// ```
/// use ringgate::tower::Origin;
/// // In a service: what axum's `ConnectInfo` would say, and what its `nest` calls `OriginalUri`.
/// fn who<B>(request: &http::Request<B>) -> String {
///     let origin = request.extensions().get::<Origin>().expect("the gateway leaves one");
///     let peer = origin.peer_address().map(ToString::to_string).unwrap_or_default();
///     format!("{peer} asked for {} by {}", origin.uri(), origin.protocol())
/// }
/// # let _ = who::<()>;
/// ```
#[derive(Clone)]
pub struct Origin {
    facts: Arc<Facts>,
}

struct Facts {
    peer: Option<Address>,
    local: Option<Address>,
    protocol: Protocol,
    features: Features,
    uri: Uri,
    route: Option<&'static str>,
    parameters: Vec<(Box<str>, String)>,
    values: Values,
}

impl Origin {
    /// What a host knows of a connection it has accepted, for an application that it serves.
    #[must_use]
    pub fn of(peer: Option<Address>, local: Option<Address>) -> Self {
        let facts = Facts {
            peer,
            local,
            protocol: Protocol::Http11,
            features: Features::default(),
            uri: Uri::default(),
            route: None,
            parameters: Vec::new(),
            values: Values::default(),
        };
        Self { facts: Arc::new(facts) }
    }

    pub(crate) fn new(request: &Request, uri: Uri) -> Self {
        let facts = Facts {
            peer: request.peer_address().cloned(),
            local: request.local_address().cloned(),
            protocol: request.protocol(),
            features: request.features(),
            uri,
            route: request.route(),
            parameters: request.copy_parameters(),
            values: request.values(),
        };
        Self { facts: Arc::new(facts) }
    }

    /// The other end, if it has an address (Unix peers mostly have none).
    #[must_use]
    pub fn peer_address(&self) -> Option<&Address> {
        self.facts.peer.as_ref()
    }

    /// Our end.
    #[must_use]
    pub fn local_address(&self) -> Option<&Address> {
        self.facts.local.as_ref()
    }

    /// The protocol the request came by.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.facts.protocol
    }

    /// What is possible for the request. Of these a service can use what responses can say: streaming, trailers.
    #[must_use]
    pub fn features(&self) -> Features {
        self.facts.features
    }

    /// The URI before a prefix was taken off.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.facts.uri
    }

    /// The route that matched, as the gateway has it: `/legacy/{*_below}`.
    #[must_use]
    pub fn route(&self) -> Option<&'static str> {
        self.facts.route
    }

    /// A parameter of the gateway's route, percent-decoded: of a prefix like `/tenants/{tenant}`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.facts.parameters.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
    }

    /// The value of type `T` that a middleware of the gateway kept with the request
    /// ([`Request::set_value`](crate::Request::set_value)).
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.facts.values.get()
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("peer_address", &self.facts.peer)
            .field("protocol", &self.facts.protocol)
            .field("uri", &self.facts.uri)
            .field("route", &self.facts.route)
            .finish_non_exhaustive()
    }
}

/// The URI of a request as a server of the `http` crate's family would give it: path and query on HTTP/1, scheme and
/// authority before them on HTTP/2. `stripped` segments of the path are taken off. `None` if that is no [`Uri`].
pub(crate) fn uri(request: &Request, stripped: usize) -> Option<Uri> {
    let path = without_segments(request.path(), stripped);
    let mut text = String::with_capacity(path.len() + 1 + request.query().map_or(0, |query| query.len() + 1));
    if !path.starts_with('/') && path != "*" {
        text.push('/');
    }
    text.push_str(path);
    if let Some(query) = request.query() {
        text.push('?');
        text.push_str(query);
    }
    if request.version() != Version::HTTP_2 || request.authority().is_empty() || path == "*" {
        return text.try_into().ok();
    }
    // A port speaks no TLS yet, so every `:scheme` that is true is this one.
    Uri::builder().scheme("http").authority(request.authority()).path_and_query(text).build().ok()
}

/// `path` behind its first segments.
fn without_segments(path: &str, count: usize) -> &str {
    let mut rest = path;
    for _ in 0..count {
        let inside = rest.strip_prefix('/').unwrap_or(rest);
        rest = &inside[inside.find('/').unwrap_or(inside.len())..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_taken_off_whole() {
        let cases = [
            ("/legacy/a/b", 1, "/a/b"),
            ("/legacy", 1, ""),
            ("/legacy/", 1, "/"),
            ("/legacy//a", 1, "//a"),
            ("/a/b/c", 2, "/c"),
            ("/a", 2, ""),
            ("/a/b", 0, "/a/b"),
            ("*", 0, "*"),
        ];
        for (path, count, rest) in cases {
            assert_eq!(without_segments(path, count), rest, "{path} without {count}");
        }
        // What is left may look like an authority, and is none.
        let left: Uri = "//evil.example/a".try_into().unwrap();
        assert_eq!((left.authority(), left.path()), (None, "//evil.example/a"));
    }
}
