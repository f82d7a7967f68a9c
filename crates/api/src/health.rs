//! What `/livez` and `/readyz` answer when all is well. When it isn't, they answer a problem.

use serde::{Deserialize, Serialize};

/// This process can serve requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct HealthBody {
    /// `ok`.
    pub status: String,
    /// What was checked, in a fixed order; empty for `/livez`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}
