//! Draws the state of the program.

mod graph;
mod popup;
mod replay;
mod report;
pub(crate) mod theme;

use crate::app::{App, View};
use crate::view::list::Cursor;
use fathom_view::time_text;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use theme::Theme;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame, app: &App) {
    let area = frame.area();
    let theme = app.words.theme;
    let buffer = frame.buffer_mut();
    if area.height == 0 || area.width == 0 {
        return;
    }
    let body = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
    match app.view {
        View::Menu => {
            title(buffer, area, "Key fathom command", theme);
            let text = |at: usize| app.menu.entries.get(at).map(|(_, text)| Line::raw(text.as_str()));
            list(buffer, body, app.menu.cursor, text, theme);
        }
        View::Info => {
            title(buffer, area, "fathom info", theme);
            let text = |at: usize| app.info.lines.get(at).map(|text| Line::raw(text.as_str()));
            list(buffer, body, app.info.cursor, text, theme);
        }
        View::Graph => graph::draw(buffer, area, body, app),
        View::Report => report::draw(buffer, area, body, app),
        View::Replay => replay::draw(buffer, area, body, app),
    }
    status(buffer, area, app);
    if let Some(popup) = &app.popup {
        popup::draw(buffer, area, popup, app);
    }
}

/// The line above the view.
fn title(buffer: &mut Buffer, area: Rect, text: &str, theme: Theme) {
    buffer.set_stringn(area.x, area.y, text, usize::from(area.width), theme.title());
}

/// What is said instead of lines, where there is room for any.
fn note(buffer: &mut Buffer, body: Rect, text: &str, theme: Theme) {
    if body.height > 0 {
        buffer.set_stringn(body.x, body.y, text, usize::from(body.width), theme.dim());
    }
}

/// Lines of a list from the top of the screen on, that of the cursor reversed.
fn list<'a>(
    buffer: &mut Buffer,
    area: Rect,
    cursor: Cursor,
    line: impl Fn(usize) -> Option<Line<'a>>,
    theme: Theme,
) {
    for row in 0..area.height {
        let at = cursor.top + usize::from(row);
        let Some(line) = line(at) else { break };
        let y = area.y + row;
        buffer.set_line(area.x, y, &line, area.width);
        if at == cursor.at {
            buffer.set_style(Rect { y, height: 1, ..area }, theme.cursor());
        }
    }
}

/// A duration in 10 columns, the unit in its colour.
fn time_spans(ns: u64, theme: Theme) -> [Span<'static>; 2] {
    let text = time_text(ns);
    let (number, unit) = text.split_at(text.len().saturating_sub(2));
    [Span::raw(number.to_owned()), Span::styled(unit.to_owned(), theme.unit(unit))]
}

/// A name, with what was searched for standing out.
fn name_spans(name: &str, style: Style, app: &App) -> Vec<Span<'static>> {
    let found = app.search.as_ref().is_some_and(|search| search.fits(name));
    let style = if found { style.patch(app.words.theme.found()) } else { style };
    vec![Span::styled(name.to_owned(), style)]
}

/// The last line: what is typed, or a message, or where one is; how far reading has come.
fn status(buffer: &mut Buffer, area: Rect, app: &App) {
    if area.height < 2 {
        return;
    }
    let theme = app.words.theme;
    let y = area.y + area.height - 1;
    let row = Rect { y, height: 1, ..area };
    let width = usize::from(area.width);
    buffer.set_style(row, theme.status());
    if let Some(prompt) = &app.prompt {
        let text = format!("{}{}▏", prompt.label(), prompt.text);
        // Of a long text the end is what one is typing.
        let skipped = text.chars().count().saturating_sub(width);
        let shown: String = text.chars().skip(skipped).collect();
        buffer.set_stringn(area.x, y, shown, width, theme.status());
        return;
    }
    let name = match app.view {
        View::Menu => "fathom",
        View::Graph => "fathom graph",
        View::Report => "fathom report",
        View::Replay => "fathom replay",
        View::Info => "fathom info",
    };
    let left = match &app.message {
        Some(message) => format!("{name}: {message}"),
        None if app.debug => format!("{name}: {}", debug_text(app)),
        None => format!("{name}: {}", place_text(app)),
    };
    let right = format!(" {}{:>3}%", progress_text(app), percent(app));
    let room = width.saturating_sub(right.chars().count());
    buffer.set_stringn(area.x, y, left, room, theme.status());
    let at = area.x + room as u16;
    buffer.set_stringn(at, y, right, width, theme.status());
}

/// How far down the view one is.
fn percent(app: &App) -> usize {
    match app.view {
        View::Menu => app.menu.cursor.percent(app.menu.entries.len()),
        View::Info => app.info.cursor.percent(app.info.lines.len()),
        View::Graph => app.graph.cursor.percent(app.graph.lines.len()),
        View::Report => app.report.cursor.percent(app.report.rows.len()),
        View::Replay => {
            let last = app.read.known.saturating_sub(1).max(1);
            let at = app.replay.line().map_or(0, |line| line.id.event.min(last));
            (u128::from(at) * 100 / u128::from(last)) as usize
        }
    }
}

/// Nothing once everything has been read.
fn progress_text(app: &App) -> String {
    let ((done, all), whole) = match app.view {
        View::Graph => (app.read.summary, app.graph.whole),
        View::Report => (app.read.summary, app.report.whole),
        View::Replay => (app.read.timeline, app.read.complete),
        View::Menu | View::Info => return String::new(),
    };
    if whole {
        return String::new();
    }
    const CELLS: u64 = 10;
    let share = |parts: u64| {
        (u128::from(done.min(all)) * u128::from(parts)).checked_div(u128::from(all)).unwrap_or(0) as u64
    };
    let full = share(CELLS) as usize;
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(CELLS as usize - full));
    format!("{bar} {:>2}% read ", share(100).min(99))
}

/// What is at the cursor.
fn place_text(app: &App) -> String {
    match app.view {
        View::Menu => match app.menu.entry() {
            crate::app::MenuEntry::Graph(session) => {
                let session = app.trace.sessions().get(session);
                session.map_or_else(String::new, |session| {
                    format!("session {}:  exe image: {}", session.sid, session.exe)
                })
            }
            _ => app.words.title.clone(),
        },
        View::Info => app.words.title.clone(),
        View::Graph if app.graph.selected().is_none() => {
            let session = app.trace.sessions().get(app.graph.session);
            session.map_or_else(String::new, |session| format!("session {} ({})", session.sid, session.exe))
        }
        View::Report if app.report.cursor.at == 0 && app.place_at_cursor().is_none() => {
            let (sessions, rows) = (app.trace.sessions().len(), app.report.rows.len());
            format!("{} ({sessions} sessions, {rows} functions)", app.words.title)
        }
        View::Replay => replay::place_text(app),
        View::Graph | View::Report => match app.place_at_cursor() {
            Some((file, line)) => format!("{file} [line:{line}]"),
            None => "source location is not available".to_owned(),
        },
    }
}

fn debug_text(app: &App) -> String {
    let (top, at, count) = match app.view {
        View::Menu => (app.menu.cursor.top, app.menu.cursor.at, app.menu.entries.len()),
        View::Info => (app.info.cursor.top, app.info.cursor.at, app.info.lines.len()),
        View::Graph => (app.graph.cursor.top, app.graph.cursor.at, app.graph.lines.len()),
        View::Report => (app.report.cursor.top, app.report.cursor.at, app.report.rows.len()),
        View::Replay => (app.replay.top, app.replay.cursor, app.replay.window.lines.len()),
    };
    let known = app.read.known;
    format!("top: {top} curr: {at} last: {} events: {known}", count.saturating_sub(1))
}
