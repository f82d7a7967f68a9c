//! Every operation of the server: the one table that methods and the test against the OpenAPI document share.

use reqwest::Method;

/// Whether a request may be sent again when nobody knows what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is as good as once: a read, or a write that is idempotent by nature.
    Safe,
    /// Its `Idempotency-Key` makes it so.
    Keyed,
    /// It would act twice.
    Acts,
    /// It asks how things are at this very moment: whoever asks wants the answer, whatever it is.
    Probe,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its name in the document.
    pub(crate) id: &'static str,
    pub(crate) method: Method,
    /// Its path; `{name}` stands for a parameter.
    pub(crate) path: &'static str,
    pub(crate) repeat: Repeat,
}

macro_rules! operations {
    ($($constant:ident = $id:literal, $method:ident $path:literal, $repeat:ident;)+) => {
        $(pub(crate) const $constant: &Operation = &Operation {
            id: $id,
            method: Method::$method,
            path: $path,
            repeat: Repeat::$repeat,
        };)+

        #[cfg(test)]
        const ALL: &[&Operation] = &[$($constant,)+];
    };
}

operations! {
    CREATE_USER = "createUser", POST "/users", Keyed;
    LIST_USERS = "listUsers", GET "/users", Safe;
    GET_ME = "getMe", GET "/users/me", Safe;
    GET_USER = "getUser", GET "/users/{id}", Safe;
    UPDATE_USER = "updateUser", PATCH "/users/{id}", Acts;
    CREATE_API_KEY = "createApiKey", POST "/api-keys", Acts;
    LIST_API_KEYS = "listApiKeys", GET "/api-keys", Safe;
    GET_CURRENT_API_KEY = "getCurrentApiKey", GET "/api-keys/current", Safe;
    GET_API_KEY = "getApiKey", GET "/api-keys/{id}", Safe;
    REVOKE_API_KEY = "revokeApiKey", DELETE "/api-keys/{id}", Safe;
    LIST_ACTION_TYPES = "listActionTypes", GET "/action-types", Safe;
    GET_ACTION_TYPE = "getActionType", GET "/action-types/{name}", Safe;
    PUT_ACTION_TYPE = "putActionType", PUT "/action-types/{name}", Safe;
    DELETE_ACTION_TYPE = "deleteActionType", DELETE "/action-types/{name}", Acts;
    CREATE_ACTION = "createAction", POST "/actions", Keyed;
    CREATE_ACTION_BATCH = "createActionBatch", POST "/actions/batch", Keyed;
    LIST_ACTIONS = "listActions", GET "/actions", Safe;
    GET_ACTION = "getAction", GET "/actions/{id}", Safe;
    CANCEL_ACTION = "cancelAction", POST "/actions/{id}/cancel", Safe;
    RETRY_ACTION = "retryAction", POST "/actions/{id}/retry", Keyed;
    GET_ACTION_EVENTS = "getActionEvents", GET "/actions/{id}/events", Safe;
    CREATE_STREAM_TICKET = "createStreamTicket", POST "/actions/{id}/stream-ticket", Safe;
    CREATE_STREAM = "createStream", POST "/stream", Keyed;
    LEASE_ACTIONS = "leaseActions", POST "/leases", Acts;
    RENEW_LEASES = "renewLeases", POST "/leases/heartbeat", Safe;
    FINISH_LEASES = "finishLeases", POST "/leases/finish", Acts;
    REPORT_EVENTS = "reportEvents", POST "/leases/{lease_id}/events", Safe;
    COMPLETE_LEASE = "completeLease", POST "/leases/{lease_id}/complete", Safe;
    FAIL_LEASE = "failLease", POST "/leases/{lease_id}/fail", Safe;
    RELEASE_LEASE = "releaseLease", POST "/leases/{lease_id}/release", Safe;
    GET_LIVEZ = "getLivez", GET "/livez", Probe;
    GET_READYZ = "getReadyz", GET "/readyz", Probe;
    GET_OPEN_API = "getOpenApi", GET "/openapi.json", Safe;
    GET_PROBLEM_PAGE = "getProblemPage", GET "/problems/{code}", Safe;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

    /// `method path id`, and whether the operation takes an `Idempotency-Key`, sorted.
    fn documented() -> Vec<(String, bool)> {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut found = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                let parameters = operation["parameters"].as_array().cloned();
                let is_keyed = parameters
                    .unwrap_or_default()
                    .iter()
                    .any(|parameter| parameter["name"] == "Idempotency-Key");
                found.push((format!("{} {path} {id}", method.to_uppercase()), is_keyed));
            }
        }
        found.sort();
        found
    }

    // Each constant is used by the method of its name: one that no method uses is dead code, which the lints refuse.
    #[test]
    fn the_client_has_every_operation_of_the_document_and_no_other() {
        let mut known: Vec<_> = ALL
            .iter()
            .map(|operation| {
                let Operation {
                    id,
                    method,
                    path,
                    repeat,
                } = operation;
                (format!("{method} {path} {id}"), *repeat == Repeat::Keyed)
            })
            .collect();
        known.sort();
        assert_eq!(known, documented());
    }
}
