//! scratch
use stageflow_core::*; use stageflow_dag::*; use stageflow_exec::*; use std::sync::Arc;
fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let reps: usize = std::env::args().nth(3).unwrap().parse().unwrap();
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(std::env::args().nth(4).map_or(1, |x| x.parse().unwrap())).enable_all().build().unwrap();
    rt.block_on(async { tokio::spawn(async move {
            let mut p = Pipeline::builder("x");
            let i = p.input();
            let src = p.stage("src", stage_fn(|_c, _i: Arc<u32>| async { Ok(1u64) })).inputs(i);
            let pl = if mode == "fan" {
            let mid = p.parallel("m", 0..n, |_| stage_fn(|_c, x: Arc<u64>| async move { Ok(*x) })).inputs(src);
            let sink = p.stage("sink", stage_fn(|_c, v: Vec<Arc<u64>>| async move { Ok(v.len() as u64) })).inputs(mid);
            p.build(sink).unwrap()
            } else {
            let mut at = src;
            for k in 0..n { at = p.stage(format!("s{k}"), stage_fn(|_c, x: Arc<u64>| async move { Ok(*x+1) })).inputs(at); }
            p.build(at).unwrap()
            };
            let t = std::time::Instant::now();
            for _ in 0..reps { pl.run(1u32).await.unwrap(); }
            println!("{} ns/stage", t.elapsed().as_nanos() as usize / reps / n);
    }).await.unwrap(); });
}
