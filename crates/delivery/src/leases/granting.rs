//! POST `/leases`: who is granted what, and what that looks like.

use std::time::Duration;

use apistos::api_operation;
use deed_api::lease::{LeaseActions, LeaseBody, LeasedActionBody, LeasesBody};
use deed_domain::Error;
use deed_domain::action::{ActionTypeName, Grant, Lease, LeaseRequestId};
use deed_domain::caller::Caller as DomainCaller;
use deed_domain::ports::Wish;
use deed_domain::service::Allowed;
use tokio::sync::oneshot;

use crate::answer::Answer;
use crate::app::Api;
use crate::extract::caller::CanWork;
use crate::extract::{Caller, NoQuery, Valid};
use crate::json::raw;
use crate::lease_id;
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const EXAMPLE: &str = r#"{"leases":[{"lease_id":"AZjA3gAAcACAAAAAAAAAwV3uG0KdqUTSijDnIY9oCPU","action":{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"report.render","user_id":"0198c0de-0000-7000-8000-0000000000a1","input":{"page":7},"attempt":1,"max_attempts":3},"expires_at":"2026-01-31T10:00:30Z","deadline_at":"2026-01-31T10:05:00Z","next_seq":3,"checkpoint":{"page":6}}]}"#;
const EXAMPLE_REQUEST: &str = r#"{"types":["report.render"],"max":4,"worker":"host-1","wait_seconds":25,"request_id":"host-1-42"}"#;
pub(crate) const LEASE: Operation = Operation {
    id: "leaseActions",
    summary: "Lease actions",
    description: "Gives a worker the right to perform actions that wait, of every user, for a limited time. Where \
        nothing waits it is answered as soon as something does, at the latest after `wait_seconds`. Every further call \
        about a lease renews it; a lease that runs out is somebody else's action. Nothing is leased for a client that \
        went away. A server that stops answers who waits with `draining` at once, and whoever comes then with 503.",
    tag: Tag::Leases,
    success: &[Success {
        status: 200,
        description: "The leases; none where nothing came in time.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: super::TO_FIRST_LEASE,
    }],
    errors: &[ErrorCode::Overloaded],
    request_example: Some(EXAMPLE_REQUEST),
    deprecated: None,
};

/// POST `/leases`.
#[api_operation(operation_id = "leaseActions")]
pub(crate) async fn lease(
    caller: Caller<CanWork>,
    _: NoQuery,
    body: Valid<LeaseActions>,
    api: Api,
) -> Result<Answer<LeasesBody>, Refusal> {
    api.refuse_while_draining()?;
    let wish = allowed(&api, &caller.caller, body.value, "")?;
    Ok(Answer::ok(grant(&api, wish).await?))
}

/// What stands at `pointer` of the body, if the caller may have it.
pub(super) fn allowed(
    api: &Api,
    caller: &DomainCaller,
    body: LeaseActions,
    pointer: &str,
) -> Result<Allowed, Refusal> {
    let LeaseActions {
        types,
        max,
        lease_seconds,
        worker,
        wait_seconds,
        request_id,
    } = body;
    let wrong =
        |place: &str, said: String| Refusal::bad_pointer(&format!("#{pointer}/{place}"), said);
    let types = types
        .iter()
        .map(|name| ActionTypeName::parse(name))
        .collect::<Result<_, _>>()
        .map_err(|error| wrong("types", error.to_string()))?;
    let id = request_id
        .map(|id| LeaseRequestId::parse(&id))
        .transpose()
        .map_err(|error| wrong("request_id", error.to_string()))?;
    let wait = Duration::from_secs(wait_seconds.unwrap_or(0).into());
    let wish = Wish {
        types,
        max: usize::from(max.unwrap_or(1)),
        worker,
        lease: lease_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        wait: wait.min(api.settings().max_wait),
        request: None,
    };
    Ok(api.services().perform.allow(caller, wish, id.as_ref())?)
}

/// What was granted to somebody who is still there; nothing once the server drains.
pub(super) async fn grant(api: &Api, wish: Allowed) -> Result<LeasesBody, Refusal> {
    let perform = api.services().perform.clone();
    let drained = api.drained();
    let (mut hand_over, taken) = oneshot::channel();
    api.run(async move {
        let granted = tokio::select! {
            granted = perform.lease(wish) => Some(granted?),
            () = drained => None,
            // Whoever asked is gone.
            () = hand_over.closed() => return Ok::<_, Error>(()),
        };
        // Gone only now: what nobody takes goes back.
        drop(hand_over.send(granted));
        Ok(())
    })
    .await?;
    let granted = taken
        .await
        .map_err(|error| Refusal::new(ErrorCode::InternalError).because(error))?;
    let draining = granted.is_none();
    let grants = granted.map_or_else(Vec::new, |granted| granted.take());
    let leases = grants.into_iter().map(render).collect::<Result<_, _>>()?;
    Ok(LeasesBody { leases, draining })
}

fn render(grant: Grant) -> Result<LeaseBody, Refusal> {
    let Grant {
        lease:
            Lease {
                id,
                expires_at,
                deadline_at,
                next_seq,
                cancel_requested: _,
            },
        action_type,
        user_id,
        input,
        attempt,
        max_attempts,
        checkpoint,
        time_left: _,
        traceparent: _,
    } = grant;
    Ok(LeaseBody {
        lease_id: lease_id::print(id),
        action: LeasedActionBody {
            id: id.action_id.as_uuid(),
            r#type: action_type.as_str().to_owned(),
            user_id: user_id.as_uuid(),
            input: raw(&input)?,
            attempt,
            max_attempts,
        },
        expires_at,
        deadline_at,
        next_seq: next_seq.get(),
        checkpoint: checkpoint.as_ref().map(raw).transpose()?,
    })
}
