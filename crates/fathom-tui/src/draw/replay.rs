//! Draws the replay and the backtrace below it.

use super::{list, name_spans, note, time_spans, title};
use crate::app::App;
use crate::timeline::slice::What;
use crate::timeline::text::Line as Shown;
use crate::view::Column;
use crate::view::list::Cursor;
use crate::view::replay::Field;
use fathom_view::{time_text, timestamp_text};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// Columns that one level takes.
const LEVEL: usize = 2;
/// Columns of a name that are to be seen at least, however deep it is.
const NAME: usize = 24;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, body: Rect, app: &App) {
    let shown = app.replay.shown(usize::from(area.width));
    let mut head = String::new();
    for column in &shown {
        let width = column.width;
        match column.kind {
            Field::Task | Field::Module => head.push_str(&format!("  {:<width$}", column.title)),
            _ => head.push_str(&format!("  {:>width$}", column.title)),
        }
    }
    let columns = head.chars().count();
    head.push_str(if columns == 0 { "   FUNCTION" } else { " :   FUNCTION" });
    title(buffer, area, &head, app.words.theme);
    let pane = (app.pane_height() as u16).min(body.height.saturating_sub(1));
    let rows = Rect { height: body.height - pane, ..body };
    if app.replay.window.lines.is_empty() {
        let text = if app.read.complete && !app.replay.waiting { "there are no calls" } else { "reading…" };
        note(buffer, body, text, app.words.theme);
    } else {
        let shift = shift(app, usize::from(area.width).saturating_sub(columns + 3));
        let line = |at: usize| app.replay.window.lines.get(at).map(|text| line(text, &shown, shift, app));
        list(buffer, rows, Cursor { at: app.replay.cursor, top: app.replay.top }, line, app.words.theme);
    }
    if pane > 0 {
        backtrace(buffer, Rect { y: rows.y + rows.height, height: pane, ..body }, app);
    }
}

/// Columns of the text that are left out, so that the name at the cursor can be seen.
fn shift(app: &App, width: usize) -> usize {
    let needed = app.replay.line().map_or(0, |line| {
        let end = line.level as usize * LEVEL + NAME.min(width);
        end.saturating_sub(width)
    });
    app.replay.shift.max(needed)
}

fn line(shown: &Shown, columns: &[Column<Field>], shift: usize, app: &App) -> Line<'static> {
    let theme = app.words.theme;
    let mut spans = Vec::new();
    for column in columns {
        spans.push(Span::raw("  "));
        let width = column.width;
        let cell = |text: &str| {
            let text: String = text.chars().take(width).collect();
            Span::styled(format!("{text:<width$}"), theme.dim())
        };
        match column.kind {
            Field::Duration => match shown.duration() {
                Some(time) => spans.extend(time_spans(time, theme)),
                None => spans.push(Span::raw(" ".repeat(width))),
            },
            Field::Tid if shown.task.is_none() => spans.push(Span::raw(" ".repeat(width))),
            Field::Tid => spans.push(Span::raw(format!("{:>width$}", shown.tid))),
            Field::Task if shown.task.is_none() => spans.push(cell("")),
            Field::Task => {
                // The number tells threads of one name apart, so it is the name that is cut.
                let number = format!(":{}", shown.tid);
                let room = width.saturating_sub(number.len());
                spans.push(cell(&format!("{}{number}", shown.comm.chars().take(room).collect::<String>())));
            }
            Field::Time => spans.push(Span::raw(timestamp_text(shown.time))),
            Field::Elapsed => spans.extend(time_spans(shown.time.saturating_sub(app.replay.begin), theme)),
            Field::Addr if shown.what != What::Call => spans.push(Span::raw(" ".repeat(width))),
            Field::Addr => spans.push(Span::raw(format!("{:>width$x}", shown.addr))),
            Field::Module => spans.push(cell(&shown.module)),
            Field::Args => {}
        }
    }
    if !columns.is_empty() {
        spans.push(Span::raw(" :"));
    }
    let level = shown.level as usize * LEVEL;
    let sign = match (shown.what, shown.parent, shown.folded) {
        (What::Call, true, true) => "▶ ",
        (What::Call, true, false) => "▼ ",
        _ => "  ",
    };
    match level.checked_sub(shift) {
        Some(level) => spans.push(Span::raw(format!(" {}{sign}", " ".repeat(level)))),
        // What begins further left is still to be recognised.
        None => spans.push(Span::styled("‹", theme.dim())),
    }
    spans.extend(text(shown, app));
    Line::from(spans)
}

fn text(shown: &Shown, app: &App) -> Vec<Span<'static>> {
    let theme = app.words.theme;
    let args = app.replay.shows(Field::Args);
    let mut spans = Vec::new();
    match shown.what {
        What::Event | What::Message => {
            let found = name_spans(&shown.name, theme.event(), app);
            spans.push(Span::styled("/* ", theme.event()));
            spans.extend(found);
            spans.push(Span::styled(" */", theme.event()));
            return spans;
        }
        What::Lost => return vec![Span::styled(format!("/* {} */", shown.name), theme.lost())],
        What::Return => {
            spans.push(Span::styled("} /* ", theme.dim()));
            spans.extend(name_spans(&shown.name, theme.function(shown.kind), app));
            spans.push(Span::styled(" */", theme.dim()));
        }
        What::Call if shown.callee.is_schedule() => spans.extend(name_spans(&shown.name, theme.event(), app)),
        What::Call => {
            spans.extend(name_spans(&shown.name, theme.function(shown.kind), app));
            if !shown.name.ends_with(')') || shown.args.is_some() {
                spans.push(Span::raw("("));
                spans.extend(
                    shown.args.iter().filter(|_| args).map(|a| Span::styled(a.clone(), theme.values())),
                );
                spans.push(Span::raw(")"));
            }
        }
    }
    if let (true, Some(value)) = (args, &shown.returned) {
        spans.push(Span::raw(" = "));
        spans.push(Span::styled(value.clone(), theme.values()));
    }
    if let Some(site) = &shown.site {
        spans.push(Span::styled(format!(" /* {site} */"), theme.dim()));
    }
    spans
}

/// The open calls at the cursor, the innermost last.
fn backtrace(buffer: &mut Buffer, area: Rect, app: &App) {
    let theme = app.words.theme;
    let width = usize::from(area.width);
    let rule = format!("─ backtrace {}", "─".repeat(width.saturating_sub(12)));
    buffer.set_stringn(area.x, area.y, rule, width, theme.dim());
    let Some(line) = app.replay.line() else { return };
    let Some((_, stack)) = app.replay.stack.as_ref().filter(|(of, _)| *of == line.id) else { return };
    let room = usize::from(area.height.saturating_sub(1));
    // Of what has no room, the outermost calls are the least of interest.
    let first = stack.len().saturating_sub(room);
    for ((y, at), call) in (area.y + 1..).zip(first..).zip(stack.iter().skip(first)) {
        let duration = if call.end == 0 { 0 } else { call.end.abs_diff(call.start) };
        let mut spans = vec![Span::raw("  ")];
        spans.extend(time_spans(duration, theme));
        spans.push(Span::raw(format!(" : [{at}] ")));
        spans.push(Span::styled(call.name.to_string(), Style::new()));
        buffer.set_line(area.x, y, &Line::from(spans), area.width);
    }
}

/// What is at the cursor, for the last line.
pub(super) fn place_text(app: &App) -> String {
    let Some(line) = app.replay.line() else { return app.words.title.clone() };
    // Nothing is shown for no time at all.
    let elapsed = time_text(line.time.saturating_sub(app.replay.begin));
    let elapsed = if elapsed.trim().is_empty() { "0.000 us" } else { elapsed.trim_start() };
    let mut text = format!("+{elapsed}");
    if line.task.is_some() {
        text.push_str(&format!("  {}[{}]  depth {}", line.comm, line.tid, line.level));
    }
    if line.open {
        text.push_str("  never returned");
    }
    if let Some((file, number)) = app.place_at_cursor() {
        text.push_str(&format!("  {file} [line:{number}]"));
    }
    text
}
