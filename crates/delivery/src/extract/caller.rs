//! Who calls, and that they may: the permission stands in the handler's signature.

use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::Parameter;
use apistos::reference_or::ReferenceOr;
use deed_domain::caller::{Actor, Attribution};
use deed_domain::id::UserId;
use deed_domain::scope::Permission;
use futures_util::future::LocalBoxFuture;

use super::headers::parameter;
use super::{acceptable, gate};
use crate::app::Api;
use crate::middleware::{Notices, Witness};
use crate::problem::{ErrorCode, Refusal};
use crate::request_id;

const X_API_KEY: &str = "X-API-Key";
const X_USER_ID: &str = "X-User-ID";

/// What the name of a caller's security requirement begins with; the rest is a scope or [`ANY_KEY`].
pub(crate) const SCHEME_PREFIX: &str = "deed:";

/// Stands for "any valid key" where a scope would.
pub(crate) const ANY_KEY: &str = "any";

/// Ends the name of a requirement that a ticket for the stream meets as well.
pub(crate) const OR_TICKET: &str = "|ticket";

/// What a handler needs of its caller.
pub(crate) trait Needs: 'static {
    /// The permission that the document names; `None` is any key.
    const NAMED: Option<Permission>;
    /// The permission without which no caller gets in; `None` leaves it to the use case.
    const REQUIRED: Option<Permission> = Self::NAMED;
}

macro_rules! needs {
    ($($name:ident = $named:expr $(, required $required:expr)?;)*) => {$(
        pub(crate) struct $name;

        impl Needs for $name {
            const NAMED: Option<Permission> = $named;
            $(const REQUIRED: Option<Permission> = $required;)?
        }
    )*};
}

needs! {
    AnyKey = None;
    CanReadUsers = Some(Permission::UsersRead);
    CanReadUsersOrIsMe = Some(Permission::UsersRead), required None;
    CanWriteUsers = Some(Permission::UsersWrite);
    CanReadKeys = Some(Permission::KeysRead);
    CanWriteKeys = Some(Permission::KeysWrite);
    CanReadActions = Some(Permission::ActionsRead);
    CanSubmit = Some(Permission::ActionsWrite);
    CanWork = Some(Permission::ActionsWork);
    CanWriteTypes = Some(Permission::TypesWrite);
}

/// The caller, who has what `S` needs. It stands first in a handler's signature: see the gate.
pub(crate) struct Caller<S> {
    pub(crate) caller: deed_domain::caller::Caller,
    needs: PhantomData<S>,
}

impl<S: Needs> FromRequest for Caller<S> {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let gate = gate::close(request);
        let credentials = Credentials::of(request);
        let api = Api::of(request);
        let acceptable = api
            .as_ref()
            .map_or(Ok(()), |api| acceptable::check(request, api));
        let told = Told::of(request);
        Box::pin(async move {
            let caller = identify(&api?, credentials, &told).await?;
            if let Some(permission) = S::REQUIRED {
                caller.require(permission)?;
            }
            acceptable?;
            gate.open();
            Ok(Self {
                caller,
                needs: PhantomData,
            })
        })
    }
}

impl<S> Caller<S> {
    /// Who makes the change, for its audit event.
    pub(crate) fn attribution(&self) -> Attribution {
        self.caller.attribution(current_request())
    }
}

/// Who registers a user: a caller with `users:write`, or anybody where registration is open.
pub(crate) struct Registrar(pub(crate) Option<deed_domain::caller::Caller>);

impl FromRequest for Registrar {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let gate = gate::close(request);
        let credentials = Credentials::of(request);
        let api = Api::of(request);
        let acceptable = api
            .as_ref()
            .map_or(Ok(()), |api| acceptable::check(request, api));
        let told = Told::of(request);
        Box::pin(async move {
            let api = api?;
            let is_open = api.settings().open_registration;
            let registrar = if is_open && credentials.are_absent() {
                told.witness.saw_actor(Actor::Anonymous);
                Self(None)
            } else {
                let caller = identify(&api, credentials, &told).await?;
                if !is_open {
                    caller.require(Permission::UsersWrite)?;
                }
                Self(Some(caller))
            };
            acceptable?;
            gate.open();
            Ok(registrar)
        })
    }
}

impl Registrar {
    /// Who registers, for the audit event.
    pub(crate) fn attribution(&self) -> Attribution {
        let request_id = current_request();
        match &self.0 {
            Some(caller) => caller.attribution(request_id),
            None => Attribution {
                actor: Actor::Anonymous,
                subject: None,
                request_id,
            },
        }
    }
}

fn current_request() -> Option<String> {
    request_id::current().map(|id| id.as_str().to_owned())
}

/// What a request says of its caller. Not yet believed.
pub(super) struct Credentials {
    keys: Vec<HeaderValue>,
    authorizations: Vec<HeaderValue>,
    users: Vec<HeaderValue>,
}

impl Credentials {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let all = |name: &str| request.headers().get_all(name).cloned().collect();
        Self {
            keys: all(X_API_KEY),
            authorizations: all(header::AUTHORIZATION.as_str()),
            users: all(X_USER_ID),
        }
    }

    fn are_absent(&self) -> bool {
        self.have_no_secret() && self.users.is_empty()
    }

    /// Whether no header carries a key.
    pub(super) fn have_no_secret(&self) -> bool {
        self.keys.is_empty() && self.authorizations.is_empty()
    }

    /// The one secret of the request: sent once, or twice the same.
    fn secret(&self) -> Option<&str> {
        let keys = self.keys.iter().map(|value| value.to_str().ok());
        let bearers = self
            .authorizations
            .iter()
            .map(|value| bearer(value.to_str().ok()?));
        let mut secrets = keys.chain(bearers);
        let first = secrets.next()??;
        secrets.all(|other| other == Some(first)).then_some(first)
    }

    /// The user to act for. One that is named but can't be read is an error, never nobody.
    pub(super) fn user(&self) -> Result<Option<UserId>, Refusal> {
        let Some(first) = self.users.first() else {
            return Ok(None);
        };
        if self.users.iter().any(|other| other != first) {
            return Err(Refusal::bad_header(X_USER_ID, "must be sent once"));
        }
        let id = first.to_str().ok().and_then(|text| text.parse().ok());
        id.map(Some)
            .ok_or_else(|| Refusal::bad_header(X_USER_ID, "must be a UUID in the hyphenated form"))
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start_matches(' '))
}

/// Who is told what becomes known of a caller.
pub(super) struct Told {
    pub(super) witness: Witness,
    notices: Notices,
}

impl Told {
    pub(super) fn of(request: &HttpRequest) -> Self {
        Self {
            witness: Witness::of(request),
            notices: Notices::of(request),
        }
    }
}

/// Finds out who calls, and counts the request as soon as it is known whose it is: one that is too many costs nothing
/// more. Who is unknown is not counted.
pub(super) async fn identify(
    api: &Api,
    credentials: Credentials,
    told: &Told,
) -> Result<deed_domain::caller::Caller, Refusal> {
    let secret = credentials
        .secret()
        .ok_or_else(|| Refusal::new(ErrorCode::InvalidApiKey))?
        .to_owned();
    let user = credentials.user();
    let named = user.as_ref().ok().copied().flatten();
    let (identify, counting) = (api.services().identify.clone(), api.clone());
    let (actor, allowance, caller) = api
        .run_before(async move {
            let identity = identify.identity(&secret).await?;
            let actor = identity.actor;
            let allowance = counting.count(&identity);
            let caller = match allowance.and_then(|allowance| allowance.refusal()) {
                Some(refusal) => Err(refusal),
                None => {
                    let caller = identify.caller(identity, named).await;
                    caller.map_err(Refusal::from)
                }
            };
            Ok((actor, allowance, caller))
        })
        .await?;
    told.witness.saw_actor(actor);
    if let Some(allowance) = allowance {
        told.notices.allowance(allowance);
    }
    let caller = caller?;
    told.witness.saw(&caller);
    // Only a valid key is told that its X-User-ID is malformed.
    user.map(|_| caller)
}

fn requirement<S: Needs>() -> String {
    format!(
        "{SCHEME_PREFIX}{}",
        S::NAMED.map_or(ANY_KEY, Permission::as_str)
    )
}

fn acts_for() -> Parameter {
    let mut parameter = parameter(
        X_USER_ID,
        "The user to act for. Another than the key's own only with the scope `users:act_as`.",
    );
    parameter.definition = uuid::Uuid::raw_schema()
        .map(|schema| apistos::paths::ParameterDefinition::Schema(Box::new(schema)));
    parameter
}

impl<S: Needs> ApiComponent for Caller<S> {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn security_requirement_name() -> Option<String> {
        Some(requirement::<S>())
    }

    fn parameters() -> Vec<Parameter> {
        vec![acts_for()]
    }
}

impl ApiComponent for Registrar {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }

    fn security_requirement_name() -> Option<String> {
        Some(requirement::<CanWriteUsers>())
    }

    fn parameters() -> Vec<Parameter> {
        vec![acts_for()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn credentials(headers: &[(&'static str, &str)]) -> Credentials {
        let mut request = TestRequest::get();
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        Credentials::of(&request.to_http_request())
    }

    #[test]
    fn the_secret_is_sent_once_or_twice_the_same() {
        let check = |headers: &[(&'static str, &str)], expected: Option<&str>| {
            assert_eq!(credentials(headers).secret(), expected, "{headers:?}");
        };
        check(&[], None);
        check(&[("x-api-key", "a")], Some("a"));
        check(&[("authorization", "Bearer a")], Some("a"));
        check(&[("authorization", "bEARER  a")], Some("a"));
        check(
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
            Some("a"),
        );
        check(&[("x-api-key", "a"), ("authorization", "Bearer b")], None);
        check(&[("x-api-key", "a"), ("x-api-key", "b")], None);
        check(&[("x-api-key", "a"), ("authorization", "Basic a")], None);
        check(&[("authorization", "a")], None);
    }

    #[test]
    fn a_named_user_is_never_nobody() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(credentials(&[]).user().unwrap(), None);
        assert_eq!(
            credentials(&[("x-user-id", id)])
                .user()
                .unwrap()
                .unwrap()
                .to_string(),
            id
        );
        for wrong in ["", "me", "01890a5dac96774bbcceb302099a8057", "null"] {
            assert!(
                credentials(&[("x-user-id", wrong)]).user().is_err(),
                "{wrong}"
            );
        }
        let other = "01890a5d-ac96-774b-bcce-b302099a8058";
        assert!(
            credentials(&[("x-user-id", id), ("x-user-id", other)])
                .user()
                .is_err()
        );
    }
}
