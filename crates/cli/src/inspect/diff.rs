//! `t4 inspect diff`: between two revisions of one directory, or between two directories.
//! Both sides are read in parallel, in key order.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use t4_kv_types::{KeyRange, KeyValue, Revision};
use t4_mvcc::{ReadError, Reader};
use t4_node::Offline;

use super::page::Walk;
use super::print::{KeyValueJson, Text};
use super::{Output, Show, scope};

#[derive(Debug, Default, clap::Args)]
#[command(group(clap::ArgGroup::new("against").required(true).args(["from", "other"])))]
pub(super) struct DiffArgs {
    #[command(flatten)]
    pub(super) prefix: scope::PrefixArgs,
    /// The older revision
    #[arg(long, value_name = "REVISION", value_parser = scope::revision)]
    pub(super) from: Option<i64>,
    /// The newer revision [default: the newest]
    #[arg(
        long,
        value_name = "REVISION",
        requires = "from",
        value_parser = scope::revision
    )]
    pub(super) to: Option<i64>,
    /// Another data directory: what must change in --data-dir to become like it
    #[arg(long, value_name = "DIR")]
    pub(super) other: Option<String>,
    /// With --other: compare both at this revision [default: the newest of each]
    #[arg(
        long,
        value_name = "REVISION",
        requires = "other",
        value_parser = scope::revision
    )]
    pub(super) rev: Option<i64>,
    /// The values too
    #[arg(long)]
    pub(super) values: bool,
}

impl Show for DiffArgs {
    fn show(self, data: &Offline, output: &mut Output<'_>) -> anyhow::Result<ExitCode> {
        let range = self.prefix.range();
        let (reader, json) = (data.reader(), output.json);
        let at = |reader: &Reader, rev: Option<i64>| {
            rev.map_or_else(|| Ok(reader.revision()), |rev| scope::readable(reader, Revision(rev)))
        };
        let mut show = |difference: &Difference| {
            if json {
                let line = serde_json::to_string(&DifferenceJson::new(difference, self.values))?;
                writeln!(output.out, "{line}")?;
            } else {
                write_text(output.out, difference, self.values)?;
            }
            Ok(())
        };
        if let Some(other) = &self.other {
            let other = Offline::open(Path::new(other))?;
            let before = Side { reader, at: at(reader, self.rev)? };
            let after = Side { reader: other.reader(), at: at(other.reader(), self.rev)? };
            // Two directories may have different histories, so equal revisions prove
            // nothing.
            each_difference(&before, &after, &range, true, &mut show)?;
        } else {
            let before = Side { reader, at: at(reader, self.from)? };
            let after = Side { reader, at: at(reader, self.to)? };
            // Within one history, a changed key has another revision.
            each_difference(&before, &after, &range, self.values, &mut show)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Side<'a> {
    reader: &'a Reader,
    at: Revision,
}

/// A key that differs: the version before, the one after, or both.
enum Difference {
    Added(KeyValue),
    Removed(KeyValue),
    Changed(KeyValue, KeyValue),
}

fn each_difference(
    before: &Side<'_>,
    after: &Side<'_>,
    range: &KeyRange,
    values: bool,
    show: &mut dyn FnMut(&Difference) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut older = Walk::new(before.reader, range.clone(), before.at, values);
    let mut newer = Walk::new(after.reader, range.clone(), after.at, values);
    let (mut old, mut new) = (next(&mut older)?, next(&mut newer)?);
    loop {
        let difference = match (old.take(), new.take()) {
            (None, None) => return Ok(()),
            (Some(kv), other) if other.as_ref().is_none_or(|other| kv.key < other.key) => {
                new = other;
                old = next(&mut older)?;
                Difference::Removed(kv)
            }
            (other, Some(kv)) if other.as_ref().is_none_or(|other| kv.key < other.key) => {
                old = other;
                new = next(&mut newer)?;
                Difference::Added(kv)
            }
            (Some(was), Some(is)) => {
                (old, new) = (next(&mut older)?, next(&mut newer)?);
                if was == is {
                    continue;
                }
                Difference::Changed(was, is)
            }
            (Some(_), None) | (None, Some(_)) => unreachable!("one side alone is taken above"),
        };
        show(&difference)?;
    }
}

fn next(walk: &mut Walk<'_>) -> Result<Option<KeyValue>, ReadError> {
    walk.next().transpose()
}

fn write_text(out: &mut dyn Write, difference: &Difference, values: bool) -> std::io::Result<()> {
    match difference {
        Difference::Added(kv) => {
            writeln!(out, "+ {} (revision {})", Text(&kv.key), kv.mod_revision)?;
        }
        Difference::Removed(kv) => {
            writeln!(out, "- {} (revision {})", Text(&kv.key), kv.mod_revision)?;
        }
        Difference::Changed(was, is) => {
            writeln!(out, "~ {} ({})", Text(&is.key), what_changed(was, is))?;
        }
    }
    if values {
        let (was, is) = difference.sides();
        if let Some(kv) = was {
            writeln!(out, "  - {}", Text(&kv.value))?;
        }
        if let Some(kv) = is {
            writeln!(out, "  + {}", Text(&kv.value))?;
        }
    }
    Ok(())
}

fn what_changed(was: &KeyValue, is: &KeyValue) -> String {
    let mut parts = Vec::new();
    if was.mod_revision != is.mod_revision {
        parts.push(format!("revision {} -> {}", was.mod_revision, is.mod_revision));
    }
    // If the revisions differ, the other fields may differ too.
    if parts.is_empty() {
        if was.value != is.value {
            parts.push("value".to_owned());
        }
        if was.lease != is.lease {
            parts.push("lease".to_owned());
        }
        if (was.create_revision, was.version) != (is.create_revision, is.version) {
            parts.push("create revision or version".to_owned());
        }
    }
    parts.join(", ")
}

impl Difference {
    fn sides(&self) -> (Option<&KeyValue>, Option<&KeyValue>) {
        match self {
            Difference::Added(kv) => (None, Some(kv)),
            Difference::Removed(kv) => (Some(kv), None),
            Difference::Changed(was, is) => (Some(was), Some(is)),
        }
    }
}

#[derive(Serialize)]
struct DifferenceJson {
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<KeyValueJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<KeyValueJson>,
}

impl DifferenceJson {
    fn new(difference: &Difference, values: bool) -> Self {
        let (was, is) = difference.sides();
        let change = match difference {
            Difference::Added(_) => "added",
            Difference::Removed(_) => "removed",
            Difference::Changed(..) => "changed",
        };
        let side = |kv: Option<&KeyValue>| kv.map(|kv| KeyValueJson::new(kv, values));
        DifferenceJson { change, before: side(was), after: side(is) }
    }
}
