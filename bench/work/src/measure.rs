//! Time and processor time.

use std::time::{Duration, Instant};

/// The processor time that the threads of this process have used, in user mode and in the system.
/// Threads that have ended do not count; no peer ends any while it is measured.
pub fn processor_time() -> Duration {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let of_thread = |thread: std::fs::DirEntry| -> Option<u64> {
        // In nanoseconds, before two other figures.
        std::fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.flatten().filter_map(of_thread).sum())
}

/// The most memory that this process has had in use so far, in bytes.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    1024 * peak.unwrap_or(0)
}

/// What a client measures.
pub struct Stopwatch {
    began: Instant,
    processor: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { began: Instant::now(), processor: processor_time() }
    }

    /// `latencies` are those of the exchanges, in any order.
    pub fn stop(self, mut latencies: Vec<Duration>) -> Measured {
        latencies.sort_unstable();
        let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default();
        Measured {
            elapsed: self.began.elapsed(),
            processor: processor_time().saturating_sub(self.processor),
            median: at(0.5),
            high: at(0.99),
        }
    }
}

/// What a client has measured.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub elapsed: Duration,
    pub processor: Duration,
    /// The median of the exchanges' latencies, and their 99th percentile.
    pub median: Duration,
    pub high: Duration,
}
