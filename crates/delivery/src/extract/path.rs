//! Parts of the path.

use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::{Parameter, ParameterDefinition, ParameterIn};
use apistos::reference_or::ReferenceOr;
use deed_domain::action::LeaseRef;
use futures_util::future::LocalBoxFuture;
use garde_actix_web::web::Path;
use serde::Deserialize;

use super::gate;
use crate::lease_id;
use crate::problem::{ErrorCode, Refusal};

/// The id in the path: `{id}`.
pub(crate) struct PathId<I>(pub(crate) I);

impl<I> FromRequest for PathId<I>
where
    I: FromStr + 'static,
{
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request
            .match_info()
            .get("id")
            .unwrap_or_default()
            .parse::<I>();
        gate::after(request, async move {
            id.map(Self)
                .map_err(|_| Refusal::bad_parameter("id", "must be a UUID in the hyphenated form"))
        })
    }
}

impl<I> ApiComponent for PathId<I> {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn parameters() -> Vec<Parameter> {
        let schema = uuid::Uuid::raw_schema();
        vec![Parameter {
            name: "id".to_owned(),
            _in: ParameterIn::Path,
            required: Some(true),
            description: Some("The id.".to_owned()),
            definition: schema.map(|schema| ParameterDefinition::Schema(Box::new(schema))),
            ..Parameter::default()
        }]
    }
}

/// The lease in the path: `{lease_id}`.
pub(crate) struct PathLease(Option<LeaseRef>);

impl PathLease {
    /// The lease; what is no lease's id looks like a lease that is lost.
    pub(crate) fn held(&self) -> Result<LeaseRef, Refusal> {
        self.0.ok_or_else(|| Refusal::new(ErrorCode::LeaseLost))
    }
}

impl FromRequest for PathLease {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let lease = request
            .match_info()
            .get("lease_id")
            .and_then(lease_id::parse);
        gate::after(request, async move { Ok(Self(lease)) })
    }
}

impl ApiComponent for PathLease {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn parameters() -> Vec<Parameter> {
        vec![Parameter {
            name: "lease_id".to_owned(),
            _in: ParameterIn::Path,
            required: Some(true),
            description: Some("The lease's id, as it was granted.".to_owned()),
            definition: String::raw_schema()
                .map(|schema| ParameterDefinition::Schema(Box::new(schema))),
            ..Parameter::default()
        }]
    }
}

/// The name in the path: `{name}` or `{code}`, at most 255 characters.
pub(crate) struct PathName(String);

/// The form in which actix reads the path.
#[derive(Debug, Deserialize, garde::Validate)]
struct Named {
    #[garde(length(chars, min = 1, max = 255))]
    #[serde(alias = "code")]
    name: String,
}

impl PathName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromRequest for PathName {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let parameter = match request.match_info().get("code") {
            Some(_) => "code",
            None => "name",
        };
        let named = Path::<Named>::from_request(request, payload);
        gate::after(request, async move {
            match named.await {
                Ok(named) => Ok(Self(named.into_inner().name)),
                Err(_) => Err(Refusal::bad_parameter(
                    parameter,
                    "must have 1 to 255 characters, in UTF-8",
                )),
            }
        })
    }
}

impl ApiComponent for PathName {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn parameters() -> Vec<Parameter> {
        vec![Parameter {
            // apistos takes the name from the path's pattern.
            name: String::new(),
            _in: ParameterIn::Path,
            required: Some(true),
            description: Some("The name.".to_owned()),
            definition: String::raw_schema()
                .map(|schema| ParameterDefinition::Schema(Box::new(schema))),
            ..Parameter::default()
        }]
    }
}
