//! The smallest server around the machine: blocking sockets, one thread per connection, prior-knowledge HTTP/2.
//! It is here to let independent clients talk to the machine; the gateway is elsewhere.
//!
//! `cargo run --release --example http2_serve -- 127.0.0.1:8080 [connections]`, then `nghttp -v http://127.0.0.1:8080/hello`

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use http::{HeaderName, HeaderValue, StatusCode};
use ringgate_protocols::http2::connection::{Connection, Event};
use ringgate_protocols::http2::request::HeadPool;
use ringgate_protocols::http2::stream::StreamKey;
use ringgate_protocols::limits::Http2Limits;

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut connection, mut heads) = (Connection::new(Http2Limits::default(), 0), HeadPool::new());
    let (mut input, mut out, begun) = (vec![0; 65_536], Vec::new(), Instant::now());
    // Bodies of requests until they end, and of responses that windows hold back: (bytes, sent so far).
    let mut bodies: HashMap<StreamKey, Vec<u8>> = HashMap::new();
    let mut lent: HashMap<StreamKey, (Vec<u8>, usize)> = HashMap::new();
    let fields = [("server", "ringgate"), ("content-type", "text/plain")]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    loop {
        connection.poll_output(&mut out);
        while let Some(grant) = connection.next_data(&mut out, 16_384) {
            if let Some((body, sent)) = lent.get_mut(&grant.stream) {
                out.extend_from_slice(&body[*sent..*sent + grant.length]);
                *sent += grant.length;
            }
            if grant.end_stream {
                lent.remove(&grant.stream);
            }
        }
        socket.write_all(&out)?;
        out.clear();
        if connection.is_finished() {
            return Ok(());
        }
        let length = socket.read(&mut input)?;
        if length == 0 {
            return Ok(());
        }
        let mut at = 0;
        let mut answer = |connection: &mut Connection, out: &mut Vec<u8>, stream, body: Vec<u8>| {
            let fields = fields.iter().map(|(name, value)| (name, value));
            let taken = connection.send_response_with_body(out, stream, StatusCode::OK, fields, &body);
            if taken.is_ok_and(|taken| taken < body.len()) {
                lent.insert(stream, (body, 0));
            }
            connection.stream_done(stream);
        };
        while let Ok(step) = connection.handle_input(&mut heads, &input[at..length], begun.elapsed().as_millis() as u64)
        {
            match step.event {
                None => break,
                Some(Event::Request { stream, head, end_stream }) => {
                    let large = head.head.path.of(head.bytes()) == b"/big";
                    heads.recycle(head);
                    if !end_stream {
                        bodies.insert(stream, Vec::new());
                    } else if large {
                        answer(&mut connection, &mut out, stream, vec![b'b'; 1 << 20]);
                    } else {
                        answer(&mut connection, &mut out, stream, b"Hello, world!".to_vec());
                    }
                }
                Some(Event::Data { stream, span, end_stream }) => {
                    bodies.entry(stream).or_default().extend_from_slice(span.of(&input[at..]));
                    connection.release_capacity(stream, span.len());
                    if end_stream {
                        let body = bodies.remove(&stream).unwrap_or_default();
                        answer(&mut connection, &mut out, stream, body);
                    }
                }
                Some(Event::Trailers { stream, head }) => {
                    heads.recycle(head);
                    let body = bodies.remove(&stream).unwrap_or_default();
                    answer(&mut connection, &mut out, stream, body);
                }
                Some(Event::Reset { stream, .. }) => {
                    bodies.remove(&stream);
                    connection.stream_done(stream);
                }
                Some(Event::Goaway { .. }) => {}
            }
            at += step.consumed;
        }
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let connections = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    let listener = TcpListener::bind(address)?;
    let threads: Vec<_> =
        listener.incoming().take(connections).map(|socket| std::thread::spawn(move || serve(socket?))).collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}
