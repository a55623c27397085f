//! glommio with httparse: what an io_uring runtime costs that polls for readiness and then receives.

use std::io;

use futures_util::future::FutureExt as _;
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use ringgate_benches::raw::{CANNED, address_as_told};

use futures_util::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Parses every complete request of a read, and answers all of them with one write.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = vec![0; 16 * 1024];
    let mut filled = 0;
    let mut output = Vec::with_capacity(16 * 1024);
    loop {
        let received = stream.read(&mut input[filled..]).await?;
        if received == 0 {
            return Ok(());
        }
        filled += received;
        let mut done = 0;
        output.clear();
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut fields);
            match request.parse(&input[done..filled]) {
                Ok(httparse::Status::Complete(length)) => {
                    done += length;
                    output.extend_from_slice(CANNED);
                }
                Ok(httparse::Status::Partial) => break,
                Err(_) => return Ok(()),
            }
        }
        input.copy_within(done..filled, 0);
        filled -= done;
        if !output.is_empty() {
            stream.write_all(&output).await?;
        }
    }
}

fn main() -> Result<(), String> {
    let address = address_as_told()?;
    // The process is pinned already, so the executor need not choose a core.
    let executor = LocalExecutorBuilder::new(Placement::Unbound);
    let handle = executor.spawn(move || async move {
        let listener = TcpListener::bind(address).expect("the address is free");
        println!("listening on {address}");
        loop {
            let stream = listener.accept().await.expect("accept works");
            stream.set_nodelay(true).expect("a TCP socket takes nodelay");
            glommio::spawn_local(serve(stream).map(drop)).detach();
        }
    });
    let handle = handle.map_err(|error| error.to_string())?;
    handle.join().map_err(|error| error.to_string())
}
