//! A request: its head read in place, its values, its body.

mod accessors;
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
mod values;
mod work;

pub(crate) use accessors::{accessors, visible};
pub(crate) use head::View;
pub(crate) use link::Link;
pub(crate) use packed::METHODS;
pub(crate) use pool::RequestPool;
pub(crate) use text::{decode, header_map, value_in_query};
pub(crate) use values::Values;
pub(crate) use work::{Job, Work};

use crate::{
    body::Body,
    features::Features,
    request::{extras::Extras, facts::Facts, head::Stored},
};
use http::Method;
use std::{
    borrow::Cow,
    cell::{Cell, OnceCell, RefCell},
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
/// # let app = App::new().route("/agent", get(agent));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /agent HTTP/1.1\r\nuser-agent: me", "").ends_with("me over HTTP/1.1\n"));
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

impl Request {
    #[inline]
    fn view(&self) -> View<'_> {
        self.inner.head.view()
    }

    /// The method, RFC 9110 section 9.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.inner.head.method()
    }

    /// The protocol this request came by, as a version of the `http` crate. See [`Request::protocol`].
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.inner.head.version()
    }

    /// What is possible for this request.
    #[must_use]
    pub fn features(&self) -> Features {
        self.inner.facts.features()
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

accessors!(Request);

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
