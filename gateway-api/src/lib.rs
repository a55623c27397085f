//! tmp
pub mod blocking;

mod app;
mod body;
mod config;
mod conn;
mod core;
mod counters;
mod date;
mod dispatch;
mod error;
mod features;
mod handler;
mod middleware;
mod pipe;
mod request;
mod response;
mod stream;

pub use crate::{
    app::{App, IntoMethods, IsHandler, IsMethods, Methods, any, delete, get, head, options, patch, post, put},
    body::Body,
    config::{Config, Limits, Timeouts},
    core::Core,
    counters::Metrics,
    error::{BodyError, Disconnected},
    features::{Features, HintsForm, Protocol, TrailersForm},
    handler::{Handler, IntoHandler, IsAsync, IsBlocking, IsInline},
    middleware::{Middleware, Next},
    response::{IntoResponse, InvalidField, Response},
    request::Request,
    stream::{BodySender, Chunk},
};
