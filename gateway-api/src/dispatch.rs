//! From a request to its handler, and from the handler to its response.

use crate::{
    app::{App, Entry, States},
    blocking,
    core::Core,
    handler::{Handler, Kind, ResponseFuture},
    middleware::{self, Middleware},
    request::{METHODS, Request, RouteName},
    response::Response,
};
use http::{HeaderValue, Method, StatusCode, header};
use ringgate_protocols::span::Span;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

/// An application made ready: paths hashed and in a tree, methods in a table.
pub(crate) struct Table {
    /// Paths without parameters, found by one hash of the path.
    exact: HashMap<Box<[u8]>, usize, BuildHasherDefault<PathHasher>>,
    tree: matchit::Router<usize>,
    routes: Vec<Route>,
    /// Some route opens WebSockets: only then HTTP/2 announces extended CONNECT (RFC 8441 section 3).
    pub(crate) has_websocket: bool,
}

struct Route {
    /// As written; lives as long as the program, for stall reports and counters of any thread.
    name: &'static RouteName,
    known: [Option<Rc<Handler>>; METHODS.len()],
    extensions: Vec<(Method, Rc<Handler>)>,
    any: Option<Rc<Handler>>,
    allow: HeaderValue,
    hooks: Rc<[Rc<dyn Middleware>]>,
    parameters: Rc<[Box<str>]>,
}

/// A response, or the promise of one, and what to do behind it.
pub(crate) struct Begun {
    pub(crate) route: usize,
    pub(crate) outcome: Outcome,
}

#[allow(clippy::large_enum_variant, reason = "a response that is ready at once must not cost an allocation")]
pub(crate) enum Outcome {
    Ready(Response),
    Pending(ResponseFuture),
}

impl Begun {
    /// A handler that has answered: what is left is to be sent.
    pub(crate) fn answered(route: usize) -> Self {
        Self { route, outcome: Outcome::Ready(Response::default()) }
    }

    /// Whether the handler is still at it.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.outcome, Outcome::Pending(_))
    }
}

/// The route number of paths that no route and no fallback answers.
const NOT_FOUND: usize = 0;

/// The route number of requests that are refused because the process holds too much memory. Their connection takes no
/// further one.
pub(crate) const SHED: usize = 1;

impl Table {
    /// Makes an application ready.
    ///
    /// # Panics
    /// When two paths contradict each other, or a path is malformed.
    pub(crate) fn new(app: App) -> (Self, States) {
        let App { mut entries, fallback, hooks, arounds, states } = app;
        let nothing = Entry {
            path: "not found".to_owned(),
            methods: Rc::default(),
            hooks: Vec::new(),
            arounds: Vec::new(),
            is_fallback: true,
        };
        let last = fallback.map_or_else(|| nothing.clone(), |entry| Entry { path: "fallback".to_owned(), ..entry });
        let mut table =
            Self { exact: HashMap::default(), tree: matchit::Router::new(), routes: Vec::new(), has_websocket: false };
        table.routes.push(Route::new(NOT_FOUND, last.below(&hooks, &arounds)));
        table.routes.push(Route::new(SHED, Entry { path: "shed".to_owned(), ..nothing }));
        entries.sort_by_key(|entry| entry.is_fallback);
        for entry in entries {
            let (path, number) = (entry.path.clone(), table.routes.len());
            match table.tree.insert(path.as_str(), number) {
                Ok(()) => {}
                Err(_) if entry.is_fallback => continue,
                Err(error) => panic!("route {path}: {error}"),
            }
            if !path.contains(['{', '}']) {
                table.exact.insert(path.into_bytes().into(), number);
            }
            table.routes.push(Route::new(number, entry.below(&hooks, &arounds)));
        }
        table.has_websocket = table.routes.iter().any(|route| route.websocket().is_some());
        (table, states)
    }

    #[inline]
    fn find(&self, request: &Request) -> usize {
        let path = request.path_bytes();
        self.exact.get(path).copied().unwrap_or_else(|| self.find_in_tree(request, path))
    }

    fn find_in_tree(&self, request: &Request, path: &[u8]) -> usize {
        let Ok(text) = std::str::from_utf8(path) else { return NOT_FOUND };
        let Ok(found) = self.tree.at(text) else { return NOT_FOUND };
        if !found.params.is_empty() {
            let start = request.path_start();
            let values = found.params.iter().map(|(_, value)| {
                let from = start + (value.as_ptr() as usize - path.as_ptr() as usize);
                Span::new(from as u32, (from + value.len()) as u32)
            });
            request.set_parameters(&self.routes[*found.value].parameters, values);
        }
        *found.value
    }

    /// Finds the handler, runs the hooks before it, and begins it. An async or blocking handler takes the request, and
    /// a second hold on it is left in its place.
    pub(crate) fn begin(&self, core: &Core, request: &mut Request) -> Begun {
        let mut ready = None;
        let (route, future) = self.begin_into(core, request, &mut ready);
        Begun { route, outcome: future.map_or_else(|| Outcome::Ready(ready.unwrap_or_default()), Outcome::Pending) }
    }

    /// The same. Without a future the response is `ready`: it is made in the place where it is used, for a response
    /// handed from one to the next costs more than one that is written and read.
    pub(crate) fn begin_into(
        &self,
        core: &Core,
        request: &mut Request,
        ready: &mut Option<Response>,
    ) -> (usize, Option<ResponseFuture>) {
        if core.is_shedding() {
            request.set_route(self.routes[SHED].name);
            *ready = Some(shed(core));
            return (SHED, None);
        }
        let number = self.find(request);
        let route = &self.routes[number];
        request.set_route(route.name);
        core.handle().set_activity(route.name.text);
        let begun = catch_unwind(AssertUnwindSafe(|| route.begin(number, request, ready)));
        let future = begun.unwrap_or_else(|_| {
            *ready = Some(panicked(core));
            None
        });
        (number, future)
    }

    /// Runs a handler that was not ready at once. A panic of it is a 500.
    pub(crate) fn poll(&self, core: &Core, begun: &mut Begun, cx: &mut Context<'_>) -> Poll<Response> {
        let future = match &mut begun.outcome {
            Outcome::Pending(future) => future,
            Outcome::Ready(response) => return Poll::Ready(std::mem::take(response)),
        };
        let polled = self.poll_handler(core, begun.route, future, cx);
        if polled.is_ready() {
            self.forget(core, begun);
        }
        polled
    }

    /// The same, for whoever keeps the handler itself.
    pub(crate) fn poll_handler(
        &self,
        core: &Core,
        route: usize,
        handler: &mut ResponseFuture,
        cx: &mut Context<'_>,
    ) -> Poll<Response> {
        core.handle().set_activity(self.routes[route].name.text);
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(panicked(core)))
    }

    /// Drops the handler that was begun, if it is still at it.
    pub(crate) fn forget(&self, core: &Core, begun: &mut Begun) {
        let former = std::mem::replace(&mut begun.outcome, Outcome::Ready(Response::default()));
        if let Outcome::Pending(handler) = former {
            self.drop_handler(core, handler);
        }
    }

    /// Drops a handler, and with it what it was doing. A panic of that ends nothing else.
    pub(crate) fn drop_handler(&self, core: &Core, handler: ResponseFuture) {
        if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
            core.shared.counters.handler_panics.up();
        }
    }

    /// Runs the hooks behind the handler of a route, and begins the thread of a body that blocking code writes.
    #[inline]
    pub(crate) fn run_after(&self, core: &Core, route: usize, request: &Request, response: &mut Response) {
        let hooks = &self.routes[route].hooks;
        if !hooks.is_empty() {
            let run = || hooks.iter().rev().for_each(|hook| hook.after(request, response));
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                *response = panicked(core);
            }
        }
        blocking::writer::begin(core, request, response);
    }
}

impl Route {
    fn new(number: usize, entry: Entry) -> Self {
        let Entry { path, methods, hooks, arounds, .. } = entry;
        let wrap = |handler: &Rc<Handler>| {
            arounds.iter().rev().fold(handler.clone(), |handler, around| middleware::wrap(around, handler))
        };
        let mut known: [Option<Rc<Handler>>; METHODS.len()] = Default::default();
        let mut extensions = Vec::new();
        for (method, handler) in &methods.handlers {
            match METHODS.iter().position(|candidate| candidate == method) {
                Some(position) => known[position] = Some(wrap(handler)),
                None => extensions.push((method.clone(), wrap(handler))),
            }
        }
        let any = methods.any.as_ref().map(wrap);
        let allowed = |(position, method): (usize, &Method)| {
            let routed = known[position].is_some() || (any.is_some() && *method != Method::CONNECT);
            let implied = *method == Method::OPTIONS || (*method == Method::HEAD && known[0].is_some());
            (routed || implied).then(|| method.as_str().to_owned())
        };
        let mut names: Vec<String> = METHODS.iter().enumerate().filter_map(allowed).collect();
        names.extend(extensions.iter().map(|(method, _)| method.as_str().to_owned()));
        let allow = HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""));
        // Doubled braces are meant literally.
        let parts = path.replace("{{", "").replace("}}", "");
        let parameters =
            parts.split(['{', '}']).skip(1).step_by(2).map(|name| name.trim_start_matches('*').into()).collect();
        Self { name: interned(path, number), known, extensions, any, allow, hooks: hooks.into(), parameters }
    }

    /// The handler of a method; HEAD falls back to GET (RFC 9110 section 9.3.2).
    #[inline]
    fn handler(&self, method: &Method) -> Option<&Rc<Handler>> {
        let position = match *method {
            Method::GET => 0,
            Method::POST => 2,
            Method::HEAD if self.known[1].is_some() => 1,
            Method::HEAD if self.known[0].is_some() => 0,
            _ => match METHODS.iter().position(|known| known == method) {
                Some(position) => position,
                None => {
                    let extension = self.extensions.iter().find(|(known, _)| known == method);
                    return extension.map(|(_, handler)| handler).or(self.any.as_ref());
                }
            },
        };
        match &self.known[position] {
            Some(handler) => Some(handler),
            None if *method == Method::CONNECT => None,
            None => self.any.as_ref(),
        }
    }

    /// The handler that opens WebSockets here: that of GET, as on HTTP/1.1.
    fn websocket(&self) -> Option<&Rc<Handler>> {
        self.handler(&Method::GET).filter(|handler| handler.is_websocket)
    }

    /// The handler for a request. An extended CONNECT asks for the protocol that it names (RFC 8441 section 4).
    fn handler_for(&self, request: &Request) -> Option<&Rc<Handler>> {
        match request.connect_protocol() {
            Some(b"websocket") => self.websocket(),
            Some(_) => None,
            None => self.handler(request.method()),
        }
    }

    fn begin(&self, number: usize, request: &mut Request, ready: &mut Option<Response>) -> Option<ResponseFuture> {
        for hook in self.hooks.iter() {
            *ready = hook.before(request);
            if ready.is_some() {
                return None;
            }
        }
        let Some(handler) = self.handler_for(request) else {
            *ready = Some(self.refuse(number, request));
            return None;
        };
        let handed_over = |request: &mut Request| {
            request.settle();
            let shared = request.share();
            std::mem::replace(request, shared)
        };
        let mut handler = handler;
        loop {
            match &handler.kind {
                Kind::Inline(handler) => {
                    handler(request, ready);
                    return None;
                }
                Kind::Async(handler) => return Some(handler(handed_over(request))),
                Kind::Blocking(handler) => {
                    return Some(Box::pin(blocking::run::run(handler.clone(), handed_over(request))));
                }
                Kind::Socket { open, otherwise } => match (open(handed_over(request)), otherwise) {
                    (Ok(response), _) => {
                        *ready = Some(response);
                        return None;
                    }
                    (Err(returned), Some(other)) => {
                        *request = returned;
                        handler = other;
                    }
                    (Err(_), None) => {
                        *ready = Some(Response::new(StatusCode::UPGRADE_REQUIRED));
                        return None;
                    }
                },
            }
        }
    }

    /// No handler for this method: OPTIONS is answered for the resource, a method nobody knows is 501 (RFC 9110
    /// section 9.1), others are 405 with `Allow` (section 15.5.6), and without any route it is 404.
    fn refuse(&self, number: usize, request: &Request) -> Response {
        let method = request.method();
        if *method == Method::OPTIONS && request.target() == "*" {
            return Response::new(StatusCode::NO_CONTENT)
                .header_value(header::ALLOW, HeaderValue::from_static(SERVER_WIDE));
        }
        let is_elsewhere = request.connect_protocol() == Some(b"websocket") && number == NOT_FOUND;
        if is_elsewhere {
            return Response::text("not found\n").status(StatusCode::NOT_FOUND);
        }
        if *method == Method::CONNECT || !METHODS.contains(method) {
            return Response::text("the method is not implemented\n").status(StatusCode::NOT_IMPLEMENTED);
        }
        if number == NOT_FOUND && self.any.is_none() && self.known.iter().all(Option::is_none) {
            return Response::text("not found\n").status(StatusCode::NOT_FOUND);
        }
        let response = if *method == Method::OPTIONS {
            Response::new(StatusCode::NO_CONTENT)
        } else {
            Response::text("the method is not allowed here\n").status(StatusCode::METHOD_NOT_ALLOWED)
        };
        response.header_value(header::ALLOW, self.allow.clone())
    }
}

/// A route's name and number for the rest of the program. Kept once, however many cores, sites and connections have it:
/// there are applications that are made for one connection.
fn interned(text: String, number: usize) -> &'static RouteName {
    static NAMES: Mutex<Vec<&'static RouteName>> = Mutex::new(Vec::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.binary_search_by(|known| (known.text, known.number).cmp(&(text.as_str(), number))) {
        Ok(place) => names[place],
        Err(place) => {
            let text = match names.iter().find(|known| known.text == text) {
                Some(known) => known.text,
                None => String::leak(text),
            };
            names.insert(place, Box::leak(Box::new(RouteName { text, number })));
            names[place]
        }
    }
}

/// What `OPTIONS *` answers: methods that some resource may have (RFC 9110 section 9.3.7).
const SERVER_WIDE: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Refused before anything is done for it, hooks included.
#[cold]
fn shed(core: &Core) -> Response {
    core.shared.counters.requests_shed.up();
    Response::text("too busy\n")
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header_value(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn panicked(core: &Core) -> Response {
    core.shared.counters.handler_panics.up();
    Response::text("internal error\n").status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Eight bytes a step. Only paths of the program are ever inserted, so nobody can fill a bucket from outside.
#[derive(Default)]
struct PathHasher(u64);

impl Hasher for PathHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut step = |word: u64| self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| step(u64::from_le_bytes(*word)));
        // What is left is read from both its ends, and tells its length.
        let (start, end) = match (rest.first_chunk::<4>(), rest.last_chunk::<4>(), rest) {
            (Some(start), Some(end), _) => (u32::from_le_bytes(*start), u32::from_le_bytes(*end)),
            (.., [start, .., end]) => (u32::from(*start), u32::from(rest[1]) << 8 | u32::from(*end)),
            (.., [only]) => (u32::from(*only), 0),
            (.., []) => (0, 0),
        };
        step(u64::from(start) << 32 ^ u64::from(end) ^ (rest.len() as u64) << 28);
    }

    /// The length that slices hash is in the remainder already.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_made_anew_keeps_no_new_names() {
        let make = || Table::new(App::new().route("/one/{name}", |_: &Request| "").route("/two", |_: &Request| "")).0;
        let (first, second) = (make(), make());
        // Two of them, and those for what is not found and what is shed.
        assert_eq!(first.routes.len(), 4);
        for (one, other) in first.routes.iter().zip(&second.routes) {
            assert!(std::ptr::eq(one.name, other.name), "{}", one.name.text);
        }
    }
}
