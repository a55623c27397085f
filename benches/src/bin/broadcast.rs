//! What does a broadcast cost the server for each delivery, beside a bare `send` of the same bytes?
//!
//! `broadcast ADDRESS PID [SUBSCRIBERS [MESSAGES]]` opens that many WebSockets at `/chat` of the showcase that runs as PID,
//! lets one of them speak, reads every message on every socket, and prints CPU time of the server per delivery. The second
//! figure is a thread of this program that does nothing but write the same frame to as many sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::{env, fs, process, thread};

use ringgate_benches::core_affinity::{pin, raise_descriptor_limit};
use ringgate_benches::generator::exchange::Exchange;
use ringgate_benches::generator::websocket::WebSocketEcho;
use ringgate_benches::process::cpu_time_ns;

/// Payload of a message.
const PAYLOAD_BYTES: usize = 128;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(mask: bool) -> Vec<u8> {
    let mut frame = vec![0x81, 126 | if mask { 0x80 } else { 0 }];
    frame.extend((PAYLOAD_BYTES as u16).to_be_bytes());
    if mask {
        frame.extend(MASK);
        frame.extend((0..PAYLOAD_BYTES).map(|at| b'x' ^ MASK[at % 4]));
    } else {
        frame.extend([b'x'; PAYLOAD_BYTES]);
    }
    frame
}

/// One frame on each socket.
fn read_all(sockets: &mut [TcpStream]) -> Result<(), String> {
    let expected = frame(false);
    let mut buffer = vec![0; expected.len()];
    for socket in sockets {
        socket.read_exact(&mut buffer).map_err(|error| error.to_string())?;
        if buffer != expected {
            return Err("not what was said".to_owned());
        }
    }
    Ok(())
}

fn gateway(address: &str, pid: u32, subscribers: usize, messages: usize) -> Result<f64, String> {
    let mut opening = WebSocketEcho::new("/chat", 1, false);
    let mut sockets = Vec::new();
    for _ in 0..subscribers {
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        opening.open(&mut stream).map_err(|error| error.to_string())?;
        sockets.push(stream);
    }
    let said = frame(true);
    let round = |sockets: &mut [TcpStream]| -> Result<(), String> {
        sockets[0].write_all(&said).map_err(|error| error.to_string())?;
        read_all(sockets)
    };
    for _ in 0..10 {
        round(&mut sockets)?;
    }
    let before = cpu_time_ns(pid).map_err(|error| error.to_string())?;
    for _ in 0..messages {
        round(&mut sockets)?;
    }
    let after = cpu_time_ns(pid).map_err(|error| error.to_string())?;
    Ok((after - before) as f64 / (subscribers * messages) as f64)
}

/// CPU time of the calling thread.
fn own_cpu_time_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn bare(subscribers: usize, messages: usize) -> Result<f64, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..subscribers {
        theirs.push(TcpStream::connect(address).map_err(|error| error.to_string())?);
        let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        ours.push(stream);
    }
    let (go, going) = mpsc::channel::<()>();
    let sender = thread::spawn(move || {
        let _ = pin(0);
        let said = frame(false);
        let before = own_cpu_time_ns();
        while going.recv().is_ok() {
            for stream in &mut ours {
                if stream.write_all(&said).is_err() {
                    return 0;
                }
            }
        }
        own_cpu_time_ns() - before
    });
    for _ in 0..messages {
        go.send(()).map_err(|error| error.to_string())?;
        read_all(&mut theirs)?;
    }
    drop(go);
    let time = sender.join().map_err(|_| "the sender panicked".to_owned())?;
    Ok(time as f64 / (subscribers * messages) as f64)
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, pid, rest @ ..] = &arguments[..] else {
        return Err("broadcast ADDRESS PID [SUBSCRIBERS [MESSAGES]]".to_owned());
    };
    let number = |text: &String| text.parse::<usize>().map_err(|error| format!("{text}: {error}"));
    let pid = number(pid)? as u32;
    let subscribers = rest.first().map_or(Ok(2_000), number)?;
    let messages = rest.get(1).map_or(Ok(1_000), number)?;
    raise_descriptor_limit().map_err(|error| error.to_string())?;
    pin(1).map_err(|error| error.to_string())?;
    for _ in 0..3 {
        let broadcast = gateway(address, pid, subscribers, messages / 3)?;
        let bare = bare(subscribers, messages / 3)?;
        println!(
            "broadcast to {subscribers}: {broadcast:.0} ns per delivery, bare send {bare:.0} ns, ratio {:.2}",
            broadcast / bare
        );
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        process::exit(1);
    }
}
