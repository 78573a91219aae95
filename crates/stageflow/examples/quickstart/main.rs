//! Reads every text and Markdown file of a folder, makes an index of them, and answers a question from it.
//!
//! ```text
//! cargo run --example quickstart                                 # this repository's docs/
//! cargo run --example quickstart -- ~/notes how do I bake bread
//! ```
//!
//! Begin with the two functions below: everything the pipeline is stands in them. What its stages do is in
//! `stages.rs`, which files there are in `folder.rs`, what you see in `screen.rs`.

mod args;
mod folder;
mod index;
mod screen;
mod stages;
mod text;

use std::{error::Error, process::ExitCode, sync::Arc};

use stageflow::{Completed, names, prelude::*};

use crate::{
    folder::{Folder, SourceFile},
    index::Answer,
    screen::Progress,
    stages::{Job, admit, answer, entry, index, sections, study, weigh, whole, write},
    text::{Entry, Length},
};

/// What happens to one file: a pipeline of its own.
fn document(file: SourceFile) -> Result<Pipeline<Job, Entry>, BuildError> {
    let mut p = Pipeline::builder("document");
    let job = p.input();
    let admit = blocking(move |_ctx, job: Arc<Job>| admit(&file, &job));
    let text = p.stage("admit", admit).kind(StageKind::Guard).inputs(job);
    let facts = p.stage("study", stage_fn(study)).kind(StageKind::Enrich).inputs(text);
    let length = p.stage("weigh", stage_fn(weigh)).kind(StageKind::Route).inputs(facts);
    let short = p.stage("whole", stage_fn(whole)).when(length, |l| *l == Length::Short).inputs(text);
    let long = p.stage("sections", stage_fn(sections)).when(length, |l| *l == Length::Long).inputs(text);
    let entry = p.stage("entry", stage_fn(entry)).inputs((text, facts, short.or(long))); // the branches join again
    p.build(entry)
}

/// What happens to all files: one stage for each, side by side, then the index, then the answer.
fn library(files: &[SourceFile]) -> Result<Pipeline<Job, Answer>, BuildError> {
    let documents = files.iter().cloned().map(document).collect::<Result<Vec<_>, _>>()?;
    let mut p = Pipeline::builder("library");
    p.on_failure(FailurePolicy::Continue); // a broken file takes nobody along
    let job = p.input();
    let entries = p.parallel("file", 0..files.len(), |i| documents[i].clone()).inputs(job);
    let readable = names::<String>([]).optional((0..entries.len()).map(|i| format!("file-{i:03}")));
    let index = p.stage("index", blocking(|ctx, files| index(&ctx, &files))).inputs(readable);
    let write = blocking(|ctx, index: Arc<_>| write(&ctx, &index));
    let file = p.stage("write", write).kind(StageKind::Work).inputs(index);
    let answer = blocking(|_ctx, (job, file): (Arc<Job>, Arc<_>)| answer(&job, &file));
    let answer = p.stage("answer", answer).inputs((job, file));
    p.build(answer)
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(stop) => return stop.print(),
    };
    let folder = match Folder::read(&args.folder) {
        Ok(folder) => folder,
        Err(error) => {
            screen::complain(format_args!("{error}"));
            return ExitCode::from(2);
        }
    };
    match run(&folder, args.question).await {
        Ok(code) => code,
        Err(error) => {
            screen::complain(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

/// Builds the pipeline, runs it, and shows what happens.
async fn run(folder: &Folder, question: String) -> Result<ExitCode, Box<dyn Error>> {
    let pipeline = library(&folder.files)?;
    screen::plan(folder, &document(folder.files[0].clone())?, &pipeline);

    let engine = Engine::builder().limit_kind(StageKind::Guard, 32).build()?; // so many files are open at a time
    let mut run = engine.start(&pipeline, Job::new(question));
    let mut events = run.events();
    let mut progress = Progress::new(pipeline.len());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => progress.show(&event),
                None => break,
            },
            Ok(()) = tokio::signal::ctrl_c() => run.cancel("you pressed Ctrl-C"),
        }
    }
    let ended = (&mut run).await;
    progress.clear();
    Ok(show(folder, ended))
}

/// The answer, what was left out and why, and the report; the exit code says whether there was an answer.
fn show(folder: &Folder, ended: Result<Completed<Answer>, RunError>) -> ExitCode {
    match ended {
        Ok(run) => {
            screen::answer(run.output());
            screen::left_out(folder, &run.report());
            screen::report(&run.report());
            screen::index_file(&run.output().index_file);
            ExitCode::SUCCESS
        }
        Err(error) => {
            if let Some(report) = error.report() {
                screen::left_out(folder, &report);
                screen::report(&report);
            }
            screen::error(&error);
            let cancelled = error.code() == stageflow::code::CANCELLED;
            if cancelled { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}
