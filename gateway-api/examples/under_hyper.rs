//! An application of ours on somebody else's server: hyper speaks HTTP, tokio waits, the handlers stay as they are.
//!
//! ```sh
//! cargo run --example under_hyper --features tower
//! curl http://127.0.0.1:8080/slow; curl --http2-prior-knowledge http://127.0.0.1:8080/features
//! ```

use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ringgate::{App, Config, Core, Request, Response, Site, blocking, tower::Origin};
use ringgate_runtime::executor::{Executor, ExecutorConfig};
use std::{future::Future, io, time::Duration};
use tokio::{
    io::unix::AsyncFd,
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
    time::timeout,
};

/// Nothing here knows where it runs.
fn application(_: &Core) -> App {
    App::new()
        .route("/", |request: &Request| format!("hello over {}\n", request.protocol()))
        .route("/slow", async |request: Request| {
            request.handle().sleep(Duration::from_millis(100)).await;
            "slept on a timer of ours\n"
        })
        .route("/load", |_: blocking::Request| std::fs::read_to_string("/proc/loadavg"))
        .route("/echo", async |request: Request| Response::stream(request.into_body()))
        .route("/features", |request: &Request| {
            request.features().iter().map(|(name, is_possible)| format!("{name}: {is_possible}\n")).collect::<String>()
        })
}

/// The executor lives on the loop of tokio: this is how that waits.
async fn drive(site: Site, executor: Executor) -> io::Result<()> {
    #[allow(deprecated, reason = "what replaces it is unsafe; with a descriptor that it owns this one is sound")]
    let ready = AsyncFd::new(executor.readiness()?)?;
    site.drive(executor, async |time: Option<Duration>| {
        let readable = async {
            if let Ok(mut guard) = ready.readable().await {
                guard.clear_ready();
            }
        };
        let _ = timeout(time.unwrap_or(Duration::MAX), readable).await;
    })
    .await
}

/// HTTP/2 by its preface, everything else is HTTP/1.
async fn serve(site: Site, stream: TcpStream) -> io::Result<()> {
    let origin = Origin::of(stream.peer_addr().ok().map(Into::into), stream.local_addr().ok().map(Into::into));
    let with_origin = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(origin.clone());
        hyper::service::Service::call(&TowerToHyperService::new(site.clone()), request)
    });
    let mut first = [0; 1];
    stream.peek(&mut first).await?;
    let served = if first == *b"P" && is_preface(&stream).await? {
        http2::Builder::new(Local).timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), with_origin).await
    } else {
        // Pipelined responses leave together.
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).pipeline_flush(true);
        server.serve_connection(TokioIo::new(stream), with_origin).await
    };
    served.map_err(io::Error::other)
}

async fn is_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; 4];
    while stream.peek(&mut start).await? < start.len() {
        tokio::task::yield_now().await;
    }
    Ok(start == *b"PRI ")
}

/// Handlers need not be `Send`, so neither are hyper's tasks.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

async fn run() -> io::Result<()> {
    let executor = Executor::new(ExecutorConfig::default())?;
    let site = Site::new(&executor.handle(), Config::default(), application);
    spawn_local(drive(site.clone(), executor));
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = serve(site.clone(), stream);
        spawn_local(async move {
            if let Err(error) = serving.await {
                eprintln!("{error}");
            }
        });
    }
}

fn main() -> io::Result<()> {
    let tokio = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&tokio, run())
}
