//! What few requests have: parameters of the path, values of a middleware, hints, work on a thread. Made when there is
//! something to keep, and kept with the request's memory for the next one.

use crate::request::{values::Values, work::Work};
use http::HeaderValue;
use ringgate_protocols::span::Span;
use smallvec::SmallVec;
use std::{rc::Rc, sync::Arc};

/// See the module.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) parameter_names: Option<Rc<[Box<str>]>>,
    pub(crate) parameter_values: SmallVec<[Span; 4]>,
    pub(crate) values: Values,
    /// Early hints and pushes that have not gone out yet.
    pub(crate) hints: Vec<HeaderValue>,
    pub(crate) pushes: Vec<Box<str>>,
    pub(crate) work: Option<Arc<Work>>,
}

impl Extras {
    /// Makes it empty and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.parameter_names = None;
        self.parameter_values.clear();
        self.values.clear();
        self.hints.clear();
        self.pushes.clear();
        self.work = None;
    }
}
