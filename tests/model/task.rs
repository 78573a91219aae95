//! S-5, S-16: wakers, workers and the cancellation of a pending stage agree on who has its future.

use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

use loom::{
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool},
    thread,
};

use crate::{
    protocol::{Gate, TaskState},
    sc,
};

/// `Node` and what its run knows of it.
struct Node {
    task: TaskState,
    body: Mutex<Option<Future>>,
    /// `Queues::push_resumed` and `pop_resumed`: how many times the node stands in the queue.
    queue: Mutex<u32>,
    gate: Gate,
    stopping: AtomicBool,
    /// What wakers write before they wake. Relaxed: only the wake-up itself may make it visible.
    data: Vec<AtomicBool>,
    polls: Count,
    ended: Count,
    dropped: std::sync::Arc<Count>,
}

/// The future of a stage: done once it has seen everything that wakers write.
struct Future(std::sync::Arc<Count>);

impl Drop for Future {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Node {
    /// A node whose stage a worker is about to poll for the first time.
    fn new(wakers: usize) -> Arc<Self> {
        Arc::new(Self {
            task: TaskState::running(),
            body: Mutex::new(None),
            queue: Mutex::new(0),
            gate: Gate::open(),
            stopping: AtomicBool::new(false),
            data: (0..wakers).map(|_| AtomicBool::new(false)).collect(),
            polls: Count::new(0),
            ended: Count::new(0),
            dropped: std::sync::Arc::default(),
        })
    }

    /// `Node::wake`, after what the waker has to say.
    fn wake(&self, index: usize) {
        self.data[index].store(true, Relaxed);
        if self.task.notify() {
            *lock(&self.queue) += 1;
        }
    }

    /// `Worker::start`.
    fn start(&self) {
        self.poll(Future(std::sync::Arc::clone(&self.dropped)));
    }

    /// `Worker::next` and `resume`; `false` if nothing was queued.
    fn resume(&self) -> bool {
        let queued = {
            let mut queue = lock(&self.queue);
            let queued = *queue > 0;
            *queue = queue.saturating_sub(1);
            queued
        };
        if queued && self.task.resume() {
            let future = lock(&self.body).take().expect("who may poll a task has its future");
            if self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
                self.task.finish();
                self.end(future);
            } else {
                self.poll(future);
            }
        }
        queued
    }

    fn poll(&self, future: Future) {
        assert_eq!(self.ended.load(Relaxed), 0, "no stage is polled after its end");
        self.polls.fetch_add(1, Relaxed);
        if self.data.iter().all(|data| data.load(Relaxed)) {
            self.task.finish();
            self.end(future);
        } else {
            self.park(future);
        }
    }

    /// `Worker::park`.
    fn park(&self, future: Future) {
        *lock(&self.body) = Some(future);
        if self.task.suspend() {
            *lock(&self.queue) += 1;
        }
        if self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            self.drop_parked();
        }
    }

    /// `Worker::drop_parked`.
    fn drop_parked(&self) {
        if self.task.claim() {
            let future = lock(&self.body).take().expect("who claims a task has its future");
            self.end(future);
        }
    }

    fn end(&self, future: Future) {
        drop(future);
        self.ended.fetch_add(1, Relaxed);
    }

    /// One round of `Driver::stop`.
    fn stop(&self) {
        self.drop_parked();
        while self.resume() {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics under a lock")
}

fn spawn(node: &Arc<Node>, work: impl FnOnce(&Node) + 'static) -> thread::JoinHandle<()> {
    let node = Arc::clone(node);
    thread::spawn(move || work(&node))
}

fn join(all: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in all {
        thread.join().expect("no thread panics");
    }
}

/// A wake-up is never lost: whatever wakers wrote is seen by a later poll.
fn woken(wakers: usize, preemptions: usize) {
    crate::check(preemptions, move || {
        let node = Node::new(wakers);
        let wakers: Vec<_> = (0..wakers).map(|index| spawn(&node, move |node| node.wake(index))).collect();
        node.start();
        node.resume();
        join(wakers);
        // The workers of a run go on until the queue is empty.
        while node.resume() {}
        assert_eq!(node.ended.load(Relaxed), 1, "the stage was woken and has ended");
        assert_eq!(node.dropped.load(Relaxed), 1);
        assert!(!node.task.notify(), "a stage that has ended cannot be woken");
        // With nobody else knowing of it, the node serves another stage.
        node.task.restart();
        assert!(!node.task.notify() && node.task.suspend(), "woken while it is polled, it is queued again");
    });
}

#[test]
fn s_5_one_waker_against_the_worker() {
    woken(1, 8);
}

#[test]
fn s_5_two_wakers_against_the_worker() {
    woken(2, 3);
}

/// Two workers may both find the node queued; only one polls at a time.
#[test]
fn s_5_a_second_worker_takes_over() {
    crate::check(3, || {
        let node = Node::new(1);
        let waker = spawn(&node, |node| node.wake(0));
        let second = spawn(&node, |node| {
            node.resume();
        });
        node.start();
        node.resume();
        join([waker, second]);
        while node.resume() {}
        assert_eq!(node.ended.load(Relaxed), 1, "the stage was woken and has ended");
        assert!(node.polls.load(Relaxed) <= 2, "each wake-up leads to one poll");
    });
}

/// A cancellation meets a helper that polls the stage and a waker from anywhere: the future is dropped exactly once, and the driver
/// knows when it may go on to the clean-ups.
#[test]
fn s_16_a_cancellation_against_a_worker_and_a_waker() {
    crate::check(3, || {
        let node = Node::new(1);
        assert!(node.gate.enter());
        let waker = spawn(&node, |node| node.wake(0));
        let helper = spawn(&node, |node| {
            node.start();
            if !node.stopping.load(std::sync::atomic::Ordering::SeqCst) {
                node.resume();
            }
            if node.gate.leave() {
                // The driver is woken, and looks again.
                node.stop();
            }
        });
        // `RunCore::end`, then `Driver::stop`.
        sc::store(&node.stopping, true);
        let alone = node.gate.close();
        node.stop();
        if alone {
            assert_eq!(node.ended.load(Relaxed), 1, "with nobody inside, no stage is left");
        }
        join([waker, helper]);
        assert_eq!(node.ended.load(Relaxed), 1, "the stage has ended exactly once");
        assert_eq!(node.dropped.load(Relaxed), 1, "its future was dropped exactly once");
        while node.resume() {}
        assert_eq!(node.dropped.load(Relaxed), 1, "a late wake-up changes nothing");
    });
}
