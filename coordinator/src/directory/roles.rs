//! Roles, their settings, and the databases as the servers list them: read from home, where the truth is.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use super::rows::Rows;
use crate::error::{Error, Result};
use crate::lane::ResultSet;

/// Reads what [`Roles::read`] needs.
pub const ROLES: &str = "\
    SELECT rolname, rolcanlogin, rolsuper, rolconnlimit, rolpassword, \
           CASE WHEN isfinite(rolvaliduntil) THEN floor(extract(epoch FROM rolvaliduntil) * 1000000)::bigint END \
        FROM pg_authid; \
    SELECT datname, rolname, to_json(setconfig) FROM pg_db_role_setting \
        LEFT JOIN pg_database ON pg_database.oid = setdatabase LEFT JOIN pg_authid ON pg_authid.oid = setrole; \
    SELECT datname, datallowconn, datconnlimit, pg_get_userbyid(datdba) FROM pg_database";

/// How many results [`ROLES`] has.
pub const ROLES_RESULTS: usize = 3;

#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub can_login: bool,
    pub superuser: bool,
    /// -1 for no limit.
    pub connection_limit: i32,
    /// As in pg_authid: a SCRAM verifier, an MD5 hash, or nothing.
    pub verifier: Option<String>,
    /// The password is no longer accepted from then on.
    pub valid_until: Option<SystemTime>,
}

impl Role {
    /// Whether a password is still accepted.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }
}

/// A database of home's PostgreSQL, catalog databases among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub allows_connections: bool,
    /// -1 for no limit.
    pub connection_limit: i32,
    pub owner: String,
}

/// ALTER ROLE ... SET and ALTER DATABASE ... SET, by database and role (`None` for all of them).
type SettingsByScope = HashMap<(Option<String>, Option<String>), Vec<(String, String)>>;

/// One version of all roles and databases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles {
    by_name: HashMap<String, Role>,
    settings: SettingsByScope,
    pub databases: BTreeMap<String, Listed>,
}

impl Roles {
    /// From the results of [`ROLES`].
    ///
    /// # Errors
    /// XX000 when the results have another shape.
    pub fn read(results: &[ResultSet]) -> Result<Self> {
        let [roles, settings, databases] = results else {
            return Err(Error::internal(format!("the roles came in {} results", results.len())));
        };
        let mut all = Self::default();
        for row in Rows::new(roles) {
            let valid_until = match row.maybe(5) {
                None => None,
                Some(_) => Some(from_microseconds(row.parse(5)?)),
            };
            let role = Role {
                can_login: row.is_true(1),
                superuser: row.is_true(2),
                connection_limit: row.parse(3)?,
                verifier: row.maybe(4).map(str::to_owned),
                valid_until,
            };
            all.by_name.insert(row.text(0)?.to_owned(), role);
        }
        for row in Rows::new(settings) {
            let pairs = row.names(2)?;
            let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
            let scope = (row.maybe(0).map(str::to_owned), row.maybe(1).map(str::to_owned));
            all.settings.insert(scope, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        }
        for row in Rows::new(databases) {
            let listed = Listed {
                allows_connections: row.is_true(1),
                connection_limit: row.parse(2)?,
                owner: row.text(3)?.to_owned(),
            };
            all.databases.insert(row.text(0)?.to_owned(), listed);
        }
        Ok(all)
    }

    pub fn get(&self, name: &str) -> Option<&Role> {
        self.by_name.get(name)
    }

    /// The settings that a login of `role` to the logical database starts with, as PostgreSQL decides between several: those of the role in
    /// this database, of the role, of the database, of all.
    pub fn settings(&self, role: &str, database: &str) -> BTreeMap<String, String> {
        let scopes = [(None, None), (Some(database), None), (None, Some(role)), (Some(database), Some(role))];
        let mut merged = BTreeMap::new();
        for (database, role) in scopes {
            let scope = (database.map(str::to_owned), role.map(str::to_owned));
            merged.extend(self.settings.get(&scope).into_iter().flatten().cloned());
        }
        merged
    }
}

fn from_microseconds(since_1970: i64) -> SystemTime {
    let distance = Duration::from_micros(since_1970.unsigned_abs());
    if since_1970 < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_scope_wins() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let scope = |database: &str, role: &str| {
            let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            (some(database), some(role))
        };
        let roles = Roles {
            settings: HashMap::from([
                (scope("", ""), vec![pair("work_mem", "1MB"), pair("jit", "off")]),
                (scope("app", ""), vec![pair("work_mem", "2MB")]),
                (scope("", "bob"), vec![pair("work_mem", "3MB")]),
                (scope("app", "bob"), vec![pair("timezone", "UTC")]),
            ]),
            ..Roles::default()
        };
        assert_eq!(roles.settings("bob", "app")["work_mem"], "3MB");
        assert_eq!(roles.settings("eve", "app")["work_mem"], "2MB");
        assert_eq!(roles.settings("bob", "app").len(), 3);
        assert_eq!(roles.settings("bob", "other").get("timezone"), None);
    }
}
