//! The request as its driver sees it: filled, handed over, taken back.

use crate::{
    body::Body,
    features::Features,
    request::{
        Held, Inner, Job, Link, Request, RouteName, Values, Work, decode,
        facts::Facts,
        head::{self, Stored},
        packed::Packed,
        visible,
    },
};
use http::HeaderValue;
use ringgate_protocols::{http::head::Head, http2::request::RequestHead, span::Span};
use ringgate_runtime::{buffer::Lease, time::Instant};
use std::{borrow::Cow, mem, rc::Rc, sync::Arc};

/// Filling it. Only for a request that nobody else holds.
impl Request {
    /// The head to be filled by a machine that leaves it in place.
    #[inline]
    pub(crate) fn head_mut(&mut self) -> &mut Head {
        let Some(inner) = self.inner.unique() else { unreachable!("a request is filled before it is shared") };
        if !matches!(inner.head, Stored::InPlace(_)) {
            inner.head = Stored::InPlace(Box::default());
        }
        match &mut inner.head {
            Stored::InPlace(place) => &mut place.head,
            _ => unreachable!("it was just made so"),
        }
    }

    /// Says where the bytes of a head in place are.
    #[inline]
    pub(crate) fn locate(&mut self, lease: &Lease, base: usize) {
        if let Some(inner) = self.inner.unique()
            && let Stored::InPlace(place) = &mut inner.head
        {
            // Requests that came together share a buffer, and most of them a shell.
            if !place.lease.is_same(lease) {
                place.lease = lease.clone();
            }
            place.base = base;
        }
    }

    /// Takes a decoded head.
    pub(crate) fn adopt(&mut self, head: Box<RequestHead>) {
        if let Some(inner) = self.inner.unique() {
            inner.release_head();
            inner.head = Stored::Decoded(head);
        }
    }

    /// Makes it the request of a promise: `GET path`, without any field.
    pub(crate) fn promise(&mut self, authority: &str, path: &str) {
        if let Some(inner) = self.inner.unique() {
            inner.release_head();
            inner.head = Stored::Packed(Packed::get(path, authority));
        }
    }

    /// Makes it a request of this connection.
    #[inline(always)] // Left to the compiler it depends on which functions stand near its callers.
    pub(crate) fn attach(&mut self, link: &Rc<Link>, features: Features, deadline: Option<Instant>) {
        self.body = Body::default();
        if let Some(inner) = self.inner.unique() {
            inner.forget_exchange();
            inner.facts = Facts::new(features, deadline);
            if inner.link.is_none() {
                inner.link = Some(link.clone());
            }
        }
    }

    pub(crate) fn set_body(&mut self, body: Body) {
        self.body = body;
    }

    /// Says that it is answered over HTTP/2 now.
    pub(crate) fn go_over_to_http2(&mut self) {
        if let Some(inner) = self.inner.unique()
            && let Stored::InPlace(place) = &mut inner.head
        {
            place.head.version = http::Version::HTTP_2;
        }
    }

    /// Gets ready to live long: a decoded head is packed, and its memory is free for the next request.
    pub(crate) fn settle(&mut self) {
        let Some(inner) = self.inner.unique() else { return };
        let Stored::Decoded(decoded) = &inner.head else { return };
        let Some(packed) = Packed::new(decoded) else { return };
        if let Some(extras) = inner.extras.get_mut() {
            let (before, now) = (decoded.head.path.start() as u32, packed.path_start() as u32);
            let moved = |span: Span| Span::new(span.start() as u32 - before + now, span.end() as u32 - before + now);
            extras.get_mut().parameter_values.iter_mut().for_each(|span| *span = moved(*span));
        }
        inner.release_head();
        inner.head = Stored::Packed(packed);
    }

    /// Lets go of the received buffer, for a request that is to live long.
    pub(crate) fn detach(&mut self) {
        if let Some(inner) = self.inner.unique()
            && let Stored::InPlace(place) = &mut inner.head
        {
            let end = head::end(&place.head);
            place.lease = Lease::from_vec(place.lease[place.base..place.base + end].to_vec());
            place.base = 0;
        }
    }
}

/// Handing it over.
impl Request {
    /// The same request for a second holder: hooks behind the handler, the driver. It has no body.
    pub(crate) fn share(&self) -> Self {
        self.inner.request()
    }

    /// A hold on it.
    pub(crate) fn hold(&self) -> Held {
        self.inner.clone()
    }

    /// True when no handler holds on to it.
    pub(crate) fn is_unshared(&mut self) -> bool {
        self.inner.unique().is_some()
    }

    pub(crate) fn set_route(&self, route: &'static RouteName) {
        self.inner.route.set(Some(route));
    }

    pub(crate) fn set_parameters(&self, names: &Rc<[Box<str>]>, values: impl Iterator<Item = Span>) {
        let mut extras = self.inner.extras().borrow_mut();
        extras.parameter_names = Some(names.clone());
        extras.parameter_values.extend(values);
    }

    /// Whether there are early hints or pushes that have not gone out yet.
    #[inline]
    pub(crate) fn has_hints(&self) -> bool {
        self.inner.has_hints()
    }

    /// Pushes that have not gone out yet.
    pub(crate) fn take_pushes(&self) -> Vec<Box<str>> {
        self.inner.extras.get().map(|extras| mem::take(&mut extras.borrow_mut().pushes)).unwrap_or_default()
    }

    /// Early hints that have not gone out yet.
    pub(crate) fn take_hints(&self) -> Vec<HeaderValue> {
        self.inner.extras.get().map(|extras| mem::take(&mut extras.borrow_mut().hints)).unwrap_or_default()
    }

    /// The final response begins: hints come too late from now on.
    pub(crate) fn set_answered(&self) {
        self.inner.facts.set_answered();
    }

    pub(crate) fn path_bytes(&self) -> &[u8] {
        self.inner.head.view().path()
    }

    pub(crate) fn path_start(&self) -> usize {
        self.inner.head.path_start()
    }

    /// The `:protocol` of an extended CONNECT (RFC 8441).
    pub(crate) fn connect_protocol(&self) -> Option<&[u8]> {
        self.inner.head.connect_protocol()
    }

    /// Whether no body was announced.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.body.length() == Some(0)
    }

    /// The head and the bytes its spans refer to.
    pub(crate) fn head_and_bytes(&self) -> (Cow<'_, Head>, Cow<'_, [u8]>) {
        self.inner.head.head_and_bytes()
    }

    /// The connection it came by, for what outlives the request.
    pub(crate) fn link_shared(&self) -> Rc<Link> {
        match &self.inner.link {
            Some(link) => link.clone(),
            None => unreachable!("a handler sees a request only after its driver attached it"),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        match &self.inner.link {
            Some(link) => link,
            None => unreachable!("a handler sees a request only after its driver attached it"),
        }
    }
}

/// What a thread gets of it.
impl Request {
    /// The head for a thread: spans stay valid in the copy of the bytes.
    pub(crate) fn copy_head(&self) -> (Head, Vec<u8>) {
        let (head, bytes) = self.head_and_bytes();
        let end = head::end(&head);
        let bytes = match bytes {
            Cow::Owned(bytes) => bytes,
            Cow::Borrowed(bytes) => bytes[..end].to_vec(),
        };
        (head.into_owned(), bytes)
    }

    pub(crate) fn copy_parameters(&self) -> Vec<(Box<str>, String)> {
        let Some(extras) = self.inner.extras.get() else { return Vec::new() };
        let (extras, bytes) = (extras.borrow(), self.inner.head.bytes());
        let names = extras.parameter_names.iter().flat_map(|names| names.iter());
        names
            .zip(&extras.parameter_values)
            .map(|(name, value)| (name.clone(), decode(visible(value.of(bytes)), false).into()))
            .collect()
    }

    pub(crate) fn values(&self) -> Values {
        self.inner.extras.get().map(|extras| extras.borrow().values.clone()).unwrap_or_default()
    }

    /// Keeps these as well.
    pub(crate) fn keep_values(&self, values: Values) {
        self.inner.extras().borrow_mut().values.extend(values);
    }

    /// Jobs of the crew that it has or has had.
    pub(crate) fn work(&self) -> Option<Arc<Work>> {
        self.inner.work()
    }

    /// To be held by a job of the crew for as long as it lasts: its stream keeps its place until then. Nothing on HTTP/1,
    /// where a connection has one request at a time, and ends with it.
    pub(crate) fn job(&self) -> Option<Job> {
        (self.inner.head.version() == http::Version::HTTP_2).then(|| {
            let mut extras = self.inner.extras().borrow_mut();
            Job::new(extras.work.get_or_insert_default().clone())
        })
    }
}

/// For a driver that holds it.
impl Inner {
    /// Jobs of the crew that it has or has had.
    pub(crate) fn work(&self) -> Option<Arc<Work>> {
        self.extras.get().and_then(|extras| extras.borrow().work.clone())
    }

    /// When its response must have begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.facts.deadline()
    }

    /// The number of the route that answers it.
    pub(crate) fn route_number(&self) -> usize {
        self.route.get().map_or(0, |route| route.number)
    }

    /// Whether there are early hints or pushes that have not gone out yet.
    #[inline]
    pub(crate) fn has_hints(&self) -> bool {
        self.extras.get().is_some_and(|extras| {
            let extras = extras.borrow();
            !extras.hints.is_empty() || !extras.pushes.is_empty()
        })
    }
}
