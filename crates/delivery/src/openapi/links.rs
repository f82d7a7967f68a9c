//! Where an answer leads: to other operations on what it tells of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operation::Link;
use super::{DocumentError, failed};

/// The parameter in the path of every operation that has one, by operationId.
pub(super) struct Targets(BTreeMap<String, String>);

impl Targets {
    /// Reads the paths of a document.
    pub(super) fn of(paths: &Map<String, Value>) -> Self {
        let mut targets = BTreeMap::new();
        for (path, item) in paths {
            let parameter = path
                .split('/')
                .find_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            let operations = item.as_object().into_iter().flat_map(Map::values);
            for id in operations.filter_map(|operation| operation["operationId"].as_str()) {
                if let Some(parameter) = parameter {
                    targets.insert(id.to_owned(), parameter.to_owned());
                }
            }
        }
        Self(targets)
    }

    /// The links of an answer, by the operations that they lead to.
    ///
    /// # Errors
    /// [`DocumentError`] when one leads to an operation that has nothing in its path.
    pub(super) fn links(&self, links: &[Link]) -> Result<Value, DocumentError> {
        let mut described = Map::new();
        for link in links {
            let parameter = self.0.get(link.operation).ok_or_else(|| {
                failed(format!(
                    "a link leads to {}, where no id is",
                    link.operation
                ))
            })?;
            let target = json!({
                "operationId": link.operation,
                "parameters": { parameter.as_str(): link.id },
            });
            described.insert(link.operation.to_owned(), target);
        }
        Ok(Value::Object(described))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_fills_the_parameter_of_its_target() {
        let paths = json!({
            "/things": { "get": { "operationId": "list" } },
            "/things/{name}/parts": { "get": { "operationId": "parts" } },
        });
        let targets = Targets::of(paths.as_object().unwrap());
        let link = |operation| Link {
            operation,
            id: "$response.body#/id",
        };
        assert_eq!(
            targets.links(&[link("parts")]).unwrap(),
            json!({ "parts": { "operationId": "parts", "parameters": { "name": "$response.body#/id" } } })
        );
        for wrong in ["list", "unknown"] {
            assert!(targets.links(&[link(wrong)]).is_err(), "{wrong}");
        }
    }
}
