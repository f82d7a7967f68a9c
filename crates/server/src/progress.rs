//! How far long work has come, on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it moves by itself.
const TICK: Duration = Duration::from_millis(120);

/// A bar that goes from 0 to `length`. Shows nothing where standard error is no terminal, and vanishes when it is
/// dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(length: u64) -> Self {
        let bar = ProgressBar::new(length);
        // The template is checked by a test.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Says what is under way.
    pub(crate) fn doing(&self, what: String) {
        self.0.set_message(what);
    }

    pub(crate) fn set_length(&self, length: u64) {
        self.0.set_length(length);
    }

    /// So much is done; what was more than expected makes the whole longer.
    pub(crate) fn set_done(&self, done: u64) {
        if self.0.length().is_some_and(|length| done > length) {
            self.0.set_length(done);
        }
        self.0.set_position(done);
    }

    pub(crate) fn one_done(&self) {
        self.0.inc(1);
    }
}

const TEMPLATE: &str = "{spinner} [{bar:30}] {pos}/{len} {elapsed} {msg}";

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_template_that_can_be_drawn() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn more_than_expected_makes_the_whole_longer() {
        let progress = Progress::new(10);
        progress.set_done(4);
        progress.one_done();
        assert_eq!((progress.0.position(), progress.0.length()), (5, Some(10)));
        progress.set_done(12);
        assert_eq!((progress.0.position(), progress.0.length()), (12, Some(12)));
    }
}
