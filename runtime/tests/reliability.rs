//! What a core bears: stalls, panics, greedy tasks, signals, wakes from other threads, somebody else's loop; and what it
//! costs when nothing is wrong. Real sockets, both kernel drivers.

mod kernel;

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ringgate_runtime::buffer::{Piece, ReceiveConfig, SendBuf};
use ringgate_runtime::driver::{DriverChoice, RingConfig};
use ringgate_runtime::executor::{Executor, ExecutorConfig, Handle, Turn};
use ringgate_runtime::net::{Address, ByteStream as _, SocketStream};
use ringgate_runtime::offload::{Crew, CrewConfig};
use rustix::event::epoll;

fn on_both_drivers(mut test: impl FnMut(&mut Executor)) {
    for driver in kernel::drivers() {
        println!("{driver:?}");
        test(&mut Executor::new(ExecutorConfig { driver, ..ExecutorConfig::default() }).unwrap());
    }
}

/// Echoes without waiting for its sends, as a server that answers each request does.
async fn echo(mut stream: SocketStream) {
    while let Ok(lease) = stream.recv().await {
        if lease.is_empty() || poll_fn(|context| stream.poll_sent(context)).await.is_err() {
            return;
        }
        let mut buf = SendBuf::default();
        buf.push(Piece::Lease(lease));
        stream.start_send(buf);
    }
}

/// A server on loopback whose connections have a task each.
fn serve(handle: &Handle) -> std::net::SocketAddr {
    let listener = handle.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Some(Address::Tcp(address)) = listener.local_address().unwrap() else { panic!("a TCP address") };
    let spawner = handle.clone();
    let accept = async move {
        loop {
            spawner.spawn("echo", echo(listener.accept().await.unwrap())).detach();
        }
    };
    handle.spawn("accept", accept).detach();
    address
}

fn client(address: std::net::SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

fn ping(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).unwrap();
    let mut echoed = vec![0; message.len()];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, message);
}

/// Runs the executor until the thread has ended.
fn run_while<T: Send + 'static>(executor: &mut Executor, thread: impl FnOnce() -> T + Send + 'static) -> T {
    let handle = executor.handle();
    let thread = std::thread::spawn(thread);
    executor.block_on(async {
        while !thread.is_finished() {
            handle.sleep(Duration::from_millis(20)).await;
        }
    });
    thread.join().unwrap()
}

#[test]
fn an_isolated_round_trip_costs_one_system_call_of_the_ring() {
    if !kernel::has_io_uring() {
        return;
    }
    let config = ExecutorConfig { driver: DriverChoice::IoUring, ..ExecutorConfig::default() };
    let mut executor = Executor::new(config).unwrap();
    let address = serve(&executor.handle());
    let counters = executor.handle().counters();
    let thread = std::thread::spawn(move || {
        let mut client = client(address);
        ping(&mut client, b"warm");
        let enters = || counters.get("enters").unwrap();
        // A machine that is busy with something else may let the ring look at an answer and the next request apart.
        let costs: Vec<u64> = (0..200)
            .map(|_| {
                let before = enters();
                (0..10).for_each(|_| ping(&mut client, b"0123456789"));
                enters() - before
            })
            .collect();
        assert!(costs.iter().all(|&cost| cost >= 10), "each answer needs one: {costs:?}");
        let exact = costs.iter().filter(|&&cost| cost == 10).count();
        assert!(exact > 100, "ten round trips cost ten system calls: {costs:?}");
        let before = enters();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(enters(), before, "after its last answer the core sleeps until there is news");
    });
    // Nothing but the server runs: a timer of ours would cost waits of its own.
    let (done, join) = (Arc::new(AtomicBool::new(false)), thread);
    let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
    let watcher = std::thread::spawn({
        let (done, waker) = (Arc::clone(&done), Arc::clone(&waker));
        move || {
            let result = join.join();
            done.store(true, Ordering::SeqCst);
            waker.lock().unwrap().take().unwrap().wake();
            result.unwrap();
        }
    });
    executor.block_on(poll_fn(|context| {
        *waker.lock().unwrap() = Some(context.waker().clone());
        if done.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }));
    watcher.join().unwrap();
}

#[test]
fn idle_connections_hold_no_buffer_and_cost_no_turns() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let address = serve(&handle);
        let clients = run_while(executor, move || {
            let mut clients: Vec<TcpStream> = (0..100).map(|_| client(address)).collect();
            clients.iter_mut().for_each(|client| ping(client, b"hello"));
            clients
        });
        executor.block_on(async {
            handle.sleep(Duration::from_millis(30)).await;
            let counters = handle.counters();
            assert_eq!((counters.get("sockets"), counters.get("buffers_lent")), (Some(101), Some(0)));
            let before = counters.get("turns").unwrap();
            handle.sleep(Duration::from_millis(300)).await;
            let turns = counters.get("turns").unwrap() - before;
            assert!(turns <= 5, "{turns} turns for one timer");
        });
        drop(clients);
    });
}

#[test]
fn a_panic_ends_its_task_only() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let address = serve(&handle);
        let failed = handle.spawn("bad", async { panic!("contained") });
        handle.spawn("worse", async { panic!("nobody asks") }).detach();
        run_while(executor, move || ping(&mut client(address), b"others go on"));
        let panic = executor.block_on(failed).unwrap_err().panic;
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"contained"));
        assert_eq!(handle.counters().get("panics"), Some(2));
    });
}

#[test]
fn a_stall_is_counted_and_named() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let stall = || std::thread::sleep(Duration::from_millis(12));
            handle.spawn("quick", async {}).await.unwrap();
            handle.spawn("slow task", async move { stall() }).await.unwrap();
            let inner = handle.clone();
            let route = async move {
                inner.set_activity("GET /slow");
                stall();
            };
            handle.spawn("connection", route).await.unwrap();
            handle.spawn("after", async {}).await.unwrap();
        });
        let stalls = handle.counters().recent_stalls();
        // On a busy machine any poll may be held up, and rightly counts.
        let held: Vec<_> = stalls.iter().filter(|stall| stall.held >= Duration::from_millis(12)).collect();
        let names: Vec<_> = held.iter().map(|stall| stall.name).filter(|name| name.contains("slow")).collect();
        assert_eq!(names, ["slow task", "GET /slow"]);
        assert_eq!(handle.counters().get("stalls"), Some(stalls.len() as u64));
    });
}

#[test]
fn a_task_that_wakes_itself_for_ever_starves_nobody() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let address = serve(&handle);
        for _ in 0..3 {
            let spinner = handle.clone();
            let spin = async move {
                loop {
                    spinner.yield_now().await;
                }
            };
            handle.spawn("spin", spin).detach();
        }
        let slowest = run_while(executor, move || {
            let mut client = client(address);
            let times = (0..50).map(|_| {
                let start = Instant::now();
                ping(&mut client, b"am I served?");
                start.elapsed()
            });
            let mut times: Vec<_> = times.collect();
            times.sort_unstable();
            times[25]
        });
        assert!(slowest < Duration::from_millis(50), "{slowest:?}");
    });
}

#[test]
fn wakes_from_another_thread_arrive() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let shared = Arc::new((AtomicU64::new(0), Mutex::new(None::<Waker>)));
        let counting = handle.spawn("counting", {
            let shared = Arc::clone(&shared);
            poll_fn(move |context| {
                *shared.1.lock().unwrap() = Some(context.waker().clone());
                if shared.0.load(Ordering::SeqCst) >= 2000 { Poll::Ready(()) } else { Poll::Pending }
            })
        });
        let waker = std::thread::spawn(move || {
            for number in 1..=2000_u64 {
                shared.0.store(number, Ordering::SeqCst);
                if let Some(waker) = &*shared.1.lock().unwrap() {
                    waker.wake_by_ref();
                }
                if number % 50 == 0 {
                    // Long enough for the core to fall asleep.
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
            // The task may never have been polled before the last number; it is polled at least once.
        });
        executor.block_on(counting).unwrap();
        waker.join().unwrap();
    });
}

/// Drives the executor from an epoll loop of our own, as asyncio's selector would.
struct ForeignLoop<'a> {
    executor: &'a mut Executor,
    epoll: std::os::fd::OwnedFd,
    turns: u64,
}

impl<'a> ForeignLoop<'a> {
    fn new(executor: &'a mut Executor) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let fd = executor.readiness_fd().expect("kernel drivers have one");
        assert_eq!(executor.readiness_fd(), Some(fd), "it stays the same");
        // SAFETY: the descriptor belongs to the executor, which outlives the borrow.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        epoll::add(&epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
        Self { executor, epoll, turns: 0 }
    }

    /// Until `done`, or until nothing has happened for `patience`; true if it was done.
    fn run(&mut self, patience: Duration, mut done: impl FnMut() -> bool) -> bool {
        let mut deadline = Instant::now() + patience;
        let (start, first) = (Instant::now(), self.turns);
        loop {
            self.turns += 1;
            let turn = self.executor.turn(Some(Duration::ZERO)).unwrap();
            if start.elapsed() > Duration::from_secs(20) {
                let counters = self.executor.handle().counters();
                let turns = self.turns - first;
                panic!("it never rests: {turns} turns, the last {turn:?}, {:?}", counters.snapshot());
            }
            if done() {
                return true;
            }
            let timeout = match turn {
                Turn::Again => continue,
                Turn::Until(then) => then.since(self.executor.handle().now()),
                Turn::Idle => Duration::MAX,
            };
            let timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
            let timeout = rustix::event::Timespec::try_from(timeout).unwrap();
            let mut events = Vec::with_capacity(4);
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&timeout)) {
                Ok(0) if Instant::now() >= deadline => return false,
                Ok(0) => {}
                _ => deadline = Instant::now() + patience,
            }
        }
    }
}

#[test]
fn somebody_elses_loop_drives_it_and_sleeps_in_between() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let address = serve(&handle);
        // A block_on that was woken at its very end must not keep the turns busy afterwards.
        executor.block_on(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Ready(())
        }));
        let mut foreign = ForeignLoop::new(executor);
        let client = std::thread::spawn(move || {
            let mut clients: Vec<TcpStream> = (0..10).map(|_| client(address)).collect();
            for round in 0..100_usize {
                for client in &mut clients {
                    ping(client, &vec![7; 1 + round * 50]);
                }
                if round % 20 == 0 {
                    std::thread::sleep(Duration::from_millis(12));
                }
            }
        });
        assert!(foreign.run(Duration::from_secs(5), || client.is_finished()), "the loop slept while there was work");
        client.join().unwrap();

        foreign.run(Duration::from_millis(100), || false);
        let before = foreign.turns;
        foreign.run(Duration::from_millis(300), || false);
        assert!(foreign.turns - before < 10, "{} turns while idle", foreign.turns - before);
    });
}

#[test]
fn what_is_spawned_between_turns_runs_by_the_time_it_is_then() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let mut foreign = ForeignLoop::new(executor);
        foreign.run(Duration::from_millis(5), || false);
        // Long enough to swallow the sleep, were it counted from the last turn.
        std::thread::sleep(Duration::from_millis(80));
        let slept = Rc::new(std::cell::Cell::new(None));
        let sleeper = {
            let (handle, slept) = (handle.clone(), Rc::clone(&slept));
            async move {
                let begun = Instant::now();
                handle.sleep(Duration::from_millis(40)).await;
                slept.set(Some(begun.elapsed()));
            }
        };
        handle.spawn("sleeper", sleeper).detach();
        assert!(foreign.run(Duration::from_secs(5), || slept.get().is_some()));
        assert!(slept.get().unwrap() >= Duration::from_millis(39), "{:?}", slept.get());

        std::thread::sleep(Duration::from_millis(30));
        let before = handle.now();
        handle.catch_up();
        assert!(handle.now().since(before) >= Duration::from_millis(29), "the clock is read anew");
    });
}

#[test]
fn wakes_from_threads_and_timers_reach_somebody_elses_loop() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let shared: Arc<(AtomicU64, Mutex<Option<Waker>>)> = Arc::default();
        let seen = Arc::new(AtomicU64::new(0));
        let counting = poll_fn({
            let (shared, seen) = (Arc::clone(&shared), Arc::clone(&seen));
            move |context| {
                *shared.1.lock().unwrap() = Some(context.waker().clone());
                seen.store(shared.0.load(Ordering::SeqCst), Ordering::SeqCst);
                Poll::<()>::Pending
            }
        });
        handle.spawn("counting", counting).detach();
        let ticks = Arc::new(AtomicU64::new(0));
        let ticking = {
            let (ticks, handle) = (Arc::clone(&ticks), handle.clone());
            async move {
                loop {
                    handle.sleep(Duration::from_millis(10)).await;
                    ticks.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let ticking = handle.spawn("ticking", ticking);
        let mut foreign = ForeignLoop::new(executor);
        assert!(foreign.run(Duration::from_secs(5), || ticks.load(Ordering::SeqCst) >= 3), "timers fire");
        drop(ticking);
        foreign.run(Duration::from_millis(20), || false);
        for number in 1..=200_u64 {
            let waker = std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    std::thread::sleep(Duration::from_micros(number * 10 % 700));
                    shared.0.store(number, Ordering::SeqCst);
                    let waker = shared.1.lock().unwrap().clone().unwrap();
                    waker.wake();
                }
            });
            let seen = || seen.load(Ordering::SeqCst) == number;
            assert!(foreign.run(Duration::from_secs(2), seen), "wake {number} was lost");
            waker.join().unwrap();
        }
    });
}

/// A timer that no `i32` of milliseconds can name.
#[test]
fn a_timer_months_away_is_waited_for_like_any_other() {
    on_both_drivers(|executor| {
        let handle = executor.handle();
        let sleeper = handle.clone();
        handle.spawn("far", async move { sleeper.sleep(Duration::from_secs(90 * 86_400)).await }).detach();
        // There is no other timer, so the core sleeps until the thread wakes it.
        let crew = Crew::new(CrewConfig::default());
        executor.block_on(crew.run(|| std::thread::sleep(Duration::from_millis(20))).unwrap()).unwrap();
    });
}

/// More closes than the submission queue has room for: none is forgotten, the kernel lets go at once.
#[test]
fn an_executor_that_goes_with_many_streams_closes_them_all_quickly() {
    for driver in kernel::drivers() {
        let config = ExecutorConfig {
            driver,
            ring: RingConfig { submissions: 8, completions: 16, without: &[] },
            receive: ReceiveConfig { buffer_bytes: 64, buffers: 2 },
            ..ExecutorConfig::default()
        };
        let mut executor = Executor::new(config).unwrap();
        let counters = executor.handle().counters();
        let address = serve(&executor.handle());
        let mut clients = run_while(&mut executor, move || {
            let mut clients: Vec<TcpStream> = (0..100).map(|_| client(address)).collect();
            clients.iter_mut().for_each(|client| ping(client, b"hello"));
            clients
        });
        let before = counters.get("enters").unwrap();
        drop(executor);
        // Two hundred operations, eight at a time; a wait in vain would show as one every ten milliseconds, for half a
        // second, and what is not let go of is not closed.
        let enters = counters.get("enters").unwrap() - before;
        assert!(enters < 60, "{driver:?}: {enters} system calls");
        for client in &mut clients {
            assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "{driver:?}: closed");
        }
    }
}

/// The handler does nothing: the signal only interrupts.
extern "C" fn nothing(_: libc::c_int) {}

#[test]
fn a_storm_of_signals_changes_nothing() {
    // SAFETY: an all-zero sigaction is valid (no flags, so that system calls are interrupted); the handler does nothing,
    // which is safe at any moment; and the struct lives across the call.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut()), 0);
    }
    on_both_drivers(|executor| {
        let address = serve(&executor.handle());
        let target = rustix::thread::gettid().as_raw_nonzero().get();
        let stop = Arc::new(AtomicBool::new(false));
        let storm = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut sent = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // SAFETY: only numbers are passed; the thread runs until this one has been joined.
                    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), target, libc::SIGPROF) };
                    sent += 1;
                    std::thread::sleep(Duration::from_micros(50));
                }
                sent
            }
        });
        run_while(executor, move || {
            let mut clients: Vec<TcpStream> = (0..20).map(|_| client(address)).collect();
            for round in 0..50 {
                clients.iter_mut().for_each(|client| ping(client, &vec![round; 3000]));
            }
        });
        stop.store(true, Ordering::Relaxed);
        assert!(storm.join().unwrap() > 100);
    });
}
