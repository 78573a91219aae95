//! Runs every Rust block of `README.md` and `docs/` as a doctest.
//!
//! Each page is the documentation of a module that exists in doctests only. A page with a Rust block that is missing
//! here is found by the tests below.

#[cfg(test)]
mod tests;

/// The pages with Rust blocks, from the root of the repository.
macro_rules! pages {
    ($($name:ident $path:literal)+) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("../", $path))]
            pub mod $name {}
        )+

        #[cfg(test)]
        const PAGES: &[&str] = &[$($path),+];
    };
}

pages! {
    readme "README.md"
    first_pipeline "docs/guide/01-first-pipeline.md"
    inputs_and_branches "docs/guide/02-inputs-and-branches.md"
    inputs_by_name "docs/guide/03-inputs-by-name.md"
    failures "docs/guide/04-failures.md"
    cancellation "docs/guide/05-cancellation.md"
    limits_and_engine "docs/guide/06-limits-and-engine.md"
    interceptors_and_events "docs/guide/07-interceptors-and-events.md"
    composing_pipelines "docs/guide/08-composing-pipelines.md"
    error_attempt_timeout "docs/errors/ATTEMPT_TIMEOUT.md"
    error_cancelled "docs/errors/CANCELLED.md"
    error_cleanup_failed "docs/errors/CLEANUP_FAILED.md"
    error_cleanup_timeout "docs/errors/CLEANUP_TIMEOUT.md"
    error_cycle "docs/errors/CYCLE.md"
    error_deadline_exceeded "docs/errors/DEADLINE_EXCEEDED.md"
    error_denied "docs/errors/DENIED.md"
    error_duplicate "docs/errors/DUPLICATE.md"
    error_empty "docs/errors/EMPTY.md"
    error_foreign_node "docs/errors/FOREIGN_NODE.md"
    error_input_skipped "docs/errors/INPUT_SKIPPED.md"
    error_input_unavailable "docs/errors/INPUT_UNAVAILABLE.md"
    error_invalid_input "docs/errors/INVALID_INPUT.md"
    error_invalid_name "docs/errors/INVALID_NAME.md"
    error_invalid_policy "docs/errors/INVALID_POLICY.md"
    error_max_depth "docs/errors/MAX_DEPTH.md"
    error_missing_dep "docs/errors/MISSING_DEP.md"
    error_no_output "docs/errors/NO_OUTPUT.md"
    error_no_runtime "docs/errors/NO_RUNTIME.md"
    error_orphan "docs/errors/ORPHAN.md"
    error_outside_authentication "docs/errors/OUTSIDE_AUTHENTICATION.md"
    error_panic "docs/errors/PANIC.md"
    error_replaced_type "docs/errors/REPLACED_TYPE.md"
    error_retry_unavailable "docs/errors/RETRY_UNAVAILABLE.md"
    error_self_dep "docs/errors/SELF_DEP.md"
    error_shutting_down "docs/errors/SHUTTING_DOWN.md"
    error_stage_failed "docs/errors/STAGE_FAILED.md"
    error_stage_timeout "docs/errors/STAGE_TIMEOUT.md"
    error_undeclared_dep "docs/errors/UNDECLARED_DEP.md"
    error_unused_output "docs/errors/UNUSED_OUTPUT.md"
    error_wrong_type "docs/errors/WRONG_TYPE.md"
}
