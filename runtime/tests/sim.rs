//! The simulated driver seen from the test's end of the wire, over many seeds.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use ringgate_runtime::buffer::{ReceiveConfig, SendBuf};
use ringgate_runtime::driver::sim::{SimConfig, SimFaults, SimNet};
use ringgate_runtime::executor::{Executor, ExecutorConfig, Handle};
use ringgate_runtime::net::{Address, ByteStream as _, SocketStream};

fn server_address() -> Address {
    "192.0.2.1:443".parse().unwrap()
}

fn tiny() -> ExecutorConfig {
    ExecutorConfig { receive: ReceiveConfig { buffer_bytes: 64, buffers: 2 }, ..ExecutorConfig::default() }
}

async fn echo(mut stream: SocketStream) -> io::Result<()> {
    loop {
        let lease = stream.recv().await?;
        if lease.is_empty() {
            return Ok(());
        }
        stream.send(SendBuf::from_vec(lease.to_vec())).await?;
    }
}

/// Every connection has its own task.
fn spawn_echo_servers(handle: &Handle) {
    let listener = handle.listen(&server_address()).unwrap();
    let spawner = handle.clone();
    let accept = async move {
        loop {
            let stream = listener.accept().await.unwrap();
            spawner.spawn("echo", async { drop(echo(stream).await) }).detach();
        }
    };
    handle.spawn("accept", accept).detach();
}

/// Several connections with different manners; the digest of all that happened.
fn conversation(config: ExecutorConfig, sim: SimConfig) -> (u64, Vec<String>) {
    let (mut executor, net) = Executor::simulated(config, sim);
    let handle = executor.handle();
    spawn_echo_servers(&handle);
    executor.block_on(async {
        let peers: Vec<_> = (0..5_u8).map(|_| net.connect(&server_address()).unwrap()).collect();
        for (number, peer) in (0_u8..).zip(&peers) {
            for piece in vec![number; 400].chunks(usize::from(number) * 30 + 1) {
                peer.write(piece);
            }
            if number % 2 == 0 {
                peer.finish();
            }
        }
        for (number, peer) in (0_u8..).zip(peers) {
            assert_eq!(peer.read_exact(400).await.unwrap(), vec![number; 400]);
            match number {
                0 | 2 | 4 => assert!(peer.read_to_end().await.unwrap().is_empty() && peer.is_closed()),
                1 => peer.reset(),
                _ => drop(peer),
            }
        }
        handle.sleep(Duration::from_millis(50)).await;
    });
    (net.digest(), net.transcript().iter().map(ToString::to_string).collect())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut digests = Vec::new();
    for seed in 0..100 {
        let config = || if seed % 2 == 0 { tiny() } else { ExecutorConfig::default() };
        let first = conversation(config(), SimConfig::random(seed));
        assert_eq!(first, conversation(config(), SimConfig::random(seed)), "seed {seed}");
        assert!(!first.1.is_empty() && first.1.len() <= 64);
        digests.push(first.0);
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 100, "every seed goes its own way");
}

#[test]
fn time_is_virtual() {
    let (mut executor, net) = Executor::simulated(ExecutorConfig::default(), SimConfig::new(1));
    let handle = executor.handle();
    let real = std::time::Instant::now();
    executor.block_on(async { handle.sleep(Duration::from_secs(86_400)).await });
    let slept = net.now().as_nanos();
    assert!((86_400_000_000_000..86_400_100_000_000).contains(&slept), "{slept}");
    assert!(real.elapsed() < Duration::from_secs(10));
    net.advance(Duration::from_secs(60));
    executor.turn(Some(Duration::ZERO)).unwrap();
    assert!(handle.now().as_nanos() >= slept + 60_000_000_000);
    assert_eq!(handle.driver_report().driver, "sim");
}

#[test]
fn what_can_never_happen_is_said_with_the_seed() {
    let (mut executor, net) = Executor::simulated(ExecutorConfig::default(), SimConfig::new(77));
    let error = loop {
        match executor.turn(None) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("seed: 77"), "{error}");
    assert_eq!(net.seed(), 77);
}

#[test]
fn a_window_stops_the_executor_and_lets_it_go_on() {
    for seed in 0..200 {
        let (mut executor, net) = Executor::simulated(tiny(), SimConfig::random(seed));
        let handle = executor.handle();
        let listener = handle.listen(&server_address()).unwrap();
        executor.block_on(async {
            let peer = net.connect(&server_address()).unwrap();
            peer.set_window(10);
            let mut stream = listener.accept().await.unwrap();
            let expected: Vec<u8> = (0..3000_u32).map(|byte| byte as u8).collect();
            stream.start_send(SendBuf::from_vec(expected.clone()));
            stream.shutdown_write();
            handle.sleep(Duration::from_millis(100)).await;
            assert!(stream.is_sending(), "seed {seed}");
            let mut received = peer.read();
            assert_eq!(received.len(), 10, "seed {seed}: all that the window allowed");
            peer.set_window(1000);
            received.extend(peer.read_to_end().await.unwrap());
            assert!(received == expected, "seed {seed}");
            poll_fn(|context| stream.poll_sent(context)).await.unwrap();
            assert!(!peer.is_closed());
            peer.finish();
            assert!(stream.recv().await.unwrap().is_empty() && peer.is_closed(), "seed {seed}");
        });
    }
}

#[test]
fn bytes_that_are_not_read_at_close_become_a_reset() {
    for seed in 0..200 {
        let (mut executor, net) = Executor::simulated(tiny(), SimConfig::random(seed));
        let handle = executor.handle();
        let listener = handle.listen(&server_address()).unwrap();
        executor.block_on(async {
            let peer = net.connect(&server_address()).unwrap();
            peer.write(&[1; 5000]);
            let mut stream = listener.accept().await.unwrap();
            drop(stream.recv().await.unwrap());
            drop(stream);
            handle.sleep(Duration::from_millis(100)).await;
            assert!(peer.is_reset() && peer.is_closed() && peer.recv().await.is_err(), "seed {seed}");
            assert_eq!(handle.counters().get("sockets"), Some(1), "seed {seed}");
        });
    }
}

#[test]
fn the_executor_connects_to_the_test() {
    for seed in 0..200 {
        let (mut executor, net) = Executor::simulated(ExecutorConfig::default(), SimConfig::random(seed));
        let handle = executor.handle();
        executor.block_on(async {
            let listener = net.listen(&"[::]:0".parse().unwrap()).unwrap();
            let Address::Tcp(address) = listener.local_address() else { panic!("a TCP address") };
            let address = Address::Tcp(format!("[::1]:{}", address.port()).parse().unwrap());
            let mut stream = handle.connect(&address).await.unwrap();
            let peer = listener.accept().await;
            assert_eq!(peer.local_address(), stream.peer_address().unwrap());
            peer.write(b"x");
            assert_eq!(&stream.recv().await.unwrap()[..], b"x");
            peer.reset();
            assert_eq!(stream.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "seed {seed}");
            drop(listener);
            assert!(handle.connect(&address).await.is_err());
        });
    }
}

/// Connections die at random: nothing else does, and nothing is left of them.
#[test]
fn a_server_survives_a_wire_that_kills_connections() {
    let mut died = 0;
    for seed in 0..200 {
        let mut sim = SimConfig::random(seed);
        sim.faults.resets = 30;
        let (mut executor, net) = Executor::simulated(tiny(), sim);
        let handle = executor.handle();
        spawn_echo_servers(&handle);
        executor.block_on(async {
            for _ in 0..5 {
                let peer = net.connect(&server_address()).unwrap();
                peer.write(&[9; 700]);
                match peer.read_exact(700).await {
                    Ok(bytes) => assert_eq!(bytes, [9; 700], "seed {seed}"),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "seed {seed}");
                        died += 1;
                    }
                }
            }
            handle.sleep(Duration::from_millis(500)).await;
            let left = ["sockets", "tasks", "buffers_lent", "panics"].map(|name| handle.counters().get(name).unwrap());
            assert_eq!(left, [1, 1, 0, 0], "seed {seed}: the listener and its task stay");
        });
    }
    assert!((100..1000).contains(&died), "{died} of 1,000 connections died");
}

#[test]
fn storms_of_every_fault_lose_nothing() {
    let storms: [fn(&mut SimFaults); 6] = [
        |faults| faults.no_buffers = 900,
        |faults| faults.multishot_ends = 1000,
        |faults| faults.accept_exhausted = 900,
        |faults| faults.spurious_wakes = 900,
        |faults| faults.late = 950,
        |faults| faults.short_receives = 1000,
    ];
    for (number, storm) in storms.into_iter().enumerate() {
        for seed in 0..20 {
            let mut sim = SimConfig::new(seed);
            storm(&mut sim.faults);
            let calm = conversation(tiny(), sim);
            assert!(!calm.1.is_empty(), "storm {number}, seed {seed}");
        }
    }
}

#[test]
fn an_executor_that_is_dropped_in_mid_flight_closes_everything() {
    for seed in 0..200 {
        let (mut executor, net) = Executor::simulated(tiny(), SimConfig::random(seed));
        let handle = executor.handle();
        spawn_echo_servers(&handle);
        let peers: Vec<_> = (0..3).map(|_| net.connect(&server_address()).unwrap()).collect();
        peers.iter().for_each(|peer| peer.write(&[3; 2000]));
        for _ in 0..seed {
            executor.turn(Some(Duration::from_micros(100))).unwrap();
        }
        drop((handle, executor));
        net.advance(Duration::from_secs(1));
        assert!(peers.iter().all(|peer| peer.is_reset() || peer.is_at_end() || !peer.read().is_empty()), "seed {seed}");
        assert_eq!(net.connect(&server_address()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_net_is_shown_by_seed_and_time() {
    let (_executor, net) = Executor::simulated(ExecutorConfig::default(), SimConfig::new(5));
    let net: SimNet = net.clone();
    assert!(format!("{net:?}").contains("seed: 5"));
}
