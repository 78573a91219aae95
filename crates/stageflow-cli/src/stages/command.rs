//! `command`: a program of the machine as a stage.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stageflow::{
    ErrorClass,
    prelude::*,
    spec::{HumanDuration, SpecError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use super::{
    files::{Folder, RelativePath},
    pointer::shown,
};

/// So much of what a program complains about is shown.
const COMPLAINT: usize = 600;
/// `EX_TEMPFAIL` of `sysexits.h`: the program says that it may work later.
const TRY_AGAIN: i32 = 75;

/// Runs a program: its input is on the standard input, and what the program prints is its output.
///
/// There is no shell: arguments are given as they are. The program runs in the folder of the pipeline, with the environment of
/// `stageflow` and `env`. It is killed when its time is up and when the run is cancelled, but programs that it has started itself are not. An exit code
/// other than 0 is a failure, with what the program has complained about; 75 is one that a retry may mend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandConfig {
    /// A name that is found in `PATH`, or `./path` for a program in the folder of the pipeline.
    program: String,
    /// Its arguments.
    #[serde(default)]
    args: Vec<String>,
    /// What its environment has besides.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// What it is given: the input as JSON, a text as it is, or nothing.
    #[serde(default)]
    stdin: Given,
    /// What it prints: JSON, a text, or lines.
    #[serde(default)]
    stdout: Printed,
    /// How long it may take.
    #[serde(default = "a_minute")]
    timeout: HumanDuration,
    /// Printing more is a failure.
    #[serde(default = "a_mebibyte")]
    max_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Given {
    #[default]
    Json,
    Text,
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Printed {
    #[default]
    Json,
    Text,
    Lines,
}

fn a_minute() -> HumanDuration {
    HumanDuration(Duration::from_secs(60))
}

fn a_mebibyte() -> usize {
    1 << 20
}

#[derive(Debug)]
pub(super) struct Program(CommandConfig);

impl Program {
    pub(super) fn new(config: CommandConfig) -> Result<Self, SpecError> {
        let refuse = |what: String, at: &str| Err(SpecError::new(what).at(at.to_owned()));
        let name = &config.program;
        if let Some(path) = name.strip_prefix("./") {
            if let Err(what) = RelativePath::parse(path) {
                return refuse(what, "/program");
            }
        } else if name.is_empty() || name.contains(['/', '\\', '\0']) {
            let what =
                "a program is a name that is found in `PATH`, or `./path` in the folder of the pipeline";
            return refuse(what.to_owned(), "/program");
        }
        if let Some(index) = config.args.iter().position(|arg| arg.contains('\0')) {
            return refuse("an argument has no NUL in it".to_owned(), &format!("/args/{index}"));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(name) = config.env.iter().find(|(name, value)| !is_name(name) || value.contains('\0')) {
            return refuse(format!("`{}` is no name of a variable, or has NUL in its value", name.0), "/env");
        }
        if config.timeout.0.is_zero() {
            return refuse("no program ends in no time".to_owned(), "/timeout");
        }
        Ok(Self(config))
    }

    fn start(&self, folder: &Folder) -> StageResult<Child> {
        let name = &self.0.program;
        let program = match name.strip_prefix("./") {
            Some(path) => folder.path().join(path),
            None => PathBuf::from(name),
        };
        // A relative program would be looked for from the folder it runs in.
        let program =
            if name.starts_with("./") { std::path::absolute(program).permanent()? } else { program };
        let child = Command::new(program)
            .args(&self.0.args)
            .envs(&self.0.env)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        child.map_err(|error| format!("`{name}` cannot be started: {error}")).permanent()
    }

    async fn talk(&self, ctx: &StageContext, child: &mut Child, input: &Value) -> StageResult<Value> {
        let name = &self.0.program;
        let given = match self.0.stdin {
            Given::Json => input.to_string(),
            Given::Text => shown(input).into_owned(),
            Given::Nothing => String::new(),
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async move {
            if let Some(mut stdin) = stdin {
                // A program need not read what it is given.
                let _ = stdin.write_all(given.as_bytes()).await;
                let _ = stdin.shutdown().await;
            }
        };
        let most = self.0.max_bytes;
        let (printed, complaint, ()) = tokio::join!(output(ctx, stdout, most), tail(ctx, stderr), write);
        let (printed, is_all) =
            printed.map_err(|error| format!("the output of `{name}` cannot be read: {error}")).transient()?;
        if !is_all {
            return Err(format!("`{name}` printed more than {most} bytes")).permanent();
        }
        let status = child.wait().await.transient()?;
        if !status.success() {
            let what = match status.code() {
                Some(code) => format!("`{name}` ended with exit code {code}"),
                None => format!("`{name}` ended with {status}"),
            };
            let what = if complaint.is_empty() { what } else { format!("{what}: {complaint}") };
            let class =
                if status.code() == Some(TRY_AGAIN) { ErrorClass::Transient } else { ErrorClass::Permanent };
            return Err(StageExit::fail(what).class(class));
        }
        let text = String::from_utf8(printed)
            .map_err(|_| format!("`{name}` printed something that is no UTF-8 text"))
            .permanent()?;
        match self.0.stdout {
            Printed::Text => Ok(text.trim_end_matches(['\r', '\n']).into()),
            Printed::Lines => Ok(text.lines().map(Value::from).collect()),
            Printed::Json => serde_json::from_str(&text)
                .map_err(|error| format!("`{name}` printed no JSON: {error}"))
                .permanent(),
        }
    }
}

impl Stage for Program {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Work;

    async fn run(&self, ctx: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        let mut child = self.start(Folder::of(ctx)?)?;
        let limit = Duration::from(self.0.timeout);
        let talked = tokio::time::timeout(limit, self.talk(ctx, &mut child, &input)).await;
        let ended = talked.unwrap_or_else(|_| {
            let what = format!("`{}` took longer than {}", self.0.program, self.0.timeout);
            Err(StageExit::fail(what).class(ErrorClass::Timeout))
        });
        if ended.is_err() {
            // It may be gone already.
            let _ = child.kill().await;
        }
        ended
    }
}

/// Reads at most so many bytes; says whether that was all.
async fn output(
    ctx: &StageContext,
    from: Option<impl AsyncRead + Unpin>,
    most: usize,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let Some(mut from) = from else { return Ok((bytes, true)) };
    let mut chunk = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut chunk).await?;
        ctx.progress();
        bytes.extend(chunk.iter().take(read));
        match read {
            0 => return Ok((bytes, true)),
            _ if bytes.len() > most => return Ok((bytes, false)),
            _ => {}
        }
    }
}

/// The end of what a program complains about, in one line.
async fn tail(ctx: &StageContext, from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        let mut chunk = vec![0; 4 << 10];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            ctx.progress();
            bytes.extend(chunk.iter().take(read));
            bytes.drain(..bytes.len().saturating_sub(COMPLAINT));
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
