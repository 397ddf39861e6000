//! Draws the report.

use super::{list, name_spans, note, time_spans, title};
use crate::app::App;
use fathom_analysis::statistics::{Key, Row};
use fathom_store::FunctionKind;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, body: Rect, app: &App) {
    let mut head = String::new();
    for column in app.report.shown() {
        let sign = if app.report.keys.first() == Some(&column.kind) { "*" } else { "" };
        head.push_str(&format!("  {:>1$}", format!("{sign}{}", column.title), column.width));
        // The sign takes the place of a blank.
        if !sign.is_empty() && column.title.len() == column.width {
            let at = head.len() - column.width - 1;
            head.replace_range(at - 2..at, " ");
        }
    }
    head.push_str("  FUNCTION");
    title(buffer, area, &head, app.words.theme);
    if app.report.rows.is_empty() {
        let text = if app.report.whole { "there are no calls" } else { "reading…" };
        note(buffer, body, text, app.words.theme);
        return;
    }
    let line = |at: usize| app.report.rows.get(at).map(|row| line(row, app));
    list(buffer, body, app.report.cursor, line, app.words.theme);
}

fn line(row: &Row, app: &App) -> Line<'static> {
    let theme = app.words.theme;
    let mut spans = Vec::new();
    for column in app.report.shown() {
        spans.push(Span::raw("  "));
        match column.kind {
            key @ (Key::Calls | Key::Size) => {
                spans.push(Span::raw(format!("{:>1$}", key.value(row), column.width)));
            }
            key => spans.extend(time_spans(key.value(row), theme)),
        }
    }
    spans.push(Span::raw("  "));
    let kind = row.function.map_or(FunctionKind::User, |id| app.trace.function(id).kind);
    spans.extend(name_spans(&row.name, theme.function(kind), app));
    Line::from(spans)
}
