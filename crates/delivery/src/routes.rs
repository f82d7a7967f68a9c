//! The whole URL map.
//!
//! HEAD is answered wherever GET is: the outermost middleware routes it as GET. A path that exists answers other
//! methods with 405 and `Allow`.

use apistos::web::{ServiceConfig, delete, get, patch, post, put, resource};

use crate::openapi::operation::Operation;
use crate::{action_types, actions, api_keys, docs, health, leases, streams, users};

/// Every path of the document, in its order.
pub(crate) const PATHS: [&str; 27] = [
    "/users",
    "/users/me",
    "/users/{id}",
    "/api-keys",
    "/api-keys/current",
    "/api-keys/{id}",
    "/action-types",
    "/action-types/{name}",
    "/actions",
    "/actions/batch",
    "/actions/{id}",
    "/actions/{id}/cancel",
    "/actions/{id}/retry",
    "/actions/{id}/events",
    "/actions/{id}/stream-ticket",
    "/stream",
    "/leases",
    "/leases/heartbeat",
    "/leases/finish",
    "/leases/{lease_id}/events",
    "/leases/{lease_id}/complete",
    "/leases/{lease_id}/fail",
    "/leases/{lease_id}/release",
    "/livez",
    "/readyz",
    "/openapi.json",
    "/problems/{code}",
];

/// The paths of Swagger UI, which are no part of the document.
pub(crate) const PAGES: [&str; 2] = ["/docs", "/docs/{file}"];

/// Every operation's extras.
pub(crate) const OPERATIONS: &[&Operation] = &[
    &users::CREATE,
    &users::LIST,
    &users::ME,
    &users::FIND,
    &users::CHANGE,
    &api_keys::CREATE,
    &api_keys::LIST,
    &api_keys::CURRENT,
    &api_keys::FIND,
    &api_keys::REVOKE,
    &action_types::LIST,
    &action_types::FIND,
    &action_types::PUT,
    &action_types::REMOVE,
    &actions::CREATE,
    &actions::batch::CREATE,
    &actions::LIST,
    &actions::FIND,
    &actions::CANCEL,
    &actions::RETRY,
    &streams::EVENTS,
    &streams::ticket::CREATE,
    &streams::CREATE,
    &leases::LEASE,
    &leases::HEARTBEAT,
    &leases::FINISH,
    &leases::REPORT,
    &leases::COMPLETE,
    &leases::FAIL,
    &leases::RELEASE,
    &health::LIVEZ,
    &health::READYZ,
    &docs::OPENAPI,
    &docs::PROBLEM,
];

/// The routes that are always there.
pub(crate) fn always(config: &mut ServiceConfig) {
    config
        .service(
            resource("/users")
                .route(post().to(users::create))
                .route(get().to(users::list)),
        )
        .service(resource("/users/me").route(get().to(users::me)))
        .service(
            resource("/users/{id}")
                .route(get().to(users::find))
                .route(patch().to(users::change)),
        )
        .service(
            resource("/api-keys")
                .route(post().to(api_keys::create))
                .route(get().to(api_keys::list)),
        )
        .service(resource("/api-keys/current").route(get().to(api_keys::current)))
        .service(
            resource("/api-keys/{id}")
                .route(get().to(api_keys::find))
                .route(delete().to(api_keys::revoke)),
        )
        .service(resource("/action-types").route(get().to(action_types::list)))
        .service(
            resource("/action-types/{name}")
                .route(get().to(action_types::find))
                .route(put().to(action_types::put))
                .route(delete().to(action_types::remove)),
        )
        .service(
            resource("/actions")
                .route(post().to(actions::create))
                .route(get().to(actions::list)),
        )
        // Before the path that would take `batch` for an id.
        .service(resource("/actions/batch").route(post().to(actions::batch::create)))
        .service(resource("/actions/{id}").route(get().to(actions::find)))
        .service(resource("/actions/{id}/cancel").route(post().to(actions::cancel)))
        .service(resource("/actions/{id}/retry").route(post().to(actions::retry)))
        .service(resource("/actions/{id}/events").route(get().to(streams::events)))
        .service(resource("/actions/{id}/stream-ticket").route(post().to(streams::ticket::create)))
        .service(resource("/stream").route(post().to(streams::create)))
        .service(resource("/leases").route(post().to(leases::lease)))
        .service(resource("/leases/heartbeat").route(post().to(leases::heartbeat)))
        .service(resource("/leases/finish").route(post().to(leases::finish)))
        .service(resource("/leases/{lease_id}/events").route(post().to(leases::report)))
        .service(resource("/leases/{lease_id}/complete").route(post().to(leases::complete)))
        .service(resource("/leases/{lease_id}/fail").route(post().to(leases::fail)))
        .service(resource("/leases/{lease_id}/release").route(post().to(leases::release)))
        .service(resource("/livez").route(get().to(health::livez)))
        .service(resource("/readyz").route(get().to(health::readyz)));
}

/// The routes of the document: all, whether they are served or not.
pub(crate) fn documented(config: &mut ServiceConfig) {
    always(config);
    documentation(config);
}

/// The routes about the interface itself, which can be switched off.
pub(crate) fn documentation(config: &mut ServiceConfig) {
    config
        .service(resource("/openapi.json").route(get().to(docs::openapi)))
        .service(resource("/problems/{code}").route(get().to(docs::problem)));
}

/// Swagger UI, which is no part of the interface.
pub(crate) fn pages(config: &mut actix_web::web::ServiceConfig) {
    config
        .service(actix_web::web::resource("/docs").route(actix_web::web::get().to(docs::page)))
        .service(
            actix_web::web::resource("/docs/{file}").route(actix_web::web::get().to(docs::file)),
        );
}
