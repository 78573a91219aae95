//! The pipeline of an order, and the world outside of it, which is a file with a line for all that was done.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use stageflow::{StageKind, durable::Pause, prelude::*};

/// What somebody in an office says to it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Approval {
    pub(crate) by: String,
}

/// The question to the office.
pub(crate) const APPROVAL: Pause<Approval> = Pause::new("approval");

/// The name of the event by which a stage says what it does.
pub(crate) const SAID: &str = "order.said";

#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) cents: u32,
}

/// What was called, and what was done: a file each.
#[derive(Clone)]
pub(crate) struct World(PathBuf);

impl World {
    pub(crate) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn note(&self, file: &str, line: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.0.join(file))?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    fn lines(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.0.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Does something under a key, unless it was done under it before, as a bank does: whether it was new.
    fn once(&self, ctx: &StageContext) -> io::Result<bool> {
        // The id of a run is the same in every process.
        let key = format!("{} {}", ctx.stage_name(), ctx.identity().run_id());
        let is_new = !self.lines("effects").contains(&key);
        if is_new {
            self.note("effects", &key)?;
        }
        Ok(is_new)
    }

    fn called(&self, ctx: &StageContext) -> StageResult<()> {
        self.note("calls", ctx.stage_name()).permanent()
    }

    /// How often a stage was called, and how often what it does was done.
    pub(crate) fn counts(&self, stage: &str) -> (usize, usize) {
        let of = |file| self.lines(file).iter().filter(|line| line.split(' ').next() == Some(stage)).count();
        (of("calls"), of("effects"))
    }
}

/// Reserve, charge, approve, ship: each of them is written before the next one reads it.
pub(crate) fn pipeline(world: &World) -> Result<Pipeline<Order, String>, BuildError> {
    let here = || world.clone();
    let mut p = Pipeline::builder("orders");
    let order = p.durable_input();
    let reserved = p.stage("reserve", reserve(here())).kind(StageKind::Work).durable().inputs(order);
    let charged = p.stage("charge", charge(here())).kind(StageKind::Work).durable().inputs((order, reserved));
    let approved = p.stage("approve", approve(here())).durable().inputs(charged);
    let shipped = p.stage("ship", ship(here())).kind(StageKind::Work).durable().inputs(approved);
    p.build(shipped)
}

fn say(ctx: &StageContext, text: impl Into<String>) {
    ctx.emit(SAID, [("text", text.into())]);
}

fn reserve(world: World) -> impl Stage<Input = Arc<Order>, Output = String> {
    stage_fn(move |ctx: StageContext, _order: Arc<Order>| {
        let world = world.clone();
        async move {
            world.called(&ctx)?;
            world.once(&ctx).permanent()?;
            say(&ctx, "the warehouse puts it aside");
            Ok("put aside".to_owned())
        }
    })
}

fn charge(world: World) -> impl Stage<Input = (Arc<Order>, Arc<String>), Output = String> {
    stage_fn(move |ctx: StageContext, (order, so_far): (Arc<Order>, Arc<String>)| {
        let world = world.clone();
        async move {
            world.called(&ctx)?;
            if world.once(&ctx).permanent()? {
                say(&ctx, format!("the bank takes {} cents", order.cents));
                // The worst moment to die in: the money is gone, and nothing is written.
                std::future::pending::<()>().await;
            }
            say(&ctx, "called again; the bank knows the key, and takes nothing");
            Ok(format!("{so_far}, {} cents paid", order.cents))
        }
    })
}

fn approve(world: World) -> impl Stage<Input = Arc<String>, Output = String> {
    stage_fn(move |ctx: StageContext, so_far: Arc<String>| {
        let world = world.clone();
        async move {
            world.called(&ctx)?;
            let approval = ctx.pause(&APPROVAL).await?;
            say(&ctx, format!("has its answer, from {}", approval.by));
            Ok(format!("{so_far}, approved by {}", approval.by))
        }
    })
}

fn ship(world: World) -> impl Stage<Input = Arc<String>, Output = String> {
    stage_fn(move |ctx: StageContext, so_far: Arc<String>| {
        let world = world.clone();
        async move {
            world.called(&ctx)?;
            world.once(&ctx).permanent()?;
            say(&ctx, "the parcel is on its way");
            Ok(format!("{so_far}, sent"))
        }
    })
}
