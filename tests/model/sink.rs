//! S-29: the law holds whenever somebody looks, nobody who waits for a bounded sink is forgotten, and no event is.
//!
//! `bounded/shared.rs` of `stageflow-events`, function by function, without naps: the thread sleeps at once, which is the
//! case in which a wake-up can be lost.

use loom::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

const ROOM: u32 = 1;

#[derive(Default)]
struct State {
    emitted: u32,
    queued: u32,
    in_hand: u32,
    delivered: u32,
    dropped: u32,
    sleeps: bool,
    closed: bool,
    ended: bool,
    wanted: u32,
    flushed: u32,
    waiting: u32,
}

#[derive(Default)]
struct Sink {
    state: Mutex<State>,
    work: Condvar,
    moved: Condvar,
}

impl Sink {
    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().expect("no panic");
        assert_eq!(state.emitted, state.delivered + state.dropped + state.queued + state.in_hand, "the law");
        state
    }

    /// `Shared::push_one` and `Shared::unlock`.
    fn push(&self) {
        self.admit(self.lock());
    }

    fn admit(&self, mut state: MutexGuard<'_, State>) {
        state.emitted += 1;
        if state.closed || state.queued >= ROOM {
            state.dropped += 1;
        } else {
            state.queued += 1;
        }
        let wakes = std::mem::take(&mut state.sleeps);
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    /// `Shared::push_waiting`, with all the time in the world.
    fn push_waiting(&self) {
        let mut state = self.lock();
        while state.queued >= ROOM && !state.closed {
            state.waiting += 1;
            state = self.moved.wait(state).expect("no panic");
            state.waiting -= 1;
        }
        self.admit(state);
    }

    /// `drain::run`, with `Shared::next`, `settle`, `flushed` and `has_ended`.
    fn drain(&self) {
        let mut state = self.lock();
        loop {
            state.sleeps = false;
            // Everything up to the place is settled, as nothing is queued or in hand.
            let asked = state.wanted > state.flushed && state.queued == 0;
            if state.queued > 0 {
                state.in_hand = std::mem::take(&mut state.queued);
                let frees = state.waiting > 0;
                drop(state);
                if frees {
                    self.moved.notify_all();
                }
                state = self.lock();
                state.delivered += std::mem::take(&mut state.in_hand);
            } else if asked {
                state.flushed = state.wanted;
                drop(state);
                self.moved.notify_all();
                state = self.lock();
            } else if state.closed {
                state.ended = true;
                drop(state);
                self.moved.notify_all();
                return;
            } else {
                state.sleeps = true;
                state = self.work.wait(state).expect("no panic");
            }
        }
    }

    /// `Shared::ask_for_flush` and `Shared::poll_flushed`; how many were delivered or dropped then.
    fn flush(&self) {
        let mark = {
            let mut state = self.lock();
            state.wanted = state.wanted.max(state.emitted);
            state.emitted
        };
        self.work.notify_one();
        let mut state = self.lock();
        while state.flushed < mark && !state.ended {
            state = self.moved.wait(state).expect("no panic");
        }
        assert!(state.delivered + state.dropped >= mark, "flushed, and something is on its way");
    }

    /// `Shared::shut_down`, with all the time in the world.
    fn shut_down(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.wanted = state.emitted;
        self.work.notify_one();
        self.moved.notify_all();
        while !state.ended {
            state = self.moved.wait(state).expect("no panic");
        }
    }
}

fn with(other: fn(&Sink), emitter: fn(&Sink)) {
    crate::check(3, move || {
        let sink = Arc::new(Sink::default());
        let on = |work: fn(&Sink)| {
            let sink = Arc::clone(&sink);
            thread::spawn(move || work(&sink))
        };
        let drain = on(Sink::drain);
        let other = on(other);
        emitter(&sink);
        other.join().expect("no panic");
        sink.shut_down();
        drain.join().expect("no panic");
        let state = sink.lock();
        assert_eq!((state.queued, state.in_hand), (0, 0));
    });
}

#[test]
fn s_29_two_emitters_and_a_drain() {
    with(Sink::push, |sink| {
        sink.push();
        sink.push();
    });
}

#[test]
fn s_29_a_flush_is_answered_and_covers_what_came_before() {
    with(Sink::flush, |sink| {
        sink.push();
        sink.flush();
    });
}

#[test]
fn s_29_whoever_waits_for_room_gets_it_or_the_end() {
    with(Sink::push_waiting, |sink| {
        sink.push_waiting();
        sink.push_waiting();
    });
}

#[test]
fn s_29_a_shutdown_in_the_middle_forgets_nobody() {
    with(Sink::shut_down, |sink| {
        sink.push_waiting();
        sink.push();
    });
}
