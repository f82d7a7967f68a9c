//! POST `/leases/finish`: many ends, and the next work.

use std::collections::HashSet;

use apistos::api_operation;
use deed_api::lease::{
    CompleteLease, FinishError, FinishItem, FinishLeases, FinishedBody, FinishedItemBody,
    LeasesBody,
};
use deed_api::problem::Fault;
use deed_domain::action::{LeaseRef, Payload};
use deed_domain::service::{Concluded, Conclusion};

use super::{failure, granting};
use crate::answer::Answer;
use crate::app::Api;
use crate::extract::caller::CanWork;
use crate::extract::{Caller, NoQuery, Valid};
use crate::lease_id;
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const EXAMPLE: &str = r#"{"results":[{"lease_id":"AZjA3gAAcACAAAAAAAAAwV3uG0KdqUTSijDnIY9oCPU","ok":true},{"lease_id":"AZjA3gAAcACAAAAAAAAAwmHoG0KdqUTSijDnIY9oCPU","ok":false,"error":{"code":"lease_lost","message":"The lease is lost."}}],"leases":[]}"#;
const EXAMPLE_REQUEST: &str = r#"{"items":[{"lease_id":"AZjA3gAAcACAAAAAAAAAwV3uG0KdqUTSijDnIY9oCPU","complete":{"output":{"url":"https://example.com/report.pdf"}}},{"lease_id":"AZjA3gAAcACAAAAAAAAAwmHoG0KdqUTSijDnIY9oCPU","fail":{"error":{"code":"out_of_paper","message":"There is no paper."},"retryable":true}}],"then_lease":{"types":["report.render"],"max":2,"worker":"host-1","wait_seconds":25,"request_id":"host-1-43"}}"#;

pub(crate) const FINISH: Operation = Operation {
    id: "finishLeases",
    summary: "Complete and fail many, and lease again",
    description: "Ends actions and attempts, as `complete` and `fail` do with one, and answers one result each, in the \
        order given: a lost lease is no harm to its neighbours. With `then_lease`, a body of POST `/leases`, the next \
        leases come with the same answer. What is wrong with the request is told before anything is written. Once the \
        ends are written the answer is 200, if need be without leases. The same again is written once.",
    tag: Tag::Leases,
    success: &[Success {
        status: 200,
        description: "What came of each, and the next leases.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: super::TO_FIRST_LEASE,
    }],
    errors: &[],
    request_example: Some(EXAMPLE_REQUEST),
    deprecated: None,
};

/// POST `/leases/finish`.
#[api_operation(operation_id = "finishLeases")]
pub(crate) async fn finish(
    caller: Caller<CanWork>,
    _: NoQuery,
    body: Valid<FinishLeases>,
    api: Api,
) -> Result<Answer<FinishedBody>, Refusal> {
    let caller = caller.caller;
    let FinishLeases { items, then_lease } = body.value;
    let wish = then_lease
        .map(|body| granting::allowed(&api, &caller, body, "/then_lease"))
        .transpose()?;
    let (ids, read) = read(items)?;
    let leases: Vec<Option<LeaseRef>> = ids.iter().map(|id| lease_id::parse(id)).collect();
    // What is no lease's id is nobody's lease.
    let known = leases.iter().zip(read);
    let known: Vec<_> = known
        .filter_map(|(lease, conclusion)| Some(((*lease)?, conclusion)))
        .collect();
    let perform = api.services().perform.clone();
    let mut concluded = api
        .run(async move { perform.conclude(&caller, known).await })
        .await?
        .into_iter();
    let results = ids
        .into_iter()
        .zip(leases)
        .map(|(lease_id, lease)| result(lease_id, lease.and_then(|_| concluded.next())))
        .collect();
    let LeasesBody { leases, draining } = match wish {
        Some(wish) if !api.is_draining() => {
            granting::grant(&api, wish).await.unwrap_or_else(|refusal| {
                // The ends are written: whoever has sent them is to know that.
                log::warn!(code = refusal.code().entry().code; "ends are written, and no lease was granted: {refusal}");
                nothing(&api)
            })
        }
        Some(_) | None => nothing(&api),
    };
    Ok(Answer::ok(FinishedBody {
        results,
        leases,
        draining,
    }))
}

fn nothing(api: &Api) -> LeasesBody {
    LeasesBody {
        leases: Vec::new(),
        draining: api.is_draining(),
    }
}

fn result(lease_id: String, concluded: Option<Concluded>) -> FinishedItemBody {
    let error = match concluded {
        Some(Concluded::Written) => None,
        Some(Concluded::Lost) | None => {
            let entry = ErrorCode::LeaseLost.entry();
            Some(FinishError {
                code: entry.code.to_owned(),
                message: entry.message.to_owned(),
            })
        }
    };
    FinishedItemBody {
        lease_id,
        ok: error.is_none(),
        error,
    }
}

/// The leases as they were named, and what is said of each.
fn read(items: Vec<FinishItem>) -> Result<(Vec<String>, Vec<Conclusion>), Refusal> {
    let (mut ids, mut conclusions, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (place, item) in items.into_iter().enumerate() {
        let FinishItem {
            lease_id,
            complete,
            fail,
        } = item;
        if !seen.insert(lease_id.clone()) {
            let pointer = format!("#/items/{place}/lease_id");
            faults.push(Fault::at_pointer(pointer, "stands twice"));
        }
        match (complete, fail) {
            (Some(CompleteLease { output }), None) => match Payload::parse(output.get()) {
                Ok(output) => conclusions.push(Conclusion::Completed(output)),
                Err(error) => {
                    let pointer = format!("#/items/{place}/complete/output");
                    faults.push(Fault::at_pointer(pointer, error.to_string()));
                }
            },
            (None, Some(body)) => conclusions.push(Conclusion::Failed(failure(body))),
            (Some(_), Some(_)) | (None, None) => {
                let pointer = format!("#/items/{place}");
                faults.push(Fault::at_pointer(
                    pointer,
                    "must have complete or fail, and not both",
                ));
            }
        }
        ids.push(lease_id);
    }
    if faults.is_empty() {
        return Ok((ids, conclusions));
    }
    Err(Refusal::new(ErrorCode::ValidationFailed).faults(faults))
}
