//! Both lease stores, each against a real one.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_control::arbiter::{Arbiter, StartError};
use atoll_control::store::{Kind, LeaseStore, OpenError, StoreError, TlsFiles, open};
use support::arbiter::Running;
use support::certificates::Certificates;
use support::contest::{check, contend};
use support::etcd::Etcd;
use support::scenarios::{self, acquire, record};
use support::{CALL_TIMEOUT, client, free_ports, token};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// etcd grants none shorter with its defaults (1.5 election timeouts).
const ETCD_TTL: Duration = Duration::from_secs(2);
const ARBITER_TTL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_does_what_a_store_must() {
    let etcd = Etcd::start().await;
    scenarios::all(&|| client(Kind::Etcd, &etcd.endpoints), ETCD_TTL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arbiter_does_what_a_store_must() {
    let folder = tempfile::tempdir().unwrap();
    let arbiter = Running::start(Some(&folder.path().join("leases.json"))).await;
    scenarios::all(&|| client(Kind::Arbiter, &arbiter.endpoints()), ARBITER_TTL).await;
    arbiter.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_reached_over_tls_with_a_certificate_of_its_own() {
    let certificates = Certificates::make();
    let etcd = Etcd::start_with(Some(&certificates)).await;
    let with = |tls: &TlsFiles| {
        let endpoints: Vec<String> = etcd.endpoints.iter().map(|endpoint| format!("https://{endpoint}")).collect();
        open(Kind::Etcd, &endpoints, tls, "/a/", &token(), CALL_TIMEOUT).unwrap()
    };
    let known = TlsFiles {
        ca_file: certificates.path("ca.crt"),
        cert_file: certificates.path("node.crt"),
        key_file: certificates.path("node.key"),
    };
    let store = with(&known);
    acquire(&store, "g1", 0, &record("a", 1, ""), ETCD_TTL).await.unwrap();
    assert_eq!(store.read("g1").await.unwrap().record.leader, "a");
    // Neither a client that etcd does not know, nor a server that the client does not know.
    let nameless = TlsFiles { cert_file: "".into(), key_file: "".into(), ..known.clone() };
    let stranger = Certificates::make();
    let mistrusting = TlsFiles { ca_file: stranger.path("ca.crt"), ..known };
    for tls in [nameless, mistrusting] {
        let refused = with(&tls).read("g1").await;
        assert!(matches!(refused, Err(StoreError::Unreachable(_))), "{refused:?}");
    }
}

/// Lets six nodes contend while `trouble` goes on; how often the lease changed hands.
async fn contest(client: impl Fn() -> Arc<dyn LeaseStore>, ttl: Duration, end: Instant, trouble: impl Future) -> usize {
    let spans = Arc::new(Mutex::new(Vec::new()));
    let contenders: Vec<_> =
        (0..6).map(|i| tokio::spawn(contend(client(), format!("n{i}"), ttl, end, spans.clone()))).collect();
    trouble.await;
    for contender in contenders {
        contender.await.unwrap();
    }
    let mut spans = spans.lock().unwrap();
    check(&mut spans);
    let updates: u64 = spans.iter().map(|span| span.updates).sum();
    assert!(updates > 0);
    spans.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_never_has_two_leaders_while_its_own_leader_hangs_and_dies() {
    let mut etcd = Etcd::start().await;
    let endpoints = etcd.endpoints.clone();
    let end = Instant::now() + Duration::from_secs(25);
    let trouble = async {
        for _ in 0..2 {
            sleep(Duration::from_secs(4)).await;
            let leader = etcd.await_leader().await;
            etcd.freeze(leader);
            sleep(Duration::from_secs(4)).await;
            etcd.thaw(leader);
        }
        sleep(Duration::from_secs(2)).await;
        let leader = etcd.await_leader().await;
        etcd.kill(leader);
    };
    let leaderships = contest(|| client(Kind::Etcd, &endpoints), ETCD_TTL, end, trouble).await;
    assert!(leaderships >= 5, "{leaderships}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_arbiter_never_has_two_leaders_while_it_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leases.json");
    let arbiter = Running::start(Some(&file)).await;
    let endpoints = arbiter.endpoints();
    let end = Instant::now() + Duration::from_secs(15);
    let trouble = async {
        let mut arbiter = arbiter;
        for pause in [0, 100, 1500, 0] {
            sleep(Duration::from_secs(2)).await;
            let address = arbiter.stop().await;
            sleep(Duration::from_millis(pause)).await;
            arbiter = Running::start_on(&address, Some(&file)).await;
        }
        arbiter
    };
    let leaderships = contest(|| client(Kind::Arbiter, &endpoints), ARBITER_TTL, end, trouble).await;
    assert!(leaderships >= 5, "{leaderships}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_arbiter_has_all_records_and_leases_are_fresh_for_one_ttl() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leases.json");
    let arbiter = Running::start(Some(&file)).await;
    let store = client(Kind::Arbiter, &arbiter.endpoints());
    let ttl = Duration::from_secs(2);
    let (kept, _) = acquire(&store, "kept", 0, &record("a", 1, ""), ttl).await.unwrap();
    let (left, left_revision) = acquire(&store, "left", 0, &record("b", 1, ""), ttl).await.unwrap();
    let (released, released_revision) = acquire(&store, "released", 0, &record("c", 1, ""), ttl).await.unwrap();
    store.release("released", released).await.unwrap();
    sleep(ttl / 2).await;
    let before = store.read("kept").await.unwrap();
    let waiter = tokio::spawn({
        let (store, view) = (client(Kind::Arbiter, &arbiter.endpoints()), before.clone());
        async move { store.changed("kept", &view, Duration::from_secs(20)).await }
    });
    sleep(Duration::from_millis(200)).await;
    let address = arbiter.stop().await;
    assert!(
        matches!(waiter.await.unwrap(), Err(StoreError::Unreachable(_))),
        "a stopping arbiter keeps nobody waiting"
    );
    sleep(Duration::from_millis(500)).await;
    let restarted = Instant::now();
    let arbiter = Running::start_on(&address, Some(&file)).await;
    assert_eq!(store.read("kept").await.unwrap(), before);
    acquire(&store, "released", released_revision, &record("d", 2, ""), ttl).await.unwrap();
    // Of the first start both would have ended by now.
    while restarted.elapsed() < ttl - Duration::from_millis(200) {
        store.renew("kept", kept).await.unwrap();
        let stolen = acquire(&store, "left", left_revision, &record("d", 2, ""), ttl).await;
        assert!(stolen == Err(StoreError::Conflict) || restarted.elapsed() >= ttl, "{stolen:?}");
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(300)).await;
    let (newer, _) = acquire(&store, "left", left_revision, &record("d", 2, ""), ttl).await.unwrap();
    assert!(newer != left && newer != kept && newer != released, "ids are used once");
    store.renew("kept", kept).await.unwrap();
    arbiter.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_hosts_the_arbiter_and_others_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leases.json");
    let other = Running::start(None).await;
    let arbiter = Running::start(Some(&file)).await;
    let store = client(Kind::Arbiter, &[other.endpoint.clone(), arbiter.endpoint.clone()]);
    let (lease, _) = acquire(&store, "g1", 0, &record("a", 1, ""), Duration::from_secs(60)).await.unwrap();
    store.renew("g1", lease).await.unwrap();
    let lost = client(Kind::Arbiter, &other.endpoints()).read("g1").await;
    let Err(StoreError::Unreachable(reason)) = lost else { panic!("{lost:?}") };
    assert!(reason.contains("arbiter_file"), "{reason}");

    let stranger = atoll_proto::auth::Token::new("guess").unwrap();
    let stranger =
        open(Kind::Arbiter, &arbiter.endpoints(), &TlsFiles::default(), "", &stranger, CALL_TIMEOUT).unwrap();
    let refused = stranger.release("g1", lease).await;
    assert!(matches!(&refused, Err(StoreError::Unreachable(reason)) if reason.contains("token")), "{refused:?}");
    store.renew("g1", lease).await.unwrap();

    // Another process on the same file would grant what is granted. It waits, and takes over when the first has ended.
    let second = tokio::spawn({
        let file = file.clone();
        async move { Running::start(Some(&file)).await }
    });
    sleep(Duration::from_secs(1)).await;
    assert!(!second.is_finished());
    arbiter.stop().await;
    let second = second.await.unwrap();
    client(Kind::Arbiter, &second.endpoints()).renew("g1", lease).await.unwrap();
    second.stop().await;
    other.stop().await;

    std::fs::write(&file, "{").unwrap();
    let Err(error) = Arbiter::start(&file, CancellationToken::new()).await else { panic!("a broken file was taken") };
    assert!(matches!(error, StartError::File { .. }) && error.to_string().contains("leases.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_is_not_granted() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let arbiter = Running::start(Some(&home.join("leases.json"))).await;
    let store = client(Kind::Arbiter, &arbiter.endpoints());
    let (lease, revision) = acquire(&store, "g1", 0, &record("a", 1, ""), Duration::from_secs(60)).await.unwrap();
    std::fs::rename(&home, folder.path().join("away")).unwrap();
    let refused = acquire(&store, "g2", 0, &record("a", 1, ""), Duration::from_secs(60)).await;
    assert!(matches!(&refused, Err(StoreError::Unreachable(reason)) if reason.contains("leases.json")), "{refused:?}");
    let refused = store.update("g1", lease, revision, &record("a", 1, "new")).await;
    assert!(matches!(refused, Err(StoreError::Unreachable(_))), "{refused:?}");
    // What needs no writing goes on.
    store.renew("g1", lease).await.unwrap();
    assert_eq!(store.read("g1").await.unwrap().record, record("a", 1, ""));
    assert_eq!(store.read("g2").await.unwrap().leader, None);
    std::fs::rename(folder.path().join("away"), &home).unwrap();
    acquire(&store, "g2", 0, &record("a", 1, ""), Duration::from_secs(60)).await.unwrap();
    store.update("g1", lease, revision, &record("a", 1, "new")).await.unwrap();
    arbiter.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_in_etcd_is_kept_when_etcds_leader_dies() {
    let mut etcd = Etcd::start().await;
    let store = client(Kind::Etcd, &etcd.endpoints);
    let ttl = Duration::from_secs(6);
    let (lease, revision) = acquire(&store, "g1", 0, &record("a", 1, ""), ttl).await.unwrap();
    let view = store.read("g1").await.unwrap();
    let leader = etcd.await_leader().await;
    // One waits across the death, and hears of what happens after it.
    let waiter = tokio::spawn({
        let (store, view) = (client(Kind::Etcd, &etcd.endpoints), view.clone());
        async move {
            while let Err(error) = store.changed("g1", &view, Duration::from_secs(30)).await {
                assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
                sleep(Duration::from_millis(20)).await;
            }
            Instant::now()
        }
    });
    sleep(Duration::from_millis(500)).await;
    etcd.kill(leader);
    let mut renewed = Instant::now();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let sent = Instant::now();
        match store.renew("g1", lease).await {
            Ok(()) => renewed = sent,
            Err(error) => assert!(matches!(error, StoreError::Unreachable(_)), "the lease was lost: {error}"),
        }
        assert!(renewed.elapsed() < ttl, "the holder would have had to stop");
        sleep(Duration::from_millis(500)).await;
    }
    store.update("g1", lease, revision, &record("a", 1, "after")).await.unwrap();
    let done = Instant::now();
    let heard = waiter.await.unwrap();
    assert!(heard <= done + Duration::from_millis(200), "{:?}", heard - done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_costs_its_share_only() {
    let etcd = Etcd::start().await;
    let leader = etcd.await_leader().await;
    let hanging = (leader + 1) % 3;
    let mut endpoints = etcd.endpoints.clone();
    endpoints.swap(0, hanging);
    let store = client(Kind::Etcd, &endpoints);
    // Connected to it, and used to it.
    let (lease, revision) = acquire(&store, "g1", 0, &record("a", 1, ""), Duration::from_secs(60)).await.unwrap();
    let fresh = client(Kind::Etcd, &endpoints);
    etcd.freeze(hanging);
    for store in [&store, &fresh] {
        let asked = Instant::now();
        store.renew("g1", lease).await.unwrap();
        assert!(asked.elapsed() < CALL_TIMEOUT / 2, "{:?}", asked.elapsed());
        // From here on another is asked first.
        let asked = Instant::now();
        store.renew("g1", lease).await.unwrap();
        assert!(asked.elapsed() < CALL_TIMEOUT / 3, "{:?}", asked.elapsed());
    }
    fresh.update("g1", lease, revision, &record("a", 1, "new")).await.unwrap();
    etcd.thaw(hanging);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_majority_etcd_is_unreachable_and_says_why() {
    let mut etcd = Etcd::start().await;
    let store = client(Kind::Etcd, &etcd.endpoints);
    let (lease, revision) = acquire(&store, "g1", 0, &record("a", 1, ""), Duration::from_secs(60)).await.unwrap();
    let view = store.read("g1").await.unwrap();
    etcd.kill(0);
    etcd.kill(1);
    let asked = Instant::now();
    let next = record("a", 1, "new");
    let outcomes = [
        store.read("g1").await.map(drop),
        store.renew("g1", lease).await,
        store.update("g1", lease, revision, &next).await.map(drop),
        acquire(&store, "g2", 0, &next, Duration::from_secs(60)).await.map(drop),
        store.release("g1", lease).await,
    ];
    assert!(asked.elapsed() < (CALL_TIMEOUT + Duration::from_millis(300)) * 5, "{:?}", asked.elapsed());
    for outcome in outcomes {
        let Err(StoreError::Unreachable(reason)) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains(&etcd.endpoints[0]) && reason.contains("refused"), "{reason}");
    }
    let waited = store.changed("g1", &view, Duration::from_secs(1)).await;
    assert!(matches!(waited, Err(StoreError::Unreachable(_))), "{waited:?}");
}

#[tokio::test]
async fn endpoints_are_checked_when_a_store_is_opened() {
    let tried = |endpoints: &[&str]| {
        let endpoints: Vec<String> = endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect();
        open(Kind::Etcd, &endpoints, &TlsFiles::default(), "/a/", &token(), CALL_TIMEOUT).map(drop)
    };
    assert_eq!(tried(&[]), Err(OpenError::NoEndpoint));
    assert_eq!(tried(&["127.0.0.1:2379", "http://127.0.0.1:2379", "[::1]:2379"]), Ok(()));
    for wrong in ["", "host", "https://host", "host:x", "a b:1"] {
        assert_eq!(tried(&["h:1", wrong]), Err(OpenError::Endpoint { endpoint: wrong.into() }));
    }
    let https = "https://host:2379".to_owned();
    assert_eq!(tried(&[&https]), Err(OpenError::NoAuthority { endpoint: https.clone() }));
    let arbiter =
        open(Kind::Arbiter, std::slice::from_ref(&https), &TlsFiles::default(), "", &token(), CALL_TIMEOUT).map(drop);
    assert_eq!(arbiter, Err(OpenError::Endpoint { endpoint: https }));
    let nobody = [format!("127.0.0.1:{}", free_ports(1)[0])];
    for kind in [Kind::Etcd, Kind::Arbiter] {
        let refused = client(kind, &nobody).read("g1").await;
        let Err(StoreError::Unreachable(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(&nobody[0]) && reason.contains("refused"), "{reason}");
    }
}
