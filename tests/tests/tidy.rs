//! The order of the house, kept by reading its source: floors, rooms, and what is deliberately absent.
//!
//! Every check is a function from sources to complaints, so that the last test can see each of them complain.

use ringgate_tests::source::{Source, paths_below, root, tree, words};
use std::{fs, sync::LazyLock};

/// A crate, and the floor of each of its modules. A module names lower floors and its own room, nothing else.
struct House {
    root: &'static str,
    /// A room is one module, or several that can only be understood together.
    rooms: &'static [(&'static [&'static str], u32)],
}

const HOUSES: &[House] = &[
    House {
        root: "protocols/src/",
        rooms: &[
            (&["span"], 0),
            (&["limits"], 0),
            (&["scan"], 0),
            (&["http"], 1),
            (&["http1"], 2),
            (&["hpack"], 2),
            (&["websocket"], 2),
            (&["preface"], 2),
            (&["proxy"], 2),
            (&["http2"], 3),
        ],
    },
    House {
        root: "runtime/src/",
        rooms: &[
            (&["sys"], 0),
            (&["buffer"], 1),
            (&["time"], 1),
            (&["driver"], 2),
            (&["task"], 2),
            (&["executor"], 3),
            (&["net"], 4),
            (&["mesh"], 4),
            (&["offload"], 4),
            (&["pool"], 5),
        ],
    },
    House {
        root: "gateway-api/src/",
        rooms: &[
            (&["error"], 0),
            (&["config"], 0),
            (&["contain"], 0),
            (&["counters"], 0),
            (&["features"], 0),
            // Bytes that have come and are not consumed yet: handed from one driver to the next.
            (&["conn::input"], 0),
            // What heads begin with, or have in common: a core keeps it for all its connections.
            (&["conn::openings"], 0),
            (&["conn::common_fields"], 0),
            (&["proxies"], 0),
            (&["socket_file"], 0),
            (&["shed"], 0),
            (&["pipe"], 1),
            (&["stream"], 1),
            (&["body"], 2),
            // A request tells its core, and a core keeps the requests that wait for their next use.
            (&["core", "request"], 3),
            (&["drain"], 4),
            (&["websocket"], 4),
            (&["response"], 5),
            (&["blocking"], 6),
            (&["handler"], 7),
            (&["helpers"], 7),
            (&["middleware"], 8),
            // From a socket handler's signature to its world, as `handler` does it for the others.
            (&["websocket::route"], 8),
            (&["app"], 9),
            (&["dispatch"], 10),
            (&["conn"], 11),
            (&["site"], 12),
            (&["gateway"], 13),
            (&["tower"], 13),
        ],
    },
];

impl House {
    /// The room and the floor of a path inside the crate: of the module it begins with, or of one file of that module
    /// where the table knows it better.
    fn floor(&self, path: &str) -> Option<(&'static [&'static str], u32)> {
        let mut names = path.split("::");
        let module = names.next().unwrap_or_default();
        let file = format!("{module}::{}", names.next().unwrap_or_default());
        let find = |wanted: &str| self.rooms.iter().copied().find(|(names, _)| names.contains(&wanted));
        find(&file).or_else(|| find(module))
    }
}

fn check_floors(house: &House, sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_in(house.root) && source.path.ends_with(".rs")) {
        let inside = &source.path[house.root.len()..];
        // The crate root is written to, never read, and may name everybody.
        if inside == "lib.rs" {
            continue;
        }
        let here = inside.trim_end_matches(".rs").replace('/', "::");
        let Some((room, floor)) = house.floor(&here) else {
            complaints.push(format!("{} has no floor: give it one in this test", source.path));
            continue;
        };
        for (line, path) in paths_below(&source.code, "crate") {
            match house.floor(&path) {
                Some((other, _)) if other == room => {}
                Some((_, below)) if below < floor => {}
                Some((other, above)) => {
                    let named = other.join("+");
                    complaints.push(format!("{}:{line} (floor {floor}) names {named} (floor {above})", source.path));
                }
                None => complaints.push(format!("{}:{line} reads the crate root: crate::{path}", source.path)),
            }
        }
        // At the top of a module's own file `super` is the crate root.
        let is_door = !inside.contains('/') || inside.matches('/').count() == 1 && inside.ends_with("/mod.rs");
        if is_door {
            let lines = source.code_before_tests().lines().enumerate();
            let reads = lines.filter(|(_, line)| line.starts_with("use super::") || line.contains("super::super::"));
            complaints.extend(reads.map(|(index, _)| format!("{}:{} reads the crate root", source.path, index + 1)));
        }
    }
    complaints
}

/// `protocols` and `runtime` do not know each other, nor anything above them.
fn check_crates(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let above: [(&str, &[&str]); 3] = [
        ("protocols/", &["ringgate", "ringgate_runtime", "ringgate_tests", "ringgate_benches"]),
        ("runtime/", &["ringgate", "ringgate_protocols", "ringgate_tests", "ringgate_benches"]),
        ("gateway-api/", &["ringgate_tests", "ringgate_benches"]),
    ];
    for (place, strangers) in above {
        for source in sources.iter().filter(|source| source.is_in(place)) {
            for (line, code) in source.lines() {
                if let Some(stranger) = words(code).find(|word| strangers.contains(word)) {
                    complaints.push(format!("{}:{line} names {stranger}", source.path));
                }
            }
            for stranger in strangers.iter().filter(|_| source.path == format!("{place}Cargo.toml")) {
                let name = stranger.replace('_', "-");
                if source.text.lines().any(|line| line.starts_with(&format!("{name} ="))) {
                    complaints.push(format!("{} depends on {name}", source.path));
                }
            }
        }
    }
    complaints
}

/// Bytes in, events out, bytes out: no socket, no clock, no thread. An address is only a number.
fn check_protocols_do_nothing(sources: &[Source]) -> Vec<String> {
    const ABSENT: &[&str] = &["net", "io", "fs", "os", "thread", "process", "env", "sync::Mutex"];
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_in("protocols/src/")) {
        for (line, path) in paths_below(source.code_before_tests(), "std") {
            let is_absent = ABSENT.iter().any(|absent| path == *absent || path.starts_with(&format!("{absent}::")));
            let is_number = path == "net::Ipv4Addr" || path == "net::Ipv6Addr";
            if is_absent && !is_number || path == "time::Instant" || path == "time::SystemTime" || path == "time::*" {
                complaints.push(format!("{}:{line} names std::{path}", source.path));
            }
        }
        for (line, code) in source.lines() {
            if let Some(word) = words(code).find(|word| ["libc", "rustix", "async", "Waker"].contains(word)) {
                complaints.push(format!("{}:{line} names {word}", source.path));
            }
        }
    }
    complaints
}

/// Not in code, not in comments, not in examples: a runtime that knows its user is no runtime.
fn check_runtime_knows_no_http(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_in("runtime/src/") || source.path == "runtime/Cargo.toml") {
        for (index, line) in source.text.lines().enumerate() {
            if line.to_ascii_lowercase().contains("http") {
                complaints.push(format!("{}:{} knows of HTTP: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    complaints
}

/// The machines are driven in `conn/`; that of WebSocket also in `websocket/`, since it is the application that speaks to
/// it. Other rooms may name what machines and application have in common: places in buffers, heads, limits, the numbers
/// and words of the standards.
fn check_machines_are_driven_in_their_rooms(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_in("gateway-api/src/")) {
        if source.is_in("gateway-api/src/conn/") {
            continue;
        }
        for (line, path) in paths_below(&source.code, "ringgate_protocols") {
            let (module, rest) = path.split_once("::").unwrap_or((&path, ""));
            let is_machine = matches!(module, "http1" | "hpack" | "preface" | "scan") || rest.starts_with("connection");
            if is_machine && !(module == "websocket" && source.is_in("gateway-api/src/websocket/")) {
                complaints.push(format!("{}:{line} names {path}, which conn/ drives", source.path));
            }
        }
    }
    complaints
}

/// Where `unsafe` may stand in what is shipped. Each of these has an essay at its top, or at the top of its room. Tests and
/// measuring tools may use it where the kernel's or the allocator's interface asks for it; they too say why it holds.
const UNSAFE: &[&str] = &[
    "protocols/src/scan/",
    "runtime/src/buffer/",
    "runtime/src/task/",
    "runtime/src/driver/uring/",
    "runtime/src/executor/core.rs",
    "runtime/src/sys/memory.rs",
    "runtime/src/sys/policy.rs",
    "runtime/src/sys/ticks.rs",
];

/// Every block, every implementation, and every function that asks something of its callers.
fn check_unsafe(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let raw: Vec<&str> = source.text.lines().collect();
        let code: Vec<&str> = source.code.lines().collect();
        for (index, line) in code.iter().enumerate() {
            for at in line.match_indices("unsafe").map(|(at, word)| at + word.len()) {
                let behind = line[at..].trim_start();
                let is_type = behind.strip_prefix("fn").is_some_and(|rest| rest.trim_start().starts_with('('));
                let word = |character: char| character == '_' || character.is_alphanumeric();
                let is_name = line[at..].starts_with(word) || line[..at - "unsafe".len()].ends_with(word);
                // A method of a trait holds by the contract of the trait.
                let is_method =
                    behind.starts_with("fn") && line.starts_with(' ') && !line.trim_start().starts_with("pub");
                if line.contains("unsafe(") || is_name || is_type || is_method {
                    continue;
                }
                let is_shipped =
                    HOUSES.iter().any(|house| source.is_in(house.root)) || source.path.contains("/examples/");
                if is_shipped && !UNSAFE.iter().any(|room| source.is_in(room)) {
                    complaints.push(format!(
                        "{}:{} is unsafe, and not one of the rooms for it",
                        source.path,
                        index + 1
                    ));
                } else if !is_explained(&raw, &code, index) {
                    complaints.push(format!("{}:{} is unsafe and does not say why it holds", source.path, index + 1));
                }
            }
        }
    }
    complaints
}

/// Whether a comment right above the statement says `SAFETY`, or the documentation of a function `# Safety`.
fn is_explained(raw: &[&str], code: &[&str], index: usize) -> bool {
    let says = |line: &str| line.contains("SAFETY") || line.contains("# Safety");
    if says(raw[index]) {
        return true;
    }
    for above in (0..index).rev() {
        if says(raw[above]) {
            return true;
        }
        let is_comment = code[above].trim().is_empty() && !raw[above].trim().is_empty();
        let is_attribute = code[above].trim_start().starts_with("#[");
        if !is_comment
            && !is_attribute
            && (raw[above].trim().is_empty() || code[above].trim_end().ends_with([';', '{', '}']))
        {
            return false;
        }
    }
    false
}

/// What is begun is finished, or it is not in the tree.
fn check_nothing_is_left_open(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        for (line, code) in source.lines() {
            let open = ["dbg!", "todo!", "unimplemented!"].into_iter().find(|open| code.contains(open));
            complaints.extend(open.map(|open| format!("{}:{line} has a {open}", source.path)));
        }
    }
    complaints
}

/// Lines of one file, tests at its foot not counted. Longer ones have more than one noun in them.
const LINES_MAX: usize = 600;

fn check_sizes(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let lines = source.code_before_tests().lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{} has {lines} lines, more than {LINES_MAX}", source.path));
        }
    }
    complaints
}

/// Paths of somebody's machine help nobody else.
fn check_no_machine(sources: &[Source]) -> Vec<String> {
    const MACHINES: &[&str] =
        &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Use", "rs/")];
    let mut complaints = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            let found = MACHINES.iter().find(|path| line.contains(*path) && !line.contains("://"));
            complaints.extend(found.map(|path| format!("{}:{} names {path}", source.path, index + 1)));
        }
    }
    complaints
}

/// Each file says in its first line what it is, and each member of the workspace lives under the workspace's lints.
fn check_doors(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let is_silent = source.path.ends_with(".rs") && !source.text.starts_with("//!") && !source.is_in("fuzz/");
        if is_silent {
            complaints.push(format!("{} does not say what it is", source.path));
        }
        let is_member = source.path.ends_with("/Cargo.toml") && !source.is_in("fuzz/");
        if is_member && !source.text.contains("[lints]\nworkspace = true") {
            complaints.push(format!("{} does not keep the lints of the workspace", source.path));
        }
    }
    complaints
}

/// Read once for all checks.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(tree);

fn passes(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn modules_name_only_lower_floors() {
    HOUSES.iter().for_each(|house| passes(&check_floors(house, &SOURCES)));
}

#[test]
fn crates_look_down() {
    passes(&check_crates(&SOURCES));
}

#[test]
fn protocols_own_no_socket_clock_or_thread() {
    passes(&check_protocols_do_nothing(&SOURCES));
}

#[test]
fn the_runtime_knows_no_http() {
    passes(&check_runtime_knows_no_http(&SOURCES));
}

#[test]
fn machines_are_driven_in_their_rooms() {
    passes(&check_machines_are_driven_in_their_rooms(&SOURCES));
}

#[test]
fn unsafe_code_stays_in_its_rooms_and_says_why() {
    passes(&check_unsafe(&SOURCES));
}

#[test]
fn the_rooms_for_unsafe_code_are_there() {
    UNSAFE.iter().for_each(|room| assert!(fs::exists(root().join(room)).is_ok_and(|there| there), "{room} is gone"));
}

#[test]
fn nothing_is_left_open() {
    passes(&check_nothing_is_left_open(&SOURCES));
}

#[test]
fn no_file_is_a_giant() {
    passes(&check_sizes(&SOURCES));
}

#[test]
fn no_machine_is_named() {
    passes(&check_no_machine(&SOURCES));
}

#[test]
fn every_file_says_what_it_is() {
    passes(&check_doors(&SOURCES));
}

/// One line: `path` holding `text` is complained about, in words that contain `sentence`.
fn complains(check: impl Fn(&[Source]) -> Vec<String>, path: &str, text: &str, sentence: &str) {
    let complaints = check(&[Source::new(path, text)]);
    assert!(complaints.iter().any(|complaint| complaint.contains(sentence)), "{path}: {complaints:?}");
}

#[test]
fn every_check_can_fail() {
    let protocols = |sources: &[Source]| check_floors(&HOUSES[0], sources);
    let head = "protocols/src/http1/head.rs";
    complains(
        protocols,
        head,
        "use crate::{\n span::Span,\n http2::reason::Reason};",
        "head.rs:1 (floor 2) names http2 (floor 3)",
    );
    complains(protocols, head, "fn f(_: crate::Span) {}", "reads the crate root: crate::Span");
    complains(protocols, "protocols/src/quic.rs", "", "has no floor");
    complains(protocols, "protocols/src/preface.rs", "use super::span;", "reads the crate root");
    complains(check_crates, "runtime/src/net/mod.rs", "use ringgate_protocols::span;", "names ringgate_protocols");
    complains(
        check_crates,
        "protocols/Cargo.toml",
        "ringgate-runtime = { workspace = true }",
        "depends on ringgate-runtime",
    );
    complains(check_protocols_do_nothing, head, "use std::{fmt, io::Error};", "names std::io::Error");
    complains(check_protocols_do_nothing, head, "fn now() -> std::time::Instant", "names std::time::Instant");
    complains(check_runtime_knows_no_http, "runtime/src/net/mod.rs", "// for Http only", "knows of HTTP");
    let dispatch = "gateway-api/src/dispatch.rs";
    let machine = "use ringgate_protocols::{span::Span, http2::connection::Connection};";
    complains(check_machines_are_driven_in_their_rooms, dispatch, machine, "names http2::connection::Connection");
    complains(check_unsafe, dispatch, "let x = unsafe { y() };", "not one of the rooms");
    let ticks = "runtime/src/sys/ticks.rs";
    complains(
        check_unsafe,
        ticks,
        "// SAFETY: of another.\nlet x = 1;\nlet y = unsafe { z() };",
        "ticks.rs:3 is unsafe and does not",
    );
    assert_eq!(check_unsafe(&[Source::new(ticks, "// SAFETY: it is.\nlet y = unsafe { z() };")]), Vec::<String>::new());
    complains(check_nothing_is_left_open, dispatch, concat!("fn f() { to", "do!() }"), "has a todo!");
    complains(check_sizes, dispatch, &"\n".repeat(601), "has 601 lines");
    complains(check_no_machine, "README.md", concat!("see /ho", "me/somebody/notes"), "names");
    complains(check_doors, dispatch, "fn f() {}", "does not say what it is");
    complains(check_doors, "server/Cargo.toml", "[package]", "does not keep the lints");
}
