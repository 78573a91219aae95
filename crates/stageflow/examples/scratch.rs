//! scratch
use stageflow_core::*; use stageflow_dag::*; use stageflow_exec::*; use std::sync::Arc; use std::time::Instant;
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    rt.block_on(async { tokio::spawn(async {
        for n in [50usize, 500, 10_000, 100_000, 1_000_000] {
            let mut p = Pipeline::builder("fan");
            let i = p.input();
            let src = p.stage("src", stage_fn(|_c, _i: Arc<u32>| async { Ok(1u64) })).inputs(i);
            let mid = p.parallel("m", 0..n, |_| stage_fn(|_c, x: Arc<u64>| async move { Ok(*x) })).inputs(src);
            let sink = p.stage("sink", stage_fn(|_c, v: Vec<Arc<u64>>| async move { Ok(v.len()) })).inputs(mid);
            let t = Instant::now();
            let pl = p.build(sink).unwrap();
            let b = t.elapsed();
            let mut best = f64::MAX;
            for _ in 0..(2_000_000 / n).clamp(3, 2000) {
                let t = Instant::now();
                let r = pl.run(1u32).await.unwrap();
                let e = t.elapsed(); assert_eq!(*r.output(), n);
                best = best.min(e.as_nanos() as f64 / n as f64);
            }
            println!("fan {n}: build {:.0} ns/stage, best run {best:.1} ns/stage", b.as_nanos() as f64 / n as f64);
        }
        for n in [10usize, 100, 1000, 100_000] {
            let mut p = Pipeline::builder("chain");
            let i = p.input();
            let mut at = p.stage("src", stage_fn(|_c, _i: Arc<u32>| async { Ok(1u64) })).inputs(i);
            for k in 0..n { at = p.stage(format!("s{k}"), stage_fn(|_c, x: Arc<u64>| async move { Ok(*x+1) })).inputs(at); }
            let pl = p.build(at).unwrap();
            let mut best = f64::MAX;
            for _ in 0..(2_000_000 / n).clamp(3, 2000) {
                let t = Instant::now();
                let r = pl.run(1u32).await.unwrap();
                let e = t.elapsed(); assert_eq!(*r.output(), n as u64 + 1);
                best = best.min(e.as_nanos() as f64 / n as f64);
            }
            println!("chain {n}: best run {best:.1} ns/stage");
        }
    }).await.unwrap(); });
}
