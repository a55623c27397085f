//! The HTTP/1 machine on any bytes: whole and cut it says the same, and what it accepts httparse accepts.
//!
//! The first two bytes say where the cuts are. Run with `cargo +nightly fuzz run http1_machine`.
#![no_main]

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::encode::ResponseHead;
use ringgate_protocols::http1::error::Fault;
use ringgate_protocols::http1::event::Event;
use ringgate_protocols::http1::framing::Body;
use ringgate_protocols::limits::Limits;

#[derive(PartialEq, Debug)]
enum Happened {
    Request(Vec<u8>, usize, Body),
    Byte(u8),
    Trailers(usize),
    End,
    Closed,
    Fault(Fault),
}

fn limits() -> Limits {
    // Small, so that the fuzzer reaches them.
    Limits {
        header_bytes_max: 200,
        field_count_max: 6,
        field_line_bytes_max: 80,
        target_bytes_max: 40,
        ..Limits::default()
    }
}

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Happened> {
    let (mut connection, mut head, limits) = (Connection::new(), Head::default(), limits());
    let (mut rest, mut happened, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        rest.extend_from_slice(piece);
        loop {
            let step = match connection.handle_input(&rest, &mut head, &limits) {
                Ok(step) => step,
                Err(fault) => {
                    happened.push(Happened::Fault(fault));
                    return happened;
                }
            };
            let mut answer = false;
            match step.event {
                Event::NeedInput => {}
                Event::Request(facts) => {
                    agree(&rest, &head, step.consumed);
                    happened.push(Happened::Request(head.target.of(&rest).to_vec(), head.fields.len(), facts.body));
                    answer = facts.body == Body::None;
                }
                Event::Body(span) => happened.extend(span.of(&rest).iter().map(|&byte| Happened::Byte(byte))),
                Event::Trailers => happened.push(Happened::Trailers(head.fields.len())),
                Event::End => {
                    happened.push(Happened::End);
                    answer = true;
                }
                Event::Busy => unreachable!(),
                Event::Closed => {
                    happened.push(Happened::Closed);
                    return happened;
                }
            }
            rest.drain(..step.consumed);
            if answer {
                let head = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
                connection.send_response(&mut out, head, b"ok", &limits).unwrap();
            }
            if step.event == Event::NeedInput {
                break;
            }
        }
    }
    happened
}

fn agree(input: &[u8], head: &Head, consumed: usize) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(input), Ok(httparse::Status::Complete(consumed)));
    assert_eq!(request.method, Some(head.method.as_str()));
    assert_eq!(request.path.unwrap().as_bytes(), head.target.of(input));
    assert_eq!(request.headers.len(), head.fields.len());
    for (theirs, ours) in request.headers.iter().zip(&head.fields) {
        assert_eq!(theirs.name.as_bytes(), ours.name.of(input));
        assert_eq!(theirs.value, ours.value.of(input));
    }
}

fuzz_target!(|data: &[u8]| {
    let [first, second, input @ ..] = data else { return };
    let whole = run([input].into_iter());
    assert_eq!(run(input.chunks(1)), whole);
    let cut = (usize::from(*first) << 8 | usize::from(*second)) % (input.len() + 1);
    assert_eq!(run([&input[..cut], &input[cut..]].into_iter()), whole);
});
