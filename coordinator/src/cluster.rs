//! What every session of the coordinator shares.

use std::sync::Arc;

use atoll_proto::auth::Token;
use rustls::ServerConfig;

use crate::config::Config;
use crate::directory::Keeper;
use crate::directory::recovery::LiveTransactions;
use crate::drain::Drain;
use crate::error::{Error, Result};
use crate::session::cancel::CancelRegistry;

pub struct Cluster {
    pub config: Config,
    pub token: Token,
    /// Guards Atoll's own functions in the data databases.
    pub secret: String,
    pub keeper: Arc<Keeper>,
    pub merge: Arc<atoll_merge::Engine>,
    /// Where everything runs that is not the data path: merging, directory, admin.
    pub control: tokio::runtime::Handle,
    pub cancels: Arc<CancelRegistry>,
    pub live: Arc<LiveTransactions>,
    /// Counts sessions, and ends them when the coordinator stops.
    pub drain: Arc<Drain>,
    /// `None`: SSLRequest is declined.
    pub tls: Option<Arc<ServerConfig>>,
    /// The cluster's superuser, and the directory's database.
    pub superuser: Arc<str>,
    pub directory_database: Arc<str>,
    /// Distinguishes this run of the coordinator from its earlier ones, in the names of its transactions.
    pub incarnation: String,
}

impl Cluster {
    /// Runs work that is not the data path's on the control runtime: its connections belong there.
    ///
    /// # Errors
    /// The work's own, XX000 when it panicked.
    pub async fn on_control<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.control.spawn(work).await.unwrap_or_else(|error| Err(Error::internal(error.to_string())))
    }
}
