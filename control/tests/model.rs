//! Every interleaving of three nodes, their replication and their lease store, within bounds: what the nodes do is `decide` itself.
//!
//! The store's lease may expire at any moment, also while its holder goes on believing in it (clocks that drift beyond every bound, an
//! agent that is stopped): that no acknowledged write is lost must not rest on time. That no two nodes serve at once does rest on time,
//! and is checked in a model where a lease ends only after its holder's deadline.

use std::collections::{BTreeMap, BTreeSet};

use atoll_control::decide::{Action, Data, Patience, Position, Postgres, Seen, Tenure, decide};
use atoll_control::quorum::SyncSet;
use atoll_control::record::{Electorate, GroupRecord, Member, Policy, Reign};
use atoll_control::store::Leader;
use stateright::{Checker, Model, Property};

const NAMES: [&str; 3] = ["a", "b", "c"];
const NODES: usize = NAMES.len();
/// The moment at which everything happens, and a deadline after it.
const NOW: u64 = 100;
const LATER: u64 = 1000;

/// One write: the timeline it was made on, and its number.
type Write = (u32, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Store {
    revision: u64,
    record: Record,
    lease: Option<(usize, u64)>,
}

/// What matters of a `GroupRecord`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    epoch: u64,
    leader: usize,
    electorate: Electorate,
    /// (epoch, leader, timeline, writes before it)
    history: Vec<(u64, usize, u32, u64)>,
}

impl Record {
    fn full(&self, strict: bool) -> GroupRecord {
        let reigns = self.history.iter().map(|(epoch, leader, timeline, start)| Reign {
            epoch: *epoch,
            leader: NAMES[*leader].to_owned(),
            timeline: *timeline,
            start_lsn: format!("0/{start:X}"),
            since_ms: 0,
            reason: String::new(),
        });
        GroupRecord {
            epoch: self.epoch,
            leader: NAMES[self.leader].to_owned(),
            electorate: self.electorate.clone(),
            members: NAMES.iter().map(|name| ((*name).to_owned(), Member::default())).collect(),
            policy: Policy { synchronous: 1, strict },
            history: reigns.collect(),
            ..GroupRecord::default()
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Server {
    Down,
    Replica { upstream: Option<usize> },
    Primary { sync: SyncSet, since: u64 },
}

/// Record, revision and lease (whose, and of which epoch).
type Reading = (Record, u64, Option<(usize, u64)>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    alive: bool,
    server: Server,
    data: Data,
    log: Vec<Write>,
    timeline: u32,
    tenure: Option<Tenure>,
    serving: bool,
    /// As last read.
    view: Option<Reading>,
    reports: BTreeMap<usize, (u64, Position)>,
    recruited: u64,
}

impl Node {
    fn position(&self) -> Position {
        Position { timeline: self.timeline, lsn: self.log.len() as u64 }
    }

    fn epoch(&self) -> u64 {
        self.tenure.map_or(0, |tenure| tenure.epoch)
    }

    fn stop(&mut self) {
        self.server = Server::Down;
        self.serving = false;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    store: Store,
    nodes: Vec<Node>,
    /// In the order of their acknowledgement.
    acknowledged: Vec<Write>,
    /// Who acknowledged in which epoch.
    writers: BTreeSet<(u64, usize)>,
    written: u8,
    expiries: u8,
    crashes: u8,
}

impl World {
    /// How much of one log the other has, from the beginning.
    fn shared(&self, one: usize, other: usize) -> usize {
        let (left, right) = (&self.nodes[one].log, &self.nodes[other].log);
        left.iter().zip(right).take_while(|(left, right)| left == right).count()
    }

    fn streams(&self, at: usize) -> bool {
        let Server::Replica { upstream: Some(upstream) } = self.nodes[at].server else { return false };
        let source = &self.nodes[upstream];
        source.alive
            && matches!(source.server, Server::Primary { .. })
            && self.shared(upstream, at) == self.nodes[at].log.len()
    }

    fn reading(&self) -> Reading {
        (self.store.record.clone(), self.store.revision, self.store.lease)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Event {
    /// The node reads the store.
    Read(usize),
    /// The node decides and acts; calls reach the nodes in the set (bits).
    Act(usize, u8),
    Write(usize),
    /// One write travels to a replica.
    Stream(usize),
    Acknowledge(usize),
    Expire,
    Crash(usize),
    Restart(usize),
}

#[derive(Clone)]
struct Group {
    strict: bool,
    /// Leases end only after their holder's deadline, at which it has stopped.
    timely: bool,
    writes: u8,
    expiries: u8,
    crashes: u8,
    epochs: u64,
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).unwrap()
}

impl Group {
    /// What the node would do, and whether it would serve.
    fn decision(&self, world: &World, at: usize) -> Option<(Action, bool)> {
        let node = &world.nodes[at];
        let (record, _, lease) = node.view.as_ref()?;
        let record = record.full(self.strict);
        let leader = lease.map(|(leader, epoch)| Leader { node: NAMES[leader].to_owned(), epoch });
        let fresh = node.reports.iter().filter(|(_, (epoch, _))| *epoch == record.epoch + 1);
        let reports = fresh.map(|(from, (_, position))| (NAMES[*from].to_owned(), *position)).collect();
        let postgres = match &node.server {
            Server::Down => Postgres::Down { failed_starts: 0 },
            Server::Replica { upstream } => Postgres::Replica {
                upstream: upstream.map(|upstream| NAMES[upstream].to_owned()),
                position: node.position(),
                streamed: if world.streams(at) { NOW } else { 0 },
            },
            Server::Primary { sync, since } => {
                let follows = |other: &usize| {
                    let replica = &world.nodes[*other];
                    replica.alive && replica.server == Server::Replica { upstream: Some(at) } && world.streams(*other)
                };
                let followers: Vec<usize> = (0..NODES).filter(|other| *other != at).filter(follows).collect();
                let has_all = |other: &&usize| {
                    world.shared(at, **other) as u64 >= *since && world.nodes[**other].timeline == node.timeline
                };
                let name = |other: &usize| NAMES[*other].to_owned();
                Postgres::Primary {
                    sync: sync.clone(),
                    confirmed: followers.iter().filter(has_all).map(name).collect(),
                    streamed: followers.iter().map(|other| (name(other), NOW)).collect(),
                }
            }
        };
        let seen = Seen {
            me: NAMES[at],
            now: NOW,
            patience: Patience { standby_ms: 10, stalled_ms: 10, ..Patience::default() },
            record: &record,
            lease: Some(leader.as_ref()),
            free_since: 0,
            tenure: node.tenure,
            data: node.data,
            postgres: &postgres,
            serving: node.serving,
            reports: &reports,
            recruited: node.recruited,
            abstains_until: 0,
            founder: false,
            rewind_failed: false,
        };
        let decision = decide(&seen);
        Some((decision.action, decision.serve))
    }

    fn act(&self, world: &mut World, at: usize, reached: u8) -> Option<()> {
        let (action, serve) = self.decision(world, at)?;
        let (record, revision, _) = world.nodes[at].view.clone()?;
        let held = world.nodes[at].tenure.is_some_and(|tenure| world.store.lease == Some((at, tenure.epoch)));
        world.nodes[at].serving = serve;
        match action {
            Action::Wait => {}
            Action::Initdb | Action::Join => return None,
            Action::Acquire { epoch } => {
                if epoch > self.epochs {
                    return None;
                }
                if world.store.lease.is_some() || world.store.revision != revision {
                    world.nodes[at].view = Some(world.reading());
                    return Some(());
                }
                world.store.record.epoch = epoch;
                world.store.revision += 1;
                world.store.lease = Some((at, epoch));
                world.nodes[at].tenure = Some(Tenure { epoch, deadline: LATER, leased: true });
                world.nodes[at].view = Some(world.reading());
            }
            Action::Resume => {
                let (_, epoch) = world.store.lease.filter(|(leader, _)| *leader == at)?;
                world.nodes[at].tenure = Some(Tenure { epoch, deadline: LATER, leased: true });
            }
            Action::StepDown { .. } => {
                world.nodes[at].stop();
                world.nodes[at].tenure = None;
                if held {
                    world.store.lease = None;
                }
            }
            Action::Record(_) | Action::Establish(_) => {
                if !held || world.store.revision != revision {
                    world.nodes[at].view = Some(world.reading());
                    return Some(());
                }
                let node = &world.nodes[at];
                let mut record = record;
                match action {
                    Action::Establish(electorate) => {
                        let begun = record.history.iter().rev().find(|reign| reign.2 == node.timeline);
                        let Server::Primary { since, .. } = node.server else { return None };
                        let start = begun.map_or(since, |reign| reign.3);
                        record.history.push((node.epoch(), at, node.timeline, start));
                        (record.leader, record.electorate) = (at, electorate);
                    }
                    Action::Record(electorate) => record.electorate = electorate,
                    _ => return None,
                }
                world.store.record = record;
                world.store.revision += 1;
                world.nodes[at].view = Some(world.reading());
            }
            Action::Recruit { epoch } => {
                // Who is asked looks for itself whether the lease is free.
                if world.store.lease.is_some() || world.store.record.epoch + 1 != epoch {
                    world.nodes[at].view = Some(world.reading());
                    return Some(());
                }
                for other in record.electorate.members.iter().map(|member| index(member)) {
                    let node = &mut world.nodes[other];
                    let is_asked = other == at || reached & (1 << other) != 0;
                    if !is_asked || !node.alive || !matches!(node.server, Server::Replica { .. }) {
                        continue;
                    }
                    node.recruited = node.recruited.max(epoch);
                    node.server = Server::Replica { upstream: None };
                    let position = node.position();
                    world.nodes[at].reports.insert(other, (epoch, position));
                }
            }
            Action::StartPrimary(sync) => {
                let node = &mut world.nodes[at];
                node.data = Data::Led { epoch: node.epoch(), timeline: node.timeline };
                node.server = Server::Primary { sync, since: node.log.len() as u64 };
            }
            Action::StartReplica { upstream } => {
                world.nodes[at].server = Server::Replica { upstream: upstream.map(|name| index(&name)) };
            }
            Action::Follow { upstream } => {
                world.nodes[at].server = Server::Replica { upstream: Some(index(&upstream)) };
            }
            Action::Promote(sync) => {
                let node = &mut world.nodes[at];
                node.timeline += 1;
                node.data = Data::Led { epoch: node.epoch(), timeline: node.timeline };
                node.server = Server::Primary { sync, since: node.log.len() as u64 };
            }
            Action::SetSync(sync) => {
                let node = &mut world.nodes[at];
                node.server = Server::Primary { sync, since: node.log.len() as u64 };
            }
            Action::Stop { .. } => world.nodes[at].stop(),
            Action::Rewind { source } | Action::Rebuild { source } => {
                let source = &world.nodes[index(&source)];
                if !source.alive || !matches!(source.server, Server::Primary { .. }) {
                    return None;
                }
                let (log, timeline) = (source.log.clone(), source.timeline);
                let node = &mut world.nodes[at];
                node.stop();
                (node.log, node.timeline, node.data) = (log, timeline, Data::Standby);
            }
        }
        Some(())
    }

    /// The next write that the primary may acknowledge: its standbys have it.
    fn acknowledgeable(world: &World, at: usize) -> Option<Write> {
        let node = &world.nodes[at];
        let Server::Primary { sync, .. } = &node.server else { return None };
        let place = node.log.iter().position(|write| !world.acknowledged.contains(write))?;
        let have = sync.members.iter().filter(|name| world.shared(at, index(name)) > place);
        (node.serving && have.count() >= sync.quorum).then(|| node.log[place])
    }
}

impl Model for Group {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let everybody = SyncSet { members: vec!["b".to_owned(), "c".to_owned()], quorum: 1 };
        let record = Record { epoch: 1, leader: 0, electorate: everybody.electorate(), history: vec![(1, 0, 1, 0)] };
        let store = Store { revision: 1, record, lease: Some((0, 1)) };
        let view = Some((store.record.clone(), store.revision, store.lease));
        let replica = Node {
            alive: true,
            server: Server::Replica { upstream: Some(0) },
            data: Data::Standby,
            log: Vec::new(),
            timeline: 1,
            tenure: None,
            serving: false,
            view,
            reports: BTreeMap::new(),
            recruited: 0,
        };
        let primary = Node {
            server: Server::Primary { sync: everybody, since: 0 },
            data: Data::Led { epoch: 1, timeline: 1 },
            tenure: Some(Tenure { epoch: 1, deadline: LATER, leased: true }),
            serving: true,
            ..replica.clone()
        };
        vec![World {
            store,
            nodes: vec![primary, replica.clone(), replica],
            acknowledged: Vec::new(),
            writers: BTreeSet::new(),
            written: 0,
            expiries: 0,
            crashes: 0,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        for (at, node) in world.nodes.iter().enumerate() {
            if !node.alive {
                events.push(Event::Restart(at));
                continue;
            }
            if node.view != Some(world.reading()) {
                events.push(Event::Read(at));
            }
            match self.decision(world, at) {
                None => {}
                Some((Action::Wait, serve)) if serve == node.serving => {}
                Some((Action::Recruit { .. }, _)) => {
                    let others = (0..1_u8 << NODES).filter(|reached| reached & (1 << at) == 0);
                    events.extend(others.map(|reached| Event::Act(at, reached)));
                }
                Some(_) => events.push(Event::Act(at, u8::MAX)),
            }
            if node.serving && world.written < self.writes {
                events.push(Event::Write(at));
            }
            if let Server::Replica { upstream: Some(upstream) } = node.server
                && world.streams(at)
                && world.nodes[upstream].position() != node.position()
            {
                events.push(Event::Stream(at));
            }
            if Self::acknowledgeable(world, at).is_some() {
                events.push(Event::Acknowledge(at));
            }
            if world.crashes < self.crashes {
                events.push(Event::Crash(at));
            }
        }
        if let Some((leader, epoch)) = world.store.lease
            && world.expiries < self.expiries
        {
            let holder = &world.nodes[leader];
            let holds = holder.alive && (holder.epoch() == epoch || holder.serving);
            if !(self.timely && holds) {
                events.push(Event::Expire);
            }
        }
    }

    fn next_state(&self, last: &World, event: Event) -> Option<World> {
        let mut world = last.clone();
        match event {
            Event::Read(at) => world.nodes[at].view = Some(world.reading()),
            Event::Act(at, reached) => self.act(&mut world, at, reached)?,
            Event::Write(at) => {
                world.written += 1;
                let write = (world.nodes[at].timeline, world.written);
                world.nodes[at].log.push(write);
            }
            Event::Stream(at) => {
                let Server::Replica { upstream: Some(upstream) } = world.nodes[at].server else { return None };
                let (have, timeline) = (world.nodes[at].log.len(), world.nodes[upstream].timeline);
                let next = world.nodes[upstream].log.get(have).copied();
                world.nodes[at].log.extend(next);
                world.nodes[at].timeline = timeline;
            }
            Event::Acknowledge(at) => {
                let write = Self::acknowledgeable(&world, at)?;
                world.acknowledged.push(write);
                world.writers.insert((last.nodes[at].epoch(), at));
            }
            Event::Expire => {
                world.expiries += 1;
                world.store.lease = None;
            }
            Event::Crash(at) => {
                world.crashes += 1;
                let node = &mut world.nodes[at];
                node.stop();
                node.alive = false;
                (node.tenure, node.view, node.recruited) = (None, None, 0);
                node.reports.clear();
            }
            Event::Restart(at) => world.nodes[at].alive = true,
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("an acknowledged write is in every later primary", |_, world: &World| {
                let established = world.store.record.history.last().map_or(0, |reign| reign.0);
                let newest = world.nodes.iter().filter(|node| node.serving && node.epoch() >= established);
                newest
                    .max_by_key(|node| node.epoch())
                    .is_none_or(|node| world.acknowledged.iter().all(|write| node.log.contains(write)))
            }),
            Property::always("one writer in an epoch", |_, world: &World| {
                let epochs: BTreeSet<u64> = world.writers.iter().map(|(epoch, _)| *epoch).collect();
                epochs.len() == world.writers.len()
            }),
            Property::always("one node serves", |group: &Group, world: &World| {
                !group.timely || world.nodes.iter().filter(|node| node.serving).count() <= 1
            }),
            Property::sometimes("another node takes over", |_, world: &World| {
                world.nodes.iter().skip(1).any(|node| node.serving) && !world.acknowledged.is_empty()
            }),
            Property::sometimes("the old primary comes back as a replica", |_, world: &World| {
                world.nodes[0].data == Data::Standby && matches!(world.nodes[0].server, Server::Replica { .. })
            }),
        ]
    }
}

fn check(group: Group) {
    let checker = group.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn nothing_acknowledged_is_lost_whatever_the_clocks_do() {
    check(Group { strict: false, timely: false, writes: 1, expiries: 1, crashes: 1, epochs: 2 });
}

/// Takes minutes: `cargo test --release -p atoll-control --test model -- --ignored`.
#[test]
#[ignore = "millions of states"]
fn nor_through_two_elections() {
    check(Group { strict: false, timely: false, writes: 1, expiries: 2, crashes: 0, epochs: 3 });
}

#[test]
fn one_node_serves_while_clocks_keep_within_the_bound() {
    check(Group { strict: true, timely: true, writes: 1, expiries: 1, crashes: 1, epochs: 2 });
}
