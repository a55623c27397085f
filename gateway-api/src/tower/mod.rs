//! The bridge to services of the `tower` family, in both directions, for adoption one route at a time.
//!
//! - **Inwards**: [`handler`] makes any [`Service`](tower_service::Service) over `http` types a handler, and
//!   [`App::mount_service`](crate::App::mount_service) puts it below a prefix: an axum `Router` beside native routes.
//! - **Outwards**: a [`Site`](crate::Site) is itself such a service, and [`Site::drive`](crate::Site::drive) runs its
//!   executor on somebody else's loop: the same application under hyper.
//!
//! Both are thin, and neither needs more of the `tower` family than its trait. What crosses the bridge is what the types
//! of `http` and `http-body` can say; the doors tell what that leaves out.
//!
//! The examples `with_axum` and `under_hyper` show both in full.

mod drive;
mod inflow;
mod origin;
mod request_body;
mod response_body;
mod service_handler;
mod site;

pub use crate::tower::{
    origin::Origin,
    request_body::RequestBody,
    response_body::ResponseBody,
    service_handler::{IsService, ServiceHandler, handler},
    site::Answer,
};
