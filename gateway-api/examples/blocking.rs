//! Old-fashioned code, one request per thread, beside async code on the same port.
//!
//! ```sh
//! cargo run --example blocking
//! curl -T README.md http://127.0.0.1:8080/count
//! ```

use ringgate::{App, Gateway, Request, Response, any, blocking};
use std::io::{self, BufRead, BufReader, Write};

/// Reads lines as they come and answers at the end.
fn count(request: blocking::Request) -> io::Result<String> {
    let mut words = 0;
    for line in BufReader::new(request.into_body()).lines() {
        words += line?.split_whitespace().count();
    }
    Ok(format!("{words} words\n"))
}

/// Writes for as long as somebody reads.
fn count_up(_: blocking::Request) -> Response {
    let write = |out: &mut dyn Write| (0..100_000).try_for_each(|number| writeln!(out, "{number}"));
    Response::writer(write).content_type("text/plain")
}

fn main() -> io::Result<()> {
    let application = |_: &_| {
        App::new()
            .route("/", |_: &Request| "try /count and /count-up\n")
            .route("/count", any(count))
            .route("/count-up", any(count_up))
    };
    Gateway::builder(application).listen("127.0.0.1:8080".parse().expect("an address")).run()
}
