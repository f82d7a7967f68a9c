//! A Deed server with an operation of its own: `shout` answers its text in capitals, word by word.
//!
//! `cargo run -p deed-server --example own_handler -- dev`, then POST `{"type":"shout","input":{"text":"hello"}}`.

use std::process::ExitCode;

use async_trait::async_trait;
use deed_domain::action::{ActionType, ActionTypeName, Payload, PerformedBy};
use deed_domain::ports::{ActionHandler, Context, Failure, Task};
use deed_server::Deed;
use serde_json::{Value, json};

struct Shout(ActionTypeName);

#[async_trait]
impl ActionHandler for Shout {
    fn action_type(&self) -> ActionType {
        let schema = json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}});
        let input_schema = Some(Payload::from_stored(schema.to_string()));
        ActionType {
            input_schema,
            ..ActionType::new(self.0.clone(), PerformedBy::Handler)
        }
    }

    async fn perform(&self, task: &Task, context: &Context) -> Result<Payload, Failure> {
        let input: Value = serde_json::from_str(task.input.as_str())
            .map_err(|error| Failure::permanent("bad_input", error.to_string()))?;
        let text = input
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_uppercase();
        for word in text.split_whitespace() {
            context
                .message(Payload::from_stored(json!({"text": word}).to_string()))
                .await?;
        }
        Ok(Payload::from_stored(json!({"text": text}).to_string()))
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    Ok(Deed::builder()
        .handler(Shout(ActionTypeName::parse("shout")?))
        .run())
}
