//! What all attempts may cost at worst, and what the budget of a run has for them.

use super::report::Numbers;

/// What the stages of a run, and of its child runs, may cost.
#[derive(Debug)]
pub(super) struct Bill {
    /// What the run may spend.
    pub(super) limit: u64,
    /// The retries it has; `None` for any number.
    pub(super) retries: Option<u64>,
    /// Of stages alike: the cost of an attempt, how many are first ones, and how many there are at most.
    pub(super) items: Vec<(u64, u64, u64)>,
}

impl Bill {
    /// What is the matter, if all of it may be more than there is: at worst the dearest attempts come first, and none has cost less
    /// than its estimate.
    pub(super) fn judge(mut self) -> Option<(String, Numbers)> {
        self.items.sort_unstable_by_key(|(cost, ..)| std::cmp::Reverse(*cost));
        let (mut first, mut worst, mut attempts) = (0_u64, 0_u64, 0_u64);
        let (mut paid, mut left, mut retries) = (0_u64, self.limit, self.retries.unwrap_or(u64::MAX));
        let mut is_short = false;
        for (cost, once, most) in self.items {
            let again = most.saturating_sub(once).min(retries);
            retries -= again;
            let all = once.saturating_add(again);
            first = first.saturating_add(once.saturating_mul(cost));
            worst = worst.saturating_add(all.saturating_mul(cost));
            attempts = attempts.saturating_add(all);
            if !is_short {
                let payable = left.checked_div(cost).unwrap_or(u64::MAX).min(all);
                paid = paid.saturating_add(payable);
                left -= payable.saturating_mul(cost);
                is_short = payable < all;
            }
        }
        if worst <= self.limit {
            return None;
        }
        let limit = self.limit;
        let is_mild = first <= limit;
        let what = if is_mild {
            format!("all attempts may cost {worst}, of it {} for retries", worst - first)
        } else {
            format!("one attempt of each stage costs {first}, and all attempts may cost {worst}")
        };
        let last = match paid {
            0 => "not even the first can be paid for".to_owned(),
            _ => format!("at worst attempt {paid} of {attempts} is the last that can be paid for"),
        };
        let numbers = Numbers { is_mild, ..Numbers::calls(paid) };
        Some((format!("{what}, and the budget is {limit}: {last}"), numbers.in_all()))
    }
}
