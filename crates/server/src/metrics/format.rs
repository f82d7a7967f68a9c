//! The two formats that Prometheus reads.

/// How metrics are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0: what Prometheus asks for.
    OpenMetrics,
    /// Prometheus' own text, version 0.0.4: what everything else reads, `promtool` too.
    Text,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What `accept` asks for: OpenMetrics only where it is named, and not liked less than text. Whoever says nothing
    /// gets text.
    pub(crate) fn of_accept(accept: &str) -> Self {
        let quality = |wanted: &[&str]| {
            let offers = accept.split(',').filter_map(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let name = parts.next()?.to_ascii_lowercase();
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                let quality: f64 = quality.map_or(Some(1.0), |text| text.parse().ok())?;
                wanted.contains(&name.as_str()).then_some(quality)
            });
            offers.fold(0.0, f64::max)
        };
        let openmetrics = quality(&["application/openmetrics-text"]);
        let text = quality(&["text/plain", "text/*"]);
        if openmetrics > 0.0 && openmetrics >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// `text`, which is OpenMetrics, in this format.
    pub(super) fn of_openmetrics(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Text => as_text(&text),
        }
    }
}

/// In the older format a counter is described under the name of its samples, and neither units nor an end are told.
fn as_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let described = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let kind = lines.peek().and_then(|next| counter(next));
        match (described, kind, counter(line)) {
            (Some((name, help)), Some(counter), _) if name == counter => {
                text.push_str(&format!("# HELP {name}_total {help}"));
            }
            (None, _, Some(name)) => text.push_str(&format!("# TYPE {name}_total counter")),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// The name in a line that makes it a counter's.
fn counter(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_asks_for_it() {
        let check = |accept: &str, expected: Format| {
            assert_eq!(Format::of_accept(accept), expected, "{accept}");
        };
        for text in [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/json",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.5",
            "application/openmetrics-text;q=x",
        ] {
            check(text, Format::Text);
        }
        for openmetrics in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.5",
        ] {
            check(openmetrics, Format::OpenMetrics);
        }
    }

    #[test]
    fn a_counter_is_described_under_the_name_of_its_samples() {
        let openmetrics = "\
# HELP a_seconds Time # TYPE.
# TYPE a_seconds counter
# UNIT a_seconds seconds
a_seconds_total{x=\"# EOF\"} 1.5
# HELP b How many.
# TYPE b gauge
b 2
# HELP c How long.
# TYPE c histogram
c_sum 1.0
c_count 1
c_bucket{le=\"+Inf\"} 1
# EOF
";
        assert_eq!(
            as_text(openmetrics),
            "\
# HELP a_seconds_total Time # TYPE.
# TYPE a_seconds_total counter
a_seconds_total{x=\"# EOF\"} 1.5
# HELP b How many.
# TYPE b gauge
b 2
# HELP c How long.
# TYPE c histogram
c_sum 1.0
c_count 1
c_bucket{le=\"+Inf\"} 1
"
        );
    }
}
