//! One behaviour, every driver: both ends of each connection live in one executor, so the same conversations run on the
//! kernel's drivers, on drivers so tiny that their queues overflow all the time, and on the simulated one over many
//! seeds. No scenario names a driver. A failure says which driver, and which seed, it was.

mod kernel;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringgate_runtime::buffer::{Piece, ReceiveConfig, SendBuf};
use ringgate_runtime::driver::sim::SimConfig;
use ringgate_runtime::driver::{DriverChoice, RingConfig, RingFeature};
use ringgate_runtime::executor::{Executor, ExecutorConfig, Handle};
use ringgate_runtime::net::{Address, ByteStream as _, Listener, SocketStream};

/// Seeds of every scenario, unless `RINGGATE_SEEDS` says how many.
const SEEDS: u64 = 200;

/// What is only long is so many times shorter under Miri, which is some thousand times slower.
const SHORTER: usize = if cfg!(miri) { 50 } else { 1 };

/// The kernel's drivers, as newer and older kernels let them be. What runs on each: `driver_tiers.rs`.
const KERNELS: [(DriverChoice, &[RingFeature]); 7] = [
    (DriverChoice::IoUring, &[]),
    (DriverChoice::IoUring, &[RingFeature::SilentSends]),
    (DriverChoice::IoUring, &[RingFeature::Bundles]),
    (DriverChoice::IoUring, &[RingFeature::DeferTaskrun]),
    (DriverChoice::IoUring, &[RingFeature::SingleIssuer, RingFeature::SilentSends]),
    (DriverChoice::Auto, &[RingFeature::Multishot]),
    (DriverChoice::Epoll, &[]),
];

/// Where a scenario takes place.
#[derive(Clone)]
struct World {
    handle: Handle,
    /// More bytes than the buffers between two ends hold.
    large: usize,
}

impl World {
    fn listen(&self) -> (Listener, Address) {
        let listener = self.handle.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address().unwrap().unwrap();
        (listener, address)
    }

    /// Two connected ends: the one that connected, the one that was accepted.
    async fn pair(&self) -> (SocketStream, SocketStream) {
        let (listener, address) = self.listen();
        let client = self.handle.connect(&address).await.unwrap();
        (client, listener.accept().await.unwrap())
    }

    async fn sleep_ms(&self, ms: u64) {
        self.handle.sleep(Duration::from_millis(ms)).await;
    }
}

struct SaysWhere(String);

impl Drop for SaysWhere {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on {}", self.0);
        }
    }
}

fn conform<F: Future<Output = ()>>(scenario: impl Fn(World) -> F) {
    let tiny = |buffer_bytes| ExecutorConfig {
        ring: RingConfig { submissions: 8, completions: 16, without: &[] },
        receive: ReceiveConfig { buffer_bytes, buffers: 2 },
        polls_per_turn_max: 2,
        ..ExecutorConfig::default()
    };
    // Miri knows none of the kernel's drivers, and one seed takes it long.
    let (kernels, seeds) = if cfg!(miri) { (&[][..], 1) } else { (&KERNELS[..], SEEDS) };
    let has_io_uring = !cfg!(miri) && kernel::has_io_uring();
    for &(driver, without) in kernels.iter().filter(|(driver, _)| has_io_uring || *driver != DriverChoice::IoUring) {
        for mut config in [tiny(512), ExecutorConfig::default()] {
            config.ring.without = without;
            let _says = SaysWhere(format!("{driver:?} without {without:?}, {:?}", config.receive));
            run(Executor::new(ExecutorConfig { driver, ..config }).unwrap(), 6_000_000, &scenario);
        }
    }
    let seeds = std::env::var("RINGGATE_SEEDS").map_or(seeds, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        let config = if seed % 2 == 0 { tiny(64) } else { ExecutorConfig::default() };
        let _says = SaysWhere(format!("the simulated driver, seed {seed}, {:?}", config.receive));
        let mut sim = SimConfig::random(seed);
        if cfg!(miri) {
            sim.window_bytes = sim.window_bytes.min(100);
        }
        // What a window and a reader's leases hold, and something more.
        let large = sim.window_bytes + 8 * config.receive.buffer_bytes as usize + 1000 / SHORTER;
        run(Executor::simulated(config, sim).0, large, &scenario);
    }
}

/// Runs the scenario; afterwards nothing must be left of it.
fn run<F: Future<Output = ()>>(mut executor: Executor, large: usize, scenario: impl Fn(World) -> F) {
    let handle = executor.handle();
    executor.block_on(scenario(World { handle: handle.clone(), large }));
    let counters = handle.counters();
    let left = || [counters.get("sockets"), counters.get("buffers_lent"), counters.get("tasks")].map(Option::unwrap);
    executor.block_on(async {
        for _ in 0..200 {
            handle.sleep(Duration::from_millis(1)).await;
            if left() == [0, 0, 0] {
                break;
            }
        }
    });
    assert_eq!(left(), [0, 0, 0], "sockets, lent buffers, tasks that are left");
    assert_eq!(counters.get("panics"), Some(0));
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

async fn receive(stream: &mut SocketStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let lease = stream.recv().await.unwrap();
        assert!(!lease.is_empty(), "the end after {} of {count} bytes", bytes.len());
        bytes.extend_from_slice(&lease);
    }
    assert_eq!(bytes.len(), count);
    bytes
}

async fn receive_to_end(stream: &mut SocketStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let lease = stream.recv().await?;
        if lease.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&lease);
    }
}

async fn echo(mut stream: SocketStream) -> io::Result<()> {
    loop {
        let lease = stream.recv().await?;
        if lease.is_empty() {
            return Ok(());
        }
        let mut buf = SendBuf::default();
        buf.push(Piece::Lease(lease));
        stream.send(buf).await?;
    }
}

/// A close does not overtake what was sent in the same turn.
#[test]
fn what_was_sent_in_the_turn_of_the_close_is_delivered() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        client.start_send(SendBuf::from_vec(b"bye".to_vec()));
        drop(client);
        assert_eq!(receive_to_end(&mut server).await.unwrap(), b"bye");
        // Of more than there is room for, what there was room for.
        let (mut client, mut server) = world.pair().await;
        client.start_send(SendBuf::from_vec(pattern(world.large)));
        drop(client);
        let received = receive_to_end(&mut server).await.unwrap();
        assert!(!received.is_empty() && pattern(world.large).starts_with(&received));
    });
}

#[test]
fn echoes_until_the_peer_finishes() {
    conform(async |world: World| {
        let (mut client, server) = world.pair().await;
        let server = world.handle.spawn("echo", echo(server));
        for size in [1, 63, 64, 65, 1000, 20_000 / SHORTER] {
            client.start_send(SendBuf::from_vec(pattern(size)));
            assert!(receive(&mut client, size).await == pattern(size));
            poll_fn(|context| client.poll_sent(context)).await.unwrap();
        }
        client.shutdown_write();
        assert!(receive_to_end(&mut client).await.unwrap().is_empty());
        assert!(client.recv().await.unwrap().is_empty(), "the end stays the end");
        server.await.unwrap().unwrap();
    });
}

#[test]
fn a_half_closed_stream_goes_on_in_the_other_direction() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        client.start_send(SendBuf::from_vec(b"question".to_vec()));
        client.shutdown_write();
        assert_eq!(receive_to_end(&mut server).await.unwrap(), b"question");
        let answer = world.handle.spawn("answer", async move {
            server.send(SendBuf::from_vec(pattern(30_000 / SHORTER))).await.unwrap();
            server.start_send(SendBuf::from_vec(b"!".to_vec()));
            server.shutdown_write();
            poll_fn(|context| server.poll_sent(context)).await.unwrap();
        });
        let received = receive_to_end(&mut client).await.unwrap();
        assert!(received.len() == 30_000 / SHORTER + 1 && received.starts_with(&pattern(30_000 / SHORTER)));
        answer.await.unwrap();
    });
}

#[test]
fn a_slow_reader_holds_its_sender_up_and_gets_everything() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        let mut buf = SendBuf::default();
        let expected = pattern(world.large);
        expected.chunks(world.large / 300 + 1).for_each(|piece| buf.push(Piece::Owned(piece.to_vec())));
        server.start_send(buf);
        world.sleep_ms(30).await;
        assert!(server.is_sending(), "nobody has read");
        let writer = world.handle.spawn("writer", async move {
            poll_fn(|context| server.poll_sent(context)).await.unwrap();
        });
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let lease = client.recv().await.unwrap();
            received.extend_from_slice(&lease);
            if received.len() % 7 == 0 {
                world.handle.yield_now().await;
            }
        }
        assert!(received == expected);
        writer.await.unwrap();
    });
}

#[test]
fn a_send_that_nobody_waits_for_goes_out_whole() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        let expected = pattern(world.large);
        server.start_send(SendBuf::from_vec(expected.clone()));
        // The server waits for the next request only; the client reads after a while.
        let server = world.handle.spawn("server", async move { server.recv().await.unwrap().to_vec() });
        world.sleep_ms(5).await;
        assert!(receive(&mut client, expected.len()).await == expected);
        client.send(SendBuf::from_vec(b"n".to_vec())).await.unwrap();
        assert_eq!(server.await.unwrap(), b"n");
    });
}

#[test]
fn a_paused_stream_takes_nothing_until_it_is_polled() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        client.start_send(SendBuf::from_vec(b"first".to_vec()));
        assert_eq!(receive(&mut server, 5).await, b"first");
        // Somebody has waited here before, as every connection has.
        poll_fn(|context| {
            assert!(server.poll_recv(context).is_pending());
            Poll::Ready(())
        })
        .await;
        server.pause_recv();
        world.sleep_ms(10).await;
        let before = world.handle.counters().get("receive_bytes");
        poll_fn(|context| client.poll_sent(context)).await.unwrap();
        client.start_send(SendBuf::from_vec(pattern(50)));
        world.sleep_ms(10).await;
        assert_eq!(world.handle.counters().get("receive_bytes"), before, "it was paused");
        assert_eq!(receive(&mut server, 50).await, pattern(50));
    });
}

#[test]
fn a_pause_that_is_taken_back_at_once_loses_nothing() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        let expected = pattern(40_000 / SHORTER);
        client.start_send(SendBuf::from_vec(expected.clone()));
        client.shutdown_write();
        let mut received = Vec::new();
        loop {
            let lease = server.recv().await.unwrap();
            if lease.is_empty() {
                break;
            }
            received.extend_from_slice(&lease);
            server.pause_recv();
            if received.len() % 3 == 0 {
                world.handle.yield_now().await;
            }
        }
        assert!(received == expected);
    });
}

#[test]
fn an_abort_is_an_error_of_both_directions() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        client.start_send(SendBuf::from_vec(b"hello".to_vec()));
        receive(&mut server, 5).await;
        client.abort();
        assert_eq!(server.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(server.recv().await.is_err(), "an error stays");
        let mut failed = false;
        for _ in 0..3 {
            failed |= server.send(SendBuf::from_vec(vec![0; 100])).await.is_err();
        }
        assert!(failed);
    });
}

#[test]
fn an_abort_in_the_middle_of_a_send_ends_it() {
    conform(async |world: World| {
        let (mut client, mut server) = world.pair().await;
        server.start_send(SendBuf::from_vec(vec![7; 3 * world.large]));
        drop(client.recv().await.unwrap());
        client.abort();
        assert!(poll_fn(|context| server.poll_sent(context)).await.is_err());
        assert!(poll_fn(|context| server.poll_sent(context)).await.is_err(), "an error is kept");
    });
}

#[test]
fn dropping_streams_with_everything_in_flight_frees_all() {
    conform(async |world: World| {
        for round in 0..20 / if cfg!(miri) { 2 } else { 1 } {
            let (mut client, mut server) = world.pair().await;
            client.start_send(SendBuf::from_vec(pattern(5000 / SHORTER)));
            if round % 2 == 0 {
                drop(server.recv().await);
            }
            server.start_send(SendBuf::from_vec(vec![7; world.large]));
            if round % 3 == 0 {
                world.handle.yield_now().await;
            }
            if round % 7 == 0 {
                server.pause_recv();
            }
            if round % 5 == 0 {
                server.abort()
            } else {
                drop(server)
            }
            if round % 4 == 0 {
                world.handle.yield_now().await;
            }
        }
    });
}

#[test]
fn a_listener_that_goes_takes_what_was_not_accepted_with_it() {
    conform(async |world: World| {
        let (listener, address) = world.listen();
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(world.handle.connect(&address).await.unwrap());
        }
        let accepted = listener.accept().await.unwrap();
        world.sleep_ms(5).await;
        drop(listener);
        world.sleep_ms(5).await;
        let mut over = 0;
        for client in &mut clients {
            let mut poll = std::pin::pin!(client.recv());
            let mut deadline = std::pin::pin!(world.handle.sleep(Duration::from_millis(100)));
            over += poll_fn(|context| match poll.as_mut().poll(context) {
                Poll::Ready(received) => Poll::Ready(usize::from(received.is_err() || received.unwrap().is_empty())),
                Poll::Pending => deadline.as_mut().poll(context).map(|()| 0),
            })
            .await;
        }
        assert_eq!(over, 9, "all but the accepted one are over");
        drop(accepted);
        assert!(world.handle.connect(&address).await.is_err());
    });
}

#[test]
fn connects_or_says_why_not_and_can_be_given_up() {
    conform(async |world: World| {
        let (listener, address) = world.listen();
        let connected = world.handle.connect(&address).await.unwrap();
        assert_eq!(connected.peer_address().unwrap().unwrap(), address);
        let accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.peer_address().unwrap(), connected.local_address().unwrap());
        drop((listener, accepted, connected));
        world.sleep_ms(20).await;
        assert_eq!(world.handle.connect(&address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let mut connecting = Box::pin(world.handle.connect(&address));
        poll_fn(|context| {
            let _ = connecting.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    });
}

#[test]
fn many_connections_at_once() {
    const CONNECTIONS: usize = if cfg!(miri) { 4 } else { 16 };
    conform(async |world: World| {
        let (listener, address) = world.listen();
        let handle = world.handle.clone();
        let acceptor = world.handle.spawn("accept", async move {
            for _ in 0..CONNECTIONS {
                handle.spawn("echo", echo(listener.accept().await.unwrap())).detach();
            }
        });
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (handle, address) = (world.handle.clone(), address.clone());
                world.handle.spawn("client", async move {
                    let mut client = handle.connect(&address).await.unwrap();
                    for round in 0..3 {
                        let message = vec![(number + round) as u8; 100];
                        client.start_send(SendBuf::from_vec(message.clone()));
                        assert_eq!(receive(&mut client, 100).await, message);
                        poll_fn(|context| client.poll_sent(context)).await.unwrap();
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        acceptor.await.unwrap();
    });
}

#[test]
fn unix_sockets_are_served() {
    let path = std::env::temp_dir().join(format!("ringgate-conformance-{}.sock", std::process::id()));
    let address = Address::Unix(path.clone());
    conform(async |world: World| {
        let listener = world.handle.listen(&address).unwrap();
        let mut client = world.handle.connect(&address).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        client.send(SendBuf::from_vec(b"over unix".to_vec())).await.unwrap();
        assert_eq!(receive(&mut server, 9).await, b"over unix");
        assert_eq!(server.peer_address().unwrap(), None);
    });
    std::fs::remove_file(path).unwrap();
}

#[test]
fn timers_fire_in_their_order_among_io() {
    conform(async |world: World| {
        let (mut client, server) = world.pair().await;
        let server = world.handle.spawn("echo", echo(server));
        let order = Rc::new(Cell::new(0));
        let sleepers = [30, 10, 20].map(|ms| {
            let (order, handle) = (Rc::clone(&order), world.handle.clone());
            world.handle.spawn("sleeper", async move {
                let start = handle.now();
                handle.sleep(Duration::from_millis(ms)).await;
                let late = handle.now().since(start + Duration::from_millis(ms));
                assert!(handle.now() >= start + Duration::from_millis(ms) && late < Duration::from_secs(5));
                order.set(order.get() + 1);
                order.get()
            })
        });
        for _ in 0..20 {
            client.start_send(SendBuf::from_vec(pattern(10)));
            receive(&mut client, 10).await;
            poll_fn(|context| client.poll_sent(context)).await.unwrap();
        }
        let mut seen = Vec::new();
        for sleeper in sleepers {
            seen.push(sleeper.await.unwrap());
        }
        assert_eq!(seen, [3, 1, 2]);
        drop(client);
        server.await.unwrap().unwrap();
    });
}
