//! Lists: a page at a time, by cursor.

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PageOf{T}"))]
pub struct Page<T> {
    /// The entries of this page, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; null on the last one. It works with the same filters only.
    pub next_cursor: Option<String>,
}

#[cfg(feature = "openapi")]
impl<T: schemars::JsonSchema> apistos::ApiComponent for Page<T> {
    fn child_schemas() -> Vec<(String, apistos::reference_or::ReferenceOr<apistos::Schema>)> {
        let root = schemars::r#gen::SchemaSettings::openapi3()
            .into_generator()
            .into_root_schema_for::<Self>();
        root.definitions
            .into_iter()
            .map(|(name, schema)| (name, schema.into()))
            .collect()
    }

    fn schema() -> Option<(String, apistos::reference_or::ReferenceOr<apistos::Schema>)> {
        let root = schemars::r#gen::SchemaSettings::openapi3()
            .into_generator()
            .into_root_schema_for::<Self>();
        let schema = apistos::Schema::Object(root.schema);
        Some((<Self as schemars::JsonSchema>::schema_name(), schema.into()))
    }
}
