//! hyper 1 on a single-threaded tokio runtime: HTTP/1.1 with pipelined flushes, or
//! HTTP/2 by prior knowledge with `--protocol http2`.

use std::convert::Infallible;
use std::net::TcpListener;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ringgate_benches::arguments::Arguments;
use ringgate_benches::raw::{HELLO, listen_as_told};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(HELLO.as_bytes())));
    response.headers_mut().insert(SERVER, HeaderValue::from_static("hyper"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn main() -> Result<(), String> {
    let arguments = Arguments::from_environment(&[])?;
    let http2 = match arguments.text("protocol") {
        None | Some("http1") => false,
        Some("http2") => true,
        Some(other) => return Err(format!("--protocol {other:?}: http1 or http2")),
    };
    let listener = listen_as_told()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(|error| error.to_string())?;
    runtime.block_on(serve(listener, http2)).map_err(|error| error.to_string())
}

/// One protocol per process: hyper is at its best without the layer that tells them apart.
async fn serve(listener: TcpListener, http2: bool) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // A connection that the client closes ends with an error; there is nobody to tell.
        if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(256);
            tokio::spawn(builder.serve_connection(io, service_fn(hello)));
        } else {
            let mut builder = http1::Builder::new();
            builder.pipeline_flush(true);
            tokio::spawn(builder.serve_connection(io, service_fn(hello)));
        }
    }
}
