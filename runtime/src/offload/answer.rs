//! One job, its answer, and who owns which when.
//!
//! ```text
//!              begin()              finish()              poll()
//!   Waiting ─────────────► Running ─────────────► Done ─────────────► Taken
//!      │  drop of Offloaded   │  drop of Offloaded   │  drop of Offloaded
//!      └──────────► Forgotten ◄┴─────────────────────┘
//! ```
//! The job lies in the slot until a thread begins it: a forgotten job is dropped at once, by the core that forgot it. A
//! running job cannot be stopped; its answer, when forgotten, is dropped on the crew's thread. The lock is held for
//! moves of a few words only, never while a job, a waker or a foreign `Drop` runs.

use std::{
    any::Any,
    fmt,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The job panicked, and the panic was contained; or it was never run because the crew shut down first, and the payload
/// is [`ShutDown`].
pub struct Panicked(
    /// what the panic carried
    pub Box<dyn Any + Send>,
);

/// Payload of [`Panicked`] for a job that was still waiting when its crew was shut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutDown;

impl Panicked {
    /// What the panic said, if it was a text.
    pub fn message(&self) -> Option<&str> {
        let text = self.0.downcast_ref::<&str>().copied();
        text.or_else(|| self.0.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panicked").field(&self.message()).finish()
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is::<ShutDown>() {
            return f.write_str("the crew was shut down before the job began");
        }
        write!(f, "the job panicked: {}", self.message().unwrap_or("(no text)"))
    }
}

impl std::error::Error for Panicked {}

type Job<T> = Box<dyn FnOnce() -> T + Send>;

enum State<T> {
    Waiting {
        job: Job<T>,
        asker: Option<Waker>,
    },
    Running {
        asker: Option<Waker>,
    },
    Done(Result<T, Panicked>),
    /// Nobody waits for the answer.
    Forgotten,
    /// The answer was given.
    Taken,
}

/// The place that the asker and the crew share.
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
}

/// What a thread of the crew sees of a job.
pub(super) trait Runnable: Send + Sync {
    /// Runs the job unless it was forgotten. Nothing unwinds out of here.
    fn run(&self) -> Ran;
    /// Answers without running.
    fn abandon(&self);
}

/// What became of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ran {
    Returned,
    Panicked,
    /// The asker forgot it before it began.
    Forgotten,
}

impl<T: Send + 'static> Slot<T> {
    pub(super) fn new(job: Job<T>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Waiting { job, asker: None }) })
    }

    fn begin(&self) -> Option<Job<T>> {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Forgotten) {
            State::Waiting { job, asker } => {
                *state = State::Running { asker };
                Some(job)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    fn finish(&self, answer: Result<T, Panicked>) {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Forgotten) {
            State::Waiting { asker, .. } | State::Running { asker } => {
                *state = State::Done(answer);
                drop(state);
                if let Some(asker) = asker {
                    contained(|| asker.wake());
                }
            }
            other => {
                *state = other;
                drop(state);
                contained(|| drop(answer));
            }
        }
    }
}

impl<T> Slot<T> {
    /// A panic cannot happen under this lock; if it did, the state would still be whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Runnable for Slot<T> {
    fn run(&self) -> Ran {
        let Some(job) = self.begin() else { return Ran::Forgotten };
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(answer) => {
                self.finish(Ok(answer));
                Ran::Returned
            }
            Err(payload) => {
                self.finish(Err(Panicked(payload)));
                Ran::Panicked
            }
        }
    }

    fn abandon(&self) {
        if let Some(job) = self.begin() {
            contained(|| drop(job));
            self.finish(Err(Panicked(Box::new(ShutDown))));
        }
    }
}

/// Runs foreign code (a `Drop`, a waker) that must not take the thread down. A payload that panics when dropped is
/// leaked.
fn contained(code: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(code)) {
        mem::forget(payload);
    }
}

/// Tells the queue that a job which has not begun is wanted no more.
pub(super) trait Queue: Send + Sync {
    fn remove(&self, job: *const ());
}

/// The answer of a job, on the core that asked. Dropping it forgets the answer: a job that has not begun is not run and
/// leaves the queue; the answer of a running one is dropped on the crew's thread.
#[must_use = "a job whose answer is dropped before it began is not run"]
pub struct Offloaded<T> {
    slot: Arc<Slot<T>>,
    queue: Arc<dyn Queue>,
}

impl<T> Offloaded<T> {
    pub(super) fn new(slot: Arc<Slot<T>>, queue: Arc<dyn Queue>) -> Self {
        Self { slot, queue }
    }

    /// Whether the job has ended: the answer is there, or was taken already.
    pub fn is_finished(&self) -> bool {
        matches!(*self.slot.lock(), State::Done(_) | State::Taken)
    }
}

impl<T> Future for Offloaded<T> {
    type Output = Result<T, Panicked>;

    /// # Panics
    /// When polled again after the answer was given.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        let outdated = match &mut *state {
            State::Waiting { asker, .. } | State::Running { asker } => match asker {
                Some(known) if known.will_wake(cx.waker()) => None,
                _ => asker.replace(cx.waker().clone()),
            },
            finished => match mem::replace(finished, State::Taken) {
                State::Done(answer) => return Poll::Ready(answer),
                _ => {
                    drop(state);
                    panic!("the answer of an offloaded job was taken already");
                }
            },
        };
        drop(state);
        drop(outdated);
        Poll::Pending
    }
}

impl<T> Drop for Offloaded<T> {
    fn drop(&mut self) {
        let forgotten = mem::replace(&mut *self.slot.lock(), State::Forgotten);
        if let State::Waiting { .. } = forgotten {
            self.queue.remove(Arc::as_ptr(&self.slot).cast());
        }
    }
}

impl<T> fmt::Debug for Offloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match *self.slot.lock() {
            State::Waiting { .. } => "waiting",
            State::Running { .. } => "running",
            State::Done(_) => "done",
            State::Forgotten => "forgotten",
            State::Taken => "taken",
        };
        f.debug_tuple("Offloaded").field(&state).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
        thread,
    };

    use super::*;

    /// What a thread of the crew does with one job, and the asker meanwhile, in whatever order the two come.
    fn cross(asker: impl FnOnce(Offloaded<Box<usize>>)) {
        struct Empty;
        impl Queue for Empty {
            fn remove(&self, _job: *const ()) {}
        }
        let slot = Slot::new(Box::new(|| Box::new(7_usize)));
        let job: Arc<dyn Runnable> = slot.clone();
        let crew = thread::spawn(move || job.run());
        asker(Offloaded::new(slot, Arc::new(Empty)));
        crew.join().unwrap();
    }

    #[test]
    fn the_asker_is_woken_unless_it_finds_the_answer() {
        #[derive(Default)]
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        cross(|answer| {
            let (mut answer, woken) = (Box::pin(answer), Arc::new(Woken::default()));
            let waker = Waker::from(woken.clone());
            let mut poll = || answer.as_mut().poll(&mut Context::from_waker(&waker));
            let mut answered = poll();
            if answered.is_pending() {
                while woken.0.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
                answered = poll();
            }
            assert!(matches!(answered, Poll::Ready(Ok(seven)) if *seven == 7));
        });
    }

    #[test]
    fn an_answer_may_be_forgotten_at_any_moment() {
        cross(drop);
        cross(|mut answer| {
            let _ = Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop()));
        });
    }
}
