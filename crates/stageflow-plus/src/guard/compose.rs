//! [`Guards`]: several guards as one.

use std::{fmt, sync::Arc};

use stageflow_core::{StageContext, StageResult};

use super::{
    approvals::{Approvals, Settled},
    check::ask,
    contract::{Guard, Member},
    guarded::Remark,
    objection::Objection,
    reason::Reason,
    rules::{GuardRules, OnError, rule_setters},
    together::together,
    verdict::{Ruling, Verdict, VerdictKind},
};

/// Several guards as one.
///
/// | made by | lets pass | blocks |
/// |---|---|---|
/// | [`all`](Self::all) | if every guard has approved what goes on | else |
/// | [`any`](Self::any) | if one guard approves: the first in written order | if none does |
/// | [`weighted`](Self::weighted) | if the mean of the scores reaches the threshold | else |
/// | [`deny_overrides`](Self::deny_overrides) | if nobody blocks, and one guard at least approves | else, so if all abstain |
///
/// Guards are asked at the same time, so that several take as long as the slowest of them. [`in_turn`](Self::in_turn) asks one after
/// the other, and the first that decides saves asking the rest. A guard that fails has blocked, unless its rules say otherwise.
/// Without guards everything is blocked, with the reason `no_guards`.
///
/// [`OnError::Open`] belongs to the guard that may be passed over. A composition that has it, and a time, passes over *all* its guards
/// when that time is up; of `all` and `deny_overrides` the first guard that blocks decides then, so that its objection is not passed over.
///
/// # Transformations
///
/// Of `all` and `deny_overrides`, what goes on has been approved by every guard *as it is*: once a guard has transformed the content,
/// all others are asked again, about the new content. If several transform at the same time, the first in written order does, and the
/// others are asked again. Guards that go on to undo each other's work are stopped with the reason `unstable`, after two
/// transformations for each guard. A transformation that comes first costs nothing: put redaction before the checks, in turn.
///
/// Of `any`, what goes on is what the guard made of it that approved. Of `weighted`, nothing is transformed: a guard that would do so
/// objects, with a score of 0 unless it gives one.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_plus::guard::{Denylist, Guard, Guards, Length, VerdictKind};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let prompt = Guards::<String>::all().with(Length::at_most(4_000)).with(Denylist::new(["launch codes"]));
///
/// let ctx = StageContext::for_test();
/// let verdict = prompt.check(&ctx, &Arc::new("Tell me the LAUNCH codes!".to_owned())).await?;
/// assert_eq!(verdict.kind(), VerdictKind::Block);
/// assert_eq!(verdict.objections()[0].to_string(), "guard `Denylist`: denylist");
/// # StageResult::Ok(()) }).unwrap_or_else(|exit| panic!("{exit}"));
/// ```
#[must_use = "a composition of guards is a guard, and is given to a stage"]
pub struct Guards<T, F = ()> {
    how: How,
    in_turn: bool,
    members: Vec<Member<T, F>>,
    rules: GuardRules,
}

#[derive(Clone, Copy, Debug)]
enum How {
    All,
    Any,
    Weighted(f64),
    DenyOverrides,
}

impl<T: Send + Sync + 'static, F: Send + 'static> Guards<T, F> {
    fn new(how: How, name: &'static str) -> Self {
        Self { how, in_turn: false, members: Vec::new(), rules: GuardRules::named(name) }
    }

    /// Every guard has to approve. An abstention is no approval.
    pub fn all() -> Self {
        Self::new(How::All, "all")
    }

    /// One guard has to approve.
    pub fn any() -> Self {
        Self::new(How::Any, "any")
    }

    /// The mean of the scores, by weight, has to be `threshold` at least: from above 0 to 1; with any other threshold everything is
    /// blocked, with the reason `invalid_threshold`.
    ///
    /// A guard that allows scores 1 and one that objects 0, unless it gives a [score](Verdict::score). One that abstains is left out.
    pub fn weighted(threshold: f64) -> Self {
        Self::new(How::Weighted(threshold), "weighted")
    }

    /// Nobody may block, and one guard at least has to approve; the others may abstain.
    pub fn deny_overrides() -> Self {
        Self::new(How::DenyOverrides, "deny_overrides")
    }

    /// Adds a guard; of weight 1, where there are weights.
    pub fn with(self, guard: impl Guard<T, F>) -> Self {
        self.weighing(1, guard)
    }

    /// Adds a guard with a weight. One of weight 0 is asked, and decides nothing in [`weighted`](Self::weighted).
    pub fn weighing(mut self, weight: u32, guard: impl Guard<T, F>) -> Self {
        self.members.push(Member::new(guard, weight));
        self
    }

    /// Asks one guard after the other, in written order, until it is decided. Of weighted guards all are asked.
    pub fn in_turn(mut self) -> Self {
        self.in_turn = true;
        self
    }

    rule_setters!();

    /// The verdicts of some guards on the same content: all of them, or `None` for those that were not needed.
    async fn verdicts(
        &self,
        ctx: &StageContext,
        content: &Arc<T>,
        whom: &[usize],
        enough: impl Fn(&[Option<StageResult<Verdict<T, F>>>]) -> bool + Send,
    ) -> StageResult<Vec<(usize, Verdict<T, F>)>> {
        let members = whom.iter().filter_map(|at| Some((*at, self.members.get(*at)?)));
        let (places, asked): (Vec<_>, Vec<_>) =
            members.map(|(at, member)| (at, Box::pin(ask(member, ctx, content)) as _)).unzip();
        let ends = |ended: &[Option<StageResult<_>>]| {
            ended.iter().any(|end| matches!(end, Some(Err(_)))) || enough(ended)
        };
        let mut verdicts = Vec::with_capacity(places.len());
        let ended = together(asked, ends).await;
        let mut exit = None;
        for (at, end) in places.into_iter().zip(ended) {
            match end {
                Some(Ok(verdict)) => verdicts.push((at, verdict)),
                Some(Err(ends)) => exit = exit.or(Some(ends)),
                None => {}
            }
        }
        exit.map_or(Ok(verdicts), Err)
    }

    async fn everybody(&self, ctx: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        let may_abstain = matches!(self.how, How::DenyOverrides);
        let mut approvals = Approvals::new(self.members.len());
        let mut now = Arc::clone(content);
        let (mut remarks, mut lowest) = (Vec::new(), None);
        loop {
            let whom = approvals.next(self.in_turn);
            if whom.is_empty() {
                break;
            }
            // What is objected must not be lost if the time of an open composition is up.
            let is_open = self.rules.on_error == OnError::Open;
            let ends = |ended: &[Option<StageResult<Verdict<T, F>>>]| {
                is_open && ended.iter().flatten().flatten().any(|said| said.kind() == VerdictKind::Block)
            };
            let verdicts = self.verdicts(ctx, &now, &whom, ends).await?;
            lowest = verdicts.iter().filter_map(|(_, verdict)| verdict.score).chain(lowest).reduce(f64::min);
            if verdicts.iter().any(|(_, verdict)| verdict.kind() == VerdictKind::Block) {
                let objections = verdicts.into_iter().flat_map(|(_, verdict)| verdict.objections).collect();
                return Ok(Verdict { score: lowest, ..Verdict::blocked(objections) });
            }
            let mut new = None;
            for (at, verdict) in verdicts {
                match verdict.ruling {
                    Ruling::Transform(content) if new.is_none() => {
                        new = Some((at, content));
                        remarks.extend(verdict.remarks);
                    }
                    // It is asked again, about what the first has made of it.
                    Ruling::Transform(_) | Ruling::Block => {}
                    Ruling::Allow => {
                        approvals.allow(at);
                        remarks.extend(verdict.remarks);
                    }
                    Ruling::Abstain => approvals.abstain(at),
                }
            }
            if let Some((at, content)) = new {
                now = content;
                if approvals.transform(at).is_err() {
                    return Ok(self.block_by(at, "unstable", lowest));
                }
            }
        }
        if let Settled::Undecided(guard) = approvals.settle(may_abstain) {
            return Ok(self.block_by(guard, "undecided", lowest));
        }
        Ok(pass(content, now, remarks, lowest))
    }

    fn block_by(&self, guard: usize, reason: &'static str, score: Option<f64>) -> Verdict<T, F> {
        let reason = Reason::from(reason);
        let objection = match self.members.get(guard) {
            Some(member) => Objection::by(&member.name, reason),
            None => Objection::new(reason),
        };
        Verdict { score, ..Verdict::blocked(vec![objection]) }
    }

    async fn anybody(&self, ctx: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        let all: Vec<usize> = (0..self.members.len()).collect();
        let rounds: Vec<&[usize]> = if self.in_turn { all.chunks(1).collect() } else { vec![&all] };
        let (mut objections, mut highest) = (Vec::new(), None);
        for whom in rounds {
            let decided = |ended: &[Option<StageResult<Verdict<T, F>>>]| {
                let known = ended.iter().map_while(Option::as_ref);
                known.flatten().any(Verdict::lets_pass)
            };
            for (at, verdict) in self.verdicts(ctx, content, whom, decided).await? {
                if verdict.lets_pass() {
                    return Ok(verdict);
                }
                highest = verdict.score.into_iter().chain(highest).reduce(f64::max);
                if verdict.kind() == VerdictKind::Abstain {
                    objections.extend(self.block_by(at, "undecided", None).objections);
                }
                objections.extend(verdict.objections);
            }
        }
        Ok(Verdict { score: highest, ..Verdict::blocked(objections) })
    }

    async fn mean(&self, ctx: &StageContext, content: &Arc<T>, threshold: f64) -> StageResult<Verdict<T, F>> {
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Ok(Verdict::block("invalid_threshold"));
        }
        let all: Vec<usize> = (0..self.members.len()).collect();
        let rounds: Vec<&[usize]> = if self.in_turn { all.chunks(1).collect() } else { vec![&all] };
        let (mut sum, mut weights) = (0.0, 0.0);
        let (mut objections, mut remarks) = (Vec::new(), Vec::new());
        for whom in rounds {
            for (at, verdict) in self.verdicts(ctx, content, whom, |_| false).await? {
                let kind = verdict.kind();
                if kind == VerdictKind::Abstain {
                    continue;
                }
                let weight = self.members.get(at).map_or(0.0, |member| f64::from(member.weight));
                let plain = if kind == VerdictKind::Allow { 1.0 } else { 0.0 };
                sum += weight * verdict.score.unwrap_or(plain);
                weights += weight;
                if kind == VerdictKind::Transform {
                    objections.extend(self.block_by(at, "would_transform", None).objections);
                } else {
                    remarks.extend(verdict.remarks);
                }
                objections.extend(verdict.objections);
            }
        }
        if weights == 0.0 {
            objections.push(Objection::new(Reason::from("undecided")));
            return Ok(Verdict::blocked(objections));
        }
        let mean: f64 = sum / weights;
        if mean >= threshold {
            return Ok(Verdict { remarks, ..Verdict::allow() }.score(mean));
        }
        objections.push(Objection::new(Reason::from("below_threshold")));
        Ok(Verdict::blocked(objections).score(mean))
    }
}

/// What every guard has approved: the content as it came, or what it has become.
fn pass<T, F>(came: &Arc<T>, goes: Arc<T>, remarks: Vec<Remark>, score: Option<f64>) -> Verdict<T, F> {
    let ruling = if Arc::ptr_eq(came, &goes) { Ruling::Allow } else { Ruling::Transform(goes) };
    Verdict { ruling, score, objections: Vec::new(), remarks }
}

impl<T: Send + Sync + 'static, F: Send + 'static> Guard<T, F> for Guards<T, F> {
    async fn check(&self, ctx: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        if self.members.is_empty() {
            return Ok(Verdict::block("no_guards"));
        }
        match self.how {
            How::All | How::DenyOverrides => self.everybody(ctx, content).await,
            How::Any => self.anybody(ctx, content).await,
            How::Weighted(threshold) => self.mean(ctx, content, threshold).await,
        }
    }

    fn rules(&self) -> GuardRules {
        self.rules.clone()
    }
}

impl<T, F> Clone for Guards<T, F> {
    fn clone(&self) -> Self {
        Self {
            how: self.how,
            in_turn: self.in_turn,
            members: self.members.clone(),
            rules: self.rules.clone(),
        }
    }
}

impl<T, F> fmt::Debug for Guards<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.members.iter().map(|member| &member.name).collect();
        f.debug_struct("Guards")
            .field("how", &self.how)
            .field("in_turn", &self.in_turn)
            .field("guards", &names)
            .finish()
    }
}
