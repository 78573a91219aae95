//! Sight: sinks that count what they lose, and what can be made of events elsewhere.
//!
//! Everything here is an [`EventSink`](stageflow_core::EventSink) or wraps one: it is told what happened, and changes no run.
//!
//! | to … | see |
//! |---|---|
//! | put a bounded queue with an account before a sink | [`SinkExt::bounded`], [`Bounded`], [`Policy`] |
//! | write events to a file and read them back | [`JsonLines`], [`JsonReader`] |
//! | show what goes on to somebody | [`channel`], [`EventReceiver`] |
//! | tell several sinks, or tell one only some events | [`FanOut`], [`SinkExt::filter`] |
//! | write a sink in one line | [`sink_fn`] |
//!
//! No sink here needs a runtime: what needs a thread has one of its own.

mod bounded;
mod channel;
mod fan_out;
mod filter;
mod function;
mod json;
#[cfg(test)]
mod support;

pub use crate::{
    bounded::{
        BackpressureAwareEventSink, Bounded, Meter, Policy, Pressure, Receipt, SinkExt, Spill, Spilled,
        Verdict,
    },
    channel::{ChannelSink, EventReceiver, channel},
    fan_out::FanOut,
    filter::Filter,
    function::{FnSink, sink_fn},
    json::{Damage, Fsync, JsonLines, JsonReader, LoggedEvent},
};
