//! Connections are killed while several replicas submit, perform and cancel; afterwards every promise holds.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic and say what it has seen"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{Database, PgActionTypes, PgLeases, PgSubmissions, WakeupHub};
use deed_domain::action::{
    ActionType, ActionTypeName, Grant, LeaseRef, NewAction, NewEvent, Outcome, Payload,
    PerformedBy, Priority,
};
use deed_domain::caller::Reach;
use deed_domain::id::{ActionId, UserId};
use deed_domain::idempotency::{Idempotency, IdempotencyKey, IdempotencyScope};
use deed_domain::ports::{
    ActionTypes as _, Append, Appended, ClaimRequest, Clock as _, Finish, Finished, Ids as _,
    Leases as _, Submissions as _, Submitted,
};
use deed_domain::scope::TypeReach;
use deed_testkit::TestDatabase;
use tokio::task::JoinSet;

const FOR: Duration = Duration::from_secs(4);
/// Short, so that leases are lost and late writes happen.
const LEASE: Duration = Duration::from_millis(150);

#[derive(Default)]
struct Counts {
    submitted: AtomicUsize,
    faults: AtomicUsize,
    kills: AtomicUsize,
    lost: AtomicUsize,
    finished: AtomicUsize,
}

struct Chaos {
    url: String,
    is_over: AtomicBool,
    counts: Counts,
}

impl Chaos {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn replica(&self) -> (PgSubmissions, PgLeases) {
        let database = Database::new(&self.url, 4).unwrap();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        (
            PgSubmissions::new(database.clone(), hub.clone()),
            PgLeases::new(database, hub),
        )
    }
}

fn echo() -> ActionTypeName {
    ActionTypeName::parse("echo").unwrap()
}

fn message(text: &str) -> NewEvent {
    NewEvent::message(Payload::parse(&format!("\"{text}\"")).unwrap())
}

/// Submits with keys, each until there is an answer; answers which key was acknowledged as which action.
async fn submit(chaos: Arc<Chaos>, name: usize) -> HashMap<String, ActionId> {
    let (submissions, _) = chaos.replica();
    let mut acknowledged = HashMap::new();
    for number in 0.. {
        if !chaos.goes_on() {
            break;
        }
        // Two submitters share each key.
        let key = format!("{}-{number}", name / 2);
        let idempotency = Idempotency {
            scope: IdempotencyScope::of(None, "/actions"),
            key: IdempotencyKey::parse(&key).unwrap(),
            request_hash: [1; 32],
        };
        loop {
            let id = ActionId::from_uuid(SystemIds.time_ordered());
            let action = NewAction {
                id,
                user_id: UserId::from_uuid(SystemIds.time_ordered()),
                api_key_id: None,
                action_type: echo(),
                priority: Priority::default(),
                max_attempts: 100,
                run_at: None,
                retry_of: None,
                input: Payload::empty_object(),
                traceparent: None,
                max_queued: None,
            };
            match submissions.submit(action, Some(idempotency.clone())).await {
                Ok(Submitted::New) => {
                    acknowledged.insert(key, id);
                    break;
                }
                Ok(Submitted::Replayed(first)) => {
                    acknowledged.insert(key, first);
                    break;
                }
                Ok(Submitted::InFlight) => {}
                Ok(other) => panic!("{other:?}"),
                Err(_) => {
                    chaos.counts.faults.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        chaos.counts.submitted.fetch_add(1, Ordering::Relaxed);
        // As many as are performed: what is taken away is to be performed again soon.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    acknowledged
}

/// Performs; now and then dawdles until its lease is lost, and writes all the same.
async fn perform(chaos: Arc<Chaos>, name: usize) {
    let (submissions, leases) = chaos.replica();
    let mut turn = name;
    while chaos.goes_on() {
        let request = ClaimRequest {
            types: vec![echo()],
            max: 8,
            worker: name.to_string(),
            lease: Some(LEASE),
        };
        let Ok(grants) = leases.claim(&request).await else {
            continue;
        };
        if grants.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for grant in grants {
            turn += 1;
            let lease = grant.lease.id;
            // Each grant writes its own name, so that a foreign chunk shows.
            let chunk = message(&lease.lease_id.to_string());
            let append = Append {
                lease,
                from_seq: grant.lease.next_seq,
                events: vec![chunk.clone(), chunk.clone()],
                checkpoint: None,
            };
            let appended = leases
                .append(std::slice::from_ref(&append), &TypeReach::All)
                .await;
            match turn % 7 {
                0 => {
                    tokio::time::sleep(LEASE * 2).await;
                    write_late(&leases, &grant).await;
                }
                1 => continue,
                2 => drop(
                    submissions
                        .cancel(lease.action_id, &Reach::EVERYTHING)
                        .await,
                ),
                3 => {
                    let _ = leases.release(&[lease]).await;
                    continue;
                }
                _ => {}
            }
            // An append without an answer is sent again, as it was.
            let next = match appended {
                Ok(verdicts) => verdicts[0],
                Err(_) => match leases.append(&[append], &TypeReach::All).await {
                    Ok(verdicts) => verdicts[0],
                    Err(_) => continue,
                },
            };
            let Appended::Written { next_seq, .. } = next else {
                continue;
            };
            let outcome = outcome(lease);
            let finish = Finish {
                lease,
                from_seq: Some(next_seq),
                events: vec![chunk],
                outcome,
            };
            match leases.finish(&[finish]).await.as_deref() {
                Ok([Finished::Lost]) => chaos.counts.lost.fetch_add(1, Ordering::Relaxed),
                Ok(_) => chaos.counts.finished.fetch_add(1, Ordering::Relaxed),
                Err(_) => chaos.counts.faults.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}

/// Writes wherever the log of another holder may have got to by now, and ends its action.
async fn write_late(leases: &PgLeases, grant: &Grant) {
    let lease = grant.lease.id;
    let chunk = message(&format!("late {}", lease.lease_id));
    for _ in 0..3 {
        for ahead in 2..14 {
            let from_seq = grant.lease.next_seq.plus(ahead);
            let late = Append {
                lease,
                from_seq,
                events: vec![chunk.clone()],
                checkpoint: None,
            };
            let _ = leases.append(&[late], &TypeReach::All).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let late = Finish {
        lease,
        from_seq: None,
        events: vec![],
        outcome: outcome(lease),
    };
    let _ = leases.finish(&[late]).await;
}

/// Each holder ends its action with its own name.
fn outcome(lease: LeaseRef) -> Outcome {
    Outcome::Succeeded(Payload::parse(&format!("\"{}\"", lease.lease_id)).unwrap())
}

async fn sweep(chaos: Arc<Chaos>) {
    let (_, leases) = chaos.replica();
    while chaos.goes_on() {
        let _ = leases.rescue(50).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn kill(chaos: Arc<Chaos>, client: tokio_postgres::Client, schema: String) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
               WHERE application_name = $1 AND state = 'active' ORDER BY random() LIMIT 1) one";
    while chaos.goes_on() {
        let killed: i64 = client.query_one(sql, &[&schema]).await.unwrap().get(0);
        chaos
            .counts
            .kills
            .fetch_add(usize::try_from(killed).unwrap(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Breaches of what is promised; each row names one.
const BREACHES: &str = "
    SELECT 'not in exactly one place' AS breach, a.id::text FROM actions a
      WHERE (SELECT count(*) FROM action_queue q WHERE q.action_id = a.id)
          + (SELECT count(*) FROM action_leases l WHERE l.action_id = a.id)
          + (SELECT count(*) FROM action_results r WHERE r.action_id = a.id) <> 1
    UNION ALL
    SELECT 'a log with gaps', action_id::text FROM action_events GROUP BY action_id
      HAVING min(seq) <> 1 OR max(seq) <> count(*)
    UNION ALL
    SELECT 'a log that does not end where it says', s.id::text FROM action_states s
      WHERE s.last_seq <> (SELECT max(seq) FROM action_events e WHERE e.action_id = s.id)
    UNION ALL
    SELECT 'something after the end, or an end without a result', e.action_id::text FROM action_events e
      LEFT JOIN action_results r ON r.action_id = e.action_id
      WHERE e.event = 'done' AND (r.action_id IS NULL OR r.last_seq <> e.seq)
    UNION ALL
    SELECT 'a result without an end', r.action_id::text FROM action_results r
      WHERE NOT EXISTS (SELECT FROM action_events e WHERE e.action_id = r.action_id AND e.event = 'done')
    UNION ALL
    SELECT 'an action without a log', a.id::text FROM actions a
      WHERE NOT EXISTS (SELECT FROM action_events e WHERE e.action_id = a.id)
    UNION ALL
    SELECT 'a key without its action', k.key FROM idempotency_keys k
      WHERE NOT EXISTS (SELECT FROM actions a WHERE a.id = k.resource_id)
    UNION ALL
    SELECT 'an action of another request with the key', a.id::text FROM actions a
      WHERE NOT EXISTS (SELECT FROM idempotency_keys k WHERE k.resource_id = a.id)
    UNION ALL
    -- Between two starts only one holder may have written.
    SELECT 'chunks of two holders in one attempt', action_id::text FROM (
      SELECT action_id, event, data, count(*) FILTER (WHERE event = 'started') OVER (PARTITION BY action_id ORDER BY seq) AS attempt
      FROM action_events) e
      WHERE event = 'message' GROUP BY action_id, attempt HAVING count(DISTINCT right(data, 37)) > 1
    UNION ALL
    SELECT 'ended by another than its holder', action_id::text FROM action_results WHERE output <> to_json(lease_id)::text
    UNION ALL
    SELECT 'chunks twice', action_id::text FROM action_events WHERE event = 'message' AND data NOT LIKE '\"late%'
      GROUP BY action_id, data HAVING count(*) > 3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_break_no_promise() {
    let test = TestDatabase::fresh().await;
    let type_of_test = ActionType::new(echo(), PerformedBy::Handler);
    PgActionTypes::new(test.database())
        .register_handlers(&[type_of_test])
        .await
        .unwrap();
    let name = format!("chaos {}", SystemIds.time_ordered().simple());
    let url = format!(
        "{}&application_name={}",
        test.url(),
        name.replace(' ', "%20")
    );
    let chaos = Arc::new(Chaos {
        url,
        is_over: AtomicBool::new(false),
        counts: Counts::default(),
    });
    let mut submitters = JoinSet::new();
    let mut others = JoinSet::new();
    for number in 0..4 {
        submitters.spawn(submit(Arc::clone(&chaos), number));
        others.spawn(perform(Arc::clone(&chaos), number));
    }
    others.spawn(sweep(Arc::clone(&chaos)));
    others.spawn(sweep(Arc::clone(&chaos)));
    others.spawn(kill(Arc::clone(&chaos), test.client().await, name));
    SystemClock.sleep(FOR).await;
    chaos.is_over.store(true, Ordering::Relaxed);
    let acknowledged = submitters.join_all().await;
    others.join_all().await;

    let client = test.client().await;
    let breaches = client.query(BREACHES, &[]).await.unwrap();
    let breaches: Vec<(String, String)> = breaches
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(breaches, [], "{} in all", breaches.len());
    let rows = client
        .query("SELECT key, resource_id::text FROM idempotency_keys", &[])
        .await
        .unwrap();
    let stored: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (key, id) in acknowledged.into_iter().flatten() {
        assert_eq!(
            stored.get(&key),
            Some(&id.to_string()),
            "{key} was acknowledged"
        );
    }
    let Counts {
        submitted,
        faults,
        kills,
        lost,
        finished,
    } = &chaos.counts;
    let counts =
        [submitted, faults, kills, lost, finished].map(|count| count.load(Ordering::Relaxed));
    println!("submitted, faults, kills, lost, finished: {counts:?}");
    assert!(
        counts.iter().all(|count| *count > 0),
        "there was chaos: {counts:?}"
    );
}
