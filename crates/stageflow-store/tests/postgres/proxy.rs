//! A way to the server that can be cut behind any message of the protocol.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// The name of the socket of a server on the port of PostgreSQL.
const SOCKET: &str = ".s.PGSQL.5432";

pub(crate) struct Proxy {
    folder: PathBuf,
    passed: Arc<AtomicU64>,
    accepts: JoinHandle<()>,
}

#[derive(Clone)]
struct Counter {
    passed: Arc<AtomicU64>,
    cut_at: u64,
    /// Whether a connection that is cut stays open, and says nothing more.
    silent: bool,
}

impl Proxy {
    /// Passes everything to the socket in `to`, in both directions, up to message number `cut_at`: the connection that this is on is
    /// closed instead. What comes after it passes.
    pub(crate) fn cutting(to: &Path, cut_at: u64) -> Self {
        Self::new(to, cut_at, false)
    }

    /// The same, but from then on nothing passes, and nothing is closed.
    pub(crate) fn silent_from(to: &Path, cut_at: u64) -> Self {
        Self::new(to, cut_at, true)
    }

    fn new(to: &Path, cut_at: u64, silent: bool) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sfpx-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder");
        let listener = UnixListener::bind(folder.join(SOCKET)).expect("a socket");
        let passed = Arc::<AtomicU64>::default();
        let counter = Counter { passed: Arc::clone(&passed), cut_at, silent };
        let server = to.join(SOCKET);
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), counter.clone()));
            }
        });
        Self { folder, passed, accepts }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many messages have passed.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// One connection, until one side ends or it is cut.
async fn pass(client: UnixStream, server: PathBuf, counter: Counter) {
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = messages(from_client, to_server, true, &counter) => {}
        () = messages(from_server, to_client, false, &counter) => {}
    }
}

/// Messages of one direction. The first of a client has no type, only its length.
async fn messages(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut start: bool,
    counter: &Counter,
) {
    loop {
        let head = if std::mem::take(&mut start) { 4 } else { 5 };
        let mut message = vec![0; head];
        if from.read_exact(&mut message).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes(message[head - 4..].try_into().expect("4 bytes"));
        message.resize(head - 4 + length as usize, 0);
        if from.read_exact(&mut message[head..]).await.is_err() {
            return;
        }
        let number = counter.passed.fetch_add(1, Ordering::Relaxed);
        if counter.silent && number >= counter.cut_at {
            return std::future::pending().await;
        }
        if number == counter.cut_at || to.write_all(&message).await.is_err() {
            return;
        }
    }
}
