//! `t4 inspect meta`.

use std::process::ExitCode;

use serde::Serialize;
use t4_kv_types::AlarmKind;
use t4_node::Offline;

use super::{Output, Show, scope};

#[derive(Debug, clap::Args)]
pub(super) struct MetaArgs {}

/// The output, in the order in which it is printed.
#[derive(Serialize)]
struct Meta {
    cluster_id: String,
    member_id: String,
    replica_id: String,
    revision: i64,
    /// The oldest revision that can be read.
    oldest_revision: i64,
    /// None: never compacted.
    compacted_revision: Option<i64>,
    keys: u64,
    leases: usize,
    bytes_in_use: u64,
    bytes_on_disk: u64,
    segments: u64,
    epoch: u64,
    applied_log_index: u64,
    sealed_log_index: u64,
    log: Log,
    auth: Auth,
    alarms: Vec<Alarm>,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Log {
    first_index: u64,
    last_index: u64,
    segments: usize,
    bytes_on_disk: u64,
    /// The bytes that the next start will cut off: a write that was never
    /// acknowledged.
    torn_bytes: u64,
    /// Bits set in space that no entry uses: a sign that the disk is failing.
    stray_bits: usize,
}

/// Users, passwords and tokens are not shown.
#[derive(Serialize)]
struct Auth {
    enabled: bool,
    revision: u64,
    /// Simple tokens that have not ended.
    tokens: usize,
}

#[derive(Serialize)]
struct Alarm {
    member_id: String,
    alarm: &'static str,
}

#[derive(Serialize)]
struct Member {
    id: String,
    name: String,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
}

impl Show for MetaArgs {
    fn show(
        self,
        data: &Offline,
        Output { out, json }: &mut Output<'_>,
    ) -> anyhow::Result<ExitCode> {
        let meta = Meta::of(data);
        if *json {
            writeln!(out, "{}", serde_json::to_string(&meta)?)?;
        } else {
            meta.write_text(*out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Meta {
    fn of(data: &Offline) -> Meta {
        let (identity, reader, log) = (data.identity(), data.reader(), data.log());
        let stats = reader.stats();
        let position = data.position();
        let alarms = data.alarms();
        let alarms = alarms.iter().map(|(member, kind)| Alarm {
            member_id: hex(member.0),
            alarm: match kind {
                AlarmKind::NoSpace => "NOSPACE",
                AlarmKind::Corrupt => "CORRUPT",
            },
        });
        let members = data.members().iter().map(|(id, attributes)| Member {
            id: hex(id.0),
            name: attributes.name.clone(),
            peer_urls: attributes.peer_urls.clone(),
            client_urls: attributes.client_urls.clone(),
        });
        Meta {
            cluster_id: hex(identity.cluster_id.0),
            member_id: hex(identity.member_id.0),
            replica_id: format!("{:032x}", identity.replica_id),
            revision: reader.revision().0,
            oldest_revision: scope::oldest(reader).0,
            compacted_revision: reader.compacted().map(|at| at.0),
            keys: stats.keys,
            leases: data.lease_count(),
            bytes_in_use: stats.bytes_in_use + data.auth().bytes(),
            bytes_on_disk: stats.bytes_on_disk,
            segments: stats.segments,
            epoch: position.epoch.0.max(log.epoch.0),
            applied_log_index: position.index.0,
            sealed_log_index: data.sealed().index.0,
            log: Log {
                first_index: log.first.0,
                last_index: log.last.0,
                segments: log.segments,
                bytes_on_disk: log.bytes,
                torn_bytes: log.recovery.torn.as_ref().map_or(0, |torn| torn.bytes),
                stray_bits: log.recovery.strays.len(),
            },
            auth: Auth {
                enabled: data.auth().is_enabled(),
                revision: data.auth().revision(),
                tokens: data.auth().token_count(),
            },
            alarms: alarms.collect(),
            members: members.collect(),
        }
    }

    fn write_text(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        writeln!(out, "cluster: {}", self.cluster_id)?;
        writeln!(out, "member: {}", self.member_id)?;
        writeln!(out, "replica: {}", self.replica_id)?;
        writeln!(out, "revision: {}", self.revision)?;
        writeln!(out, "oldest readable revision: {}", self.oldest_revision)?;
        match self.compacted_revision {
            Some(at) => writeln!(out, "compacted: {at}")?,
            None => writeln!(out, "compacted: never")?,
        }
        writeln!(out, "keys: {}", self.keys)?;
        writeln!(out, "leases: {}", self.leases)?;
        writeln!(out, "bytes in use: {}", self.bytes_in_use)?;
        // The log is the other part, and in a new store nearly all of the data.
        writeln!(
            out,
            "bytes on disk: {} ({} sealed in {} segments, {} of the log)",
            self.bytes_on_disk.saturating_add(self.log.bytes_on_disk),
            self.bytes_on_disk,
            self.segments,
            self.log.bytes_on_disk
        )?;
        writeln!(out, "epoch: {}", self.epoch)?;
        writeln!(
            out,
            "log index: {} applied, {} sealed",
            self.applied_log_index, self.sealed_log_index
        )?;
        self.log.write_text(out)?;
        let Auth { enabled, revision, tokens } = self.auth;
        let on = if enabled { "on" } else { "off" };
        writeln!(out, "authentication: {on}, revision {revision}, {tokens} tokens")?;
        for alarm in &self.alarms {
            writeln!(out, "alarm: {} on member {}", alarm.alarm, alarm.member_id)?;
        }
        for member in &self.members {
            let urls = member.client_urls.join(", ");
            writeln!(out, "member {}: {} at {urls}", member.id, member.name)?;
        }
        Ok(())
    }
}

impl Log {
    fn write_text(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let Log { first_index, last_index, segments, bytes_on_disk, torn_bytes, stray_bits } = self;
        writeln!(
            out,
            "log: entries {first_index} to {last_index} in {segments} segments, {bytes_on_disk} bytes"
        )?;
        if *torn_bytes > 0 {
            writeln!(
                out,
                "log: a torn write of {torn_bytes} bytes at the end, which was never acknowledged; \
                 the next start cuts it off"
            )?;
        }
        if *stray_bits > 0 {
            writeln!(out, "log: {stray_bits} bits set in unused space: the disk is failing")?;
        }
        Ok(())
    }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}
