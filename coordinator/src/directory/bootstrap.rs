//! Building a cluster: the directory's database, logical databases with their data databases on every group, and new groups.
//!
//! CREATE DATABASE cannot be part of a transaction, so every step looks first whether it has been done: what a crash interrupts, a second
//! run finishes. A lock in the directory lets one coordinator build at a time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use atoll_planner::directory::{Directory, Group, Node, ShardId, Table};
use atoll_planner::{quote_identifier, quote_literal};
use sha2::{Digest as _, Sha256};

use super::keeper::{DIRECTORY_DATABASE, Keeper};
use super::leaders::Asker;
use super::rows::Rows;
use super::{role_copies, store};
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::place::Place;

/// What every data database holds of Atoll's own.
const DATA_DATABASE: &str = include_str!("data_database.sql");
/// Any number that nothing else locks in the directory's database.
const BUILD_LOCK: i64 = 0x61_74_6f_6c_6c;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What guards Atoll's own functions in the data databases; `token` is the cluster token's text.
pub fn secret(token: &str) -> String {
    hex(Sha256::digest(format!("atoll-secret:{}", token.trim())))
}

/// Names that logical databases cannot have.
///
/// # Errors
/// 42939 for the directory's name, PostgreSQL's templates, and names like a data database's.
pub fn check_database_name(name: &str) -> Result<()> {
    let reserved = [DIRECTORY_DATABASE, "template0", "template1"].contains(&name) || name.ends_with("_data");
    if !reserved {
        return Ok(());
    }
    Err(Error::sql("42939", format!("database name \"{name}\" is reserved"))
        .with_detail("\"atoll\", PostgreSQL's templates and names that end in \"_data\" belong to Atoll itself."))
}

/// The directory's lane, holding the lock under which the cluster is built for as long as it lives.
async fn lock(keeper: &Keeper, home: &Group) -> Result<Lane> {
    let mut lane = keeper.control.open_group(home, DIRECTORY_DATABASE).await?;
    lane.query(&format!("SELECT pg_advisory_lock({BUILD_LOCK})")).await?;
    Ok(lane)
}

async fn exists(lane: &mut Lane, database: &str) -> Result<bool> {
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = {}", quote_literal(database));
    Ok(lane.query(&sql).await?.first().map(|set| set.scalar()).transpose()? == Some("1"))
}

/// CREATE DATABASE unless it exists; `options` as SQL.
async fn ensure_database(lane: &mut Lane, name: &str, options: &str) -> Result<()> {
    if exists(lane, name).await? {
        return Ok(());
    }
    match lane.query(&format!("CREATE DATABASE {} {options}", quote_identifier(name))).await {
        // Somebody else was faster.
        Err(error) if error.sqlstate() == "42P04" => Ok(()),
        created => created.map(drop),
    }
}

/// How long a new node's agent may take until its group has a primary.
const PRIMARY_WITHIN: Duration = Duration::from_secs(30);

/// Creates the directory with the home group in it, when it is not there.
async fn ensure_directory(keeper: &Keeper) -> Result<Group> {
    let home = keeper.home().await?;
    let mut lane = keeper.control.open_group(&home, "postgres").await?;
    ensure_database(&mut lane, DIRECTORY_DATABASE, "TEMPLATE template0").await?;
    lane.query(&format!("REVOKE CONNECT, TEMPORARY ON DATABASE {DIRECTORY_DATABASE} FROM PUBLIC")).await?;
    let mut lane = lock(keeper, &home).await?;
    let add_home = store::add_group(&home.name, home.epoch);
    lane.query(&format!("SET client_min_messages = warning; BEGIN; {}; {add_home}; COMMIT", store::TABLES)).await?;
    Ok(home)
}

async fn read_directory(lane: &mut Lane) -> Result<Directory> {
    store::load(&super::control::read(lane, store::LOAD).await?)
}

/// Makes a data database ready for lanes: schema `atoll` with its functions and the guard against DDL that comes another way.
async fn prepare_data_database(keeper: &Keeper, lane: &mut Lane) -> Result<()> {
    let hash = hex(Sha256::digest(keeper.settings.secret.as_bytes()));
    // The guard itself would refuse what follows; under this setting it does not fire.
    let sql = format!(
        "SET session_replication_role = replica; SET client_min_messages = warning; BEGIN; {DATA_DATABASE}; \
         DELETE FROM atoll.secret; INSERT INTO atoll.secret VALUES ('\\x{hash}'); COMMIT"
    );
    lane.query(&sql).await.map(drop)
}

/// Creates the shards' schemas of `public` in a prepared data database.
async fn ensure_slices(lane: &mut Lane, shards: &[ShardId]) -> Result<()> {
    let mut sql = "SET session_replication_role = replica; SET client_min_messages = warning; BEGIN; ".to_owned();
    for shard in shards {
        let slice = quote_identifier(&shard.schema("public"));
        let _ = write!(sql, "CREATE SCHEMA IF NOT EXISTS {slice}; GRANT USAGE ON SCHEMA {slice} TO PUBLIC; ");
    }
    sql.push_str("COMMIT");
    lane.query(&sql).await.map(drop)
}

/// The options that give a data database the encoding, locale and owner of its catalog database.
async fn data_database_options(home: &mut Lane, name: &str) -> Result<String> {
    let sql = format!(
        "SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, daticulocale, pg_get_userbyid(datdba) \
         FROM pg_database WHERE datname = {}",
        quote_literal(name)
    );
    let results = home.query(&sql).await?;
    let row = results
        .first()
        .and_then(|set| Rows::new(set).next())
        .ok_or_else(|| Error::sql("3D000", format!("database \"{name}\" does not exist")))?;
    let mut options = format!(
        "OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quote_identifier(row.text(5)?),
        quote_literal(row.text(0)?),
        quote_literal(row.text(1)?),
        quote_literal(row.text(2)?),
    );
    if let (Some("i"), Some(locale)) = (row.maybe(3), row.maybe(4)) {
        let _ = write!(options, " LOCALE_PROVIDER icu ICU_LOCALE {}", quote_literal(locale));
    }
    Ok(options)
}

/// Creates a logical database's data database on a group, with the slices of the shards that are there.
async fn ensure_data_database(
    keeper: &Keeper,
    group: &Group,
    name: &str,
    options: &str,
    shards: &[ShardId],
) -> Result<()> {
    let data = Place::HOME.database(name);
    let mut lane = keeper.control.open_group(group, "postgres").await?;
    ensure_database(&mut lane, &data, options).await?;
    let mut lane = keeper.control.open_group(group, &data).await?;
    prepare_data_database(keeper, &mut lane).await?;
    ensure_slices(&mut lane, shards).await
}

/// The shards of a database by group, also before it is open to clients.
async fn shards_by_group(directory: &mut Lane, database: &str) -> Result<HashMap<String, Vec<ShardId>>> {
    let sql = format!(
        "SELECT \"group\", shard FROM atoll.shards_by_name WHERE database = {} ORDER BY shard",
        quote_literal(database)
    );
    let mut shards: HashMap<String, Vec<ShardId>> = HashMap::new();
    for row in directory.query(&sql).await?.iter().flat_map(Rows::new) {
        shards.entry(row.text(0)?.to_owned()).or_default().push(ShardId(row.parse(1)?));
    }
    Ok(shards)
}

/// Creates a logical database's data databases on every group, and opens it to clients.
async fn finish_database(keeper: &Keeper, directory: &mut Lane, home: &Group, name: &str) -> Result<()> {
    let mut lane = keeper.control.open_group(home, "postgres").await?;
    let options = data_database_options(&mut lane, name).await?;
    let known = read_directory(directory).await?;
    let shards = shards_by_group(directory, name).await?;
    for group in &known.groups {
        // Home's own entry may have no node yet.
        let group = if group.name == home.name { home } else { group };
        if !group.nodes.is_empty() {
            let here = shards.get(&group.name).map(Vec::as_slice).unwrap_or_default();
            ensure_data_database(keeper, group, name, &options, here).await?;
        }
    }
    let sql = format!("BEGIN; {}; {}; COMMIT", store::open_database(name), store::bump_catalog(name));
    directory.query(&sql).await.map(drop)
}

/// Creates the logical databases, with `shards` shards for the first one, and gives the superuser a password unless it is empty. What is there
/// already stays as it is.
///
/// # Errors
/// 22023 for arguments out of range, 42939 for reserved names; what PostgreSQL says; 57P03 when a group cannot be reached.
pub async fn bootstrap(keeper: &Keeper, databases: &[String], shards: u32, superuser_password: &str) -> Result<()> {
    if !(1..=10_000).contains(&shards) {
        return Err(Error::sql(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("the number of shards must be between 1 and 10000, not {shards}"),
        ));
    }
    for name in databases {
        check_database_name(name)?;
    }
    let home = ensure_directory(keeper).await?;
    let mut directory = lock(keeper, &home).await?;
    if !superuser_password.is_empty() {
        let mut lane = keeper.control.open_group(&home, "postgres").await?;
        let sql = format!("ALTER ROLE postgres PASSWORD {}", quote_literal(superuser_password));
        lane.query(&format!("SET log_statement = 'none'; SET log_min_error_statement = panic; {sql}")).await?;
    }
    for name in databases {
        directory.query(&store::add_database(name)).await?;
        let mut lane = keeper.control.open_group(&home, "postgres").await?;
        ensure_database(&mut lane, name, "").await?;
    }
    let known = read_directory(&mut directory).await?;
    for group in known.groups.iter().filter(|group| group.name != home.name && !group.nodes.is_empty()) {
        role_copies::copy(keeper, &home, group).await?;
    }
    if let Some(first) = databases.first() {
        // Before the database is opened, so that its slices are made along with its data databases.
        let count = format!("SELECT count(*) FROM atoll.colocations WHERE database = {}", quote_literal(first));
        if directory.query(&count).await?.first().map(|set| set.scalar()).transpose()? == Some("0") {
            directory.query(&format!("BEGIN; {}; COMMIT", store::add_hash_colocation(first, None, shards))).await?;
        }
    }
    for name in databases {
        finish_database(keeper, &mut directory, &home, name).await?;
    }
    drop(directory);
    keeper.refresh().await
}

/// Registers a node, and its group when it is new: builds the group's databases and roles first. Again for a known node: brings what is
/// known of it up to date.
///
/// # Errors
/// 22023 when the agent at the address serves another node, 0A000 when a new group would lack what users have created, 57P03 when a node
/// cannot be reached.
pub async fn add_node(keeper: &Keeper, node: &Node, group_name: &str) -> Result<()> {
    let state = keeper.control.state(&node.agent_address, &node.agent_socket).await?;
    if (state.name.as_str(), state.group.as_str()) != (node.name.as_str(), group_name) {
        return Err(Error::sql(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!(
                "the agent at {} serves node \"{}\" of group \"{}\", not node \"{}\" of group \"{group_name}\"",
                node.agent_address, state.name, state.group, node.name
            ),
        ));
    }
    let home = ensure_directory(keeper).await?;
    let mut directory = lock(keeper, &home).await?;
    let known = read_directory(&mut directory).await?;
    let is_new = !known.groups.iter().any(|group| group.name == group_name && !group.nodes.is_empty());
    keeper.nodes.watch_address(group_name, &node.agent_address, &node.agent_socket);
    let added = async {
        let epoch = match is_new && group_name != home.name {
            true => build_group(keeper, &home, &known, group_name).await?,
            false => state.epoch,
        };
        let (add_group, add_node) = (store::add_group(group_name, epoch), store::add_node(node, group_name));
        directory.query(&format!("BEGIN; {add_group}; {add_node}; COMMIT")).await?;
        drop(directory);
        keeper.refresh().await
    }
    .await;
    // The directory's entry does from now on, or nothing.
    keeper.nodes.forget_address(group_name, &node.agent_address);
    added
}

/// Builds the databases and roles of a new group on its primary; yields that one's epoch.
async fn build_group(keeper: &Keeper, home: &Group, known: &Directory, name: &str) -> Result<u64> {
    let primary = keeper.leaders().wait(name, Asker::Control, PRIMARY_WITHIN).await?;
    let group = Group { name: name.to_owned(), epoch: primary.epoch, nodes: vec![primary.node.clone()] };
    role_copies::copy(keeper, home, &group).await?;
    for name in known.databases.keys() {
        refuse_user_objects(keeper, home, known, name).await?;
        let mut lane = keeper.control.open_group(home, "postgres").await?;
        let options = data_database_options(&mut lane, name).await?;
        ensure_data_database(keeper, &group, name, &options, &[]).await?;
    }
    Ok(primary.epoch)
}

/// A new group's data database starts empty: refuses it while there is something that must be on every group.
async fn refuse_user_objects(keeper: &Keeper, home: &Group, directory: &Directory, name: &str) -> Result<()> {
    let sql = "SELECT (SELECT count(*) FROM pg_proc WHERE oid >= 16384) \
        + (SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql') \
        + (SELECT count(*) FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_' AND nspname <> 'public') \
        + (SELECT count(*) FROM pg_type AS type LEFT JOIN pg_class ON pg_class.oid = typrelid \
           WHERE type.oid >= 16384 AND typtype IN ('e', 'd', 'r', 'm', 'b', 'c') AND typcategory <> 'A' \
             AND coalesce(relkind, 'c') = 'c')";
    let mut lane = keeper.control.open_group(home, name).await?;
    let objects = lane.query(sql).await?;
    let has_objects = objects.first().map(|set| set.scalar()).transpose()? != Some("0");
    let tables = directory.databases.get(name).into_iter().flat_map(|database| database.tables.values());
    if !has_objects && !tables.into_iter().any(|table| *table == Table::Reference) {
        return Ok(());
    }
    Err(Error::unsupported(
        format!("a group cannot be added once database \"{name}\" has objects of its users"),
        "Functions, types, schemas, extensions and reference tables are not copied to new groups yet.",
        "Add the group before they are created.",
    ))
}

/// CREATE DATABASE: creates a logical database as `role`, with `options` as the client wrote them.
///
/// # Errors
/// What PostgreSQL says of the statement (42P04, 42501, ...), 42939 for reserved names, 57P03 when a group cannot be reached; nothing is
/// left behind then.
pub async fn create_database(keeper: &Keeper, role: &str, name: &str, options: &str) -> Result<()> {
    check_database_name(name)?;
    let home = keeper.home().await?;
    let mut directory = lock(keeper, &home).await?;
    let mut lane = keeper.control.open_group(&home, "postgres").await?;
    lane.query(&format!("SET SESSION AUTHORIZATION {}", quote_identifier(role))).await?;
    lane.query(&format!("CREATE DATABASE {} {options}", quote_identifier(name))).await?;
    // From here on the catalog database is this call's to remove.
    let built = async {
        directory.query(&store::add_database(name)).await?;
        finish_database(keeper, &mut directory, &home, name).await
    }
    .await;
    if let Err(error) = built {
        if let Err(left) = remove_database(keeper, &mut directory, &home, name).await {
            tracing::warn!(error = %left, database = name, "a database that could not be created is not removed either");
        }
        return Err(error);
    }
    drop(directory);
    keeper.refresh().await
}

/// DROP DATABASE as `role`; false when there is none and `if_exists`. Without `force`, databases with sessions are the caller's to refuse
/// (55006): the lanes that pools keep to it do not count, and are ended.
///
/// # Errors
/// 3D000 when there is none, 42501 when it is not the role's, 57P03 when a group cannot be reached; what is left then, another DROP DATABASE
/// removes.
pub async fn drop_database(keeper: &Keeper, role: &str, name: &str, if_exists: bool) -> Result<bool> {
    let home = keeper.home().await?;
    let mut directory = lock(keeper, &home).await?;
    let known = format!("SELECT count(*) FROM atoll.databases WHERE name = {}", quote_literal(name));
    if directory.query(&known).await?.first().map(|set| set.scalar()).transpose()? != Some("1") {
        return if if_exists {
            Ok(false)
        } else {
            Err(Error::sql("3D000", format!("database \"{name}\" does not exist")))
        };
    }
    let owner = format!(
        "SELECT pg_has_role({}, datdba, 'USAGE') FROM pg_database WHERE datname = {}",
        quote_literal(role),
        quote_literal(name)
    );
    let owned = directory.query(&owner).await?;
    // No row: an earlier DROP DATABASE was interrupted after the catalog database was gone.
    if owned.first().and_then(|set| Rows::new(set).next()).is_some_and(|row| !row.is_true(0)) {
        return Err(Error::sql("42501", format!("must be owner of database {name}")));
    }
    directory.query(&format!("BEGIN; {}; COMMIT", store::close_database(name))).await?;
    keeper.refresh().await?;
    remove_database(keeper, &mut directory, &home, name).await?;
    drop(directory);
    keeper.refresh().await?;
    Ok(true)
}

async fn remove_database(keeper: &Keeper, directory: &mut Lane, home: &Group, name: &str) -> Result<()> {
    let mut lane = keeper.control.open_group(home, "postgres").await?;
    let drop_sql = |name: &str| format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_identifier(name));
    lane.query(&drop_sql(name)).await?;
    let known = read_directory(directory).await?;
    for group in known.groups.iter().filter(|group| !group.nodes.is_empty()) {
        let mut lane = keeper.control.open_group(group, "postgres").await?;
        lane.query(&drop_sql(&Place::HOME.database(name))).await?;
    }
    directory.query(&format!("BEGIN; {}; COMMIT", store::remove_database(name))).await.map(drop)
}
