//! Who goes first at a model with two places: a flood of reports in the background, and a few people who wait for an answer.
//!
//! `cargo run --example priority` prints who waits for what, and in which order the calls went.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow::{
    plus::router::{ClassWeights, PriorityGate, PriorityRouter, Route},
    prelude::*,
};

/// Whoever was served, in order.
type Served = Arc<Mutex<Vec<String>>>;

struct Ask {
    who: String,
    served: Served,
}

impl Stage for Ask {
    type Input = Arc<Route<&'static str>>;
    type Output = String;

    async fn run(&self, ctx: &StageContext, lane: Self::Input) -> StageResult<String> {
        self.served.lock().map_err(|_| "nobody panics")?.push(self.who.clone());
        // sleeps: on paused time
        tokio::time::sleep(Duration::from_secs(1)).await;
        let class = format!("{:?}", ctx.snapshot().priority());
        Ok(format!("{:<10} {class:<10} {:>2} s: {lane}", self.who, ctx.elapsed().as_secs()))
    }
}

fn ask(gate: &PriorityGate, who: &str, served: &Served) -> Result<Pipeline<String, String>, BuildError> {
    // The lane goes by the priority too, and is raised by little time or by what is written. The turn at the gate is not.
    let lanes = PriorityRouter::new([(Priority::High, "express"), (Priority::Background, "batch")])
        .escalate_below(5.secs(), Priority::High)
        .escalate_if(|text: &String| text.contains("outage"), Priority::Critical);
    let mut p = Pipeline::builder("ask");
    let text = p.input();
    let lane = p.stage("lane", lanes).inputs(text);
    let ask = Ask { who: who.to_owned(), served: Arc::clone(served) };
    let answer = p.stage("model", ask).intercept(gate.clone()).inputs(lane);
    p.build(answer)
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let gate = PriorityGate::new("model", 2);
    let served = Served::default();
    let mut runs = Vec::new();
    for report in 1..=20 {
        let pipeline = ask(&gate, &format!("report {report}"), &served)?;
        runs.push(pipeline.run("a report".to_owned()).priority(Priority::Background).start());
    }
    // sleeps: on paused time
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let people = [
        ("Ada", "an outage", Priority::Normal),
        ("Grace", "hello", Priority::High),
        ("Edsger", "hello", Priority::Critical),
    ];
    for (who, text, priority) in people {
        runs.push(ask(&gate, who, &served)?.run(text.to_owned()).priority(priority).start());
    }
    tokio::task::yield_now().await;
    println!("-- twenty reports have been there for a while when three people come");
    for run in &runs[20..] {
        println!("{}", run.explain().ok_or("it is a run")?);
    }

    let mut answers = Vec::new();
    for run in runs {
        answers.push(run.await?.output().clone());
    }
    println!("\n-- what each got, and when");
    answers.iter().skip(18).for_each(|answer| println!("{answer}"));
    println!("\n-- in this order\n{}", served.lock().map_err(|_| "nobody panics")?.join(", "));
    let bound = ClassWeights::default().starvation_bound(Priority::Background);
    println!("\nno call of the background waits for more than {bound} others");
    Ok(())
}
