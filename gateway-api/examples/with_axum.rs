//! An old application, an axum `Router`, beside handlers of our own: adoption one route at a time.
//!
//! ```sh
//! cargo run --example with_axum --features tower
//! curl http://127.0.0.1:8080/legacy/sleep http://127.0.0.1:8080/legacy/hot
//! curl -T README.md http://127.0.0.1:8080/legacy/count
//! ```

use axum::{
    Extension, Router,
    body::Bytes,
    routing::{get, put},
};
use ringgate::{
    App, Gateway, Request,
    tower::{self, Origin},
};
use std::{io, time::Duration};
use tokio::runtime::{Builder, Handle};

/// What was there before. It knows nothing of us but the extension that says where a request came from.
fn legacy() -> Router {
    Router::new()
        .route("/", get(|| async { "the old application\n" }))
        .route("/count", put(|body: Bytes| async move { format!("{} bytes\n", body.len()) }))
        .route("/hot", get(|| async { "the old answer\n" }))
        .route("/sleep", get(sleep))
        .route("/who", get(who))
}

/// Sleeps on tokio, which therefore must be there.
async fn sleep() -> &'static str {
    tokio::time::sleep(Duration::from_millis(10)).await;
    "slept on tokio\n"
}

async fn who(Extension(origin): Extension<Origin>) -> String {
    let peer = origin.peer_address().map(ToString::to_string).unwrap_or_default();
    format!("{peer} asked for {} by {}\n", origin.uri(), origin.protocol())
}

/// Made on each core. What tokio drives for the old application, timers and sockets, it drives on its own thread.
fn application(tokio: Handle) -> App {
    let enter = move |poll: &mut dyn FnMut()| {
        let _entered = tokio.enter();
        poll();
    };
    App::new()
        .mount_service("/legacy", tower::handler(legacy()).within(enter))
        .route("/legacy/hot", |_: &Request| "the new answer, on the core\n")
        .route("/", |request: &Request| format!("try /legacy, you on {}\n", request.protocol()))
}

fn main() -> io::Result<()> {
    let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = tokio.handle().clone();
    let gateway = Gateway::builder(move |_| application(handle.clone()))
        .listen("127.0.0.1:8080".parse().expect("an address"))
        .start()?;
    println!("listening on {}", gateway.addresses()[0]);
    gateway.wait()?;
    Ok(())
}
