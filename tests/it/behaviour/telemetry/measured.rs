//! Every metric of the table, with the values that a pipeline must have produced; a metric that no test looks at fails one.

mod times;
mod troubles;

use std::{collections::BTreeSet, future::Future, pin::Pin};

use stageflow::{
    EngineBuilder,
    events::{METRICS, MetricSource, MetricValue, Metrics, MetricsSnapshot},
    prelude::*,
};

/// What an engine has measured, and at which of the metrics somebody has looked.
pub(super) struct Measured {
    metrics: Metrics,
    looked: BTreeSet<&'static str>,
    now: MetricsSnapshot,
}

impl Measured {
    fn new() -> Self {
        let metrics = Metrics::new();
        Self { now: metrics.read(), metrics, looked: BTreeSet::new() }
    }

    fn of(&self, engine: EngineBuilder) -> Engine {
        engine.sink(self.metrics.clone()).build().expect("an engine")
    }

    /// Everything from here on is as of now.
    async fn read(&mut self, engine: &Engine) {
        engine.flush().await;
        self.now = self.metrics.read();
    }

    /// All series of a metric, each as the values of its attributes in their order, `-` for what is not known, and its number; of
    /// a histogram how many, and their sum.
    fn series(&mut self, name: &str) -> Vec<String> {
        let spec = METRICS.iter().find(|spec| spec.name == name).expect("it is in the table");
        self.looked.insert(spec.name);
        let series = self.now.metric(name).into_iter().flat_map(|metric| &metric.series);
        let mut all: Vec<_> = series
            .map(|one| {
                let values = spec.attributes.iter().map(|key| one.attribute(key).unwrap_or("-"));
                let value = match &one.value {
                    MetricValue::Number(number) => number.to_string(),
                    MetricValue::Histogram { count, sum, .. } => format!("{count} in {sum}"),
                    other => panic!("{other:?}"),
                };
                format!("{} = {value}", values.collect::<Vec<_>>().join(" "))
            })
            .collect();
        all.sort();
        all
    }
}

type Scene = Pin<Box<dyn Future<Output = Measured>>>;

/// All that is played here.
fn scenes() -> Vec<Scene> {
    vec![
        Box::pin(times::of_stages()),
        Box::pin(times::of_waits()),
        Box::pin(times::at_the_entry()),
        Box::pin(troubles::retries()),
        Box::pin(troubles::refusals()),
        Box::pin(troubles::breaker()),
        Box::pin(troubles::denials()),
        Box::pin(troubles::answers()),
        Box::pin(troubles::clean_ups()),
        Box::pin(troubles::sinks()),
    ]
}

/// What the exporter alone has is looked at where it is tested.
#[tokio::test(start_paused = true)]
async fn each_metric_of_the_table_is_looked_at() {
    let mut looked = BTreeSet::new();
    for scene in scenes() {
        looked.extend(scene.await.looked);
    }
    let table = METRICS.iter().filter(|spec| spec.source != MetricSource::Exporter);
    assert_eq!(looked, table.map(|spec| spec.name).collect::<BTreeSet<_>>());
}
