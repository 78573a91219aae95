//! Which test stands for which assertion of `upstream-engine.md` §18.6 to §18.8, and for which weakness (W7, W9 … W18, W28, W35).

/// A number, and the test, or why there is none.
pub(super) const KEPT: &[(u32, &str)] = &[
    // 18.6 Interceptors
    (147, "chain::item_147_befores_run_inwards_and_afters_outwards"),
    (148, "chain::item_148_attached_policies_stand_in_the_order_of_their_layers"),
    (149, "chain::item_149_nothing_is_attached_unasked"),
    (150, "chain::item_150_an_interceptor_of_one_method_stands_innermost_and_passes_failures_on"),
    (151, "interceptors::an_output_can_be_replaced_by_one_of_its_type"),
    (152, "interceptors::verdicts_end_the_run_before_the_stage_runs"),
    (153, "chain::item_153_what_was_never_entered_is_never_left_w11"),
    (154, "security::a_guard_that_breaks_denies"),
    (155, "interceptors::verdicts_end_the_run_before_the_stage_runs"),
    (156, "chain::item_156_all_that_were_entered_are_left_when_one_breaks_w11"),
    (
        157,
        "moot: an interceptor has one outcome and gives no second one after it; chain::item_156_all_that_were_entered_are_left_when_one_breaks_w11",
    ),
    (158, "chain::item_158_a_failure_goes_outwards_until_somebody_answers"),
    (159, "verdicts::item_159_who_breaks_while_asked_leaves_the_answer_to_the_next"),
    (160, "retries::item_160_a_second_attempt_that_succeeds_is_a_success"),
    (161, "retries::item_161_retries_go_on_until_they_are_used_up_w12"),
    (162, "retries::item_162_each_attempt_has_its_timeout_w12"),
    (163, "verdicts::item_163_a_fallback_is_not_a_failure_w12"),
    (164, "chain::item_164_a_returned_failure_is_seen_like_any_other"),
    (165, "time::the_shorter_timeout_ends_a_stage_with_its_own_code"),
    (166, "timeouts::there_is_no_timeout_by_default"),
    (167, "timeouts::s_15_the_nearest_timeout_counts_and_none_is_one"),
    (
        168,
        "moot: optional, and there is no shared map; timeouts::timeouts_of_a_pipeline_stay_with_its_stages",
    ),
    (169, "retries::item_162_each_attempt_has_its_timeout_w12"),
    (170, "timeouts::a_stages_own_timeout_is_its_own_w35"),
    (171, "breaker::item_171_an_open_breaker_refuses_with_an_error_that_names_it"),
    (172, "breaker::item_172_five_failures_open_it_and_a_success_begins_anew"),
    (173, "breaker::item_173_a_failure_counts_once_w13"),
    (174, "breaker::item_174_an_open_breaker_stays_open_until_its_time_and_never_reports_success_w13"),
    (175, "chain::item_175_calls_at_the_same_time_share_no_state_w14"),
    (176, "moot: there is no shared map to copy; chain::item_175_calls_at_the_same_time_share_no_state_w14"),
    (177, "verdicts::item_177_a_missing_token_denies_w10"),
    (178, "retries::item_178_by_default_three_attempts_exponential_and_full_jitter"),
    (179, "retries::item_179_without_jitter_the_delays_are_exact_and_the_cap_is_kept"),
    (180, "retries::item_180_jitter_stays_within_its_bounds"),
    (181, "retries::item_181_what_may_not_be_tried_again_fails_and_a_list_replaces_the_default"),
    (182, "retries::item_182_the_third_of_five_attempts_succeeds_w12"),
    (183, "retries::item_183_a_request_for_a_retry_is_tried_again_w07"),
    (
        184,
        "moot: inputs are immutable by their types (W15); regressions::w20_nobody_can_change_what_others_read",
    ),
    (185, "moot: optional, and there is no context that grows; a run's outputs are typed values"),
    (186, "verdicts::item_186_a_failure_is_never_turned_into_an_output_silently_w11"),
    (187, "chain::item_187_who_is_cancelled_by_a_sibling_is_left_w11"),
    // 18.7 Idempotency
    (188, "idempotency::item_188_without_a_key_calls_pass_and_nothing_is_stored"),
    (189, "idempotency::item_189_a_stored_answer_is_given_without_a_call"),
    (190, "idempotency::item_190_the_same_key_with_other_inputs_is_a_mismatch"),
    (191, "idempotency::item_191_missing_inputs_refuse_the_call"),
    (192, "idempotency::item_192_outputs_are_kept_for_their_time_and_failures_are_not"),
    (193, "idempotency::item_193_who_comes_meanwhile_waits_for_the_first_answer"),
    (194, "idempotency::item_194_what_is_over_is_gone"),
    (195, "idempotency::item_195_a_first_that_fails_gives_the_key_free"),
    (196, "idempotency::item_196_two_stages_under_one_key_both_run_w09"),
    (197, "idempotency::item_197_a_guard_runs_under_every_key_w09"),
    (198, "idempotency::item_198_and_200_the_fourth_answer_is_the_first_whole_w16"),
    (199, "idempotency::item_199_a_skip_and_a_cancellation_stay_what_they_are_w16"),
    (200, "idempotency::item_198_and_200_the_fourth_answer_is_the_first_whole_w16"),
    (201, "idempotency::item_201_a_first_that_is_cancelled_or_dropped_gives_the_key_free_w17"),
    (202, "idempotency::item_202_stages_beside_each_other_hold_keys_of_their_own_w17"),
    // 18.8 Failure tolerance, backpressure
    (203, "tolerance::s_7_203_fail_fast_stops_at_the_first"),
    (204, "tolerance::s_7_204_205_what_waits_for_a_failure_never_runs_however_far_w28"),
    (205, "tolerance::s_7_204_205_what_waits_for_a_failure_never_runs_however_far_w28"),
    (206, "tolerance::s_7_206_best_effort_runs_what_can_run"),
    (207, "tolerance::s_7_207_the_success_rate_is_of_all_stages"),
    (208, "backpressure::s_11_208_utilisation_and_overload"),
    (209, "backpressure::s_11_209_overload_sheds_from_the_high_watermark_to_the_low_one"),
    (210, "branches::a_condition_that_panics_fails_every_stage_it_decides"),
];

/// The modules of `policy_regressions`. That of retries is `retries` here, for `behaviour` has a `retry` of its own.
pub(super) const SOURCES: &[(&str, &str)] = &[
    ("backpressure", include_str!("backpressure.rs")),
    ("branches", include_str!("branches.rs")),
    ("breaker", include_str!("policy_regressions/breaker.rs")),
    ("chain", include_str!("policy_regressions/chain.rs")),
    ("idempotency", include_str!("policy_regressions/idempotency.rs")),
    ("retries", include_str!("policy_regressions/retry.rs")),
    ("security", include_str!("security.rs")),
    ("time", include_str!("time.rs")),
    ("timeouts", include_str!("timeouts.rs")),
    ("tolerance", include_str!("tolerance.rs")),
    ("verdicts", include_str!("policy_regressions/verdicts.rs")),
];

/// Each assertion stands here once, in order.
#[test]
fn no_assertion_about_policies_is_left_out() {
    let numbers: Vec<_> = KEPT.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (147..=210).collect::<Vec<_>>());
}

/// Each weakness that is fixed by a policy has a test that bears its number; W15 is moot by types.
#[test]
fn every_weakness_of_the_policies_has_a_test() {
    let all: String = SOURCES.iter().map(|(_, source)| *source).collect();
    for number in [7, 9, 10, 11, 12, 13, 14, 16, 17, 18, 28, 35] {
        assert!(all.contains(&format!("_w{number:02}()")), "W{number}");
    }
}
