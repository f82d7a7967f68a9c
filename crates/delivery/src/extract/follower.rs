//! Who reads the events of an action: the bearer of a key, or of a ticket for that very stream.
//!
//! A request carries one credential. A ticket beside a key is refused as two keys are that differ, and so is a ticket
//! for anything but an event stream; neither uses it up.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::Parameter;
use apistos::reference_or::ReferenceOr;
use deed_api::event::EventQuery;
use deed_domain::Error;
use deed_domain::id::ActionId;
use deed_domain::scope::Permission;
use futures_util::future::LocalBoxFuture;

use super::caller::{Caller, CanReadActions, Credentials, OR_TICKET, Told, identify};
use super::headers::accept;
use super::{gate, query};
use crate::accept::Representation;
use crate::app::Api;
use crate::middleware::Witness;
use crate::problem::{ErrorCode, Refusal};

/// The parameter that carries a ticket.
pub(crate) const TICKET: &str = "ticket";

/// The caller, who may read actions, or holds a ticket for the stream of the one in the path. It stands first in a
/// handler's signature: see the gate.
pub(crate) struct Follower(pub(crate) deed_domain::caller::Caller);

impl FromRequest for Follower {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let gate = gate::close(request);
        let credentials = Credentials::of(request);
        let tickets = tickets(request.query_string());
        let wants_stream = accept(request) == Some(Representation::EventStream);
        let action = request.match_info().get("id").unwrap_or_default();
        let action = action.parse::<ActionId>().ok();
        let api = Api::of(request);
        let told = Told::of(request);
        Box::pin(async move {
            let api = api?;
            let caller = match (tickets.as_slice(), action) {
                ([], _) => identify(&api, credentials, &told).await?,
                ([ticket], Some(action)) if wants_stream && credentials.have_no_secret() => {
                    redeem(&api, ticket.clone(), action, &credentials, &told.witness).await?
                }
                _ => return Err(Refusal::new(ErrorCode::InvalidApiKey)),
            };
            caller.require(Permission::ActionsRead)?;
            gate.open();
            Ok(Self(caller))
        })
    }
}

/// The request is not counted for the key's rate: the one that asked for the ticket was. Its stream counts.
async fn redeem(
    api: &Api,
    ticket: String,
    action: ActionId,
    credentials: &Credentials,
    witness: &Witness,
) -> Result<deed_domain::caller::Caller, Refusal> {
    let tickets = api.services().tickets.clone();
    let caller = api
        .run_before(async move { tickets.redeem(&ticket, action).await })
        .await?;
    witness.saw(&caller);
    // A ticket acts for whom its key did. A named user is never ignored.
    match credentials.user()? {
        Some(user) if caller.subject() != Some(user) => Err(Error::ActAsNotAllowed.into()),
        _ => Ok(caller),
    }
}

fn tickets(query: &str) -> Vec<String> {
    form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == TICKET)
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// The query of the events, but for the ticket, which is no part of what is asked.
pub(crate) struct FollowQuery(pub(crate) EventQuery);

impl FromRequest for FollowQuery {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = form_urlencoded::parse(request.query_string().as_bytes());
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs.filter(|(name, _)| name != TICKET))
            .finish();
        gate::after(request, async move { query::parse(&query).map(Self) })
    }
}

impl ApiComponent for Follower {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn security_requirement_name() -> Option<String> {
        let of_key = Caller::<CanReadActions>::security_requirement_name()?;
        Some(format!("{of_key}{OR_TICKET}"))
    }

    fn parameters() -> Vec<Parameter> {
        Caller::<CanReadActions>::parameters()
    }
}

impl ApiComponent for FollowQuery {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        query::Query::<EventQuery>::child_schemas()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn parameters() -> Vec<Parameter> {
        query::Query::<EventQuery>::parameters()
    }
}
