//! [`VersionMetadata`]: which version of what, from where and when, and whether it is still good.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stageflow_core::{FieldValue, StageContext, time::Human};

/// Which version of something a stage has fetched: from where, when, what its content was, and how long it is good.
///
/// # Parameters of `new`
///
/// - `source`: where it is from, such as `crm` or the address of a page. Put no secret into it: events have it.
/// - `version`: which version of it, in the words of the source, such as `2026-11-21` or `v7`.
/// - `captured_at`: when it was fetched. [`capture`](Self::capture) takes that from the clock of the run.
///
/// There are no others, and none has a default. It has no content hash until [`of_content`](Self::of_content), and is never stale
/// until [`ttl`](Self::ttl).
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use stageflow_plus::enrich::VersionMetadata;
///
/// let fetched = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
/// let version = VersionMetadata::new("crm", "v7", fetched).of_content(b"Ada, gold").ttl(Duration::from_secs(60));
///
/// assert_eq!((version.source(), version.version(), version.captured_at()), ("crm", "v7", fetched));
/// assert!(version.is_content(b"Ada, gold") && !version.is_content(b"Ada, silver"));
/// assert!(!version.is_stale_at(fetched + Duration::from_secs(60)));
/// assert!(version.is_stale_at(fetched + Duration::from_secs(61)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionMetadata {
    source: String,
    version: String,
    captured_at: SystemTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
}

impl VersionMetadata {
    /// A version of a source, captured at a time: see the parameters above.
    pub fn new(source: impl Into<String>, version: impl Into<String>, captured_at: SystemTime) -> Self {
        Self { source: source.into(), version: version.into(), captured_at, content_hash: None, ttl: None }
    }

    /// The same, captured now by the clock of the run.
    pub fn capture(ctx: &StageContext, source: impl Into<String>, version: impl Into<String>) -> Self {
        Self::new(source, version, ctx.wall_time())
    }

    /// Adds the hash of the content: SHA-256, as `sha256sum` prints it.
    #[must_use]
    pub fn of_content(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content_hash = Some(hex(content.as_ref()));
        self
    }

    /// It is stale once it is older than this.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Where it is from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Which version of it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// When it was fetched.
    pub fn captured_at(&self) -> SystemTime {
        self.captured_at
    }

    /// The hash of the content, in 64 hexadecimal digits.
    pub fn content_hash(&self) -> Option<&str> {
        self.content_hash.as_deref()
    }

    /// How long it is good.
    pub fn time_to_live(&self) -> Option<Duration> {
        self.ttl
    }

    /// Whether this is the content that was hashed; `false` if none was.
    pub fn is_content(&self, content: impl AsRef<[u8]>) -> bool {
        self.content_hash.as_deref() == Some(hex(content.as_ref()).as_str())
    }

    /// How old it is at `now`: nothing, where it is from the future.
    pub fn age_at(&self, now: SystemTime) -> Duration {
        now.duration_since(self.captured_at).unwrap_or_default()
    }

    /// Whether it is older than its time to live; never, without one.
    pub fn is_stale_at(&self, now: SystemTime) -> bool {
        self.ttl.is_some_and(|ttl| self.age_at(now) > ttl)
    }

    /// Whether the source is at another version by now.
    pub fn is_outdated_by(&self, version: &str) -> bool {
        self.version != version
    }

    /// Whether it is stale by the clock of the run; if it is, that leaves the event `context.stale`.
    pub fn is_stale(&self, ctx: &StageContext) -> bool {
        let now = ctx.wall_time();
        let is_stale = self.is_stale_at(now);
        if is_stale {
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let fields: [(&str, FieldValue); 4] = [
                ("source", self.source.as_str().into()),
                ("version", self.version.as_str().into()),
                ("age_ms", millis(self.age_at(now)).into()),
                ("ttl_ms", millis(self.ttl.unwrap_or_default()).into()),
            ];
            ctx.emit("context.stale", fields);
        }
        is_stale
    }
}

impl fmt::Display for VersionMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.version)?;
        if let Some(hash) = &self.content_hash {
            write!(f, " ({})", hash.get(..12).unwrap_or(hash))?;
        }
        self.ttl.map_or(Ok(()), |ttl| write!(f, ", good for {}", Human(ttl)))
    }
}

fn hex(content: &[u8]) -> String {
    use fmt::Write as _;
    Sha256::digest(content).iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
