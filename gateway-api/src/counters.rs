//! What a core has seen, readable from any thread while it runs.

use ringgate_runtime::executor::Stall;
use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:literal, $help:literal;)*) => {
        /// The counters of one core. Only that core writes, so a count is a load and a store, not a locked addition.
        #[derive(Debug, Default)]
        pub(crate) struct GatewayCounters { $($(#[doc = $doc])* pub(crate) $name: Count,)* }

        impl GatewayCounters {
            fn rows(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
                vec![$((stringify!($name), $kind, $help, self.$name.get()),)*]
            }
        }
    };
}

counters! {
    connections_accepted: "counter", "Connections taken from the listeners.";
    connections_open: "gauge", "Connections open now.";
    connections_refused: "counter", "Connections closed at once because of connections_max.";
    connections_cut: "counter", "Connections cut by the deadline of a drain.";
    responses_1xx: "counter", "Interim responses sent, and 101, which changes the protocol.";
    responses_2xx: "counter", "Responses with a 2xx status.";
    responses_3xx: "counter", "Responses with a 3xx status.";
    responses_4xx: "counter", "Responses with a 4xx status.";
    responses_5xx: "counter", "Responses with a 5xx status.";
    requests_malformed: "counter", "Requests answered by the protocol machine itself.";
    handler_panics: "counter", "Panics of handlers, hooks and response bodies.";
    crew_full: "counter", "Requests answered 503 because the blocking crew was full.";
    disconnects: "counter", "Clients that went away before their response was complete.";
    timeouts_header: "counter", "Connections that did not begin, or finish a head, in time.";
    timeouts_idle: "counter", "Connections closed because no further request came in time.";
    timeouts_body: "counter", "Request bodies that came too slowly.";
    timeouts_send: "counter", "Responses that were taken too slowly.";
    timeouts_handler: "counter", "Handlers that ran beyond the request timeout.";
    websockets_open: "gauge", "WebSockets open now.";
    websockets_opened: "counter", "WebSockets opened.";
    websockets_refused: "counter", "WebSocket handshakes refused.";
    websocket_messages_sent: "counter", "Messages sent on WebSockets.";
    websocket_messages_dropped: "counter", "Messages that slow WebSockets did not get.";
    websockets_closed_slow: "counter", "WebSockets closed because their peer reads too slowly.";
    websocket_faults: "counter", "WebSockets closed because their peer broke the protocol or a limit.";
    websocket_broadcasts: "counter", "Messages published to topics.";
    proxy_headers_refused: "counter", "Connections closed because they began with no PROXY header, or came from nobody trusted to send one.";
    requests_shed: "counter", "Requests answered 503 because of process_bytes_max.";
    sheddings: "counter", "Times that the process grew beyond process_bytes_max.";
    responses_misused: "counter", "Responses a handler made that break the protocol, a wrong length for instance.";
}

/// One count of one core.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    #[inline]
    pub(crate) fn up(&self) {
        self.up_by(1);
    }

    /// So many more.
    #[inline]
    pub(crate) fn up_by(&self, count: u32) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count.into()), Ordering::Relaxed);
    }

    /// One less (gauges).
    #[inline]
    pub(crate) fn down(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl GatewayCounters {
    /// Counts a response by the class of its status.
    #[inline]
    pub(crate) fn response(&self, status: http::StatusCode) {
        match status.as_u16() {
            200..300 => &self.responses_2xx,
            100..200 => &self.responses_1xx,
            300..400 => &self.responses_3xx,
            400..500 => &self.responses_4xx,
            _ => &self.responses_5xx,
        }
        .up();
    }
}

#[derive(Debug)]
struct CoreEntry {
    core: usize,
    gateway: Arc<GatewayCounters>,
    runtime: Arc<ringgate_runtime::executor::Counters>,
}

/// The counters of all cores of a gateway, to be read from any thread, also while it drains and after its end. Reading
/// holds nobody up. What each counter means stands beside it on the page of [`Metrics::render`]. The executors count too:
/// what, says [`Counters::snapshot`](ringgate_runtime::executor::Counters::snapshot).
///
/// ```
/// use ringgate::{App, Core, Gateway, Request};
/// // The page that a scraper reads, served by the gateway itself.
/// let page = |request: &Request| request.core().metrics().render();
/// let gateway = Gateway::builder(move |_: &Core| App::new().route("/metrics", page))
///     .listen("127.0.0.1:0".parse()?)
///     .start()?;
/// assert_eq!(gateway.metrics().get("connections_open"), Some(0));
/// assert_eq!(gateway.metrics().get("no_such_counter"), None);
/// assert!(gateway.metrics().render().contains("connections_accepted"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    cores: Arc<Mutex<Vec<CoreEntry>>>,
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Vec<CoreEntry>> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn register(
        &self,
        core: usize,
        gateway: Arc<GatewayCounters>,
        runtime: Arc<ringgate_runtime::executor::Counters>,
    ) {
        let mut cores = self.lock();
        cores.push(CoreEntry { core, gateway, runtime });
        cores.sort_by_key(|entry| entry.core);
    }

    /// (name, sum over all cores) of every counter of the gateway. The names are those of the page without `ringgate_` and
    /// `_total`. Counters start at 0 and only grow; gauges (`connections_open`, `websockets_open`) say what is now.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let cores = self.lock();
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for entry in cores.iter() {
            for (row, (name, _, _, value)) in entry.gateway.rows().into_iter().enumerate() {
                match sums.get_mut(row) {
                    Some(sum) => sum.1 += value,
                    None => sums.push((name, value)),
                }
            }
        }
        sums
    }

    /// The sum over all cores of one counter of the gateway, as named in [`Metrics::snapshot`].
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.snapshot().into_iter().find(|(counter, _)| *counter == name).map(|(_, value)| value)
    }

    /// The same for the counters of the runtime: turns, system calls, sends, stalls. Sums over all cores.
    #[must_use]
    pub fn runtime_snapshot(&self) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for entry in self.lock().iter() {
            for (row, (name, value)) in entry.runtime.snapshot().into_iter().enumerate() {
                match sums.get_mut(row) {
                    Some(sum) => sum.1 += value,
                    None => sums.push((name, value)),
                }
            }
        }
        sums
    }

    /// The last stalls of every core, oldest first: which route, or which task, held the core beyond
    /// [`ExecutorConfig::stall_limit`](ringgate_runtime::executor::ExecutorConfig::stall_limit), and how long.
    #[must_use]
    pub fn recent_stalls(&self) -> Vec<(usize, Stall)> {
        let of_core = |entry: &CoreEntry| {
            let core = entry.core;
            entry.runtime.recent_stalls().into_iter().map(move |stall| (core, stall))
        };
        self.lock().iter().flat_map(of_core).collect()
    }

    /// The counters of gateway and runtime, a line per core, in Prometheus' text format: `ringgate_NAME_total` for a counter,
    /// `ringgate_NAME` for a gauge, `ringgate_runtime_NAME` for what the executors count.
    #[must_use]
    pub fn render(&self) -> String {
        let cores = self.lock();
        let mut text = String::with_capacity(8192);
        let rows: Vec<_> = cores.iter().map(|entry| (entry.core, entry.gateway.rows())).collect();
        if let Some((_, first)) = rows.first() {
            for (row, (name, kind, help, _)) in first.iter().enumerate() {
                let suffix = if *kind == "counter" { "_total" } else { "" };
                let _ = writeln!(text, "# HELP ringgate_{name}{suffix} {help}");
                let _ = writeln!(text, "# TYPE ringgate_{name}{suffix} {kind}");
                for (core, values) in &rows {
                    let _ = writeln!(text, "ringgate_{name}{suffix}{{core=\"{core}\"}} {}", values[row].3);
                }
            }
        }
        let runtime: Vec<_> = cores.iter().map(|entry| (entry.core, entry.runtime.snapshot())).collect();
        if let Some((_, first)) = runtime.first() {
            for (row, (name, _)) in first.iter().enumerate() {
                let _ = writeln!(text, "# TYPE ringgate_runtime_{name} untyped");
                for (core, values) in &runtime {
                    if let Some((_, value)) = values.get(row) {
                        let _ = writeln!(text, "ringgate_runtime_{name}{{core=\"{core}\"}} {value}");
                    }
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_line_for_each_counter_of_each_core_and_sums_are_sums() {
        let metrics = Metrics::default();
        for core in [1, 0] {
            let gateway = Arc::new(GatewayCounters::default());
            gateway.response(http::StatusCode::NOT_FOUND);
            let sample = Arc::new(ringgate_runtime::executor::Counters::default());
            metrics.register(core, gateway, sample);
        }
        let page = metrics.render();
        let count = |line: &str| page.lines().filter(|known| known.starts_with(line)).count();
        for (name, _) in metrics.snapshot() {
            let counted = count(&format!("ringgate_{name}{{")) + count(&format!("ringgate_{name}_total{{"));
            let counted = (
                counted,
                count(&format!("# HELP ringgate_{name} ")) + count(&format!("# HELP ringgate_{name}_total ")),
            );
            assert_eq!(counted, (2, 1), "{name}");
        }
        for (name, _) in metrics.runtime_snapshot() {
            assert_eq!(count(&format!("ringgate_runtime_{name}{{")), 2, "{name}");
        }
        assert!(
            page.contains("\nringgate_responses_4xx_total{core=\"0\"} 1\nringgate_responses_4xx_total{core=\"1\"} 1\n")
        );
        assert_eq!(metrics.get("responses_4xx"), Some(2));
        assert_eq!(metrics.get("responses_2xx"), Some(0));
        assert_eq!(metrics.get("no such"), None);
    }
}
