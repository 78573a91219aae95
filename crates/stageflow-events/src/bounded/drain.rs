//! The thread that hands events to a bounded sink.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use stageflow_core::EventSink;

use super::shared::{Shared, Work};

pub(super) fn start<S: EventSink>(shared: &Arc<Shared>, sink: &Arc<S>) {
    let (ours, sink) = (Arc::clone(shared), Arc::clone(sink));
    let body = move || {
        let gone = Gone(Arc::clone(&ours));
        run(&ours, &*sink);
        // The sink goes before anybody is told that all is over: its destructor may have something to write.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
        drop(gone);
    };
    if thread::Builder::new().name("stageflow-sink".to_owned()).spawn(body).is_err() {
        shared.has_no_thread();
    }
}

fn run<S: EventSink>(shared: &Shared, sink: &S) {
    loop {
        match shared.next() {
            Work::Events(events) => {
                let taken = catch_unwind(AssertUnwindSafe(|| sink.take_all(events))).ok();
                shared.settle(taken);
            }
            Work::Flush(mark) => {
                // A panic says that it did not work; there is nobody to tell.
                let _ = catch_unwind(AssertUnwindSafe(|| sink.on_flush()));
                shared.flushed(mark);
            }
            Work::Over => return,
        }
    }
}

/// Says at the end of the thread that it has ended.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.has_ended();
    }
}
