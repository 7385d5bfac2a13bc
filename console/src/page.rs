use std::fmt::Write;

use engine::{Error, Manifest, TableState};

/// Nothing but the page's own style: no script, no image, no other origin.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.held{color:#a30}";

/// The newest epoch: its tables and what state they are in. No row of any table.
pub(crate) fn status(manifest: &Manifest) -> String {
    let mut body = format!(
        "<h1>sportlake</h1><p>Epoch <strong>{}</strong> of {}</p>\
         <table><thead><tr><th>Table</th><th>State</th><th>Rows</th><th>Since epoch</th><th>About</th></tr></thead><tbody>",
        manifest.epoch,
        manifest.now.format("%Y-%m-%d %H:%M:%S UTC"),
    );
    for (name, table) in &manifest.tables {
        row(&mut body, &name.to_string(), table);
    }
    body.push_str("</tbody></table><p><a href=\"/metrics\">metrics</a></p>");
    document(&body)
}

pub(crate) fn failure(error: &Error) -> String {
    let hint = error.hint_text().unwrap_or_default();
    document(&format!(
        "<h1>sportlake</h1><p>{}</p><p>{}</p>",
        escape(&error.to_string()),
        escape(hint)
    ))
}

fn row(body: &mut String, name: &str, table: &TableState) {
    let state = match &table.reason {
        Some(reason) => format!("<td class=\"held\">held: {}</td>", escape(reason)),
        None => "<td>fresh</td>".to_owned(),
    };
    let rows = table.rows.map(|rows| rows.to_string()).unwrap_or_default();
    let about = escape(table.description.as_deref().unwrap_or_default());
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "<tr><td>{}</td>{state}<td class=\"n\">{rows}</td><td class=\"n\">{}</td><td>{about}</td></tr>",
        escape(name),
        table.since,
    );
}

fn document(body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>sportlake</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/style.css\"></head><body>{body}</body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ErrorKind;

    #[test]
    fn texts_cannot_break_out() {
        let error = Error::new(ErrorKind::Corrupt, "<script>\"&'").hint("<b>");
        let page = failure(&error);
        assert!(page.contains("&lt;script&gt;&quot;&amp;&#39;"));
        assert!(page.contains("&lt;b&gt;"));
        assert!(!page.contains("<script>"));
    }
}
