//! Asks every node something a few times a second, while some session reads from replicas: how long that takes says who is to be left
//! alone.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::targets::{Routing, Target};
use crate::directory::Control;
use crate::error::Result;

/// How often a node is asked.
const PROBE_EVERY: Duration = Duration::from_millis(150);
/// How often it is looked what the answers say.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long it is asked on after the last session wanted a replica.
const WANTED_WITHIN: Duration = Duration::from_secs(60);
/// How long it is waited after a node could not be asked.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

const QUESTION: &str = "SELECT 1";

/// Asks, and looks, until `routing` is gone. Must be called on the control runtime.
pub async fn run(routing: Weak<Routing>, control: Arc<Control>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asking: HashMap<u64, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        looks.tick().await;
        let Some(routing) = routing.upgrade() else { return };
        if !routing.is_wanted(WANTED_WITHIN) {
            asking.clear();
            continue;
        }
        let targets = routing.targets();
        asking.retain(|term, _| targets.iter().any(|target| target.term == *term));
        for target in targets {
            asking
                .entry(target.term)
                .or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(ask(target.clone(), control.clone()))));
        }
        routing.look();
    }
}

/// Asks one node, for as long as it is what it is.
async fn ask(target: Arc<Target>, control: Arc<Control>) {
    target.begin_asking();
    loop {
        if let Err(error) = keep_asking(&target, &control).await {
            tracing::debug!(%error, node = target.node.name, "a node cannot be asked whether it answers");
        }
        if target.fence.is_cancelled() {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn keep_asking(target: &Target, control: &Control) -> Result<()> {
    // Without an answer to this, too, the node is stuck.
    target.asked();
    let mut lane = control.open_target(target, "postgres").await?;
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        target.asked();
        lane.query(QUESTION).await?;
        target.answered();
    }
}
