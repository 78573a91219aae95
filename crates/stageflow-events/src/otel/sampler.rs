//! Which traces are recorded: the samplers that `OTEL_TRACES_SAMPLER` knows.

use stageflow_core::ContextSnapshot;

/// Decides which traces are recorded; the same for all runs of a trace, and for every service that decides by the same rule.
///
/// A child run is decided on like any run whose caller was its parent.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sampler {
    /// Every trace.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of all traces, from 0 to 1, by the low 63 bits of the trace's id, as the SDKs do it.
    Ratio(f64),
    /// As the caller does; every trace that begins here.
    ParentOrOn,
    /// As the caller does; no trace that begins here.
    ParentOrOff,
    /// As the caller does; this share of the traces that begin here.
    ParentOrRatio(f64),
}

impl Default for Sampler {
    /// [`ParentOrOn`](Self::ParentOrOn), the default of the specification.
    fn default() -> Self {
        Self::ParentOrOn
    }
}

impl Sampler {
    /// The sampler of this name, with its argument.
    pub(crate) fn parse(name: &str, arg: Option<f64>) -> Option<Self> {
        let ratio = arg.unwrap_or(1.0);
        Some(match name {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => Self::Ratio(ratio),
            "parentbased_always_on" => Self::ParentOrOn,
            "parentbased_always_off" => Self::ParentOrOff,
            "parentbased_traceidratio" => Self::ParentOrRatio(ratio),
            _ => return None,
        })
    }

    /// Whether a run is recorded.
    pub(crate) fn samples(self, run: &ContextSnapshot) -> bool {
        let parent = run.trace().map(stageflow_core::TraceContext::is_sampled);
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            Self::Ratio(share) => within(run.trace_id(), share),
            Self::ParentOrOn => parent.unwrap_or(true),
            Self::ParentOrOff => parent.unwrap_or(false),
            Self::ParentOrRatio(share) => parent.unwrap_or_else(|| within(run.trace_id(), share)),
        }
    }

    /// The same for spans of the application's own.
    pub(crate) fn of_sdk(self) -> opentelemetry_sdk::trace::Sampler {
        use opentelemetry_sdk::trace::Sampler as Sdk;
        let parent = |root| Sdk::ParentBased(Box::new(root));
        match self {
            Self::AlwaysOn => Sdk::AlwaysOn,
            Self::AlwaysOff => Sdk::AlwaysOff,
            Self::Ratio(share) => Sdk::TraceIdRatioBased(share),
            Self::ParentOrOn => parent(Sdk::AlwaysOn),
            Self::ParentOrOff => parent(Sdk::AlwaysOff),
            Self::ParentOrRatio(share) => parent(Sdk::TraceIdRatioBased(share)),
        }
    }
}

/// Whether a trace is in this share of all traces.
fn within(trace_id: u128, share: f64) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    let low = trace_id as u64 >> 1;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the bound of the SDK, to which this has to be equal"
    )]
    let bound = (share.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
    share >= 1.0 || low < bound
}
