//! The mesh between real threads.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Barrier},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use ringgate_runtime::mesh::{MeshEnd, mesh};

/// Nothing takes so long but a lost wake. The clock of Miri goes by what is done, and faster.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 1_000 } else { 10 });

/// Rounds of a test: as many as it takes to meet every order by chance, or what Miri, some thousand times slower, can do.
/// It looks at each of them, and is run with several seeds.
const fn rounds(many: u64, few: u64) -> u64 {
    if cfg!(miri) { few } else { many }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks without a limit that could hide a lost wake, and takes as long as a slow machine needs.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let parked = Instant::now();
        thread::park_timeout(PATIENCE);
        assert!(parked.elapsed() < PATIENCE, "a wake was lost");
    }
}

/// Every core sends `count` numbered messages to every core and receives as many, in order for each sender.
fn everybody_to_everybody(cores: usize, messages_max: usize, count: u64) {
    let start = Arc::new(Barrier::new(cores));
    let threads: Vec<_> = mesh::<(usize, u64)>(cores, messages_max)
        .into_iter()
        .map(|end| {
            let start = start.clone();
            thread::spawn(move || {
                start.wait();
                block_on(exchange(&end, count));
                // Nobody leaves while others still wait for room or mail.
                start.wait();
                assert_eq!(end.try_recv(), None);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

async fn exchange(end: &MeshEnd<(usize, u64)>, count: u64) {
    let cores = end.cores();
    let mut sending = pin!(async {
        for number in 0..count {
            for core in 0..cores {
                end.send(core, (end.core(), number)).await.unwrap();
            }
        }
    });
    let mut receiving = pin!(async {
        let mut expected = vec![0; cores];
        for _ in 0..count * cores as u64 {
            let (from, message) = end.recv().await;
            assert_eq!(message, (from, expected[from]));
            expected[from] += 1;
        }
    });
    let (mut sent, mut received) = (false, false);
    std::future::poll_fn(|cx| {
        sent = sent || sending.as_mut().poll(cx).is_ready();
        received = received || receiving.as_mut().poll(cx).is_ready();
        if sent && received { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn nothing_is_lost_with_one_place_in_each_ring() {
    everybody_to_everybody(3, 1, rounds(5_000, 4));
}

#[test]
fn nothing_is_lost_with_room() {
    everybody_to_everybody(4, 64, rounds(20_000, 2));
}

#[test]
fn ping_pong_wakes_a_sleeping_core_each_time() {
    let mut ends = mesh::<u64>(2, 4).into_iter();
    let (here, there) = (ends.next().unwrap(), ends.next().unwrap());
    let echo = thread::spawn(move || {
        while let (0, number @ 1..) = block_on(there.recv()) {
            block_on(there.send(0, number + 1)).unwrap();
        }
    });
    for number in 1..rounds(20_000, 10) {
        block_on(here.send(1, number)).unwrap();
        assert_eq!(block_on(here.recv()), (1, number + 1));
    }
    here.try_send(1, 0).unwrap();
    echo.join().unwrap();
}

#[test]
fn a_sender_that_waits_for_room_is_told_when_the_receiver_goes() {
    for pause_us in [0, 50, 500, 5_000] {
        let mut ends = mesh::<u64>(2, 1).into_iter();
        let (here, there) = (ends.next().unwrap(), ends.next().unwrap());
        here.try_send(1, 1).unwrap();
        let leaving = thread::spawn(move || {
            thread::sleep(Duration::from_micros(pause_us));
            drop(there);
        });
        // One that comes at the very moment of the leaving may find the place that was just emptied.
        let refused = (2..10).find_map(|message| block_on(here.send(1, message)).err().map(|back| (message, back)));
        assert!(refused.is_some_and(|(message, back)| message == back), "{refused:?}");
        leaving.join().unwrap();
    }
}

#[test]
fn many_tasks_of_one_core_wait_for_the_same_room() {
    const TASKS: u64 = rounds(50, 5);
    const MESSAGES: u64 = rounds(100, 3);
    let mut ends = mesh::<u64>(2, 2).into_iter();
    let (here, there) = (ends.next().unwrap(), ends.next().unwrap());
    let receiver = thread::spawn(move || {
        let mut seen: Vec<u64> = (0..TASKS * MESSAGES).map(|_| block_on(there.recv()).1).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..TASKS * MESSAGES));
    });
    let here = &here;
    let mut tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            Box::pin(async move {
                for number in 0..MESSAGES {
                    here.send(1, task * MESSAGES + number).await.unwrap();
                }
            })
        })
        .collect();
    block_on(std::future::poll_fn(|cx| {
        tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
        if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
    receiver.join().unwrap();
}

/// It takes one message and is busy with it, then the next: whatever the ring holds, its senders are not forgotten.
#[test]
fn a_receiver_that_takes_its_time_gets_everything() {
    for messages_max in 1..=5 {
        let mut ends = mesh::<u64>(2, messages_max).into_iter();
        let (here, there) = (ends.next().unwrap(), ends.next().unwrap());
        let receiver = thread::spawn(move || {
            for number in 0..50 {
                assert_eq!(block_on(there.recv()), (0, number));
                thread::sleep(Duration::from_micros(200));
            }
        });
        (0..50).for_each(|number| block_on(here.send(1, number)).unwrap());
        receiver.join().unwrap();
    }
}

/// One side looks without end, the other sleeps at every chance: as many close meetings of "nothing there, I wait" with
/// "there it is" as two processors can have. Where one is lost, the sleeper never wakes.
const CLOSE_MEETINGS: u64 = rounds(200_000, 20);

#[test]
fn a_sleeping_sender_meets_a_receiver_that_never_sleeps() {
    let mut ends = mesh::<u64>(2, 1).into_iter();
    let (here, there) = (ends.next().unwrap(), ends.next().unwrap());
    let receiver = thread::spawn(move || {
        let mut expected = 0;
        while expected < CLOSE_MEETINGS && !there.is_gone(0) {
            match there.try_recv() {
                Some(message) => {
                    assert_eq!(message, (0, expected));
                    expected += 1;
                }
                None => std::hint::spin_loop(),
            }
        }
    });
    (0..CLOSE_MEETINGS).for_each(|number| block_on(here.send(1, number)).unwrap());
    receiver.join().unwrap();
}

#[test]
fn a_sleeping_receiver_meets_a_sender_that_never_sleeps() {
    let mut ends = mesh::<u64>(2, 1).into_iter();
    let (here, there) = (ends.next().unwrap(), ends.next().unwrap());
    let sender = thread::spawn(move || {
        for number in 0..CLOSE_MEETINGS {
            while there.try_send(0, number).is_err() {
                if there.is_gone(0) {
                    return None;
                }
                std::hint::spin_loop();
            }
        }
        Some(there)
    });
    (0..CLOSE_MEETINGS).for_each(|number| assert_eq!(block_on(here.recv()), (1, number)));
    drop(sender.join().unwrap());
}
