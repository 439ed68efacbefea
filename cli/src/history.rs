//! `atoll group history`: who led when, and what happened.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use atoll_control::record::{GroupRecord, Policy};
use atoll_proto::v1::{GroupEvent, HistoryRequest};

use crate::options::Settings;
use crate::output;
use crate::reach::Reached;
use crate::rpc;
use crate::status::{table, trimmed};

/// # Errors
/// When there is no such group, or no agent of it answers.
pub async fn run(settings: &Settings, reached: &mut Reached, group: &str) -> anyhow::Result<()> {
    reached.group(group)?;
    let reply =
        reached.admin.history(HistoryRequest { group: group.to_owned() }).await.map_err(rpc::plain)?.into_inner();
    let record: GroupRecord = serde_json::from_str(&reply.record).context("the group's record")?;
    if settings.json {
        output::show(serde_json::to_string_pretty(&json(group, &record, &reply.events))?);
    } else {
        output::show(text(group, &record, &reply.events));
    }
    Ok(())
}

/// `2026-07-04T12:00:00.250Z`.
fn at(unix_ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(unix_ms)).to_string()
}

fn json(group: &str, record: &GroupRecord, events: &[GroupEvent]) -> serde_json::Value {
    let history = record.history.iter().map(|reign| {
        serde_json::json!({
            "epoch": reign.epoch, "leader": reign.leader, "timeline": reign.timeline, "start_lsn": reign.start_lsn,
            "since": at(reign.since_ms), "reason": reign.reason,
        })
    });
    let events = events.iter().map(|event| {
        serde_json::json!({
            "at": at(event.at_ms), "node": event.node, "epoch": event.epoch, "kind": event.kind, "message": event.message,
        })
    });
    serde_json::json!({
        "group": group,
        "epoch": record.epoch,
        "leader": record.leader,
        "members": record.members.keys().collect::<Vec<_>>(),
        "policy": record.policy,
        "paused": record.wish.paused,
        "history": history.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
    })
}

fn text(group: &str, record: &GroupRecord, events: &[GroupEvent]) -> String {
    let Policy { synchronous, strict } = record.policy;
    let promise = match (synchronous, strict) {
        (0, _) => "asynchronous".to_owned(),
        (w, true) => format!("synchronous to {w}, strict"),
        (w, false) => format!("synchronous to {w}"),
    };
    let members: Vec<_> = record.members.keys().map(String::as_str).collect();
    let mut history = table(["EPOCH", "LEADER", "TIMELINE", "FROM", "SINCE", "REASON"], &[0, 2, 3]);
    for reign in &record.history {
        history.add_row([
            reign.epoch.to_string(),
            reign.leader.clone(),
            reign.timeline.to_string(),
            reign.start_lsn.clone(),
            at(reign.since_ms),
            reign.reason.clone(),
        ]);
    }
    let mut story = table(["TIME", "NODE", "EPOCH", "WHAT", ""], &[2]);
    for event in events {
        story.add_row([
            at(event.at_ms),
            event.node.clone(),
            event.epoch.to_string(),
            event.kind.clone(),
            event.message.clone(),
        ]);
    }
    let paused = if record.wish.paused { "; paused" } else { "" };
    let mut text = format!("{group}: {}; {promise}{paused}\n\n{}", members.join(", "), trimmed(&history));
    if !events.is_empty() {
        text += &format!("\n\n{}", trimmed(&story));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_control::record::Reign;

    fn record() -> GroupRecord {
        let reign = Reign {
            epoch: 2,
            leader: "g1-n2".to_owned(),
            timeline: 2,
            start_lsn: "0/3000060".to_owned(),
            since_ms: 1_700_000_000_250,
            reason: "the lease of g1-n1 ran out".to_owned(),
        };
        GroupRecord { epoch: 2, leader: "g1-n2".to_owned(), history: vec![reign], ..Default::default() }
    }

    #[test]
    fn times_are_readable_in_both_forms() {
        let event = GroupEvent {
            at_ms: 1_700_000_001_000,
            group: "g1".to_owned(),
            node: "g1-n2".to_owned(),
            kind: "promoted".to_owned(),
            message: "leads on timeline 2".to_owned(),
            epoch: 2,
        };
        let json = json("g1", &record(), std::slice::from_ref(&event));
        assert_eq!(json["history"][0]["since"], "2023-11-14T22:13:20.250Z");
        assert_eq!(json["events"][0]["at"], "2023-11-14T22:13:21.000Z");
        assert_eq!(json["policy"]["synchronous"], 1);
        let text = text("g1", &record(), &[event]);
        assert!(text.starts_with("g1: ; synchronous to 1\n"), "{text}");
        assert!(text.contains("2  g1-n2          2  0/3000060  2023-11-14T22:13:20.250Z  the lease of"), "{text}");
        assert!(text.contains("promoted  leads on timeline 2"), "{text}");
    }
}
