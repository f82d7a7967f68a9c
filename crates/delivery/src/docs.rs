//! The documentation that the server carries: `/openapi.json`, Swagger UI under `/docs`, and the errors' pages.
//!
//! Swagger UI's files lie in `vendor/swagger-ui/`, compressed already, and are part of the binary: the page works with
//! no internet, and its content security policy forbids it to load anything from elsewhere.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use apistos::api_operation;
use sha2::{Digest, Sha256};

use crate::app::Api;
use crate::extract::{NoQuery, PathName};
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal, page_html};

const BUNDLE: &[u8] = include_bytes!("../vendor/swagger-ui/swagger-ui-bundle.js.gz");
const STYLE: &[u8] = include_bytes!("../vendor/swagger-ui/swagger-ui.css.gz");
const ICON: &[u8] = include_bytes!("../vendor/swagger-ui/favicon-32x32.png");

/// The page itself; its script stands in a file of its own so that the policy can forbid inline scripts.
const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Deed</title>
<link rel=\"icon\" href=\"/docs/favicon-32x32.png\">
<link rel=\"stylesheet\" href=\"/docs/swagger-ui.css\">
<div id=\"swagger-ui\"></div>
<script src=\"/docs/swagger-ui-bundle.js\"></script>
<script src=\"/docs/start.js\"></script>
</html>
";

/// Starts Swagger UI. `validatorUrl: null` keeps it from asking a server on the internet.
const START: &str = "window.onload = () => {
  window.ui = SwaggerUIBundle({
    url: \"/openapi.json\",
    dom_id: \"#swagger-ui\",
    deepLinking: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
};
";

/// Swagger UI sets inline styles and draws its icons from data URLs; scripts come from this server's files alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The OpenAPI document with the tag that names this very text.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    text: bytes::Bytes,
    etag: String,
}

impl Document {
    pub(crate) fn new(text: String) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let hex: String = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            text: text.into(),
            etag: format!("\"{hex}\""),
        }
    }
}

pub(crate) const OPENAPI: Operation = Operation {
    id: "getOpenApi",
    summary: "This document",
    description: "The OpenAPI 3.1 document of the interface. A repeated request with `If-None-Match` is answered 304.",
    tag: Tag::Service,
    success: &[
        Success {
            status: 200,
            description: "The document.",
            headers: &["ETag"],
            content: Content::AnyJson,
            example: Example::Json(
                r#"{"openapi":"3.1.0","info":{"title":"Deed","version":"0.1.0"},"paths":{}}"#,
            ),
            links: &[],
        },
        Success {
            status: 304,
            description: "The document is still the one that `If-None-Match` names.",
            headers: &["ETag"],
            content: Content::Empty,
            example: Example::None,
            links: &[],
        },
    ],
    errors: &[ErrorCode::ValidationFailed],
    request_example: None,
};

/// GET `/openapi.json`.
#[api_operation(operation_id = "getOpenApi")]
pub(crate) async fn openapi(
    _: NoQuery,
    api: Api,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let document = api.document();
    let known = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == document.etag);
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response.insert_header((header::ETAG, document.etag.clone()));
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    if known {
        return Ok(response.finish());
    }
    Ok(response
        .content_type("application/json")
        .body(document.text.clone()))
}

/// GET `/docs`.
pub(crate) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .content_type("text/html; charset=utf-8")
        .body(PAGE)
}

/// GET `/docs/{file}`: Swagger UI's files. The compressed ones are sent as they are; every browser takes gzip.
pub(crate) async fn file(name: actix_web::web::Path<String>) -> Result<HttpResponse, Refusal> {
    let (media_type, body, compressed) = match name.as_str() {
        "swagger-ui-bundle.js" => ("text/javascript; charset=utf-8", BUNDLE, true),
        "swagger-ui.css" => ("text/css; charset=utf-8", STYLE, true),
        "favicon-32x32.png" => ("image/png", ICON, false),
        "start.js" => ("text/javascript; charset=utf-8", START.as_bytes(), false),
        _ => return Err(Refusal::new(ErrorCode::NotFound)),
    };
    let mut response = HttpResponse::Ok();
    response
        .content_type(media_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"));
    if compressed {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    Ok(response.body(body))
}

pub(crate) const PROBLEM: Operation = Operation {
    id: "getProblemPage",
    summary: "What an error code means",
    description: "A page about one error code: what it means, and what to do. The `type` of each problem leads here.",
    tag: Tag::Service,
    success: &[Success {
        status: 200,
        description: "The page.",
        headers: &[],
        content: Content::Html,
        example: Example::Text("<!doctype html>…"),
        links: &[],
    }],
    errors: &[ErrorCode::NotFound],
    request_example: None,
};

/// GET `/problems/{code}`.
#[api_operation(operation_id = "getProblemPage")]
pub(crate) async fn problem(_: NoQuery, code: PathName) -> Result<HttpResponse, Refusal> {
    let code = ErrorCode::named(code.as_str()).ok_or_else(|| Refusal::new(ErrorCode::NotFound))?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .content_type("text/html; charset=utf-8")
        .body(page_html(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SHA256SUMS` names each vendored file; one that was changed, or isn't listed, fails here.
    #[test]
    fn vendored_files_are_as_listed() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor/swagger-ui");
        let sums = std::fs::read_to_string(format!("{directory}/SHA256SUMS")).unwrap();
        let mut listed = Vec::new();
        for line in sums.lines().filter(|line| !line.starts_with('#')) {
            let (sum, name) = line.split_once("  ").unwrap();
            let bytes = std::fs::read(format!("{directory}/{name}")).unwrap();
            let found: String = Sha256::digest(&bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(found, sum, "{name}");
            listed.push(name.to_owned());
        }
        for entry in std::fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                name == "SHA256SUMS" || listed.contains(&name),
                "{name} is not listed"
            );
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for text in [PAGE, START, POLICY] {
            assert!(
                !text.contains("http:") && !text.contains("https:") && !text.contains("//"),
                "{text}"
            );
        }
        assert!(
            !PAGE.contains("<script>"),
            "the policy forbids inline scripts"
        );
    }
}
