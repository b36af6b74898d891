//! How much memory this process may use, as far as the system says.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// What clients may fill by default: a quarter of the memory, within these.
const CLIENT_BYTES_MIN: u64 = 32 << 20;
const CLIENT_BYTES_MAX: u64 = 1 << 30;

/// What clients may make the server hold, unless the operator says it.
pub(crate) fn client_memory_bytes() -> usize {
    usize::try_from(share_of(memory_bytes())).unwrap_or(usize::MAX)
}

fn share_of(memory_bytes: u64) -> u64 {
    (memory_bytes / 4).clamp(CLIENT_BYTES_MIN, CLIENT_BYTES_MAX)
}

/// The least of what the machine, the control groups and the resource limits
/// allow.
fn memory_bytes() -> u64 {
    let own_groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = limit_files(&own_groups).into_iter().filter_map(|file| read_limit(&file));
    let limits = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_in(&text));
    groups.chain(limits.into_iter().flatten()).chain(machine).min().unwrap_or(u64::MAX)
}

/// The files with the limits of these groups and of those that they are in, for
/// both versions of control groups.
fn limit_files(own_groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own_groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // Within a container the path may be one that only the host sees; the
        // root is then the container's own.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            files.push(Path::new(root).join(group).join(file));
        }
    }
    files
}

/// `max`, in version 2, is no number, and no limit.
fn read_limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_within_bounds() {
        assert_eq!(share_of(1 << 30), 256 << 20);
        assert_eq!(share_of(10 << 20), CLIENT_BYTES_MIN);
        assert_eq!(share_of(u64::MAX), CLIENT_BYTES_MAX);
    }

    #[test]
    fn both_versions_of_groups_are_looked_at() {
        let found = |text| limit_files(text).iter().map(|it| it.display().to_string()).collect();
        let second: Vec<String> = found("0::/system.slice/t4.service\n");
        let expected = [
            "/sys/fs/cgroup/system.slice/t4.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(second, expected);
        let first: Vec<String> = found("5:cpu,cpuacct:/x\n4:memory:/docker/1\nnonsense\n");
        assert_eq!(first.len(), 3);
        assert_eq!(first[0], "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes");
    }

    #[test]
    fn the_machine_says_how_much_it_has() {
        assert_eq!(total_in("MemFree: 1 kB\nMemTotal:       24 kB\n"), Some(24 * 1024));
        assert_eq!(total_in("nothing"), None);
        assert!(memory_bytes() > CLIENT_BYTES_MIN);
    }
}
