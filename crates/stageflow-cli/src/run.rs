//! `run`: one run of a pipeline, watched and stoppable.

use std::time::Duration;

use serde_json::{Value, json};
use stageflow::{
    Completed, Engine, Pipeline, RunError, RunHandle, RunOutcome, RunReport,
    events::{JsonLines, SinkExt},
};

use crate::{
    Cli,
    args::{InputArg, RunArgs},
    exit::Exit,
    load::{Broken, load},
    progress::Progress,
    screen,
    signals::{Signal, Signals},
    stages::Folder,
};

/// The first number of the objects that `--json` prints; it changes when they mean something else.
pub(crate) const FORMAT: u32 = 1;
/// How long the sink of the events has for its last ones.
const FLUSH: Duration = Duration::from_secs(5);
/// So many events wait for the disk.
const EVENTS: usize = 100_000;

/// How a run ended.
enum Ended {
    Itself(Box<Result<Completed<Value>, RunError>>),
    /// Somebody did not want to wait for the clean-ups.
    AtOnce,
}

pub(crate) fn run(cli: &mut Cli, args: &RunArgs) -> Exit {
    let loaded = match load(&cli.registry, &args.file) {
        Ok(loaded) => loaded,
        Err(broken) => return refuse(&broken, args),
    };
    let input = match input(args.input.as_ref()) {
        Ok(input) => input,
        Err(what) => return problem(&what, Exit::Usage, args),
    };
    let mut engine = cli.engine();
    if let Some(file) = &args.events {
        if args.file.is(file) || matches!(&args.input, Some(InputArg::From(input)) if input.is(file)) {
            return problem("`--events` would replace what is read", Exit::Usage, args);
        }
        match JsonLines::create(file) {
            Ok(sink) => engine = engine.sink(sink.bounded(EVENTS)),
            Err(error) => {
                let what = format!("{}: events cannot be written there: {error}", file.display());
                return problem(&what, Exit::Output, args);
            }
        }
    }
    let engine = match engine.build() {
        Ok(engine) => engine,
        Err(error) => return problem(&error.to_string(), Exit::Spec, args),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return problem(&format!("no runtime can be started: {error}"), Exit::Failed, args),
    };
    let folder = Folder::new(args.file.folder());
    let (ended, signal) = runtime.block_on(drive(&engine, &loaded.pipeline, input, folder, args));
    let exit = match ended {
        Ended::Itself(ended) => show(&ended, signal, args),
        Ended::AtOnce => {
            let exit = signal.map_or(Exit::Interrupted, Signal::exit);
            problem("the run was abandoned; its clean-ups may be missing", exit, args)
        }
    };
    // Tasks that are left are dropped, and with them the programs that they have started.
    runtime.shutdown_timeout(Duration::from_millis(500));
    exit
}

fn input(arg: Option<&InputArg>) -> Result<Value, String> {
    let (text, name) = match arg {
        None => return Ok(Value::Null),
        Some(InputArg::Json(text)) => (text.clone(), "--input".to_owned()),
        Some(InputArg::From(source)) => {
            (source.read().map_err(|what| format!("{}: {what}", source.name()))?, source.name())
        }
    };
    serde_json::from_str(&text).map_err(|error| {
        let hint = if error.line() == 1 && matches!(arg, Some(InputArg::Json(_))) {
            "\n  = help: a text is written '\"text\"', and a file '@file'"
        } else {
            ""
        };
        format!("{name}: the input is no JSON: {error}{hint}")
    })
}

async fn drive(
    engine: &Engine,
    pipeline: &Pipeline<Value, Value>,
    input: Value,
    folder: Folder,
    args: &RunArgs,
) -> (Ended, Option<Signal>) {
    let mut builder = engine.run(pipeline, input).extension(folder);
    if let Some(deadline) = args.deadline {
        builder = builder.deadline(deadline);
    }
    if let Some(tenant) = &args.tenant {
        builder = builder.tenant(tenant.as_str());
    }
    let mut signals = Signals::new();
    let mut progress = Progress::new(pipeline.len(), args.quiet || args.json);
    let mut signal = None;
    let ended = watch(builder.start(), &mut signals, &mut progress, &mut signal).await;
    progress.clear();
    if args.events.is_some() && matches!(ended, Ended::Itself(_)) {
        engine.shutdown(FLUSH).await;
        for account in engine.sink_accounts() {
            if account.dropped() > 0 {
                screen::complain(format_args!("warning: {} events could not be written", account.dropped()));
            }
        }
    }
    (ended, signal)
}

async fn watch(
    mut run: RunHandle<Value>,
    signals: &mut Signals,
    progress: &mut Progress,
    stopped: &mut Option<Signal>,
) -> Ended {
    let mut events = run.events();
    let mut has_events = true;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            event = events.next(), if has_events => match event {
                Some(event) => progress.see(&event),
                None => has_events = false,
            },
            ended = &mut run, if !has_events => return Ended::Itself(Box::new(ended)),
            signal = signals.next() => {
                if stopped.is_some() {
                    return Ended::AtOnce;
                }
                *stopped = Some(signal);
                run.cancel(signal.reason());
                progress.clear();
                screen::complain(format_args!("{}: cancelling; once more to stop at once", signal.reason()));
            }
            _ = tick.tick() => progress.draw(true),
        }
    }
}

/// Prints output and report, and says how the command ends.
fn show(ended: &Result<Completed<Value>, RunError>, signal: Option<Signal>, args: &RunArgs) -> Exit {
    let (exit, report) = match ended {
        Ok(run) => (Exit::Done, Some(run.report())),
        Err(error) => (exit_of(error, signal), error.report()),
    };
    if args.json {
        let object = object(ended, report.as_ref(), exit);
        return screen::result(&format!("{object:#}\n"), exit);
    }
    if let Some(report) = report.filter(|_| !args.quiet) {
        screen::complain(report.to_string().trim_end());
    }
    match ended {
        Ok(run) => {
            let output = match run.output() {
                Value::String(text) => format!("{}\n", text.trim_end_matches('\n')),
                other => format!("{other:#}\n"),
            };
            if !args.quiet {
                screen::complain("");
            }
            screen::result(&output, exit)
        }
        Err(error) => {
            let hint = error.hint().map_or_else(String::new, |hint| format!("\n  = help: {hint}"));
            screen::complain(format_args!("error[{}]: {}{hint}", error.code(), with_cause(error)));
            exit
        }
    }
}

fn exit_of(error: &RunError, signal: Option<Signal>) -> Exit {
    match (error.outcome(), signal) {
        (Some(RunOutcome::Cancelled), Some(signal)) => signal.exit(),
        (Some(RunOutcome::Cancelled) | None, _) => Exit::Cancelled,
        _ => Exit::Failed,
    }
}

/// An error with what is behind it, in one line.
fn with_cause(error: &RunError) -> String {
    let text = match error.failure() {
        Some(failure) => format!("{error}: {}", failure.message()),
        None => error.to_string(),
    };
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

fn object(ended: &Result<Completed<Value>, RunError>, report: Option<&RunReport>, exit: Exit) -> Value {
    let outcome = match ended {
        Ok(run) => Some(run.outcome()),
        Err(error) => error.outcome(),
    };
    let error = ended.as_ref().err().map(|error| {
        json!({
            "code": error.code(),
            "message": with_cause(error),
            "help": error.hint(),
            "stage": error.failure().map(|failure| failure.stage().to_owned()).filter(|stage| !stage.is_empty()),
            "recoverable": error.recoverable(),
        })
    });
    json!({
        "format": FORMAT,
        "exit_code": exit.number(),
        "outcome": outcome.map_or_else(|| json!("refused"), |outcome| json!(outcome)),
        "output": ended.as_ref().ok().map(Completed::output),
        "error": error,
        "problems": [],
        "report": report,
    })
}

/// A run that did not come about because of its file.
fn refuse(broken: &Broken, args: &RunArgs) -> Exit {
    if !args.json {
        return broken.print(&args.file);
    }
    let object = json!({
        "format": FORMAT,
        "exit_code": broken.exit().number(),
        "outcome": "refused",
        "output": null,
        "error": { "code": null, "message": broken.message(&args.file), "help": null, "stage": null, "recoverable": false },
        "problems": broken.problems(),
        "report": null,
    });
    screen::result(&format!("{object:#}\n"), broken.exit())
}

/// A run that did not come about, or has no report, for another reason.
fn problem(what: &str, exit: Exit, args: &RunArgs) -> Exit {
    screen::complain(format_args!("error: {what}"));
    if !args.json {
        return exit;
    }
    let object = json!({
        "format": FORMAT,
        "exit_code": exit.number(),
        "outcome": "refused",
        "output": null,
        "error": { "code": null, "message": what, "help": null, "stage": null, "recoverable": false },
        "problems": [],
        "report": null,
    });
    screen::result(&format!("{object:#}\n"), exit)
}
