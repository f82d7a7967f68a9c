//! Asking before something goes for good.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::thread;

use tokio::sync::oneshot;

use crate::fault::{Exit, Fault};
use crate::shutdown::unless_interrupted;

/// Whether somebody has already said yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Yes,
    Nothing,
}

impl From<bool> for Said {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::Nothing }
    }
}

/// Asks the person at the terminal whether `what` is to be done, unless that was said already.
///
/// # Errors
/// A [`Fault`] when the answer is not yes, Ctrl-C comes instead of one, or nobody is there to give one: `line` is what to
/// run then.
pub(crate) async fn confirm(said: Said, what: &str, line: &str) -> anyhow::Result<()> {
    if said == Said::Yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Fault::new(
            Exit::Usage,
            format!("{what}, and nobody is here to confirm it"),
            format!("Run `{line}`"),
        )
        .into());
    }
    let question = format!("{what}. Go on? [y/N] ");
    // The read can't be given up, and would keep the runtime from ending; a thread of its own ends with the process.
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || sender.send(ask(&question)));
    let is_agreed = unless_interrupted("nothing was done", async { Ok(receiver.await?) }).await?;
    if is_agreed {
        Ok(())
    } else {
        Err(Fault::new(Exit::Failed, "Nothing was done", "").into())
    }
}

fn ask(question: &str) -> bool {
    let mut stderr = io::stderr().lock();
    // A terminal that is gone gives no answer, which is no yes.
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    is_yes(&answer)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("n\n") && !is_yes("yeah\n"));
    }

    #[tokio::test]
    async fn who_has_said_yes_is_not_asked() {
        let said = confirm(true.into(), "It goes", "deed x --yes").await;
        assert!(said.is_ok());
    }
}
