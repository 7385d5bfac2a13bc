//! Bars, drawn here: their colours are the page's, their lengths are shares of whatever width there is, and the numbers
//! stand beside them as text (docs/adr/0017).

use maud::{Markup, html};

/// Height of the tallest column, pixels.
const TALLEST: f64 = 150.0;
/// Room above for its number, and below for its name.
const ABOVE: f64 = 18.0;
const BELOW: f64 = 22.0;

/// One column of a chart.
pub(crate) struct Column {
    pub(crate) name: String,
    /// What it is called below it, where there is little room.
    pub(crate) short: String,
    pub(crate) value: f64,
    /// The value as it is written.
    pub(crate) text: String,
}

/// Columns side by side. Who does not see them is told what they show; a table beside them has the numbers.
pub(crate) fn columns(title: &str, columns: &[Column]) -> Markup {
    let highest = columns
        .iter()
        .map(|column| column.value)
        .fold(0.0, f64::max);
    let step = 100.0 / columns.len().max(1) as f64;
    let bottom = ABOVE + TALLEST;
    html! {
        svg.chart role="img" aria-label=(title) width="100%" height=(bottom + BELOW) {
            line.axis x1="0" x2="100%" y1=(bottom) y2=(bottom) {}
            @for (index, column) in columns.iter().enumerate() {
                @let height = length(column.value, highest) * TALLEST;
                @let middle = (index as f64 + 0.5) * step;
                rect.bar x={ (share(index as f64 * step + step * 0.15)) } width={ (share(step * 0.7)) }
                    y=(round(bottom - height)) height=(round(height)) rx="2" {
                    title { (column.name) " : " (column.text) }
                }
                text.every[index % 2 == 1] x={ (share(middle)) } y=(bottom + 16.0) { (column.short) }
                text.value.every[index % 2 == 1] x={ (share(middle)) } y=(round(bottom - height - 5.0)) { (column.text) }
            }
        }
    }
}

/// A bar in a table's cell, beside its number.
pub(crate) fn bar(value: f64, longest: f64) -> Markup {
    html! {
        svg.inline aria-hidden="true" width="100%" height="10" {
            rect.bar x="0" y="0" height="10" rx="2" width={ (share(length(value, longest) * 100.0)) } {}
        }
    }
}

/// Of the longest, from 0 to 1.
fn length(value: f64, longest: f64) -> f64 {
    let length = value / longest;
    match length.is_finite() {
        true => length.clamp(0.0, 1.0),
        false => 0.0,
    }
}

fn share(percent: f64) -> String {
    format!("{percent:.2}%")
}

fn round(pixels: f64) -> String {
    format!("{pixels:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shares_of_the_longest() {
        assert!(bar(5.0, 20.0).into_string().contains("width=\"25.00%\""));
        for (value, longest) in [(0.0, 0.0), (f64::NAN, 1.0), (-3.0, 1.0)] {
            assert!(
                bar(value, longest)
                    .into_string()
                    .contains("width=\"0.00%\"")
            );
        }
    }

    #[test]
    fn a_chart_says_what_it_shows_and_styles_nothing_inline() {
        let column = Column {
            name: "<mars>".to_owned(),
            short: "3".to_owned(),
            value: 3.0,
            text: "3".to_owned(),
        };
        let chart = columns("Activités", &[column]).into_string();
        assert!(
            chart.contains("role=\"img\" aria-label=\"Activités\""),
            "{chart}"
        );
        assert!(
            chart.contains("&lt;mars&gt;") && !chart.contains("style="),
            "{chart}"
        );
        assert!(columns("rien", &[]).into_string().contains("</svg>"));
    }
}
