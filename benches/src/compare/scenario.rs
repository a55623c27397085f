//! The loads, and against whom each is judged.

use crate::compare::server::Protocol;

/// Who produces the load of a scenario, and how.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Our generator, HTTP/1.1 `GET`.
    Http1,
    /// `h2load`, HTTP/2; this many requests per second of a round's length are sent.
    Http2 {
        /// So that a round is about as long as one of the other kinds.
        requests_per_second: u64,
    },
    /// Our generator, WebSocket echo.
    WebSocket {
        /// Size of a message.
        payload_bytes: usize,
        /// Binary messages instead of text.
        binary: bool,
    },
}

/// One row of loads that is put on every server.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The name in tables and on the command line.
    pub name: &'static str,
    /// A title for people.
    pub title: &'static str,
    /// The kind of load.
    pub load: Load,
    /// Connections.
    pub connections: usize,
    /// Requests, streams or messages in flight on each.
    pub in_flight: usize,
    /// The paths asked for. More than one: only our own servers take part, once with each.
    pub paths: &'static [&'static str],
    /// The arms to which the others' cost is related.
    pub references: &'static [&'static str],
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hello",
        title: "HTTP/1.1, 64 keep-alive connections, one request at a time",
        load: Load::Http1,
        connections: 64,
        in_flight: 1,
        paths: &["/hello"],
        references: &["raw-epoll", "hyper"],
    },
    Scenario {
        name: "pipelined",
        title: "HTTP/1.1, 64 connections, 16 requests pipelined",
        load: Load::Http1,
        connections: 64,
        in_flight: 16,
        paths: &["/hello"],
        references: &["raw-epoll", "hyper"],
    },
    Scenario {
        name: "isolated",
        title: "HTTP/1.1, one connection, one request at a time",
        load: Load::Http1,
        connections: 1,
        in_flight: 1,
        paths: &["/hello"],
        references: &["raw-epoll", "hyper"],
    },
    Scenario {
        name: "handlers",
        title: "Kinds of handler, HTTP/1.1, 64 connections, one request at a time",
        load: Load::Http1,
        connections: 64,
        in_flight: 1,
        paths: &["/hello", "/hello-async", "/hello-blocking"],
        references: &["ringgate-io_uring/hello", "ringgate-epoll/hello"],
    },
    Scenario {
        name: "http2",
        title: "HTTP/2, 8 connections x 32 streams",
        load: Load::Http2 { requests_per_second: 300_000 },
        connections: 8,
        in_flight: 32,
        paths: &["/hello"],
        references: &["raw-http2-floor", "h2o", "hyper"],
    },
    Scenario {
        name: "http2-single",
        title: "HTTP/2, 64 connections x 1 stream",
        load: Load::Http2 { requests_per_second: 70_000 },
        connections: 64,
        in_flight: 1,
        paths: &["/hello"],
        references: &["raw-http2-floor", "h2o", "hyper"],
    },
    Scenario {
        name: "websocket",
        title: "WebSocket echo, 64 connections, 64 bytes of text, one message in flight",
        load: Load::WebSocket { payload_bytes: 64, binary: false },
        connections: 64,
        in_flight: 1,
        paths: &["/ws"],
        references: &["raw-websocket-epoll", "fastwebsockets"],
    },
    Scenario {
        name: "websocket-batch",
        title: "WebSocket echo, 64 connections, 64 bytes of text, 16 messages in flight",
        load: Load::WebSocket { payload_bytes: 64, binary: false },
        connections: 64,
        in_flight: 16,
        paths: &["/ws"],
        references: &["raw-websocket-epoll", "fastwebsockets", "tokio-tungstenite"],
    },
    Scenario {
        name: "websocket-large",
        title: "WebSocket echo, 8 connections, 64 KiB binary, one message in flight",
        load: Load::WebSocket { payload_bytes: 65536, binary: true },
        connections: 8,
        in_flight: 1,
        paths: &["/ws"],
        references: &["raw-websocket-epoll", "fastwebsockets"],
    },
];

impl Scenario {
    /// What a server must speak to take part.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.load {
            Load::Http1 => Protocol::Http1,
            Load::Http2 { .. } => Protocol::Http2,
            Load::WebSocket { .. } => Protocol::WebSocket,
        }
    }
}

/// Looks a scenario up by name.
#[must_use]
pub fn find(name: &str) -> Option<Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::SCENARIOS;
    use crate::compare::server;

    #[test]
    fn every_reference_is_a_server_that_can_take_part() {
        for scenario in SCENARIOS {
            for reference in scenario.references {
                let name = reference.split_once('/').map_or(*reference, |(name, _)| name);
                let server = server::find(name).unwrap_or_else(|| panic!("{}: {name}", scenario.name));
                assert!(server.speaks.contains(&scenario.protocol()), "{}: {name}", scenario.name);
            }
        }
    }
}
