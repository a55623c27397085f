//! The request as a part of its exchange: the connection, the core, what travels with it.

use crate::{
    body::Body,
    core::Core,
    features::{HintsForm, PushForm},
    request::Request,
};
use http::{HeaderValue, Method};
use ringgate_protocols::http::target;
use ringgate_runtime::{executor::Handle, net::Address, time::Instant};
use std::{rc::Rc, sync::Arc};

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
        self.inner.facts.deadline()
    }

    /// Keeps a value with this request, one per type: what a middleware found out, the handler can ask for.
    ///
    /// ```
    /// use ringgate::{App, Middleware, Request, Response, blocking};
    /// struct User(String);
    /// struct Login;
    /// impl Middleware for Login {
    ///     fn before(&self, request: &Request) -> Option<Response> {
    ///         request.set_value(User(request.header_str("x-user")?.to_owned()));
    ///         None
    ///     }
    /// }
    /// // A handler on a thread has it as well: hence `Send + Sync`.
    /// fn greet(request: blocking::Request) -> String {
    ///     request.value::<User>().map_or("who are you?\n".into(), |user| format!("hello {}\n", user.0))
    /// }
    /// let app = App::new().route("/", greet).wrap(Login);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "GET / HTTP/1.1\r\nx-user: Ada", "").ends_with("hello Ada\n"));
    /// ```
    pub fn set_value<T: Send + Sync + 'static>(&self, value: T) {
        self.inner.extras().borrow_mut().values.set(value);
    }

    /// The value of type `T` kept with this request.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.inner.extras.get()?.borrow().values.get()
    }

    /// Tells the client early what the response will link to, `Link` values as in RFC 8288. What cannot go out as 103
    /// (RFC 8297) becomes `Link` fields of the final response; the answer says which.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use ringgate::{App, Request};
    /// use std::time::Duration;
    /// async fn page(request: Request) -> &'static str {
    ///     request.early_hints([HeaderValue::from_static("</style.css>; rel=preload; as=style")]);
    ///     request.handle().sleep(Duration::from_millis(10)).await; // the client fetches it meanwhile
    ///     "<!doctype html><link rel=stylesheet href=/style.css>"
    /// }
    /// # fn application() -> App { App::new().route("/", page) }
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # let answer = client::ask(application(), "GET / HTTP/1.1", "");
    /// # assert!(answer.starts_with("HTTP/1.1 103 ") && answer.contains("HTTP/1.1 200 "), "{answer}");
    /// # let answer = client::ask(application(), "GET / HTTP/1.0", "");
    /// # assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nlink: </style.css>;"), "{answer}");
    /// ```
    pub fn early_hints(&self, links: impl IntoIterator<Item = HeaderValue>) -> HintsForm {
        if self.inner.facts.is_answered() {
            return HintsForm::Dropped;
        }
        self.inner.extras().borrow_mut().hints.extend(links);
        if self.inner.facts.features().early_hints { HintsForm::Interim } else { HintsForm::LinkField }
    }

    /// Sends the client what it will ask for next: the response to `GET path`, made by this application's own handler.
    /// HTTP/2 alone has this, few clients still allow it, and it is off unless `Limits::http2.push` is set; otherwise the
    /// client is told with an early hint to fetch it (`Link: <path>; rel=preload; as=style`, what it is used as by its
    /// extension). The answer says which.
    ///
    /// To be called before the response that refers to the resource. `path` is a path with an optional query.
    ///
    /// ```
    /// use ringgate::{App, Request};
    /// fn page(request: &Request) -> &'static str {
    ///     request.push("/style.css");
    ///     "<!doctype html><link rel=stylesheet href=/style.css>"
    /// }
    /// # let app = App::new().route("/", page);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "GET / HTTP/1.1", "").contains("\r\nlink: </style.css>; rel=preload; as=style\r\n"));
    /// ```
    pub fn push(&self, path: &str) -> PushForm {
        let left = &self.link().promises_left;
        let is_path = path.starts_with('/') && target::parse(&Method::GET, path.as_bytes()).is_some();
        if is_path && self.inner.facts.features().push && !self.inner.facts.is_answered() && left.get() > 0 {
            left.set(left.get() - 1);
            self.inner.extras().borrow_mut().pushes.push(path.into());
            return PushForm::Promised;
        }
        let link =
            HeaderValue::try_from(format!("<{path}>; rel=preload{}", destination(path))).ok().filter(|_| is_path);
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

/// What a path will be used as, for a preload link: browsers follow none that does not say it, and fetch fonts for any
/// origin only.
fn destination(path: &str) -> &'static str {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "; as=style",
        "js" | "mjs" => "; as=script",
        "avif" | "gif" | "ico" | "jpeg" | "jpg" | "png" | "svg" | "webp" => "; as=image",
        "otf" | "ttf" | "woff" | "woff2" => "; as=font; crossorigin",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preload_says_what_for() {
        assert_eq!(destination("/style.css?v=2"), "; as=style");
        assert_eq!(destination("/a.b/inter.woff2"), "; as=font; crossorigin");
        for unknown in ["/", "/css", "/page?x=a.css", "/data.csv"] {
            assert_eq!(destination(unknown), "", "{unknown}");
        }
    }
}
