//! What enriching stages need: how much of a context window a run has used, what was cut, where sources contradict each other, and of
//! which version they are. All of it is recorded in the run, and shows as events.
//!
//! | | |
//! |---|---|
//! | [`ContextWindow`] | an interceptor: counts what stages give against a limit, and says what becomes of the rest |
//! | [`ContextAccount`], [`ContextUtilization`] | how full a window is, of a run, and as a plain value |
//! | [`Fit`], [`TextCut`], [`ItemCut`] | making texts and lists fit; whatever is cut is recorded by the [`TruncationTracker`] |
//! | [`ConflictDetector`], [`FieldConflicts`] | one map, or one value, of several |
//! | [`VersionMetadata`] | which version of what, from when, and whether it is still good |
//! | [`TokenCounter`] | how many tokens a text is: [`EstimatedTokens`], or behind the feature `tokenizer`, `BpeTokens` |
//! | [`ContextExt`] | the records of a run, for its stages and after it |

mod account;
#[cfg(feature = "tokenizer")]
mod bpe;
mod conflict;
mod counter;
mod detector;
mod fields;
mod fit;
mod intercept;
mod items;
mod measure;
mod run;
mod shorten;
#[cfg(test)]
mod tests;
mod tracker;
mod types;
mod utilization;
mod version;
mod window;

#[cfg(feature = "tokenizer")]
pub use self::bpe::{BpeTokens, Vocabulary};
pub use self::{
    account::{ContextAccount, ContextReport, StageTokens},
    conflict::{Conflict, MergeConflict, MergeFn, Resolve, Sourced},
    counter::{EstimatedTokens, TokenCounter},
    detector::{ConflictDetector, Merged},
    fields::FieldConflicts,
    fit::{DoesNotFit, Fit},
    intercept::MeasuredIn,
    items::ItemCut,
    measure::Measure,
    run::ContextExt,
    shorten::{CutUnit, Shorten, Shortened, TextCut},
    tracker::{Truncation, TruncationTracker},
    utilization::{ContextLevel, ContextUtilization},
    version::VersionMetadata,
    window::{ContextWindow, OverLimit},
};
