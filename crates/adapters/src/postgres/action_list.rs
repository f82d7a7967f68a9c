//! The SQL of lists of actions. Each status is driven from the small table that holds it, and the page is cut
//! before the rest is joined, so that a list costs what its page costs.

use deed_domain::action::Status;

/// `$1` owner, `$2` and `$3` the range of ids (exclusive above), `$4` patterns of types, `$5` one type, `$6` limit.
/// The owner is a condition of its own in the text: as `$1 IS NULL OR …` a generic plan could not use the index.
macro_rules! list {
    ($owner:literal, $from:literal, $id:literal, $type_id:literal, $status:literal) => {
        concat!(
            "WITH page AS MATERIALIZED (SELECT ", $id, " AS id FROM ", $from,
            " JOIN action_types t ON t.id = ", $type_id,
            " WHERE ", $owner, " AND ", $id, " >= $2::uuid AND ", $id, " < $3::uuid",
            " AND ($4::text[] IS NULL OR t.name LIKE ANY ($4::text[]))",
            " AND ($5::text IS NULL OR t.name = $5::text)", $status,
            " ORDER BY ", $id, " DESC LIMIT $6::int4)",
            " SELECT s.id, s.user_id, s.api_key_id, s.retry_of, t.name AS type, s.priority, s.attempt, s.max_attempts,",
            " s.status, s.created_at, s.run_at, s.started_at, s.finished_at, s.error",
            " FROM page CROSS JOIN LATERAL (SELECT * FROM action_states a WHERE a.id = page.id OFFSET 0) s",
            " JOIN action_types t ON t.id = s.type_id ORDER BY s.id DESC"
        )
    };
}

/// The same list of one owner and of everybody.
macro_rules! lists {
    ($owned:expr, $owner:literal, $from:literal, $id:literal, $type_id:literal, $status:literal) => {
        if $owned {
            list!($owner, $from, $id, $type_id, $status)
        } else {
            list!("$1::uuid IS NULL", $from, $id, $type_id, $status)
        }
    };
}

/// The statement for actions of that status, or of any.
pub(crate) fn list_sql(status: Option<Status>, is_owned: bool) -> &'static str {
    match status {
        None => lists!(
            is_owned,
            "a.user_id = $1::uuid",
            "actions a",
            "a.id",
            "a.type_id",
            ""
        ),
        Some(Status::Queued) => {
            lists!(
                is_owned,
                "q.user_id = $1::uuid",
                "action_queue q",
                "q.action_id",
                "q.type_id",
                " AND (q.run_at IS NULL OR q.run_at = '9999-12-31 00:00:00+00'::timestamptz)"
            )
        }
        Some(Status::Scheduled) => {
            lists!(
                is_owned,
                "q.user_id = $1::uuid",
                "action_queue q",
                "q.action_id",
                "q.type_id",
                " AND q.run_at < '9999-12-31 00:00:00+00'::timestamptz"
            )
        }
        Some(Status::Running) => {
            lists!(
                is_owned,
                "l.user_id = $1::uuid",
                "action_leases l",
                "l.action_id",
                "l.type_id",
                ""
            )
        }
        // Most actions succeed, so this meets few that it has to pass over.
        Some(Status::Succeeded) => lists!(
            is_owned,
            "a.user_id = $1::uuid",
            "actions a CROSS JOIN LATERAL (SELECT FROM action_results r WHERE r.action_id = a.id AND r.status = 'succeeded' OFFSET 0) r",
            "a.id",
            "a.type_id",
            ""
        ),
        Some(Status::Failed) => lists!(
            is_owned,
            "r.user_id = $1::uuid",
            "action_results r CROSS JOIN LATERAL (SELECT type_id FROM actions WHERE id = r.action_id OFFSET 0) a",
            "r.action_id",
            "a.type_id",
            " AND r.status = 'failed' AND r.status <> 'succeeded'"
        ),
        Some(Status::Cancelled) => lists!(
            is_owned,
            "r.user_id = $1::uuid",
            "action_results r CROSS JOIN LATERAL (SELECT type_id FROM actions WHERE id = r.action_id OFFSET 0) a",
            "r.action_id",
            "a.type_id",
            " AND r.status = 'cancelled' AND r.status <> 'succeeded'"
        ),
    }
}
