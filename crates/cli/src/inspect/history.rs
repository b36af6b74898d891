//! `t4 inspect history`: the kept history of a key. After a compaction it
//! begins with the key's state at the compacted revision.

use std::io::Write;
use std::process::ExitCode;

use t4_kv_types::{Event, EventKind, KeyRange, Revision};
use t4_mvcc::{Io, Reader};
use t4_node::Offline;

use super::page::Walk;
use super::print::{EventJson, Lease, Text};
use super::{Output, Show, scope};

/// Revisions and bytes per read.
const REVISIONS_PER_PAGE: usize = 1000;
const BYTES_PER_PAGE: usize = 4 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) key: scope::KeyArgs,
    /// All keys that begin with it
    #[arg(long)]
    pub(super) prefix: bool,
}

impl Show for HistoryArgs {
    fn show(
        self,
        data: &Offline,
        Output { out, json }: &mut Output<'_>,
    ) -> anyhow::Result<ExitCode> {
        let key = self.key.bytes()?;
        let range = if self.prefix { KeyRange::prefix(key) } else { KeyRange::single(key) };
        if !*json {
            writeln!(out, "REVISION\tCHANGE\tVERSION\tLEASE\tKEY\tVALUE")?;
        }
        each_change(data.reader(), &range, |event| {
            if *json {
                writeln!(out, "{}", serde_json::to_string(&EventJson::new(event))?)?;
            } else {
                write_text(out, event)?;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Visits the kept changes of a range, by revision.
fn each_change(
    reader: &Reader,
    range: &KeyRange,
    mut visit: impl FnMut(&Event) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let oldest = scope::oldest(reader);
    let mut kept = Walk::new(reader, range.clone(), oldest, true).collect::<Result<Vec<_>, _>>()?;
    kept.sort_by_key(|kv| kv.mod_revision);
    for kv in kept {
        visit(&Event { kind: EventKind::Put, kv })?;
    }
    let newest = reader.revision();
    let mut from = oldest;
    while from <= newest {
        let page = reader.events(from, newest, REVISIONS_PER_PAGE, BYTES_PER_PAGE, Io::Blocking)?;
        let Some((last, _)) = page.last() else { break };
        from = last.next();
        for event in page.iter().flat_map(|(revision, events)| {
            events.iter().filter(move |event| is_after(*revision, event, oldest))
        }) {
            if range.contains(&event.kv.key) {
                visit(event)?;
            }
        }
    }
    Ok(())
}

/// Puts at the oldest revision were already printed as the state at that
/// revision.
fn is_after(revision: Revision, event: &Event, oldest: Revision) -> bool {
    revision > oldest || event.kind == EventKind::Delete
}

fn write_text(out: &mut dyn Write, event: &Event) -> std::io::Result<()> {
    let kv = &event.kv;
    let (revision, key) = (kv.mod_revision, Text(&kv.key));
    match event.kind {
        EventKind::Put => {
            let (version, lease, value) = (kv.version, Lease(kv.lease), Text(&kv.value));
            writeln!(out, "{revision}\tput\t{version}\t{lease}\t{key}\t{value}")
        }
        EventKind::Delete => writeln!(out, "{revision}\tdelete\t-\t-\t{key}\t"),
    }
}
