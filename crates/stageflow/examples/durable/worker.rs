//! One process: it takes over what was left, or begins something, and winds down when it is told to.

use std::{error::Error, future::IntoFuture as _, path::Path};

use stageflow::{Engine, EventKind, EventStream, FieldValue, prelude::*, store::SqliteStore};
use tokio::signal::unix::{SignalKind, signal};

use crate::order::{self, Order, SAID, World};

/// Before each line that is meant for the screen.
pub(crate) const MARK: &str = "| ";

pub(crate) async fn work(folder: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let engine = Engine::builder().journal(SqliteStore::open(folder.join("orders.db"))?).build()?;
    let orders = order::pipeline(&World::new(folder))?;
    let mut terminated = signal(SignalKind::terminate())?;

    let left = engine.unfinished("acme", None, 10).await?;
    let run = match left.first() {
        Some(left) => {
            println!("{MARK}finds an order that has not ended");
            engine.resume(&orders, "acme", left.key.run()).await?.start()
        }
        None => {
            println!("{MARK}begins an order");
            engine.run(&orders, Order { cents: 500 }).tenant("acme").start()
        }
    };
    let told = tokio::spawn(tell(run.events()));
    let mut run = std::pin::pin!(run.into_future());
    tokio::select! {
        ended = &mut run => {
            let ended = ended?;
            told.await?;
            println!("{MARK}ends it: {}", ended.output());
        }
        _ = terminated.recv() => {
            let report = engine.wind_down(100.millis(), 5.secs()).await;
            told.await?;
            println!("{MARK}is told to stop: {} of its runs can be resumed", report.resumable().len());
        }
    }
    Ok(())
}

/// Says what happens, in the order in which it did.
async fn tell(mut events: EventStream) {
    while let Some(event) = events.next().await {
        let stage = event.stage().unwrap_or_default();
        let EventKind::Custom(custom) = event.kind() else { continue };
        match custom.name() {
            SAID => {
                if let Some(FieldValue::Text(text)) = custom.field("text") {
                    println!("{MARK}{stage:<8} {text}");
                }
            }
            "stage.restored" => println!("{MARK}{stage:<8} is in the journal, and not called"),
            "pause.opened" => println!("{MARK}{stage:<8} waits for somebody to approve"),
            _ => {}
        }
    }
}
