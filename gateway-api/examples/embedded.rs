//! A gateway inside another program: started, asked, stopped.
//!
//! ```sh
//! cargo run --example embedded
//! ```

use ringgate::{App, Gateway, Request};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

fn main() -> std::io::Result<()> {
    let gateway = Gateway::builder(|_| App::new().route("/", |_: &Request| "served from within\n"))
        .listen("127.0.0.1:0".parse().expect("an address"))
        .start()?;
    let address = gateway.addresses()[0].to_string();
    println!("listening on {address}");

    let mut client = TcpStream::connect(&address)?;
    client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    println!("{answer}");
    drop(client);

    let report = gateway.stop(Duration::from_secs(5))?;
    println!("stopped in {:?}, {} connections cut", report.took, report.cut);
    Ok(())
}
