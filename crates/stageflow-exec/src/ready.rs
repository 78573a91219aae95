//! The stages that are ready at one worker, and in which order it takes them.

use std::sync::Arc;

use crossbeam_deque::Worker as Deque;
use stageflow_core::{Randomness, time::SeededRandom};

use crate::{node::Node, queue::ROW, row::Row, run::RunCore};

/// What a worker takes next.
pub(crate) enum Task {
    Start(u32),
    Resume(Arc<Node>),
}

/// Stages that are ready at one worker.
pub(crate) struct Ready {
    order: Order,
    /// Something was put into the deque since this worker last looked whether anybody would come for it.
    offered: bool,
    tick: u32,
}

enum Order {
    /// In the order in which they became ready: the row that is being worked off, then `next`, which is used while the deque
    /// is empty, so that a chain touches no shared memory, then the deque.
    Fifo { row: Option<Arc<Row>>, next: Option<u32>, deque: Option<Deque<u32>> },
    /// In an order drawn from a seed.
    Seeded { tasks: Vec<Task>, random: SeededRandom },
}

impl Ready {
    pub(crate) fn new(run: &RunCore) -> Self {
        let order = match run.queues.seed {
            None => Order::Fifo { row: None, next: None, deque: None },
            Some(seed) => Order::Seeded { tasks: Vec::new(), random: SeededRandom::new(seed) },
        };
        Self { order, offered: false, tick: 0 }
    }

    /// Puts stages that were woken back where the driver looks for them while it stops the run: those in their grace, and those that
    /// wait for a child run, go on.
    pub(crate) fn give_back(&mut self, run: &RunCore) {
        if let Order::Seeded { tasks, .. } = &mut self.order {
            for task in tasks.drain(..) {
                if let Task::Resume(node) = task {
                    run.queues.push_resumed(node);
                }
            }
        }
    }

    /// A stage has become ready.
    #[inline]
    pub(crate) fn push(&mut self, run: &RunCore, stage: u32) {
        match &mut self.order {
            Order::Seeded { tasks, .. } => tasks.push(Task::Start(stage)),
            Order::Fifo { row, next, deque } => {
                let idle = row.is_none() && next.is_none();
                match deque {
                    Some(deque) if idle && deque.is_empty() => *next = Some(stage),
                    None if idle => *next = Some(stage),
                    deque => {
                        deque.get_or_insert_with(|| run.queues.deque()).push(stage);
                        self.offered = true;
                    }
                }
            }
        }
    }

    /// All successors of a stage, or all roots, have become ready at `now`. `false` if they have to be pushed one by one.
    pub(crate) fn push_row(&mut self, run: &RunCore, source: u32, count: usize, now: u64) -> bool {
        let Order::Fifo { row, next, deque } = &mut self.order else { return false };
        let opened = run.queues.open_row(source, 0, u32::try_from(count).unwrap_or(u32::MAX), now);
        let idle = row.is_none() && next.is_none() && deque.as_ref().is_none_or(Deque::is_empty);
        if idle {
            *row = Some(opened);
        } else {
            let key = u32::try_from(opened.key).unwrap_or(u32::MAX);
            deque.get_or_insert_with(|| run.queues.deque()).push(ROW | key);
        }
        true
    }

    /// Takes what is here, or what was woken.
    pub(crate) fn next(&mut self, run: &RunCore) -> Option<Task> {
        match &mut self.order {
            Order::Seeded { tasks, random } => {
                while let Some(node) = run.queues.pop_resumed() {
                    tasks.push(Task::Resume(node));
                }
                let count = tasks.len() as u64;
                let index = if count < 2 { 0 } else { random.next_u64() % count };
                #[expect(clippy::cast_possible_truncation, reason = "the index is below the length")]
                (count > 0).then(|| tasks.swap_remove(index as usize))
            }
            Order::Fifo { row, next, deque } => {
                self.tick = self.tick.wrapping_add(1);
                let woken_first = self.tick & 1 == 0;
                if woken_first && let Some(node) = run.queues.pop_resumed() {
                    return Some(Task::Resume(node));
                }
                loop {
                    if let Some(open) = row {
                        if let Some(stage) = open.claim(&run.plan) {
                            run.cell(stage).mark_ready(open.ready);
                            return Some(Task::Start(stage));
                        }
                        run.queues.close_row(open);
                        *row = None;
                    }
                    match next.take().or_else(|| deque.as_ref()?.pop()) {
                        Some(entry) if entry & ROW != 0 => *row = run.queues.row(entry & !ROW),
                        Some(stage) => return Some(Task::Start(stage)),
                        None => break,
                    }
                }
                run.queues.pop_resumed().map(Task::Resume)
            }
        }
    }

    /// Takes work from other workers.
    pub(crate) fn steal(&mut self, run: &RunCore) -> Option<Task> {
        let Order::Fifo { row, deque, .. } = &mut self.order else { return None };
        *row = run.queues.steal_row();
        if row.is_none() {
            if !run.queues.has_stealable() {
                return None;
            }
            let deque = deque.get_or_insert_with(|| run.queues.deque());
            self.offered = true;
            match run.queues.steal(deque)? {
                entry if entry & ROW != 0 => *row = run.queues.row(entry & !ROW),
                stage => return Some(Task::Start(stage)),
            }
        }
        self.next(run)
    }

    /// Lets other workers find the one stage that only this worker would.
    pub(crate) fn offer_next(&mut self, run: &RunCore) {
        if let Order::Fifo { next, deque, .. } = &mut self.order
            && let Some(stage) = next.take()
        {
            deque.get_or_insert_with(|| run.queues.deque()).push(stage);
            self.offered = true;
        }
    }

    /// Whether something was offered to other workers since the last call.
    pub(crate) fn take_offered(&mut self) -> bool {
        std::mem::take(&mut self.offered)
    }

    /// Whether there is something that other workers could take.
    pub(crate) fn has_more(&self, run: &RunCore) -> bool {
        let Order::Fifo { row, deque, .. } = &self.order else { return false };
        deque.as_ref().is_some_and(|deque| !deque.is_empty())
            || row.as_ref().is_some_and(|row| !row.is_empty())
            || run.queues.has_resumed()
    }

    /// Leaves what is here to other workers.
    pub(crate) fn leave(&mut self, run: &RunCore) {
        if let Order::Fifo { next, deque, .. } = &mut self.order {
            if let (Some(stage), Some(deque)) = (next.take(), deque.as_ref()) {
                deque.push(stage);
            }
            if let Some(deque) = deque.take() {
                run.queues.return_deque(deque);
            }
        }
    }
}
