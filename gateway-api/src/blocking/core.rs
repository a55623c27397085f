//! What a thread can ask of the core that it works for, whatever became of the socket it was called with.

use crate::{
    blocking::topic::Topic,
    core::Core as OwnCore,
    counters::Metrics,
    websocket::{Prepared, Subscription, socket::Socket},
};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    rc::{Rc, Weak as LocalWeak},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    task::{Poll, Waker},
};

/// One core of a gateway, as a thread of the crew sees it: the mirror of [`Core`](crate::Core). Every question is put to
/// the core and blocks until it is answered. Cheap to clone; any thread may hold it, but no task of a core, which would
/// wait for itself.
///
/// What belongs to tasks of the core has no mirror: its executor, and the application's state, which need not be `Send`.
/// What threads are to share is captured by their handlers.
/// ```
/// use ringgate::{App, blocking};
/// fn count(mut socket: blocking::WebSocket) {
///     let core = socket.core().clone();
///     let line = format!("{} sockets here", core.metrics().get("websockets_open").unwrap_or(0));
///     let _ = socket.send(line);
/// }
/// # let app = App::new().route("/count", count);
/// # mod client { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/ask.in")); }
/// # assert_eq!(client::converse(app, "/count", &[]), ["1 sockets here"]);
/// ```
#[derive(Clone)]
pub struct Core {
    knob: Arc<Knob>,
}

impl Core {
    /// The core's handle for threads.
    pub(super) fn of(core: &OwnCore) -> Self {
        let sockets = core.shared.extension(Sockets::default);
        let known = sockets.knob.borrow().upgrade();
        let knob = known.unwrap_or_else(|| {
            let door = Arc::new(Door::default());
            let answering = answer(Answering(door.clone()), core.clone(), sockets.clone());
            core.handle().spawn("threads", answering).detach();
            let knob = Arc::new(Knob { door, index: core.index(), metrics: core.metrics().clone() });
            *sockets.knob.borrow_mut() = Arc::downgrade(&knob);
            knob
        });
        Self { knob }
    }

    /// This core's number, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.knob.index
    }

    /// The counters of all cores.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.knob.metrics
    }

    /// True once the gateway is told to stop: long exchanges should come to their end. Blocks.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.ask(Question::IsDraining).unwrap_or(true)
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        Topic::new(self.clone(), name)
    }

    /// Puts a question to the core, and blocks for its answer: `None` when the core is gone.
    pub(super) fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Question) -> Option<T> {
        let (sender, receiver) = sync_channel(1);
        self.tell(question(sender));
        receiver.recv().ok()
    }

    /// Tells the core something. Nothing is waited for.
    pub(super) fn tell(&self, question: Question) {
        let mut state = self.knob.door.lock();
        if state.is_shut {
            return;
        }
        state.questions.push_back(question);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// A number that nobody else has.
    pub(super) fn number(&self) -> u64 {
        self.knob.door.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("index", &self.index()).finish_non_exhaustive()
    }
}

/// What threads ask and tell.
pub(super) enum Question {
    IsDraining(SyncSender<bool>),
    Subscribers { topic: Arc<str>, answer: SyncSender<usize> },
    Subscribe { topic: Arc<str>, socket: u64, place: u64, answer: SyncSender<()> },
    Unsubscribe { place: u64 },
    Publish { topic: Arc<str>, message: Prepared, answer: SyncSender<usize> },
}

/// Held by threads only: with the last of them the door is shut.
struct Knob {
    door: Arc<Door>,
    index: usize,
    metrics: Metrics,
}

impl Drop for Knob {
    fn drop(&mut self) {
        self.door.shut();
    }
}

/// Where threads leave their questions. As each of them waits for its answer, there are no more than threads; what is only
/// told is the end of something that was asked for.
#[derive(Default)]
struct Door {
    state: Mutex<DoorState>,
    next: AtomicU64,
}

#[derive(Default)]
struct DoorState {
    questions: VecDeque<Question>,
    waker: Option<Waker>,
    is_shut: bool,
}

impl Door {
    /// Every change is complete before a call that could panic, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, DoorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut(&self) {
        let mut state = self.lock();
        state.is_shut = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// The next question; `None` when nobody is left who could ask.
    async fn next(&self) -> Option<Question> {
        poll_fn(|cx| {
            let mut state = self.lock();
            match state.questions.pop_front() {
                Some(question) => Poll::Ready(Some(question)),
                None if state.is_shut => Poll::Ready(None),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// The core's side: when it goes, with its core, whoever waits for an answer is told.
struct Answering(Arc<Door>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.shut();
        drop(std::mem::take(&mut self.0.lock().questions));
    }
}

/// A core's sockets that are held by threads.
#[derive(Default)]
pub(super) struct Sockets {
    knob: RefCell<Weak<Knob>>,
    known: RefCell<HashMap<u64, LocalWeak<Socket>>>,
    next: Cell<u64>,
}

/// A socket's place among those that threads can name.
pub(super) struct SocketNumber {
    number: u64,
    sockets: Rc<Sockets>,
}

impl SocketNumber {
    pub(super) fn of(core: &OwnCore, socket: &Rc<Socket>) -> Self {
        let sockets = core.shared.extension(Sockets::default);
        let number = sockets.next.get();
        sockets.next.set(number + 1);
        sockets.known.borrow_mut().insert(number, Rc::downgrade(socket));
        Self { number, sockets }
    }

    pub(super) fn get(&self) -> u64 {
        self.number
    }
}

impl Drop for SocketNumber {
    fn drop(&mut self) {
        self.sockets.known.borrow_mut().remove(&self.number);
    }
}

/// Answers the threads of a core, one question after the other.
async fn answer(answering: Answering, core: OwnCore, sockets: Rc<Sockets>) {
    let mut places: HashMap<u64, Subscription> = HashMap::new();
    while let Some(question) = answering.0.next().await {
        // An answer that nobody waits for any more is lost, and may be.
        match question {
            Question::IsDraining(answer) => {
                let _ = answer.try_send(core.is_draining());
            }
            Question::Subscribers { topic, answer } => {
                let _ = answer.try_send(core.topic(&topic).subscribers());
            }
            Question::Subscribe { topic, socket, place, answer } => {
                let socket = sockets.known.borrow().get(&socket).and_then(LocalWeak::upgrade);
                if let Some(socket) = socket {
                    places.insert(place, core.topic(&topic).enter(&socket));
                }
                let _ = answer.try_send(());
            }
            Question::Unsubscribe { place } => drop(places.remove(&place)),
            Question::Publish { topic, message, answer } => {
                let _ = answer.try_send(core.topic(&topic).publish(message).await);
            }
        }
    }
}
