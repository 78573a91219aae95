//! Bytes of memory: what the allocator has given out, and what the process holds.

use anyhow::{Context, Result, bail};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes that are allocated now.
pub(crate) fn live() -> usize {
    ALLOCATOR.current_usage()
}

/// The most bytes that were allocated at a time since [`reset_peak`].
pub(crate) fn peak() -> usize {
    ALLOCATOR.peak_usage()
}

/// Forgets the peak.
pub(crate) fn reset_peak() {
    ALLOCATOR.reset_peak_usage();
}

/// Bytes of the process in physical memory.
pub(crate) fn resident() -> Result<u64> {
    // The same counter as in `/proc/self/statm`, which counts in pages of unknown size.
    let text = std::fs::read_to_string("/proc/self/status")
        .context("resident memory is not measured on this system: it has no /proc/self/status")?;
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmRSS:")) else {
        bail!("resident memory is not measured on this system: its /proc/self/status has no VmRSS");
    };
    let kilobytes = line.trim().trim_end_matches("kB").trim();
    let kilobytes: u64 = kilobytes.parse().with_context(|| format!("VmRSS is `{kilobytes}`"))?;
    Ok(kilobytes * 1024)
}
