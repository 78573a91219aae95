//! The W3C trace context that a run belongs to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a run stands in a distributed trace: the fields of a W3C `traceparent` header.
///
/// ```
/// use stageflow_core::TraceContext;
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace: TraceContext = header.parse().expect("a valid header");
/// assert!(trace.is_sampled());
/// assert_eq!(trace.to_string(), header);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// A text is not a `traceparent` header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent: {0}")]
pub struct TraceContextError(&'static str);

impl TraceContext {
    /// A trace context from its parts.
    ///
    /// # Errors
    ///
    /// An id of zero is invalid by the standard.
    pub fn new(trace_id: u128, span_id: u64, sampled: bool) -> Result<Self, TraceContextError> {
        if trace_id == 0 || span_id == 0 {
            return Err(TraceContextError("an id of all zeros"));
        }
        Ok(Self { trace_id, span_id, flags: u8::from(sampled) })
    }

    /// The trace's id.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span that caused the run.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        let mut parts = text.split('-');
        let (Some(version), Some(trace), Some(span), Some(flags)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TraceContextError("fewer than four fields"));
        };
        let lower_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !lower_hex(version, 2) || version == "ff" {
            return Err(TraceContextError("an unknown version"));
        }
        if version == "00" && parts.next().is_some() {
            return Err(TraceContextError("more than four fields"));
        }
        if !lower_hex(trace, 32) || !lower_hex(span, 16) || !lower_hex(flags, 2) {
            return Err(TraceContextError("a field that is not lower-case hex of its length"));
        }
        let bad = |_| TraceContextError("a field that is not hex");
        let context = Self::new(
            u128::from_str_radix(trace, 16).map_err(bad)?,
            u64::from_str_radix(span, 16).map_err(bad)?,
            false,
        )?;
        Ok(Self { flags: u8::from_str_radix(flags, 16).map_err(bad)?, ..context })
    }
}

impl TryFrom<String> for TraceContext {
    type Error = TraceContextError;

    fn try_from(text: String) -> Result<Self, TraceContextError> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(trace: TraceContext) -> Self {
        trace.to_string()
    }
}
