//! A request on a thread of the crew.

use crate::{
    blocking::{body::Body, core::Core},
    features::{Features, HintsForm, PushForm},
    request::{Values, View, accessors},
};
use http::{HeaderValue, Method};
use ringgate_protocols::http::head::Head;
use ringgate_runtime::net::Address;
use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    task::Waker,
    time::{Duration, Instant},
};

/// A request on a thread of the crew: the mirror of the async `Request`. The head is a copy, so that it can leave the
/// core; the body comes through a bounded pipe.
///
/// What belongs to tasks of the core has no mirror: its executor, and the application's state, which need not be `Send`.
/// What threads are to share is captured by their handlers:
/// ```
/// use ringgate::{App, blocking};
/// use std::sync::{Arc, Mutex};
/// let visitors = Arc::new(Mutex::new(Vec::new()));
/// let app = App::new().route("/visit/{name}", move |request: blocking::Request| {
///     let mut visitors = visitors.lock().unwrap();
///     visitors.push(request.param("name").unwrap_or_default().into_owned());
///     format!("number {}\n", visitors.len())
/// });
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert!(client::ask(app, "GET /visit/Ada HTTP/1.1", "").ends_with("number 1\n"));
/// ```
pub struct Request {
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
    pub(crate) features: Features,
    pub(crate) deadline: Option<Instant>,
    pub(crate) route: Option<&'static str>,
    pub(crate) parameters: Vec<(Box<str>, String)>,
    pub(crate) values: Values,
    pub(crate) peer: Option<Address>,
    pub(crate) local: Option<Address>,
    pub(crate) body: Body,
    pub(crate) line: Arc<Line>,
}

/// What thread and core tell each other besides the body.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) disconnected: AtomicBool,
    /// Made when it is asked for.
    pub(crate) core: OnceLock<Core>,
    asked: Mutex<Asked>,
}

/// What a thread wants of the core.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) links: Vec<HeaderValue>,
    pub(crate) pushes: Vec<(String, SyncSender<PushForm>)>,
    pub(crate) core: bool,
    /// Set by the thread; for the hooks behind it.
    pub(crate) values: Values,
    pub(crate) waker: Option<Waker>,
    /// The response has begun, or nobody will see one.
    is_over: bool,
}

impl Line {
    /// Every change is complete before a call that could panic, so a poisoned lock is still good.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and wakes the core to attend to it.
    fn ask<T>(&self, ask: impl FnOnce(&mut Asked) -> T) -> T {
        let mut asked = self.lock();
        let answer = ask(&mut asked);
        let waker = asked.waker.take();
        drop(asked);
        waker.into_iter().for_each(Waker::wake);
        answer
    }

    /// Nothing is done for the exchange any more; who waits for it is told.
    pub(crate) fn end(&self) {
        let mut asked = self.lock();
        asked.is_over = true;
        asked.pushes.clear();
    }
}

impl Request {
    fn view(&self) -> View<'_> {
        View::Spans(&self.head, &self.bytes)
    }

    /// The method, RFC 9110 section 9.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The protocol this request came by, as a version of the `http` crate. See [`Request::protocol`].
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.head.version
    }

    /// What is possible for this request.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// The route that matched, as it was written in the application.
    #[must_use]
    pub fn route(&self) -> Option<&'static str> {
        self.route
    }

    /// A parameter of the path, percent-decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.parameters.iter().find(|(known, _)| **known == *name)?;
        Some(Cow::Borrowed(&found.1))
    }

    /// The other end, if it has an address.
    #[must_use]
    pub fn peer_address(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    /// Our end.
    #[must_use]
    pub fn local_address(&self) -> Option<&Address> {
        self.local.as_ref()
    }

    /// When the response must have begun, if `request_timeout_ms` is set. By the clock of threads: cores have their own.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time from now to the deadline, if there is one.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The core this request is on: its topics and counters. Blocks when it is asked for the first time.
    ///
    /// ```
    /// use ringgate::{App, blocking, post};
    /// fn announce(mut request: blocking::Request) -> std::io::Result<String> {
    ///     let news = std::io::read_to_string(request.body_mut())?;
    ///     let heard = request.core().topic("news").publish(news);
    ///     Ok(format!("{heard} sockets of this core have it\n"))
    /// }
    /// # let app = App::new().route("/announce", post(announce));
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "POST /announce HTTP/1.1", "news").ends_with("0 sockets of this core have it\n"));
    /// ```
    #[must_use]
    pub fn core(&self) -> &Core {
        if self.line.core.get().is_none() {
            self.line.ask(|asked| asked.core = true);
        }
        self.line.core.wait()
    }

    /// Keeps a value with this request, one per type: hooks behind the handler can ask for it.
    pub fn set_value<T: Send + Sync + 'static>(&self, value: T) {
        self.line.lock().values.set(value);
    }

    /// The value of type `T` kept with this request.
    #[must_use]
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let ours = self.line.lock().values.get();
        ours.or_else(|| self.values.get())
    }

    /// Tells the client early what the response will link to. What cannot go out as 103 becomes `Link` fields of the
    /// final response; the answer says which.
    pub fn early_hints(&self, links: impl IntoIterator<Item = HeaderValue>) -> HintsForm {
        self.line.ask(|asked| match asked.is_over {
            true => HintsForm::Dropped,
            false => {
                asked.links.extend(links);
                if self.features.early_hints { HintsForm::Interim } else { HintsForm::LinkField }
            }
        })
    }

    /// Sends the client what it will ask for next: the response to `GET path`, made by this application's own handler,
    /// or else an early hint to fetch it. Blocks until the core has said which. See
    /// [`Request::push`](crate::Request::push).
    pub fn push(&self, path: &str) -> PushForm {
        let (answer, form) = sync_channel(1);
        self.line.ask(|asked| {
            if !asked.is_over {
                asked.pushes.push((path.to_owned(), answer));
            }
        });
        form.recv().unwrap_or(PushForm::Hinted(HintsForm::Dropped))
    }

    /// Whether the client went away, or the gateway gave the exchange up: nobody will see the response. A thread cannot be
    /// ended from outside; long work looks here from time to time.
    ///
    /// ```
    /// use ringgate::{App, blocking};
    /// fn primes(request: blocking::Request) -> String {
    ///     let is_prime = |number: &u32| (2..).take_while(|divisor| divisor * divisor <= *number).all(|divisor| number % divisor != 0);
    ///     let found = (2..20_000).take_while(|_| !request.is_disconnected()).filter(is_prime).count();
    ///     format!("{found} primes\n")
    /// }
    /// # let app = App::new().route("/primes", primes);
    /// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
    /// # assert!(client::ask(app, "GET /primes HTTP/1.1", "").ends_with("2262 primes\n"));
    /// ```
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.line.disconnected.load(Ordering::Acquire)
    }

    /// The body, to be read.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// The body, without the head.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }
}

accessors!(Request);
