//! A trip is booked as a whole or not at all: what was booked is cancelled in reverse, and what cannot be cancelled is on a desk.
//!
//! `cargo run --example saga` prints how each trip ended.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use stageflow::{
    Backoff, ErrorClass,
    plus::saga::{Saga, SagaDesk, SagaStep},
    prelude::*,
};

/// Who books flights, hotels and cars, each in a system of its own.
#[derive(Clone, Default)]
struct Agency {
    /// The system of the hotels is down, for cancellations.
    is_down: Arc<AtomicBool>,
}

/// What is asked for, and what was booked so far.
#[derive(Clone, Debug)]
struct Trip {
    to: String,
    with_car: bool,
    bookings: Vec<String>,
}

/// Books one thing, and can cancel it.
struct Book {
    what: &'static str,
    agency: Agency,
}

impl SagaStep for Book {
    type Input = Trip;
    type Output = Trip;

    async fn act(&self, _ctx: &StageContext, trip: Arc<Trip>) -> StageResult<Trip> {
        if self.what == "car" && !trip.with_car {
            return Err(format!("there is no car in {}", trip.to)).permanent();
        }
        let mut trip = Arc::unwrap_or_clone(trip);
        trip.bookings.push(format!("{}/{}", self.what, trip.to));
        Ok(trip)
    }

    async fn undo(&self, _ctx: &StageContext, trip: Arc<Trip>) -> StageResult<()> {
        if self.what == "hotel" && self.agency.is_down.load(Ordering::SeqCst) {
            return Err(StageExit::fail("the hotel does not answer").class(ErrorClass::Transient));
        }
        println!("  cancelled {}", trip.bookings.last().map_or("", String::as_str));
        Ok(())
    }

    fn reference(&self, trip: &Trip) -> Option<String> {
        trip.bookings.last().cloned()
    }
}

fn travel(agency: &Agency, desk: &SagaDesk) -> Result<Pipeline<Trip, Trip>, Box<dyn Error>> {
    let book = |what| Book { what, agency: agency.clone() };
    let trip = Saga::new("trip")
        .undo_attempts(3)
        .undo_backoff(Backoff::exponential(10.millis()))
        .desk(desk)
        .first("flight", book("flight"))
        .then("hotel", book("hotel"))
        .then("car", book("car"));
    let mut p = Pipeline::builder("travel");
    let wish = p.input();
    let booked = p.stage("book", trip).inputs(wish);
    Ok(p.build(booked)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (agency, desk) = (Agency::default(), SagaDesk::new(100));
    let travel = travel(&agency, &desk)?;
    let wish = |to: &str, with_car| Trip { to: to.to_owned(), with_car, bookings: Vec::new() };

    println!("to Oslo:");
    let run = travel.run(wish("oslo", true)).await?;
    println!("  booked {}", run.output().bookings.join(", "));

    println!("to Venice:");
    if let Err(error) = travel.run(wish("venice", false)).await {
        println!("  {error}: {}", error.failure().map(|failure| failure.message()).unwrap_or_default());
    }

    println!("to Capri, while the hotels are down:");
    agency.is_down.store(true, Ordering::SeqCst);
    if let Err(error) = travel.run(wish("capri", false)).await {
        println!("  {error}: {}\n", error.failure().map(|failure| failure.message()).unwrap_or_default());
    }
    for report in desk.reports() {
        println!("{report}\n");
    }

    println!("somebody resumes it once the hotels are up again:");
    agency.is_down.store(false, Ordering::SeqCst);
    while let Some(stuck) = desk.take_next() {
        println!("{}", stuck.resume().await);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Agency, Ordering, SagaDesk, Trip, travel};
    use stageflow::{code, plus::saga::SagaEnd, prelude::*};

    #[tokio::test(start_paused = true)]
    async fn what_is_stuck_is_on_the_desk_and_can_be_resumed() {
        let (agency, desk) = (Agency::default(), SagaDesk::new(1));
        let travel = travel(&agency, &desk).expect("a pipeline");
        let wish = Trip { to: "capri".to_owned(), with_car: false, bookings: Vec::new() };
        agency.is_down.store(true, Ordering::SeqCst);
        let error = travel.run(wish).await.expect_err("there is no car");
        assert_eq!(error.code(), code::SAGA_STUCK);
        agency.is_down.store(false, Ordering::SeqCst);
        let stuck = desk.take_next().expect("it is on the desk");
        assert_eq!(stuck.report().steps[1].reference.as_deref(), Some("hotel/capri"));
        assert_eq!(stuck.resume().await.end, SagaEnd::RolledBack);
    }
}
