//! What the OpenAPI document says of an operation beyond what its handler's types say. Each constant stands beside
//! its handler.

use crate::deprecation::Deprecated;
use crate::problem::ErrorCode;

/// The extras of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// The operationId; the handler's `#[api_operation]` says the same.
    pub(crate) id: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// The paragraph.
    pub(crate) description: &'static str,
    /// The group.
    pub(crate) tag: Tag,
    /// The answers below 400.
    pub(crate) success: &'static [Success],
    /// The errors of this operation; those that its kind implies are added.
    pub(crate) errors: &'static [ErrorCode],
    /// An example of the body, as JSON.
    pub(crate) request_example: Option<&'static str>,
    /// Whether it goes away, and when.
    pub(crate) deprecated: Option<Deprecated>,
}

/// The groups of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Users,
    ApiKeys,
    Actions,
    Streams,
    Leases,
    ActionTypes,
    Service,
}

impl Tag {
    pub(crate) const ALL: [Self; 7] = [
        Self::Users,
        Self::ApiKeys,
        Self::Actions,
        Self::Streams,
        Self::Leases,
        Self::ActionTypes,
        Self::Service,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::ApiKeys => "api-keys",
            Self::Actions => "actions",
            Self::Streams => "streams",
            Self::Leases => "leases",
            Self::ActionTypes => "action-types",
            Self::Service => "service",
        }
    }

    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Users => "Accounts.",
            Self::ApiKeys => "Credentials that belong to users.",
            Self::Actions => "Named operations with JSON input, performed for a user, durably.",
            Self::Streams => {
                "The events of an action while it is performed, and afterwards. Resumable."
            }
            Self::Leases => "The right to perform actions: what workers outside the server call.",
            Self::ActionTypes => "The operations that can be asked for.",
            Self::Service => "Health and documentation of the service itself.",
        }
    }
}

/// One answer below 400.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Success {
    pub(crate) status: u16,
    pub(crate) description: &'static str,
    /// Names from the table of headers, beyond those of every answer.
    pub(crate) headers: &'static [&'static str],
    pub(crate) content: Content,
    pub(crate) example: Example,
    pub(crate) links: &'static [Link],
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// JSON of the handler's type.
    Json,
    /// JSON of the handler's type, or an event stream.
    JsonOrEventStream,
    /// An event stream.
    EventStream,
    /// Any JSON object.
    AnyJson,
    /// A page.
    Html,
    /// Nothing.
    Empty,
}

/// An example of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Example {
    None,
    /// JSON text.
    Json(&'static str),
    /// The text as it is.
    Text(&'static str),
    /// JSON text, and the text of a stream.
    JsonAndStream(&'static str, &'static str),
}

/// From an answer to an operation on the same object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// The operationId.
    pub(crate) operation: &'static str,
    /// Where the object's id stands in the answer, such as `$response.body#/id`.
    pub(crate) id: &'static str,
}
