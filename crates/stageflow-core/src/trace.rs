//! The W3C trace context that a run belongs to.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::RunId;

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
        self.flags & SAMPLED == SAMPLED
    }

    /// Another span of the same trace.
    pub(crate) fn within(self, span_id: u64, sampled: bool) -> Self {
        Self { span_id, flags: self.flags & RANDOM | if sampled { SAMPLED } else { 0 }, ..self }
    }

    /// A span of the trace that begins with a run.
    pub(crate) fn of_run(run: RunId, span_id: u64, sampled: bool) -> Self {
        Self { trace_id: trace_id(run), span_id, flags: u8::from(sampled) }
    }
}

/// The id of the trace that begins with a run: the first half of the run's id, and the second half mixed.
///
/// Samplers take a share of all traces by the second half, of which two bits are the same in every UUID.
pub(crate) fn trace_id(run: RunId) -> u128 {
    let [first, second] = halves(run);
    (u128::from(first) << 64 | u128::from(mix(second))).max(1)
}

const SAMPLED: u8 = 1;
/// The trace's id is random, in level 2 of the standard.
const RANDOM: u8 = 2;

/// The id of the span of a run (no stage, attempt 0), of a stage (attempt 0) or of an attempt.
///
/// The same for whoever asks, so that nothing has to be looked up: the finaliser of `SplitMix64`, once for each half of the run's
/// id and once for the place in the run.
#[doc(hidden)]
pub fn span_id(run: RunId, stage: u32, attempt: u32) -> u64 {
    let place = u64::from(stage) << 32 | u64::from(attempt);
    halves(run).into_iter().chain([place]).fold(0, |seed, word| mix(seed ^ word)).max(1)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn halves(run: RunId) -> [u64; 2] {
    let run = u128::from_be_bytes(*run.as_bytes());
    [(run >> 64) as u64, run as u64]
}

fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
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
