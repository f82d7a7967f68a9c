//! The pool, and what PostgreSQL's refusals mean, on a real server.

use super::*;
use deed_testkit::TestDatabase;
use diesel::sql_types::{Int4, Text};

#[test]
fn the_url_keeps_its_own_options_and_they_win() {
    let config =
        session_config("postgres://deed@/deed?host=%2Ftmp%2Fs&options=-csearch_path%3Dx").unwrap();
    let options = config.get_options().unwrap();
    assert!(options.starts_with("-c jit=off"), "{options}");
    assert!(options.ends_with("-csearch_path=x"), "{options}");
    assert_eq!(config.get_application_name(), Some("deed"));
}

#[test]
fn a_url_that_is_none_is_refused_and_not_repeated() {
    let error = session_config("postgres://user:secret@host:notaport/").unwrap_err();
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn pauses_grow_and_stay_short() {
    for attempt in 1..=RETRIES {
        let pause = pause(attempt);
        assert!(
            pause >= Duration::from_millis(5) && pause <= Duration::from_millis(160),
            "{pause:?}"
        );
    }
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    answer: String,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = Int4)]
    answer: i32,
}

async fn pool(size: usize) -> (TestDatabase, Database) {
    let test = TestDatabase::empty().await;
    let database = Database::new(&test.url(), size).unwrap();
    (test, database)
}

async fn text(database: &Database, sql: &'static str) -> Result<String, DbError> {
    let row = database
        .row::<TextRow>(Access::Read, &Statement::new(sql))
        .await?;
    Ok(row.expect("a row").answer)
}

async fn number(database: &Database, access: Access, sql: &'static str) -> Result<i32, DbError> {
    let row = database
        .row::<NumberRow>(access, &Statement::new(sql))
        .await?;
    Ok(row.expect("a row").answer)
}

const ONE: &str = "SELECT 1 AS answer";

#[tokio::test]
async fn sessions_have_their_settings() {
    let (_test, database) = pool(1).await;
    for (sql, expected) in [
        ("SELECT current_setting('jit') AS answer", "off"),
        (
            "SELECT current_setting('plan_cache_mode') AS answer",
            "force_generic_plan",
        ),
        ("SELECT current_setting('enable_seqscan') AS answer", "off"),
        (
            "SELECT current_setting('statement_timeout') AS answer",
            "5s",
        ),
        ("SELECT current_setting('lock_timeout') AS answer", "2s"),
        (
            "SELECT current_setting('idle_in_transaction_session_timeout') AS answer",
            "10s",
        ),
        (
            "SELECT current_setting('application_name') AS answer",
            "deed",
        ),
        ("SELECT current_setting('lc_messages') AS answer", "C"),
        ("SELECT current_setting('TimeZone') AS answer", "UTC"),
    ] {
        assert_eq!(text(&database, sql).await.unwrap(), expected, "{sql}");
    }
}

#[tokio::test]
async fn a_statement_is_prepared_once_a_connection() {
    let (_test, database) = pool(1).await;
    for _ in 0..3 {
        number(&database, Access::Read, ONE).await.unwrap();
    }
    let sql = "SELECT count(*)::int4 AS answer FROM pg_prepared_statements WHERE statement = 'SELECT 1 AS answer'";
    assert_eq!(number(&database, Access::Read, sql).await.unwrap(), 1);
}

#[tokio::test]
async fn a_read_without_an_answer_is_given_up_and_its_connection_with_it() {
    let (_test, database) = pool(1).await;
    let started = Instant::now();
    let slow = number(
        &database,
        Access::Read,
        "SELECT 1 AS answer FROM pg_sleep(4.5)",
    )
    .await;
    assert!(matches!(slow, Err(DbError::Unavailable(_))), "{slow:?}");
    let metrics = crate::metrics::exported(|registry| database.metrics().register(registry));
    for told in ["{kind=\"no_answer\"} 1\n", "{kind=\"unavailable\"} 0\n"] {
        let line = format!("database_errors_total{told}");
        assert!(metrics.contains(&line), "{line}");
    }
    assert!(
        started.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        started.elapsed()
    );
    let started = Instant::now();
    assert_eq!(number(&database, Access::Read, ONE).await.unwrap(), 1);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_write_may_take_longer_and_is_ended_by_the_server() {
    let (_test, database) = pool(1).await;
    assert_eq!(
        number(
            &database,
            Access::Write,
            "SELECT 1 AS answer FROM pg_sleep(3)"
        )
        .await
        .unwrap(),
        1
    );
    let slow = number(
        &database,
        Access::Write,
        "SELECT 1 AS answer FROM pg_sleep(60)",
    )
    .await;
    // Known to have failed, not unknown.
    assert!(matches!(slow, Err(DbError::Unavailable(_))), "{slow:?}");
}

#[tokio::test]
async fn a_dropped_request_leaves_no_connection_with_an_answer_outstanding() {
    let (_test, database) = pool(1).await;
    let request = database.clone();
    let task = tokio::spawn(async move {
        number(
            &request,
            Access::Read,
            "SELECT 1 AS answer FROM pg_sleep(4)",
        )
        .await
        .is_ok()
    });
    while database.statements() == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let started = Instant::now();
    assert_eq!(
        number(&database, Access::Read, "SELECT 2 AS answer")
            .await
            .unwrap(),
        2
    );
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn who_finds_no_connection_is_told_in_time() {
    let (_test, database) = pool(1).await;
    let holder = database.clone();
    let holding = tokio::spawn(async move {
        number(
            &holder,
            Access::Write,
            "SELECT 1 AS answer FROM pg_sleep(4)",
        )
        .await
        .is_ok()
    });
    while database.statements() == 0 {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    let refused = number(&database, Access::Write, ONE).await;
    assert!(
        matches!(refused, Err(DbError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(
        started.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        started.elapsed()
    );
    assert!(holding.await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_time() {
    let database = Database::new("postgres://deed@/deed?host=%2Fnowhere", 1).unwrap();
    let refused = number(&database, Access::Read, ONE).await;
    assert!(
        matches!(refused, Err(DbError::Unavailable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_connection_that_was_ended_is_replaced() {
    let (_test, database) = pool(1).await;
    let ended = number(
        &database,
        Access::Write,
        "SELECT 1 AS answer FROM (SELECT pg_terminate_backend(pg_backend_pid())) t",
    )
    .await;
    assert!(
        matches!(
            ended,
            Err(DbError::Unavailable(_) | DbError::OutcomeUnknown(_))
        ),
        "{ended:?}"
    );
    assert_eq!(number(&database, Access::Read, ONE).await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_to_a_server_that_became_read_only_is_replaced() {
    let (_test, database) = pool(1).await;
    database
        .batch("CREATE TABLE t (n int4); SET default_transaction_read_only = on")
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES (1) RETURNING n AS answer";
    let refused = number(&database, Access::Write, insert).await;
    assert!(
        matches!(refused, Err(DbError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(number(&database, Access::Write, insert).await.unwrap(), 1);
}

#[tokio::test]
async fn what_lost_against_a_neighbour_is_run_again_three_times() {
    let (_test, database) = pool(1).await;
    let function = "CREATE SEQUENCE tries;
        CREATE FUNCTION lose(times int8) RETURNS int4 LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('tries') <= times THEN RAISE EXCEPTION USING ERRCODE = '40001'; END IF;
          RETURN currval('tries')::int4;
        END $$";
    database.batch(function).await.unwrap();
    assert_eq!(
        number(&database, Access::Write, "SELECT lose(3) AS answer")
            .await
            .unwrap(),
        4
    );
    let lost = number(&database, Access::Write, "SELECT lose(100) AS answer").await;
    assert!(matches!(lost, Err(DbError::Contention(_))), "{lost:?}");
    let tries = number(
        &database,
        Access::Read,
        "SELECT last_value::int4 AS answer FROM tries",
    )
    .await
    .unwrap();
    assert_eq!(tries, 8, "four and four");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (_test, database) = pool(1).await;
    database
        .batch("CREATE TABLE t (n int4 CONSTRAINT t_n_key UNIQUE CONSTRAINT t_n_small CHECK (n < 10)); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    type Expected = fn(&DbError) -> bool;
    let cases: [(&str, Expected); 10] = [
        ("INSERT INTO t VALUES (1)", |error| {
            error.is_constraint("t_n_key")
        }),
        ("INSERT INTO t VALUES (10)", |error| {
            error.is_constraint("t_n_small")
        }),
        ("SELECT 'x'::int4", |error| {
            matches!(error, DbError::Value(_))
        }),
        ("SELECT 99999999999::int4", |error| {
            matches!(error, DbError::Value(_))
        }),
        ("SELECT '\\u0000'::jsonb::text", |error| {
            matches!(error, DbError::Value(_))
        }),
        ("SELECT convert_from('\\xff', 'UTF8')", |error| {
            matches!(error, DbError::Value(_))
        }),
        ("SELECT nothing", |error| {
            matches!(error, DbError::Statement(_))
        }),
        ("SELECT 1 / 0", |error| {
            matches!(error, DbError::Statement(_))
        }),
        (
            "SET statement_timeout = '10ms'; SELECT pg_sleep(5)",
            |error| matches!(error, DbError::Unavailable(_)),
        ),
        ("BEGIN READ ONLY; INSERT INTO t VALUES (2)", |error| {
            matches!(error, DbError::Unavailable(_))
        }),
    ];
    for (sql, is_expected) in cases {
        let error = database.batch(sql).await.unwrap_err();
        assert!(is_expected(&error), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn who_waits_for_a_lock_is_told_in_time() {
    let (test, database) = pool(2).await;
    database
        .batch("CREATE TABLE t (n int4); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let holder = test.client().await;
    holder
        .batch_execute("BEGIN; UPDATE t SET n = 2")
        .await
        .unwrap();
    let waited = number(
        &database,
        Access::Write,
        "UPDATE t SET n = 3 RETURNING n AS answer",
    )
    .await;
    assert!(matches!(waited, Err(DbError::Locked(_))), "{waited:?}");
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_deadlock_is_contention() {
    let (test, database) = pool(2).await;
    database
        .batch("CREATE TABLE t (n int4, m int4); INSERT INTO t VALUES (1), (2)")
        .await
        .unwrap();
    let other = test.client().await;
    other
        .batch_execute("SET deadlock_timeout = '10s'; BEGIN; UPDATE t SET m = 1 WHERE n = 1")
        .await
        .unwrap();
    let ours = tokio::spawn(async move {
        database.batch("SET lock_timeout = 0; BEGIN; UPDATE t SET m = 2 WHERE n = 2; UPDATE t SET m = 2 WHERE n = 1").await
    });
    let watcher = test.client().await;
    let waits = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                                WHERE NOT l.granted AND a.query LIKE 'SET lock_timeout = 0; BEGIN;%')";
    while !watcher
        .query_one(waits, &[])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        tokio::task::yield_now().await;
    }
    let theirs =
        tokio::spawn(async move { other.batch_execute("UPDATE t SET m = 1 WHERE n = 2").await });
    let error = ours.await.unwrap().unwrap_err();
    assert!(matches!(error, DbError::Contention(_)), "{error:?}");
    let _ = theirs.await;
}

/// What is left of a request's time after `spent` and, if so, a write.
async fn check_left(
    database: &Database,
    spent: Duration,
    has_written: bool,
    sql: &'static str,
    is_answered: bool,
) {
    let time = StoreTime::after(spent);
    if has_written {
        time.writes();
    }
    let started = Instant::now();
    let answer = time
        .clone()
        .within(number(database, Access::Read, sql))
        .await;
    assert_eq!(answer.is_ok(), is_answered, "{spent:?}: {answer:?}");
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(1), "{taken:?}");
    assert!(time.spent() >= spent, "it is counted");
}

#[tokio::test]
async fn the_statements_of_a_request_share_its_time() {
    let (_test, database) = pool(1).await;
    const SLOW: &str = "SELECT 1 AS answer FROM pg_sleep(0.5)";
    let most = READ_DEADLINE - Duration::from_millis(100);
    check_left(&database, Duration::ZERO, false, SLOW, true).await;
    check_left(&database, most, false, SLOW, false).await;
    check_left(&database, READ_DEADLINE, false, ONE, false).await;
    // What was written may have been committed: the answer is worth more time.
    check_left(&database, READ_DEADLINE, true, SLOW, true).await;
    check_left(&database, WRITE_DEADLINE, true, ONE, false).await;
    let long = number(&database, Access::Read, SLOW).await;
    assert!(long.is_ok(), "who stands apart has all of it: {long:?}");
}
