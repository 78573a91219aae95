//! S-23: a thousand clients that fail together do not come back together.

use std::sync::{Arc, Mutex};

use stageflow::{Engine, Jitter, Randomness, SeededRandom, interceptors::Retry, prelude::*};
use tokio::time::Instant;

use super::stats::binomial_bound;

const CLIENTS: u32 = 1_000;

/// Of ten milliseconds each, in the second over which they spread.
const BUCKETS: u32 = 100;

/// A thousand runs at once whose first attempts fail in the same instant: how many begin their second within the same 10 ms, at
/// most.
async fn fullest(jitter: Jitter, random: impl Randomness) -> u32 {
    let came_back = Arc::new(Mutex::new(vec![0_u32; 2 * BUCKETS as usize]));
    let began = Instant::now();
    let counted = Arc::clone(&came_back);
    let client = stage_fn(move |ctx: StageContext, (): ()| {
        let failed = ctx.attempt() == 1;
        if !failed {
            let bucket = (began.elapsed().as_millis().saturating_sub(1) / 10) as usize;
            counted.lock().expect("no panic in it")[bucket] += 1;
        }
        async move { if failed { Err("down").transient() } else { Ok(1_u32) } }
    });
    let mut p = Pipeline::builder("client");
    let retry = Retry::exponential(1.secs()).jitter(jitter);
    let client = p.stage("client", client).retry(retry).inputs(());
    let client = p.build(client).expect("a pipeline");
    let engine = Engine::builder().randomness(random).build().expect("an engine");
    let runs: Vec<_> = (0..CLIENTS).map(|_| engine.start(&client, ())).collect();
    for run in runs {
        run.await.expect("the second attempt succeeds");
    }
    let came_back = came_back.lock().expect("no panic in it");
    assert_eq!(came_back.iter().sum::<u32>(), CLIENTS, "all came back, once");
    came_back.iter().copied().max().expect("a bucket")
}

#[tokio::test(start_paused = true)]
async fn s_23_a_thousand_clients_stay_below_the_binomial_bound() {
    let bound = binomial_bound(CLIENTS, BUCKETS);
    for seed in 0..10 {
        let fullest = fullest(Jitter::Full, SeededRandom::new(seed)).await;
        assert!(fullest < bound, "seed {seed}: {fullest} of {CLIENTS} at once, the bound is {bound}");
    }
    // Half as wide: twice as many in each bucket, and the bound of half as many buckets.
    let fullest = fullest(Jitter::Equal, SeededRandom::new(1)).await;
    assert!(fullest < binomial_bound(CLIENTS, BUCKETS / 2) && fullest > 20, "{fullest}");
}

/// The check itself: without jitter, and with a jitter that draws the same number each time, all come back at once.
#[tokio::test(start_paused = true)]
async fn control_a_herd_without_jitter_is_found_out() {
    struct Same;
    impl Randomness for Same {
        fn next_u64(&self) -> u64 {
            u64::MAX / 3
        }
    }
    let bound = binomial_bound(CLIENTS, BUCKETS);
    assert!(fullest(Jitter::None, SeededRandom::new(1)).await >= bound);
    assert!(fullest(Jitter::Full, Same).await >= bound);
    assert!(fullest(Jitter::Proportional(0.02), SeededRandom::new(1)).await >= bound);
}
