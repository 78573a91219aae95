//! A real collector, which others wrote: started as a process of its own, and read back from what it prints.
//!
//! Used by the tests of the exporter as well.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Where `cargo xtask provision` puts it, below the target directory.
const BINARY: &str = "tools/rotel-0.0.1a15/rotel/rotel-agent";

/// The collector, until it is dropped.
pub(crate) struct Collector {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    pub(crate) grpc: String,
    pub(crate) http: String,
}

/// A span, as the collector has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) trace: String,
    pub(crate) parent: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The names of its events.
    pub(crate) events: Vec<String>,
}

/// The binary, if it was provisioned: in the target directory that this program is in.
pub(crate) fn binary() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    own.ancestors().map(|folder| folder.join(BINARY)).find(|binary| binary.is_file())
}

impl Collector {
    /// Starts it, on two ports of its own.
    pub(crate) fn start(binary: &PathBuf) -> io::Result<Self> {
        let (grpc, http) = (free_port()?, free_port()?);
        let mut child = Command::new(binary)
            .args([
                "start",
                "--exporter",
                "blackhole",
                "--debug-log",
                "traces",
                "--debug-log-verbosity",
                "detailed",
            ])
            .args(["--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (out, lines) = (child.stdout.take(), Arc::clone(&printed));
        thread::spawn(move || {
            for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let started = Self { child, printed, grpc: format!("http://{grpc}"), http: format!("http://{http}") };
        for address in [&grpc, &http] {
            wait(Duration::from_secs(10), || TcpStream::connect(address).is_ok())
                .then_some(())
                .ok_or_else(|| io::Error::other("the collector does not listen"))?;
        }
        Ok(started)
    }

    /// The spans it has printed, once there are so many of them or some seconds have passed.
    pub(crate) fn spans(&self, count: usize) -> Vec<Seen> {
        wait(Duration::from_secs(5), || self.read().len() >= count);
        self.read()
    }

    fn read(&self) -> Vec<Seen> {
        let lines = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut service = String::new();
        let mut spans: Vec<Seen> = Vec::new();
        // What lines are about: the resource, the span, or one of its events.
        let (mut in_span, mut in_event) = (false, false);
        for line in lines.iter() {
            let line = line.trim();
            if line.starts_with("ResourceSpans #") {
                (in_span, in_event) = (false, false);
            } else if line.starts_with("Span #") {
                (in_span, in_event) = (true, false);
                spans.push(Seen { service: service.clone(), ..Seen::default() });
            } else if line.starts_with("SpanEvent #") {
                in_event = true;
            }
            let (key, value) = match (line.strip_prefix("-> "), line.split_once(':')) {
                (Some(attribute), _) => attribute.split_once(": ").unwrap_or((attribute, "")),
                (None, Some((key, value))) => (key.trim(), value.trim()),
                (None, None) => continue,
            };
            match spans.last_mut().filter(|_| in_span) {
                None if key == "service.name" => service = plain(value),
                Some(span) if in_event && key == "Name" => span.events.push(value.to_owned()),
                Some(span) if !in_event => span.note(key, value, line.starts_with("-> ")),
                _ => {}
            }
        }
        // The last one may be half printed.
        spans.retain(|span| span.end > 0);
        spans
    }
}

impl Seen {
    fn note(&mut self, key: &str, value: &str, is_attribute: bool) {
        if is_attribute {
            self.attributes.insert(key.to_owned(), plain(value));
            return;
        }
        let text = value.to_owned();
        match key {
            "Trace ID" => self.trace = text,
            "Parent ID" => self.parent = text,
            "ID" => self.id = text,
            "Name" => self.name = text,
            "Status code" => self.status = text,
            "Start time" => self.start = text.parse().unwrap_or(0),
            "End time" => self.end = text.parse().unwrap_or(0),
            _ => {}
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// `Str(acme)` is `acme`.
fn plain(value: &str) -> String {
    let inner = value.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(value).to_owned()
}

fn free_port() -> io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Waits for another process, which tells nobody.
fn wait(limit: Duration, ready: impl Fn() -> bool) -> bool {
    const STEP: Duration = Duration::from_millis(5);
    let steps = limit.as_millis() / STEP.as_millis();
    (0..steps).any(|_| {
        let is_ready = ready();
        if !is_ready {
            thread::park_timeout(STEP);
        }
        is_ready
    })
}
