//! Group commit: one task writes what all runs have asked for since its last transaction.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use deadpool_postgres::Pool;
use stageflow_core::{
    TenantId,
    durable::{JournalError, JournalErrorKind},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    access::{Connection, Statement},
    batch::{self, Chain, Columns, Request, WRITE},
    columns::{self, Id},
    leases::Held,
    trouble::{Trouble, late},
};
use crate::rows;

/// How a run stands, and what it has of some entries.
const STATE: &str = "SELECT epoch, next_seq, outcome FROM stageflow.runs WHERE tenant = $1 AND run = $2";
const LINES: &str = "SELECT count(*) FROM stageflow.entries AS e
JOIN unnest($3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bytea[]) AS line(seq, at, kind, payload_version, payload)
    ON e.seq = line.seq AND e.at = line.at AND e.kind = line.kind
        AND e.payload_version IS NOT DISTINCT FROM line.payload_version AND e.payload IS NOT DISTINCT FROM line.payload
WHERE e.tenant = $1 AND e.run = $2 AND e.epoch = $8";

const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The task that writes.
pub(super) struct Writer {
    pub(super) pool: Pool,
    pub(super) queue: mpsc::UnboundedReceiver<Request>,
    pub(super) held: Held,
    pub(super) lease: Duration,
    /// How long one transaction may take.
    pub(super) within: Duration,
    pub(super) connection: Option<Connection>,
}

impl Writer {
    /// Writes until nobody can ask any more and everything is written.
    pub(super) async fn run(mut self) {
        let mut waiting = VecDeque::new();
        while let Some(first) = self.queue.recv().await {
            waiting.push_back(first);
            while !waiting.is_empty() {
                while let Ok(next) = self.queue.try_recv() {
                    waiting.push_back(next);
                }
                let chains = batch::take(&mut waiting);
                self.settle(chains).await;
            }
        }
    }

    /// Writes chains until each has its answer.
    async fn settle(&mut self, mut chains: Vec<Chain>) {
        let (mut pause, longest) = PAUSES;
        let mut last: Option<Arc<JournalError>> = None;
        loop {
            let now = Instant::now();
            let (live, gone): (Vec<_>, Vec<_>) = chains
                .into_iter()
                .partition(|chain| chain.requests.iter().any(|request| request.until > now));
            for chain in gone {
                chain.refused(
                    &last.clone().unwrap_or_else(|| Arc::new(late("the queue of what is to be written"))),
                );
            }
            if live.is_empty() {
                return;
            }
            chains = live;
            match self.write(&chains).await {
                Ok(written) => {
                    chains = self.answer(chains, &written).await;
                    if chains.is_empty() {
                        return;
                    }
                }
                Err(Trouble { error, retry: false }) if chains.len() > 1 => {
                    // One of them is in the way of all: each goes alone.
                    drop(error);
                    for chain in chains {
                        Box::pin(self.settle(vec![chain])).await;
                    }
                    return;
                }
                Err(Trouble { error, retry: false }) => {
                    let error = Arc::new(error);
                    for chain in chains {
                        chain.refused(&error);
                    }
                    return;
                }
                Err(Trouble { error, .. }) => {
                    self.connection = None;
                    for chain in &mut chains {
                        chain.unsure = true;
                    }
                    last = Some(Arc::new(error));
                    tokio::time::sleep(pause).await;
                    pause = longest.min(pause * 2);
                }
            }
        }
    }

    /// One transaction. Gives the runs that have what was asked for.
    async fn write(&mut self, chains: &[Chain]) -> Result<BTreeSet<(TenantId, Id)>, Trouble> {
        let mut tenants: BTreeMap<&TenantId, Vec<&Chain>> = BTreeMap::new();
        for chain in chains {
            tenants.entry(chain.key().tenant()).or_default().push(chain);
        }
        let columns: Vec<_> = tenants
            .iter()
            .map(|(tenant, chains)| (*tenant, Columns::of(tenant, chains, self.lease)))
            .collect();
        let statements: Vec<_> =
            columns.iter().map(|(tenant, columns)| (*tenant, [(WRITE, columns.parameters())])).collect();
        let work: Vec<(&TenantId, &[Statement<'_>])> =
            statements.iter().map(|(tenant, statement)| (*tenant, statement.as_slice())).collect();
        let answers = self.transaction(&work).await?;
        let written = work.iter().zip(answers).flat_map(|((tenant, _), rows)| {
            rows.into_iter().map(|row| row.try_get(0).map(|run: Id| ((*tenant).clone(), run)))
        });
        Ok(written.collect::<Result<_, _>>()?)
    }

    /// On the connection of the writer, which it keeps.
    async fn transaction(
        &mut self,
        work: &[(&TenantId, &[Statement<'_>])],
    ) -> Result<Vec<Vec<tokio_postgres::Row>>, Trouble> {
        let asked = async {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => Connection::of(&self.pool).await?,
            };
            let answer = connection.transaction(work).await;
            if answer.is_ok() {
                self.connection = Some(connection);
            }
            answer
        };
        match tokio::time::timeout(self.within, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble { error: late("a transaction of the journal"), retry: true }),
        }
    }

    /// Answers those that were written, and those that were not by how their run stands. Gives those that have to be asked for again.
    async fn answer(&mut self, chains: Vec<Chain>, written: &BTreeSet<(TenantId, Id)>) -> Vec<Chain> {
        let mut again = Vec::new();
        for mut chain in chains {
            let run = (chain.key().tenant().clone(), columns::id(chain.key().run()));
            if written.contains(&run) {
                if chain.requests.iter().any(Request::closes) {
                    self.held.drop(chain.key());
                }
                chain.written();
                continue;
            }
            match self.refusal(&chain).await {
                Ok(None) => chain.written(),
                Ok(Some(error)) => {
                    if error.kind() == JournalErrorKind::LeaseLost {
                        self.held.drop_lost(chain.key(), chain.epoch());
                    }
                    chain.refused(&Arc::new(error));
                }
                Err(Trouble { retry: true, .. }) => {
                    chain.unsure = true;
                    again.push(chain);
                }
                Err(Trouble { error, .. }) => chain.refused(&Arc::new(error)),
            }
        }
        again
    }

    /// Why a chain was not written; `None` if it was, by a transaction whose answer never came.
    async fn refusal(&mut self, chain: &Chain) -> Result<Option<JournalError>, Trouble> {
        let key = chain.key();
        let (tenant, run, epoch) = (key.tenant().as_str(), columns::id(key.run()), chain.epoch());
        let lines: Vec<_> = chain.lines().collect();
        let seqs: Vec<i64> = lines.iter().map(|line| line.seq).collect();
        let ats: Vec<i64> = lines.iter().map(|line| line.at).collect();
        let kinds: Vec<&str> = lines.iter().map(|line| line.kind.as_str()).collect();
        let payloads = lines.iter().map(|line| line.payload.as_ref());
        let versions: Vec<Option<i64>> =
            payloads.clone().map(|payload| payload.map(|payload| i64::from(payload.version))).collect();
        let bytes: Vec<Option<&[u8]>> =
            payloads.map(|payload| payload.map(|payload| payload.bytes.as_slice())).collect();
        let statements: [Statement<'_>; 2] = [
            (STATE, vec![&tenant, &run]),
            (LINES, vec![&tenant, &run, &seqs, &ats, &kinds, &versions, &bytes, &epoch]),
        ];
        let answers = self.transaction(&[(key.tenant(), &statements)]).await?;
        let there: i64 = answers[1][0].try_get(0)?;
        if chain.unsure && !lines.is_empty() && rows::number(there) == lines.len() as u64 {
            return Ok(None);
        }
        let Some(row) = answers[0].first() else { return Ok(Some(rows::lost(key))) };
        let (last_epoch, next, outcome): (i64, i64, Option<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Some(if last_epoch != epoch {
            rows::lost(key)
        } else if outcome.is_some() {
            rows::ended(key)
        } else if seqs.first().is_some_and(|first| *first != next) {
            let message = format!("entry {} of {key} does not follow entry {}", seqs[0], next - 1);
            JournalError::new(JournalErrorKind::Unavailable, message)
                .hint("what stands between was not written: see why, and resume the run")
        } else {
            // It was locked away from us, and is not any more.
            return Err(Trouble { error: late("the row of a run"), retry: true });
        }))
    }
}
