//! What an idle connection makes a gateway hold, counted by the allocator. One test only, since the allocator counts the
//! whole process.

use ringgate::{
    App, Core, Request,
    websocket::{DeflateConfig, SocketError, WebSocket, websocket},
};
use ringgate_tests::{
    gateway::{Ground, Server, drivers},
    websocket::{frame, opening},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a core keeps by connection (sockets, timers, places in the register) it keeps in lists that double. Between these
/// two numbers each of them does so once, from 128 to 256: what it grows by is what the connections between them take.
const BEFORE: usize = 80;
const AFTER: usize = BEFORE + 128;

/// Bytes and blocks on the heap.
fn held() -> (usize, usize) {
    let stats = COUNTED.stats();
    (stats.bytes_allocated - stats.bytes_deallocated, stats.allocations - stats.deallocations)
}

async fn echo(mut socket: WebSocket) -> Result<(), SocketError> {
    while let Some(message) = socket.recv().await {
        let message = message?;
        socket.send(message).await?;
    }
    Ok(())
}

fn app(_: &Core) -> App {
    App::new()
        .route("/hello", |_: &Request| "hello\n")
        .route("/plain", websocket(echo))
        .route("/deflate", websocket(echo).deflate(DeflateConfig::default()).compress_from(0))
}

fn listen(socket: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("an answer");
        heard.extend(byte);
    }
    heard
}

fn http1(mut socket: TcpStream) -> TcpStream {
    socket.write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    listen(&mut socket, b"\r\n\r\nhello\n");
    socket
}

fn plain(mut socket: TcpStream) -> TcpStream {
    socket.write_all(opening("/plain", "").as_bytes()).unwrap();
    listen(&mut socket, b"\r\n\r\n");
    socket.write_all(&frame(0x81, b"Hello")).unwrap();
    assert_eq!(listen(&mut socket, b"Hello"), b"\x81\x05Hello");
    socket
}

/// Compressed in both directions, without context takeover (RFC 7692 section 7.2.3.2).
fn deflated(mut socket: TcpStream) -> TcpStream {
    let offer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
    socket.write_all(opening("/deflate", &format!("sec-websocket-extensions: {offer}\r\n")).as_bytes()).unwrap();
    let answer = listen(&mut socket, b"\r\n\r\n");
    assert!(String::from_utf8_lossy(&answer).contains("server_no_context_takeover"));
    // A hundred times "ab".
    socket.write_all(&frame(0xc1, b"\x4a\x4c\x4a\x1c\x16\x10\x00")).unwrap();
    let mut header = [0; 2];
    socket.read_exact(&mut header).expect("an answer");
    assert_eq!(header[0], 0xc1, "a compressed message");
    let mut payload = vec![0; usize::from(header[1])];
    socket.read_exact(&mut payload).expect("its payload");
    socket
}

/// Bytes and blocks for each connection that is opened so, and then is idle.
fn each(server: &Server, open: fn(TcpStream) -> TcpStream) -> (usize, usize) {
    let mut sockets = Vec::with_capacity(AFTER);
    // What the core keeps for all connections comes first.
    sockets.extend((0..BEFORE).map(|_| open(server.socket())));
    let settled = || {
        // The answer is heard a moment before its connection is at rest.
        thread::sleep(Duration::from_millis(50));
        held()
    };
    let (bytes, blocks) = settled();
    sockets.extend((BEFORE..AFTER).map(|_| open(server.socket())));
    let (more_bytes, more_blocks) = settled();
    drop(sockets);
    server.await_count("connections_open", 0);
    ((more_bytes - bytes) / (AFTER - BEFORE), (more_blocks - blocks) / (AFTER - BEFORE))
}

/// Makes of a socket what the test holds.
type Open = fn(TcpStream) -> TcpStream;

/// The bounds leave room for a word or two, and for no field that nobody has thought about. An allocator adds 8 to 23 bytes
/// for each block: with them an idle connection of HTTP/1 stays below 512 bytes, and a WebSocket below 1 KiB.
#[test]
fn an_idle_connection_is_small() {
    for driver in drivers() {
        let kinds: [(&str, Open, usize, usize); 3] = [
            ("HTTP/1.1", http1, 480, 2),
            ("a WebSocket", plain, 872, 4),
            ("a WebSocket that compresses without context takeover", deflated, 872, 4),
        ];
        for (what, open, bytes_max, blocks_max) in kinds {
            // A gateway of its own: its lists have not grown yet.
            let server = Server::start(Ground::Kernel(driver), app);
            let (bytes, blocks) = each(&server, open);
            println!("on {driver:?}: {what}: {bytes} bytes, {blocks} blocks of its own and places in lists");
            assert!(bytes <= bytes_max, "on {driver:?}: {what} holds {bytes} bytes when it is idle");
            assert!(blocks <= blocks_max, "on {driver:?}: {what} holds {blocks} blocks when it is idle");
        }
    }
}
