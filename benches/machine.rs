//! Which machine the figures are from.

use std::fs;
use std::thread;

/// Cores, processor, memory, kernel, and what else ran on it, as far as Linux says.
pub(crate) fn description() -> String {
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cores = if cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{cores} cores")
    };
    let processor =
        value_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let mut parts = vec![cores, processor];
    let kibibytes = value_of("/proc/meminfo", "MemTotal")
        .and_then(|total| total.trim_end_matches("kB").trim().parse::<f64>().ok());
    if let Some(kibibytes) = kibibytes {
        parts.push(format!("{:.0} GB of memory", kibibytes * 1_024.0 / 1e9));
    }
    if let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") {
        parts.push(format!("Linux {}", release.trim()));
    }
    if let Some(load) = load() {
        parts.push(format!("load before the run {load}"));
    }
    parts.join(", ")
}

/// The load average of the last minute.
fn load() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

fn value_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}
