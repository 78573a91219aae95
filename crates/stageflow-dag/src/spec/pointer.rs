//! Places in the data: marks while a pipeline is built, JSON pointers once something is wrong.

use super::{PipelineSpec, read::push};

/// What the marks of a build stand for: first the stages of the data, then places that were written out.
pub(super) struct Pointers<'s> {
    spec: &'s PipelineSpec,
    written: Vec<String>,
}

impl<'s> Pointers<'s> {
    pub(super) fn new(spec: &'s PipelineSpec) -> Self {
        Self { spec, written: Vec::new() }
    }

    /// The mark of a stage, by its place in the data.
    pub(super) fn of_stage(stage: u32) -> u32 {
        stage + 1
    }

    /// The mark of a place that is written out.
    pub(super) fn mark(&mut self, pointer: String) -> u32 {
        self.written.push(pointer);
        u32::try_from(self.spec.stages.len() + self.written.len()).unwrap_or(0)
    }

    /// The place that a mark stands for.
    pub(super) fn get(&self, mark: u32) -> Option<String> {
        let index = mark.checked_sub(1)? as usize;
        let stages = self.spec.stages.len();
        match index.checked_sub(stages) {
            None => self.spec.stages.get(index).map(|(name, _)| stage(name)),
            Some(index) => self.written.get(index).cloned(),
        }
    }
}

/// The place of a stage.
pub(super) fn stage(name: &str) -> String {
    let mut pointer = String::from("/stages");
    push(&mut pointer, name);
    pointer
}
