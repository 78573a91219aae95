//! Runs every Rust block of `README.md` and `docs/` as a doctest.
//!
//! Each page is the documentation of a module that exists in doctests only. A page with a Rust block that is missing
//! here is found by the tests below.

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
    testing "docs/guide/09-testing.md"
    retries "docs/guide/10-retries.md"
    protecting_dependencies "docs/guide/11-protecting-dependencies.md"
    who_may_run_what "docs/guide/12-who-may-run-what.md"
    checking_policies "docs/guide/13-checking-policies.md"
    timeouts_and_deadlines "docs/guide/14-timeouts-and-deadlines.md"
    fallbacks_and_repeated_requests "docs/guide/15-fallbacks-and-repeated-requests.md"
    production "docs/guide/16-production.md"
    sinks "docs/guide/17-sinks.md"
    watching_production "docs/guide/19-watching-production.md"
    fan_out "docs/guide/20-fan-out.md"
    routing "docs/guide/21-routing.md"
    priorities "docs/guide/22-priorities.md"
    enriching "docs/guide/24-enriching.md"
    factories_and_retry_stages "docs/guide/25-factories-and-retry-stages.md"
    batching "docs/guide/26-batching.md"
    sagas "docs/guide/27-sagas.md"
    guards "docs/guide/23-guards.md"
    replay_and_diff "docs/guide/33-replay-and-diff.md"
    pipelines_from_data "docs/guide/28-pipelines-from-data.md"
    durable_runs "docs/guide/31-durable-runs.md"
    resume_and_versions "docs/guide/32-resume-and-versions.md"
    quotas "docs/guide/34-quotas.md"
    audit "docs/guide/35-audit.md"
    threat_model "docs/guide/36-threat-model.md"
    drain_and_deploy "docs/guide/38-drain-and-deploy.md"
    incidents "docs/guide/39-incidents.md"
    error_attempt_timeout "docs/errors/ATTEMPT_TIMEOUT.md"
    error_batch_mismatch "docs/errors/BATCH_MISMATCH.md"
    error_batch_refused "docs/errors/BATCH_REFUSED.md"
    error_breaker_open "docs/errors/BREAKER_OPEN.md"
    error_budget_exhausted "docs/errors/BUDGET_EXHAUSTED.md"
    error_bulkhead_full "docs/errors/BULKHEAD_FULL.md"
    error_cancelled "docs/errors/CANCELLED.md"
    error_cleanup_failed "docs/errors/CLEANUP_FAILED.md"
    error_cleanup_timeout "docs/errors/CLEANUP_TIMEOUT.md"
    error_context_window_exceeded "docs/errors/CONTEXT_WINDOW_EXCEEDED.md"
    error_cost_above_burst "docs/errors/COST_ABOVE_BURST.md"
    error_cycle "docs/errors/CYCLE.md"
    error_deadline_exceeded "docs/errors/DEADLINE_EXCEEDED.md"
    error_denied "docs/errors/DENIED.md"
    error_duplicate "docs/errors/DUPLICATE.md"
    error_empty "docs/errors/EMPTY.md"
    error_fan_out_full "docs/errors/FAN_OUT_FULL.md"
    error_foreign_node "docs/errors/FOREIGN_NODE.md"
    error_guard_blocked "docs/errors/GUARD_BLOCKED.md"
    error_guard_failed "docs/errors/GUARD_FAILED.md"
    error_idempotency_mismatch "docs/errors/IDEMPOTENCY_MISMATCH.md"
    error_idle_timeout "docs/errors/IDLE_TIMEOUT.md"
    error_input_not_durable "docs/errors/INPUT_NOT_DURABLE.md"
    error_input_skipped "docs/errors/INPUT_SKIPPED.md"
    error_input_unavailable "docs/errors/INPUT_UNAVAILABLE.md"
    error_invalid_config "docs/errors/INVALID_CONFIG.md"
    error_invalid_input "docs/errors/INVALID_INPUT.md"
    error_invalid_name "docs/errors/INVALID_NAME.md"
    error_invalid_policy "docs/errors/INVALID_POLICY.md"
    error_invalid_spec "docs/errors/INVALID_SPEC.md"
    error_lease_held "docs/errors/LEASE_HELD.md"
    error_lease_lost "docs/errors/LEASE_LOST.md"
    error_max_depth "docs/errors/MAX_DEPTH.md"
    error_merge_conflict "docs/errors/MERGE_CONFLICT.md"
    error_missing_dep "docs/errors/MISSING_DEP.md"
    error_no_journal "docs/errors/NO_JOURNAL.md"
    error_no_output "docs/errors/NO_OUTPUT.md"
    error_no_route "docs/errors/NO_ROUTE.md"
    error_no_runtime "docs/errors/NO_RUNTIME.md"
    error_not_readable "docs/errors/NOT_READABLE.md"
    error_not_storable "docs/errors/NOT_STORABLE.md"
    error_orphan "docs/errors/ORPHAN.md"
    error_outside_authentication "docs/errors/OUTSIDE_AUTHENTICATION.md"
    error_overloaded "docs/errors/OVERLOADED.md"
    error_panic "docs/errors/PANIC.md"
    error_pause_expired "docs/errors/PAUSE_EXPIRED.md"
    error_pipeline_changed "docs/errors/PIPELINE_CHANGED.md"
    error_policy_lint "docs/errors/POLICY_LINT.md"
    error_quota_exceeded "docs/errors/QUOTA_EXCEEDED.md"
    error_rate_limited "docs/errors/RATE_LIMITED.md"
    error_refine_exhausted "docs/errors/REFINE_EXHAUSTED.md"
    error_replaced_type "docs/errors/REPLACED_TYPE.md"
    error_retry_exhausted "docs/errors/RETRY_EXHAUSTED.md"
    error_retry_unavailable "docs/errors/RETRY_UNAVAILABLE.md"
    error_route_loop "docs/errors/ROUTE_LOOP.md"
    error_run_ended "docs/errors/RUN_ENDED.md"
    error_run_exists "docs/errors/RUN_EXISTS.md"
    error_run_not_found "docs/errors/RUN_NOT_FOUND.md"
    error_saga_stuck "docs/errors/SAGA_STUCK.md"
    error_self_dep "docs/errors/SELF_DEP.md"
    error_shutting_down "docs/errors/SHUTTING_DOWN.md"
    error_stage_failed "docs/errors/STAGE_FAILED.md"
    error_stage_timeout "docs/errors/STAGE_TIMEOUT.md"
    error_store_corrupt "docs/errors/STORE_CORRUPT.md"
    error_store_full "docs/errors/STORE_FULL.md"
    error_store_schema "docs/errors/STORE_SCHEMA.md"
    error_store_unavailable "docs/errors/STORE_UNAVAILABLE.md"
    error_tenant_required "docs/errors/TENANT_REQUIRED.md"
    error_too_many_failures "docs/errors/TOO_MANY_FAILURES.md"
    error_type_mismatch "docs/errors/TYPE_MISMATCH.md"
    error_undeclared_dep "docs/errors/UNDECLARED_DEP.md"
    error_unknown_kind "docs/errors/UNKNOWN_KIND.md"
    error_unused_output "docs/errors/UNUSED_OUTPUT.md"
    error_wrong_type "docs/errors/WRONG_TYPE.md"
}

/// Nothing in the documentation is left out of the tests, and no code is left out of the documentation.
#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::PAGES;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// All Markdown files of a folder and of those below it, from the root of the repository.
    fn pages(folder: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(root().join(&folder)).expect("the folder is there") {
                let entry = entry.expect("it can be listed");
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                match entry.file_type().expect("it has a type").is_dir() {
                    true => open.push(path),
                    false if path.ends_with(".md") => drop(found.insert(path)),
                    false => {}
                }
            }
        }
        found
    }

    fn read(page: &str) -> String {
        fs::read_to_string(root().join(page)).expect("the page can be read")
    }

    /// Whether a page has a Rust block that is to be compiled.
    fn has_rust(page: &str) -> bool {
        read(page).lines().any(|line| line.starts_with("```rust") && !line.contains("ignore"))
    }

    /// Doctests of other packages. The first needs gRPC, which is heavy, and everybody builds this package; two need a PostgreSQL.
    const ELSEWHERE: [(&str, &str); 4] = [
        ("docs/guide/18-opentelemetry.md", "crates/stageflow/src/lib.rs"),
        ("docs/guide/37-tenants-and-rls.md", "crates/stageflow/src/lib.rs"),
        ("docs/errors/STORE_UNSAFE.md", "crates/stageflow/src/lib.rs"),
        ("docs/guide/29-command-line.md", "crates/stageflow-cli/src/lib.rs"),
    ];

    #[test]
    fn every_page_with_a_rust_block_is_a_doctest() {
        for (page, library) in ELSEWHERE {
            assert!(read(library).contains(&format!("include_str!(\"../../../{page}\")")), "{page}");
        }
        let missing: Vec<_> = pages("docs")
            .into_iter()
            .filter(|page| has_rust(page))
            .filter(|page| {
                !PAGES.contains(&page.as_str()) && !ELSEWHERE.iter().any(|(known, _)| known == page)
            })
            .collect();
        assert!(missing.is_empty(), "add to `pages!` in tests/support.rs: {missing:#?}");
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let codes: BTreeSet<_> =
            stageflow::code::ALL.iter().map(|(code, _)| format!("docs/errors/{code}.md")).collect();
        let mut pages = pages("docs/errors");
        assert!(pages.remove("docs/errors/README.md"), "the list of codes is missing");
        let missing: Vec<_> = codes.difference(&pages).collect();
        let superfluous: Vec<_> = pages.difference(&codes).collect();
        assert!(missing.is_empty(), "codes without a page: {missing:#?}");
        assert!(superfluous.is_empty(), "pages without a code: {superfluous:#?}");
    }

    #[test]
    fn every_page_of_a_code_begins_with_it_and_is_in_the_list() {
        let list = read("docs/errors/README.md");
        for (code, _) in stageflow::code::ALL {
            let page = read(&format!("docs/errors/{code}.md"));
            assert!(page.starts_with(&format!("# {code}\n")), "docs/errors/{code}.md has another heading");
            assert!(
                list.contains(&format!("[{code}]({code}.md)")),
                "docs/errors/README.md does not list {code}"
            );
        }
    }

    /// The table in the guide is that of the code, row by row.
    #[test]
    fn the_guide_lists_every_lint_as_it_is() {
        let page = read("docs/guide/13-checking-policies.md");
        let listed: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let rows: Vec<_> = stageflow::Lint::ALL
            .iter()
            .map(|lint| format!("| `{lint}` | {} | {} |", lint.severity(), lint.summary()))
            .collect();
        assert_eq!(listed, rows, "the table has to be:\n{}", rows.join("\n"));
    }

    /// Thirty lines as promised, and the table has the interceptors in the order of the engine.
    #[test]
    fn the_page_about_production_keeps_its_word() {
        let page = read("docs/guide/16-production.md");
        let block = page.split("```").nth(1).expect("it begins with the program");
        let own: Vec<_> = block.lines().skip(1).filter(|line| !line.starts_with("# ")).collect();
        assert!(own.len() <= 30, "{} lines", own.len());
        assert!(own.iter().all(|line| line.chars().count() <= 120), "nothing is gained by long lines");
        let order =
            block.lines().find_map(|line| line.trim_matches(['#', ' ', '"']).strip_suffix(" -> answer"));
        let order: Vec<_> = order.expect("the order is asserted").split(" -> ").collect();
        let listed = page.lines().filter_map(|line| {
            let (number, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
            number.parse::<usize>().ok()?;
            rest.split_once('`').map(|(name, _)| name)
        });
        assert_eq!(listed.collect::<Vec<_>>(), order);
    }

    #[test]
    fn the_pages_of_codes_name_their_code_in_an_example() {
        // Codes that nobody can produce on purpose: their pages say why.
        const WITHOUT: [&str; 2] = ["INTERNAL", "TOO_LARGE"];
        for (code, _) in stageflow::code::ALL {
            let page = read(&format!("docs/errors/{code}.md"));
            let shows = page.contains(&format!("code::{code}"));
            assert_eq!(shows, !WITHOUT.contains(&code.as_str()), "docs/errors/{code}.md");
        }
    }
}
