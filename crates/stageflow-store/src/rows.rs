//! How runs, entries, answers and keys look in a row: the same in every back end.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stageflow_core::{
    Code, ContextSnapshot, ErrorClass, RunId, TenantId, code,
    durable::{Codec, Encoded, Entry, EntryKind, JournalError, JournalErrorKind, RunHeader, RunKey},
    idempotency::{Answer, StoreKey, StoredFailure},
};

/// The longest tenant, in bytes.
const TENANT_BYTES: usize = 255;

/// The tenant as a part of a key.
///
/// # Errors
///
/// It is empty, longer than 255 bytes, or has control characters.
pub(crate) fn tenant(tenant: &TenantId) -> Result<&str, JournalError> {
    let text = tenant.as_str();
    let wrong = if text.is_empty() {
        "it is empty"
    } else if text.len() > TENANT_BYTES {
        "it is longer than 255 bytes"
    } else if text.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(text);
    };
    Err(JournalError::new(JournalErrorKind::Tenant, format!("a tenant cannot be a key: {wrong}")))
}

/// The time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "what is compared across processes, and with what others have written"
)]
pub(crate) fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// A time as nanoseconds since 1970, which a column holds; times before are 1970, those after 2262 the last that fits.
pub(crate) fn nanos_of(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The time of a column.
pub(crate) fn time_of(nanos: i64) -> SystemTime {
    let since = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time a while from now, as a column.
#[cfg(feature = "sqlite")]
pub(crate) fn nanos_in(time: Duration) -> i64 {
    nanos_of(wall_now()).saturating_add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// What of a header has no column of its own. It is written like a payload, so that sensitive extensions come back.
#[derive(Serialize, Deserialize)]
struct HeaderBody {
    snapshot: ContextSnapshot,
    seed: u64,
    branch_of: Option<RunId>,
}

/// A header, as text.
pub(crate) fn header_text(header: &RunHeader) -> Result<String, JournalError> {
    let body =
        HeaderBody { snapshot: header.snapshot.clone(), seed: header.seed, branch_of: header.branch_of };
    let encoded = Codec::json().encode(&body).map_err(|error| unwritable(&header.key, &error))?;
    String::from_utf8(encoded.bytes).map_err(|error| unwritable(&header.key, &error))
}

/// The header that was written so.
pub(crate) fn header(
    key: &RunKey,
    text: &str,
    started: i64,
    input: Option<Encoded>,
) -> Result<RunHeader, JournalError> {
    let body: HeaderBody =
        serde_json::from_str(text).map_err(|error| unreadable(&format!("the header of {key}"), error))?;
    Ok(RunHeader {
        key: key.clone(),
        snapshot: body.snapshot,
        input,
        started: time_of(started),
        seed: body.seed,
        branch_of: body.branch_of,
    })
}

/// What an entry says, as text.
pub(crate) fn kind_text(key: &RunKey, kind: &EntryKind) -> Result<String, JournalError> {
    serde_json::to_string(kind).map_err(|error| unwritable(key, &error))
}

/// The entry that was written so.
pub(crate) fn entry(
    key: &RunKey,
    seq: i64,
    at: i64,
    kind: &str,
    payload: Option<Encoded>,
) -> Result<Entry, JournalError> {
    let what = || format!("entry {seq} of {key}");
    let kind = serde_json::from_str(kind).map_err(|error| unreadable(&what(), error))?;
    let seq = u64::try_from(seq).map_err(|error| unreadable(&what(), error))?;
    Ok(Entry { seq, at: u64::try_from(at).unwrap_or_default(), kind, payload })
}

/// A number as a column, which has a sign.
pub(crate) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A column as a number.
pub(crate) fn number(column: i64) -> u64 {
    u64::try_from(column).unwrap_or_default()
}

/// A value in two columns: its version, and its bytes.
pub(crate) fn encoded(version: Option<i64>, bytes: Option<Vec<u8>>) -> Result<Option<Encoded>, JournalError> {
    let (Some(version), Some(bytes)) = (version, bytes) else { return Ok(None) };
    let version = u32::try_from(version).map_err(|error| unreadable("the version of a value", error))?;
    Ok(Some(Encoded::new(version, bytes)))
}

/// How many bytes of a tenant an entry is.
pub(crate) fn entry_bytes(kind: &str, payload: Option<&Encoded>) -> u64 {
    (kind.len() + payload.map_or(0, |payload| payload.bytes.len())) as u64
}

/// Entries have to follow what was written before: else something between was not written.
pub(crate) fn follows(key: &RunKey, last: u64, entries: &[Entry]) -> Result<(), JournalError> {
    let mut last = last;
    for entry in entries {
        if Some(entry.seq) != last.checked_add(1) {
            let message = format!("entry {} of {key} does not follow entry {last}", entry.seq);
            return Err(JournalError::new(JournalErrorKind::Unavailable, message)
                .hint("what stands between was not written: see why, and resume the run"));
        }
        last = entry.seq;
    }
    Ok(())
}

/// Under what an answer is kept: the tenant, and the SHA-256 of all other parts, each after its length.
pub(crate) fn answer_key(key: &StoreKey) -> Result<(TenantId, [u8; 32]), JournalError> {
    let Some(of) = key.tenant() else {
        return Err(JournalError::new(
            JournalErrorKind::Tenant,
            format!("an answer of stage `{}` has no tenant", key.stage()),
        ));
    };
    let of = TenantId::from(of);
    tenant(&of)?;
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(key.user().unwrap_or_default());
    part(key.pipeline());
    part(key.stage());
    part(key.key().as_str());
    for step in key.path() {
        part(step);
    }
    Ok((of, hash.finalize().into()))
}

/// What is written of a failure.
#[derive(Serialize, Deserialize)]
struct FailureBody {
    code: String,
    class: ErrorClass,
    message: String,
    hint: Option<String>,
}

/// An answer in three columns: whether it is a failure, a version, and bytes.
pub(crate) fn answer_columns(answer: &Answer) -> Result<(bool, Encoded), JournalError> {
    match answer {
        Answer::Encoded(encoded) => Ok((false, encoded.clone())),
        Answer::Failure(failure) => {
            let body = FailureBody {
                code: failure.code().as_str().to_owned(),
                class: failure.class(),
                message: failure.message().to_owned(),
                hint: failure.hint().map(str::to_owned),
            };
            let bytes = serde_json::to_vec(&body).map_err(|error| {
                JournalError::new(JournalErrorKind::Corrupt, "a failure cannot be written").source(error)
            })?;
            Ok((true, Encoded::new(1, bytes)))
        }
        Answer::Output(_) => Err(JournalError::new(
            JournalErrorKind::Corrupt,
            "an output that is no bytes cannot be kept: the stage has no codec",
        )),
    }
}

/// The answer that was written so.
pub(crate) fn answer(is_failure: bool, encoded: Encoded) -> Result<Answer, JournalError> {
    if !is_failure {
        return Ok(Answer::Encoded(encoded));
    }
    let body: FailureBody = serde_json::from_slice(&encoded.bytes)
        .map_err(|error| unreadable("the failure of an answer", error))?;
    let failure = StoredFailure::new(known_code(&body.code), body.class, body.message);
    Ok(Answer::Failure(match body.hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }))
}

/// How many codes of applications are remembered: they are few and always the same, and live as long as the process.
const CODES: usize = 1_000;

/// A code as it was written. Those of applications are made once; past the bound they become `STAGE_FAILED`.
fn known_code(text: &str) -> Code {
    static MADE: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if let Some((known, _)) = code::ALL.iter().find(|(known, _)| known.as_str() == text) {
        return *known;
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = made.get(text) {
        return Code::new(known);
    }
    if made.len() >= CODES || text.len() > TENANT_BYTES {
        return code::STAGE_FAILED;
    }
    let new: &'static str = Box::leak(Box::from(text));
    made.insert(new);
    Code::new(new)
}

/// There is no such run, or not of this tenant.
pub(crate) fn not_found(key: &RunKey) -> JournalError {
    JournalError::new(JournalErrorKind::NotFound, format!("there is no {key}"))
}

/// There is such a run already.
pub(crate) fn exists(key: &RunKey) -> JournalError {
    JournalError::new(JournalErrorKind::Exists, format!("{key} was begun before"))
}

/// The run has ended.
pub(crate) fn ended(key: &RunKey) -> JournalError {
    JournalError::new(JournalErrorKind::Ended, format!("{key} has ended"))
}

/// Another process goes on with the run.
pub(crate) fn held(key: &RunKey, until: SystemTime) -> JournalError {
    JournalError::new(JournalErrorKind::LeaseHeld { until }, format!("another process goes on with {key}"))
}

/// Another process has taken the run over.
pub(crate) fn lost(key: &RunKey) -> JournalError {
    JournalError::new(
        JournalErrorKind::LeaseLost,
        format!("{key} was taken over: nothing is written under this lease"),
    )
}

/// What stands in the store is not what this code writes.
pub(crate) fn unreadable(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> JournalError {
    JournalError::new(JournalErrorKind::Corrupt, format!("{what} cannot be read: {error}")).source(error)
}

fn unwritable(key: &RunKey, error: &dyn std::error::Error) -> JournalError {
    JournalError::new(JournalErrorKind::Corrupt, format!("{key} cannot be written: {error}"))
}

/// An error for all who wait for the same thing.
pub(crate) fn same(error: &Arc<JournalError>) -> JournalError {
    let copy = JournalError::new(error.kind(), error.to_string()).hint(error.help().to_owned());
    copy.source(Arc::clone(error))
}
