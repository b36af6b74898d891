//! The memory of a process, as the kernel counts it.

use std::fs;

use crate::Program;

/// The memory of one process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pid: u32,
}

impl Memory {
    /// The memory of a running program.
    #[must_use]
    pub fn of(program: &Program) -> Memory {
        Memory { pid: program.pid() }
    }

    /// The resident memory now, in bytes.
    ///
    /// # Panics
    /// When the process is gone, as for all of these methods.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.field("VmRSS:")
    }

    /// Resets the peak. Returns the resident memory now, in bytes.
    ///
    /// # Panics
    /// As for [`resident`](Self::resident).
    pub fn begin_peak(&self) -> u64 {
        fs::write(format!("/proc/{}/clear_refs", self.pid), "5").expect("reset the peak");
        self.resident()
    }

    /// The highest resident memory since the peak was reset, in bytes.
    ///
    /// # Panics
    /// As for [`resident`](Self::resident).
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.field("VmHWM:")
    }

    /// The same for a process that may have ended: then `None`.
    #[must_use]
    pub fn peak_if_alive(&self) -> Option<u64> {
        self.try_field("VmHWM:")
    }

    fn field(&self, name: &str) -> u64 {
        self.try_field(name).expect("the process runs")
    }

    // A process that has ended and has not been reaped has a status without memory
    // fields.
    fn try_field(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib * 1024)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::Scratch;

    #[test]
    fn a_process_that_has_ended_has_none() {
        let scratch = Scratch::new("memory").expect("scratch");
        let mut command = Command::new("sh");
        command.arg("-c").arg("echo up; while :; do sleep 0.05; done");
        let mut program = Program::start("shell", command, &scratch.join("log")).expect("start");
        program.wait_for_line("up", Duration::from_secs(20)).expect("up");
        let memory = Memory::of(&program);
        assert!(memory.begin_peak() > 0 && memory.resident() > 0 && memory.peak() > 0);
        program.kill().expect("killed");
        assert_eq!(memory.peak_if_alive(), None);
    }
}
