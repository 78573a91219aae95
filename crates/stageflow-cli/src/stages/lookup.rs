//! `lookup` and `rank`: what is known about something, from a table or from texts.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stageflow::{plus::router::Phrase, prelude::*, spec::SpecError};

use super::{
    files::{Folder, Format, MOST, RelativePath, read},
    pointer::{Pointer, Reference, text_at, what},
    template::referred,
    values::given,
};

/// Gives the entry of a table that a text of its input names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupConfig {
    /// Where the key is.
    key: Pointer,
    /// The table itself; or `file`.
    #[serde(default)]
    table: Option<Map<String, Value>>,
    /// A JSON file that holds the table, relative to the folder of the pipeline; it is read at each run.
    #[serde(default)]
    file: Option<RelativePath>,
    /// What to give where the key is not in the table; without it the stage fails.
    #[serde(default, deserialize_with = "given")]
    otherwise: Option<Value>,
}

#[derive(Debug)]
pub(super) struct Lookup {
    key: Pointer,
    table: Table,
    otherwise: Option<Value>,
}

#[derive(Debug)]
enum Table {
    Here(Map<String, Value>),
    File(RelativePath),
}

impl Lookup {
    pub(super) fn new(config: LookupConfig) -> Result<Self, SpecError> {
        let table = match (config.table, config.file) {
            (Some(table), None) => Table::Here(table),
            (None, Some(file)) => Table::File(file),
            (None, None) => return Err(SpecError::new("it has no table").help("write `table` or `file`")),
            (Some(_), Some(_)) => {
                return Err(SpecError::new("it has two tables")
                    .at("/file")
                    .help("write `table` or `file`, not both"));
            }
        };
        Ok(Self { key: config.key, table, otherwise: config.otherwise })
    }
}

impl Stage for Lookup {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, ctx: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        let key = text_at(&input, &self.key).invalid()?;
        let found = match &self.table {
            Table::Here(table) => table.get(key).cloned(),
            Table::File(file) => match read(Folder::of(ctx)?, file.clone(), Format::Json, MOST).await? {
                Value::Object(mut table) => table.remove(key),
                other => {
                    return Err(format!("the table is {} and has to be an object", what(&other))).permanent();
                }
            },
        };
        let unknown = || format!("what {} names is not in the table", self.key.shown());
        found.or_else(|| self.otherwise.clone()).ok_or_else(unknown).permanent()
    }
}

/// Gives those of several documents that are most like a text, best first, each with its `score`.
///
/// Words that few documents hold weigh more, repetitions less and less (Robertson and Zaragoza: *The Probabilistic Relevance Framework:
/// BM25 and Beyond*, 2009). Documents that share no word with the text are left out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rank {
    /// The text.
    text: Reference,
    /// An array of documents.
    documents: Reference,
    /// Where the words of a document are.
    #[serde(default = "everywhere")]
    fields: Vec<Pointer>,
    /// So many are given at most.
    #[serde(default = "three")]
    top: usize,
}

fn everywhere() -> Vec<Pointer> {
    vec![Pointer::default()]
}

fn three() -> usize {
    3
}

impl Stage for Rank {
    type Input = StageInputs;
    type Output = Value;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, ctx: &StageContext, inputs: StageInputs) -> StageResult<Value> {
        let text = referred(&self.text, &inputs)?;
        let Value::String(text) = text else {
            return Err(format!("the text to compare with is {}", what(&text))).invalid();
        };
        let documents = referred(&self.documents, &inputs)?;
        let Value::Array(documents) = documents else {
            return Err(format!("the documents are {} and have to be an array", what(&documents))).invalid();
        };
        ctx.checkpoint()?;
        Ok(Value::Array(self.rank(&text, documents)))
    }
}

impl Rank {
    #[expect(clippy::cast_precision_loss, reason = "a score is a rough thing")]
    fn rank(&self, text: &str, documents: Vec<Value>) -> Vec<Value> {
        /// The usual constants: how soon repetitions count less, and how much length matters.
        const K: f64 = 1.2;
        const B: f64 = 0.75;
        let wanted: HashSet<String> = Phrase::words_of(text).collect();
        let mut counts: Vec<(HashMap<String, usize>, usize)> = Vec::with_capacity(documents.len());
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for document in &documents {
            let (mut count, mut length) = (HashMap::new(), 0);
            for field in &self.fields {
                for_each_text(field.get(document), &mut |text| {
                    for word in Phrase::words_of(text) {
                        length += 1;
                        if wanted.contains(&word) {
                            *count.entry(word).or_default() += 1;
                        }
                    }
                });
            }
            count.keys().for_each(|word| *holders.entry(word.clone()).or_default() += 1);
            counts.push((count, length));
        }
        let all = documents.len() as f64;
        let usual = counts.iter().map(|(_, length)| *length).sum::<usize>() as f64 / all.max(1.0);
        let score = |(count, length): &(HashMap<String, usize>, usize)| {
            // In the order of the words, so that sums are the same each time.
            let known = holders
                .iter()
                .filter_map(|(word, holders)| Some((*count.get(word)? as f64, *holders as f64)));
            let each = known.map(|(times, holders)| {
                let rarity = (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln();
                rarity * times * (K + 1.0) / (times + K * (1.0 - B + B * *length as f64 / usual.max(1.0)))
            });
            each.sum::<f64>()
        };
        let mut scored: Vec<(f64, Value)> = counts.iter().map(score).zip(documents).collect();
        scored.retain(|(score, _)| *score > 0.0);
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.truncate(self.top);
        let shown = scored.into_iter().map(|(score, document)| {
            let score = (score * 100.0).round() / 100.0;
            match document {
                Value::Object(mut fields) => {
                    fields.insert("score".to_owned(), json!(score));
                    Value::Object(fields)
                }
                other => json!({ "document": other, "score": score }),
            }
        });
        shown.collect()
    }
}

fn for_each_text(value: Option<&Value>, see: &mut impl FnMut(&str)) {
    match value {
        Some(Value::String(text)) => see(text),
        Some(Value::Array(items)) => items.iter().for_each(|item| for_each_text(Some(item), see)),
        Some(Value::Object(fields)) => fields.values().for_each(|field| for_each_text(Some(field), see)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {}
    }
}
