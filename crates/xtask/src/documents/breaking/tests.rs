use serde_json::json;

use super::*;

/// A small document with one of everything that can break.
fn document() -> Value {
    json!({
        "paths": {
            "/notes": {
                "get": {
                    "operationId": "listNotes",
                    "security": [],
                    "x-public": true,
                    "parameters": [
                        { "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 200 } },
                        { "name": "sort", "in": "query", "required": true, "schema": { "enum": ["asc", "desc"] } },
                    ],
                    "responses": {
                        "200": {
                            "headers": { "Link": {} },
                            "content": {
                                "application/json": { "schema": { "type": "array", "items": { "$ref": "#/components/schemas/Note" } } },
                                "text/event-stream": { "schema": {
                                    "type": "string",
                                    "contentSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
                                } },
                            },
                        },
                        "304": {},
                        "404": { "$ref": "#/components/responses/Refused" },
                    },
                },
                "post": {
                    "operationId": "createNote",
                    "security": [{ "ApiKey": [] }, { "Bearer": [] }],
                    "x-scope": "notes:write",
                    "requestBody": {
                        "content": {
                            "application/json": { "schema": { "$ref": "#/components/schemas/NewNote" } },
                            "application/x-ndjson": { "schema": { "type": "string" } },
                        },
                    },
                    "responses": { "201": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Note" } } } } },
                },
            },
        },
        "components": {
            "securitySchemes": { "ApiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" } },
            "responses": {
                "Refused": { "content": { "application/problem+json": { "schema": {
                    "$ref": "#/components/schemas/Problem",
                    "properties": { "error": { "enum": ["not_found"], "x-open-set": true } },
                } } } },
            },
            "schemas": {
                "Problem": { "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } },
                "Kind": { "type": "string", "enum": ["memo", "letter"] },
                "Note": {
                    "type": "object",
                    "required": ["id", "kind"],
                    "properties": {
                        "id": { "type": "string", "format": "uuid" },
                        "kind": { "$ref": "#/components/schemas/Kind" },
                        "size": { "type": "integer" },
                        "parent": { "anyOf": [{ "$ref": "#/components/schemas/Note" }, { "type": "null" }] },
                        "any": {},
                    },
                },
                "NewNote": {
                    "type": "object",
                    "required": ["text"],
                    "additionalProperties": false,
                    "properties": {
                        "text": { "type": "string", "minLength": 1, "maxLength": 100 },
                        "kind": { "enum": ["memo", "letter"] },
                        "weight": { "type": "number", "minimum": 0 },
                        "owner": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
                        "tags": { "type": "array", "items": { "type": "string" } },
                        "extra": { "type": "object" },
                    },
                },
            },
        },
    })
}

/// Where most of what is tried out stands.
const GET: &str = "/paths/~1notes/get";
const POST: &str = "/paths/~1notes/post";
const NOTE: &str = "/components/schemas/Note";
const NEW: &str = "/components/schemas/NewNote";

/// Sets what stands at a pointer; null takes it away.
fn changed(pointer: &str, value: Value) -> Value {
    let mut document = document();
    let (holder, name) = pointer.rsplit_once('/').unwrap();
    let holder = document.pointer_mut(holder).unwrap();
    let name = name.replace("~1", "/");
    match holder {
        Value::Object(members) if value.is_null() => drop(members.remove(&name).unwrap()),
        Value::Object(members) => drop(members.insert(name, value)),
        Value::Array(items) if value.is_null() => drop(items.remove(name.parse().unwrap())),
        Value::Array(items) => items.insert(name.parse().unwrap(), value),
        other => panic!("{other} holds nothing"),
    }
    document
}

#[track_caller]
fn check(pointer: String, value: Value, expected: &[&str]) {
    let found = changes(&document(), &changed(&pointer, value.clone()));
    assert_eq!(found, expected, "{pointer} = {value}");
}

fn breaks(pointer: String, value: Value, expected: &str) {
    check(pointer, value, &[expected]);
}

fn breaks_nothing(pointer: String, value: Value) {
    check(pointer, value, &[]);
}

#[test]
fn a_document_fits_itself() {
    assert_eq!(changes(&document(), &document()), Vec::<String>::new());
}

#[test]
fn what_is_gone_breaks() {
    breaks(GET.to_owned(), json!(null), "GET /notes: is gone");
    check(
        "/paths/~1notes".to_owned(),
        json!(null),
        &["GET /notes: is gone", "POST /notes: is gone"],
    );
    breaks(
        format!("{GET}/parameters/0"),
        json!(null),
        "GET /notes query limit: is gone",
    );
    breaks(
        format!("{GET}/responses/304"),
        json!(null),
        "GET /notes 304: is no longer answered",
    );
    breaks(
        format!("{GET}/responses/200/headers/Link"),
        json!(null),
        "GET /notes 200: has lost its header Link",
    );
    breaks(
        format!("{GET}/responses/200/content/text~1event-stream"),
        json!(null),
        "GET /notes 200: is no longer text/event-stream",
    );
    breaks(
        format!("{POST}/requestBody/content/application~1x-ndjson"),
        json!(null),
        "POST /notes body: is no longer application/x-ndjson",
    );
    breaks(
        format!("{NOTE}/properties/size"),
        json!(null),
        "Note.size: is gone",
    );
    breaks(
        format!("{NEW}/properties/weight"),
        json!(null),
        "NewNote.weight: is gone",
    );
    breaks(
        format!(
            "{GET}/responses/200/content/text~1event-stream/schema/contentSchema/properties/text"
        ),
        json!(null),
        "GET /notes 200[].text: is gone",
    );
}

#[test]
fn what_is_asked_on_top_breaks() {
    let parameter = |required: bool| json!({ "name": "by", "in": "header", "required": required, "schema": {} });
    breaks(
        format!("{GET}/parameters/2"),
        parameter(true),
        "GET /notes header by: is new and required",
    );
    breaks_nothing(format!("{GET}/parameters/2"), parameter(false));
    breaks(
        format!("{GET}/parameters/0/required"),
        json!(true),
        "GET /notes query limit: is required now",
    );
    breaks(
        format!("{POST}/requestBody/required"),
        json!(true),
        "POST /notes body: is required now",
    );
    breaks(
        format!("{NEW}/required"),
        json!(["text", "kind"]),
        "NewNote.kind: is required now",
    );
    breaks_nothing(format!("{NEW}/required"), json!([]));
    breaks_nothing(
        format!("{NEW}/properties/colour"),
        json!({ "type": "string" }),
    );
}

#[test]
fn what_is_taken_less_of_breaks() {
    let limit = format!("{GET}/parameters/0/schema");
    breaks(
        format!("{limit}/minimum"),
        json!(2),
        "GET /notes query limit: has minimum 2 now",
    );
    breaks_nothing(format!("{limit}/minimum"), json!(0));
    breaks(
        format!("{limit}/maximum"),
        json!(100),
        "GET /notes query limit: has maximum 100 now",
    );
    breaks_nothing(format!("{limit}/maximum"), json!(500));
    breaks_nothing(format!("{limit}/type"), json!("number"));
    breaks(
        format!("{limit}/type"),
        json!("string"),
        "GET /notes query limit: was integer, is string",
    );
    let text = format!("{NEW}/properties/text");
    breaks(
        format!("{text}/minLength"),
        json!(8),
        "NewNote.text: has minLength 8 now",
    );
    breaks(
        format!("{text}/maxLength"),
        json!(50),
        "NewNote.text: has maxLength 50 now",
    );
    breaks(
        format!("{text}/pattern"),
        json!("^a"),
        "NewNote.text: has pattern \"^a\" now",
    );
    breaks(
        format!("{text}/format"),
        json!("email"),
        "NewNote.text: had the format null, has \"email\"",
    );
    breaks_nothing(format!("{text}/type"), json!(["string", "null"]));
    breaks(
        format!("{NEW}/properties/weight/type"),
        json!("integer"),
        "NewNote.weight: was number, is integer",
    );
    breaks(
        format!("{NEW}/properties/weight/maximum"),
        json!(9),
        "NewNote.weight: has maximum 9 now",
    );
    let tags = format!("{NEW}/properties/tags");
    breaks(
        format!("{tags}/maxItems"),
        json!(9),
        "NewNote.tags: has maxItems 9 now",
    );
    breaks(
        format!("{tags}/minItems"),
        json!(1),
        "NewNote.tags: has minItems 1 now",
    );
    breaks_nothing(format!("{tags}/minItems"), json!(0));
    breaks(
        format!("{tags}/items/maxLength"),
        json!(9),
        "NewNote.tags[]: has maxLength 9 now",
    );
    breaks(
        format!("{NEW}/properties/extra/additionalProperties"),
        json!(false),
        "NewNote.extra: takes no other members now",
    );
    let kind = format!("{NEW}/properties/kind/enum");
    breaks(
        kind.clone(),
        json!(["memo"]),
        "NewNote.kind: no longer takes \"letter\"",
    );
    breaks_nothing(kind, json!(["memo", "letter", "card"]));
    breaks(
        format!("{text}/enum"),
        json!(["a"]),
        "NewNote.text: takes only some names now",
    );
    let owner = format!("{NEW}/properties/owner/anyOf");
    breaks(
        owner.clone(),
        json!([{ "type": "string" }]),
        "NewNote.owner: one of its forms is no longer taken",
    );
    breaks_nothing(
        owner,
        json!([{ "type": "null" }, { "type": "integer" }, { "type": "string" }]),
    );
}

#[test]
fn what_is_answered_otherwise_breaks() {
    breaks(
        format!("{NOTE}/properties/size/type"),
        json!("string"),
        "Note.size: was integer, is string",
    );
    breaks(
        format!("{NOTE}/properties/size/type"),
        json!(["integer", "null"]),
        "Note.size: was integer, is integer or null",
    );
    breaks(
        format!("{NOTE}/properties/size/type"),
        json!("number"),
        "Note.size: was integer, is number",
    );
    breaks(
        format!("{NOTE}/properties/size"),
        json!({}),
        "Note.size: was integer, is anything",
    );
    breaks_nothing(format!("{NOTE}/properties/any/type"), json!("integer"));
    breaks(
        format!("{NOTE}/required"),
        json!(["id"]),
        "Note.kind: is no longer always there",
    );
    breaks_nothing(format!("{NOTE}/required"), json!(["id", "kind", "size"]));
    breaks(
        format!("{NOTE}/properties/id/format"),
        json!(null),
        "Note.id: had the format \"uuid\", has null",
    );
    breaks_nothing(
        format!("{NOTE}/properties/colour"),
        json!({ "type": "string" }),
    );
    let kind = "/components/schemas/Kind/enum".to_owned();
    breaks(
        kind.clone(),
        json!(["memo", "letter", "card"]),
        "Kind: may be \"card\" now",
    );
    breaks(kind.clone(), json!(null), "Kind: may be any name now");
    breaks_nothing(kind, json!(["memo"]));
    breaks(
        format!("{NOTE}/properties/parent/anyOf/2"),
        json!({ "type": "string" }),
        "Note.parent: has a form that was not there",
    );
    breaks_nothing(format!("{NOTE}/properties/parent/anyOf/1"), json!(null));
}

#[test]
fn errors_may_become_more() {
    let problem = "/components/responses/Refused/content/application~1problem+json/schema";
    breaks_nothing(
        format!("{problem}/properties/error/enum"),
        json!(["not_found", "gone"]),
    );
    breaks_nothing(format!("{GET}/responses/404"), json!(null));
    breaks_nothing(format!("{GET}/responses/429"), json!({}));
    breaks(
        "/components/schemas/Problem/properties/error/type".to_owned(),
        json!("integer"),
        "GET /notes 404.error: was string, is integer",
    );
}

#[test]
fn who_could_call_can_call() {
    breaks(
        format!("{POST}/x-scope"),
        json!("notes:own"),
        "POST /notes: needs the scope \"notes:own\" now",
    );
    breaks_nothing(format!("{POST}/x-scope"), json!(null));
    breaks(
        format!("{GET}/x-scope"),
        json!("notes:read"),
        "GET /notes: needs the scope \"notes:read\" now",
    );
    breaks(
        format!("{GET}/security"),
        json!([{ "ApiKey": [] }]),
        "GET /notes: a way to call it is refused now",
    );
    breaks(
        format!("{POST}/security"),
        json!([{ "ApiKey": [] }]),
        "POST /notes: a way to call it is refused now",
    );
    breaks_nothing(format!("{POST}/security"), json!([]));
    breaks(
        "/components/securitySchemes/ApiKey/name".to_owned(),
        json!("X-Key"),
        "ApiKey: the way to send a key has changed",
    );
    breaks(
        format!("{POST}/operationId"),
        json!("addNote"),
        "POST /notes: is no longer called \"createNote\"",
    );
}

#[test]
fn a_schema_reads_the_same_wherever_it_stands() {
    let whole = json!({ "allOf": [{ "$ref": "#/components/schemas/Kind" }, { "description": "How it looks." }] });
    breaks_nothing(format!("{NOTE}/properties/kind"), whole);
    let inline = json!({ "type": "string", "enum": ["memo", "letter"] });
    breaks_nothing(format!("{NOTE}/properties/kind"), inline);
}
