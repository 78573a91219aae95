//! The thread that hands events to a bounded sink.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Wake, Waker},
    thread,
};

use stageflow_core::{EventSink, text::panic_message};

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
                let taken =
                    catch_unwind(AssertUnwindSafe(|| sink.take_all(events))).map_err(panic_message).ok();
                shared.settle(taken);
            }
            Work::Flush(mark) => {
                // A panic says that it did not work; there is nobody to tell.
                let _ = catch_unwind(AssertUnwindSafe(|| flush(sink)));
                shared.flushed(mark);
            }
            Work::Over => return,
        }
    }
}

/// Waits for what stands behind queues of its own, and has everything written.
fn flush<S: EventSink>(sink: &S) {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    if let Some(mut flushing) = sink.flushing() {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        while flushing.as_mut().poll(&mut cx).is_pending() {
            thread::park();
        }
    }
    sink.on_flush();
}

/// Says at the end of the thread that it has ended.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.has_ended();
    }
}
