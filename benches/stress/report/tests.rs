//! That a report says what the record says, and nothing that could do harm.

use super::*;
use crate::harness::{
    lag::Histogram,
    record::{Account, Check, Counts, Fault, Machine, Measurement, Plot, ScenarioRecord},
    stats::Summary,
    verdict::Verdict,
};

fn scenario() -> ScenarioRecord {
    let measured = |plot, x, samples: &[f64]| Measurement {
        name: "time of a run".to_owned(),
        case: "20".to_owned(),
        unit: "ms".to_owned(),
        x: Some(x),
        plot: Some(plot),
        framework: Summary::of(samples),
        injected: 50.0,
    };
    let check = |pass| Check {
        name: "no write is lost".to_owned(),
        case: "<script>".to_owned(),
        expected: "500".to_owned(),
        seen: "499".to_owned(),
        pass,
    };
    let mut lag = Histogram::new();
    lag.add(3.5);
    ScenarioRecord {
        name: "fanout.sizes".to_owned(),
        suites: vec!["seeds".to_owned()],
        answers: vec!["SEED1-1".to_owned()],
        about: "About.".to_owned(),
        parameters: String::new(),
        verdict: Verdict::Fail,
        reason: None,
        seconds: 1.25,
        checks: vec![check(true), check(false)],
        faults: vec![Fault { name: "crash".to_owned(), count: 41 }],
        measurements: vec![
            measured(Plot::Throughput, 50.0, &[1.0, 2.0]),
            measured(Plot::Latency, 20.0, &[7.0; 12]),
            measured(Plot::Memory, 50.0, &[12_345.0]),
        ],
        accounts: vec![Account {
            case: "slow sink".to_owned(),
            emitted: 9,
            delivered: 4,
            dropped: 3,
            in_flight: 2,
        }],
        lag: Some(lag),
    }
}

fn record() -> Record {
    let scenarios = vec![scenario()];
    Record {
        schema: SCHEMA,
        run_id: "the-run".to_owned(),
        command: "cargo xtask stress".to_owned(),
        seed: 7,
        scale: 1,
        commit: "abc".to_owned(),
        machine: Machine {
            processor: "P".to_owned(),
            cores: 2,
            kernel: "K".to_owned(),
            rustc: "R".to_owned(),
            optimised: true,
        },
        started: "now".to_owned(),
        seconds: 1.5,
        partial: Some("interrupted".to_owned()),
        not_run: vec!["soak.memory".to_owned()],
        summary: Counts::of(&scenarios),
        scenarios,
    }
}

fn pages(record: &Record) -> Pages {
    from_json(&serde_json::to_string(record).unwrap()).unwrap()
}

#[test]
fn both_forms_say_what_the_record_says() {
    let pages = pages(&record());
    for page in [&pages.markdown, &pages.html] {
        for word in [
            "the-run",
            "FAIL",
            "DID NOT HOLD",
            "499",
            "41",
            "PARTIAL: interrupted",
            "soak.memory",
            "1 failed",
        ] {
            assert!(page.contains(word), "`{word}` is missing in\n{page}");
        }
    }
}

#[test]
fn a_percentile_without_enough_samples_is_refused_in_words() {
    let markdown = pages(&record()).markdown;
    assert!(markdown.contains("| time of a run | 20 | ms | 2 | 1.00 | 1.50 | n too small |"), "{markdown}");
    assert!(
        markdown.contains("| 12 | 7.00 | 7.00 | 7.00 | n too small | n too small | 7.00 | 50.00 |"),
        "{markdown}"
    );
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_runs_no_scripts() {
    let html = pages(&record()).html;
    assert!(html.contains("&lt;script&gt;"));
    for word in ["<script", "http:", "https:", "src=", "@import", "url("] {
        assert!(!html.contains(word), "`{word}` is in the page");
    }
    assert_eq!(html.matches("<svg").count(), 5);
    assert!(html.contains("prefers-color-scheme: dark"));
}

#[test]
fn records_survive_json_and_others_are_refused() {
    let record = record();
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    let newer = Record { schema: SCHEMA + 1, ..record };
    assert!(from_json(&serde_json::to_string(&newer).unwrap()).unwrap_err().to_string().contains("schema"));
    assert!(from_json("{}").is_err());
}
