//! Says of operations that they go away, and on which answers that is told.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::operation::Operation;
use super::{DocumentError, failed, headers};
use crate::deprecation::{Deprecation, Deprecations};

/// Marks the operations whose extras say so, with the headers that their answers have; and lists them.
///
/// # Errors
/// [`DocumentError`] when what is said can't be read.
pub(super) fn mark(
    document: &mut Value,
    operations: &[&Operation],
) -> Result<Deprecations, DocumentError> {
    let mut deprecations = Deprecations::default();
    let shared = document["components"]["responses"].clone();
    let Some(paths) = document["paths"].as_object_mut() else {
        return Ok(deprecations);
    };
    for (path, item) in paths {
        for (method, described) in item.as_object_mut().into_iter().flatten() {
            let of_this = |operation: &&&Operation| described["operationId"] == operation.id;
            let Some(said) = operations
                .iter()
                .find(of_this)
                .and_then(|operation| operation.deprecated)
            else {
                continue;
            };
            let unreadable = || failed(format!("{method} {path}: its deprecation can't be read"));
            let deprecation = Deprecation::read(&said).ok_or_else(unreadable)?;
            let named = Method::from_bytes(method.to_uppercase().as_bytes()).map_err(failed)?;
            deprecations.add(named, path, deprecation);
            described["deprecated"] = json!(true);
            let mut names = vec!["Deprecation"];
            names.extend(said.sunset.map(|_| "Sunset"));
            names.extend(said.link.map(|_| "Link"));
            let answers = described["responses"].as_object_mut();
            for answer in answers.into_iter().flat_map(|answers| answers.values_mut()) {
                // What other operations share has no such headers: this one gets a copy.
                let name = answer["$ref"]
                    .as_str()
                    .and_then(|path| path.rsplit('/').next());
                if let Some(component) = name.map(|name| shared[name].clone()) {
                    *answer = component;
                }
                let told = headers::of_answer(names.iter().copied())?;
                for (name, header) in told.as_object().into_iter().flatten() {
                    answer["headers"][name] = header.clone();
                }
            }
        }
    }
    Ok(deprecations)
}

#[cfg(test)]
mod tests {
    use super::super::described;
    use super::*;
    use crate::deprecation::Deprecated;
    use crate::routes;

    fn with(id: &str, deprecated: Deprecated) -> Result<(Value, Deprecations), DocumentError> {
        let operations: Vec<Operation> = routes::OPERATIONS
            .iter()
            .map(|operation| Operation {
                deprecated: (operation.id == id).then_some(deprecated),
                ..**operation
            })
            .collect();
        let (text, deprecations) = described(&operations.iter().collect::<Vec<_>>())?;
        Ok((serde_json::from_str(&text).unwrap(), deprecations))
    }

    const SAID: Deprecated = Deprecated {
        since: "2026-01-31T00:00:00Z",
        sunset: Some("2026-07-01T00:00:00Z"),
        link: Some("https://deed.example/news"),
    };

    #[test]
    fn every_answer_of_it_and_of_nothing_else_says_so() {
        let (document, deprecations) = with("listUsers", SAID).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let is_it = operation["operationId"] == "listUsers";
                assert_eq!(operation["deprecated"] == true, is_it, "{method} {path}");
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let told = ["Deprecation", "Sunset", "Link"]
                        .iter()
                        .filter(|name| answer["headers"][**name].is_object())
                        .count();
                    let expected = if is_it { 3 } else { told.min(1) };
                    assert_eq!(told, expected, "{method} {path} {status}");
                }
            }
        }
        let found = |method| {
            deprecations
                .find(&method, || Some("/users".to_owned()))
                .is_some()
        };
        assert!(found(Method::GET) && !found(Method::POST));
    }

    #[test]
    fn only_what_is_said_is_told() {
        let said = Deprecated {
            sunset: None,
            link: None,
            ..SAID
        };
        let (document, _) = with("getMe", said).unwrap();
        let headers = &document["paths"]["/users/me"]["get"]["responses"]["404"]["headers"];
        assert!(headers["Deprecation"].is_object() && headers["Sunset"].is_null());
        assert!(headers["Link"].is_null(), "{headers}");
    }

    #[test]
    fn what_can_not_be_read_is_an_error() {
        let said = Deprecated {
            since: "soon",
            ..SAID
        };
        assert!(with("getMe", said).is_err());
    }

    #[test]
    fn nothing_goes_away_now() {
        assert!(
            routes::OPERATIONS
                .iter()
                .all(|operation| operation.deprecated.is_none())
        );
    }
}
