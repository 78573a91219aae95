//! Starts the processes, kills one, stops another, answers while there is none, and counts what was done.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use stageflow::{Engine, RunId, durable::Answered, store::SqliteStore};

use crate::{
    order::{APPROVAL, Approval, World},
    worker::MARK,
};

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Tells a process that it is a worker, and where.
const FOLDER: &str = "STAGEFLOW_EXAMPLE_FOLDER";

pub(crate) fn folder_of_worker() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// The whole story; whether each thing was done once.
pub(crate) async fn show() -> Done<bool> {
    let folder = env::temp_dir().join(format!("stageflow-durable-{}", RunId::new()));
    fs::create_dir_all(&folder)?;
    let told = tell(&folder).await;
    fs::remove_dir_all(&folder)?;
    told
}

async fn tell(folder: &Path) -> Done<bool> {
    println!("An order in three processes, which share a file and nothing else.\n");

    println!("the first process");
    let mut first = Worker::start(folder)?;
    first.read_until(|line| line.starts_with("charge"))?;
    first.process.kill()?; // SIGKILL: nothing of it runs any more
    println!("  is killed, before that is written");
    first.process.wait()?;

    println!("the second process");
    let mut second = Worker::start(folder)?;
    second.read_until(|line| line.starts_with("approve"))?;
    // By the shell, as whoever deploys it would.
    Command::new("sh").args(["-c", &format!("kill -TERM {}", second.process.id())]).status()?;
    second.read_until(|_| false)?;
    if !second.process.wait()?.success() {
        return Err("the second process was to wind down".into());
    }

    println!("no process");
    println!("  {}", answer(folder).await?);

    println!("the third process");
    let mut third = Worker::start(folder)?;
    third.read_until(|_| false)?;
    if !third.process.wait()?.success() {
        return Err("the third process was to end the order".into());
    }

    Ok(count(&World::new(folder)))
}

/// What somebody in an office does, by a journal alone.
async fn answer(folder: &Path) -> Done<String> {
    let office = Engine::builder().journal(SqliteStore::open(folder.join("orders.db"))?).build()?;
    let left = office.unfinished("acme", None, 1).await?;
    let run = left.first().ok_or("the order is gone")?.key.run();
    let open = office.pauses("acme", run).await?;
    let question = open.first().ok_or("nobody asks")?;
    let said = Approval { by: "Grace".to_owned() };
    match office.answer("acme", run, &APPROVAL, said).await? {
        Answered::Taken => Ok(format!("{:<8} is answered by Grace all the same", question.stage)),
        other => Err(format!("the answer was not taken: {other:?}").into()),
    }
}

fn count(world: &World) -> bool {
    println!("\n{:<10}{:>6}{:>6}", "", "called", "done");
    let mut is_right = true;
    for (stage, calls, effects) in [("reserve", 1, 1), ("charge", 2, 1), ("approve", 2, 0), ("ship", 1, 1)] {
        let (called, done) = world.counts(stage);
        is_right &= (called, done) == (calls, effects);
        let done = if effects == 0 { "–".to_owned() } else { done.to_string() };
        println!("{stage:<10}{called:>6}{done:>6}");
    }
    let verdict = if is_right {
        "Called again: what had not ended. Done twice: nothing."
    } else {
        "That is not what was promised."
    };
    println!("\n{verdict}");
    is_right
}

/// A process, and what it says.
struct Worker {
    process: Child,
    said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Worker {
    fn start(folder: &Path) -> Done<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.env(FOLDER, folder).stdout(Stdio::piped());
        if cfg!(test) {
            command.args(["--exact", "tests::worker", "--nocapture"]);
        }
        let mut process = command.spawn()?;
        let said = process.stdout.take().ok_or("it says nothing")?;
        Ok(Self { process, said: BufReader::new(said).lines() })
    }

    /// Passes on what it says, to a line or to its end.
    fn read_until(&mut self, is_last: impl Fn(&str) -> bool) -> Done<()> {
        for line in self.said.by_ref() {
            let line = line?;
            let Some((_, line)) = line.split_once(MARK) else { continue };
            println!("  {line}");
            if is_last(line) {
                break;
            }
        }
        Ok(())
    }
}
