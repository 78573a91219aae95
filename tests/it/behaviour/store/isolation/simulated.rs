//! The same over many seeds: another order of everything with each.

use stageflow::{
    durable::Durability,
    interceptors::{Bulkhead, Idempotency, IdempotencyKey, InMemoryStore, Retry},
    prelude::*,
    store::MemoryStore,
    testing::{Canaries, Faults, Place, Sim},
};

/// M14: tenants in turns, with faults and latencies, and everything that is shared.
#[test]
fn m_14_no_seed_shows_one_tenant_to_another() {
    let report = Sim::seeds(0..200).run(|sim| async move {
        let store = MemoryStore::new();
        let journal = Durability::new(store.clone()).every_run();
        let bulkhead =
            Bulkhead::builder("all").max_concurrent(8).max_queue(1_000).build().expect("it is right");
        sim.furnish(move |engine| {
            engine
                .journal(journal)
                .interceptor(Idempotency::new(InMemoryStore::new()))
                .interceptor(Retry::exponential(10.millis()).max_attempts(3))
                .interceptor(bulkhead)
        });
        sim.faults(Faults::at("inner").rate(0.2).transient()).latency("first", 1.millis()..2.secs());
        sim.latency("flaky", 1.millis()..2.secs());
        let canaries = Canaries::seeded(sim.seed(), 3);
        let pipeline = Canaries::pipeline();
        let runs: Vec<_> = canaries
            .tenants()
            .flat_map(|tenant| [tenant.clone(), tenant])
            .map(|tenant| {
                let run = sim.run(&pipeline, tenant.canary(Place::Input));
                let run = tenant.settle(run).extension(IdempotencyKey::new("the same"));
                (tenant, run.start())
            })
            .collect();
        let mut seen = Vec::new();
        for (tenant, run) in runs {
            let (told, id) = match run.await {
                Ok(done) => (done.output().clone(), done.run_id()),
                Err(error) => {
                    let report = error.report().expect("it ran");
                    (format!("{} {error} {report}", tenant.canary(Place::Input)), report.run_id())
                }
            };
            let journal =
                sim.engine().journaled(tenant.id(), id).await.expect("it works").expect("it is there");
            let entries: Vec<_> = journal
                .entries
                .iter()
                .flat_map(|entry| {
                    let payload =
                        entry.payload.as_ref().map(|it| String::from_utf8_lossy(&it.bytes).into_owned());
                    [serde_json::to_string(&entry.kind).expect("JSON"), payload.unwrap_or_default()]
                })
                .collect();
            seen.push((tenant.id().to_owned(), told));
            seen.extend(entries.into_iter().map(|line| (tenant.id().to_owned(), line)));
        }
        let lines = sim
            .recorder()
            .events()
            .iter()
            .map(|event| serde_json::to_string(event).expect("JSON"))
            .collect::<Vec<_>>();
        let of =
            |id: &str| seen.iter().filter(|(tenant, _)| tenant == id).map(|(_, line)| line.clone()).collect();
        canaries.sweep().visible("outputs and journal", of).raw("events", &lines).finish().assert_clean();
    });
    assert_eq!(report.seeds(), 200);
}
