//! One executor per core, started and stopped together.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::driver::DriverReport;
use crate::executor::{Counters, Executor, ExecutorConfig, Handle};
use crate::sys::affinity::pin_current_thread;
use crate::sys::machine::Machine;
use crate::sys::placement::{Placement, assign};

/// Executors on threads of their own, each pinned where its [`Placement`] says, each running the same program.
///
/// ```
/// use ringgate_runtime::executor::ExecutorConfig;
/// use ringgate_runtime::pool::ExecutorPool;
/// use ringgate_runtime::sys::placement::Placement;
/// let pool = ExecutorPool::start(&Placement::Unpinned { count: 2 }, &ExecutorConfig::default(), |handle, stop| async move {
///     stop.await;
///     handle.core()
/// })?;
/// pool.stop();
/// assert_eq!(pool.join()?, [0, 1]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ExecutorPool<T> {
    threads: Vec<thread::JoinHandle<Option<T>>>,
    cores: Vec<PooledCore>,
    stop: Stop,
}

/// What is known of one core of a pool.
#[derive(Clone, Debug)]
pub struct PooledCore {
    /// The CPU its thread is pinned to.
    pub cpu: Option<usize>,
    /// Which driver it runs on, and why.
    pub report: DriverReport,
    /// Its counters.
    pub counters: Arc<Counters>,
}

/// Asked to stop: a future that is ready once [`ExecutorPool::stop`] was called. Clones wait for the same call; one that
/// is polled after it was asked is ready at once, as often as it is polled.
///
/// ```
/// use ringgate_runtime::executor::{Executor, ExecutorConfig};
/// use ringgate_runtime::pool::Stop;
/// use std::{thread, time::Duration};
/// let mut executor = Executor::new(ExecutorConfig::default())?;
/// let stop = Stop::new();
/// let asker = thread::spawn({
///     let stop = stop.clone();
///     move || {
///         thread::sleep(Duration::from_millis(10));
///         stop.ask();
///     }
/// });
/// executor.block_on(stop.clone()); // whatever else runs here goes on meanwhile
/// assert!(stop.is_asked());
/// asker.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Stop {
    shared: Arc<StopShared>,
    /// Where this clone's waker stands in the list.
    place: Option<usize>,
}

#[derive(Default)]
struct StopShared {
    asked: AtomicBool,
    wakers: Mutex<Vec<Option<Waker>>>,
}

impl Stop {
    /// A request to stop that nobody has made yet, for programs without a pool.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::default(), place: None }
    }

    /// Asks all that wait to stop. From any thread; twice is once.
    pub fn ask(&self) {
        self.shared.asked.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Stop {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), place: None }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("asked", &self.is_asked()).finish()
    }
}

impl Future for Stop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut wakers = shared.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: `ask` sets the flag before it takes the list.
        if self.is_asked() {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or_else(|| {
            wakers.iter().position(Option::is_none).unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        self.place = Some(place);
        match &wakers[place] {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => wakers[place] = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut wakers = self.shared.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = wakers.get_mut(place) {
                *waker = None;
            }
        }
    }
}

/// Pins the thread and starts its executor: memory is first touched where it will be used.
fn set_up(cpu: Option<usize>, config: ExecutorConfig) -> io::Result<(Executor, PooledCore)> {
    if let Some(cpu) = cpu {
        pin_current_thread(cpu)?;
    }
    let executor = Executor::new(config)?;
    let handle = executor.handle();
    let known = PooledCore { cpu, report: handle.driver_report(), counters: handle.counters() };
    Ok((executor, known))
}

impl<T: Send + 'static> ExecutorPool<T> {
    /// Starts an executor per core and runs `program` on each; returns when all drivers are up.
    ///
    /// # Errors
    /// When the placement does not fit the machine, or an executor cannot start: those that have are stopped again.
    pub fn start<P, F>(placement: &Placement, config: &ExecutorConfig, program: P) -> io::Result<Self>
    where
        P: Fn(Handle, Stop) -> F + Clone + Send + 'static,
        F: Future<Output = T>,
    {
        let cpus = assign(placement, &Machine::read()?).map_err(io::Error::other)?;
        let stop = Stop::new();
        let mut pool = Self { threads: Vec::new(), cores: Vec::new(), stop: stop.clone() };
        for (core, cpu) in cpus.into_iter().enumerate() {
            let (started, start) = mpsc::channel();
            let config = ExecutorConfig { core, ..config.clone() };
            let (program, stop) = (program.clone(), stop.clone());
            let spawned = thread::Builder::new().name(format!("ringgate-{core}")).spawn(move || {
                // The starter waits for this message; it is gone only if it panicked.
                let set_up = set_up(cpu, config);
                let mut executor = match set_up {
                    Ok((executor, known)) => {
                        let _ = started.send(Ok(known));
                        executor
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return None;
                    }
                };
                let program = program(executor.handle(), stop);
                Some(executor.block_on(program))
            });
            let started = spawned.and_then(|thread| {
                pool.threads.push(thread);
                start.recv().unwrap_or_else(|_| Err(io::Error::other("an executor's thread ended while starting")))
            });
            match started {
                Ok(known) => pool.cores.push(known),
                Err(error) => {
                    pool.stop();
                    let _ = pool.join();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    /// What is known of each core.
    #[must_use]
    pub fn cores(&self) -> &[PooledCore] {
        &self.cores
    }

    /// Asks all programs to stop; they decide how.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Waits for all programs and gives their results in the order of the cores.
    ///
    /// # Errors
    /// When a program panicked.
    pub fn join(self) -> io::Result<Vec<T>> {
        let mut outputs = Vec::with_capacity(self.threads.len());
        let mut panicked = false;
        for thread in self.threads {
            match thread.join() {
                Ok(output) => outputs.extend(output),
                Err(_) => panicked = true,
            }
        }
        if panicked { Err(io::Error::other("a core's program panicked")) } else { Ok(outputs) }
    }
}
