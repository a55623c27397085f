//! Listeners and streams behave the same on every driver.

mod kernel;

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use ringgate_runtime::buffer::{Piece, ReceiveConfig, SendBuf};
use ringgate_runtime::driver::RingConfig;
use ringgate_runtime::executor::{Executor, ExecutorConfig, Handle};
use ringgate_runtime::net::{Address, ByteStream as _, SocketStream};

/// Every driver, in its usual size and so small that its queues overflow all the time.
fn on_every_driver(mut test: impl FnMut(&mut Executor)) {
    for driver in kernel::drivers() {
        let usual = ExecutorConfig { driver, ..ExecutorConfig::default() };
        let tiny = ExecutorConfig {
            ring: RingConfig { submissions: 8, completions: 16, without: &[] },
            receive: ReceiveConfig { buffer_bytes: 64, buffers: 2 },
            ..usual.clone()
        };
        for config in [usual, tiny] {
            println!("{driver:?}, {:?}", config.ring);
            test(&mut Executor::new(config).unwrap());
        }
    }
}

fn loopback() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

async fn pair(handle: &Handle) -> (SocketStream, TcpStream) {
    let listener = handle.listen(&loopback()).unwrap();
    let Some(Address::Tcp(address)) = listener.local_address().unwrap() else { panic!("a TCP address") };
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (listener.accept().await.unwrap(), client)
}

/// Nothing is lost: all buffers and sockets are back when everything is dropped.
fn assert_at_rest(executor: &mut Executor) {
    let handle = executor.handle();
    executor.block_on(async { handle.sleep(Duration::from_millis(20)).await });
    let counters = handle.counters();
    assert_eq!(
        (counters.get("sockets"), counters.get("buffers_lent"), counters.get("tasks")),
        (Some(0), Some(0), Some(0))
    );
}

#[test]
fn echoes_until_the_peer_finishes() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let (mut server, mut client) = pair(&handle).await;
            let thread = std::thread::spawn(move || {
                let mut answer = Vec::new();
                for size in [1_usize, 63, 64, 65, 1000, 40_000] {
                    let message = vec![size as u8; size];
                    client.write_all(&message).unwrap();
                    let mut echo = vec![0; size];
                    client.read_exact(&mut echo).unwrap();
                    assert_eq!(echo, message);
                }
                client.shutdown(Shutdown::Write).unwrap();
                client.read_to_end(&mut answer).unwrap();
                answer
            });
            loop {
                let lease = server.recv().await.unwrap();
                if lease.is_empty() {
                    break;
                }
                let mut buf = handle.take_send_buf();
                buf.push(Piece::Lease(lease));
                server.send(buf).await.unwrap();
            }
            server.send(SendBuf::from_vec(b"bye".to_vec())).await.unwrap();
            drop(server);
            assert_eq!(thread.join().unwrap(), b"bye");
        });
        assert_at_rest(executor);
    });
}

#[test]
fn a_large_vectored_send_reaches_a_slow_reader_whole() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let (mut server, mut client) = pair(&handle).await;
            let mut expected = Vec::new();
            let mut buf = SendBuf::default();
            for piece in 0..600_u32 {
                let bytes = vec![piece as u8; 20_000];
                expected.extend_from_slice(&bytes);
                buf.push(Piece::Owned(bytes));
            }
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                let mut chunk = vec![0; 70_000];
                loop {
                    std::thread::sleep(Duration::from_micros(200));
                    match client.read(&mut chunk).unwrap() {
                        0 => return received,
                        length => received.extend_from_slice(&chunk[..length]),
                    }
                }
            });
            server.start_send(buf);
            server.shutdown_write();
            poll_fn(|context| server.poll_sent(context)).await.unwrap();
            assert!(reader.join().unwrap() == expected);
        });
        assert_at_rest(executor);
    });
}

/// More pieces than one system call takes, and so few bytes that the socket is never full: nothing but the driver knows
/// that there is more.
#[test]
fn many_small_pieces_leave_without_a_pause() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            for pieces in [256_u32, 257, 600, 1_300] {
                let (mut server, mut client) = pair(&handle).await;
                let mut buf = SendBuf::default();
                let mut expected = Vec::new();
                for piece in 0..pieces {
                    expected.extend_from_slice(&piece.to_le_bytes());
                    buf.push(Piece::Owned(piece.to_le_bytes().to_vec()));
                }
                server.send(buf).await.unwrap();
                let mut received = vec![0; expected.len()];
                client.read_exact(&mut received).unwrap();
                assert!(received == expected, "{pieces} pieces");
            }
        });
        assert_at_rest(executor);
    });
}

#[test]
fn a_reader_that_does_not_read_stops_the_peer_and_loses_nothing() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let (mut server, mut client) = pair(&handle).await;
            let message: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
            let expected = message.clone();
            let writer = std::thread::spawn(move || client.write_all(&message));
            let first = server.recv().await.unwrap().to_vec();
            handle.sleep(Duration::from_millis(100)).await;
            assert!(handle.counters().get("receive_bytes").unwrap() < 2_000_000, "the kernel kept delivering");
            let mut received = first;
            while received.len() < expected.len() {
                received.extend_from_slice(&server.recv().await.unwrap());
            }
            assert!(received == expected);
            writer.join().unwrap().unwrap();
        });
        assert_at_rest(executor);
    });
}

#[test]
fn a_reset_is_an_error_of_both_directions() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let (mut server, client) = pair(&handle).await;
            let socket = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
            socket.unwrap();
            drop(client);
            assert!(server.recv().await.is_err());
            let mut failed = false;
            for _ in 0..3 {
                failed |= server.send(SendBuf::from_vec(vec![0; 100])).await.is_err();
            }
            assert!(failed);
        });
        assert_at_rest(executor);
    });
}

#[test]
fn a_reset_in_the_middle_of_a_send_ends_it() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let (mut server, mut client) = pair(&handle).await;
            server.start_send(SendBuf::from_vec(vec![7; 20_000_000]));
            let reset = std::thread::spawn(move || {
                let mut some = vec![0; 1000];
                client.read_exact(&mut some).unwrap();
                rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
            });
            assert!(poll_fn(|context| server.poll_sent(context)).await.is_err());
            reset.join().unwrap();
        });
        assert_at_rest(executor);
    });
}

#[test]
fn dropping_a_stream_with_everything_in_flight_frees_all() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            for round in 0..50 {
                let (mut server, mut client) = pair(&handle).await;
                client.write_all(&[1; 5000]).unwrap();
                if round % 2 == 0 {
                    drop(server.recv().await);
                }
                server.start_send(SendBuf::from_vec(vec![7; 8_000_000]));
                if round % 3 == 0 {
                    handle.yield_now().await;
                }
                if round % 5 == 0 { server.abort() } else { drop(server) }
            }
        });
        assert_at_rest(executor);
    });
}

#[test]
fn many_connections_at_once() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let listener = handle.listen(&loopback()).unwrap();
            let Some(Address::Tcp(address)) = listener.local_address().unwrap() else { panic!("a TCP address") };
            let clients = std::thread::spawn(move || {
                let mut clients: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
                for round in 0..5_u8 {
                    clients.iter_mut().for_each(|client| client.write_all(&[round; 100]).unwrap());
                    for client in &mut clients {
                        let mut echo = [0; 100];
                        client.read_exact(&mut echo).unwrap();
                        assert_eq!(echo, [round; 100]);
                    }
                }
            });
            let mut tasks = Vec::new();
            for _ in 0..200 {
                let mut stream = listener.accept().await.unwrap();
                tasks.push(handle.spawn("echo", async move {
                    loop {
                        let lease = stream.recv().await.unwrap();
                        if lease.is_empty() {
                            return;
                        }
                        stream.send(SendBuf::from_vec(lease.to_vec())).await.unwrap();
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            clients.join().unwrap();
        });
        assert_at_rest(executor);
    });
}

#[test]
fn connects_or_says_why_not() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Tcp(listener.local_addr().unwrap());
            let mut stream = handle.connect(&address).await.unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"hello").unwrap();
            assert_eq!(&stream.recv().await.unwrap()[..], b"hello");
            drop((stream, peer, listener));
            assert_eq!(handle.connect(&address).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        });
        assert_at_rest(executor);
    });
}

#[test]
fn the_end_of_a_unix_stream_is_seen_also_when_it_comes_with_the_last_bytes() {
    for driver in kernel::drivers() {
        let receive = ReceiveConfig { buffer_bytes: 64, buffers: 32 };
        let executor = &mut Executor::new(ExecutorConfig { driver, receive, ..ExecutorConfig::default() }).unwrap();
        let handle = executor.handle();
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        executor.block_on(async {
            let mut stream = handle.adopt_stream(near.into()).unwrap();
            // The driver waits for input already when both happen within one turn.
            poll_fn(|context| {
                assert!(stream.poll_recv(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            handle.sleep(Duration::from_millis(5)).await;
            // More than one receive takes.
            far.write_all(&[b'x'; 700]).unwrap();
            far.shutdown(Shutdown::Both).unwrap();
            let mut received = 0;
            loop {
                let next = timeout(&handle, stream.recv()).await.expect("the end is not lost").unwrap();
                received += next.len();
                if next.is_empty() {
                    break;
                }
            }
            assert_eq!(received, 700);
        });
        assert_at_rest(executor);
    }
}

/// Receives until there are `count` bytes; nothing else happens meanwhile that could tell of them once more.
async fn receive_exactly(handle: &Handle, stream: &mut SocketStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        bytes.extend_from_slice(&timeout(handle, stream.recv()).await.expect("nothing is left unread").unwrap());
    }
    bytes
}

/// A receive stops before urgent bytes (RFC 9293 section 3.8.5), though more has come behind them.
#[test]
fn what_stands_behind_urgent_bytes_is_received_too() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        executor.block_on(async {
            let (mut server, mut client) = pair(&handle).await;
            for _ in 0..3 {
                client.write_all(b"before ").unwrap();
                rustix::net::send(&client, b"!", SendFlags::OOB).unwrap();
                client.write_all(b"behind").unwrap();
                handle.sleep(Duration::from_millis(2)).await;
                assert_eq!(receive_exactly(&handle, &mut server, 13).await, b"before behind");
            }
            // And where somebody waits when they come.
            let (mut waiting, mut urgent) = pair(&handle).await;
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                urgent.write_all(b"before ").unwrap();
                rustix::net::send(&urgent, b"!", SendFlags::OOB).unwrap();
                urgent.write_all(b"behind").unwrap();
                urgent
            });
            assert_eq!(receive_exactly(&handle, &mut waiting, 13).await, b"before behind");
            let urgent = thread.join().unwrap();
            drop(urgent);
            assert!(timeout(&handle, waiting.recv()).await.expect("the end").unwrap().is_empty());
        });
        assert_at_rest(executor);
    });
}

/// A receive stops behind bytes with which descriptors were passed, though more has come.
#[test]
fn what_stands_behind_passed_descriptors_is_received_too() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        executor.block_on(async {
            let mut stream = handle.adopt_stream(near.into()).unwrap();
            for _ in 0..3 {
                let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut descriptors = SendAncillaryBuffer::new(&mut space);
                let passed = [far.as_fd()];
                assert!(descriptors.push(SendAncillaryMessage::ScmRights(&passed)));
                for bytes in [b"first ", b"second"] {
                    let bytes = [std::io::IoSlice::new(bytes)];
                    rustix::net::sendmsg(&far, &bytes, &mut descriptors, SendFlags::empty()).unwrap();
                    descriptors.clear();
                }
                assert_eq!(receive_exactly(&handle, &mut stream, 12).await, b"first second");
            }
        });
        drop(far);
        assert_at_rest(executor);
    });
}

/// `None` if it takes longer than five seconds.
async fn timeout<T>(handle: &Handle, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut sleep = std::pin::pin!(handle.sleep(Duration::from_secs(5)));
    poll_fn(|context| match work.as_mut().poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

#[test]
fn unix_sockets_are_served_and_abandoned_files_replaced() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        let path = std::env::temp_dir().join(format!("ringgate-net-{}.sock", std::process::id()));
        let address = Address::Unix(path.clone());
        executor.block_on(async {
            let listener = handle.listen(&address).unwrap();
            assert!(handle.listen(&address).is_err(), "a socket that is listened on is not stolen");
            drop(listener);
            handle.sleep(Duration::from_millis(5)).await;
            let listener = handle.listen(&address).unwrap();
            let mut client = handle.connect(&address).await.unwrap();
            let mut server = listener.accept().await.unwrap();
            client.send(SendBuf::from_vec(b"over unix".to_vec())).await.unwrap();
            assert_eq!(&server.recv().await.unwrap()[..], b"over unix");
            assert_eq!(server.peer_address().unwrap(), None);
            assert_eq!(server.local_address().unwrap(), Some(address.clone()));
        });
        std::fs::remove_file(path).unwrap();
        assert_at_rest(executor);
    });
}

/// What a program hands over it may have duplicated before: closing our descriptor then does not close the socket.
#[test]
fn a_closed_stream_that_somebody_else_holds_too_costs_no_turns() {
    on_every_driver(|executor| {
        let handle = executor.handle();
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        let _theirs = near.try_clone().unwrap();
        executor.block_on(async {
            let mut stream = handle.adopt_stream(near.into()).unwrap();
            far.write_all(b"seen").unwrap();
            assert_eq!(&stream.recv().await.unwrap()[..], b"seen");
            drop(stream);
            far.write_all(b"for somebody else").unwrap();
            // Whatever the close itself takes.
            handle.sleep(Duration::from_millis(5)).await;
            let before = handle.counters().get("enters").unwrap();
            handle.sleep(Duration::from_millis(50)).await;
            let enters = handle.counters().get("enters").unwrap() - before;
            assert!(enters <= 10, "{enters} system calls in a time in which nothing happens");
        });
        assert_at_rest(executor);
    });
}
