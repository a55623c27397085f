//! tmp
pub mod blocking;
pub mod helpers;
pub mod websocket;

mod app;
mod body;
mod config;
mod conn;
mod core;
mod counters;
mod date;
mod dispatch;
mod drain;
mod error;
mod features;
mod gateway;
mod handler;
mod middleware;
mod pipe;
mod request;
mod response;
mod site;
mod stream;

pub use crate::{
    app::{App, IntoMethods, IsHandler, IsMethods, Methods, any, delete, get, head, options, patch, post, put},
    body::Body,
    config::{Config, Limits, Timeouts},
    core::Core,
    counters::Metrics,
    drain::DrainReport,
    error::{BodyError, Disconnected},
    features::{Features, HintsForm, Protocol, TrailersForm},
    gateway::{Gateway, RunningGateway},
    handler::{Handler, IntoHandler, IsAsync, IsBlocking, IsInline},
    middleware::{Middleware, Next},
    response::{IntoResponse, InvalidField, Response},
    request::Request,
    site::{Site, serve_connection},
    stream::{BodySender, Chunk},
};
