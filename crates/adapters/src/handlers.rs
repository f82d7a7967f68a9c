//! The handlers that come with Deed, for a first look and for tests.

use deed_domain::action::ActionTypeName;

mod echo;
mod wait;

pub use echo::Echo;
pub use wait::Wait;

fn type_name(name: &'static str) -> ActionTypeName {
    #[expect(
        clippy::expect_used,
        reason = "the names are constants, and each has a test that makes its type"
    )]
    ActionTypeName::parse(name).expect("a valid name of a type")
}

#[cfg(test)]
mod testing {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use deed_domain::action::{NewEvent, Payload};
    use deed_domain::id::{ActionId, UserId};
    use deed_domain::ports::{
        ActionHandler, Context, Failure, InputSchemas as _, Performance, Stopped, Task,
    };
    use uuid::Uuid;

    use crate::input_schemas::JsonSchemas;

    #[derive(Default)]
    struct Record(Mutex<Vec<String>>);

    #[async_trait]
    impl Performance for Record {
        async fn emit(&self, event: NewEvent) -> Result<(), Stopped> {
            self.0.lock().unwrap().push(event.data.as_str().to_owned());
            Ok(())
        }

        async fn checkpoint(&self, _: Payload) -> Result<(), Stopped> {
            Ok(())
        }

        fn is_cancelled(&self) -> bool {
            false
        }

        async fn cancelled(&self) {
            std::future::pending().await
        }
    }

    /// What the handler emits for `input`, and what it answers.
    pub(super) async fn perform(
        handler: &dyn ActionHandler,
        input: &str,
    ) -> (Vec<String>, Result<Payload, Failure>) {
        perform_after(handler, input, 0).await
    }

    /// The same, after attempts that left so many chunks.
    pub(super) async fn perform_after(
        handler: &dyn ActionHandler,
        input: &str,
        messages_before: u32,
    ) -> (Vec<String>, Result<Payload, Failure>) {
        let record = Arc::new(Record::default());
        let task = Task {
            action_id: ActionId::from_uuid(Uuid::nil()),
            user_id: UserId::from_uuid(Uuid::nil()),
            action_type: handler.action_type().name,
            input: Payload::parse(input).unwrap(),
            attempt: 1,
            max_attempts: 3,
            messages_before,
            checkpoint: None,
            traceparent: None,
        };
        let performance: Arc<dyn Performance> = record.clone();
        let answer = handler.perform(&task, &Context::new(performance)).await;
        let emitted = record.0.lock().unwrap().clone();
        (emitted, answer)
    }

    pub(super) fn schema_takes(handler: &dyn ActionHandler, input: &str) -> bool {
        let schema = handler.action_type().input_schema.unwrap();
        JsonSchemas::default()
            .check(&schema, &Payload::parse(input).unwrap())
            .unwrap()
            .is_empty()
    }
}
