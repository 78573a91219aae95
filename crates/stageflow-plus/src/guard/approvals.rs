//! Who has approved the content as it is now: the rules of "all" and "deny-overrides", without a clock or a future.

/// What a guard has said of the content as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Allowed,
    Abstained,
}

/// How often a guard may be asked about content of others on average, before they are taken to contradict each other.
const TRANSFORMS_EACH: usize = 2;

/// Who has approved the content as it is now. A transformation takes all approvals away but that of its author, so that in the end
/// every guard has approved exactly what goes on.
#[derive(Debug)]
pub(super) struct Approvals {
    said: Vec<Said>,
    transforms_left: usize,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Allowed,
    /// The guard has nothing to say, and neither has it been outvoted.
    Undecided(usize),
}

/// There is no end of transformations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unstable;

impl Approvals {
    pub(super) fn new(guards: usize) -> Self {
        Self { said: vec![Said::Nothing; guards], transforms_left: guards.saturating_mul(TRANSFORMS_EACH) }
    }

    /// Who is to be asked: all that have not said anything, or the first of them.
    pub(super) fn next(&self, in_turn: bool) -> Vec<usize> {
        let open = self.said.iter().enumerate().filter(|(_, said)| **said == Said::Nothing).map(|(at, _)| at);
        open.take(if in_turn { 1 } else { usize::MAX }).collect()
    }

    pub(super) fn allow(&mut self, guard: usize) {
        self.set(guard, Said::Allowed);
    }

    pub(super) fn abstain(&mut self, guard: usize) {
        self.set(guard, Said::Abstained);
    }

    /// The content is another from now on.
    pub(super) fn transform(&mut self, guard: usize) -> Result<(), Unstable> {
        self.transforms_left = self.transforms_left.checked_sub(1).ok_or(Unstable)?;
        self.said.fill(Said::Nothing);
        self.set(guard, Said::Allowed);
        Ok(())
    }

    /// What it comes to when nobody is left to be asked. Where abstentions count, one guard that allows is enough.
    pub(super) fn settle(&self, may_abstain: bool) -> Settled {
        let abstained = self.said.iter().position(|said| *said != Said::Allowed);
        match abstained {
            Some(_) if may_abstain && self.said.contains(&Said::Allowed) => Settled::Allowed,
            Some(guard) => Settled::Undecided(guard),
            None => Settled::Allowed,
        }
    }

    fn set(&mut self, guard: usize, what: Said) {
        if let Some(said) = self.said.get_mut(guard) {
            *said = what;
        }
    }
}
