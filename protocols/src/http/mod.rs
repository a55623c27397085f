//! Meaning shared by HTTP/1 and HTTP/2: the head of a request, its method, target and fields.

pub mod head;
