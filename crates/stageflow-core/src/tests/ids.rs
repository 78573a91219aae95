//! Ids, trace contexts and the kinds of stages.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use crate::{
    ContextSnapshot, Randomness, RunId, StageContext, StageKind, TenantId, TraceContext, time::SeededRandom,
    trace::span_id,
};

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

/// RFC 9562: version 7, variant 2, and the milliseconds first.
#[test]
fn run_ids_are_uuids_of_version_7() {
    let random = SeededRandom::new(7);
    let id = RunId::from_parts(at(0x0001_8bcf_e568_1234), &random);
    assert_eq!(RunId::from_bytes(*id.as_bytes()), id);
    let bytes = id.as_bytes();
    assert_eq!(bytes[..6], [0x8b, 0xcf, 0xe5, 0x68, 0x12, 0x34]);
    assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (7, 2));
    assert_eq!(
        id,
        RunId::from_parts(at(0x0001_8bcf_e568_1234), &SeededRandom::new(7)),
        "the same seed, the same id"
    );
    assert_ne!(id, RunId::from_parts(at(0x0001_8bcf_e568_1234), &random));
}

#[test]
fn run_ids_sort_by_time() {
    struct Ones;
    impl Randomness for Ones {
        fn next_u64(&self) -> u64 {
            u64::MAX
        }
    }
    let random = SeededRandom::new(1);
    let ids: Vec<_> = (1_000..2_000).map(|millis| RunId::from_parts(at(millis), &random)).collect();
    assert!(ids.is_sorted());
    // Whatever the randomness, and as text as well.
    let (early, late) = (RunId::from_parts(at(9), &Ones), RunId::from_parts(at(10), &random));
    assert!(early < late && early.to_string() < late.to_string());
}

#[test]
fn a_clock_that_is_wrong_still_gives_ids() {
    let random = SeededRandom::new(1);
    for time in [SystemTime::UNIX_EPOCH - Duration::from_secs(1), at(0), at(u64::from(u32::MAX) << 20)] {
        let id = RunId::from_parts(time, &random);
        assert_eq!((id.as_bytes()[6] >> 4, id.as_bytes()[8] >> 6), (7, 2));
    }
}

#[test]
fn run_ids_are_read_back_from_text_and_json() {
    let id = RunId::new();
    assert_eq!(id.to_string().parse(), Ok(id));
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!((json.clone(), serde_json::from_str::<RunId>(&json).unwrap()), (format!("\"{id}\""), id));
    for text in ["", "x", "0191", &format!("{id}0"), "zz91a3c4-0000-7000-8000-000000000000"] {
        assert_eq!(text.parse::<RunId>().unwrap_err().to_string(), "not a valid run id", "{text}");
    }
}

#[test]
fn text_ids_are_what_was_given() {
    for text in ["", "acme", "a\nb", "\u{202e}"] {
        let tenant = TenantId::from(text);
        assert_eq!((tenant.as_str(), tenant.to_string().as_str()), (text, text));
        let json = serde_json::to_string(&tenant).unwrap();
        assert_eq!(serde_json::from_str::<TenantId>(&json).unwrap(), tenant);
    }
}

/// W3C Trace Context, level 1.
#[test]
fn valid_trace_contexts_are_read_and_written_back() {
    for (text, written, sampled) in [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None, true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", None, false),
        ("00-00000000000000000000000000000001-0000000000000001-ff", None, true),
        ("00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-02", None, false),
        // A later version may have more fields, and is written as the version we know.
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some("00"), true),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more-of-it", Some("00"), true),
    ] {
        let trace: TraceContext = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(trace.is_sampled(), sampled, "{text}");
        let expected = written.map_or(text.to_owned(), |version| format!("{version}{}", &text[2..55]));
        assert_eq!(trace.to_string(), expected);
        let json = serde_json::to_string(&trace).unwrap();
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), trace);
    }
    let trace: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
    assert_eq!(
        (trace.trace_id(), trace.span_id()),
        (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)
    );
}

#[test]
fn invalid_trace_contexts_are_refused() {
    for text in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736a-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
    ] {
        let error = text.parse::<TraceContext>().unwrap_err();
        assert!(error.to_string().starts_with("not a W3C traceparent: "), "{text}: {error}");
        assert!(serde_json::from_value::<TraceContext>(text.into()).is_err(), "{text}");
    }
    assert!(TraceContext::new(0, 1, true).is_err() && TraceContext::new(1, 0, true).is_err());
    assert!(TraceContext::new(1, 1, true).is_ok_and(|trace| trace.is_sampled()));
}

/// Places in a run, and runs, do not share a span; the same place always has the same.
#[test]
fn a_span_id_follows_from_run_stage_and_attempt() {
    let runs: Vec<RunId> = (0..50).map(|_| RunId::new()).chain([nil()]).collect();
    let places = |run: RunId| {
        (0..50)
            .chain([u32::MAX])
            .flat_map(move |stage| (0..5).map(move |attempt| span_id(run, stage, attempt)))
    };
    let all: Vec<u64> = runs.iter().flat_map(|run| places(*run)).collect();
    let distinct: HashSet<u64> = all.iter().copied().collect();
    assert!(distinct.len() == all.len() && !distinct.contains(&0));
    assert_eq!(all, runs.iter().flat_map(|run| places(*run)).collect::<Vec<_>>());
}

fn nil() -> RunId {
    "00000000-0000-0000-0000-000000000000".parse().unwrap()
}

/// A trace that begins with a run has an id of its own; one that was given is kept, with its random flag.
#[test]
fn a_context_is_a_span_of_the_runs_trace() {
    let ctx = StageContext::for_test();
    let run = ctx.identity().run_id();
    assert_eq!((ctx.trace().span_id(), ctx.trace().is_sampled()), (span_id(run, 0, 1), false));
    assert_eq!(ctx.traceparent(), ctx.trace().to_string());
    assert_eq!(ctx.snapshot().trace_id(), ctx.trace().trace_id());

    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff";
    let ctx = StageContext::for_test_with(
        ContextSnapshot::builder().trace(header.parse::<TraceContext>().unwrap()),
    );
    let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016x}-03", ctx.trace().span_id());
    assert_eq!(ctx.traceparent(), expected);

    let ctx = StageContext::for_test_with(ContextSnapshot::builder().run(nil()));
    assert_ne!(ctx.trace().trace_id(), 0);
    assert_eq!(ctx.trace().trace_id(), ctx.snapshot().trace_id());
}

/// Samplers look at the second half of the trace's id, which must be as good as random though that of the run's id is not. With
/// 4000 fair draws, fewer than 1850 or more than 2150 come up less than once in 400 000 times; the seed is fixed.
#[test]
fn trace_ids_can_be_sampled_by_their_second_half() {
    let random = SeededRandom::new(11);
    let runs = (0..4_000).map(|n| RunId::from_parts(at(1_700_000_000_000 + n), &random));
    let halves: Vec<u64> = runs.map(|run| crate::trace::trace_id(run) as u64).collect();
    for bit in 0..64 {
        let set = halves.iter().filter(|half| *half >> bit & 1 == 1).count();
        assert!((1_850..=2_150).contains(&set), "bit {bit}: {set}");
    }
}

/// KEEP 18.1-15, 16.
#[test]
fn kinds_are_read_from_their_names() {
    for kind in StageKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    for text in ["", "Guard", "GUARD", " guard", "stage"] {
        let error = text.parse::<StageKind>().unwrap_err();
        assert!(error.to_string().contains("use transform, enrich, route, guard, work or agent"), "{error}");
    }
}
