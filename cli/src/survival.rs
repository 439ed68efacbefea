//! Whether a group would survive its primary now: a replica that streams is counted on only once that is recorded.

use std::time::Duration;

use atoll_control::record::GroupRecord;
use atoll_proto::auth::Token;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::process::POLL;
use crate::rpc;

/// How long a replica that streams may take to be counted on.
const WITHIN: Duration = Duration::from_secs(20);

/// Waits until the group with agents at these addresses counts on all the replicas named; false when it does not in time.
pub async fn wait(addresses: &[String], replicas: &[&str], token: &Token) -> bool {
    let deadline = Instant::now() + WITHIN;
    loop {
        let ask = async |address: &String| rpc::group_record(address, token).await;
        let records = join_all(addresses.iter().map(ask)).await;
        if records.iter().flatten().any(|record| counts_on(record, replicas)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL * 2).await;
    }
}

/// Whether these may elect a primary, as far as the group's policy has anybody elect.
fn counts_on(record: &GroupRecord, replicas: &[&str]) -> bool {
    let electorate = &record.electorate;
    let can_elect = electorate.reports <= electorate.members.len();
    let are_in = replicas.iter().all(|name| electorate.members.iter().any(|member| member == name));
    record.policy.synchronous == 0 || can_elect && are_in
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_control::record::{Electorate, Policy};

    #[test]
    fn a_replica_counts_once_it_can_elect() {
        let with = |members: &[&str], reports: usize| GroupRecord {
            electorate: Electorate { members: members.iter().map(|name| (*name).to_owned()).collect(), reports },
            ..GroupRecord::default()
        };
        assert!(!counts_on(&GroupRecord::default(), &["b"]));
        assert!(counts_on(&with(&["b"], 1), &["b"]));
        assert!(!counts_on(&with(&["b"], 1), &["b", "c"]));
        assert!(counts_on(&with(&["b", "c"], 2), &["b", "c"]));
        assert!(!counts_on(&with(&["b"], 2), &["b"]));
        let asynchronous = Policy { synchronous: 0, strict: false };
        assert!(counts_on(&GroupRecord { policy: asynchronous, ..GroupRecord::default() }, &["b"]));
    }
}
