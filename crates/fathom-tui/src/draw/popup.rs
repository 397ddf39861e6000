//! Draws windows in front of the view.

use crate::app::{App, Popup, View, help};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, Clear, Widget};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, popup: &Popup, app: &App) {
    match popup {
        Popup::Help(top) => help(buffer, area, *top),
        Popup::Columns { titles, at } => columns(buffer, area, titles, *at, app),
    }
}

/// Makes a window of that size in the middle; returns what is inside of its border.
fn window(buffer: &mut Buffer, area: Rect, columns: u16, lines: u16, name: &str) -> Rect {
    let (width, height) = (columns.min(area.width), lines.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let place = Rect { x, y, width, height };
    Clear.render(place, buffer);
    let block = Block::bordered().title(name);
    let inner = block.inner(place);
    block.render(place, buffer);
    inner
}

fn help(buffer: &mut Buffer, area: Rect, top: usize) {
    let all = help::lines(area.width);
    let lines = (all.len() + 2) as u16;
    let fits = lines <= area.height;
    let name = if fits { " Help: press any key to close " } else { " Help: j/k scroll, other keys close " };
    let inner = window(buffer, area, help::COLUMNS, lines, name);
    let top = top.min(help::last_top((area.width, area.height)));
    for (y, line) in (inner.y..inner.y + inner.height).zip(all.iter().skip(top)) {
        buffer.set_stringn(inner.x, y, line, usize::from(inner.width), Style::new());
    }
}

fn columns(buffer: &mut Buffer, area: Rect, titles: &[(&str, bool)], at: usize, app: &App) {
    let view = match app.view {
        View::Report => "report",
        View::Replay => "replay",
        _ => "graph",
    };
    let keys = [
        "j/k Up/Down   Move",
        "SPACE         Check or uncheck",
        "Enter         Apply",
        "f/q           Close",
        "",
    ];
    let lines = (titles.len() + keys.len() + 2) as u16;
    let inner = window(buffer, area, 64, lines, &format!(" Customize fields in {view} mode "));
    let width = usize::from(inner.width);
    let rows = keys.iter().map(|text| (format!(" {text}"), false));
    let boxes = titles.iter().enumerate().map(|(index, (title, checked))| {
        (format!(" [ {} ] {title}", if *checked { 'x' } else { ' ' }), index == at)
    });
    let all: Vec<_> = rows.chain(boxes).collect();
    // On a small screen the box of the cursor is what must be seen.
    let top = (keys.len() + at + 1).saturating_sub(usize::from(inner.height));
    for (y, (text, here)) in (inner.y..inner.y + inner.height).zip(all.into_iter().skip(top)) {
        let style = if here { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        buffer.set_stringn(inner.x, y, format!("{text:<width$}"), width, style);
    }
}
