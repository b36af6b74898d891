//! The result of one measurement of one server in one round.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;

/// A quantity measured on both servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Operations per second.
    Throughput,
    /// Median latency, µs.
    P50,
    /// 99th percentile of the latency, µs.
    P99,
    /// 99.9th percentile of the latency, µs.
    P999,
    /// User and system time of the server per operation, µs.
    ServerCpu,
    /// The same for the client; for judging the harness.
    ClientCpu,
    /// Resident memory, MiB.
    Memory,
    /// Time between exec and the first linearizable get after SIGKILL, ms.
    Restart,
    /// The longest time in which no client got an answer to a put, ms.
    PutGap,
    /// The longest time in which no client got an answer to a get, ms.
    GetGap,
}

impl Metric {
    /// Its name and unit, for tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Metric::Throughput => "ops/s",
            Metric::P50 => "p50 µs",
            Metric::P99 => "p99 µs",
            Metric::P999 => "p999 µs",
            Metric::ServerCpu => "server CPU µs/op",
            Metric::ClientCpu => "client CPU µs/op",
            Metric::Memory => "memory MiB",
            Metric::Restart => "restart ms",
            Metric::PutGap => "longest put gap ms",
            Metric::GetGap => "longest get gap ms",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// The measured values.
    pub metrics: BTreeMap<Metric, f64>,
    /// The same metrics for the machine alone, with the servers idle, where
    /// that is meaningful.
    pub baseline: BTreeMap<Metric, f64>,
    /// Other values worth knowing, by a name with its unit.
    pub notes: BTreeMap<&'static str, f64>,
}

/// The raw data of a time window, before conversion to metrics.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its length.
    pub elapsed: Duration,
    /// User and system time of the server.
    pub server_cpu: Duration,
    /// User and system time of the client.
    pub client_cpu: Duration,
    /// One entry per operation that ended in it.
    pub latency: Histogram,
}

impl Window {
    /// The metrics of a window in which each latency is one operation.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let ops = self.latency.len() as f64;
        let mut sample = Sample::default();
        sample.set(Metric::Throughput, ops / self.elapsed.as_secs_f64());
        sample.set(Metric::P50, micros(self.latency.quantile(0.5)));
        sample.set(Metric::P99, micros(self.latency.quantile(0.99)));
        sample.set(Metric::P999, micros(self.latency.quantile(0.999)));
        sample.set(Metric::ServerCpu, micros(self.server_cpu) / ops);
        sample.set(Metric::ClientCpu, micros(self.client_cpu) / ops);
        sample
    }
}

impl Sample {
    /// Sets a metric, unless the value is not a number (no operation ended).
    pub fn set(&mut self, metric: Metric, value: f64) {
        if value.is_finite() {
            self.metrics.insert(metric, value);
        }
    }

    /// A metric, if it was measured.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.metrics.get(&metric).copied()
    }
}

/// In microseconds.
#[must_use]
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// In milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
