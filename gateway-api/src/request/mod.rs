//! A request: its head read in place, its values, its body.

mod driver;
mod exchange;
mod extras;
mod facts;
mod head;
mod link;
mod names;
mod packed;
mod pool;
mod text;
mod work;

pub(crate) use extras::Values;
pub(crate) use link::Link;
pub(crate) use packed::METHODS;
pub(crate) use pool::RequestPool;
pub(crate) use text::{decode, header_map, value_in_query};
pub(crate) use work::{Job, Work};

use crate::{
    body::Body,
    features::{Features, Protocol},
    request::{extras::Extras, facts::Facts, head::Stored},
};
use http::{HeaderMap, Method};
use std::{
    borrow::Cow,
    cell::{Cell, OnceCell, RefCell},
    fmt,
    ops::Deref,
    rc::Rc,
};

/// A request, on the core that received it. The head lies where the kernel put it and is read in place; the body
/// comes as it is asked for.
///
/// An inline handler borrows it, an async handler owns it:
/// ```
/// use ringgate::{App, Request, get};
/// fn agent(request: &Request) -> String {
///     let agent = request.header("user-agent").unwrap_or(b"nobody");
///     format!("{} over {}\n", String::from_utf8_lossy(agent), request.protocol())
/// }
/// # let _ = App::new().route("/agent", get(agent));
/// ```
pub struct Request {
    inner: Held,
    body: Body,
}

/// A hold on a request without its body. The last one gives the memory back to its core.
#[derive(Clone)]
pub(crate) struct Held(Rc<Inner>);

/// The part that handler and driver share while the handler runs.
#[derive(Default)]
pub(crate) struct Inner {
    head: Stored,
    link: Option<Rc<Link>>,
    extras: OnceCell<Box<RefCell<Extras>>>,
    route: Cell<Option<&'static RouteName>>,
    facts: Facts,
}

/// A route, for as long as the program runs.
#[derive(Debug)]
pub(crate) struct RouteName {
    /// As it was written in the application.
    pub(crate) text: &'static str,
    /// Its place in the table.
    pub(crate) number: usize,
}

impl Deref for Held {
    type Target = Inner;

    #[inline]
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Held {
    /// The request once more, for whoever wants to read it.
    pub(crate) fn request(&self) -> Request {
        Request { inner: self.clone(), body: Body::default() }
    }

    #[inline]
    fn unique(&mut self) -> Option<&mut Inner> {
        Rc::get_mut(&mut self.0)
    }
}

impl Inner {
    #[inline]
    fn extras(&self) -> &RefCell<Extras> {
        self.extras.get_or_init(Box::default)
    }
}

/// Bytes of the head as text. The grammar admits visible ASCII only; anything else was answered with 400.
fn visible(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The head.
impl Request {
    /// The method, RFC 9110 section 9.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.inner.head.method()
    }

    /// The protocol this request came by.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.inner.head.version() {
            http::Version::HTTP_10 => Protocol::Http10,
            http::Version::HTTP_2 => Protocol::Http2,
            _ => Protocol::Http11,
        }
    }

    /// The same as a version of the `http` crate.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.inner.head.version()
    }

    /// What is possible for this request.
    #[must_use]
    pub fn features(&self) -> Features {
        self.inner.facts.features()
    }

    /// The whole request-target as received.
    #[must_use]
    pub fn target(&self) -> &str {
        visible(self.inner.head.target())
    }

    /// The path of the target, percent-encoding and all.
    #[must_use]
    pub fn path(&self) -> &str {
        visible(self.inner.head.path())
    }

    /// What stands behind the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.inner.head.query().map(visible)
    }

    /// The first value of `key` in the query, decoded as a form (`+` is a space).
    #[must_use]
    pub fn query_value(&self, key: &str) -> Option<Cow<'_, str>> {
        value_in_query(self.query()?, key)
    }

    /// Host and port the client wants: absolute-form before `Host`, `:authority` before `Host`. Empty if there is none.
    #[must_use]
    pub fn authority(&self) -> &str {
        visible(self.inner.head.authority())
    }

    /// The first value of a field, in place. Any case of `name` does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.inner.head.field(name)
    }

    /// The first value of a field as text, if it is visible ASCII or UTF-8.
    #[must_use]
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every field line in its order: name and value, in place.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.inner.head.fields()
    }

    /// All fields as the `http` crate's map. Made anew by every call; [`Request::header`] costs nothing.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        header_map(self.fields())
    }

    /// The route that matched, as it was written in the application.
    #[must_use]
    pub fn route(&self) -> Option<&'static str> {
        self.inner.route.get().map(|route| route.text)
    }

    /// A parameter of the path: `/user/{id}` has `id`. Percent-decoded, once, after the route was found: so it may hold
    /// anything, also slashes and `..`. Before it becomes a name of a file it must be judged as a whole.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let extras = self.inner.extras.get()?.borrow();
        let position = extras.parameter_names.as_ref()?.iter().position(|known| **known == *name)?;
        let span = *extras.parameter_values.get(position)?;
        Some(decode(visible(span.of(self.inner.head.bytes())), false))
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

#[cfg(test)]
mod tests {
    use super::*;
    use ringgate_protocols::span::Span;
    use ringgate_runtime::buffer::Lease;

    #[test]
    fn what_a_waiting_request_holds_is_small() {
        assert_eq!(size_of::<Inner>(), 56);
    }

    fn sample(text: &str) -> Request {
        let pool = RequestPool::default();
        let mut request = pool.take();
        let at = |part: &str| {
            let start = text.find(part).unwrap() as u32;
            Span::new(start, start + part.len() as u32)
        };
        let head = request.head_mut();
        head.target = at("/a/b?x=1&y=%41+b");
        head.path = at("/a/b");
        head.query = Some(at("x=1&y=%41+b"));
        head.fields.push(ringgate_protocols::http::head::Field { name: at("Accept"), value: at("text/html") });
        request.locate(&Lease::from_vec(format!("junk{text}").into_bytes()), 4);
        request
    }

    #[test]
    fn the_head_is_read_in_place_behind_its_base() {
        let request = sample("GET /a/b?x=1&y=%41+b HTTP/1.1\r\nAccept: text/html\r\n\r\n");
        assert_eq!(request.path(), "/a/b");
        assert_eq!(request.query_value("y").unwrap(), "A b");
        assert_eq!(request.query_value("z"), None);
        assert_eq!(request.header("accept"), Some(&b"text/html"[..]));
        assert_eq!(request.header("accep"), None);
        assert_eq!(request.headers()["accept"], "text/html");
    }

    #[test]
    fn values_are_kept_by_type_and_shared_with_the_second_holder() {
        let request = sample("GET /a/b?x=1&y=%41+b HTTP/1.1\r\nAccept: text/html\r\n\r\n");
        let second = request.share();
        request.set_value(7u32);
        request.set_value(8u32);
        assert_eq!(second.value::<u32>().as_deref(), Some(&8));
        assert_eq!(second.value::<u64>(), None);
    }
}
