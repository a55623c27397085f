//! Somebody else's reading of RFC 9113: the cases of the `httpwg` crate, a successor of h2spec, each on both drivers.

use buffet::{IntoHalves, bufpool::initialize_allocator_with_num_bufs};
use httpwg::{Config, Conn};
use ringgate::{App, BodyError, Core, Request};
use ringgate_tests::gateway::{drivers, start_gateway};
use std::{rc::Rc, time::Duration};
use tokio::{
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Builder,
    task::LocalSet,
};

/// What a case waits for a frame; a few wait as long to see that none comes.
const FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// Buffers of 4 KiB that a case may use.
const BUFFER_COUNT: u32 = 1024;

/// Cases about bodies need a handler that reads them; some others a response that a window can hold back.
async fn answer(mut request: Request) -> Result<&'static str, BodyError> {
    request.body_mut().collect().await?;
    Ok("an answer of more than a few bytes\n")
}

/// The suite's idea of a socket.
struct Socket(TcpStream);

impl IntoHalves for Socket {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    fn into_halves(self) -> (Self::Read, Self::Write) {
        self.0.into_split()
    }
}

/// Puts one case to a gateway of its own, on every driver of this machine.
fn judge<F: Future<Output = eyre::Result<()>>>(case: impl Fn(Conn<Socket>) -> F) {
    for driver in drivers() {
        let application = |_: &Core| App::new().fallback(answer);
        let gateway = start_gateway(driver, application, |gateway| gateway);
        let talk = async {
            initialize_allocator_with_num_bufs(BUFFER_COUNT).unwrap();
            let stream = TcpStream::connect(gateway.addresses()[0].to_string()).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let config = Config { timeout: FRAME_TIMEOUT, ..Config::default() };
            case(Conn::new(Rc::new(config), Socket(stream))).await
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let verdict = LocalSet::new().block_on(&runtime, talk);
        verdict.unwrap_or_else(|objection| panic!("{driver:?}: {objection:?}"));
        gateway.stop(Duration::ZERO).unwrap();
    }
}

httpwg_macros::tests! {{
    crate::judge(test);
}}
