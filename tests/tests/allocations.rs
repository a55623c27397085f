//! What a request costs the allocator, once its connection has served others: by an inline handler nothing. One test only,
//! since the allocator counts the whole process.

use ringgate::{App, Config, Core, Request};
use ringgate_tests::gateway::{Ground, Server, drivers};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    io::{Read, Write},
    net::TcpStream,
};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 1_000;
/// A thousand requests may fall into several seconds, and each renews the date.
const SELDOM: usize = 50;

fn app(_: &Core) -> App {
    App::new().route("/inline", |_: &Request| "hello\n").route("/async", async |_: Request| "hello\n")
}

/// Blocks taken from the heap by so many requests one after the other, the client's own being none.
fn allocations(socket: &mut TcpStream, path: &str) -> usize {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nuser-agent: test\r\naccept: */*\r\n\r\n");
    let mut answer = [0; 1_024];
    let mut exchange = || {
        socket.write_all(request.as_bytes()).unwrap();
        let mut read = 0;
        while !answer[..read].ends_with(b"\r\n\r\nhello\n") {
            read += socket.read(&mut answer[read..]).unwrap();
        }
    };
    (0..100).for_each(|_| exchange());
    let taken = || COUNTED.stats().allocations + COUNTED.stats().reallocations;
    let before = taken();
    (0..REQUESTS).for_each(|_| exchange());
    taken() - before
}

#[test]
fn an_inline_handler_is_served_without_an_allocation() {
    for driver in drivers() {
        let mut config = Config::default();
        // To look at the memory of the process a file is read, five times a second.
        config.limits.process_bytes_max = Some(u64::MAX);
        let server = Server::start_with(Ground::Kernel(driver), app, config);
        let mut socket = server.socket();
        let [inline, waiting] = ["/inline", "/async"].map(|path| allocations(&mut socket, path));
        println!("on {driver:?}: {inline} of an inline handler, {waiting} of an async one, in {REQUESTS} requests");
        assert!(inline < SELDOM, "{driver:?}: {inline} allocations in {REQUESTS} requests");
        assert!(waiting >= REQUESTS, "{driver:?}: the count counts nothing");
    }
}
