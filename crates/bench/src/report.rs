//! What was measured, beside what it was to be.

use std::fmt;

use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    /// What it is, with its unit.
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    /// What it is compared with, measured in the same run.
    pub(crate) yardstick: Option<Yardstick>,
    /// What it is to be.
    pub(crate) target: Target,
}

/// What anybody can measure without this server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yardstick {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
}

/// What a figure is to be: in its own unit, or in parts of its yardstick where it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// The figure in the target's unit.
    pub(crate) fn ratio(&self) -> f64 {
        self.yardstick
            .map_or(self.value, |yardstick| self.value / yardstick.value)
    }

    /// Whether the target holds. What could not be measured holds nothing.
    pub(crate) fn holds(&self) -> bool {
        match self.target {
            Target::AtLeast(least) => self.ratio() >= least,
            Target::AtMost(most) => self.ratio() <= most,
        }
    }

    pub(crate) fn json(&self) -> Value {
        let (bound, target) = match self.target {
            Target::AtLeast(least) => ("at_least", least),
            Target::AtMost(most) => ("at_most", most),
        };
        json!({
            "scenario": self.scenario,
            "what": self.what,
            "value": self.value,
            "yardstick": self.yardstick.map(|yardstick| json!({"what": yardstick.what, "value": yardstick.value})),
            "ratio": self.yardstick.map(|_| self.ratio()),
            bound: target,
            "holds": self.holds(),
        })
    }
}

pub(crate) const HEAD: &str = "\
| scenario | what | figure | yardstick | ratio | target | |
|---|---|---:|---:|---:|---:|---|";

/// A line of the table.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (yardstick, ratio) = match self.yardstick {
            Some(yardstick) => (
                format!("{} {}", number(yardstick.value), yardstick.what),
                format!("{:.2}", self.ratio()),
            ),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let target = match self.target {
            Target::AtLeast(least) => format!("≥ {}", number(least)),
            Target::AtMost(most) => format!("≤ {}", number(most)),
        };
        write!(
            f,
            "| {} | {} | {} | {yardstick} | {ratio} | {target} | {} |",
            self.scenario,
            self.what,
            number(self.value),
            if self.holds() { "held" } else { "NOT HELD" }
        )
    }
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, yardstick: Option<f64>, target: Target) -> Figure {
        Figure {
            scenario: "s",
            what: "w/s",
            value,
            yardstick: yardstick.map(|value| Yardstick { what: "y", value }),
            target,
        }
    }

    #[test]
    fn a_target_is_of_the_ratio_where_there_is_a_yardstick() {
        for (value, yardstick, target, holds) in [
            (10.0, None, Target::AtLeast(10.0), true),
            (9.9, None, Target::AtLeast(10.0), false),
            (10.1, None, Target::AtMost(10.0), false),
            (5.0, Some(10.0), Target::AtLeast(0.5), true),
            (4.9, Some(10.0), Target::AtLeast(0.5), false),
            (f64::NAN, None, Target::AtMost(1.0), false),
            (f64::NAN, None, Target::AtLeast(1.0), false),
        ] {
            assert_eq!(figure(value, yardstick, target).holds(), holds, "{value}");
        }
    }

    #[test]
    fn a_line_says_it_all() {
        let line = figure(12_345.6, Some(10_000.0), Target::AtLeast(1.0)).to_string();
        assert_eq!(
            line,
            "| s | w/s | 12,346 | 10,000 y | 1.23 | ≥ 1.00 | held |"
        );
        let line = figure(12.34, None, Target::AtMost(10.0)).to_string();
        assert_eq!(line, "| s | w/s | 12.3 | – | – | ≤ 10.0 | NOT HELD |");
    }
}
