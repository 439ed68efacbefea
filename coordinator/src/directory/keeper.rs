//! The coordinator's knowledge of the cluster, kept current: directory, roles, and each logical database's facts.
//!
//! Everything is read from home and swapped whole. A task looks once a second whether another coordinator changed something; this one's own
//! changes are noticed at once, by [`Keeper::refresh`]. Nothing here would be lost with the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use atoll_planner::catalog::Catalog;
use atoll_planner::directory::{Directory, Group, GroupIndex};
use atoll_proto::auth::Token;
use futures_util::future::join_all;
use tokio::sync::{Mutex, watch};

use super::admission;
use super::catalog::{self, SystemFacts};
use super::control::{Control, read, selected};
use super::leaders::{Asker, Leaders};
use super::nodes::{NodeReport, Nodes};
use super::roles::{ROLES, ROLES_RESULTS, Roles};
use super::rows::Rows;
use super::store;
use crate::error::{Error, Result, sqlstate};
use crate::facts::{DatabaseFacts, TypeMap, UserTypes, next_facts_id};
use crate::lane::{Lane, ResultSet};
use crate::place::{Participants, Place};
use crate::routing::{self, Routing};

/// How often another coordinator's changes are looked for.
const POLL: Duration = Duration::from_secs(1);
/// How long it is not looked again in any case.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one look may take.
const POLL_WITHIN: Duration = Duration::from_secs(10);
/// How long home may be without a primary before an attempt to read it is given up.
const HOME_WITHIN: Duration = Duration::from_secs(5);
/// How often a reading is repeated because something changed meanwhile, before the next poll takes care.
const READINGS_MAX: usize = 3;
/// The directory's database.
pub const DIRECTORY_DATABASE: &str = "atoll";

/// Databases with a pending part of a distributed transaction: what was read of them may be about to change without a further version.
const PENDING: &str = "SELECT database FROM pg_prepared_xacts WHERE gid LIKE 'atoll:%'";

/// What a keeper must be told.
#[derive(Clone)]
pub struct KeeperSettings {
    /// This coordinator's name.
    pub coordinator: String,
    /// The agents of home's nodes, as far as they are known beforehand: host:port, and a Unix socket, which may be empty.
    pub home_nodes: Vec<(String, String)>,
    pub home_group: String,
    pub token: Token,
    /// Guards Atoll's own functions in the data databases: [`super::bootstrap::secret`].
    pub secret: String,
}

/// Shared by all workers; see the module.
pub struct Keeper {
    pub(super) settings: KeeperSettings,
    pub(super) control: Arc<Control>,
    leaders: Arc<Leaders>,
    routing: Arc<Routing>,
    directory: ArcSwap<Directory>,
    roles: ArcSwap<Roles>,
    facts: ArcSwap<HashMap<String, Arc<DatabaseFacts>>>,
    pub(super) nodes: Arc<Nodes>,
    system: OnceLock<SystemFacts>,
    reading: Mutex<Reading>,
    /// Counts calls of refresh; one reading answers all that came before it.
    refreshes: AtomicU64,
    ready: watch::Sender<bool>,
}

/// What only one task at a time uses.
#[derive(Default)]
struct Reading {
    lane: Option<Lane>,
    /// Which primary of home was read, by its term.
    term: u64,
    versions: Versions,
    /// Something may have changed without a further version.
    unsettled: bool,
    /// The value of `refreshes` up to which calls are answered.
    answered: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Versions {
    directory: u64,
    catalogs: HashMap<String, u64>,
}

impl Versions {
    fn read(set: &ResultSet) -> Result<Self> {
        let mut versions = Self::default();
        for row in Rows::new(set) {
            match row.maybe(0) {
                None => versions.directory = row.parse(1)?,
                Some(database) => drop(versions.catalogs.insert(database.to_owned(), row.parse(1)?)),
            }
        }
        Ok(versions)
    }

    fn of(&self, database: &str) -> u64 {
        self.catalogs.get(database).copied().unwrap_or(0)
    }
}

/// One reading of home.
struct Snapshot {
    versions: Versions,
    directory: Arc<Directory>,
    roles: Roles,
    pending: BTreeSet<String>,
}

impl Keeper {
    /// Starts keeping; must be called on the control runtime, where its connections and tasks then live. Returns at once: until home was
    /// read, [`Keeper::facts`] fails with 57P03 and there are no roles.
    pub fn start(settings: KeeperSettings) -> Arc<Self> {
        let leaders: Arc<Leaders> = Arc::default();
        let control = Arc::new(Control::new(settings.token.clone(), leaders.clone()));
        let routing = Arc::new(Routing::new(leaders.clone()));
        let nodes = Nodes::new(control.clone(), leaders.clone(), routing.clone());
        tokio::spawn(routing::run(Arc::downgrade(&routing), control.clone()));
        for (address, socket) in &settings.home_nodes {
            nodes.watch_address(&settings.home_group, address, socket);
        }
        let keeper = Arc::new(Self {
            control,
            leaders,
            routing,
            settings,
            directory: ArcSwap::default(),
            roles: ArcSwap::default(),
            facts: ArcSwap::default(),
            nodes,
            system: OnceLock::new(),
            reading: Mutex::default(),
            refreshes: AtomicU64::new(0),
            ready: watch::Sender::new(false),
        });
        tokio::spawn(poll(Arc::downgrade(&keeper)));
        tokio::spawn(admission::run(Arc::downgrade(&keeper)));
        keeper
    }

    /// Waits until home was read once.
    ///
    /// # Errors
    /// 57P03 when that does not happen `within` this time: home cannot be reached, or the cluster was never bootstrapped.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let mut ready = self.ready.subscribe();
        let waited = tokio::time::timeout(within, ready.wait_for(|ready| *ready)).await;
        if matches!(waited, Ok(Ok(_))) { Ok(()) } else { Err(starting_up()) }
    }

    /// Whether home was read, and the directory is there.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// The directory as last read; empty before the first reading.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// All roles, and the databases of home's PostgreSQL, as last read.
    pub fn roles(&self) -> Arc<Roles> {
        self.roles.load_full()
    }

    /// Who is primary of each group.
    pub fn leaders(&self) -> &Arc<Leaders> {
        &self.leaders
    }

    /// Whether some group has more nodes than its primary.
    pub fn has_standbys(&self) -> bool {
        self.leaders.has_standbys() || self.directory.load().groups.iter().any(|group| group.nodes.len() > 1)
    }

    /// The name of the home group.
    pub fn home_group(&self) -> &str {
        &self.settings.home_group
    }

    /// Who can answer reads.
    pub fn routing(&self) -> &Arc<Routing> {
        &self.routing
    }

    /// Each node of the groups with what its agent last said.
    pub fn nodes(&self) -> Vec<NodeReport> {
        self.nodes.reports()
    }

    /// The facts of a logical database, when they are known: no I/O.
    pub fn cached(&self, database: &str) -> Option<Arc<DatabaseFacts>> {
        self.facts.load().get(database).cloned()
    }

    /// The facts of a logical database, read now when they are not known yet.
    ///
    /// # Errors
    /// 3D000 when there is no such database for clients, 55000 when it accepts no connections, 57P03 when home cannot be reached.
    pub async fn facts(&self, database: &str) -> Result<Arc<DatabaseFacts>> {
        if let Some(facts) = self.cached(database) {
            return Ok(facts);
        }
        let mut reading = self.reading.lock().await;
        if let Some(facts) = self.cached(database) {
            return Ok(facts);
        }
        // A database that was created a moment ago, maybe by another coordinator, is not known yet.
        if !self.directory.load().databases.contains_key(database) {
            self.reread(&mut reading).await?;
        }
        let snapshot = self.snapshot(&mut reading).await?;
        self.accepts(&snapshot, database)?;
        let mut unsettled = false;
        let facts = self.load(&snapshot, database, &mut unsettled).await?;
        reading.unsettled |= unsettled;
        // What else is new in this snapshot is left to the next look: its versions differ from the last reading's.
        let mut all = HashMap::clone(&self.facts.load());
        all.insert(database.to_owned(), facts.clone());
        self.facts.store(Arc::new(all));
        Ok(facts)
    }

    fn accepts(&self, snapshot: &Snapshot, database: &str) -> Result<()> {
        if !snapshot.directory.databases.contains_key(database) {
            return Err(Error::sql("3D000", format!("database \"{database}\" does not exist")));
        }
        match snapshot.roles.databases.get(database) {
            Some(listed) if !listed.allows_connections => {
                Err(Error::sql("55000", format!("database \"{database}\" is not currently accepting connections")))
            }
            _ => Ok(()),
        }
    }

    /// Reads again what changed; for after a commit of this coordinator that changed the directory, a catalog or roles, and when an agent
    /// refused an epoch.
    ///
    /// # Errors
    /// 57P03 when home cannot be reached; what was known stays.
    pub async fn refresh(&self) -> Result<()> {
        let ticket = self.refreshes.fetch_add(1, Ordering::SeqCst) + 1;
        let mut reading = self.reading.lock().await;
        if reading.answered >= ticket {
            return Ok(());
        }
        self.reread(&mut reading).await
    }

    /// Reads home, and every cached database whose catalog or directory has another version.
    async fn reread(&self, reading: &mut Reading) -> Result<()> {
        let answers = self.refreshes.load(Ordering::SeqCst);
        for _ in 0..READINGS_MAX {
            let snapshot = self.snapshot(reading).await?;
            let cached = self.facts.load_full();
            let stale = cached.values().filter(|facts| {
                snapshot.directory.databases.contains_key(&facts.name)
                    && (reading.unsettled
                        || facts.directory_version != snapshot.versions.directory
                        || facts.catalog.version != snapshot.versions.of(&facts.name))
            });
            let mut unsettled = false;
            let mut fresh = Vec::new();
            for facts in stale {
                fresh.push(self.load(&snapshot, &facts.name, &mut unsettled).await?);
            }
            reading.unsettled = unsettled;
            let read = snapshot.versions.clone();
            self.publish(reading, snapshot, fresh);
            if self.versions(reading).await? == read && reading.unsettled == unsettled {
                break;
            }
        }
        reading.answered = answers;
        Ok(())
    }

    /// Makes a reading known. Databases that are gone are forgotten.
    fn publish(&self, reading: &mut Reading, snapshot: Snapshot, fresh: Vec<Arc<DatabaseFacts>>) {
        let mut all = HashMap::clone(&self.facts.load());
        all.retain(|name, _| snapshot.directory.databases.contains_key(name));
        all.extend(fresh.into_iter().map(|facts| (facts.name.clone(), facts)));
        self.nodes.watch(&snapshot.directory);
        self.roles.store(Arc::new(snapshot.roles));
        self.directory.store(snapshot.directory);
        self.facts.store(Arc::new(all));
        reading.versions = snapshot.versions;
        self.ready.send_replace(true);
    }

    /// The home group as it is now: its primary, and that one's epoch.
    ///
    /// # Errors
    /// 57P03 when it has none for some seconds.
    pub(super) async fn home(&self) -> Result<Group> {
        let leader = self.leaders.wait(&self.settings.home_group, Asker::Control, HOME_WITHIN).await?;
        Ok(Group { name: leader.group.to_string(), epoch: leader.epoch, nodes: vec![leader.node.clone()] })
    }

    /// A lane to the directory, as the superuser; and the term of home's primary.
    async fn open_directory(&self) -> Result<(Lane, u64)> {
        let leader = self.leaders.wait(&self.settings.home_group, Asker::Control, HOME_WITHIN).await?;
        match self.control.open(&leader, DIRECTORY_DATABASE).await {
            Err(error) if error.sqlstate() == "3D000" => Err(starting_up()),
            opened => Ok((opened?, leader.term)),
        }
    }

    /// Runs queries on the kept lane to the directory. They only read: what a lane that broke meanwhile did not answer is asked again.
    async fn ask(&self, reading: &mut Reading, queries: &str) -> Result<Vec<ResultSet>> {
        if let Some(mut lane) = reading.lane.take()
            && !lane.has_ended()
            && let Ok(results) = in_time(&mut lane, async |lane| read(lane, queries).await).await
        {
            reading.lane = Some(lane);
            return Ok(results);
        }
        let (mut lane, term) = self.open_directory().await?;
        if std::mem::replace(&mut reading.term, term) != term {
            // What another primary did not get to know has never been, and the same version may stand for something else there.
            reading.unsettled = true;
        }
        let results = in_time(&mut lane, async |lane| read(lane, queries).await).await?;
        reading.lane = Some(lane);
        Ok(results)
    }

    async fn versions(&self, reading: &mut Reading) -> Result<Versions> {
        let results = self.ask(reading, store::VERSIONS).await?;
        results.first().map_or_else(|| Ok(Versions::default()), Versions::read)
    }

    async fn snapshot(&self, reading: &mut Reading) -> Result<Snapshot> {
        let queries = format!("{}; {}; {ROLES}; {PENDING}", store::VERSIONS, store::LOAD);
        let results = self.ask(reading, &queries).await?;
        let expected = 1 + store::LOAD_RESULTS + ROLES_RESULTS + 1;
        if results.len() != expected {
            return Err(Error::internal(format!("home came in {} results instead of {expected}", results.len())));
        }
        let (versions, rest) = results.split_at(1);
        let (directory, rest) = rest.split_at(store::LOAD_RESULTS);
        let (roles, pending) = rest.split_at(ROLES_RESULTS);
        Ok(Snapshot {
            versions: Versions::read(&versions[0])?,
            directory: Arc::new(store::load(directory)?),
            roles: Roles::read(roles)?,
            pending: Rows::new(&pending[0]).map(|row| row.text(0).map(str::to_owned)).collect::<Result<_>>()?,
        })
    }

    /// Reads one database's facts. Sets `unsettled` when they may be outdated without a further version.
    async fn load(&self, snapshot: &Snapshot, name: &str, unsettled: &mut bool) -> Result<Arc<DatabaseFacts>> {
        let directory = &snapshot.directory;
        let database = directory.databases.get(name).cloned().unwrap_or_default();
        let home = directory.groups.first().ok_or_else(starting_up)?;
        let mut lane = self.control.open_group(home, &Place::CATALOG.database(name)).await?;
        if self.system.get().is_none() {
            let facts = SystemFacts::read(&read(&mut lane, catalog::SYSTEM).await?)?;
            // Another reading of the same server would have said the same.
            let _ = self.system.set(facts);
        }
        let results = read(&mut lane, catalog::CATALOG).await?;
        let version = snapshot.versions.of(name);
        let (catalog, user_types) = catalog::catalog(&results, version, self.system()?, &database)?;
        drop(lane);

        let readings = directory
            .groups
            .iter()
            .enumerate()
            .map(async |(index, group)| (index, self.read_types(group, &Place::HOME.database(name)).await));
        // A group that cannot be asked has the types it had, as long as there are the same.
        let before = self.cached(name).filter(|before| before.user_types.same_declared(&user_types));
        let mut types = HashMap::new();
        for (index, reading) in join_all(readings).await {
            let group = GroupIndex(index);
            match reading {
                Ok(there) => drop(types.insert(group, TypeMap::new(&there, &user_types))),
                Err(error) => {
                    tracing::debug!(%error, database = name, group = directory.groups[index].name, "types not read");
                    *unsettled = true;
                    if let Some(known) = before.as_ref().and_then(|before| before.types.get(&group)) {
                        types.insert(group, known.clone());
                    }
                }
            }
        }
        let places = [Place::CATALOG, Place::HOME];
        *unsettled |= places.iter().any(|place| snapshot.pending.contains(&place.database(name)));
        Ok(Arc::new(DatabaseFacts {
            id: next_facts_id(),
            name: name.to_owned(),
            directory_version: directory.version,
            directory: directory.clone(),
            database,
            catalog,
            user_types,
            types,
            views: Arc::default(),
            floors: Arc::default(),
        }))
    }

    fn system(&self) -> Result<&SystemFacts> {
        self.system.get().ok_or_else(starting_up)
    }

    async fn read_types(&self, group: &Group, database: &str) -> Result<UserTypes> {
        let mut lane = self.control.open_group(group, database).await?;
        types_of(&read(&mut lane, catalog::TYPES).await?)
    }

    /// What a transaction that has changed the catalog or the directory sees of them: read through its own lanes.
    ///
    /// # Errors
    /// As [`Participants::run`].
    pub async fn facts_within(&self, tx: &mut dyn Participants, database: &str) -> Result<Arc<DatabaseFacts>> {
        let results = selected(tx.run(Place::DIRECTORY, None, store::LOAD).await?);
        let directory = Arc::new(store::load(&results)?);
        let own = directory.databases.get(database).cloned().unwrap_or_default();
        let before = self.cached(database);
        let version = before.as_ref().map_or(0, |facts| facts.catalog.version);
        let results = selected(tx.run(Place::CATALOG, Some("pg_catalog"), catalog::CATALOG).await?);
        let (catalog, user_types): (Catalog, UserTypes) = catalog::catalog(&results, version, self.system()?, &own)?;
        let types = match before {
            // Row types of new tables stay unknown until the commit; they show in whole-row values only.
            Some(before) if before.user_types.same_declared(&user_types) => before.types.clone(),
            _ => {
                let mut types = HashMap::new();
                for index in (0..directory.groups.len()).map(GroupIndex) {
                    let results = selected(tx.run(Place::data(index), Some("pg_catalog"), catalog::TYPES).await?);
                    types.insert(index, TypeMap::new(&types_of(&results)?, &user_types));
                }
                types
            }
        };
        Ok(Arc::new(DatabaseFacts {
            id: next_facts_id(),
            name: database.to_owned(),
            directory_version: directory.version,
            directory,
            database: own,
            catalog,
            user_types,
            types,
            views: Arc::default(),
            floors: Arc::default(),
        }))
    }

    /// One look whether anything changed.
    async fn look(&self) -> Result<()> {
        let mut reading = self.reading.lock().await;
        let changed = !self.is_ready() || self.versions(&mut reading).await? != reading.versions;
        if changed || reading.unsettled {
            self.reread(&mut reading).await?;
        }
        if self.list_members().await? {
            self.reread(&mut reading).await?;
        }
        Ok(())
    }

    /// Enters members that the groups' agents name into the directory, or what has changed of them; whether there were any.
    async fn list_members(&self) -> Result<bool> {
        let directory = self.directory();
        let mut unlisted = self.nodes.unlisted();
        unlisted.retain(|(group, _)| directory.groups.iter().any(|known| known.name == *group));
        if unlisted.is_empty() {
            return Ok(false);
        }
        let changes: Vec<String> = unlisted.iter().map(|(group, node)| store::add_node(node, group)).collect();
        let (mut lane, _) = self.open_directory().await?;
        in_time(&mut lane, async |lane| lane.query(&format!("BEGIN; {}; COMMIT", changes.join("; "))).await).await?;
        for (group, node) in &unlisted {
            tracing::info!(
                node = node.name,
                group,
                agent = node.agent_address,
                "the directory has a member of the group"
            );
        }
        Ok(true)
    }
}

async fn in_time<T>(lane: &mut Lane, work: impl AsyncFnOnce(&mut Lane) -> Result<T>) -> Result<T> {
    let node = lane.node().to_string();
    match tokio::time::timeout(POLL_WITHIN, work(lane)).await {
        Ok(done) => done,
        Err(_) => {
            let reason = format!("the directory did not answer within {} s", POLL_WITHIN.as_secs());
            Err(Error::unreachable(node, reason))
        }
    }
}

fn types_of(results: &[ResultSet]) -> Result<UserTypes> {
    results.first().map_or_else(|| Ok(UserTypes::default()), catalog::user_types)
}

fn starting_up() -> Error {
    Error::sql(sqlstate::CANNOT_CONNECT_NOW, "the database system is starting up")
        .with_detail("The cluster's directory has not been read yet: home is not reachable, or the cluster has not been bootstrapped.")
}

/// Looks once a second and when a group has another primary, for as long as somebody uses the keeper.
async fn poll(keeper: std::sync::Weak<Keeper>) {
    let mut failing = false;
    loop {
        let Some(keeper) = keeper.upgrade() else { return };
        let mut changes = keeper.leaders.changes();
        match keeper.look().await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("home answers again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "home cannot be read; trying again every second");
            }
            Err(error) => tracing::debug!(%error, "home still cannot be read"),
        }
        drop(keeper);
        tokio::time::sleep(PAUSE).await;
        // An error here is the keeper's end, which the next round sees.
        let _ = tokio::time::timeout(POLL, changes.changed()).await;
    }
}
