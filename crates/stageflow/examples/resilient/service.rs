//! A service that is not to be relied on: a profile store, a search index and a language model behind one address.

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};

/// When the search index is out of order, since the start.
pub(crate) const OUTAGE: std::ops::Range<Duration> = Duration::from_millis(800)..Duration::from_millis(1_600);
/// Of so many calls of the profile store one goes wrong.
pub(crate) const BROKEN: u32 = 4;
/// How many requests the model takes in any second.
pub(crate) const QUOTA: usize = 15;

/// What became of the requests of one address: how often there was which answer, by status; 0 for a lost connection.
pub(crate) type Seen = BTreeMap<String, BTreeMap<u16, u32>>;

/// The running service. It stops when dropped.
pub(crate) struct Service {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Service {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { began: Instant::now(), inner: Mutex::default() });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                // A connection ends with an error when the service loses it on purpose.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(Self { address, state, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> Seen {
        self.state.inner.lock().unwrap_or_else(PoisonError::into_inner).seen.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct State {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    seen: Seen,
    profiles: u32,
    /// When the model took its last requests.
    taken: VecDeque<Instant>,
}

/// What the service does with a request.
enum Verdict {
    Answer(&'static str),
    Refuse(StatusCode),
    TooMany(Duration),
    LoseConnection,
}

impl State {
    fn decide(&self, path: &str, now: Instant) -> Verdict {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = match path {
            "/profile" => inner.profile(),
            "/search" if OUTAGE.contains(&now.duration_since(self.began)) => {
                Verdict::Refuse(StatusCode::INTERNAL_SERVER_ERROR)
            }
            "/search" => Verdict::Answer("three sources"),
            "/complete" => inner.complete(now),
            _ => Verdict::Refuse(StatusCode::NOT_FOUND),
        };
        let status = match &verdict {
            Verdict::Answer(_) => 200,
            Verdict::Refuse(status) => status.as_u16(),
            Verdict::TooMany(_) => 429,
            Verdict::LoseConnection => 0,
        };
        *inner.seen.entry(path.to_owned()).or_default().entry(status).or_default() += 1;
        verdict
    }
}

impl Inner {
    fn profile(&mut self) -> Verdict {
        self.profiles += 1;
        match self.profiles % (2 * BROKEN) {
            0 => Verdict::LoseConnection,
            BROKEN => Verdict::Refuse(StatusCode::SERVICE_UNAVAILABLE),
            _ => Verdict::Answer("a customer since 2019"),
        }
    }

    fn complete(&mut self, now: Instant) -> Verdict {
        let second = Duration::from_secs(1);
        while self.taken.front().is_some_and(|taken| now.duration_since(*taken) >= second) {
            self.taken.pop_front();
        }
        match self.taken.front() {
            Some(first) if self.taken.len() >= QUOTA => Verdict::TooMany(second - now.duration_since(*first)),
            _ => {
                self.taken.push_back(now);
                Verdict::Answer("Your parcel is on its way.")
            }
        }
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (status, wait, text) = match state.decide(request.uri().path(), Instant::now()) {
        Verdict::Answer(text) => (StatusCode::OK, None, text),
        Verdict::Refuse(status) => (status, None, ""),
        Verdict::TooMany(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(wait), "too many requests"),
        Verdict::LoseConnection => return Err(Lost),
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    if let Some(wait) = wait {
        let seconds = wait.as_secs() + 1;
        response.headers_mut().insert("retry-after", seconds.into());
    }
    Ok(response)
}

/// A connection that the service closes without an answer.
#[derive(Debug)]
struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is lost on purpose")
    }
}

impl Error for Lost {}
