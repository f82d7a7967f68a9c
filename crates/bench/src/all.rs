//! All scenarios in one run, beside their yardsticks.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use crate::age;
use crate::report::{self, Figure, Target, Yardstick};
use crate::scenarios::{
    Length, batch, fanout, idle, perform, read, start, stream, submit, workers,
};
use crate::stage::Stage;
use crate::terminal::{answer, say};
use crate::yardstick;
use deed_client::api::action_type::PutActionType;

/// All but `age`, each figure beside its yardstick and its target; what is run where nothing is said
#[derive(Debug, Clone, Args)]
pub(crate) struct All {
    /// How long each measurement lasts after its warm-up, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How many finished actions there are when growth is measured
    #[arg(long, value_name = "NUMBER", default_value_t = HISTORY)]
    history: u32,
    /// Only these, separated by commas: submit, perform, read, workers, stream, fanout, idle, batch, start, growth
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the figures go as JSON, beside the table on standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const SECONDS: u32 = 6;
const HISTORY: u32 = 1_000_000;

impl Default for All {
    fn default() -> Self {
        Self {
            seconds: SECONDS,
            history: HISTORY,
            only: Vec::new(),
            json: None,
        }
    }
}

impl All {
    /// Answers whether all targets were held.
    pub(crate) async fn run(&self, stage: &Stage) -> anyhow::Result<bool> {
        let began = Instant::now();
        let length = Length(Duration::from_secs(self.seconds.into()));
        let database = stage.connect().await?;
        stage
            .client()?
            .put_action_type(submit::TYPE, &PutActionType::default())
            .await?;
        let mut figures = Vec::new();

        self.say("yardsticks", began);
        let postgres =
            yardstick::postgres(&stage.programs, &stage.url(), &database, length.0).await?;
        let bare = yardstick::bare(length.0).await?;
        say(format!("{postgres:?}, bare handler {bare:.0}/s"));

        let grows = self.wants("growth");
        let before = match grows {
            true => Some(Growth::measure(stage, length).await?),
            false => None,
        };
        for name in NAMES {
            if !self.wants(name) {
                continue;
            }
            self.say(name, began);
            let measured = match name {
                "submit" => submit::run(stage, length, postgres).await,
                "perform" => perform::run(stage, length, postgres).await,
                "read" => read::run(stage, length, postgres, bare).await,
                "workers" => workers::run(stage, length).await,
                "stream" => stream::run(stage, length).await,
                "fanout" => fanout::run(stage, length).await,
                "idle" => idle::run(stage).await,
                "batch" => batch::run(stage, length).await,
                _ => start::run(stage).await,
            }?;
            for figure in &measured {
                say(figure);
            }
            figures.extend(measured);
        }
        if let Some(before) = before {
            self.say("growth", began);
            age::fill(&database, stage.user, submit::TYPE, self.history).await?;
            figures.extend(before.compare(&Growth::measure(stage, length).await?));
        }

        answer(report::HEAD);
        for figure in &figures {
            answer(figure);
        }
        if let Some(file) = &self.json {
            let all: Vec<_> = figures.iter().map(Figure::json).collect();
            let yardsticks =
                json!({"inserts": postgres.inserts, "reads": postgres.reads, "bare": bare});
            let text =
                serde_json::to_string_pretty(&json!({"yardsticks": yardsticks, "figures": all}))?;
            std::fs::write(file, text)?;
        }
        say(format!("all of it took {:.0?}", began.elapsed()));
        Ok(figures.iter().all(Figure::holds))
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn say(&self, name: &str, began: Instant) {
        say(format!("{:>4} s  {name} …", began.elapsed().as_secs()));
    }
}

const NAMES: [&str; 9] = [
    "submit", "perform", "read", "workers", "stream", "fanout", "batch", "start", "idle",
];

/// What must not become slower as the tables grow, a second.
struct Growth {
    submit: f64,
    workers: f64,
    read: f64,
}

impl Growth {
    async fn measure(stage: &Stage, length: Length) -> anyhow::Result<Self> {
        Ok(Self {
            submit: submit::fastest(stage, length).await?.per_second,
            workers: workers::fastest(stage, length).await?.per_second,
            read: read::users(stage, length).await?.per_second,
        })
    }

    fn compare(&self, after: &Self) -> Vec<Figure> {
        [
            ("submit with a history/s", after.submit, self.submit),
            ("workers with a history/s", after.workers, self.workers),
            ("users with a history/s", after.read, self.read),
        ]
        .map(|(what, value, before)| Figure {
            scenario: "growth",
            what,
            value,
            yardstick: Some(Yardstick {
                what: "without",
                value: before,
            }),
            target: Target::AtLeast(0.9),
        })
        .into()
    }
}
