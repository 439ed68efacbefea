//! From an accepted socket to a session: encryption, the startup packet, authentication, and the first ReadyForQuery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atoll_planner::quote_literal;
use atoll_wire::backend;
use atoll_wire::frames::{Frame, Startup, next_startup};
use atoll_wire::frontend::{SaslInitialResponse, SaslResponse, tag};
use atoll_wire::scram::ServerScram;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::cancel::CancelHandle;
use super::client::{Client, ClientStream};
use super::durability;
use super::hold::{self, Patience};
use super::own_settings::check_own_setting;
use super::reads::Reads;
use super::relay::Within;
use super::settings::{REPORTED, Settings};
use super::{Session, Tier};
use crate::error::{Error, Result, sqlstate};
use crate::facts::DatabaseFacts;
use crate::lane::Lane;
use crate::pool::{Fit, LaneKey, Need};
use crate::worker::Worker;

/// A password message is never longer.
const PASSWORD_BYTES_MAX: usize = 64 << 10;

/// A startup packet's content.
struct Greeting {
    user: String,
    database: String,
    settings: Vec<(String, String)>,
    minor: u16,
    /// Protocol options (`_pq_.x`) that are not known here.
    unknown_options: Vec<String>,
}

/// Serves one client from its first byte to its last.
pub async fn serve(worker: Arc<Worker>, socket: TcpStream) {
    let cluster = worker.cluster.clone();
    let connected = cluster.drain.enter();
    metrics::gauge!("atoll_coordinator_client_connections").increment(1);
    if let Err(error) = serve_counted(&worker, socket, connected).await {
        tracing::debug!(%error, "a connection ended");
    }
    cluster.drain.leave();
    metrics::gauge!("atoll_coordinator_client_connections").decrement(1);
}

async fn serve_counted(worker: &Arc<Worker>, socket: TcpStream, connected: usize) -> Result<()> {
    socket.set_nodelay(true)?;
    let login_max = Duration::from_secs(worker.cluster.config.login_seconds_max);
    let greeted = tokio::time::timeout(login_max, greet(worker, socket)).await;
    let Some((mut client, greeting)) = greeted.map_err(|_| Error::Client(std::io::ErrorKind::TimedOut.into()))?? else {
        return Ok(());
    };
    let cluster = &worker.cluster;
    let opened = async {
        if cluster.drain.begun.is_cancelled() {
            return Err(fatal(sqlstate::CANNOT_CONNECT_NOW, "the database system is shutting down"));
        }
        if connected >= cluster.config.connections_max {
            return Err(fatal(sqlstate::TOO_MANY_CONNECTIONS, "sorry, too many clients already"));
        }
        let greeting = greeting?;
        if greeting.minor > 0 || !greeting.unknown_options.is_empty() {
            let unknown: Vec<&str> = greeting.unknown_options.iter().map(String::as_str).collect();
            backend::negotiate_protocol_version(0, &unknown, &mut client.output);
        }
        authenticate(worker, &mut client, &greeting).await?;
        Ok(greeting)
    };
    let opened = tokio::time::timeout(login_max, opened)
        .await
        .unwrap_or_else(|_| Err(fatal(sqlstate::ADMIN_SHUTDOWN, "canceling authentication due to timeout")));
    let greeting = match opened {
        Ok(greeting) => greeting,
        Err(error) => return farewell(client, error).await,
    };
    if let Err(error) = check_limits(worker, &greeting) {
        return farewell(client, error).await;
    }
    let (pid, secret, cancel) = cluster.cancels.register(&greeting.database, &greeting.user);
    let result = async {
        let mut session = match Session::open(worker, client, greeting, cancel).await {
            Ok(session) => session,
            Err((client, error)) => return farewell(client, error).await,
        };
        session.welcome(pid, secret);
        match session.run().await {
            Ok(()) => {
                session.leave().await;
                Ok(())
            }
            Err(error) => {
                session.leave().await;
                farewell(session.client, error).await
            }
        }
    }
    .await;
    cluster.cancels.forget(pid);
    result
}

fn fatal(sqlstate: &'static str, message: impl Into<String>) -> Error {
    Error::Fatal { sqlstate, message: message.into() }
}

/// Tells the client why the session ends (FATAL), if it still listens.
async fn farewell(mut client: Client, error: Error) -> Result<()> {
    if !matches!(error, Error::Client(_)) {
        let mut fields = error.fields();
        fields.set(b'S', "FATAL");
        fields.set(b'V', "FATAL");
        backend::error_response(&fields, &mut client.output);
        client.close().await;
    }
    Err(error)
}

/// What ALTER ROLE and ALTER DATABASE set for this login: the data databases' backends do not know it by themselves. What only a superuser
/// may set is left to PostgreSQL, which gives it to the catalog database's backends.
async fn role_settings(worker: &Worker, lane: &mut Lane, greeting: &Greeting) -> Result<Vec<(String, String)>> {
    let roles = worker.cluster.keeper.roles();
    let settings = roles.settings(&greeting.user, &greeting.database);
    let superuser = roles.get(&greeting.user).is_some_and(|role| role.superuser);
    if settings.is_empty() || superuser {
        return Ok(settings.into_iter().collect());
    }
    let names: Vec<String> = settings.keys().map(|name| quote_literal(name)).collect();
    let sql = format!(
        "SELECT name FROM pg_catalog.pg_settings WHERE context <> 'user' AND lower(name) IN ({})",
        names.join(", ").to_lowercase()
    );
    let sets = lane.query(&sql).await?;
    let theirs: Vec<&str> = sets.iter().flat_map(|set| &set.rows).filter_map(|row| row.first()?.as_deref()).collect();
    Ok(settings
        .iter()
        .filter(|(name, _)| !theirs.contains(&name.as_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect())
}

/// The facts of a database, waited for while home is away.
async fn facts_of(worker: &Worker, database: &str, patience: &Patience) -> Result<Arc<DatabaseFacts>> {
    loop {
        let keeper = worker.cluster.keeper.clone();
        if let Some(facts) = keeper.cached(database) {
            return Ok(facts);
        }
        let name = database.to_owned();
        match worker.cluster.on_control(async move { keeper.facts(&name).await }).await {
            Err(error) if error.is_away() || error.sqlstate() == sqlstate::CANNOT_CONNECT_NOW => {
                if patience.left().is_zero() {
                    return Err(error);
                }
                patience.pause().await;
            }
            facts => return facts,
        }
    }
}

/// What a session's first backend says of it.
struct FirstWords {
    settings: Arc<Settings>,
    search_path: Arc<str>,
    reported: HashMap<String, String>,
}

/// Brings a backend in line with what the client asked for at login, and reads what is in force then.
async fn first_words(worker: &Worker, lane: &mut Lane, greeting: &Greeting) -> Result<FirstWords> {
    for (name, value) in &greeting.settings {
        durability::check_value(&worker.cluster, name, value)?;
        check_own_setting(&name.to_ascii_lowercase(), value)?;
    }
    let mut given = role_settings(worker, lane, greeting).await?;
    // What was given to the role before there were standbys, its backends would begin with: the session says otherwise.
    for (name, value) in &mut given {
        if durability::check_value(&worker.cluster, name, value).is_err() {
            tracing::warn!(
                role = greeting.user,
                setting = *name,
                value = *value,
                "a role's weak commits are not allowed"
            );
            *value = "on".to_owned();
        }
    }
    // Given by who is not a client of Atoll, or by an older version.
    given.retain(|(name, value)| match check_own_setting(&name.to_ascii_lowercase(), value) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(role = greeting.user, %error, "a setting of a role or database is not used");
            false
        }
    });
    given.extend(greeting.settings.iter().cloned());
    let (paths, others): (Vec<_>, Vec<_>) =
        given.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("search_path"));
    let settings: Arc<Settings> = Arc::new(others.into_iter().collect());
    super::lanes::settle(lane, &settings, 0).await?;
    let settings = canonical(lane, &settings).await?;
    lane.state.settings = settings.clone();
    match paths.last() {
        Some((_, path)) => {
            lane.query_with("SELECT pg_catalog.set_config('search_path', $1, false)", &[path]).await?;
        }
        None => drop(lane.query("RESET search_path").await?),
    }
    lane.state.search_path = None;
    let shown = lane.query("SHOW search_path").await?;
    let shown = shown.first().map(|set| set.scalar()).transpose()?.unwrap_or_default();
    let search_path: Arc<str> = if shown.is_empty() { "''".into() } else { shown.into() };
    let reported: HashMap<String, String> = lane
        .parameters
        .iter()
        .filter(|(name, _)| REPORTED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(FirstWords { settings, search_path, reported })
}

/// The settings as PostgreSQL itself writes their values.
async fn canonical(lane: &mut Lane, settings: &Settings) -> Result<Arc<Settings>> {
    let names: Vec<String> = settings.iter().map(|(name, _)| name.to_owned()).collect();
    if names.is_empty() {
        return Ok(Arc::default());
    }
    let shown: Vec<String> =
        names.iter().map(|name| format!("pg_catalog.current_setting({})", quote_literal(name))).collect();
    let sets = lane.query(&format!("SELECT {}", shown.join(", "))).await?;
    let values = sets.into_iter().next().and_then(|mut set| set.rows.pop()).unwrap_or_default();
    Ok(Arc::new(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()))
}

/// Reads up to the startup packet, encrypting when asked; `None` when the connection was only for a cancel, or ended. The inner error is
/// for the client to see.
async fn greet(worker: &Worker, mut socket: TcpStream) -> Result<Option<(Client, Result<Greeting>)>> {
    let mut input = BytesMut::with_capacity(1 << 10);
    let mut stream = loop {
        match next_startup(&mut input) {
            Ok(None) => {
                if socket.read_buf(&mut input).await? == 0 {
                    return Ok(None);
                }
            }
            Ok(Some(Startup::Gssenc)) => socket.write_all(b"N").await?,
            Ok(Some(Startup::Ssl)) => match &worker.cluster.tls {
                None => socket.write_all(b"N").await?,
                Some(_) if !input.is_empty() => {
                    // Bytes sent before the handshake could have been put there by somebody in between.
                    let error = fatal(sqlstate::PROTOCOL_VIOLATION, "received unencrypted data after SSL request");
                    return Ok(Some((Client::new(ClientStream::Plain(socket), input), Err(error))));
                }
                Some(config) => {
                    socket.write_all(b"S").await?;
                    let encrypted = TlsAcceptor::from(config.clone()).accept(socket).await?;
                    break ClientStream::Tls(Box::new(encrypted));
                }
            },
            startup => return finish_greeting(worker, startup, ClientStream::Plain(socket), input).await,
        }
    };
    loop {
        match next_startup(&mut input) {
            Ok(None) => {
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(None);
                }
            }
            startup => return finish_greeting(worker, startup, stream, input).await,
        }
    }
}

async fn finish_greeting(
    worker: &Worker,
    startup: Result<Option<Startup>, atoll_wire::frames::FrameError>,
    stream: ClientStream,
    input: BytesMut,
) -> Result<Option<(Client, Result<Greeting>)>> {
    let greeting = match startup {
        Ok(Some(Startup::Cancel { pid, secret })) => {
            worker.cluster.cancels.cancel(pid, secret).await;
            return Ok(None);
        }
        Ok(Some(Startup::Start { minor, parameters })) => greeting_of(minor, parameters),
        Ok(Some(Startup::Unsupported { major, minor })) => Err(fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"),
        )),
        Ok(_) => Err(fatal(sqlstate::PROTOCOL_VIOLATION, "an encryption request inside an encrypted connection")),
        Err(error) => Err(fatal(error.sqlstate(), error.to_string())),
    };
    Ok(Some((Client::new(stream, input), greeting)))
}

fn greeting_of(minor: u16, parameters: Vec<(String, String)>) -> Result<Greeting> {
    let mut user = String::new();
    let mut database = String::new();
    let mut settings = Vec::new();
    let mut unknown_options = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = value,
            "database" => database = value,
            "options" => settings.extend(command_line_settings(&value)?),
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => {
                return Err(fatal(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "replication connections to a coordinator are not supported; connect to a node's PostgreSQL",
                ));
            }
            _ if name.starts_with("_pq_.") => unknown_options.push(name),
            _ => settings.push((name, value)),
        }
    }
    if user.is_empty() {
        return Err(fatal("28000", "no PostgreSQL user name specified in startup packet"));
    }
    if database.is_empty() {
        database.clone_from(&user);
    }
    Ok(Greeting { user, database, settings, minor, unknown_options })
}

/// `-c name=value`, `-cname=value` and `--name=value`, blanks escaped by backslashes.
fn command_line_settings(options: &str) -> Result<Vec<(String, String)>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_ascii_whitespace() => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()))
            }
            c => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--") {
            Some(long) => Some(long.to_owned()),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c").map(str::to_owned),
        };
        let assignment = assignment
            .ok_or_else(|| fatal("42601", format!("invalid command-line argument for server process: {word}")))?;
        let (name, value) = assignment.split_once('=').ok_or_else(|| {
            let dashes = if word.starts_with("--") { "--" } else { "-c " };
            fatal("42601", format!("{dashes}{assignment} requires a value"))
        })?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// Checks who it is, as far as the configuration asks, and says AuthenticationOk.
async fn authenticate(worker: &Worker, client: &mut Client, greeting: &Greeting) -> Result<()> {
    let cluster = &worker.cluster;
    if !cluster.keeper.is_ready() {
        return Err(fatal(sqlstate::CANNOT_CONNECT_NOW, "the database system is starting up"));
    }
    let roles = cluster.keeper.roles();
    let role = roles.get(&greeting.user);
    if cluster.config.auth == "scram" {
        let valid = role.filter(|role| role.is_valid(SystemTime::now()));
        let verifier =
            valid.and_then(|role| role.verifier.as_deref()).filter(|text| text.starts_with("SCRAM-SHA-256$"));
        let mut scram = match verifier.map(ServerScram::new) {
            Some(Ok(scram)) => scram,
            // A role without a usable password fails like a wrong password, and as late.
            _ => ServerScram::mock(&greeting.user, cluster.secret.as_bytes()),
        };
        let refused = || fatal("28P01", format!("password authentication failed for user \"{}\"", greeting.user));
        backend::authentication_sasl(scram.mechanisms(), &mut client.output);
        let frame = password_message(client).await?;
        let first = SaslInitialResponse::decode(&frame)?;
        let nonce: [u8; 18] = rand::random();
        let data = first.data.as_deref().unwrap_or_default();
        let challenge =
            scram.on_client_first(first.mechanism, data, &nonce).map_err(|error| match error.sqlstate() {
                "28P01" => refused(),
                _ => fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string()),
            })?;
        backend::authentication_sasl_continue(&challenge, &mut client.output);
        let frame = password_message(client).await?;
        let proof = SaslResponse::decode(&frame)?;
        let last = scram.on_client_final(&proof.data).map_err(|error| match error.sqlstate() {
            "28P01" => refused(),
            _ => fatal(sqlstate::PROTOCOL_VIOLATION, error.to_string()),
        })?;
        backend::authentication_sasl_final(&last, &mut client.output);
    }
    match role {
        None => Err(fatal("28000", format!("role \"{}\" does not exist", greeting.user))),
        Some(role) if !role.can_login => {
            Err(fatal("28000", format!("role \"{}\" is not permitted to log in", greeting.user)))
        }
        Some(_) => {
            backend::authentication_ok(&mut client.output);
            Ok(())
        }
    }
}

/// CONNECTION LIMIT of the role and the database; superusers have none. Sessions of other coordinators are not counted.
fn check_limits(worker: &Worker, greeting: &Greeting) -> Result<()> {
    let cluster = &worker.cluster;
    let roles = cluster.keeper.roles();
    let Some(role) = roles.get(&greeting.user).filter(|role| !role.superuser) else { return Ok(()) };
    let full = |limit: i32, sessions: usize| usize::try_from(limit).is_ok_and(|limit| sessions >= limit);
    let database = roles.databases.get(&greeting.database).map_or(-1, |listed| listed.connection_limit);
    if full(database, cluster.cancels.sessions_of(&greeting.database)) {
        let message = format!("too many connections for database \"{}\"", greeting.database);
        return Err(fatal(sqlstate::TOO_MANY_CONNECTIONS, message));
    }
    if full(role.connection_limit, cluster.cancels.sessions_of_role(&greeting.user)) {
        let message = format!("too many connections for role \"{}\"", greeting.user);
        return Err(fatal(sqlstate::TOO_MANY_CONNECTIONS, message));
    }
    Ok(())
}

async fn password_message(client: &mut Client) -> Result<Frame> {
    match client.next().await? {
        Some(frame) if frame.tag == tag::PASSWORD && frame.raw.len() <= PASSWORD_BYTES_MAX => Ok(frame),
        Some(frame) => {
            Err(fatal(sqlstate::PROTOCOL_VIOLATION, format!("expected SASL response, got message type {}", frame.tag)))
        }
        None => Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

impl Session {
    async fn open(
        worker: &Arc<Worker>,
        client: Client,
        greeting: Greeting,
        cancel: Arc<super::cancel::CancelHandle>,
    ) -> Result<Self, (Client, Error)> {
        match Self::prepare(worker, &greeting).await {
            Err(error) => Err((client, error)),
            Ok(prepared) => Ok(prepared(client, cancel)),
        }
    }

    /// What does not need the client: facts, and a backend's word on the settings.
    async fn prepare(
        worker: &Arc<Worker>,
        greeting: &Greeting,
    ) -> Result<impl FnOnce(Client, Arc<super::cancel::CancelHandle>) -> Self + use<>> {
        let patience = Patience::new(worker.cluster.config.hold_ms_max);
        let facts = facts_of(worker, &greeting.database, &patience).await?;
        let role: Arc<str> = greeting.user.as_str().into();
        let database: Arc<str> = greeting.database.as_str().into();
        let FirstWords { settings, search_path, reported } = loop {
            let key = LaneKey { database: database.clone(), role: role.clone() };
            let fit = |lane: &Lane| if lane.state.is_kept_from(0) { Fit::Kept } else { Fit::Usable };
            let home = worker.cluster.keeper.home_group();
            let mut lane = hold::take(worker, (home, 0), &key, Need::Fresh, fit, &patience).await?;
            match first_words(worker, &mut lane, greeting).await {
                Err(error) if error.loss().is_some() && !patience.left().is_zero() => {
                    drop(lane);
                    patience.pause().await;
                }
                said => {
                    let said = said?;
                    lane.release();
                    break said;
                }
            }
        };

        let worker = worker.clone();
        Ok(move |client, cancel: Arc<CancelHandle>| {
            let mut session = Self {
                id: u64::from(cancel.pid().unsigned_abs()),
                presence: Arc::default(),
                client,
                data_database: format!("{database}_data").into(),
                database,
                role,
                reads: Reads::of(&settings, &worker.cluster.config),
                route: Default::default(),
                used_replica: false,
                runs_alone: false,
                last_node: None,
                written: Default::default(),
                startup_settings: settings.clone(),
                settings,
                default_search_path: search_path.clone(),
                search_path,
                shard_paths: HashMap::new(),
                names: Vec::new(),
                reported_default: reported.clone(),
                reported,
                reported_for: None,
                facts,
                temporary: super::temporary::Temporary::default(),
                transaction: None,
                pinned: Vec::new(),
                pin_at_end: Vec::new(),
                cancel,
                patience,
                state_lost: None,
                channels: Default::default(),
                statements: HashMap::new(),
                portals: HashMap::new(),
                cursors: HashMap::new(),
                staged_kept: 0,
                aside: Default::default(),
                work: Default::default(),
                skipping: false,
                batch_synced: true,
                within: Within::default(),
                tier: Tier::Coordinator,
                worker,
            };
            session.refresh_path_names();
            session
        })
    }

    fn welcome(&mut self, pid: i32, secret: i32) {
        let mut reported: Vec<_> = self.reported.iter().filter(|(name, _)| *name != "search_path").collect();
        reported.sort();
        for (name, value) in reported {
            backend::parameter_status(name, value, &mut self.client.output);
        }
        backend::backend_key_data(pid, secret, &mut self.client.output);
        self.ready();
    }

    /// Rolls back what is open and parts with the backends.
    async fn leave(&mut self) {
        if self.transaction.is_some()
            && let Err(error) = self.end_transaction(false).await
        {
            tracing::debug!(%error, "rolling back for a client that left");
        }
        // Pinned backends hold what only this session could use: they end with it.
        self.pinned.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_postgres_does() {
        let settings = command_line_settings(r"-c work_mem=8MB --Search-path=a\ b -cx.y=1").unwrap();
        let expected = [("work_mem", "8MB"), ("Search_path", "a b"), ("x.y", "1")];
        assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(command_line_settings("--novalue").is_err());
    }
}
