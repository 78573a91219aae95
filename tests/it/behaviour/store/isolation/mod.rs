//! Tenants at the same time on one engine: none sees another, and the check sees it when one does (rules S-32, S-33).

mod controls;
mod forged;
mod simulated;
#[cfg(unix)]
mod stores;
mod world;

use std::sync::Arc;

use stageflow::{store::MemoryStore, testing::SweepReport};

use self::world::World;

async fn report(tenants: usize, keys: usize) -> SweepReport {
    let world = Arc::new(World::new(tenants, MemoryStore::new()));
    world.run(keys).await;
    world.sweep().await.finish()
}

/// Every place shows every tenant, so none of them was swept with nothing in it.
fn assert_whole(report: &SweepReport, tenants: usize) {
    report.assert_clean();
    for place in ["outputs", "events", "journal", "audit", "recorder", "json lines", "wide events", "tracing"]
    {
        assert_eq!(report.tenants(place), tenants, "{place}\n{report}");
    }
    // Metrics are of so many tenants, and of all others together.
    assert_eq!(report.tenants("prometheus"), tenants.min(100), "{report}");
    for place in ["recorder", "json lines", "display", "tracing"] {
        assert!(report.canaries(place) >= tenants as u64, "{place}: what stages tell themselves\n{report}");
    }
}

/// SEED2-12.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_32_ten_tenants_do_not_see_each_other() {
    assert_whole(&report(10, 3).await, 10);
}

/// S-32: a thousand of them at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_32_a_thousand_tenants_do_not_see_each_other() {
    assert_whole(&report(1_000, 0).await, 1_000);
}
