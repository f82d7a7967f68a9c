//! `/livez` and `/readyz`.

use std::time::Duration;

use apistos::api_operation;
use async_trait::async_trait;
use deed_api::health::HealthBody;

use crate::answer::Answer;
use crate::app::Api;
use crate::extract::{Acceptable, NoQuery};
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

/// How long the checks may take together; one that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(2);

/// One thing that has to be well for a replica to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is checked, such as `database`.
    pub name: &'static str,
    /// What is missing; `None` when it is well. Shown to everybody: no addresses, no error texts.
    pub missing: Option<String>,
}

/// Tells whether this replica can serve.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// The checks, in a fixed order. Draining is known already.
    async fn checks(&self) -> Vec<Check>;
}

pub(crate) const LIVEZ: Operation = Operation {
    id: "getLivez",
    summary: "Whether the process lives",
    description: "Answers as long as the process can answer at all. For a supervisor that restarts it.",
    tag: Tag::Service,
    success: &[Success {
        status: 200,
        description: "It lives.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(r#"{"status":"ok"}"#),
        links: &[],
    }],
    errors: &[ErrorCode::ValidationFailed],
    request_example: None,
    deprecated: None,
};

/// GET `/livez`.
#[api_operation(operation_id = "getLivez")]
pub(crate) async fn livez(_: Acceptable, _: NoQuery) -> Result<Answer<HealthBody>, Refusal> {
    Ok(Answer::ok(HealthBody {
        status: "ok".to_owned(),
        checks: Vec::new(),
    }))
}

pub(crate) const READYZ: Operation = Operation {
    id: "getReadyz",
    summary: "Whether this replica can serve",
    description: "The database is reachable and migrated, the background tasks run, and the replica is not draining. \
        For a load balancer.",
    tag: Tag::Service,
    success: &[Success {
        status: 200,
        description: "It can serve.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(r#"{"status":"ok","checks":["draining","database"]}"#),
        links: &[],
    }],
    errors: &[ErrorCode::ValidationFailed, ErrorCode::Unavailable],
    request_example: None,
    deprecated: None,
};

/// GET `/readyz`.
#[api_operation(operation_id = "getReadyz")]
pub(crate) async fn readyz(
    _: Acceptable,
    _: NoQuery,
    api: Api,
) -> Result<Answer<HealthBody>, Refusal> {
    let draining = api
        .is_draining()
        .then(|| "the server is shutting down".to_owned());
    let mut checks = vec![Check {
        name: "draining",
        missing: draining,
    }];
    let readiness = api.readiness();
    let found = api
        .run(async move { Ok(tokio::time::timeout(DEADLINE, readiness.checks()).await) })
        .await?;
    match found {
        Ok(found) => checks.extend(found),
        Err(_) => checks.push(Check {
            name: "checks",
            missing: Some("they took too long".to_owned()),
        }),
    }
    let missing: Vec<String> = checks
        .iter()
        .filter_map(|check| {
            check
                .missing
                .as_ref()
                .map(|missing| format!("{}: {missing}", check.name))
        })
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::new(ErrorCode::Unavailable)
            .message(format!("Not ready. {}.", missing.join("; "))));
    }
    let checks = checks.into_iter().map(|check| check.name.to_owned());
    Ok(Answer::ok(HealthBody {
        status: "ok".to_owned(),
        checks: checks.collect(),
    }))
}
