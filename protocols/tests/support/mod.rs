//! What the tests of HTTP/1 share: vectors, a driver that writes down what happens, and every way to cut the input.
#![allow(dead_code, reason = "each test uses its own part")]

use http::StatusCode;
use ringgate_protocols::http::head::Head;
use ringgate_protocols::http1::connection::Connection;
use ringgate_protocols::http1::encode::ResponseHead;
use ringgate_protocols::http1::error::Fault;
use ringgate_protocols::http1::event::{Event, Then};
use ringgate_protocols::http1::framing::Body;
use ringgate_protocols::limits::Limits;

/// One vector of a file under `tests/vectors/http1`.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) input: Vec<u8>,
    pub(crate) outcome: String,
}

/// Reads those of a file of vectors whose names are wanted; see the README beside them.
pub(crate) fn vectors(file: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<Vector> {
    // Miri lets nobody at files.
    let text = match file {
        "requests.txt" => include_str!("../../../tests/vectors/http1/requests.txt"),
        "smuggling.txt" => include_str!("../../../tests/vectors/http1/smuggling.txt"),
        _ => panic!("no file {file}"),
    };
    let mut vectors: Vec<Vector> = Vec::new();
    let mut wanted = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            wanted = is_wanted(name);
            if wanted {
                vectors.push(Vector { name: name.to_owned(), input: Vec::new(), outcome: String::new() });
            }
        } else if !wanted {
        } else if let Some(bytes) = line.strip_prefix("> ") {
            unescape(bytes, &mut vectors.last_mut().unwrap().input);
        } else if let Some(outcome) = line.strip_prefix("= ") {
            vectors.last_mut().unwrap().outcome = outcome.to_owned();
        } else {
            assert!(line.is_empty(), "{file}: what is {line:?}?");
        }
    }
    assert!(vectors.iter().all(|vector| !vector.outcome.is_empty()));
    vectors
}

fn unescape(text: &str, into: &mut Vec<u8>) {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        into.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'0' => 0,
                b'\\' => b'\\',
                b'x' => {
                    let mut digit = || (bytes.next().unwrap() as char).to_digit(16).unwrap() as u8;
                    digit() << 4 | digit()
                }
                other => panic!("unknown escape {}", other as char),
            },
            byte => byte,
        });
    }
}

/// A driver that answers every whole request with an empty 200 and writes down what happens.
pub(crate) struct Transcript {
    pub(crate) connection: Connection,
    pub(crate) head: Head,
    pub(crate) limits: Limits,
    /// Received and not consumed.
    pub(crate) rest: Vec<u8>,
    pub(crate) out: Vec<u8>,
    events: Vec<String>,
    body: Option<Vec<u8>>,
    over: bool,
    /// Calls of the machine.
    pub(crate) calls: usize,
}

impl Transcript {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            connection: Connection::new(),
            head: Head::default(),
            limits: limits.clone(),
            rest: Vec::new(),
            out: Vec::new(),
            events: Vec::new(),
            body: None,
            over: false,
            calls: 0,
        }
    }

    fn end_body(&mut self) {
        if let Some(body) = self.body.take() {
            self.events.push(format!("body({})", body.escape_ascii().to_string().replace("\\\"", "\"")));
        }
    }

    fn answer(&mut self) {
        let head = ResponseHead { status: StatusCode::OK, block: b"", fields: [] };
        let then = self.connection.send_response(&mut self.out, head, b"", &self.limits);
        assert!(matches!(then, Ok(Then::KeepAlive | Then::Close(_) | Then::Switch)), "{then:?}");
    }

    /// Takes a piece of input and goes as far as it leads.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
        while !self.over {
            let input = self.rest.clone();
            self.calls += 1;
            let step = match self.connection.handle_input(&input, &mut self.head, &self.limits) {
                Ok(step) => step,
                Err(fault) => {
                    self.fault(fault);
                    return;
                }
            };
            assert!(step.consumed <= input.len());
            self.rest.drain(..step.consumed);
            let text = |span: ringgate_protocols::span::Span| span.of(&input).escape_ascii().to_string();
            match step.event {
                Event::NeedInput => return,
                Event::Request(facts) => {
                    let body = match facts.body {
                        Body::None => String::new(),
                        Body::Known(bytes) => format!(" +{bytes}"),
                        Body::Chunked => " +chunked".to_owned(),
                    };
                    self.events.push(format!("request({} {}{body})", self.head.method, text(self.head.target)));
                    if facts.body == Body::None {
                        self.answer();
                    }
                }
                Event::Body(span) => self.body.get_or_insert_default().extend_from_slice(span.of(&input)),
                Event::Trailers => {
                    self.end_body();
                    let fields = &self.head.fields;
                    let lines: Vec<_> =
                        fields.iter().map(|field| format!("{}: {}", text(field.name), text(field.value))).collect();
                    self.events.push(format!("trailers({})", lines.join(", ")));
                }
                Event::End => {
                    self.end_body();
                    self.events.push("end".to_owned());
                    self.answer();
                }
                Event::Busy => panic!("the driver has answered"),
                Event::Closed => {
                    self.events.push("closed".to_owned());
                    self.over = true;
                }
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.end_body();
        self.events.push(format!("fault({fault:?} {})", fault.status().as_u16()));
        self.over = true;
        // A dead machine stays dead.
        let step = self.connection.handle_input(b"GET / HTTP/1.1\r\n\r\n", &mut self.head, &self.limits).unwrap();
        assert_eq!(step.event, Event::Closed);
        assert_eq!(step.consumed, 0);
    }

    /// What happened.
    pub(crate) fn outcome(&mut self) -> String {
        self.end_body();
        let mut outcome = self.events.join(" ");
        if !self.over {
            outcome.push_str(if outcome.is_empty() { "need" } else { " need" });
        }
        outcome
    }
}

/// What happens when the input comes in these pieces.
pub(crate) fn outcome<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> (String, Vec<u8>) {
    let mut transcript = Transcript::new(limits);
    for piece in pieces {
        transcript.feed(piece);
    }
    let outcome = transcript.outcome();
    (outcome, transcript.out)
}

/// Gives the input whole, byte by byte, cut once at every place, and cut into threes; and, where it ends between two
/// requests, with bytes behind it that must be left alone. `check` sees each outcome, and all must be the same.
pub(crate) fn every_split(input: &[u8], limits: &Limits, check: impl Fn(&str)) {
    let (whole, out) = outcome([input], limits);
    check(&whole);
    let same = |pieces: &mut dyn Iterator<Item = &[u8]>, how: &str| {
        let other = outcome(pieces, limits);
        assert_eq!((&other.0, &other.1), (&whole, &out), "{how}: {}", input.escape_ascii());
    };
    if !cfg!(miri) {
        same(&mut input.chunks(1), "byte by byte");
    }
    same(&mut input.chunks(3), "in threes");
    for cut in (0..=input.len()).step_by(if cfg!(miri) { 37 } else { 1 }) {
        let (first, second) = input.split_at(cut);
        same(&mut [first, second].into_iter(), &format!("cut at {cut}"));
    }
    let mut transcript = Transcript::new(limits);
    transcript.feed(input);
    if transcript.connection.is_idle() && transcript.rest.is_empty() && whole.ends_with("need") {
        let mut longer = input.to_vec();
        longer.extend_from_slice(b"GET");
        let mut transcript = Transcript::new(limits);
        transcript.feed(&longer);
        assert_eq!(transcript.outcome(), whole);
        assert_eq!(transcript.rest, b"GET");
    }
}

/// Runs the vectors of a file whose name begins so; there must be some.
pub(crate) fn check_vectors(file: &str, row: &str) {
    let vectors = vectors(file, |name| name.split(' ').any(|word| word == row));
    for vector in &vectors {
        every_split(&vector.input, &Limits::default(), |outcome| {
            assert_eq!(outcome, vector.outcome, "{}: {}", vector.name, vector.input.escape_ascii());
        });
    }
    assert!(!vectors.is_empty(), "no vector for {row}");
}
