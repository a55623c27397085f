//! The threads and their queue.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    offload::answer::{Offloaded, Queue, Ran, Runnable, Slot},
    sys::{
        affinity::{current_thread_cpus, set_current_thread_cpus},
        policy::wake_without_preempting,
    },
};

/// How large a crew may get, and where it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrewConfig {
    /// Threads at most; 0 counts as 1. Blocking jobs mostly wait, so more than there are CPUs is right.
    pub threads_max: usize,
    /// Jobs that may wait for a thread. 0: a job is taken only if a thread is free or may be started.
    pub queue_max: usize,
    /// A thread without work leaves after this.
    pub idle_timeout_ms: u64,
    /// The CPUs the threads may run on. `None`: those that the thread which makes the crew may use at that moment, so
    /// make the crew before executors are pinned. A thread never keeps the pinning of the core that happened to start
    /// it: it would compete with that core for its one CPU.
    pub cpus: Option<Vec<usize>>,
}

impl Default for CrewConfig {
    /// 64 threads, 1024 waiting jobs (what 64 threads clear in a second if a job takes 60 ms), 10 s.
    fn default() -> Self {
        Self { threads_max: 64, queue_max: 1024, idle_timeout_ms: 10_000, cpus: None }
    }
}

/// The job was not taken: the queue is full, no thread could be started, or the crew is shutting down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the crew for blocking work is full")
    }
}

impl std::error::Error for Full {}

/// What a crew does and has done, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CrewCounters {
    /// Threads alive.
    pub threads: u64,
    /// Threads that run a job.
    pub busy: u64,
    /// Jobs that wait for a thread.
    pub queued: u64,
    /// Jobs that ended, panicked ones too, since the crew was made.
    pub ran: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Jobs that were not taken.
    pub refused: u64,
    /// Jobs that were taken but not run, because the asker dropped [`Offloaded`] or the crew was shut down.
    pub forgotten: u64,
}

/// How a shutdown ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Jobs that were still waiting at the deadline and were not run.
    pub abandoned: usize,
    /// Jobs that were still running at the deadline. They go on; nobody waits for them.
    pub running: usize,
}

/// A bounded crew of threads; shared by all cores of a gateway. When the last clone is dropped, the threads finish what
/// is queued and leave.
///
/// ```
/// use std::{pin::pin, task::{Context, Poll, Waker}, time::{Duration, Instant}};
/// use ringgate_runtime::offload::{Crew, CrewConfig};
/// let crew = Crew::new(CrewConfig::default());
/// let mut sum = pin!(crew.run(|| 1 + 1).unwrap()); // on a core: `.await`
/// let drained = crew.shutdown(Instant::now() + Duration::from_secs(10));
/// assert_eq!((drained.abandoned, drained.running), (0, 0));
/// let Poll::Ready(answer) = sum.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
/// assert_eq!(answer.unwrap(), 2);
/// ```
#[derive(Clone)]
pub struct Crew {
    door: Arc<Door>,
}

/// Shared by the clones of a crew only: when it is dropped, nobody can ask for work any more.
struct Door {
    shared: Arc<Shared>,
}

struct Shared {
    config: CrewConfig,
    roster: Mutex<Roster>,
    /// Signalled when there is work, or the end has come.
    work: Condvar,
    /// Signalled when a thread ends.
    left: Condvar,
}

struct Roster {
    queue: VecDeque<Arc<dyn Runnable>>,
    threads: usize,
    /// Threads without a job, from the moment they are started: each takes one from the queue without anybody waiting.
    free: usize,
    started: u64,
    ending: bool,
    ran: u64,
    panicked: u64,
    refused: u64,
    forgotten: u64,
}

impl Crew {
    /// A crew with no thread yet; threads start when work comes.
    pub fn new(config: CrewConfig) -> Self {
        let cpus = config.cpus.or_else(|| current_thread_cpus().ok());
        let config = CrewConfig { threads_max: config.threads_max.max(1), cpus, ..config };
        let roster = Roster {
            queue: VecDeque::new(),
            threads: 0,
            free: 0,
            started: 0,
            ending: false,
            ran: 0,
            panicked: 0,
            refused: 0,
            forgotten: 0,
        };
        let shared = Shared { config, roster: Mutex::new(roster), work: Condvar::new(), left: Condvar::new() };
        Self { door: Arc::new(Door { shared: Arc::new(shared) }) }
    }

    /// Hands a job over, or says at once that it was not taken (the job is dropped then). Jobs begin in the order they
    /// came. Starting a thread, which happens while the crew grows, costs the caller some 50 µs.
    ///
    /// # Errors
    /// [`Full`].
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<Offloaded<T>, Full> {
        let slot = Slot::new(Box::new(job));
        let shared = &self.door.shared;
        shared.take(slot.clone())?;
        Ok(Offloaded::new(slot, shared.clone()))
    }

    /// Ends the crew: takes no more jobs, runs those that wait, and returns when all threads have left or at the
    /// deadline, whichever is first. At the deadline, waiting jobs are answered with
    /// [`ShutDown`](crate::offload::answer::ShutDown). Blocks; a job of this crew that calls it waits for itself until
    /// the deadline.
    pub fn shutdown(&self, deadline: Instant) -> Drained {
        let shared = &self.door.shared;
        let mut roster = shared.lock();
        roster.ending = true;
        shared.work.notify_all();
        while roster.threads > 0 {
            let Some(remaining) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                break;
            };
            roster = shared.left.wait_timeout(roster, remaining).unwrap_or_else(PoisonError::into_inner).0;
        }
        let abandoned = std::mem::take(&mut roster.queue);
        roster.forgotten += abandoned.len() as u64;
        let running = roster.threads - roster.free;
        drop(roster);
        abandoned.iter().for_each(|job| job.abandon());
        Drained { abandoned: abandoned.len(), running }
    }

    /// The counters now.
    pub fn counters(&self) -> CrewCounters {
        let roster = self.door.shared.lock();
        CrewCounters {
            threads: roster.threads as u64,
            busy: (roster.threads - roster.free) as u64,
            queued: roster.queue.len() as u64,
            ran: roster.ran,
            panicked: roster.panicked,
            refused: roster.refused,
            forgotten: roster.forgotten,
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("config", &self.door.shared.config).field("counters", &self.counters()).finish()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// No foreign code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, job: Arc<dyn Runnable>) -> Result<(), Full> {
        let mut roster = self.lock();
        let may_grow = roster.threads < self.config.threads_max;
        let needs_thread = roster.queue.len() >= roster.free;
        let waiting = roster.queue.len().saturating_sub(roster.free);
        let refused = roster.ending || (needs_thread && !may_grow && waiting >= self.config.queue_max);
        // Under the lock: growing is rare, and another core must not count on a thread that then fails to start. Where
        // it fails (limits of the system), the threads there are do the work, if there are any.
        let refused = refused
            || (needs_thread && may_grow && !self.start_thread(&mut roster) && {
                roster.threads == 0 || waiting >= self.config.queue_max
            });
        if refused {
            roster.refused += 1;
            drop(roster);
            return Err(Full);
        }
        roster.queue.push_back(job);
        drop(roster);
        self.work.notify_one();
        Ok(())
    }

    fn start_thread(self: &Arc<Self>, roster: &mut Roster) -> bool {
        let shared = self.clone();
        // The kernel keeps 15 bytes of a name.
        let name = format!("crew-{}", roster.started);
        if thread::Builder::new().name(name).spawn(move || shared.work()).is_err() {
            return false;
        }
        roster.started += 1;
        roster.threads += 1;
        roster.free += 1;
        true
    }

    /// The life of one thread.
    fn work(&self) {
        if let Some(cpus) = &self.config.cpus {
            // If they have all gone offline, running where the core runs is better than not at all.
            let _ = set_current_thread_cpus(cpus);
        }
        // A thread that wakes for a job, or from what its job waited for, would interrupt a core that shares its CPU in
        // the middle of a turn. Where that is forbidden, it does.
        let _ = wake_without_preempting();
        let mut roster = self.lock();
        let mut idle_until = self.idle_until();
        loop {
            if let Some(job) = roster.queue.pop_front() {
                roster.free -= 1;
                drop(roster);
                let ran = job.run();
                // The last reference may drop what the job's slot holds: not under the lock.
                drop(job);
                idle_until = self.idle_until();
                roster = self.lock();
                roster.free += 1;
                roster.count(ran);
                continue;
            }
            let remaining = idle_until.saturating_duration_since(Instant::now());
            if roster.ending || remaining.is_zero() {
                break;
            }
            roster = self.work.wait_timeout(roster, remaining).unwrap_or_else(PoisonError::into_inner).0;
        }
        roster.threads -= 1;
        roster.free -= 1;
        drop(roster);
        self.left.notify_all();
    }

    fn idle_until(&self) -> Instant {
        // A year stands for "never": the sum must not overflow.
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        Instant::now() + Duration::from_millis(self.config.idle_timeout_ms.min(YEAR_MS))
    }
}

impl Roster {
    fn count(&mut self, ran: Ran) {
        match ran {
            Ran::Forgotten => self.forgotten += 1,
            Ran::Returned => self.ran += 1,
            Ran::Panicked => {
                self.ran += 1;
                self.panicked += 1;
            }
        }
    }
}

impl Queue for Shared {
    /// The queue is bounded, so the search is; it leaves no gap that would count against `queue_max`.
    fn remove(&self, job: *const ()) {
        let mut roster = self.lock();
        let place = roster.queue.iter().position(|waiting| Arc::as_ptr(waiting).cast::<()>() == job);
        let removed = place.and_then(|place| roster.queue.remove(place));
        roster.forgotten += u64::from(removed.is_some());
        drop(roster);
    }
}
