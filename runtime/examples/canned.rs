//! The floor of the runtime: every received piece is answered with one canned HTTP response for each request in it.
//!
//! `cargo run --release -p ringgate-runtime --example canned -- 127.0.0.1:8080 [io_uring|epoll]`

use ringgate_runtime::driver::DriverChoice;
use ringgate_runtime::executor::{Executor, ExecutorConfig};
use ringgate_runtime::net::ByteStream as _;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, World!";

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let driver = match arguments.next().as_deref() {
        Some("epoll") => DriverChoice::Epoll,
        Some("io_uring") => DriverChoice::IoUring,
        _ => DriverChoice::Auto,
    };
    let mut executor = Executor::new(ExecutorConfig { driver, ..ExecutorConfig::default() })?;
    let handle = executor.handle();
    println!("{}", handle.driver_report().line);
    executor.block_on(async {
        let listener = handle.listen(&address.parse().map_err(std::io::Error::other)?)?;
        loop {
            let mut stream = listener.accept().await?;
            let core = handle.clone();
            let serve = async move {
                while let Ok(lease) = stream.recv().await {
                    if lease.is_empty() {
                        return;
                    }
                    let mut buf = core.take_send_buf();
                    for _ in lease.windows(4).filter(|window| *window == b"\r\n\r\n") {
                        buf.tail().extend_from_slice(ANSWER);
                    }
                    if stream.is_sending() {
                        let _ = std::future::poll_fn(|context| stream.poll_sent(context)).await;
                    }
                    stream.start_send(buf);
                }
            };
            handle.spawn("canned", serve).detach();
        }
    })
}
