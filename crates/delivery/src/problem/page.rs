//! The pages of the error codes: `/problems/{code}` as HTML, and all of them as one Markdown document.

use super::code::{Entry, ErrorCode};

/// The page of one code.
pub(crate) fn html(code: ErrorCode) -> String {
    let Entry {
        code,
        status,
        title,
        message,
        meaning,
        remedy,
    } = code.entry();
    let [title, message, meaning, remedy] = [title, message, meaning, remedy].map(escape);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{code} · Deed</title>\n\
         <h1>{title}</h1>\n\
         <p><code>{code}</code>, HTTP status {number}</p>\n\
         <p>“{message}”</p>\n\
         <h2>What it means</h2>\n<p>{meaning}</p>\n\
         <h2>What to do</h2>\n<p>{remedy}</p>\n</html>\n",
        number = status.as_u16(),
    )
}

/// The document of all codes, in the order of the table.
pub fn markdown() -> String {
    let mut document = String::from(
        "# Problems\n\n\
         Every answer with a status from 400 up is `application/problem+json` (RFC 9457). Its `error` is one of the\n\
         codes below. A running server has the same page for each code under `/problems/{code}`.\n\n\
         | code | status | title |\n|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let Entry {
            code,
            status,
            title,
            ..
        } = code.entry();
        document.push_str(&format!(
            "| [`{code}`](#{code}) | {} | {title} |\n",
            status.as_u16()
        ));
    }
    for code in ErrorCode::ALL {
        let Entry {
            code,
            status,
            title,
            message,
            meaning,
            remedy,
        } = code.entry();
        document.push_str(&format!(
            "\n## {code}\n\n{title}, {}. “{message}”\n\n{meaning}\n\n{remedy}\n",
            status.as_u16(),
        ));
    }
    document
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_section_and_page() {
        let document = markdown();
        for code in ErrorCode::ALL {
            let name = code.entry().code;
            assert!(document.contains(&format!("\n## {name}\n")), "{name}");
            assert!(
                html(*code).contains(&format!("<code>{name}</code>")),
                "{name}"
            );
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a < b & c"), "a &lt; b &amp; c");
    }
}
