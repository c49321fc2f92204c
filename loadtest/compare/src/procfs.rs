//! CPU time and memory of a process and its children, from `/proc`.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

/// A process and the children that it had when this was made.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    pids: Vec<u32>,
    clock: Clock,
}

/// Where CPU time is read.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// `/proc/PID/task/*/schedstat`: nanoseconds on the CPU.
    Schedstat,
    /// `/proc/PID/stat`: user and system time in ticks of this many a second.
    Ticks(u64),
}

impl Processes {
    /// The process `root` and all below it.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn of(root: u32) -> io::Result<Self> {
        let mut pids = vec![root];
        let parents = parents()?;
        let mut next = 0;
        while let Some(parent) = pids.get(next).copied() {
            next += 1;
            pids.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        }
        let clock = match fs::read_to_string(format!("/proc/{root}/schedstat")) {
            Ok(_) => Clock::Schedstat,
            Err(_) => Clock::Ticks(ticks_per_second()?),
        };
        Ok(Self { pids, clock })
    }

    /// This program, without the processes that it started.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn of_this_program() -> io::Result<Self> {
        let own = Self::of(std::process::id())?;
        Ok(Self { pids: own.pids.into_iter().take(1).collect(), clock: own.clock })
    }

    /// CPU time used so far by all threads that are alive.
    ///
    /// # Errors
    /// When a process has ended.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut sum = Duration::ZERO;
        for pid in &self.pids {
            sum += match self.clock {
                Clock::Schedstat => scheduled(*pid)?,
                Clock::Ticks(per_second) => {
                    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
                    let ticks: u64 = stat_field(&stat, 14)? + stat_field(&stat, 15)?;
                    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second))
                }
            };
        }
        Ok(sum)
    }

    /// Resident memory in bytes. Pages that several of the processes share count for each.
    ///
    /// # Errors
    /// When a process has ended.
    pub(crate) fn rss(&self) -> io::Result<u64> {
        let mut sum = 0;
        for pid in &self.pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.split_whitespace().next());
            sum += 1024 * kib.and_then(|kib| kib.parse::<u64>().ok()).ok_or_else(unreadable)?;
        }
        Ok(sum)
    }
}

/// The soft limit of open files of this process.
///
/// # Errors
/// When `/proc` cannot be read.
pub(crate) fn open_files_limit() -> io::Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Ok(u64::MAX),
        Some(limit) => limit.parse().map_err(|_| unreadable()),
        None => Err(unreadable()),
    }
}

/// All processes with their parents.
fn parents() -> io::Result<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may end while we look.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
            && let Ok(parent) = stat_field(&stat, 4)
        {
            all.push((pid, u32::try_from(parent).unwrap_or(0)));
        }
    }
    Ok(all)
}

fn scheduled(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += first.ok_or_else(unreadable)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Field `number` of `/proc/PID/stat`, counted from 1 as in proc(5).
fn stat_field(stat: &str, number: usize) -> io::Result<u64> {
    // The second field is the name in brackets, which may hold spaces and brackets.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or_else(unreadable)?;
    let field = rest.split_whitespace().nth(number - 3).ok_or_else(unreadable)?;
    field.parse().map_err(|_| unreadable())
}

fn ticks_per_second() -> io::Result<u64> {
    let output = Command::new("getconf").arg("CLK_TCK").output()?;
    let ticks = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
    if ticks == 0 { Err(unreadable()) } else { Ok(ticks) }
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc has another form than expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_count_past_a_name_with_brackets() {
        let stat = "7 (a) b) c) S 3 7 7 0 -1 4194304 1 2 3 4 50 60 0 0";
        assert_eq!(stat_field(stat, 4).ok(), Some(3));
        assert_eq!(stat_field(stat, 14).ok(), Some(50));
        assert_eq!(stat_field(stat, 15).ok(), Some(60));
        assert!(stat_field(stat, 99).is_err());
        assert!(stat_field("7 a S 3", 4).is_err());
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let own = Processes::of_this_program().unwrap();
        let before = own.cpu().unwrap();
        let mut sum = 0_u64;
        while own.cpu().unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(own.rss().unwrap() > 100 * 1024);
    }
}
