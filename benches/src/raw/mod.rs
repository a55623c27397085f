//! What the reference servers share: their command line, the canned answer, and a bare epoll loop.
//!
//! They are floors, not servers: no routes, no limits, no timeouts, nothing checked that the comparison does not
//! need. A server that does all of that is measured by its distance from them.

pub mod epoll;
pub mod requests;

use std::net::{SocketAddr, TcpListener};

use crate::arguments::Arguments;
use crate::core_affinity;

/// The answer of the reference servers: the same fields, and so the same number of bytes, as Ringgate's showcase.
pub const CANNED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: canned\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

/// The body that `/hello` has on every server of the comparison.
pub const HELLO: &str = "Hello, World!";

/// Reads `--listen IP:PORT` and `--cores N` from the command line, pins the process and listens.
///
/// # Errors
/// A sentence for the user.
pub fn listen_as_told() -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address_as_told()?).map_err(|error| error.to_string())?;
    println!("listening on {}", listener.local_addr().map_err(|error| error.to_string())?);
    Ok(listener)
}

/// Reads `--listen IP:PORT` and `--cores N` from the command line and pins the process.
///
/// # Errors
/// A sentence for the user.
pub fn address_as_told() -> Result<SocketAddr, String> {
    let arguments = Arguments::from_environment(&[])?;
    arguments.finish(&["listen", "cores", "protocol"])?;
    if let Some(core) = arguments.text("cores") {
        let core = core.parse().map_err(|_| "these servers run on one core: --cores N".to_owned())?;
        core_affinity::pin(core).map_err(|error| format!("core {core}: {error}"))?;
    }
    core_affinity::raise_descriptor_limit().map_err(|error| error.to_string())?;
    arguments.text("listen").unwrap_or("127.0.0.1:8080").parse().map_err(|_| "--listen wants IP:PORT".to_owned())
}
