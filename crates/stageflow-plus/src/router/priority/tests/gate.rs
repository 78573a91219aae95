//! Places, turns, and calls that leave.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow_core::{Priority, stage_fn};
use stageflow_dag::{Lint, Pipeline};
use tokio::task::{JoinHandle, yield_now};

use crate::router::PriorityGate;

type Log = Arc<Mutex<Vec<Priority>>>;

fn waits(gate: &PriorityGate, class: Priority, log: &Log) -> JoinHandle<()> {
    let (gate, log) = (gate.clone(), Arc::clone(log));
    tokio::spawn(async move {
        let permit = gate.enter(class, None, 1).await.expect("there is room");
        log.lock().expect("nobody panics").push(permit.class());
    })
}

async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_goes_first_and_all_go() {
    let gate = PriorityGate::new("model", 1);
    let log = Log::default();
    let held = gate.enter(Priority::Low, None, 1).await.expect("it is free");
    let order = [Priority::Background, Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
    let tasks: Vec<_> = order.into_iter().map(|class| waits(&gate, class, &log)).collect();
    settle().await;
    assert_eq!((gate.waiting(), gate.in_use()), (5, 1));
    drop(held);
    for task in tasks {
        task.await.expect("it ends");
    }
    let mut reversed = order;
    reversed.reverse();
    assert_eq!(*log.lock().expect("nobody panics"), reversed);
    assert_eq!((gate.waiting(), gate.in_use()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_leaves_nothing_behind_before_and_after_its_turn() {
    let gate = PriorityGate::new("model", 1);
    let log = Log::default();
    let held = gate.enter(Priority::Low, None, 1).await.expect("it is free");
    let first = waits(&gate, Priority::Critical, &log);
    let second = waits(&gate, Priority::Low, &log);
    settle().await;
    first.abort();
    settle().await;
    assert_eq!(gate.waiting(), 1);
    // The turn is given, and who was to get it is gone before it takes it.
    drop(held);
    second.abort();
    settle().await;
    assert_eq!((gate.waiting(), gate.in_use()), (0, 0));
    assert!(log.lock().expect("nobody panics").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_class_takes_no_place_of_another() {
    let gate = PriorityGate::new("model", 1).max_queue(3);
    let log = Log::default();
    let held = gate.enter(Priority::Low, None, 1).await.expect("it is free");
    let tasks: Vec<_> = (0..3).map(|_| waits(&gate, Priority::Background, &log)).collect();
    settle().await;
    let full = gate.enter(Priority::Background, None, 1).await.expect_err("three wait");
    assert_eq!(
        full.to_string(),
        "the gate `model` has no place for another call of class background to wait in"
    );
    let urgent = waits(&gate, Priority::Critical, &log);
    settle().await;
    drop(held);
    urgent.await.expect("it ends");
    for task in tasks {
        task.await.expect("it ends");
    }
    assert_eq!(log.lock().expect("nobody panics")[0], Priority::Critical);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time() {
    let gate = PriorityGate::new("model", 1);
    let _held = gate.enter(Priority::Low, None, 1).await.expect("it is free");
    let within = Duration::from_secs(3);
    let full = gate.enter_within(Priority::High, None, 1, within).await.expect_err("it is taken");
    assert_eq!(full.to_string(), "the gate `model` had no turn for class high within 3.0s");
    assert_eq!(gate.waiting(), 0);
}

/// Places become free while others queue up: nobody is left waiting beside a free place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_threads_everybody_gets_a_turn_and_never_too_many_at_a_time() {
    let gate = PriorityGate::new("model", 3).max_queue(10_000);
    let most = Arc::new(Mutex::new((0, 0)));
    let tasks: Vec<_> = (0..2_000_u32)
        .map(|number| {
            let (gate, most) = (gate.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                let class = if number % 3 == 0 { Priority::High } else { Priority::Low };
                let permit = gate.enter(class, None, 1).await.expect("there is room");
                {
                    let mut now = most.lock().expect("nobody panics");
                    now.0 += 1;
                    now.1 = now.0.max(now.1);
                }
                yield_now().await;
                most.lock().expect("nobody panics").0 -= 1;
                drop(permit);
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task)
            .await
            .expect("nobody is forgotten")
            .expect("it ends");
    }
    assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
    assert!(most.lock().expect("nobody panics").1 <= 3);
}

/// Turns come while those who wait for them leave: no place is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_threads_no_place_is_lost_to_those_who_leave() {
    let gate = PriorityGate::new("model", 2).max_queue(100_000);
    let tasks: Vec<_> = (0..20_000_u32)
        .map(|number| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let turn = gate.enter(Priority::Normal, None, 1);
                if number % 2 == 0 {
                    drop(turn.await);
                } else {
                    // Leaves after one poll, or goes on to its turn if that was quick enough.
                    tokio::select! {
                        biased;
                        permit = turn => drop(permit),
                        () = yield_now() => {}
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(60), task)
            .await
            .expect("nobody is forgotten")
            .expect("it ends");
    }
    assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
}

#[test]
fn a_gate_around_itself_is_found() {
    let gate = PriorityGate::new("model", 2);
    let mut child = Pipeline::builder("child");
    let ask = stage_fn(|_, (): ()| async { Ok(1_u32) });
    let asked = child.stage("ask", ask).intercept(gate.clone()).inputs(());
    let child: Pipeline<(), u32> = child.build(asked).expect("it is right");
    assert!(child.lint().is_clean());

    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let asked = p.stage("child", child).intercept(gate).inputs(input);
    let parent: Pipeline<(), u32> = p.build(asked).expect("it is right");
    let report = parent.lint();
    let found: Vec<_> = report.findings().iter().map(|found| (found.lint(), found.calls())).collect();
    assert_eq!(found, [(Lint::BulkheadAroundItself, Some(2))]);
}
