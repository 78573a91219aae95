//! Which test stands for which assertion of `upstream-engine.md` §18.2–18.4 and 18.9–18.12, so that none is left out.
//!
//! Those of 18.1 are kept by the tests of `stageflow-dag`, and `keep_policies` has those of 18.6 and 18.7; 18.5 and 18.8 come
//! with the issues that build what they are about, as far as they are not named in a test here.

/// A number, and the test, or why there is none.
const KEPT: &[(u32, &str)] = &[
    // 18.2 Scheduling & statuses
    (44, "schedule::one_stage_gives_its_output"),
    (45, "schedule::one_stage_gives_its_output"),
    (
        46,
        "moot: the compiler knows what a stage gives; for interceptors interceptors::an_output_can_be_replaced_by_one_of_its_type",
    ),
    (47, "schedule::independent_stages_overlap"),
    (48, "schedule::two_hundred_independent_stages_are_in_flight_at_once"),
    (49, "limits::each_limit_is_reached_and_kept"),
    (50, "schedule::a_chain_starts_in_its_order"),
    (51, "schedule::a_diamond_runs_each_stage_once_between_its_ends"),
    (52, "schedule::a_stage_starts_when_its_inputs_are_there_and_not_level_by_level"),
    (53, "schedule::roots_start_in_declaration_order"),
    (54, "schedule::long_chains_and_wide_fan_outs_complete"),
    (55, "schedule::a_stage_sees_exactly_what_the_other_gave"),
    (56, "inputs::reading_what_was_not_declared_fails_the_stage"),
    (57, "outcomes::a_skip_is_passed_on_over_required_edges"),
    (58, "outcomes::a_skip_is_one_event_with_its_reason"),
    (59, "regressions::w07_a_retry_that_is_asked_for_each_time_is_a_failure"),
    (60, "outcomes::a_failure_names_its_stage_and_says_its_message"),
    (61, "outcomes::the_original_error_is_kept_with_its_type"),
    (62, "outcomes::siblings_have_stopped_before_a_failure_is_reported"),
    (63, "regressions::w01_a_returned_failure_orphans_no_sibling"),
    (64, "outcomes::dependents_of_a_failed_stage_never_run"),
    (65, "outcomes::a_cancel_by_a_stage_keeps_partial_results"),
    (66, "outcomes::a_cancel_by_a_stage_keeps_partial_results"),
    (67, "outcomes::an_empty_reason_stays_empty"),
    (68, "schedule::what_comes_before_a_guard_that_cancels_has_run"),
    (69, "moot: an artifact is part of a typed output; report::partial_results_stay_readable"),
    (70, "regressions::w22_events_of_a_stage_are_collected"),
    (71, "schedule::all_stages_of_a_run_share_snapshot_and_clock"),
    (72, "schedule::the_report_says_how_long_a_stage_was_queued_and_ran"),
    (73, "regressions::w06_the_same_run_ends_the_same_way"),
    (74, "inputs::names_and_lists_keep_the_order_of_the_declaration"),
    (75, "regressions::w06_the_same_run_ends_the_same_way"),
    (76, "regressions_more::w43_only_what_was_checked_can_run"),
    (77, "absurd::an_empty_pipeline_and_a_foreign_output_are_refused"),
    (78, "schedule::a_run_needs_no_options_and_stages_see_input_and_pipeline"),
    (79, "schedule::a_run_needs_no_options_and_stages_see_input_and_pipeline"),
    (80, "moot: there is one way to give the facts of a run, its builder"),
    (81, "schedule::a_run_needs_no_options_and_stages_see_input_and_pipeline"),
    (
        82,
        "moot: `run` gives the one output of the pipeline; outcomes::a_failure_names_its_stage_and_says_its_message",
    ),
    (83, "schedule::all_stages_of_a_run_share_snapshot_and_clock"),
    (84, "schedule::one_stage_value_serves_all_runs"),
    (85, "identity::every_run_has_an_id"),
    (86, "schedule::reading_the_report_by_name_has_no_silent_default"),
    // 18.3 Conditional stages & hooks
    (87, "branches::only_the_branch_whose_condition_holds_runs"),
    (88, "branches::only_the_branch_whose_condition_holds_runs"),
    (89, "branches::a_condition_looks_at_its_own_port_only"),
    (90, "branches::what_depends_on_a_branch_not_taken_is_skipped"),
    (91, "branches::the_verdict_does_not_depend_on_which_input_was_decided_first"),
    (92, "interceptors::a_stage_that_is_left_out_meets_no_interceptor"),
    (93, "branches::a_condition_looks_at_its_own_port_only"),
    (94, "interceptors::an_interceptor_sees_what_it_wraps"),
    (95, "order::scopes_nest_within_a_layer"),
    (96, "interceptors::verdicts_end_the_run_before_the_stage_runs"),
    (97, "regressions::w24_an_error_around_a_stage_names_the_stage"),
    // 18.4 Cancellation & cleanup
    (98, "cancel::a_run_cancelled_before_it_starts_runs_nothing"),
    (99, "cancel::a_cancel_takes_effect_at_once"),
    (100, "cancel::a_cancel_takes_effect_at_once"),
    (101, "cancel::a_cancel_takes_effect_at_once"),
    (102, "cancel::a_stage_sees_the_signal_and_the_reason"),
    (103, "cancel::leaving_with_cancel_is_no_failure"),
    (104, "cancel::a_stage_sees_the_signal_and_the_reason"),
    (105, "cancel::the_first_reason_is_kept"),
    (106, "lifetime::dropping_a_run_cancels_it"),
    (107, "cleanup::clean_ups_run_on_every_ending_in_reverse_order"),
    (108, "cleanup::a_clean_up_that_fails_stops_no_other_and_changes_no_outcome"),
    (109, "cleanup::clean_ups_have_one_budget"),
    (110, "moot: clean-ups are not unregistered; who changes its mind says so in the clean-up"),
    (111, "cleanup::a_clean_up_may_register_another"),
    (112, "cleanup::clean_ups_run_on_every_ending_in_reverse_order"),
    (113, "cleanup::clean_up_waits_until_every_stage_has_stopped"),
    (114, "cleanup::clean_up_waits_until_every_stage_has_stopped"),
    (115, "regressions_more::w39_every_clean_up_gets_its_turn"),
    (116, "cleanup::a_clean_up_registered_after_the_end_is_awaited_at_once"),
    (117, "cleanup::clean_ups_of_two_runs_are_apart"),
    (118, "cancel::the_first_reason_is_kept"),
    (119, "cancel::the_signal_can_be_awaited_before_and_after"),
    (
        120,
        "moot: there are no callbacks on cancellation, stages await it; panics::a_panic_in_the_drop_of_a_future_is_a_failure",
    ),
    (121, "regressions::w01_a_returned_failure_orphans_no_sibling"),
    (122, "regressions_more::w32_a_failure_is_prompt"),
    (123, "cleanup::clean_ups_run_on_every_ending_in_reverse_order"),
    (124, "cleanup::clean_ups_have_one_budget"),
    (125, "cleanup::a_clean_up_that_fails_stops_no_other_and_changes_no_outcome"),
    (126, "cancel::who_ignores_a_cancellation_is_dropped_after_the_grace"),
    // 18.9 Inputs, ports, payloads
    (
        211,
        "moot: a name is a text by its type; an empty one is not declared: inputs::a_stage_without_inputs_has_no_silent_default",
    ),
    (212, "inputs::reading_what_was_not_declared_fails_the_stage"),
    (213, "moot: there is no lenient mode (S-12); inputs::a_stage_without_inputs_has_no_silent_default"),
    (214, "inputs::a_stage_without_inputs_has_no_silent_default"),
    (215, "inputs::skipped_failed_and_wrong_typed_are_told_apart"),
    (216, "inputs::names_and_lists_keep_the_order_of_the_declaration"),
    (217, "inputs::an_output_of_none_is_an_output"),
    (218, "moot: inputs are immutable by their types"),
    (219, "inputs::changing_an_owned_input_changes_nobody_elses"),
    (220, "identity::the_snapshot_has_every_option_in_its_field"),
    (221, "moot: outputs are typed, there is no payload map"),
    // 18.10 Context, snapshot, bags
    (222, "identity::a_run_without_options_has_an_empty_identity"),
    (223, "identity::a_changed_copy_leaves_the_snapshot_alone"),
    (224, "moot: the execution mode is the application's own word and is not read"),
    (225, "events::stages_emit_events_of_their_own"),
    (226, "child::a_child_inherits_everything_but_its_id"),
    (227, "child::a_child_inherits_everything_but_its_id"),
    (228, "moot: a child takes its input by a typed edge"),
    (229, "moot: a child cannot reach its parent's values except by its input"),
    (230, "identity::a_run_without_options_has_an_empty_identity"),
    (231, "identity::a_snapshot_survives_serialisation"),
    (232, "core: snapshot::named_extensions_survive_serialisation"),
    (233, "moot: there is no older form to read"),
    (234, "identity::a_changed_copy_leaves_the_snapshot_alone"),
    (235, "moot: fields are private and have no setters"),
    (236, "moot: stages get `&ContextSnapshot`; schedule::all_stages_of_a_run_share_snapshot_and_clock"),
    (237, "moot: there is no bag of outputs; attempts are counted: events::each_attempt_is_told"),
    (238, "moot: there is no shared mutable bag (S-13)"),
    (239, "core: exit::an_exit_says_what_it_is"),
    (240, "core: exit::a_failure_has_code_stage_cause_hint_and_whether_it_helps_to_try_again"),
    (241, "moot: outputs are typed, there is no `ok(…)` to lose keywords"),
    // 18.11 Subpipelines
    (242, "child::a_failure_of_a_child_is_a_failure_with_its_chain"),
    (243, "child::the_events_of_a_child_reach_the_same_sinks"),
    (244, "child::nesting_has_a_limit"),
    (245, "child::nesting_has_a_limit"),
    (246, "child_stop::a_child_that_has_ended_is_left_alone"),
    (247, "moot: pipelines are values; names come with the registry of a later issue"),
    (248, "child::a_child_inherits_everything_but_its_id"),
    (249, "child_stop::a_tree_of_runs_is_cancelled_as_one"),
    (250, "child_stop::cancelling_the_parent_cancels_the_child_at_once"),
    (251, "child::a_cancellation_by_a_child_is_a_cancellation"),
    (252, "child::the_events_of_a_child_reach_the_same_sinks"),
    (
        253,
        "moot: there is no global tracker; a run has its parent in the snapshot: child::a_child_inherits_everything_but_its_id",
    ),
    // 18.12 Events, compression, contracts; 265–269 come with the issues that build what they are about
    (
        254,
        "moot: sinks are given to an engine, there is none by default; sinks::each_sink_is_given_the_events_in_order",
    ),
    (255, "sinks_bounded::s_29_no_sink_feels_another"),
    (256, "sinks::flush_and_shutdown_wait_for_the_sinks"),
    (257, "sinks::a_sink_that_panics_changes_no_run"),
    (258, "sinks::a_stuck_sink_delays_no_run_and_its_losses_are_announced"),
    (259, "sinks::flush_and_shutdown_wait_for_the_sinks"),
    (260, "wide::s_27_each_stage_and_each_run_has_one_wide_event_for_every_outcome"),
    (261, "wide::s_27_each_stage_and_each_run_has_one_wide_event_for_every_outcome"),
    (262, "wide::s_27_each_stage_and_each_run_has_one_wide_event_for_every_outcome"),
    (263, "wide::s_29_who_takes_wide_events_may_panic"),
    (264, "events::a_run_that_completes_tells_its_whole_life"),
];

const SOURCES: &[(&str, &str)] = &[
    ("absurd", include_str!("absurd.rs")),
    ("branches", include_str!("branches.rs")),
    ("cancel", include_str!("cancel.rs")),
    ("child", include_str!("child.rs")),
    ("child_stop", include_str!("child_stop.rs")),
    ("cleanup", include_str!("cleanup.rs")),
    ("events", include_str!("events.rs")),
    ("identity", include_str!("identity.rs")),
    ("inputs", include_str!("inputs.rs")),
    ("interceptors", include_str!("interceptors.rs")),
    ("lifetime", include_str!("lifetime.rs")),
    ("limits", include_str!("limits.rs")),
    ("order", include_str!("order.rs")),
    ("outcomes", include_str!("outcomes.rs")),
    ("panics", include_str!("panics.rs")),
    ("regressions", include_str!("regressions.rs")),
    ("regressions_more", include_str!("regressions_more.rs")),
    ("report", include_str!("report.rs")),
    ("schedule", include_str!("schedule.rs")),
    ("sinks", include_str!("sinks.rs")),
    ("sinks_bounded", include_str!("sinks_bounded.rs")),
    ("wide", include_str!("telemetry/wide.rs")),
];

/// Each assertion stands here once, in order.
#[test]
fn no_assertion_is_left_out() {
    let numbers: Vec<_> = KEPT.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (44..=126).chain(211..=264).collect::<Vec<_>>());
}

/// Each test named here exists.
#[test]
fn every_named_test_exists() {
    let policies = super::keep_policies::KEPT;
    for (number, entry) in KEPT.iter().chain(policies).filter(|(_, entry)| !entry.starts_with("core: ")) {
        let named = entry.split_whitespace().find(|word| word.contains("::"));
        let Some((module, test)) = named.and_then(|named| named.split_once("::")) else {
            assert!(entry.starts_with("moot: "), "{number}: {entry}");
            continue;
        };
        let mut sources = SOURCES.iter().chain(super::keep_policies::SOURCES);
        let source = sources.find(|(name, _)| *name == module);
        let source = source.unwrap_or_else(|| panic!("{number}: no module `{module}`")).1;
        assert!(source.contains(&format!("fn {test}(")), "{number}: no test `{entry}`");
    }
}

/// Each regression that is due has a test that bears its number.
#[test]
fn every_regression_that_is_due_has_a_test() {
    let due = [1, 2, 3, 4, 5, 6, 7, 8, 18, 19, 20, 21, 22, 23, 24, 25, 28, 31, 32, 33, 35, 39, 42, 43, 48];
    let all = [include_str!("regressions.rs"), include_str!("regressions_more.rs")].concat();
    for number in due {
        assert!(all.contains(&format!("async fn w{number:02}_")), "W{number}");
    }
}
