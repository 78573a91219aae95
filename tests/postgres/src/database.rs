//! An empty database for one test.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Client, Config, NoTls};

use crate::{APP, Cluster, OWNER};

/// An empty database of a cluster, owned by [`OWNER`]. It goes with its cluster.
#[derive(Debug, Clone)]
pub struct Database {
    config: Config,
}

impl Database {
    /// A new one in the cluster that the tests share.
    ///
    /// # Panics
    ///
    /// There is no server; the text says what to do.
    pub async fn shared() -> Self {
        match Cluster::shared() {
            Ok(cluster) => Self::new(cluster).await,
            Err(error) => panic!("{error}"),
        }
    }

    /// A new one.
    ///
    /// # Panics
    ///
    /// The cluster does not make it.
    pub async fn new(cluster: &Cluster) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut config = Config::new();
        config.host_path(cluster.socket()).user("postgres").dbname("postgres");
        let admin = connect(&config).await;
        let create = format!("CREATE DATABASE {name} OWNER {OWNER}");
        admin.batch_execute(&create).await.expect("a database is created");
        config.dbname(&name);
        Self { config }
    }

    /// To connect as a role. No password is asked for.
    pub fn config(&self, role: &str) -> Config {
        let mut config = self.config.clone();
        config.user(role);
        config
    }

    /// To connect as the application does.
    pub fn app(&self) -> Config {
        self.config(APP)
    }

    /// To connect as the owner of the tables.
    pub fn owner(&self) -> Config {
        self.config(OWNER)
    }

    /// A connection of a role.
    ///
    /// # Panics
    ///
    /// The server refuses it.
    pub async fn connect(&self, role: &str) -> Client {
        connect(&self.config(role)).await
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}
