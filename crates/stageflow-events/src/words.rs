//! Causes as one word, and the fields of events as what they hold.

use stageflow_core::{CancelCause, FieldValue, SkipCause};

/// Why something was cancelled, as one word.
pub(crate) fn cancel_word(cause: &CancelCause) -> &'static str {
    match cause {
        CancelCause::Requested { .. } => "requested",
        CancelCause::Stage { .. } => "stage",
        CancelCause::Failure { .. } => "failure",
        CancelCause::Denied { .. } | CancelCause::NotAdmitted { .. } => "denied",
        CancelCause::Deadline => "deadline",
        CancelCause::Dropped => "dropped",
        CancelCause::Parent { .. } => "parent",
        CancelCause::Shutdown => "shutdown",
        CancelCause::Shed { .. } => "shed",
        CancelCause::Quota(_) => "quota",
        _ => "other",
    }
}

/// Why a stage was skipped, as one word.
pub(crate) fn skip_word(cause: &SkipCause) -> &'static str {
    match cause {
        SkipCause::Own { .. } => "own",
        SkipCause::Upstream { .. } => "upstream",
        SkipCause::NotTaken { .. } => "not_taken",
        _ => "other",
    }
}

/// A field as a number; policies write some as text.
pub(crate) fn number(value: Option<&FieldValue>) -> Option<u64> {
    match value? {
        FieldValue::Int(number) => u64::try_from(*number).ok(),
        FieldValue::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// A field as text.
pub(crate) fn text(value: Option<&FieldValue>) -> Option<&str> {
    if let Some(FieldValue::Text(text)) = value { Some(text) } else { None }
}
