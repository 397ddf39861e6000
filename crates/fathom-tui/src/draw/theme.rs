//! How things look: in colours of the terminal's own palette, so that they fit dark and light ones, or without colours.

use fathom_store::FunctionKind;
use ratatui::style::{Color, Modifier, Style};

/// Whether there are colours, and on which ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Without it, only bold, dim and reversed text is used.
    pub color: bool,
    /// The terminal has a light ground.
    pub light: bool,
}

impl Theme {
    fn in_color(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    pub(crate) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
    }

    pub(crate) fn status(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(crate) fn found(self) -> Style {
        self.in_color(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(crate) fn dim(self) -> Style {
        // Dark gray can be read on both grounds; "dim" alone is not shown by all terminals.
        if self.color { Style::new().fg(Color::DarkGray) } else { Style::new().add_modifier(Modifier::DIM) }
    }

    /// The unit of a time, by its text.
    pub(crate) fn unit(self, unit: &str) -> Style {
        match unit.trim() {
            "ms" => self.in_color(Color::Green),
            // Yellow is not to be seen on white.
            "s" => self.in_color(if self.light { Color::Magenta } else { Color::Yellow }),
            "m" | "h" => self.in_color(Color::Red),
            _ => Style::new(),
        }
    }

    pub(crate) fn event(self) -> Style {
        self.in_color(Color::Green)
    }

    pub(crate) fn lost(self) -> Style {
        self.in_color(Color::Red)
    }

    /// The name of a function.
    pub(crate) fn function(self, kind: FunctionKind) -> Style {
        match kind {
            FunctionKind::User => Style::new(),
            FunctionKind::Plt => self.in_color(if self.light { Color::Blue } else { Color::Cyan }),
            FunctionKind::Kernel => self.in_color(Color::Magenta),
            FunctionKind::Unknown => self.dim(),
        }
    }

    pub(crate) fn values(self) -> Style {
        self.in_color(if self.light { Color::Blue } else { Color::LightBlue })
    }
}
