//! Events as bytes, for a process that reads back what it has itself put aside.

use std::{error::Error, fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{CustomEvent, Event, EventKind, EventRecord, FieldValue, Losses, RunInfo};
use crate::{code::Code, exit::FailSpec, id::RunId, outcome::Failure};

/// The first byte of every event. What is written in another format is not read.
const VERSION: u8 = 1;
/// How far a chain of causes is followed.
const CAUSES: usize = 64;

/// What events refer to and stays in memory: what all events of a run share, the codes, and some failures as they are.
#[derive(Debug, Default)]
pub struct Beside {
    runs: Vec<Arc<RunInfo>>,
    codes: Vec<Code>,
    failures: Vec<Failure>,
    room: usize,
}

impl Beside {
    /// So many failures stay as they are, with the error that the stage returned; of further ones the texts are kept.
    pub fn new(failures: usize) -> Self {
        Self { room: failures, ..Self::default() }
    }

    /// How many failures have stayed as they are.
    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    fn run(&mut self, run: &Arc<RunInfo>) -> u32 {
        let known = self.runs.iter().rposition(|known| Arc::ptr_eq(known, run));
        index(known.unwrap_or_else(|| push(&mut self.runs, Arc::clone(run))))
    }

    fn code(&mut self, code: Code) -> u32 {
        let known = self.codes.iter().position(|known| *known == code);
        index(known.unwrap_or_else(|| push(&mut self.codes, code)))
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> usize {
    list.push(item);
    list.len() - 1
}

fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Writes an event behind what there is. It calls `Display` of a failure's error.
pub(super) fn encode(event: &Event, beside: &mut Beside, out: &mut Vec<u8>) {
    let EventRecord { seq, nanos, stage, attempt, kind } = event.record();
    out.push(VERSION);
    put(out, &beside.run(event.run()).to_le_bytes());
    put(out, &seq.to_le_bytes());
    put(out, &nanos.to_le_bytes());
    put(out, &stage.to_le_bytes());
    put(out, &attempt.to_le_bytes());
    match kind {
        EventKind::PipelineStarted => out.push(0),
        EventKind::PipelineEnded { outcome, failure, cancelled } => {
            out.push(1);
            put_json(out, outcome);
            out.push(u8::from(failure.is_some()));
            failure.iter().for_each(|failure| put_failure(out, failure, beside));
            put_json(out, &cancelled.as_deref());
        }
        EventKind::StageStarted => out.push(2),
        EventKind::StageCompleted => out.push(3),
        EventKind::StageFailed(failure) => {
            out.push(4);
            put_failure(out, failure, beside);
        }
        EventKind::StageSkipped(cause) => {
            out.push(5);
            put_json(out, &**cause);
        }
        EventKind::StageCancelled(cause) => {
            out.push(6);
            put_json(out, &**cause);
        }
        EventKind::StageBlocked { by } => {
            out.push(7);
            put_text(out, by);
        }
        EventKind::ChildStarted { run } => {
            out.push(8);
            put_json(out, run);
        }
        EventKind::CleanUpFailed { error } => {
            out.push(9);
            put_text(out, error);
        }
        EventKind::Custom(custom) => {
            out.push(10);
            put_text(out, &custom.name);
            put(out, &index(custom.fields.len()).to_le_bytes());
            for (key, value) in &custom.fields {
                put_text(out, key);
                put_value(out, value);
            }
        }
        EventKind::Gap { dropped, losses } => {
            out.push(11);
            put(out, &dropped.to_le_bytes());
            put_losses(out, losses);
        }
    }
}

/// Reads an event, and leaves what stands behind it.
pub(super) fn decode(input: &mut &[u8], beside: &Beside) -> Option<Event> {
    if byte(input)? != VERSION {
        return None;
    }
    let run = beside.runs.get(word(input)? as usize)?;
    let (seq, nanos, stage, attempt) = (long(input)?, long(input)?, word(input)?, word(input)?);
    let kind = match byte(input)? {
        0 => EventKind::PipelineStarted,
        1 => EventKind::PipelineEnded {
            outcome: json(input)?,
            failure: if byte(input)? == 1 { Some(failure(input, beside)?) } else { None },
            cancelled: json::<Option<_>>(input)?.map(Arc::new),
        },
        2 => EventKind::StageStarted,
        3 => EventKind::StageCompleted,
        4 => EventKind::StageFailed(failure(input, beside)?),
        5 => EventKind::StageSkipped(Arc::new(json(input)?)),
        6 => EventKind::StageCancelled(Arc::new(json(input)?)),
        7 => EventKind::StageBlocked { by: text(input)?.into() },
        8 => EventKind::ChildStarted { run: json::<RunId>(input)? },
        9 => EventKind::CleanUpFailed { error: text(input)?.into() },
        10 => {
            let name = text(input)?.to_owned();
            let count = word(input)?;
            let field = |_| Some((text(input)?.to_owned(), value(input)?));
            EventKind::Custom(Arc::new(CustomEvent {
                name,
                fields: (0..count).map(field).collect::<Option<_>>()?,
            }))
        }
        11 => EventKind::Gap { dropped: long(input)?, losses: Arc::new(losses(input)?) },
        _ => return None,
    };
    Some(Event::new(Arc::clone(run), EventRecord { seq, nanos, stage, attempt, kind }))
}

fn put_failure(out: &mut Vec<u8>, failure: &Failure, beside: &mut Beside) {
    if beside.failures.len() < beside.room {
        out.push(0);
        let place = push(&mut beside.failures, failure.clone());
        return put(out, &index(place).to_le_bytes());
    }
    out.push(1);
    put(out, &beside.code(failure.code()).to_le_bytes());
    put_json(out, &failure.class());
    put_text(out, failure.stage());
    put(out, &failure.attempts().to_le_bytes());
    put_json(out, &failure.hint().filter(|hint| failure.code().hint() != Some(hint)));
    let mut causes = vec![failure.message()];
    let mut cause = failure.cause().source();
    while let Some(error) = cause.filter(|_| causes.len() < CAUSES) {
        causes.push(error.to_string());
        cause = error.source();
    }
    put_json(out, &causes);
}

fn failure(input: &mut &[u8], beside: &Beside) -> Option<Failure> {
    if byte(input)? == 0 {
        return beside.failures.get(word(input)? as usize).cloned();
    }
    let code = *beside.codes.get(word(input)? as usize)?;
    let class = json(input)?;
    let (stage, attempts) = (text(input)?, word(input)?);
    let hint = json::<Option<String>>(input)?.map(Into::into);
    let causes = json::<Vec<String>>(input)?;
    let retold = |below, text| Some(Box::new(Retold { text, below }));
    let error = causes.into_iter().rev().fold(None, retold)?;
    Some(Failure::new(stage, attempts, FailSpec { hint, ..FailSpec::new(code, class, error) }))
}

/// An error of which only the texts are left.
#[derive(Debug)]
struct Retold {
    text: String,
    below: Option<Box<Self>>,
}

impl fmt::Display for Retold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Retold {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.below.as_deref().map(|below| below as _)
    }
}

fn put_value(out: &mut Vec<u8>, value: &FieldValue) {
    match value {
        FieldValue::Text(text) => {
            out.push(0);
            put_text(out, text);
        }
        FieldValue::Int(number) => {
            out.push(1);
            put(out, &number.to_le_bytes());
        }
        FieldValue::Float(number) => {
            out.push(2);
            put(out, &number.to_bits().to_le_bytes());
        }
        FieldValue::Bool(truth) => {
            out.push(3);
            out.push(u8::from(*truth));
        }
    }
}

fn value(input: &mut &[u8]) -> Option<FieldValue> {
    Some(match byte(input)? {
        0 => FieldValue::Text(text(input)?.to_owned()),
        1 => FieldValue::Int(i64::from_le_bytes(take(input)?)),
        2 => FieldValue::Float(f64::from_bits(long(input)?)),
        3 => FieldValue::Bool(byte(input)? == 1),
        _ => return None,
    })
}

pub(super) fn put_losses(out: &mut Vec<u8>, losses: &Losses) {
    let (first, last) = losses.numbers.unwrap_or_default();
    out.push(u8::from(losses.numbers.is_some()));
    let counts = losses.classes.iter().chain(&losses.reasons);
    for number in [&first, &last, &losses.elsewhere].into_iter().chain(counts) {
        put(out, &number.to_le_bytes());
    }
}

pub(super) fn losses(input: &mut &[u8]) -> Option<Losses> {
    let known = byte(input)? == 1;
    let (first, last) = (long(input)?, long(input)?);
    let mut losses =
        Losses { numbers: known.then_some((first, last)), elsewhere: long(input)?, ..Losses::default() };
    for count in losses.classes.iter_mut().chain(&mut losses.reasons) {
        *count = long(input)?;
    }
    Some(losses)
}

pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, &(text.len() as u64).to_le_bytes());
    put(out, text.as_bytes());
}

fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    put_text(out, &serde_json::to_string(value).unwrap_or_default());
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*bytes)
}

pub(super) fn byte(input: &mut &[u8]) -> Option<u8> {
    take(input).map(u8::from_le_bytes)
}

fn word(input: &mut &[u8]) -> Option<u32> {
    take(input).map(u32::from_le_bytes)
}

pub(super) fn long(input: &mut &[u8]) -> Option<u64> {
    take(input).map(u64::from_le_bytes)
}

fn text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(long(input)?).ok()?;
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    str::from_utf8(text).ok()
}

fn json<T: DeserializeOwned>(input: &mut &[u8]) -> Option<T> {
    serde_json::from_str(text(input)?).ok()
}

#[cfg(test)]
mod tests;
