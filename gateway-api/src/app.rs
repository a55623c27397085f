//! An application: routes, what is done around them, state.

use crate::{
    handler::{Handler, IntoHandler},
    middleware::{self, Around, Middleware, Next},
    request::Request,
    response::IntoResponse,
};
use http::Method;
use std::{
    any::{Any, TypeId},
    fmt,
    future::Future,
    rc::Rc,
};

/// An application: made once per core, by the factory given to the gateway.
///
/// Paths are those of the `matchit` crate: `/user/{id}` matches one segment, `/files/{*path}` the rest. A route that
/// spells a path out goes before one with parameters.
///
/// `HEAD` falls back to `GET`, `OPTIONS` is answered with `Allow`, a method that is not routed is 405 with `Allow`, a
/// method nobody knows is 501, a path that is not routed goes to the fallback or is 404.
///
/// ```
/// use ringgate::{App, Request, get};
/// fn user(request: &Request) -> String {
///     format!("user {}\n", request.param("id").unwrap_or_default())
/// }
/// let api = App::new().route("/user/{id}", get(user));
/// let app = App::new().mount("/api", api).fallback(|_: &Request| (http::StatusCode::NOT_FOUND, "nothing here\n"));
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /api/user/7 HTTP/1.1", "").ends_with("\r\n\r\nuser 7\n"));
/// ```
#[derive(Default)]
pub struct App {
    pub(crate) entries: Vec<Entry>,
    pub(crate) fallback: Option<Entry>,
    pub(crate) hooks: Vec<Rc<dyn Middleware>>,
    pub(crate) arounds: Vec<Around>,
    pub(crate) states: States,
}

/// Application state by type.
pub(crate) type States = Vec<(TypeId, Rc<dyn Any>)>;

/// One path with its methods, and the middleware of the applications it was mounted with, outermost first.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) methods: Rc<Methods>,
    pub(crate) hooks: Vec<Rc<dyn Middleware>>,
    pub(crate) arounds: Vec<Around>,
    /// Stands in for paths that are not routed: gives way to any route of the same path.
    pub(crate) is_fallback: bool,
}

impl App {
    /// An application without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path. `target` is a handler, for every method, or handlers by method: `get(show).post(store)`. Which world a
    /// handler lives in is told by its signature:
    ///
    /// ```
    /// use ringgate::{App, Request, Response, blocking, get, websocket::WebSocket};
    /// fn application() -> App {
    ///     let echo = async |request: Request| Response::stream(request.into_body());
    ///     App::new()
    ///         .route("/inline", |_: &Request| "at once, on the core")
    ///         .route("/async", async |request: Request| format!("on the core, as {}", request.protocol()))
    ///         .route("/blocking", |_: blocking::Request| std::fs::read_to_string("/proc/self/comm"))
    ///         .route("/socket", async |mut socket: WebSocket| drop(socket.send("hello").await))
    ///         .route("/socket-on-a-thread", |mut socket: blocking::WebSocket| drop(socket.send("hello")))
    ///         .route("/methods", get(|_: &Request| "shown").post(echo))
    /// }
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # for path in ["/inline", "/async", "/blocking", "/methods"] {
    /// #     assert!(client::ask(application(), &format!("GET {path} HTTP/1.1"), "").starts_with("HTTP/1.1 200 "), "{path}");
    /// # }
    /// # for path in ["/socket", "/socket-on-a-thread"] {
    /// #     assert_eq!(client::converse(application(), path, &[]), ["hello"], "{path}");
    /// # }
    /// ```
    ///
    /// # Panics
    /// When `path` does not begin with a slash. (Paths that contradict each other are found when the gateway starts.)
    #[must_use]
    pub fn route<Marker>(mut self, path: &str, target: impl IntoMethods<Marker>) -> Self {
        assert!(path.starts_with('/'), "a path begins with a slash: {path:?}");
        self.entries.push(Entry::new(path, target.into_methods()));
        self
    }

    /// Answers for every path that is not routed. Under a prefix only for the paths below it.
    #[must_use]
    pub fn fallback<Marker>(mut self, target: impl IntoMethods<Marker>) -> Self {
        let entry = Entry::new("", target.into_methods());
        self.fallback = Some(Entry { is_fallback: true, ..entry });
        self
    }

    /// Puts a whole application, with its middleware and its fallback, below `prefix`. Its handlers see the full path.
    ///
    /// # Panics
    /// When `prefix` does not begin with a slash, or ends with one.
    #[must_use]
    pub fn mount(mut self, prefix: &str, app: Self) -> Self {
        assert!(prefix.starts_with('/') && !prefix.ends_with('/'), "a prefix is like /api: {prefix:?}");
        let Self { entries, fallback, hooks, arounds, states } = app;
        let below = ["", "/", "/{*_below}"];
        let fallbacks =
            fallback.into_iter().flat_map(|entry| below.map(|path| Entry { path: path.to_owned(), ..entry.clone() }));
        for mut entry in entries.into_iter().chain(fallbacks) {
            // `/` of the mounted application is the prefix itself, with and without the slash.
            if entry.path == "/" && !entry.is_fallback {
                let bare = Entry { path: prefix.to_owned(), ..entry.clone() };
                self.entries.push(bare.below(&hooks, &arounds));
            }
            entry.path.insert_str(0, prefix);
            self.entries.push(entry.below(&hooks, &arounds));
        }
        self.states.extend(states);
        self
    }

    /// Runs hooks around every handler of this application, those mounted included. The first one added is outermost.
    #[must_use]
    pub fn wrap(mut self, middleware: impl Middleware + 'static) -> Self {
        self.hooks.push(Rc::new(middleware));
        self
    }

    /// Puts an `async fn(Request, Next) -> impl IntoResponse` around every handler, the fallback's too; where there is none
    /// (404 and 405 of the gateway's own) it does not run. It may wait, before and behind; the price is that inline handlers
    /// below it are async ones too. Hooks of [`App::wrap`] run outside of it, and for every response.
    #[must_use]
    pub fn around<F, R>(mut self, function: F) -> Self
    where
        F: Fn(Request, Next) -> R + 'static,
        R: Future<Output: IntoResponse> + 'static,
    {
        self.arounds.push(middleware::around(function));
        self
    }

    /// Keeps a value for the handlers of this core: `request.state::<T>()`. One per type, for all applications that are
    /// mounted together: of several the first one counts.
    ///
    /// It goes when the gateway has drained. On a [`Site`](crate::Site) that you drive yourself, state that holds its own
    /// [`Core`](crate::Core) keeps that, and the executor's descriptors, for good.
    ///
    /// Closures that own an `Rc` are the other way to give state to handlers.
    #[must_use]
    pub fn state<T: 'static>(mut self, value: T) -> Self {
        self.states.push((TypeId::of::<T>(), Rc::new(value)));
        self
    }
}

impl Entry {
    fn new(path: &str, methods: Methods) -> Self {
        let methods = Rc::new(methods);
        Self { path: path.to_owned(), methods, hooks: Vec::new(), arounds: Vec::new(), is_fallback: false }
    }

    /// With the middleware of an outer application around it.
    pub(crate) fn below(mut self, hooks: &[Rc<dyn Middleware>], arounds: &[Around]) -> Self {
        self.hooks.splice(0..0, hooks.iter().cloned());
        self.arounds.splice(0..0, arounds.iter().cloned());
        self
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.path)).finish()
    }
}

/// Handlers of one path by method. Begun with [`get`], [`post`] and their like.
///
/// HEAD is answered by the handler of GET, without the body, unless it has its own. OPTIONS is answered with `Allow`, and
/// so is, with 405, a method that has no handler here; one that nobody knows is 501.
/// ```
/// use ringgate::{App, BodyError, Request, Response, get};
/// use http::{Method, StatusCode};
/// async fn store(mut request: Request) -> Result<StatusCode, BodyError> {
///     let _note = request.body_mut().collect().await?;
///     Ok(StatusCode::CREATED)
/// }
/// let purge = Method::from_bytes(b"PURGE").unwrap();
/// let note = get(|_: &Request| "a note\n").put(store).on(purge, |_: &Request| Response::new(StatusCode::NO_CONTENT));
/// let app = App::new().route("/note", note);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "POST /note HTTP/1.1", "").contains("\r\nallow: GET, HEAD, PUT, OPTIONS, PURGE\r\n"));
/// ```
#[derive(Default, Debug)]
pub struct Methods {
    pub(crate) handlers: Vec<(Method, Rc<Handler>)>,
    pub(crate) any: Option<Rc<Handler>>,
}

impl Methods {
    /// Answers `method`, a known one or an extension.
    #[must_use]
    pub fn on<M>(mut self, method: Method, handler: impl IntoHandler<M>) -> Self {
        self.handlers.retain(|(known, _)| *known != method);
        self.handlers.push((method, Rc::new(handler.into_handler())));
        self
    }

    /// Answers every method that is not routed otherwise, extension methods too, but never CONNECT.
    #[must_use]
    pub fn any<M>(mut self, handler: impl IntoHandler<M>) -> Self {
        self.any = Some(Rc::new(handler.into_handler()));
        self
    }
}

macro_rules! methods {
    ($($name:ident $method:ident;)*) => {
        impl Methods {
            $(#[doc = concat!("Answers ", stringify!($method), ".")]
            #[must_use]
            pub fn $name<M>(self, handler: impl IntoHandler<M>) -> Self {
                self.on(Method::$method, handler)
            })*
        }
        $(#[doc = concat!("Answers ", stringify!($method), "; other methods can be added behind it.")]
        #[must_use]
        pub fn $name<M>(handler: impl IntoHandler<M>) -> Methods {
            Methods::default().$name(handler)
        })*
    };
}

methods! {
    get GET;
    head HEAD;
    post POST;
    put PUT;
    patch PATCH;
    delete DELETE;
    options OPTIONS;
}

/// Answers every method but CONNECT.
#[must_use]
pub fn any<M>(handler: impl IntoHandler<M>) -> Methods {
    Methods::default().any(handler)
}

/// What a route leads to: a handler, or handlers by method. `Marker` is found by the compiler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler, nor handlers by method",
    note = "a handler is `async fn(Request) -> R`, `fn(&Request) -> R` or `fn(blocking::Request) -> R` where `R: IntoResponse`",
    note = "a WebSocket handler is `async fn(WebSocket) -> R` or `fn(blocking::WebSocket) -> R` where `R` is `()` or a `Result`",
    note = "the parameter of a closure needs its type: `|request: &Request| ...`"
)]
pub trait IntoMethods<Marker> {
    /// As handlers by method.
    fn into_methods(self) -> Methods;
}

/// Marks handlers by method.
#[derive(Debug)]
pub enum IsMethods {}
/// Marks a single handler, for any method.
#[derive(Debug)]
pub struct IsHandler<Marker>(std::marker::PhantomData<Marker>);

impl IntoMethods<IsMethods> for Methods {
    fn into_methods(self) -> Methods {
        self
    }
}

impl<H: IntoHandler<Marker>, Marker> IntoMethods<IsHandler<Marker>> for H {
    fn into_methods(self) -> Methods {
        any(self)
    }
}
