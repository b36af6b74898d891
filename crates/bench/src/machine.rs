//! The machine that a result belongs to.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::histogram::Histogram;
use crate::sample::micros;

/// What readers need to know about the machine to judge the numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The model name of the processor.
    pub cpu: String,
    /// Cores that the benchmark may use.
    pub cores: usize,
    /// Main memory, GiB.
    pub memory_gib: u64,
    /// Name and version of the kernel.
    pub kernel: String,
    /// The file system that holds the data.
    pub file_system: String,
    /// Median time of writing 2 KiB at the end of a file plus `fdatasync`, µs.
    pub fdatasync_p50_us: f64,
    /// The 99th percentile of the same, µs.
    pub fdatasync_p99_us: f64,
}

impl Machine {
    /// Inspects this machine and the disk under `data_dir`.
    ///
    /// # Errors
    /// If that directory is not writable.
    pub fn describe(data_dir: &Path) -> anyhow::Result<Machine> {
        let sync = probe_sync(&data_dir.join("sync-probe"))?;
        let uname = rustix::system::uname();
        let kernel =
            format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        Ok(Machine {
            cpu: field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory_gib(),
            kernel,
            file_system: file_system(data_dir)?,
            fdatasync_p50_us: micros(sync.quantile(0.5)),
            fdatasync_p99_us: micros(sync.quantile(0.99)),
        })
    }
}

/// Tracks what else runs on the machine, starting at its creation.
#[derive(Debug)]
pub struct Company {
    began: Instant,
    busy: Duration,
    own: Duration,
}

impl Company {
    /// Starts tracking.
    ///
    /// # Errors
    /// If `/proc` does not match proc(5).
    pub fn watch() -> anyhow::Result<Company> {
        Ok(Company { began: Instant::now(), busy: busy_time()?, own: own_time()? })
    }

    /// The fraction of all cores' time that others have used since then:
    /// neither this process nor the children that it has waited for. 0 to 1.
    ///
    /// # Errors
    /// As above.
    pub fn share(&self) -> anyhow::Result<f64> {
        let cores = std::thread::available_parallelism()?.get() as f64;
        let others = (busy_time()? - self.busy).saturating_sub(own_time()? - self.own);
        Ok(others.as_secs_f64() / (self.began.elapsed().as_secs_f64() * cores))
    }
}

/// The non-idle time of the cores since boot, including time stolen by the host.
fn busy_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let ticks = busy_ticks(&stat).context("/proc/stat is not as proc(5) has it")?;
    Ok(crate::server::ticks(ticks))
}

/// Sums user, nice, system, irq, softirq and steal out of user, nice, system,
/// idle, iowait, irq, softirq, steal.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Option<Vec<u64>> =
        line.split_ascii_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let fields = fields.filter(|fields| fields.len() == 8)?;
    Some([0, 1, 2, 5, 6, 7].into_iter().map(|at| fields[at]).sum())
}

fn own_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, behind_name) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    // Fields 14 to 17: user and system time, of this process and its children.
    let fields = behind_name.split_ascii_whitespace().skip(11).take(4);
    Ok(crate::server::ticks(fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?))
}

/// The longest delays that the machine itself caused while nothing measured was running.
#[derive(Clone, Copy, Debug)]
pub struct Hiccups {
    /// Of a small write plus `fdatasync`.
    pub sync: Duration,
    /// Of a sleep beyond the requested millisecond.
    pub sleep: Duration,
}

impl Hiccups {
    /// Alternates writes, syncs and sleeps for `window`, in `dir`.
    ///
    /// # Errors
    /// If that directory is not writable.
    pub fn look(dir: &Path, window: Duration) -> anyhow::Result<Hiccups> {
        const PAUSE: Duration = Duration::from_millis(1);
        let path = dir.join("hiccup-probe");
        let file = File::create(&path)?;
        file.write_all_at(&[0; 4096], 0)?;
        file.sync_all()?;
        let end = Instant::now() + window;
        let mut hiccups = Hiccups { sync: Duration::ZERO, sleep: Duration::ZERO };
        while Instant::now() < end {
            let began = Instant::now();
            file.write_all_at(&[1; 512], 0)?;
            file.sync_data()?;
            let synced = Instant::now();
            std::thread::sleep(PAUSE);
            hiccups.sync = hiccups.sync.max(synced - began);
            hiccups.sleep = hiccups.sleep.max(synced.elapsed().saturating_sub(PAUSE));
        }
        std::fs::remove_file(path)?;
        Ok(hiccups)
    }
}

/// The lower bound of every put's latency: both servers wait for this.
fn probe_sync(path: &Path) -> anyhow::Result<Histogram> {
    const WRITES: u64 = 500;
    const WRITE_BYTES: usize = 2_048;
    let mut file = File::create(path)?;
    // Allocates the blocks, as in a preallocated log.
    file.write_all(&vec![0; WRITES as usize * WRITE_BYTES])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut latency = Histogram::default();
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[1; WRITE_BYTES])?;
        file.sync_data()?;
        latency.record(began.elapsed());
        // Not back to back: neither server's log does that.
        std::thread::sleep(Duration::from_micros(200));
    }
    std::fs::remove_file(path)?;
    Ok(latency)
}

fn memory_gib() -> u64 {
    let total = field_of("/proc/meminfo", "MemTotal");
    let kib = total.and_then(|text| text.trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.map_or(0, |kib| (kib + (1 << 19)) >> 20)
}

/// The value after the first occurrence of `name` and a colon.
fn field_of(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the file system that holds a directory, by the mount point that
/// is the longest prefix of its path.
fn file_system(dir: &Path) -> anyhow::Result<String> {
    let dir = std::fs::canonicalize(dir)?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            dir.starts_with(point).then_some((point.len(), kind))
        })
        .max_by_key(|(length, _)| *length);
    Ok(found.map_or("unknown", |(_, kind)| kind).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let scratch = t4_testkit::Scratch::new("machine").expect("scratch");
        let machine = Machine::describe(scratch.path()).expect("described");
        assert!(machine.cores > 0 && machine.kernel.starts_with("Linux"), "{machine:?}");
        assert!(machine.fdatasync_p50_us <= machine.fdatasync_p99_us, "{machine:?}");
        assert_ne!(machine.file_system, "unknown");
        assert!(!scratch.join("sync-probe").exists());
    }

    #[test]
    fn hiccups_leave_nothing_behind() {
        let scratch = t4_testkit::Scratch::new("hiccups").expect("scratch");
        let hiccups = Hiccups::look(scratch.path(), Duration::from_millis(20)).expect("looked");
        assert!(hiccups.sync > Duration::ZERO, "{hiccups:?}");
        assert_eq!(std::fs::read_dir(scratch.path()).expect("there").count(), 0);
    }

    #[test]
    fn own_work_is_no_company() {
        let company = Company::watch().expect("proc");
        let share = company.share().expect("proc");
        assert!((0.0..=1.5).contains(&share), "{share}");
        assert_eq!(busy_ticks("cpu  1 2 4 100 100 8 16 32 0 0\ncpu0 9\n"), Some(63));
        assert_eq!(busy_ticks("cpu  1 2\n"), None);
    }
}
