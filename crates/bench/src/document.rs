//! `docs/benchmarks.md`: the tables of a full run, and how to read them.

use crate::report::Report;

/// The whole page.
#[must_use]
pub fn page(report: &Report) -> String {
    format!("{HEAD}\n{}\n{METHOD}", report.text())
}

const HEAD: &str = "\
# T4 against etcd, measured

Written by `cargo xtask bench`; do not edit. A ratio is T4's value over etcd's, the median of the
rounds' ratios: above 1 is better for operations per second, below 1 for everything else. ✓ and ✗
say whether the target of that cell is met; every target is in the table \"Targets\".
";

const METHOD: &str = "\
## How it is measured

* Each family of workloads starts both servers on empty directories of one file system, both with
  fsync on, and fills them alike. Both stay up; the one that is not measured is idle. A round
  measures one, then the other, in alternating order, each after both have come to rest and
  nothing that was written waits for the disk.
* The client is one process for both: a closed loop on HTTP/2 connections with `TCP_NODELAY` (one
  per client up to 16, 32 for 256 clients), generated stubs straight on `h2`, one single-threaded
  runtime per core. Keys of 32 bytes and values of 256 bytes are made before. It shares the cores
  with the server, so the ratio of throughputs is less than that of the servers' work.
* Server CPU per operation is the user and system time of the server's process, by
  `/proc/PID/stat`, over the operations that ended in the window. It is the number that depends
  least on the client and on the machine's mood.
* Latency is from sending a request to its answer; of a watch, from sending the put to the event.
  Quantiles are of one round, and what is shown is the median of the rounds.
* Every answer is checked: a lost key, a wrong count, a missing, doubled or reordered event fails
  the measurement.
* Logins: both servers hash passwords with bcrypt at cost 10, their default.
* The workloads over TLS show both clients the same certificates, made for the run (ECDSA on P-256,
  or RSA of 2048 bits where the name says so), and ask for none. A handshake is a connection that
  nothing is known of: TCP, TLS in full (no session to resume), HTTP/2, and one get.
* A stall is a time in which no client at all gets an answer. \"Machine alone\" is the longest that a
  small write with fdatasync took (for gets: that a sleep of a millisecond took too long) in some
  seconds just before, with both servers idle: what is there anyway, T4 did not cause.
* Restart is from exec to the first linearizable get, after SIGKILL. Memory is `VmRSS`, which for
  etcd includes the pages of its file that are mapped.
";
