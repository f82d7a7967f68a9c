//! The row of an action, and what the domain makes of it.

use chrono::{DateTime, Utc};
use deed_domain::action::{
    Action, ActionError, ActionOverview, ActionTypeName, Payload, Priority, Sequence, Status,
};
use deed_domain::id::{ActionId, ApiKeyId, UserId};
use deed_domain::scope::TypeReach;
use deed_domain::trace::TraceParent;
use diesel::QueryableByName;
use diesel::sql_types::{Int2, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::error::BadRow;

/// An action without input and output.
#[derive(QueryableByName)]
pub(crate) struct OverviewRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    api_key_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    retry_of: Option<Uuid>,
    #[diesel(sql_type = Text, column_name = "type")]
    action_type: String,
    #[diesel(sql_type = Int2)]
    priority: i16,
    #[diesel(sql_type = Int2)]
    attempt: i16,
    #[diesel(sql_type = Int2)]
    max_attempts: i16,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    run_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    started_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    finished_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Text>)]
    error: Option<String>,
}

/// A whole action.
#[derive(QueryableByName)]
pub(crate) struct ActionRow {
    #[diesel(embed)]
    overview: OverviewRow,
    #[diesel(sql_type = Text)]
    input: String,
    #[diesel(sql_type = Nullable<Text>)]
    output: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
}

impl TryFrom<OverviewRow> for ActionOverview {
    type Error = BadRow;

    fn try_from(row: OverviewRow) -> Result<Self, BadRow> {
        let OverviewRow {
            id,
            user_id,
            api_key_id,
            retry_of,
            action_type,
            priority,
            attempt,
            max_attempts,
            status,
            created_at,
            run_at,
            started_at,
            finished_at,
            error,
        } = row;
        let bad = |column, problem: &str| BadRow::new("actions", column, id, problem);
        Ok(Self {
            id: ActionId::from_uuid(id),
            user_id: UserId::from_uuid(user_id),
            api_key_id: api_key_id.map(ApiKeyId::from_uuid),
            action_type: type_name(&action_type, id)?,
            status: Status::from_name(&status).ok_or_else(|| bad("status", "unknown"))?,
            error: error
                .as_deref()
                .map(|text| action_error(text, id))
                .transpose()?,
            attempt: u16::try_from(attempt).map_err(|_| bad("attempt", "negative"))?,
            max_attempts: u16::try_from(max_attempts)
                .map_err(|_| bad("max_attempts", "negative"))?,
            priority: u8::try_from(priority)
                .ok()
                .and_then(Priority::new)
                .ok_or_else(|| bad("priority", "out of range"))?,
            retry_of: retry_of.map(ActionId::from_uuid),
            run_at,
            created_at,
            started_at,
            finished_at,
        })
    }
}

impl ActionRow {
    pub(crate) fn into_domain(self) -> Result<Action, BadRow> {
        let Self {
            overview,
            input,
            output,
            traceparent,
        } = self;
        Ok(Action {
            traceparent: trace_parent(traceparent, overview.id)?,
            overview: overview.try_into()?,
            input: Payload::from_stored(input),
            output: output.map(Payload::from_stored),
        })
    }
}

pub(crate) fn trace_parent(text: Option<String>, id: Uuid) -> Result<Option<TraceParent>, BadRow> {
    let bad = || BadRow::new("actions", "traceparent", id, "malformed");
    text.map(|text| TraceParent::parse(&text).ok_or_else(bad))
        .transpose()
}

pub(crate) fn type_name(name: &str, id: Uuid) -> Result<ActionTypeName, BadRow> {
    ActionTypeName::parse(name).map_err(|problem| BadRow::new("action_types", "name", id, problem))
}

pub(crate) fn sequence(position: i32, column: &'static str, id: Uuid) -> Result<Sequence, BadRow> {
    u32::try_from(position)
        .ok()
        .and_then(Sequence::new)
        .ok_or_else(|| BadRow::new("action_events", column, id, "not a position"))
}

/// A position as PostgreSQL's `int4`; the type's own bound makes it fit.
pub(crate) fn int4(position: Sequence) -> i32 {
    i32::try_from(position.get()).unwrap_or(i32::MAX)
}

fn action_error(text: &str, id: Uuid) -> Result<ActionError, BadRow> {
    let bad = || BadRow::new("action_results", "error", id, "not {code, message}");
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| bad())?;
    let member = |name| {
        value
            .get(name)
            .and_then(serde_json::Value::as_str)
            .ok_or_else(bad)
    };
    Ok(ActionError::new(member("code")?, member("message")?))
}

/// The types that a caller reaches, as patterns for LIKE; `None` is every type.
pub(crate) fn like_patterns(reach: &TypeReach) -> Option<Vec<String>> {
    let patterns = reach.patterns()?;
    Some(
        patterns
            .iter()
            .map(|pattern| like_pattern(pattern))
            .collect(),
    )
}

fn like_pattern(pattern: &str) -> String {
    let (name, rest) = match pattern.strip_suffix('*') {
        Some(prefix) => (prefix, "%"),
        None => (pattern, ""),
    };
    // `_` stands for any character in LIKE, and type names are full of it.
    format!(
        "{}{rest}",
        name.replace('\\', "\\\\")
            .replace('_', "\\_")
            .replace('%', "\\%")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_the_same_in_like() {
        assert_eq!(like_pattern("report.*"), "report.%");
        assert_eq!(like_pattern("report.render_pdf"), "report.render\\_pdf");
        assert_eq!(like_pattern("a_b.*"), "a\\_b.%");
    }

    #[test]
    fn an_error_comes_back_as_it_was_written() {
        let error = ActionError::new("no_such_page", "Page \"7\"\n\u{0} is missing.");
        assert_eq!(action_error(&error.to_json(), Uuid::nil()).unwrap(), error);
    }

    #[test]
    fn an_error_of_another_form_is_a_bad_row() {
        for text in ["{}", "[]", "x", "{\"code\":1,\"message\":\"m\"}"] {
            let problem = action_error(text, Uuid::nil()).unwrap_err();
            assert_eq!(problem.column, "error");
        }
    }
}
