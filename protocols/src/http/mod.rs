//! Meaning shared by HTTP/1 and HTTP/2: the head of a request, its method, target and fields.

pub mod date;
pub mod field;
pub mod head;
pub mod length;
pub mod method;
pub mod options;
pub mod target;

pub(crate) mod trailer;
