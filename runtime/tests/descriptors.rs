//! Descriptors: what happens when none is left, and that none is lost. One test in a process of its own, because both
//! the limit and the count are the whole process's.

mod kernel;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringgate_runtime::buffer::SendBuf;
use ringgate_runtime::executor::{Executor, ExecutorConfig, Handle};
use ringgate_runtime::net::{Address, Listener};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CONNECTIONS: usize = 10_000;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn listen(handle: &Handle) -> (Listener, std::net::SocketAddr) {
    let listener = handle.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Some(Address::Tcp(address)) = listener.local_address().unwrap() else { panic!("a TCP address") };
    (listener, address)
}

#[test]
fn descriptors() {
    for driver in kernel::drivers() {
        println!("{driver:?}");
        let config = ExecutorConfig { driver, ..ExecutorConfig::default() };
        accept_pauses_and_goes_on(&mut Executor::new(config.clone()).unwrap());
        connections_come_and_go(&mut Executor::new(config).unwrap());
    }
}

fn accept_pauses_and_goes_on(executor: &mut Executor) {
    let handle = executor.handle();
    let (listener, address) = listen(&handle);
    let clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let before = getrlimit(Resource::Nofile);
    // Room for about five more.
    let limit = Rlimit { current: Some(open_descriptors() as u64 + 5), maximum: before.maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
    executor.block_on(async {
        let accept_all = handle.spawn("accept", async move {
            let mut accepted = Vec::new();
            for _ in 0..20 {
                accepted.push(listener.accept().await.unwrap());
                // Those that were accepted go, and make room.
                if accepted.len() == 3 {
                    accepted.clear();
                }
            }
        });
        accept_all.await.unwrap();
    });
    executor.block_on(async { handle.sleep(Duration::from_millis(20)).await });
    setrlimit(Resource::Nofile, before).unwrap();
    let counters = handle.counters();
    assert_eq!(counters.get("accepts"), Some(20));
    assert!(counters.get("accept_errors").unwrap() > 0, "the limit was never met");
    assert_eq!(counters.get("sockets"), Some(0));
    drop(clients);
}

fn connections_come_and_go(executor: &mut Executor) {
    let handle = executor.handle();
    let before = open_descriptors();
    executor.block_on(async {
        let (listener, address) = listen(&handle);
        let clients = std::thread::spawn(move || {
            for number in 0..CONNECTIONS {
                let mut client = TcpStream::connect(address).unwrap();
                match number % 4 {
                    0 => {}
                    1 => client.write_all(b"and away").unwrap(),
                    2 => rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap(),
                    _ => {
                        client.write_all(b"ping").unwrap();
                        let mut echo = [0; 4];
                        client.read_exact(&mut echo).unwrap();
                    }
                }
            }
        });
        for _ in 0..CONNECTIONS {
            let mut stream = listener.accept().await.unwrap();
            let serve = async move {
                while let Ok(lease) = stream.recv().await {
                    if lease.is_empty() || stream.send(SendBuf::from_vec(lease.to_vec())).await.is_err() {
                        return;
                    }
                }
            };
            handle.spawn("connection", serve).detach();
        }
        while !clients.is_finished() {
            handle.sleep(Duration::from_millis(5)).await;
        }
        clients.join().unwrap();
        handle.sleep(Duration::from_millis(100)).await;
        let counters = handle.counters();
        let left = ["sockets", "tasks", "buffers_lent"].map(|name| counters.get(name).unwrap());
        assert_eq!(left, [1, 0, 0], "only the listener is left");
    });
    executor.block_on(async { handle.sleep(Duration::from_millis(20)).await });
    assert_eq!(open_descriptors(), before);
}
