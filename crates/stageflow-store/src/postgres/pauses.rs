//! Pauses of runs in PostgreSQL.

use stageflow_core::{
    UserId,
    durable::{Answered, Encoded, PauseRecord, PauseState, RunKey},
};
use tokio_postgres::Row;

use super::{
    access::{Access, Statement},
    columns::{self, Id},
    journal::text,
    trouble::Trouble,
};
use crate::rows;

const LEASED: &str = "
UPDATE stageflow.runs SET lease_until = clock_timestamp() + make_interval(secs => $4::float8)
WHERE tenant = $1 AND run = $2 AND epoch = $3 AND outcome IS NULL
RETURNING run";

const STANDS: &str = "
SELECT epoch = $3 AND outcome IS NOT NULL FROM stageflow.runs WHERE tenant = $1 AND run = $2";

const PAUSE: &str = "
INSERT INTO stageflow.pauses (tenant, run, token, stage, opened, expires)
SELECT $1, $2, $4, $5, $6, $7
WHERE EXISTS (SELECT FROM stageflow.runs WHERE tenant = $1 AND run = $2 AND epoch = $3 AND outcome IS NULL)
ON CONFLICT (tenant, run, token) DO NOTHING";

const PAUSED: &str = "
SELECT expires, answer_version, answer,
    COALESCE(expires <= (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint, false)
FROM stageflow.pauses WHERE tenant = $1 AND run = $2 AND token = $3";

const ANSWER: &str = "
UPDATE stageflow.pauses SET answer_version = $4, answer = $5, answered_by = $6, call = $7
WHERE tenant = $1 AND run = $2 AND token = $3 AND answer_version IS NULL
    AND COALESCE(expires > (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint, true)
    AND EXISTS (SELECT FROM stageflow.runs WHERE tenant = $1 AND run = $2 AND outcome IS NULL)";

const ANSWERED: &str = "
SELECT p.call IS NOT NULL AND p.call = $4, p.answer_version IS NOT NULL,
    EXISTS (SELECT FROM stageflow.runs AS r WHERE r.tenant = $1 AND r.run = $2 AND r.outcome IS NULL)
FROM stageflow.pauses AS p WHERE p.tenant = $1 AND p.run = $2 AND p.token = $3";

const PAUSES: &str = "
SELECT stage, token, opened, expires FROM stageflow.pauses
WHERE tenant = $1 AND run = $2 AND answer_version IS NULL
    AND COALESCE(expires > (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint, true)
    AND EXISTS (SELECT FROM stageflow.runs WHERE tenant = $1 AND run = $2 AND outcome IS NULL)
ORDER BY opened, token";

fn state(row: &Row) -> Result<PauseState, Trouble> {
    let answer = rows::encoded(row.try_get(1)?, row.try_get(2)?)?;
    let (expires, expired): (Option<i64>, bool) = (row.try_get(0)?, row.try_get(3)?);
    Ok(match answer {
        Some(answer) => PauseState::Answered(answer),
        None if expired => PauseState::Expired,
        None => PauseState::Open { expires: expires.map(rows::time_of) },
    })
}

pub(super) async fn pause(
    access: &Access,
    key: &RunKey,
    epoch: i64,
    record: &PauseRecord,
    lease: f64,
) -> Result<PauseState, Trouble> {
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let (stage, opened) = (text(&record.stage), rows::nanos_of(record.opened));
    let expires = record.expires.map(rows::nanos_of);
    let statements: [Statement<'_>; 4] = [
        (LEASED, vec![&tenant, &run, &epoch, &lease]),
        (PAUSE, vec![&tenant, &run, &epoch, &record.token, &stage, &opened, &expires]),
        (PAUSED, vec![&tenant, &run, &record.token]),
        (STANDS, vec![&tenant, &run, &epoch]),
    ];
    let answers = access.with_tenant(key.tenant(), &statements).await?;
    if answers[0].is_empty() {
        let ended = answers[3].first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
        return Err(if ended { rows::ended(key) } else { rows::lost(key) }.into());
    }
    let row = answers[2].first().ok_or_else(|| rows::lost(key))?;
    state(row)
}

pub(super) async fn answer(
    access: &Access,
    key: &RunKey,
    token: &str,
    answer: &Encoded,
    by: Option<&UserId>,
    call: Id,
) -> Result<Answered, Trouble> {
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let (version, by) = (i64::from(answer.version), by.map(|by| text(by.as_str())));
    let statements: [Statement<'_>; 2] = [
        (ANSWER, vec![&tenant, &run, &token, &version, &answer.bytes, &by, &call]),
        (ANSWERED, vec![&tenant, &run, &token, &call]),
    ];
    let answers = access.with_tenant(key.tenant(), &statements).await?;
    let Some(row) = answers[1].first() else { return Ok(Answered::NotWaiting) };
    let (ours, answered, going_on): (bool, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(match (ours, answered, going_on) {
        (true, ..) => Answered::Taken,
        (_, true, _) => Answered::AlreadyAnswered,
        (_, _, false) => Answered::NotWaiting,
        _ => Answered::Expired,
    })
}

pub(super) async fn pause_state(
    access: &Access,
    key: &RunKey,
    token: &str,
) -> Result<Option<PauseState>, Trouble> {
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let answers = access.with_tenant(key.tenant(), &[(PAUSED, vec![&tenant, &run, &token])]).await?;
    answers[0].first().map(state).transpose()
}

pub(super) async fn pauses(access: &Access, key: &RunKey) -> Result<Vec<PauseRecord>, Trouble> {
    let (tenant, run) = (rows::tenant(key.tenant())?, columns::id(key.run()));
    let answers = access.with_tenant(key.tenant(), &[(PAUSES, vec![&tenant, &run])]).await?;
    let records = answers[0].iter().map(|row| {
        Ok(PauseRecord {
            stage: row.try_get(0)?,
            token: row.try_get(1)?,
            opened: rows::time_of(row.try_get(2)?),
            expires: row.try_get::<_, Option<i64>>(3)?.map(rows::time_of),
        })
    });
    records.collect()
}
