//! [`PostgresStore`]: journals, answers and audit records in PostgreSQL, where row-level security keeps tenants apart.

mod access;
mod answers;
mod audit;
mod batch;
mod columns;
mod data;
mod guard;
mod journal;
mod leases;
mod pauses;
mod releases;
mod schema;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

use std::{fmt, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use stageflow_core::durable::JournalError;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_postgres::{
    Config, NoTls, Socket,
    config::Host,
    tls::{MakeTlsConnect, TlsConnect},
};

pub use self::answers::PostgresAnswers;
use self::{
    access::Access, audit::Records, batch::Request, leases::Held, releases::Releases, trouble::Trouble,
    writer::Writer,
};

/// How connections are used.
///
/// ```
/// use std::time::Duration;
/// use stageflow_store::postgres::PostgresOptions;
///
/// let options = PostgresOptions::new().connections(4).lease(Duration::from_secs(10));
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PostgresOptions {
    connections: usize,
    lease: Duration,
    statement_timeout: Duration,
    answer_within: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl PostgresOptions {
    /// 8 connections, leases of 30 s, 5 s for a statement, 15 s for an answer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connections: 8,
            lease: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(5),
            answer_within: Duration::from_secs(15),
        }
    }

    /// How many connections there are at most, beside the one that entries are written by. At least one.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long after the last sign of life of a process another may take its runs over. Signs come three times in this time. At least
    /// 100 ms.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(100));
        self
    }

    /// How long the server may take for a statement, waiting for locks included. At least 1 ms.
    #[must_use]
    pub fn statement_timeout(mut self, time: Duration) -> Self {
        self.statement_timeout = time.max(Duration::from_millis(1));
        self
    }

    /// How long to try to get an answer: over lost connections, and while the server is away. Then the store is unavailable. At least
    /// 10 ms.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time.max(Duration::from_millis(10));
        self
    }

    /// A connection has this much time to be made, and one of the pool to come free.
    fn connect_within(&self) -> Duration {
        self.statement_timeout.min(self.answer_within)
    }

    fn pool<T>(&self, config: &Config, tls: T, connections: usize) -> Result<Pool, JournalError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        // What a session was set to is undone before the next one has it, down to what is said here.
        let manager = Manager::from_config(
            self.session(config),
            tls,
            ManagerConfig { recycling_method: RecyclingMethod::Clean },
        );
        let time = Some(self.connect_within());
        Pool::builder(manager)
            .max_size(connections)
            .wait_timeout(time)
            .create_timeout(time)
            .recycle_timeout(time)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| trouble::late("there is no pool").source(error))
    }

    /// What every session starts with, whatever the role or the database has as a default: what was acknowledged is on disk.
    fn session(&self, config: &Config) -> Config {
        let mut config = config.clone();
        let said = config.get_options().unwrap_or_default().to_owned();
        let millis = self.statement_timeout.as_millis();
        // Every statement looks rows up by their key, and is planned once: also while a table is empty and would better be read as a whole.
        let mut options = format!(
            "-c statement_timeout={millis} -c idle_in_transaction_session_timeout={millis} \
             -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
        );
        if !said.contains("synchronous_commit") {
            options.push_str(" -c synchronous_commit=on");
        }
        config.options(format!("{options} {said}").trim_end());
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.connect_within());
        }
        if config.get_application_name().is_none() {
            config.application_name("stageflow");
        }
        config
    }
}

/// Journals, answers and audit records in PostgreSQL 15 or newer. Clones share connections.
///
/// # Tenants
///
/// The database keeps them apart, not this code: each table has `ENABLE` and `FORCE ROW LEVEL SECURITY` and one policy, and each
/// transaction names its tenant by `set_config('stageflow.tenant', …, true)`, which ends with it. [`connect`](Self::connect) refuses a
/// role that could see more, and tables that are not protected so. Whoever can run SQL of their own as this role can name any tenant:
/// this guards against what is forgotten, not against injected SQL.
///
/// # Durability
///
/// Entries of all runs that wait are written in one transaction (group commit) by one connection, with `synchronous_commit=on` unless
/// the options of the configuration say otherwise. Where a connection is lost in the middle, the store looks whether the entries were
/// written before it says so; where it cannot find out in time the error is
/// [`Unavailable`](stageflow_core::durable::JournalErrorKind::Unavailable), and the entries are there as a whole or not at all.
///
/// # Leases
///
/// They go by the clock of the database, and a task prolongs them as long as a clone of the store lives. A run whose process dies is free
/// when its lease has ended.
#[derive(Clone)]
pub struct PostgresStore {
    access: Access,
    queue: mpsc::UnboundedSender<Request>,
    records: mpsc::UnboundedSender<Records>,
    held: Held,
    releases: Releases,
    options: PostgresOptions,
    place: Arc<str>,
    /// The heartbeat ends with the last clone.
    _alive: mpsc::Sender<()>,
}

impl PostgresStore {
    /// Connects by a URL as `postgres://app@localhost/database?host=/run/postgresql`, without TLS.
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with); the URL cannot be read.
    pub async fn connect(url: &str) -> Result<Self, JournalError> {
        let config = url.parse().map_err(Trouble::from).map_err(|trouble| trouble.error)?;
        Self::connect_with(config, NoTls, PostgresOptions::new()).await
    }

    /// Connects with a configuration, a TLS connector ([`NoTls`] for none) and options. It has to be called within a runtime of tokio,
    /// which the tasks of the store live in.
    ///
    /// # Errors
    ///
    /// [`Unsafe`](stageflow_core::durable::JournalErrorKind::Unsafe): the role could see rows of other tenants, or a table is not
    /// protected; with everything that was found. [`Schema`](stageflow_core::durable::JournalErrorKind::Schema): the tables are not there,
    /// or of another version. [`Unavailable`](stageflow_core::durable::JournalErrorKind::Unavailable): there is no answer.
    pub async fn connect_with<T>(
        config: Config,
        tls: T,
        options: PostgresOptions,
    ) -> Result<Self, JournalError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let runtime = Handle::try_current()
            .map_err(|error| trouble::late("there is no runtime of tokio").source(error))?;
        let pool = options.pool(&config, tls.clone(), options.connections)?;
        let writers = options.pool(&config, tls, 1)?;
        let access = Access { pool, within: options.answer_within, runtime };
        access.repeat(|| guard::check(&access.pool)).await?;
        let held = Held::default();
        let (queue, asked) = mpsc::unbounded_channel();
        let writer = Writer {
            pool: writers,
            queue: asked,
            held: held.clone(),
            lease: options.lease,
            within: options.statement_timeout.saturating_mul(2).min(options.answer_within),
            connection: None,
        };
        let (records, audited) = mpsc::unbounded_channel();
        let (alive, ended) = mpsc::channel(1);
        access.runtime.spawn(writer.run());
        access.runtime.spawn(audit::write(access.clone(), audited));
        access.runtime.spawn(leases::heartbeat(access.clone(), held.clone(), options.lease, ended));
        Ok(Self {
            access,
            queue,
            records,
            held,
            releases: Releases::new(),
            options,
            place: place(&config).into(),
            _alive: alive,
        })
    }

    /// Makes the tables as the role that is to own them, and grants the role of the application what it needs. What is there already
    /// stays. Neither role is made by this.
    ///
    /// # Errors
    ///
    /// [`Schema`](stageflow_core::durable::JournalErrorKind::Schema): there are tables of another version.
    pub async fn migrate(owner: &Config, app_role: &str) -> Result<(), JournalError> {
        schema::migrate(owner, NoTls, app_role).await
    }

    /// The same over TLS.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate).
    pub async fn migrate_with<T>(owner: &Config, tls: T, app_role: &str) -> Result<(), JournalError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        schema::migrate(owner, tls, app_role).await
    }

    /// What [`migrate`](Self::migrate) runs, for whoever reads it first or runs it by `psql -v app=…`.
    #[must_use]
    pub fn schema_sql() -> &'static str {
        schema::SQL
    }

    /// A store of answers beside the journal: leases of 10 minutes, and answers for a day.
    pub fn answers(&self) -> PostgresAnswers {
        PostgresAnswers::new(self.access.clone())
    }
}

/// Where it is, without a password.
fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(folder) => folder.display().to_string(),
    });
    let hosts: Vec<String> = hosts.collect();
    let role = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(role);
    format!("PostgreSQL database `{database}` at {} as `{role}`", hosts.join(", "))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("place", &self.place)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
