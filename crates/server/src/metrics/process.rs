//! What the operating system says of this process, under the names that all Prometheus clients use.

use std::fmt;
use std::fs;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, getrlimit};

use super::gauge;

/// Looks when it is asked. What this system doesn't tell is left out: without Linux's `/proc`, all but the time of the
/// start and the limit of files.
#[derive(Debug)]
pub(super) struct Process {
    start_seconds: f64,
}

impl Process {
    /// Of this process, whose server started at `at`.
    pub(super) fn started(at: DateTime<Utc>) -> Self {
        let milliseconds = at.timestamp_millis().max(0).unsigned_abs();
        Self {
            start_seconds: std::time::Duration::from_millis(milliseconds).as_secs_f64(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let encoder = &mut encoder;
        gauge(
            encoder,
            "process_start_time",
            "When the server started, in seconds since 1970.",
            Some(&Unit::Seconds),
            self.start_seconds,
        )?;
        if let Some(seconds) = read("/proc/self/stat").and_then(|stat| cpu_seconds(&stat)) {
            let descriptor = encoder.encode_descriptor(
                "process_cpu",
                "Processor time used, by the program and by the kernel for it.",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(descriptor)?;
        }
        if let Some(bytes) = read("/proc/self/status").and_then(|status| resident_bytes(&status)) {
            gauge(
                encoder,
                "process_resident_memory",
                "Memory that is in use and not swapped out.",
                Some(&Unit::Bytes),
                bytes,
            )?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The look itself holds one open.
            let count = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
            gauge(
                encoder,
                "process_open_fds",
                "Files and sockets that are open.",
                None,
                count.into(),
            )?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            gauge(
                encoder,
                "process_max_fds",
                "How many files and sockets may be open.",
                None,
                u32::try_from(most).unwrap_or(u32::MAX).into(),
            )?;
        }
        Ok(())
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// From `/proc/[pid]/stat`: its fields 14 and 15, in ticks. The second field is the program's name in parentheses and
/// may hold anything, so counting begins behind it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let per_second = clock_ticks_per_second().max(1);
    let milliseconds = (user + system).saturating_mul(1000) / per_second;
    Some(std::time::Duration::from_millis(milliseconds).as_secs_f64())
}

/// From `/proc/[pid]/status`: `VmRSS:     1234 kB`.
fn resident_bytes(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let ticks = clock_ticks_per_second();
        let stat = format!(
            "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 {} {} 0 0 20 0",
            3 * ticks,
            ticks / 2
        );
        assert_eq!(cpu_seconds(&stat), Some(3.5));
        assert_eq!(cpu_seconds("7 (x) S 1"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(
            resident_bytes("VmPeak: 9 kB\nVmRSS:\t     12 kB\n"),
            Some(12_288.0)
        );
        assert_eq!(resident_bytes("VmPeak: 9 kB\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_like_itself() {
        assert!(
            read("/proc/self/stat")
                .and_then(|stat| cpu_seconds(&stat))
                .is_some()
        );
        let bytes = read("/proc/self/status").and_then(|status| resident_bytes(&status));
        assert!(bytes.is_some_and(|bytes| bytes > 1e6), "{bytes:?}");
    }
}
