//! Roles on other groups: copies of home's, so that every client can log in everywhere as itself.

use atoll_planner::directory::Group;
use atoll_planner::{quote_identifier, quote_literal};

use super::keeper::Keeper;
use super::rows::Rows;
use crate::error::{Error, Result};

/// Home's roles as statements, in an order in which they can run; `CREATE ROLE` only where the role is not there yet.
const STATEMENTS: &str = "\
    SELECT rolname, format('ALTER ROLE %I %s %s %s %s %s %s %s CONNECTION LIMIT %s PASSWORD %L VALID UNTIL %L', rolname, \
        CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END, \
        CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, \
        CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, \
        CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END, \
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, rolconnlimit, rolpassword, coalesce(rolvaliduntil, 'infinity')) \
        FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY oid; \
    SELECT format('GRANT %I TO %I%s', granted.rolname, member.rolname, CASE WHEN admin_option THEN ' WITH ADMIN OPTION' ELSE '' END) \
        FROM pg_auth_members JOIN pg_authid AS granted ON granted.oid = roleid JOIN pg_authid AS member ON member.oid = pg_auth_members.member; \
    SELECT rolname, to_json(setconfig) FROM pg_db_role_setting JOIN pg_authid ON pg_authid.oid = setrole WHERE setdatabase = 0";

/// Settings whose values are lists of names that are already quoted as they must be.
const LISTS: [&str; 6] = [
    "search_path",
    "temp_tablespaces",
    "local_preload_libraries",
    "session_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
];

/// Creates home's roles on a group, or brings them in line: attributes, passwords, memberships, settings.
///
/// # Errors
/// What PostgreSQL says; 57P03 when either cannot be reached.
pub(super) async fn copy(keeper: &Keeper, home: &Group, group: &Group) -> Result<()> {
    let mut lane = keeper.control.open_group(home, "postgres").await?;
    let results = lane.query(STATEMENTS).await?;
    let [roles, memberships, settings] = results.as_slice() else {
        return Err(Error::internal(format!("the roles came in {} results", results.len())));
    };
    let mut lane = keeper.control.open_group(group, "postgres").await?;
    let present = lane.query("SELECT rolname FROM pg_roles").await?;
    let present: Vec<&str> = present.iter().flat_map(Rows::new).filter_map(|row| row.maybe(0)).collect();
    // Verifiers must not get into the server's log.
    let mut sql =
        "SET log_statement = 'none'; SET log_min_error_statement = panic; SET client_min_messages = warning; BEGIN"
            .to_owned();
    let mut add = |statement: &str| {
        sql.push_str("; ");
        sql.push_str(statement);
    };
    for row in Rows::new(roles).filter(|row| !row.maybe(0).is_some_and(|name| present.contains(&name))) {
        add(&format!("CREATE ROLE {}", quote_identifier(row.text(0)?)));
    }
    for row in Rows::new(roles) {
        add(row.text(1)?);
    }
    for row in Rows::new(memberships) {
        add(row.text(0)?);
    }
    for row in Rows::new(settings) {
        let role = quote_identifier(row.text(0)?);
        for pair in row.names(1)? {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = if LISTS.contains(&name) { value.to_owned() } else { quote_literal(value) };
            let name: Vec<String> = name.split('.').map(quote_identifier).collect();
            add(&format!("ALTER ROLE {role} SET {} = {value}", name.join(".")));
        }
    }
    add("COMMIT");
    lane.query(&sql).await.map(drop)
}
