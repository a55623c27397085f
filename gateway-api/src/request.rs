//! A request: its head read in place, its values, its body.

use crate::{
    body::Body,
    core::Core,
    features::{Features, HintsForm, Protocol, PushForm},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ringgate_protocols::{
    http::{head::Head, target},
    http2::request::RequestHead,
    span::Span,
};
use ringgate_runtime::{buffer::Lease, executor::Handle, net::Address, time::Instant};
use smallvec::SmallVec;
use std::{
    any::{Any, TypeId},
    borrow::Cow,
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    task::Waker,
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
    inner: Rc<Inner>,
    body: Body,
}

/// Where the bytes of a head are.
#[derive(Debug, Default)]
pub(crate) enum HeadBytes {
    #[default]
    None,
    /// In the received buffer (HTTP/1, a head that came in one piece).
    Lease(Lease),
    /// In the text of a decoded head (HTTP/2).
    Decoded(Box<RequestHead>),
}

/// What a request knows of its connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) core: Core,
    pub(crate) peer: Option<Address>,
    pub(crate) local: Option<Rc<Address>>,
    /// HTTP/2: promises that the client would still take.
    pub(crate) promises_left: Cell<u32>,
    /// Wakes the connection's task, so that a drain is noticed by those that wait.
    pub(crate) waker: RefCell<Option<Waker>>,
    /// The last response is out, and the connection only waits for the peer to close.
    pub(crate) is_finished: Cell<bool>,
}

#[derive(Debug, Default)]
struct Parameters {
    names: Option<Rc<[Box<str>]>>,
    values: SmallVec<[Span; 4]>,
}

/// The part that handler and driver share while the handler runs.
struct Inner {
    head: Head,
    bytes: HeadBytes,
    /// Offset of the head in `bytes`.
    base: usize,
    link: Option<Rc<Link>>,
    features: Features,
    deadline: Option<Instant>,
    route: Cell<Option<&'static str>>,
    parameters: RefCell<Parameters>,
    values: RefCell<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
    hints: RefCell<Vec<HeaderValue>>,
    pushes: RefCell<Vec<Box<str>>>,
    answered: Cell<bool>,
}

impl Inner {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            HeadBytes::None => &[],
            HeadBytes::Lease(lease) => &lease[self.base..],
            HeadBytes::Decoded(head) => head.bytes(),
        }
    }

    /// A decoded head goes back to its core's pool, its list of fields with it.
    fn release_head(&mut self) {
        if let HeadBytes::Decoded(mut head) = std::mem::take(&mut self.bytes) {
            std::mem::swap(&mut self.head, &mut head.head);
            if let Some(link) = &self.link {
                link.core.shared.heads.borrow_mut().recycle(head);
            }
        }
    }

    fn forget(&mut self) {
        self.release_head();
        self.link = None;
        self.forget_exchange();
    }

    /// What the last exchange has left behind; almost always nothing.
    fn forget_exchange(&mut self) {
        self.values.get_mut().clear();
        self.hints.get_mut().clear();
        self.pushes.get_mut().clear();
        let parameters = self.parameters.get_mut();
        if parameters.names.is_some() {
            parameters.names = None;
            parameters.values.clear();
        }
        self.answered.set(false);
    }
}

/// Requests of a core that wait for their next use, heads and all: the fast path allocates nothing.
#[derive(Default)]
pub(crate) struct RequestPool {
    free: RefCell<Vec<Rc<Inner>>>,
}

/// Request shells a core keeps; more than this many at once are allocated and freed.
const REQUESTS_KEPT_MAX: usize = 128;

impl RequestPool {
    /// A request to be filled: nobody else holds it.
    pub(crate) fn take(&self) -> Request {
        let inner = self.free.borrow_mut().pop().unwrap_or_else(|| {
            Rc::new(Inner {
                head: Head::default(),
                bytes: HeadBytes::None,
                base: 0,
                link: None,
                features: Features::default(),
                deadline: None,
                route: Cell::new(None),
                parameters: RefCell::default(),
                values: RefCell::default(),
                hints: RefCell::default(),
                pushes: RefCell::default(),
                answered: Cell::new(false),
            })
        });
        Request { inner, body: Body::default() }
    }

    /// Keeps a request for its next use, unless a handler still holds it.
    pub(crate) fn give(&self, mut request: Request) {
        request.body = Body::default();
        let Some(inner) = Rc::get_mut(&mut request.inner) else { return };
        inner.forget();
        let mut free = self.free.borrow_mut();
        if free.len() < REQUESTS_KEPT_MAX {
            free.push(request.inner.clone());
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let Some(inner) = Rc::get_mut(&mut self.inner) else { return };
        let Some(link) = inner.link.clone() else { return };
        inner.forget();
        let mut free = link.core.shared.requests.free.borrow_mut();
        if free.len() < REQUESTS_KEPT_MAX {
            free.push(self.inner.clone());
        }
    }
}

/// For the drivers.
impl Request {
    /// The head to be filled by a machine. Only for a request that nobody else holds.
    pub(crate) fn head_mut(&mut self) -> &mut Head {
        match Rc::get_mut(&mut self.inner) {
            Some(inner) => &mut inner.head,
            None => unreachable!("a request is filled before it is shared"),
        }
    }

    /// Says where the bytes of the head are. Only for a request that nobody else holds.
    #[inline]
    pub(crate) fn locate(&mut self, lease: &Lease, base: usize) {
        if let Some(inner) = Rc::get_mut(&mut self.inner) {
            // Requests that came together share a buffer, and most of them a shell.
            if !matches!(&inner.bytes, HeadBytes::Lease(held) if held.is_same(lease)) {
                inner.bytes = HeadBytes::Lease(lease.clone());
            }
            inner.base = base;
        }
    }

    /// Takes a decoded head. Only for a request that nobody else holds.
    pub(crate) fn adopt(&mut self, mut head: Box<RequestHead>) {
        if let Some(inner) = Rc::get_mut(&mut self.inner) {
            inner.release_head();
            std::mem::swap(&mut inner.head, &mut head.head);
            inner.bytes = HeadBytes::Decoded(head);
            inner.base = 0;
        }
    }

    /// Makes it a request of this connection. Only for a request that nobody else holds.
    #[inline]
    pub(crate) fn attach(&mut self, link: &Rc<Link>, features: Features, deadline: Option<Instant>) {
        self.body = Body::default();
        if let Some(inner) = Rc::get_mut(&mut self.inner) {
            inner.forget_exchange();
            inner.features = features;
            inner.deadline = deadline;
            if inner.link.is_none() {
                inner.link = Some(link.clone());
            }
        }
    }

    pub(crate) fn set_body(&mut self, body: Body) {
        self.body = body;
    }

    /// The same request for a second holder: hooks behind the handler, the driver. It has no body.
    pub(crate) fn share(&self) -> Self {
        Self { inner: self.inner.clone(), body: Body::default() }
    }

    /// True when no handler holds on to it.
    pub(crate) fn is_unshared(&mut self) -> bool {
        Rc::get_mut(&mut self.inner).is_some()
    }

    pub(crate) fn set_route(&self, route: &'static str) {
        self.inner.route.set(Some(route));
    }

    pub(crate) fn set_parameters(&self, names: &Rc<[Box<str>]>, values: impl Iterator<Item = Span>) {
        let mut parameters = self.inner.parameters.borrow_mut();
        parameters.names = Some(names.clone());
        parameters.values.extend(values);
    }

    /// Whether there are early hints or pushes that have not gone out yet.
    pub(crate) fn has_hints(&self) -> bool {
        !self.inner.hints.borrow().is_empty() || !self.inner.pushes.borrow().is_empty()
    }

    /// Pushes that have not gone out yet.
    pub(crate) fn take_pushes(&self) -> Vec<Box<str>> {
        std::mem::take(&mut *self.inner.pushes.borrow_mut())
    }

    /// Says that it is answered over HTTP/2 now.
    pub(crate) fn go_over_to_http2(&mut self) {
        if let Some(inner) = Rc::get_mut(&mut self.inner) {
            inner.head.version = http::Version::HTTP_2;
        }
    }

    /// Makes it the request of a promise: `GET path`, without any field.
    pub(crate) fn promise(&mut self, authority: &str, path: &str) {
        let Some(inner) = Rc::get_mut(&mut self.inner) else { return };
        inner.release_head();
        inner.head.clear();
        inner.head.version = http::Version::HTTP_2;
        let Some(parts) = target::parse(&Method::GET, path.as_bytes()) else { return };
        inner.head.target = Span::new(0, path.len() as u32);
        (inner.head.path, inner.head.query) = (parts.path, parts.query);
        inner.head.authority = Span::new(path.len() as u32, (path.len() + authority.len()) as u32);
        inner.bytes = HeadBytes::Lease(Lease::from_vec([path.as_bytes(), authority.as_bytes()].concat()));
        inner.base = 0;
    }

    /// Early hints that have not gone out yet.
    pub(crate) fn take_hints(&self) -> Vec<HeaderValue> {
        std::mem::take(&mut *self.inner.hints.borrow_mut())
    }

    /// The final response begins: hints come too late from now on.
    pub(crate) fn set_answered(&self) {
        self.inner.answered.set(true);
    }

    #[inline]
    pub(crate) fn path_bytes(&self) -> &[u8] {
        self.inner.head.path.of(self.inner.bytes())
    }

    pub(crate) fn path_start(&self) -> usize {
        self.inner.head.path.start()
    }

    pub(crate) fn values(&self) -> Vec<(TypeId, Arc<dyn Any + Send + Sync>)> {
        self.inner.values.borrow().clone()
    }

    /// The head for a thread: spans stay valid in the copy of the bytes.
    pub(crate) fn copy_head(&self) -> (Head, Vec<u8>) {
        let head = self.inner.head.clone();
        let ends = head.fields.iter().map(|field| field.value.end());
        let end = ends.chain([head.target.end(), head.authority.end()]).max().unwrap_or(0);
        (head, self.inner.bytes()[..end].to_vec())
    }

    pub(crate) fn copy_parameters(&self) -> Vec<(Box<str>, String)> {
        let parameters = self.inner.parameters.borrow();
        let names = parameters.names.iter().flat_map(|names| names.iter());
        names
            .zip(&parameters.values)
            .map(|(name, value)| (name.clone(), decode(self.text(*value), false).into()))
            .collect()
    }

    /// The connection it came by, for what outlives the request.
    pub(crate) fn link_shared(&self) -> Rc<Link> {
        match &self.inner.link {
            Some(link) => link.clone(),
            None => unreachable!("a handler sees a request only after its driver attached it"),
        }
    }

    /// The head and the bytes its spans refer to.
    pub(crate) fn head_and_bytes(&self) -> (&Head, &[u8]) {
        (&self.inner.head, self.inner.bytes())
    }

    /// The `:protocol` of an extended CONNECT (RFC 8441).
    pub(crate) fn connect_protocol(&self) -> Option<&[u8]> {
        match &self.inner.bytes {
            HeadBytes::Decoded(head) => head.protocol.map(|protocol| protocol.of(head.bytes())),
            _ => None,
        }
    }

    /// Whether no body was announced.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.body.length() == Some(0)
    }

    /// Lets go of the received buffer, for a request that is to live long. Only where nobody else holds it.
    pub(crate) fn detach(&mut self) {
        if let Some(inner) = Rc::get_mut(&mut self.inner)
            && let HeadBytes::Lease(lease) = &inner.bytes
        {
            let ends = inner.head.fields.iter().map(|field| field.value.end());
            let end = ends.chain([inner.head.target.end(), inner.head.authority.end()]).max().unwrap_or(0);
            inner.bytes = HeadBytes::Lease(Lease::from_vec(lease[inner.base..inner.base + end].to_vec()));
            inner.base = 0;
        }
    }

    fn link(&self) -> &Link {
        match &self.inner.link {
            Some(link) => link,
            None => unreachable!("a handler sees a request only after its driver attached it"),
        }
    }

    fn text(&self, span: Span) -> &str {
        // The grammar admits visible ASCII only; anything else was answered with 400.
        std::str::from_utf8(span.of(self.inner.bytes())).unwrap_or_default()
    }
}

/// The head.
impl Request {
    /// The method, RFC 9110 section 9.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.inner.head.method
    }

    /// The protocol this request came by.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.inner.head.version {
            http::Version::HTTP_10 => Protocol::Http10,
            http::Version::HTTP_2 => Protocol::Http2,
            _ => Protocol::Http11,
        }
    }

    /// The same as a version of the `http` crate.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.inner.head.version
    }

    /// What is possible for this request.
    #[must_use]
    pub fn features(&self) -> Features {
        self.inner.features
    }

    /// The whole request-target as received.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.inner.head.target)
    }

    /// The path of the target, percent-encoding and all.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text(self.inner.head.path)
    }

    /// What stands behind the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.inner.head.query.map(|query| self.text(query))
    }

    /// The first value of `key` in the query, decoded as a form (`+` is a space).
    #[must_use]
    pub fn query_value(&self, key: &str) -> Option<Cow<'_, str>> {
        let pairs = self.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .map(|(name, value)| (decode(name, true), value))
            .find(|(name, _)| name == key)
            .map(|(_, v)| decode(v, true))
    }

    /// Host and port the client wants: absolute-form before `Host`, `:authority` before `Host`. Empty if there is none.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text(self.inner.head.authority)
    }

    /// The first value of a field, in place. Any case of `name` does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let bytes = self.inner.bytes();
        let fields = self.inner.head.fields.iter();
        fields
            .filter(|field| field.name.len() == name.len())
            .find(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value.of(bytes))
    }

    /// The first value of a field as text, if it is visible ASCII or UTF-8.
    #[must_use]
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every field line in its order: name and value, in place.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let bytes = self.inner.bytes();
        self.inner.head.fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes)))
    }

    /// All fields as the `http` crate's map. Made anew by every call; [`Request::header`] costs nothing.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        header_map(self.fields())
    }

    /// The route that matched, as it was written in the application.
    #[must_use]
    pub fn route(&self) -> Option<&'static str> {
        self.inner.route.get()
    }

    /// A parameter of the path: `/user/{id}` has `id`. Percent-decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let parameters = self.inner.parameters.borrow();
        let position = parameters.names.as_ref()?.iter().position(|known| **known == *name)?;
        let span = *parameters.values.get(position)?;
        Some(decode(self.text(span), false))
    }
}

/// The exchange.
impl Request {
    /// The other end, if it has an address (Unix peers mostly have none).
    #[must_use]
    pub fn peer_address(&self) -> Option<&Address> {
        self.link().peer.as_ref()
    }

    /// Our end.
    #[must_use]
    pub fn local_address(&self) -> Option<&Address> {
        self.link().local.as_deref()
    }

    /// The core this request is on.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.link().core
    }

    /// The executor of this core: sleep, spawn, connect.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.core().handle()
    }

    /// The application state of type `T`, set with `App::state`.
    ///
    /// # Panics
    /// When no such state was set.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Rc<T> {
        self.core().state()
    }

    /// When the response must have begun, if `request_timeout_ms` is set.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// Keeps a value with this request, one per type: what a middleware found out, the handler can ask for.
    pub fn set_value<T: Send + Sync + 'static>(&self, value: T) {
        let mut values = self.inner.values.borrow_mut();
        values.retain(|(id, _)| *id != TypeId::of::<T>());
        values.push((TypeId::of::<T>(), Arc::new(value)));
    }

    /// The value of type `T` kept with this request.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let values = self.inner.values.borrow();
        let found = values.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        found.1.clone().downcast().ok()
    }

    /// Tells the client early what the response will link to, `Link` values as in RFC 8288. What cannot go out as 103
    /// (RFC 8297) becomes `Link` fields of the final response; the answer says which.
    pub fn early_hints(&self, links: impl IntoIterator<Item = HeaderValue>) -> HintsForm {
        if self.inner.answered.get() {
            return HintsForm::Dropped;
        }
        self.inner.hints.borrow_mut().extend(links);
        if self.inner.features.early_hints { HintsForm::Interim } else { HintsForm::LinkField }
    }

    /// Sends the client what it will ask for next: the response to `GET path`, made by this application's own handler.
    /// HTTP/2 alone has this, and few clients still allow it; otherwise the client is told with an early hint
    /// (`Link: <path>; rel=preload`) to fetch it. The answer says which.
    ///
    /// To be called before the response that refers to the resource. `path` is a path with an optional query.
    ///
    /// ```
    /// use ringgate::{App, Request};
    /// fn page(request: &Request) -> &'static str {
    ///     request.push("/style.css");
    ///     "<!doctype html><link rel=stylesheet href=/style.css>"
    /// }
    /// # let _ = App::new().route("/", page);
    /// ```
    pub fn push(&self, path: &str) -> PushForm {
        let left = &self.link().promises_left;
        let is_path = path.starts_with('/') && target::parse(&Method::GET, path.as_bytes()).is_some();
        if is_path && self.inner.features.push && !self.inner.answered.get() && left.get() > 0 {
            left.set(left.get() - 1);
            self.inner.pushes.borrow_mut().push(path.into());
            return PushForm::Promised;
        }
        let link = HeaderValue::try_from(format!("<{path}>; rel=preload")).ok().filter(|_| is_path);
        PushForm::Hinted(link.map_or(HintsForm::Dropped, |link| self.early_hints([link])))
    }

    /// The body, to be read.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The body, without the head: the head's memory is free again. Also the way to answer with what comes in:
    /// `Response::stream(request.into_body())`.
    #[must_use]
    pub fn into_body(mut self) -> Body {
        std::mem::take(&mut self.body)
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

/// Lines the grammar has accepted, as the `http` crate's map.
pub(crate) fn header_map<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// Percent-decoding; what is not UTF-8 then is replaced. With `form` a plus is a space.
pub(crate) fn decode(text: &str, form: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (form && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        let hex = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            (b'+', ..) if form => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(
        String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        assert_eq!(decode("plain", true), "plain");
        assert_eq!(decode("a+b%20c%2B", true), "a b c+");
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(decode("%zz%4", false), "%zz%4");
        assert_eq!(decode("%ff", false), "\u{fffd}");
        assert_eq!(decode("%E2%82%AC", false), "\u{20ac}");
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
