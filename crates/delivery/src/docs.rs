//! The documentation that the server carries: `/openapi.json`, Swagger UI under `/docs`, and the errors' pages.
//!
//! Swagger UI's files lie in `vendor/swagger-ui/`, compressed already, and are part of the binary: the page works with
//! no internet, and its content security policy forbids it to load anything from elsewhere.

use std::sync::OnceLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use apistos::api_operation;
use bytes::Bytes;

use crate::app::Api;
use crate::etag::{ETag, Verdict};
use crate::extract::{Acceptable, Conditions, NoQuery, PathName};
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
    text: Bytes,
    tag: ETag,
}

impl Document {
    pub(crate) fn new(text: String) -> Self {
        Self {
            tag: ETag::of_bytes(text.as_bytes()),
            text: text.into(),
        }
    }
}

/// One of Swagger UI's files.
struct File {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// What it is compressed by already. It is sent as it is; every browser takes gzip.
    coding: Option<&'static str>,
    tag: OnceLock<ETag>,
}

impl File {
    const fn new(
        name: &'static str,
        media_type: &'static str,
        coding: Option<&'static str>,
        bytes: &'static [u8],
    ) -> Self {
        Self {
            name,
            media_type,
            bytes,
            coding,
            tag: OnceLock::new(),
        }
    }

    fn tag(&self) -> &ETag {
        self.tag.get_or_init(|| ETag::of_bytes(self.bytes))
    }
}

static FILES: [File; 4] = [
    File::new("swagger-ui-bundle.js", JAVASCRIPT, GZIP, BUNDLE),
    File::new("swagger-ui.css", "text/css; charset=utf-8", GZIP, STYLE),
    File::new("favicon-32x32.png", "image/png", None, ICON),
    File::new("start.js", JAVASCRIPT, None, START.as_bytes()),
];

const GZIP: Option<&str> = Some("gzip");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// What stays the same for as long as the server runs: whole, or 304 for who has it already.
fn unchanging(
    conditions: &Conditions,
    tag: &ETag,
    media_type: &'static str,
    bytes: Bytes,
) -> Result<HttpResponse, Refusal> {
    let mut response = match conditions.judge(tag) {
        Verdict::Proceed => HttpResponse::Ok().content_type(media_type).body(bytes),
        Verdict::NotModified => HttpResponse::NotModified().finish(),
        Verdict::Failed => return Err(Refusal::new(ErrorCode::PreconditionFailed)),
    };
    let tag = header::HeaderValue::from_str(&tag.to_string())
        .map_err(|error| Refusal::new(ErrorCode::InternalError).because(error))?;
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

fn with(mut response: HttpResponse, name: header::HeaderName, value: &'static str) -> HttpResponse {
    let value = header::HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
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
    errors: &[ErrorCode::ValidationFailed, ErrorCode::PreconditionFailed],
    request_example: None,
    deprecated: None,
};

/// GET `/openapi.json`.
#[api_operation(operation_id = "getOpenApi")]
pub(crate) async fn openapi(
    _: Acceptable,
    _: NoQuery,
    conditions: Conditions,
    api: Api,
) -> Result<HttpResponse, Refusal> {
    let Document { text, tag } = api.document();
    let response = unchanging(&conditions, tag, "application/json", text.clone())?;
    Ok(with(response, header::CACHE_CONTROL, "no-cache"))
}

/// GET `/docs`.
pub(crate) async fn page(conditions: Conditions) -> Result<HttpResponse, Refusal> {
    static TAG: OnceLock<ETag> = OnceLock::new();
    let tag = TAG.get_or_init(|| ETag::of_bytes(PAGE.as_bytes()));
    let page = Bytes::from_static(PAGE.as_bytes());
    let response = unchanging(&conditions, tag, "text/html; charset=utf-8", page)?;
    let response = with(response, header::CONTENT_SECURITY_POLICY, POLICY);
    let response = with(response, header::REFERRER_POLICY, "no-referrer");
    Ok(with(response, header::CACHE_CONTROL, "no-cache"))
}

/// GET `/docs/{file}`.
pub(crate) async fn file(
    name: actix_web::web::Path<String>,
    conditions: Conditions,
) -> Result<HttpResponse, Refusal> {
    let file = FILES
        .iter()
        .find(|file| file.name == name.as_str())
        .ok_or_else(|| Refusal::new(ErrorCode::NotFound))?;
    let bytes = Bytes::from_static(file.bytes);
    let mut response = unchanging(&conditions, file.tag(), file.media_type, bytes)?;
    if let Some(coding) = file.coding
        && response.status().is_success()
    {
        response = with(response, header::CONTENT_ENCODING, coding);
    }
    Ok(with(
        response,
        header::CACHE_CONTROL,
        "public, max-age=3600",
    ))
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
    deprecated: None,
};

/// GET `/problems/{code}`.
#[api_operation(operation_id = "getProblemPage")]
pub(crate) async fn problem(
    _: Acceptable,
    _: NoQuery,
    code: PathName,
) -> Result<HttpResponse, Refusal> {
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
    use sha2::{Digest as _, Sha256};

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
