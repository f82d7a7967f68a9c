//! Reads a Dockerfile, as far as ours goes.

use anyhow::{Context as _, bail, ensure};

/// One instruction: `RUN`, and what is run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) name: String,
    pub(super) arguments: String,
}

/// What stands from one `FROM` to the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stage(Vec<Instruction>);

/// The stages, in order.
pub(super) fn stages(text: &str) -> anyhow::Result<Vec<Stage>> {
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions(text)? {
        if instruction.name == "FROM" {
            stages.push(Stage(Vec::new()));
        }
        let stage = stages.last_mut().context("it does not begin with FROM")?;
        stage.0.push(instruction);
    }
    Ok(stages)
}

fn instructions(text: &str) -> anyhow::Result<Vec<Instruction>> {
    let mut instructions = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match line.trim_end().strip_suffix('\\') {
            Some(part) => {
                open.push_str(part.trim());
                open.push(' ');
            }
            None => {
                open.push_str(line.trim());
                let (name, arguments) = open
                    .split_once(' ')
                    .with_context(|| format!("`{open}` says nothing"))?;
                instructions.push(Instruction {
                    name: name.to_owned(),
                    arguments: arguments.trim().to_owned(),
                });
                open.clear();
            }
        }
    }
    ensure!(open.is_empty(), "the last line goes on nowhere");
    Ok(instructions)
}

impl Stage {
    /// The arguments of every instruction of this name.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|instruction| instruction.name == name)
            .map(|instruction| instruction.arguments.as_str())
            .collect()
    }

    /// The arguments of the one instruction of this name.
    pub(super) fn one(&self, name: &str) -> anyhow::Result<&str> {
        match self.all(name).as_slice() {
            [only] => Ok(only),
            found => bail!("there are {} instructions {name}, not one", found.len()),
        }
    }

    /// The words of an instruction in the form that needs no shell.
    pub(super) fn words(&self, name: &str) -> anyhow::Result<Vec<String>> {
        words(self.one(name)?)
    }
}

/// The words of `["a", "b"]`; what stands before it, such as a health check's options, is left out.
pub(super) fn words(arguments: &str) -> anyhow::Result<Vec<String>> {
    let list = arguments
        .find('[')
        .and_then(|start| arguments.get(start..))
        .with_context(|| format!("`{arguments}` needs a shell, and the image has none"))?;
    Ok(serde_json::from_str(list)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_continued_lines_are_read() {
        let text = "# a comment\nFROM rust AS build\nRUN a \\\n # inside\n && b\n\nFROM scratch\nUSER 1:1\nCMD [\"serve\"]\n";
        let stages = stages(text).unwrap();
        assert_eq!(stages.len(), 2);
        assert_eq!(stages[0].one("RUN").unwrap(), "a && b");
        assert_eq!(stages[1].one("USER").unwrap(), "1:1");
        assert_eq!(stages[1].words("CMD").unwrap(), ["serve"]);
        assert!(stages[1].one("RUN").is_err());
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        assert!(words("/deed serve").is_err());
        assert_eq!(
            words("--interval=1s CMD [\"/deed\", \"healthcheck\"]").unwrap(),
            ["/deed", "healthcheck"]
        );
    }

    #[test]
    fn what_is_no_dockerfile_is_refused() {
        assert!(stages("RUN a\n").is_err());
        assert!(stages("FROM a\nRUN b \\\n").is_err());
        assert!(stages("FROM\n").is_err());
    }
}
