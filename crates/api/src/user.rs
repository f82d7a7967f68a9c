//! Users on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use uuid::Uuid;

#[cfg(feature = "openapi")]
use crate::limits::{self, Limits};
#[cfg(feature = "openapi")]
use deed_domain::{
    email::Email, page::Limit, password::PasswordPolicy, user::DisplayName, user::ExternalId,
};

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// The account may be used.
    Active,
    /// Its keys are refused, and nobody may act for it.
    Disabled,
}

/// Its name and nothing else: serde's own reading would also take `{"active": null}`.
impl<'de> Deserialize<'de> for UserStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "active" => Ok(Self::Active),
            "disabled" => Ok(Self::Disabled),
            _ => Err(D::Error::unknown_variant(&name, &["active", "disabled"])),
        }
    }
}

/// The body of POST `/users`. It does not print: it holds a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[cfg_attr(feature = "openapi", garde(context(Limits)))]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The address that the user signs in with; unique, whatever the case of its letters.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::email)),
        schemars(email, length(min = 3, max = "Email::MAX"))
    )]
    pub email: String,
    /// What the user is called.
    #[cfg_attr(feature = "openapi", garde(custom(limits::display_name)))]
    #[cfg_attr(
        feature = "openapi",
        schemars(length(min = "DisplayName::MIN", max = "DisplayName::MAX"))
    )]
    pub name: String,
    /// The password. Its lower bound can be set higher by the operator.
    #[cfg_attr(feature = "openapi", garde(custom(limits::password)))]
    #[cfg_attr(
        feature = "openapi",
        schemars(length(min = "PasswordPolicy::LEAST_MIN", max = "PasswordPolicy::MAX"))
    )]
    pub password: String,
    /// The application's own name for this user; unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::external_id))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(length(min = "ExternalId::MIN", max = "ExternalId::MAX"))
    )]
    pub external_id: Option<String>,
}

impl std::fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CreateUser")
    }
}

/// The merge patch of PATCH `/users/{id}`: what is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// The new address. Changing it also needs the scope `users:credentials`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::patch::not_null"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::email))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(with = "String", email, length(min = 3, max = "Email::MAX"))
    )]
    pub email: Option<String>,
    /// The new name.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::patch::not_null"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::display_name))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(
            with = "String",
            length(min = "DisplayName::MIN", max = "DisplayName::MAX")
        )
    )]
    pub name: Option<String>,
    /// The new status.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::patch::not_null"
    )]
    #[cfg_attr(feature = "openapi", garde(skip), schemars(with = "UserStatus"))]
    pub status: Option<UserStatus>,
    /// The new external id; null takes it away.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::patch::present"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::external_id_or_null))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(
            with = "Option<String>",
            length(min = "ExternalId::MIN", max = "ExternalId::MAX")
        )
    )]
    pub external_id: Option<Option<String>>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct UserBody {
    /// Its id.
    pub id: Uuid,
    /// Its address, as it was typed.
    #[cfg_attr(feature = "openapi", schemars(email))]
    pub email: String,
    /// What it is called.
    pub name: String,
    /// Whether it may be used.
    pub status: UserStatus,
    /// The application's own name for it.
    pub external_id: Option<String>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What GET `/users/me` answers: the user that the caller acts for, and what the key permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct MeBody {
    /// The user.
    #[serde(flatten)]
    pub user: UserBody,
    /// The scopes of the key.
    pub scopes: Vec<String>,
}

/// The query of GET `/users`. All filters are exact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct UserQuery {
    /// The user with this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        garde(inner(custom(limits::email))),
        schemars(email, length(min = 3, max = "Email::MAX"))
    )]
    pub email: Option<String>,
    /// The user with this external id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::external_id))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(length(min = "ExternalId::MIN", max = "ExternalId::MAX"))
    )]
    pub external_id: Option<String>,
    /// Users of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub status: Option<UserStatus>,
    /// How many items a page holds at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::page_limit))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = "Limit::MIN", max = "Limit::MAX"))
    )]
    pub limit: Option<u16>,
    /// Where the page begins: a `next_cursor` of this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_print() {
        let user: CreateUser =
            serde_json::from_str(r#"{"email":"a@example.com","name":"A","password":"hunter22"}"#)
                .unwrap();
        assert!(!format!("{user:?}").contains("hunter22"));
    }

    #[test]
    fn a_status_is_a_name() {
        for status in [UserStatus::Active, UserStatus::Disabled] {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(serde_json::from_str::<UserStatus>(&json).unwrap(), status);
        }
        for wrong in [r#"{"active":null}"#, "\"gone\"", "null", "0"] {
            assert!(
                serde_json::from_str::<UserStatus>(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_patch_tells_absent_from_null() {
        let check = |json: &str, external_id: Option<Option<String>>| {
            let patch: PatchUser = serde_json::from_str(json).unwrap();
            assert_eq!(patch.external_id, external_id, "{json}");
            assert_eq!(serde_json::to_string(&patch).unwrap(), json);
        };
        check("{}", None);
        check(r#"{"external_id":null}"#, Some(None));
        check(
            r#"{"external_id":"crm-17"}"#,
            Some(Some("crm-17".to_owned())),
        );
    }
}
