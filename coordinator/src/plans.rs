//! The plan cache: text, as the client sent it, to what it means under one version of the facts.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use atoll_merge::{Prepared, Unsupported};
use atoll_planner::directory::ShardId;
use atoll_planner::plan::Plan;
use atoll_planner::{Facts, only_reads, plan, scan};
use atoll_wire::backend::Column;
use atoll_wire::rows::ColumnFormat;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use tokio::sync::OnceCell;

use crate::execute::Expected;
use crate::facts::DatabaseFacts;

/// What a plan depends on besides the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    facts: u64,
    search_path: Arc<str>,
    text: String,
    types: Vec<u32>,
}

#[derive(PartialEq, Eq, Hash)]
struct KeyRef<'a> {
    facts: u64,
    search_path: &'a Arc<str>,
    text: &'a str,
    types: &'a [u32],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.facts == key.facts
            && self.text == key.text
            && self.search_path == &key.search_path
            && self.types == key.types
    }
}

/// One statement: its text, its plan, and what PostgreSQL says of its shape once somebody asked.
pub struct Statement {
    /// Unique in the process: names what backends have prepared.
    pub id: u64,
    pub text: String,
    /// The version of the facts, and the search_path, that it was planned under.
    facts: u64,
    search_path: Arc<str>,
    /// Parameter types as the client declared them (0: to be inferred).
    pub types: Vec<u32>,
    pub plan: Plan,
    pub description: OnceCell<Arc<Description>>,
    /// Columns of each fragment of a merge, as the shards describe them; in the plan's order.
    pub fragments: OnceCell<Vec<Vec<Column>>>,
    pub merges: Merges,
    /// What PostgreSQL expects of its only fragment, once it was asked.
    pub expected: OnceLock<Expected>,
    only_reads: OnceLock<bool>,
    grouped: OnceLock<Arc<Statement>>,
}

/// What the merge engine says of a statement, for each way it can be asked for: rows passed on as text, as binary or not at all, in the
/// simple or the extended protocol.
#[derive(Default)]
pub struct Merges([OnceLock<Result<Prepared, Unsupported>>; 6]);

impl Merges {
    pub fn of(&self, passed_on: Option<ColumnFormat>, extended: bool) -> &OnceLock<Result<Prepared, Unsupported>> {
        let format = match passed_on {
            None | Some(ColumnFormat::Typed) => 0,
            Some(ColumnFormat::RawText) => 1,
            Some(ColumnFormat::RawBinary) => 2,
        };
        &self.0[format * 2 + usize::from(extended)]
    }
}

impl Statement {
    /// Its text on a shard that takes another one than the client's.
    pub fn text_on(&self, shard: ShardId) -> String {
        match &self.plan {
            Plan::Sharded(sharded) => sharded.single.render(shard),
            _ => self.text.clone(),
        }
    }

    /// The same statement, for what is found out about its merge in which a fragment is grouped.
    pub fn grouped(&self) -> Arc<Statement> {
        let grouped = || Statement {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            text: self.text.clone(),
            facts: self.facts,
            search_path: self.search_path.clone(),
            types: self.types.clone(),
            plan: self.plan.clone(),
            description: self.description.clone(),
            fragments: OnceCell::new(),
            merges: Merges::default(),
            expected: OnceLock::new(),
            only_reads: OnceLock::new(),
            grouped: OnceLock::new(),
        };
        self.grouped.get_or_init(|| Arc::new(grouped())).clone()
    }

    /// Whether it provably changes nothing.
    pub fn only_reads(&self, facts: &DatabaseFacts, path: &[String]) -> bool {
        *self.only_reads.get_or_init(|| {
            let views = facts.views.read().unwrap_or_else(PoisonError::into_inner);
            let known = Facts { directory: &facts.database, catalog: &facts.catalog, search_path: path, views: &views };
            only_reads(&self.text, &known)
        })
    }

    /// Whether it would be planned alike now.
    pub fn is_planned_under(&self, facts: &DatabaseFacts, search_path: &Arc<str>) -> bool {
        self.facts == facts.id && (Arc::ptr_eq(&self.search_path, search_path) || self.search_path == *search_path)
    }
}

/// What Describe answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub parameters: Vec<u32>,
    /// `None` for a statement that returns no rows.
    pub columns: Option<Vec<Column>>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Statement>> for ByBytes {
    fn weight(&self, key: &Key, _: &Arc<Statement>) -> u64 {
        // The plan's pieces together are about as long as the text, a few times over.
        (key.text.len() * 6 + 1024) as u64
    }
}

/// Bounded in (estimated) bytes. A text is kept when it comes a second time: those with literals in them mostly come once, and would only
/// push out the others.
pub struct PlanCache {
    statements: Cache<Key, Arc<Statement>, ByBytes>,
    /// Hashes of texts that came once, each in the slot its low bits name.
    seen: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// Slots for texts that came once; a power of two.
const SEEN_SLOTS: usize = 1 << 14;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl PlanCache {
    pub fn new(bytes_max: u64) -> Self {
        Self {
            statements: Cache::with_weighter((bytes_max / 2048).max(16) as usize, bytes_max, ByBytes),
            seen: (0..SEEN_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Whether the text came before, as far as its slot remembers; it does from now on.
    fn has_seen(&self, key: &KeyRef<'_>) -> bool {
        let hash = self.hasher.hash_one(key);
        self.seen[hash as usize % SEEN_SLOTS].swap(hash, Ordering::Relaxed) == hash
    }

    /// The statement for a text (exactly one statement), planned now or before.
    pub fn statement(
        &self,
        facts: &DatabaseFacts,
        search_path: &Arc<str>,
        path: &[String],
        text: &str,
        types: &[u32],
    ) -> Arc<Statement> {
        let key = KeyRef { facts: facts.id, search_path, text, types };
        if let Some(found) = self.statements.get(&key) {
            return found;
        }
        let views = facts.views.read().unwrap_or_else(PoisonError::into_inner);
        let known = Facts { directory: &facts.database, catalog: &facts.catalog, search_path: path, views: &views };
        let planned = plan(text, &known);
        let statement = Arc::new(Statement {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            text: text.to_owned(),
            facts: facts.id,
            search_path: search_path.clone(),
            types: types.to_vec(),
            plan: planned,
            description: OnceCell::new(),
            fragments: OnceCell::new(),
            merges: Merges::default(),
            expected: OnceLock::new(),
            only_reads: OnceLock::new(),
            grouped: OnceLock::new(),
        });
        if matches!(statement.plan, Plan::Views(_)) || !self.has_seen(&key) {
            return statement;
        }
        let key =
            Key { facts: facts.id, search_path: search_path.clone(), text: text.to_owned(), types: types.to_vec() };
        self.statements.insert(key, statement.clone());
        statement
    }
}

/// The statements of a simple message, without the semicolons between them; blank ones are left out.
pub fn split_script(sql: &str) -> Vec<&str> {
    scan::split(sql).into_iter().map(|range| &sql[range]).collect()
}
