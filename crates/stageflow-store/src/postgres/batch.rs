//! What is written in one transaction: for each run the entries that follow what it has.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use stageflow_core::{
    TenantId,
    durable::{Encoded, JournalError, RunKey, RunLease},
};
use tokio::{sync::oneshot, time::Instant};
use tokio_postgres::types::ToSql;

use super::{
    columns::{self, Id},
    releases::Releasing,
};
use crate::rows;

/// How much is written at once: beyond it the next transaction takes over.
const ENTRIES: usize = 2_000;
const BYTES: usize = 8 << 20;

/// An entry, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) kind: String,
    pub(super) payload: Option<Encoded>,
}

impl Line {
    fn bytes(&self) -> usize {
        self.kind.len() + self.payload.as_ref().map_or(0, |payload| payload.bytes.len())
    }
}

/// What was asked of the writer.
pub(super) struct Request {
    pub(super) key: RunKey,
    pub(super) lease: RunLease,
    pub(super) lines: Vec<Line>,
    /// How the run ends with it, and when.
    pub(super) ended: Option<(&'static str, i64)>,
    /// The lease is given back.
    pub(super) release: Option<Releasing>,
    pub(super) done: Option<oneshot::Sender<Result<(), JournalError>>>,
    /// When nobody waits any more.
    pub(super) until: Instant,
}

impl Request {
    pub(super) fn answer(self, answer: Result<(), JournalError>) {
        if let Some(done) = self.done {
            let _nobody_waits = done.send(answer);
        }
    }

    pub(super) fn closes(&self) -> bool {
        self.release.is_some() || self.ended.is_some()
    }
}

/// Requests for one run, each of which follows the one before.
pub(super) struct Chain {
    pub(super) requests: Vec<Request>,
    /// Whether it was sent before, and no answer came: it may have been written.
    pub(super) unsure: bool,
}

impl Chain {
    pub(super) fn key(&self) -> &RunKey {
        &self.requests[0].key
    }

    pub(super) fn epoch(&self) -> i64 {
        rows::column(self.requests[0].lease.epoch)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.requests.iter().flat_map(|request| &request.lines)
    }

    fn takes(&self, request: &Request) -> bool {
        let last = self.lines().last().map(|line| line.seq);
        let next = request.lines.first().map(|line| line.seq);
        let follows = match (last, next) {
            (Some(last), Some(next)) => last.checked_add(1) == Some(next),
            _ => true,
        };
        let closed = self.requests.last().is_some_and(Request::closes);
        !closed && follows && self.requests[0].lease == request.lease
    }

    /// It is durable.
    pub(super) fn written(self) {
        for request in self.requests {
            request.answer(Ok(()));
        }
    }

    /// It is not. Of several requests only the first is refused for itself; what is said of it holds for all that follow it.
    pub(super) fn refused(self, error: &Arc<JournalError>) {
        for request in self.requests {
            request.answer(Err(rows::same(error)));
        }
    }
}

/// Takes from what waits what can be written at once. What of a run does not follow stays, with all of the run behind it.
pub(super) fn take(waiting: &mut VecDeque<Request>) -> Vec<Chain> {
    let mut chains: BTreeMap<RunKey, Chain> = BTreeMap::new();
    let mut stay = VecDeque::new();
    let mut stuck = BTreeSet::new();
    let (mut entries, mut bytes) = (0, 0);
    while let Some(request) = waiting.pop_front() {
        let full = entries >= ENTRIES || bytes >= BYTES;
        let fits = chains.get(&request.key).is_none_or(|chain| chain.takes(&request));
        if full || !fits || stuck.contains(&request.key) {
            stuck.insert(request.key.clone());
            stay.push_back(request);
            continue;
        }
        entries += request.lines.len() + 1;
        bytes += request.lines.iter().map(Line::bytes).sum::<usize>();
        let empty = || Chain { requests: Vec::new(), unsure: false };
        chains.entry(request.key.clone()).or_insert_with(empty).requests.push(request);
    }
    *waiting = stay;
    chains.into_values().collect()
}

/// Writes the entries of all runs whose lease is the last and whose entries follow, prolongs their leases, and gives those runs.
pub(super) const WRITE: &str = "
WITH asked AS (
    SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::boolean[])
        AS asked(run, epoch, first, next, outcome, ended, free)
), leased AS (
    UPDATE stageflow.runs AS r
    SET next_seq = COALESCE(asked.next, r.next_seq), outcome = asked.outcome, ended = asked.ended,
        lease_until = CASE WHEN asked.free THEN NULL ELSE clock_timestamp() + make_interval(secs => $9::float8) END
    FROM asked
    WHERE r.tenant = $1 AND r.run = ANY($2::uuid[]) AND r.run = asked.run AND r.epoch = asked.epoch AND r.outcome IS NULL
        AND (asked.first IS NULL OR r.next_seq = asked.first)
    RETURNING r.run
), written AS (
    INSERT INTO stageflow.entries (tenant, run, seq, epoch, at, kind, payload_version, payload)
    SELECT $1, line.run, line.seq, line.epoch, line.at, line.kind, line.payload_version, line.payload
    FROM unnest($10::uuid[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::bytea[])
        AS line(run, seq, epoch, at, kind, payload_version, payload)
    JOIN leased USING (run)
)
SELECT run FROM leased";

/// The parameters of [`WRITE`] for the chains of one tenant.
#[derive(Default)]
pub(super) struct Columns<'a> {
    tenant: &'a str,
    lease: f64,
    runs: Vec<Id>,
    epochs: Vec<i64>,
    firsts: Vec<Option<i64>>,
    nexts: Vec<Option<i64>>,
    outcomes: Vec<Option<&'a str>>,
    ends: Vec<Option<i64>>,
    frees: Vec<bool>,
    of: Vec<Id>,
    seqs: Vec<i64>,
    under: Vec<i64>,
    ats: Vec<i64>,
    kinds: Vec<&'a str>,
    versions: Vec<Option<i64>>,
    payloads: Vec<Option<&'a [u8]>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(tenant: &'a TenantId, chains: &[&'a Chain], lease: Duration) -> Self {
        let mut all = Self { tenant: tenant.as_str(), lease: lease.as_secs_f64(), ..Self::default() };
        for chain in chains {
            all.add(chain);
        }
        all
    }

    fn add(&mut self, chain: &'a Chain) {
        let run = columns::id(chain.key().run());
        let ended = chain.requests.iter().find_map(|request| request.ended);
        self.runs.push(run);
        self.epochs.push(chain.epoch());
        self.firsts.push(chain.lines().next().map(|line| line.seq));
        self.nexts.push(chain.lines().last().map(|line| line.seq + 1));
        self.outcomes.push(ended.map(|(outcome, _)| outcome));
        self.ends.push(ended.map(|(_, at)| at));
        self.frees.push(chain.requests.iter().any(Request::closes));
        for line in chain.lines() {
            self.of.push(run);
            self.seqs.push(line.seq);
            self.under.push(chain.epoch());
            self.ats.push(line.at);
            self.kinds.push(&line.kind);
            self.versions.push(line.payload.as_ref().map(|payload| i64::from(payload.version)));
            self.payloads.push(line.payload.as_ref().map(|payload| payload.bytes.as_slice()));
        }
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.tenant,
            &self.runs,
            &self.epochs,
            &self.firsts,
            &self.nexts,
            &self.outcomes,
            &self.ends,
            &self.frees,
            &self.lease,
            &self.of,
            &self.seqs,
            &self.under,
            &self.ats,
            &self.kinds,
            &self.versions,
            &self.payloads,
        ]
    }
}
