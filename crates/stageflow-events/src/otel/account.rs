//! What became of what was to be exported: accounts that add up, and the receipt of a shutdown.

use std::{fmt, time::Duration};

/// How many items, spans or data points of metrics, were to be exported and what became of them.
///
/// `offered = exported + rejected + dropped + in_flight` holds at every instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportAccount {
    /// Items that were to be exported.
    pub offered: u64,
    /// Items that the collector has taken.
    pub exported: u64,
    /// Items that the collector refused, in an answer that was otherwise a success.
    pub rejected: u64,
    /// Items dropped because the queue was full.
    pub dropped_full: u64,
    /// Items dropped because the collector refused the whole request for good.
    pub dropped_refused: u64,
    /// Items dropped because all attempts within the budget of the retries failed.
    pub dropped_unreachable: u64,
    /// Items dropped because TLS failed for good: a certificate was not accepted, by us or by the collector.
    pub dropped_tls: u64,
    /// Items dropped because the exporter ended before they were exported.
    pub dropped_shutdown: u64,
    /// Items on their way.
    pub in_flight: u64,
}

impl ExportAccount {
    /// All dropped items.
    pub fn dropped(&self) -> u64 {
        self.dropped_full
            + self.dropped_refused
            + self.dropped_unreachable
            + self.dropped_tls
            + self.dropped_shutdown
    }

    /// All items that were lost: dropped here, or rejected by the collector.
    pub fn lost(&self) -> u64 {
        self.dropped() + self.rejected
    }

    /// What is counted for each result, by the word for it.
    pub(crate) fn results(&self) -> [(&'static str, u64); 7] {
        [
            ("exported", self.exported),
            ("rejected", self.rejected),
            (LossReason::QueueFull.as_str(), self.dropped_full),
            (LossReason::Refused.as_str(), self.dropped_refused),
            (LossReason::Unreachable.as_str(), self.dropped_unreachable),
            (LossReason::Tls.as_str(), self.dropped_tls),
            (LossReason::Shutdown.as_str(), self.dropped_shutdown),
        ]
    }
}

impl fmt::Display for ExportAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} offered", self.offered)?;
        let shown = self.results().into_iter().chain([("in flight", self.in_flight)]);
        shown.filter(|(_, count)| *count > 0).try_for_each(|(what, count)| write!(f, ", {count} {what}"))
    }
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
}

impl Signal {
    /// The signal as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// Why items were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// The queue was full.
    QueueFull,
    /// The collector refused some items.
    Rejected,
    /// The collector refused the request for good.
    Refused,
    /// No attempt succeeded.
    Unreachable,
    /// TLS failed for good: a certificate was not accepted, by us or by the collector, or there is no TLS at the other end.
    Tls,
    /// The exporter ended before.
    Shutdown,
}

impl LossReason {
    /// The reason as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Items that were just lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Of which signal.
    pub signal: Signal,
    /// Why.
    pub reason: LossReason,
    /// How many.
    pub count: u64,
    /// What the collector or the connection said, if anything.
    pub detail: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = match self.signal {
            Signal::Traces => "spans",
            Signal::Metrics => "data points",
        };
        write!(
            f,
            "stageflow: {} {items} lost on the way to the collector ({})",
            self.count,
            self.reason.as_str()
        )?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail.escape_debug()) }
    }
}

/// What a flush or a shutdown has achieved. It tells the truth: with losses it is not [`is_complete`](Self::is_complete).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "only the receipt says whether something was lost"]
#[non_exhaustive]
pub struct ExportReceipt {
    /// What became of the spans, since the exporter was built.
    pub spans: ExportAccount,
    /// What became of the data points, since the exporter was built.
    pub metrics: ExportAccount,
    /// How long it took.
    pub took: Duration,
    /// What went wrong last, if anything.
    pub last_error: Option<String>,
}

impl ExportReceipt {
    /// Whether everything that was offered arrived.
    pub fn is_complete(&self) -> bool {
        [self.spans, self.metrics].iter().all(|account| account.lost() == 0 && account.in_flight == 0)
    }
}

impl fmt::Display for ExportReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spans: {}", self.spans)?;
        if self.metrics.offered > 0 {
            write!(f, "; data points: {}", self.metrics)?;
        }
        self.last_error.iter().try_for_each(|error| write!(f, "; last error: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::ExportAccount;

    #[test]
    fn each_result_is_in_the_specification() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/telemetry.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let line =
            page.lines().find(|line| line.starts_with("| `stageflow.export.result` |")).expect("a line");
        for (word, _) in ExportAccount::default().results() {
            assert!(line.contains(&format!("`{word}`")), "`{word}` is missing: {line}");
        }
    }
}
