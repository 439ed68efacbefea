//! Fragments: which group runs what, on which lane, and their rows as Arrow.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_planner::directory::{GroupIndex, Shard};
use atoll_planner::plan::{Fragment, Template};
use atoll_proto::v1::{self, FragmentDone, Parameter};
use atoll_wire::backend::decode;
use atoll_wire::frames::next_frame;
use atoll_wire::frontend::format_of;
use atoll_wire::rows::{ColumnFormat, IpcReader};
use bytes::BytesMut;

use super::route::Route;
use crate::error::{Error, Result};
use crate::lane::{Lane, Reply, cancel};
use crate::place::Place;
use crate::session::extended::Bound;
use crate::session::{Held, Session};

/// How long a fragment may go on after it was told to stop before it is told again.
const STOP_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// One group's part of a fragment.
pub struct GroupFragment {
    pub group: GroupIndex,
    pub sql: String,
}

/// The lanes a statement scatters over, by group; several at once can be borrowed with [`Session::lanes_of`].
pub type Lanes = BTreeMap<GroupIndex, Held>;

impl Session {
    /// What each group runs for a fragment.
    ///
    /// # Errors
    /// As [`Session::route`].
    pub async fn group_fragments(&mut self, fragment: &Fragment, bound: Option<&Bound>) -> Result<Vec<GroupFragment>> {
        let mut parts = Vec::new();
        for (group, shards) in self.group_shards(fragment, bound).await? {
            let marked = union_all(&fragment.arm, &shards);
            parts.push(GroupFragment { group, sql: self.text_everywhere(&marked).await?.into_owned() });
        }
        Ok(parts)
    }

    /// The shards a fragment is of, by their groups.
    ///
    /// # Errors
    /// As [`Session::route`].
    pub async fn group_shards(
        &mut self,
        fragment: &Fragment,
        bound: Option<&Bound>,
    ) -> Result<BTreeMap<GroupIndex, Vec<Shard>>> {
        let facts = self.facts();
        let key_type = facts
            .database
            .colocations
            .get(&fragment.colocation)
            .and_then(|group| group.key_type)
            .ok_or_else(|| Error::internal("a fragment of a co-location group without a key"))?;
        Ok(by_group(&match self.route(fragment.colocation, key_type, &fragment.keys, bound).await? {
            Route::One(shard) => vec![shard],
            Route::Many(shards) => shards,
        }))
    }

    /// Takes (or joins) a lane of each group, standing at the session's own search_path.
    ///
    /// # Errors
    /// 53300, 57P03.
    pub async fn scatter_lanes(&mut self, groups: impl Iterator<Item = GroupIndex>) -> Result<Lanes> {
        let path = self.plain_path();
        let mut lanes = Lanes::new();
        for group in groups {
            if lanes.contains_key(&group) {
                continue;
            }
            let held = self.hold_ready(Place::data(group), &path).await?;
            lanes.insert(group, held);
        }
        Ok(lanes)
    }

    /// All of the lanes, to work on side by side.
    pub fn lanes_of<'a>(
        transaction: Option<&'a mut crate::session::transaction::Transaction>,
        pinned: &'a mut [(Place, crate::pool::Pooled)],
        lanes: &'a mut Lanes,
    ) -> BTreeMap<GroupIndex, &'a mut Lane> {
        let mut joined: BTreeMap<usize, GroupIndex> = BTreeMap::new();
        let mut kept: BTreeMap<usize, GroupIndex> = BTreeMap::new();
        let mut found: BTreeMap<GroupIndex, &'a mut Lane> = BTreeMap::new();
        for (group, held) in lanes.iter_mut() {
            match held {
                Held::Alone(_, lane) => {
                    found.insert(*group, &mut **lane);
                }
                Held::Joined(index) => {
                    joined.insert(*index, *group);
                }
                Held::Pinned(index) => {
                    kept.insert(*index, *group);
                }
            }
        }
        let participants = transaction.map(|transaction| transaction.participants.iter_mut()).into_iter().flatten();
        for (index, participant) in participants.enumerate() {
            if let Some(group) = joined.get(&index) {
                found.insert(*group, &mut participant.lane);
            }
        }
        for (index, (_, lane)) in pinned.iter_mut().enumerate() {
            if let Some(group) = kept.get(&index) {
                found.insert(*group, lane);
            }
        }
        found
    }

    /// Gives the lanes back.
    pub fn let_go_all(&mut self, lanes: Lanes) {
        for held in lanes.into_values() {
            self.let_go(held, false);
        }
    }

    /// The parameters of a statement for a group's backends.
    pub fn fragment_parameters(&self, bound: Option<&Bound>, group: GroupIndex) -> Vec<Parameter> {
        let Some(bound) = bound else { return Vec::new() };
        let facts = self.facts();
        let types = facts.types_of(group);
        bound
            .parameters
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let oid = bound.type_of(index);
                Parameter {
                    type_oid: types.map_or(oid, |types| types.from_catalog(oid)),
                    binary: format_of(&bound.parameter_formats, index) == 1,
                    null: value.is_none(),
                    value: value.clone().unwrap_or_default(),
                }
            })
            .collect()
    }
}

/// Shards by the group they are in.
pub fn by_group(shards: &[Shard]) -> BTreeMap<GroupIndex, Vec<Shard>> {
    let mut groups: BTreeMap<GroupIndex, Vec<Shard>> = BTreeMap::new();
    for shard in shards {
        groups.entry(shard.group).or_default().push(shard.clone());
    }
    groups
}

/// One arm per shard, with their marks.
pub fn union_all(arm: &Template, shards: &[Shard]) -> String {
    match shards {
        [one] => arm.render_marked(one.id),
        many => {
            let arms: Vec<String> = many.iter().map(|shard| format!("({})", arm.render_marked(shard.id))).collect();
            arms.join(" UNION ALL ")
        }
    }
}

/// A fragment request under this version of the facts; the lane says whether it is in a transaction.
pub fn request(sql: String, parameters: Vec<Parameter>, formats: &[ColumnFormat], version: u64) -> v1::Fragment {
    let column_formats = formats
        .iter()
        .map(|format| match format {
            ColumnFormat::Typed => v1::ColumnFormat::Typed,
            ColumnFormat::RawText => v1::ColumnFormat::RawText,
            ColumnFormat::RawBinary => v1::ColumnFormat::RawBinary,
        } as i32)
        .collect();
    v1::Fragment { sql, parameters, column_formats, in_transaction: false, version, once: false }
}

/// The next batch of a running fragment; `None` at its end.
///
/// # Errors
/// The shard's own error with the group in CONTEXT; [`Error::LaneLost`].
pub async fn next_batch(lane: &mut Lane, reader: &mut IpcReader) -> Result<Option<arrow_array::RecordBatch>> {
    let broken =
        |error: arrow_schema::ArrowError| Error::internal(format!("an agent's Arrow stream is broken: {error}"));
    loop {
        if let Some(batch) = reader.next_batch().map_err(broken)? {
            return Ok(Some(batch));
        }
        match lane.receive().await? {
            Reply::Arrow(chunk) => reader.push(chunk),
            Reply::FragmentDone(done) => {
                fragment_error(lane, &done)?;
                return reader.next_batch().map_err(broken);
            }
            Reply::Frames(_) => return Err(Error::internal("frames in the middle of a fragment")),
        }
    }
}

/// The error a fragment ended with, if it did.
///
/// # Errors
/// As said.
pub fn fragment_error(lane: &Lane, done: &FragmentDone) -> Result<()> {
    if done.error_frame.is_empty() {
        return Ok(());
    }
    let mut bytes = BytesMut::from(&done.error_frame[..]);
    let frame = next_frame(&mut bytes, usize::MAX)?.ok_or_else(|| Error::internal("an agent sent half an error"))?;
    let mut fields = decode::error_fields(frame.body_slice())?;
    if let Some(lost) = lane.last_word(&fields) {
        return Err(lost);
    }
    // The position is in the fragment's text, which the client has not written.
    fields.remove(b'P');
    fields.add_context(&format!("node \"{}\"", lane.node()));
    Err(Error::Server(Box::new(fields)))
}

/// Stops a lane's fragment, whose rows nobody wants any more, and reads what it still says.
pub async fn discard_rest(lane: &mut Lane) {
    while lane.busy && !lane.is_given_up() {
        if let Err(error) = cancel(lane.channel(), lane.backend_pid).await {
            tracing::debug!(%error, "a fragment could not be stopped; it is read to its end");
        }
        let rest = async { while lane.busy && lane.receive().await.is_ok() {} };
        // An interrupt that comes before the fragment has begun does nothing: it is sent again.
        if tokio::time::timeout(STOP_AGAIN_AFTER, rest).await.is_ok() {
            return;
        }
    }
}
