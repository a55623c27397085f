//! Tasks of one core: joining, cancelling, letting go; who is dropped when; wakers that outlive everything.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use ringgate_runtime::driver::sim::SimConfig;
use ringgate_runtime::executor::{Executor, ExecutorConfig, Handle, Turn};
use ringgate_runtime::task::JoinHandle;

fn executor() -> Executor {
    Executor::simulated(ExecutorConfig::default(), SimConfig::new(0)).0
}

/// One that threads wake. Miri knows no driver of the kernel's: there it is a simulated one, and somebody on it has to stay
/// awake as long as nothing but a thread can go on.
fn executor_for_threads() -> Executor {
    if cfg!(miri) { executor() } else { Executor::new(ExecutorConfig::default()).unwrap() }
}

/// Rounds of a test: enough for chance to find what it looks for, or as many as Miri, some thousand times slower, can do.
/// It looks at each of them, and is run with several seeds.
const fn rounds(many: u32, few: u32) -> u32 {
    if cfg!(miri) { few } else { many }
}

/// Writes its name into a log when it is dropped.
struct Noisy(&'static str, Rc<RefCell<Vec<&'static str>>>);

impl Drop for Noisy {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

#[test]
fn a_future_goes_before_its_output_comes() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut executor = executor();
    let handle = executor.handle();
    executor.block_on(async {
        let inside = Noisy("future", Rc::clone(&log));
        let output = Noisy("output", Rc::clone(&log));
        let task = handle.spawn("t", async move {
            let _inside = inside;
            Some(output)
        });
        handle.yield_now().await;
        handle.yield_now().await;
        assert!(task.is_finished());
        assert_eq!(*log.borrow(), ["future"]);
        drop(task);
        assert_eq!(*log.borrow(), ["future", "output"]);
    });
}

/// A task that yields goes on as soon as the others have had their turn; one that waits for the next turn goes on behind
/// the wait for the driver. A task that waits so may go before.
#[test]
fn the_next_turn_begins_behind_the_driver() {
    let mut executor = executor();
    let handle = executor.handle();
    let turns = Rc::new(RefCell::new(Vec::new()));
    let task = {
        let (handle, turns) = (handle.clone(), Rc::clone(&turns));
        handle.clone().spawn("t", async move {
            for _ in 0..3 {
                handle.yield_now().await;
                turns.borrow_mut().push(handle.turn());
                handle.next_turn().await;
            }
        })
    };
    let dropped = {
        let handle = handle.clone();
        handle.clone().spawn("dropped", async move { handle.next_turn().await })
    };
    let first = handle.turn();
    assert_eq!(executor.turn(Some(Duration::from_secs(1))).unwrap(), Turn::Again);
    drop(dropped);
    executor.block_on(task).unwrap();
    assert_eq!(*turns.borrow(), [first, first + 1, first + 2]);
}

#[test]
fn dropping_the_handle_drops_the_future_at_once_and_detaching_does_not() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut executor = executor();
    let handle = executor.handle();
    executor.block_on(async {
        let endless = |name| {
            let noisy = Noisy(name, Rc::clone(&log));
            handle.spawn("endless", async move {
                let _noisy = noisy;
                pending::<()>().await;
            })
        };
        let (unpolled, polled, detached) = (endless("unpolled"), endless("polled"), endless("detached"));
        drop(unpolled);
        assert_eq!(*log.borrow(), ["unpolled"]);
        detached.detach();
        handle.yield_now().await;
        drop(polled);
        assert_eq!(*log.borrow(), ["unpolled", "polled"]);
    });
    drop(executor);
    assert_eq!(*log.borrow(), ["unpolled", "polled", "detached"]);
}

#[test]
fn a_task_may_drop_its_own_handle_while_it_runs() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut executor = executor();
    let handle = executor.handle();
    let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let task = handle.spawn("suicide", {
        let (own, noisy) = (Rc::clone(&own), Noisy("gone", Rc::clone(&log)));
        poll_fn(move |_| {
            drop(own.borrow_mut().take());
            noisy.1.borrow_mut().push("still here");
            Poll::Pending
        })
    });
    *own.borrow_mut() = Some(task);
    executor.block_on(async { handle.sleep(Duration::from_millis(5)).await });
    assert_eq!(*log.borrow(), ["still here", "gone"]);
    assert_eq!(handle.counters().get("tasks"), Some(0));
}

#[test]
fn a_future_may_hold_its_own_handle_and_those_of_others_when_it_is_dropped() {
    let mut executor = executor();
    let handle = executor.handle();
    let slots: Vec<Rc<RefCell<Vec<JoinHandle<()>>>>> = (0..3).map(|_| Rc::default()).collect();
    let alive = Rc::new(());
    for number in 0..3 {
        let held = (Rc::clone(&slots[number]), Rc::clone(&alive));
        let task = handle.spawn("knot", async move {
            let _held = held;
            pending::<()>().await;
        });
        // Everybody's future holds the handle of its neighbour; one holds its own.
        slots[if number == 2 { 2 } else { number + 1 }].borrow_mut().push(task);
    }
    drop(slots);
    executor.block_on(async { handle.yield_now().await });
    assert_eq!(Rc::strong_count(&alive), 4);
    drop(executor);
    assert_eq!(Rc::strong_count(&alive), 1, "a future is left");
}

#[test]
fn panics_in_poll_and_in_drop_stay_in_their_task() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let mut executor = executor();
    let handle = executor.handle();
    executor.block_on(async {
        let in_drop = handle.spawn("drop", async {
            let _bomb = PanicsOnDrop;
        });
        assert!(in_drop.await.is_err());
        let cancelled = handle.spawn("cancelled", async {
            let _bomb = PanicsOnDrop;
            pending::<()>().await;
        });
        handle.yield_now().await;
        handle.yield_now().await;
        drop(cancelled);
        assert_eq!(handle.spawn("fine", async { 7 }).await.unwrap(), 7);
    });
}

#[test]
fn what_dropped_tasks_spawn_ends_as_well() {
    struct SpawnsOnDrop(Handle, Rc<Cell<u32>>);
    impl Drop for SpawnsOnDrop {
        fn drop(&mut self) {
            self.1.set(self.1.get() + 1);
            if self.1.get() < 5 {
                let again = Self(self.0.clone(), Rc::clone(&self.1));
                self.0
                    .spawn("late", async move {
                        let _again = again;
                        pending::<()>().await;
                    })
                    .detach();
            }
        }
    }
    let drops = Rc::new(Cell::new(0));
    let mut executor = executor();
    let handle = executor.handle();
    let first = SpawnsOnDrop(handle.clone(), Rc::clone(&drops));
    handle
        .spawn("first", async move {
            let _first = first;
            pending::<()>().await;
        })
        .detach();
    executor.block_on(async { handle.yield_now().await });
    drop(executor);
    assert_eq!(drops.get(), 5);
    drop(handle);
}

#[test]
fn wakers_outlive_their_task_and_their_executor() {
    let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let mut executor = executor();
    let handle = executor.handle();
    let keep = |rounds: u32| {
        let (wakers, mut left) = (Arc::clone(&wakers), rounds);
        poll_fn(move |context| {
            wakers.lock().unwrap().push(context.waker().clone());
            left = left.saturating_sub(1);
            context.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
    };
    handle.spawn("short", keep(3)).detach();
    handle.spawn("endless", keep(u32::MAX)).detach();
    executor.block_on(async {
        // Hundreds of polls in each turn.
        for _ in 0..rounds(1000, 1) {
            handle.yield_now().await;
        }
    });
    wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    drop((executor, handle));
    let wakers = std::mem::take(&mut *wakers.lock().unwrap());
    wakers.iter().for_each(Waker::wake_by_ref);
    std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
}

thread_local! {
    /// An executor that foreign code can reach: a waker, or something that is dropped.
    static WITHIN_REACH: RefCell<Option<Executor>> = const { RefCell::new(None) };
}

/// Puts an executor within reach of foreign code.
fn within_reach() -> Handle {
    let executor = executor();
    let handle = executor.handle();
    WITHIN_REACH.set(Some(executor));
    handle
}

fn turn() {
    WITHIN_REACH
        .with_borrow_mut(|executor| executor.as_mut().map(|executor| executor.turn(Some(Duration::ZERO)).unwrap()));
}

/// A waker that runs a turn when it wakes or, the last of it, when it is dropped: somebody else's loop may do that.
struct Turning;

impl Wake for Turning {
    fn wake(self: Arc<Self>) {
        turn();
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        turn();
    }
}

fn poll_with<F: Future>(future: Pin<&mut F>, waker: Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&waker))
}

#[test]
fn the_outdated_waker_of_a_joiner_may_run_the_turn_that_ends_the_task() {
    let handle = within_reach();
    let mut task = pin!(handle.spawn("seven", async { 7 }));
    assert!(poll_with(task.as_mut(), Waker::from(Arc::new(Turning))).is_pending());
    // The first waker goes now, and its turn ends the task.
    let joined = poll_with(task.as_mut(), Waker::noop().clone());
    assert!(matches!(joined, Poll::Ready(Ok(7))));
    WITHIN_REACH.take();
}

#[test]
fn a_joiner_may_run_a_turn_when_the_task_is_cancelled_in_the_queue() {
    let handle = within_reach();
    let mut task = Box::pin(handle.spawn("queued", pending::<()>()));
    assert!(poll_with(task.as_mut(), Waker::from(Arc::new(Turning))).is_pending());
    drop(task);
    turn();
    assert_eq!(handle.counters().get("tasks"), Some(0));
    WITHIN_REACH.take();
}

#[test]
fn a_future_is_not_polled_by_a_turn_that_its_own_drop_runs() {
    let handle = within_reach();
    let (turning, polled) = (Turning, Rc::new(Cell::new(false)));
    let task = handle.spawn("queued", {
        let polled = Rc::clone(&polled);
        async move {
            polled.set(true);
            let _turning = turning;
            pending::<()>().await;
        }
    });
    drop(task);
    turn();
    assert!(!polled.get());
    assert_eq!(handle.counters().get("tasks"), Some(0));
    WITHIN_REACH.take();
}

#[test]
fn a_future_that_drops_its_executor_when_it_is_dropped_is_dropped_once() {
    struct Last(Rc<Cell<u32>>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            drop(WITHIN_REACH.take());
        }
    }
    for is_polled in [false, true] {
        let drops = Rc::new(Cell::new(0));
        let (handle, last) = (within_reach(), Last(Rc::clone(&drops)));
        let task = handle.spawn("last", async move {
            let _last = last;
            pending::<()>().await;
        });
        if is_polled {
            turn();
            task.wake();
        }
        drop(handle);
        drop(task);
        assert_eq!(drops.get(), 1);
    }
}

/// A future that counts its polls and is ready when told.
struct Signalled {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    done: AtomicBool,
    seen: AtomicU32,
    number: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Future for Signalled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.shared.waker.lock().unwrap() = Some(context.waker().clone());
        self.shared.seen.store(self.shared.number.load(Ordering::Relaxed), Ordering::Relaxed);
        if self.shared.done.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Threads wake tasks that complete, are cancelled, and lose their executor at the same time.
#[test]
fn wakes_from_threads_race_with_completion_cancel_and_executor_drop() {
    const TASKS: usize = rounds(16, 5) as usize;
    for round in 0..u64::from(rounds(60, 2)) {
        let mut executor = executor_for_threads();
        let handle = executor.handle();
        let shared: Vec<Arc<Shared>> = (0..TASKS).map(|_| Arc::default()).collect();
        let mut tasks: Vec<_> =
            shared.iter().map(|shared| Some(handle.spawn("raced", Signalled { shared: Arc::clone(shared) }))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let (shared, stop) = (shared.clone(), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut turn = thread;
                    while !stop.load(Ordering::Relaxed) {
                        turn += 1;
                        let one = &shared[turn % TASKS];
                        if turn % 37 == 0 {
                            one.done.store(true, Ordering::SeqCst);
                        }
                        let waker = one.waker.lock().unwrap().clone();
                        if let Some(waker) = waker {
                            waker.wake();
                        }
                        if cfg!(miri) {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        executor.block_on(async {
            for (number, task) in tasks.iter_mut().enumerate() {
                match number % 3 {
                    0 => drop(task.take()),
                    1 if round % 2 == 0 => task.take().unwrap().detach(),
                    _ => handle.yield_now().await,
                }
            }
            if cfg!(miri) {
                handle.yield_now().await;
            } else {
                handle.sleep(Duration::from_millis(round % 3)).await;
            }
        });
        if round % 2 == 0 {
            drop((executor, handle));
            drop(tasks);
        } else {
            drop((tasks, executor));
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// The last of many wakes must lead to a poll that sees what was published before it, however they race.
#[test]
fn the_last_wake_is_never_lost() {
    const WAKES: u32 = rounds(3000, 30);
    let mut executor = executor_for_threads();
    let handle = executor.handle();
    for _ in 0..rounds(30, 1) {
        let shared = Arc::new(Shared::default());
        let task = handle.spawn("counting", Signalled { shared: Arc::clone(&shared) });
        let thread = std::thread::spawn(move || {
            let wake = || {
                let waker = shared.waker.lock().unwrap().clone();
                waker.into_iter().for_each(Waker::wake);
            };
            for number in 1..=WAKES {
                shared.number.store(number, Ordering::Relaxed);
                wake();
            }
            let start = std::time::Instant::now();
            while shared.seen.load(Ordering::Relaxed) < WAKES {
                assert!(cfg!(miri) || start.elapsed() < Duration::from_secs(5), "the last wake was lost");
                std::thread::yield_now();
            }
            shared.done.store(true, Ordering::SeqCst);
            wake();
        });
        executor.block_on(async {
            while cfg!(miri) && !task.is_finished() {
                handle.yield_now().await;
            }
            task.await.unwrap();
        });
        thread.join().unwrap();
    }
}

#[derive(Clone, Debug)]
enum Act {
    Spawn { polls: u8 },
    Cancel(usize),
    Detach(usize),
    Join(usize),
    Yield,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0..4_u8).prop_map(|polls| Act::Spawn { polls }),
        1 => (0..8_usize).prop_map(Act::Cancel),
        1 => (0..8_usize).prop_map(Act::Detach),
        1 => (0..8_usize).prop_map(Act::Join),
        2 => Just(Act::Yield),
    ];
    prop::collection::vec(act, 0..rounds(60, 20) as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(300, 1), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to tasks: each future is dropped exactly once, a joined one gives its output, none stays.
    #[test]
    fn every_future_is_dropped_once(acts in acts()) {
        let (mut executor, spawned, dropped) = (executor(), Cell::new(0_u32), Rc::new(Cell::new(0_u32)));
        struct Counts(Rc<Cell<u32>>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let handle = executor.handle();
        executor.block_on(async {
            let mut tasks: Vec<(u32, JoinHandle<u32>)> = Vec::new();
            for act in acts {
                match act {
                    Act::Spawn { polls } => {
                        let (number, counts, yields) = (spawned.get(), Counts(Rc::clone(&dropped)), handle.clone());
                        spawned.set(number + 1);
                        tasks.push((number, handle.spawn("t", async move {
                            let _counts = counts;
                            for _ in 0..polls {
                                yields.yield_now().await;
                            }
                            number
                        })));
                    }
                    Act::Cancel(place) if place < tasks.len() => drop(tasks.remove(place)),
                    Act::Detach(place) if place < tasks.len() => tasks.remove(place).1.detach(),
                    Act::Join(place) if place < tasks.len() => {
                        let (number, task) = tasks.remove(place);
                        assert_eq!(task.await.unwrap(), number);
                    }
                    Act::Yield => handle.yield_now().await,
                    Act::Cancel(_) | Act::Detach(_) | Act::Join(_) => {}
                }
            }
        });
        drop((executor, handle));
        prop_assert_eq!(spawned.get(), dropped.get());
    }
}
