//! Asking before something goes for good.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::fault::{Exit, Fault};

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
/// A [`Fault`] when the answer is not yes, or nobody is there to give one: `line` is what to run instead.
pub(crate) fn confirm(said: Said, what: &str, line: &str) -> Result<(), Fault> {
    if said == Said::Yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Fault::new(
            Exit::Usage,
            format!("{what}, and nobody is here to confirm it"),
            format!("Run `{line}`"),
        ));
    }
    let mut stderr = io::stderr().lock();
    // A terminal that is gone gives no answer, which is no yes.
    let _ = write!(stderr, "{what}. Go on? [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    if is_yes(&answer) {
        Ok(())
    } else {
        Err(Fault::new(Exit::Failed, "Nothing was done", ""))
    }
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

    #[test]
    fn who_has_said_yes_is_not_asked() {
        assert_eq!(confirm(true.into(), "It goes", "deed x --yes"), Ok(()));
    }
}
