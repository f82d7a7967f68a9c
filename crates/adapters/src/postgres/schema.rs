//! The tables that diesel's query builder reads. A leaf, kept by hand; a test compares it with the catalog.

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        email_key -> Text,
        name -> Text,
        external_id -> Nullable<Text>,
        status -> Text,
        password_hash -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        deleted_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        user_id -> Uuid,
        name -> Text,
        scopes -> Array<Text>,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    audit_events (id) {
        id -> Uuid,
        at -> Timestamptz,
        kind -> Text,
        actor -> Text,
        actor_key_id -> Nullable<Uuid>,
        subject_id -> Nullable<Uuid>,
        request_id -> Nullable<Text>,
        user_id -> Uuid,
        api_key_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    action_types (id) {
        id -> Int4,
        name -> Text,
        performed_by -> Text,
        input_schema -> Nullable<Text>,
        max_attempts -> Int2,
        attempt_timeout_ms -> Int8,
        lease_ms -> Int8,
        retry_initial_ms -> Int8,
        retry_factor -> Float8,
        retry_max_ms -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        removed_at -> Nullable<Timestamptz>,
        time_limit_ms -> Nullable<Int8>,
        max_running -> Nullable<Int4>,
        max_running_per_user -> Nullable<Int4>,
        max_running_per_replica -> Nullable<Int4>,
    }
}
