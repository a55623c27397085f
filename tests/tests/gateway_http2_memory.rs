//! What a connection of HTTP/2 makes a gateway hold, counted by the allocator: at rest, with a hundred streams, and under
//! a client that wants it to be much. One test only, since the allocator counts the whole process.

use ringgate::{App, BodyError, Chunk, Config, Core, Request, Response, blocking, post};
use ringgate_protocols::limits::Http2Limits;
use ringgate_runtime::buffer::ReceiveConfig;
use ringgate_tests::gateway::{
    Ground, Server, drivers,
    http2::{INITIAL_WINDOW_SIZE, block, code, frame, kind},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    pin::Pin,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KIB: usize = 1024;
const STREAMS: u32 = 100;
const PIECE: usize = 8 * KIB;
const BUFFER: usize = 16 * KIB;
const OUTPUT: usize = 64 * KIB;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Handlers that have begun.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

fn held() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// As whoever waits for something does, it leaves its waker there.
async fn wait(_request: Request) -> &'static str {
    BEGUN.fetch_add(1, SeqCst);
    std::future::poll_fn(|cx| {
        let mut wakers = wakers();
        wakers.truncate(STREAMS as usize - 1);
        wakers.push(cx.waker().clone());
        Poll::Pending
    })
    .await
}

/// What the handlers wait for. Its room is made before anything is counted.
fn wakers() -> MutexGuard<'static, Vec<Waker>> {
    static WAKERS: Mutex<Vec<Waker>> = Mutex::new(Vec::new());
    let mut wakers = WAKERS.lock().unwrap();
    wakers.reserve_exact(STREAMS as usize);
    wakers
}

/// What a handler is by itself: the application's memory.
const fn future_bytes<F>(_: &impl Fn(Request) -> F) -> usize {
    size_of::<F>()
}

struct Endless;

impl futures_core::Stream for Endless {
    type Item = Result<Chunk, BodyError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(vec![b'e'; PIECE].into())))
    }
}

fn app(_: &Core) -> App {
    App::new()
        .route("/hello", |_: &Request| "hello\n")
        .route("/wait", wait)
        .route("/wait-for-body", post(wait))
        .route("/endless", |_: &Request| Response::stream(Endless))
        .route("/sleep", |_: blocking::Request| thread::sleep(Duration::from_millis(20)))
}

/// A client that holds nothing itself.
struct Client {
    socket: TcpStream,
    next: u32,
}

impl Client {
    fn new(server: &Server, settings: &[(u16, u32)]) -> Self {
        let mut client = Self { socket: server.socket(), next: 1 };
        let entry = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        client.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.say(&frame(kind::SETTINGS, 0, 0, &settings.iter().flat_map(entry).collect::<Vec<u8>>()));
        client.say(&frame(kind::SETTINGS, 1, 0, &[]));
        client
    }

    /// False when the server has closed.
    fn say(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    fn begin(&mut self, method: &str, target: &str, flags: u8) -> u32 {
        // As curl says it.
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "127.0.0.1:8080"),
            (":path", target),
            ("user-agent", "curl/8.15.0"),
            ("accept", "*/*"),
        ];
        let id = self.next;
        self.next += 2;
        self.say(&frame(kind::HEADERS, flags | END_HEADERS, id, &block(&fields)));
        id
    }

    /// Hears, and forgets, what there is until nothing more comes for a while. False at the end.
    fn listen(&mut self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut heard = [0; 4096];
        loop {
            match self.socket.read(&mut heard) {
                Ok(0) => return false,
                Ok(_) => {}
                // A ring that is given up leaves work to its thread, which interrupts a read that has a time-out.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    }
}

/// A connection that has served a request.
fn served(server: &Server) -> Client {
    let mut client = Client::new(server, &[]);
    client.begin("GET", "/hello", END_STREAM);
    assert!(client.listen());
    client
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} has not come in ten seconds");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A hundred handlers that wait, and what they come to, the handlers themselves included.
fn full_house(client: &mut Client, before: usize) -> usize {
    BEGUN.store(0, SeqCst);
    for _ in 0..STREAMS {
        client.begin("GET", "/wait", END_STREAM);
    }
    until("a hundred handlers", || BEGUN.load(SeqCst) == STREAMS as usize);
    thread::sleep(Duration::from_millis(50));
    held() - before
}

fn rest_and_a_hundred_streams(ground: Ground) {
    let server = Server::start(ground, app);
    // What the core keeps for all connections comes first.
    let first = served(&server);
    drop(wakers());
    let empty = held();
    let mut client = served(&server);
    let idle = held() - empty;
    println!("on {ground:?}: an idle connection {idle} bytes");
    assert!(idle <= 3 * KIB, "{idle} bytes for an idle connection");

    let busy = full_house(&mut client, empty);
    println!("on {ground:?}: with {STREAMS} streams {busy} bytes, {} each of them the handler", future_bytes(&wait));
    assert!(busy <= 30 * KIB, "{busy} bytes for {STREAMS} streams");

    // When they are over it is a connection at rest again. (Reset slowly: it is no flood.)
    let again = |client: &mut Client| {
        for id in (client.next - 2 * STREAMS..client.next).step_by(2) {
            client.say(&frame(kind::RST_STREAM, 0, id, &code::CANCEL.to_be_bytes()));
            thread::sleep(Duration::from_millis(2));
        }
        assert!(client.listen());
    };
    drop(client);
    server.await_count("connections_open", 1);
    wakers().clear();
    let empty = held();
    let mut client = served(&server);
    full_house(&mut client, empty);
    again(&mut client);
    wakers().clear();
    let after = held() - empty;
    println!("on {ground:?}: and after them {after} bytes");
    assert!(after <= 3 * KIB, "{after} bytes are left of {STREAMS} streams");
    drop((first, client));
    server.await_count("connections_open", 0);
}

/// Says so for as long as it is allowed to, and never reads. The most that was held for it.
fn flood(server: &Server, settings: &[(u16, u32)], mut say: impl FnMut(&mut Client, u32) -> Vec<u8>) -> usize {
    let mut client = Client::new(server, settings);
    thread::sleep(Duration::from_millis(50));
    client.socket.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let before = held();
    let mut most = 0;
    for round in 0..3_000 {
        let bytes = say(&mut client, round);
        let is_said = client.say(&bytes);
        drop(bytes);
        if round % 10 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        most = most.max(held().saturating_sub(before));
        if !is_said {
            break;
        }
    }
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(5));
        most = most.max(held().saturating_sub(before));
    }
    drop(client);
    server.await_count("connections_open", 0);
    most
}

fn head(target: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", target)];
    block(&[&fields[..], more].concat())
}

fn hostile_clients(ground: Ground) {
    let mut config = Config::default();
    config.limits.body_buffer_bytes_max = BUFFER;
    config.limits.output_bytes_max = OUTPUT;
    config.limits.http2.output_bytes_max = OUTPUT as u32;
    let server = Server::start_with(ground, app, config);
    drop(served(&server));
    server.await_count("connections_open", 0);

    let headers = |flags: u8, id: u32, block: &[u8]| frame(kind::HEADERS, flags | END_HEADERS, id, block);
    let reset = |id: u32| frame(kind::RST_STREAM, 0, id, &code::CANCEL.to_be_bytes());
    let open_window = frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    let large = "v".repeat(30_000);
    let small: Vec<(&str, &str)> = vec![("a", ""); 90];

    // What a connection may hold besides its streams: tables, the head that arrives, control frames.
    let bookkeeping = 48 * KIB;
    let streams = STREAMS as usize;
    // A send in flight and the next one, and what waits at each stream.
    let answers = 2 * OUTPUT + streams * (BUFFER + PIECE) + bookkeeping;
    // The window of the connection is not given back beyond what may be unread.
    let limits = Http2Limits::default();
    let bodies = (limits.connection_window_bytes + limits.unread_bytes_max) as usize + bookkeeping;
    // A client that is faster than its core: what io_uring has received beyond the lent half of the core's buffers is
    // copied. That is the core's memory, not one connection's.
    let receive = ReceiveConfig::default();
    let received = usize::from(receive.buffers) / 2 * receive.buffer_bytes as usize;
    let heads = streams * (limits.header_bytes_max as usize + KIB) + bookkeeping + received;
    type Say<'a> = Box<dyn FnMut(&mut Client, u32) -> Vec<u8> + 'a>;
    let attacks: [(&str, usize, u32, Say<'_>); 10] = [
        ("pings", bookkeeping, 0, Box::new(|_, _| frame(kind::PING, 0, 0, &[7; 8]))),
        ("settings", bookkeeping, 0, Box::new(|_, _| frame(kind::SETTINGS, 0, 0, &[]))),
        (
            "priorities of streams to come",
            bookkeeping,
            0,
            Box::new(|_, round| frame(0x10, 0, 0, &[&(2 * round + 1).to_be_bytes()[..], b"u=1"].concat())),
        ),
        (
            "a block without an end",
            bookkeeping,
            0,
            Box::new(|_, round| match round {
                0 => frame(kind::HEADERS, 0, 1, &[0; 16_384]),
                _ => frame(kind::CONTINUATION, 0, 1, &[0; 1_000]),
            }),
        ),
        (
            "rapid reset",
            bookkeeping,
            0,
            Box::new(|_, round| {
                [headers(END_STREAM, 2 * round + 1, &head("/wait", &[])), reset(2 * round + 1)].concat()
            }),
        ),
        (
            "rapid reset of threads",
            bookkeeping,
            0,
            Box::new(|_, round| {
                [headers(END_STREAM, 2 * round + 1, &head("/sleep", &[])), reset(2 * round + 1)].concat()
            }),
        ),
        (
            "answers that nobody reads",
            answers,
            0x7fff_ffff,
            Box::new(|_, round| {
                let open = if round == 0 { &open_window[..] } else { &[] };
                [open, &headers(END_STREAM, 2 * round + 1, &head("/endless", &[]))].concat()
            }),
        ),
        (
            "answers without a window",
            answers,
            0,
            Box::new(|_, round| headers(END_STREAM, 2 * round + 1, &head("/endless", &[]))),
        ),
        (
            "bodies that nobody reads",
            bodies,
            0,
            Box::new(|_, round| {
                let id = 2 * (round / 8 % STREAMS) + 1;
                let fields =
                    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/wait-for-body")];
                let begin =
                    if round < 8 * STREAMS && round % 8 == 0 { headers(0, id, &block(&fields)) } else { vec![] };
                [begin, frame(0, 0, id, &[7; 1_000])].concat()
            }),
        ),
        (
            "large heads, and many small fields",
            heads,
            0,
            Box::new(|_, round| {
                let more = if round % 2 == 0 { vec![("large", large.as_str())] } else { small.clone() };
                let block = head("/wait", &more);
                let id = 2 * round + 1;
                match block.split_at_checked(16_384) {
                    None => headers(END_STREAM, id, &block),
                    Some((first, rest)) => {
                        [frame(kind::HEADERS, END_STREAM, id, first), frame(kind::CONTINUATION, END_HEADERS, id, rest)]
                            .concat()
                    }
                }
            }),
        ),
    ];
    for (what, bound, window, say) in attacks {
        let most = flood(&server, &[(INITIAL_WINDOW_SIZE, window)], say);
        println!("on {ground:?}: {what}: {} of {} KiB", most / KIB, bound / KIB);
        assert!(most <= bound, "{what}: {most} bytes were held, {bound} are the bound");
    }
}

#[test]
fn f_05_what_a_connection_holds_is_small_and_bounded() {
    for driver in drivers() {
        rest_and_a_hundred_streams(Ground::Kernel(driver));
        hostile_clients(Ground::Kernel(driver));
    }
}
