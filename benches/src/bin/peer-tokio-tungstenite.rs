//! tokio-tungstenite on a single-threaded tokio runtime: WebSocket echo.

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use ringgate_benches::raw::listen_as_told;
use tokio_tungstenite::tungstenite::Error;

/// Echoes; messages that are already here are answered together with one flush.
async fn echo(stream: tokio::net::TcpStream) -> Result<(), Error> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let mut message = message?;
        loop {
            if message.is_close() {
                return Ok(());
            }
            socket.feed(message).await?;
            match socket.next().now_or_never() {
                Some(Some(next)) => message = next?,
                Some(None) => return Ok(()),
                None => break,
            }
        }
        socket.flush().await?;
    }
    Ok(())
}

fn main() -> Result<(), String> {
    let listener = listen_as_told()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(|error| error.to_string())?;
    let served: std::io::Result<()> = tokio::task::LocalSet::new().block_on(&runtime, async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(echo(stream).map(drop));
        }
    });
    served.map_err(|error| error.to_string())
}
