//! `t4 verify`: reads every byte of a data directory on which no server runs,
//! and reports all damage. Exit code 0: there is none, and a server can be
//! started from it.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use t4_node::{Fault, Verification, VerifiedState};

use crate::inspect;

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The data directory [default: /var/lib/t4]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The output, in the order in which it is printed.
#[derive(Serialize)]
struct Report {
    ok: bool,
    files: usize,
    bytes: u64,
    log_entries: u64,
    last_log_index: u64,
    records: u64,
    /// The bytes that the next start will cut off: a write that was never
    /// acknowledged.
    torn_bytes: u64,
    /// `None`: it cannot be built from the files.
    state: Option<State>,
    faults: Vec<ReportedFault>,
}

#[derive(Serialize)]
struct ReportedFault {
    /// Below the data directory; none if it is about more than one file.
    file: Option<String>,
    /// In bytes, where it is known.
    offset: Option<u64>,
    kind: &'static str,
    message: String,
}

#[derive(Serialize)]
struct State {
    revision: i64,
    oldest_revision: i64,
    keys: u64,
    revisions: u64,
    leases: usize,
    attached_keys: u64,
    users: usize,
}

pub(crate) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let found = t4_node::verify(&inspect::data_dir(args.data_dir)?)?;
    let report = Report::of(&found);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        report.write_text(&mut out)?;
    }
    out.flush()?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    fn of(found: &Verification) -> Report {
        Report {
            ok: found.faults.is_empty(),
            files: found.files,
            bytes: found.bytes,
            log_entries: found.log_entries,
            last_log_index: found.log_last.0,
            records: found.records,
            torn_bytes: found.torn.as_ref().map_or(0, |torn| torn.bytes),
            state: found.state.as_ref().map(State::of),
            faults: found.faults.iter().map(ReportedFault::of).collect(),
        }
    }

    fn write_text(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "read: {} bytes in {} files", self.bytes, self.files)?;
        writeln!(out, "log: {} entries, the last is {}", self.log_entries, self.last_log_index)?;
        if self.torn_bytes > 0 {
            let torn = self.torn_bytes;
            writeln!(
                out,
                "log: the next start cuts off {torn} bytes that were never acknowledged"
            )?;
        }
        writeln!(out, "segments: {} records", self.records)?;
        if let Some(state) = &self.state {
            let State { revision, oldest_revision, keys, revisions, .. } = state;
            writeln!(out, "state: revision {revision}, readable from {oldest_revision} on")?;
            writeln!(out, "state: {keys} keys, {revisions} revisions of history")?;
            let State { leases, attached_keys, users, .. } = state;
            writeln!(out, "state: {leases} leases with {attached_keys} keys, {users} users")?;
        }
        for fault in &self.faults {
            writeln!(out, "DAMAGED: {}", fault.message)?;
        }
        match self.faults.len() {
            0 => writeln!(out, "sound"),
            1 => writeln!(out, "1 fault"),
            faults => writeln!(out, "{faults} faults"),
        }
    }
}

impl ReportedFault {
    fn of(fault: &Fault) -> ReportedFault {
        ReportedFault {
            file: fault.file.as_ref().map(|file| file.display().to_string()),
            offset: fault.offset,
            kind: fault.kind.name(),
            message: fault.message.clone(),
        }
    }
}

impl State {
    fn of(state: &VerifiedState) -> State {
        State {
            revision: state.revision.0,
            oldest_revision: state.oldest.0,
            keys: state.keys,
            revisions: state.revisions,
            leases: state.leases,
            attached_keys: state.attachments,
            users: state.users,
        }
    }
}
