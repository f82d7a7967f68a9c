//! The query string, with the shape and limits of its type. An unknown parameter is refused.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::{Parameter, RequestBody};
use apistos::reference_or::ReferenceOr;
use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fault::{self, Part};
use super::gate;
use crate::problem::Refusal;

/// A valid query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T> FromRequest for Query<T>
where
    T: DeserializeOwned + garde::Validate<Context = ()> + 'static,
{
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = request.query_string().to_owned();
        gate::after(request, async move { parse(&query).map(Self) })
    }
}

/// For an operation without parameters in its query: it must have none.
pub(crate) struct NoQuery;

#[derive(Deserialize, garde::Validate)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl FromRequest for NoQuery {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let nothing = Query::<Nothing>::from_request(request, payload);
        async move { nothing.await.map(|_| Self) }.boxed_local()
    }
}

impl ApiComponent for NoQuery {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }
}

pub(super) fn parse<T: DeserializeOwned + garde::Validate<Context = ()>>(
    query: &str,
) -> Result<T, Refusal> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let value: T = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
        .map_err(|error| fault::shape(Part::Query, error.path(), &error.inner().to_string()))?;
    value
        .validate()
        .map_err(|report| fault::limits(Part::Query, &report))?;
    Ok(value)
}

impl<T: ApiComponent> ApiComponent for Query<T> {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        actix_web::web::Query::<T>::child_schemas()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn request_body() -> Option<RequestBody> {
        None
    }

    fn parameters() -> Vec<Parameter> {
        actix_web::web::Query::<T>::parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_api::action::ActionQuery;
    use deed_api::problem::Fault;
    use deed_api::user::UserQuery;

    fn check<T>(query: &str, parameter: &str, message: &str)
    where
        T: DeserializeOwned + garde::Validate<Context = ()>,
    {
        let Err(refusal) = parse::<T>(query) else {
            panic!("{query} was taken")
        };
        assert_eq!(
            refusal.named_faults(),
            [Fault::in_parameter(parameter, message)],
            "{query}"
        );
    }

    #[test]
    fn faults_name_their_parameter() {
        check::<UserQuery>("color=red", "color", "there is no such parameter");
        check::<UserQuery>("limit=0", "limit", "must be between 1 and 200");
        check::<UserQuery>("limit=201", "limit", "must be between 1 and 200");
        check::<UserQuery>("limit=x", "limit", "must be a whole number");
        check::<UserQuery>("limit=", "limit", "must be a whole number");
        check::<UserQuery>("limit=70000", "limit", "is out of range");
        check::<UserQuery>("status=gone", "status", "must be one of active, disabled");
        check::<UserQuery>("limit=1&limit=2", "limit", "this parameter stands twice");
        check::<ActionQuery>(
            "created_after=yesterday",
            "created_after",
            "not an RFC 3339 date and time",
        );
    }

    #[test]
    fn all_broken_limits_come_together() {
        let Err(refusal) = parse::<UserQuery>("limit=0&email=nobody&external_id=") else {
            panic!("was taken")
        };
        let places: Vec<_> = refusal
            .named_faults()
            .iter()
            .filter_map(|fault| fault.parameter.as_deref())
            .collect();
        assert_eq!(places, ["email", "external_id", "limit"]);
    }

    #[test]
    fn values_are_decoded() {
        let query = parse::<ActionQuery>(
            "type=report.render&status=queued&limit=200&created_after=2026-01-01T00%3A00%3A00Z",
        )
        .unwrap();
        assert_eq!(query.r#type.as_deref(), Some("report.render"));
        assert_eq!(query.limit, Some(200));
        assert_eq!(parse::<UserQuery>("").unwrap(), UserQuery::default());
    }
}
