//! What the metrics tell of what clients make the server hold.

use t4_etcd_api::ClientMemory;

use crate::exposition::Exposition;
use crate::http2::Http2Stats;

pub(crate) fn render(out: &mut Exposition, memory: &ClientMemory, http2: &Http2Stats) {
    let help =
        "Bytes held for clients: unread answers, open calls and requests, watchers, their history.";
    out.single("t4_client_memory_bytes", "gauge", help, memory.held());
    let help = "What clients may make the server hold, in bytes.";
    out.single("t4_client_memory_max_bytes", "gauge", help, memory.bytes_max());
    let help = "Answers that waited until clients had read others.";
    out.single("t4_client_memory_waits_total", "counter", help, memory.waits());
    let help = "Calls, requests and watchers refused because clients had too many open.";
    out.single("t4_client_memory_refusals_total", "counter", help, memory.refusals());
    let name = "t4_http2_connections_closed_total";
    out.metric(name, "counter", "HTTP/2 connections closed because a client was over a limit.");
    for (limit, count) in http2.closed() {
        out.sample(name, &[("limit", limit)], count);
    }
}
