//! Requests of a core that wait for their next use.

use crate::{
    body::Body,
    request::{Held, Inner, Request, facts::Facts, head::Stored},
};
use std::{cell::RefCell, rc::Rc};

/// Requests of a core that wait for their next use, heads and all: the fast path allocates nothing.
#[derive(Default)]
pub(crate) struct RequestPool {
    /// With a head to be read in place, for HTTP/1.
    in_place: RefCell<Vec<Rc<Inner>>>,
    /// Without: a head of HTTP/2 comes decoded.
    bare: RefCell<Vec<Rc<Inner>>>,
}

/// Request shells a core keeps for either protocol; more than this many at once are allocated and freed.
const REQUESTS_KEPT_MAX: usize = 128;

impl RequestPool {
    /// A request of HTTP/1 to be filled: nobody else holds it.
    pub(crate) fn take(&self) -> Request {
        request(self.in_place.borrow_mut().pop())
    }

    /// A request of HTTP/2 to be filled: nobody else holds it.
    pub(crate) fn take_bare(&self) -> Request {
        request(self.bare.borrow_mut().pop())
    }

    /// Keeps a request for its next use, unless a handler still holds it.
    pub(crate) fn give(&self, mut request: Request) {
        if let Some(inner) = request.inner.unique() {
            inner.forget();
            self.keep(&request.inner.0);
        }
    }

    fn keep(&self, inner: &Rc<Inner>) {
        let place = if let Stored::InPlace(_) = inner.head { &self.in_place } else { &self.bare };
        let mut free = place.borrow_mut();
        if free.len() < REQUESTS_KEPT_MAX {
            free.push(inner.clone());
        }
    }
}

fn request(inner: Option<Rc<Inner>>) -> Request {
    Request { inner: Held(inner.unwrap_or_default()), body: Body::default() }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(inner) = Rc::get_mut(&mut self.0) else { return };
        let Some(link) = inner.link.clone() else { return };
        inner.forget();
        link.core.shared.requests.keep(&self.0);
    }
}

impl Inner {
    fn forget(&mut self) {
        self.release_head();
        self.link = None;
        self.forget_exchange();
    }

    /// A decoded head goes back to its core's pool, its list of fields with it; of one in place only the bytes go.
    pub(crate) fn release_head(&mut self) {
        if let Stored::InPlace(place) = &mut self.head {
            place.release();
        } else if let Stored::Decoded(head) = std::mem::take(&mut self.head)
            && let Some(link) = &self.link
        {
            link.core.shared.heads.borrow_mut().recycle(head);
        }
    }

    /// What the last exchange has left behind; almost always nothing.
    #[inline]
    pub(crate) fn forget_exchange(&mut self) {
        if let Some(extras) = self.extras.get_mut() {
            extras.get_mut().clear();
        }
        self.facts = Facts::default();
    }
}
