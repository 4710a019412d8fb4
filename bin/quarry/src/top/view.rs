//! The screen as it is drawn.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table};

use quarry_api_types::HealthLevel;
use quarry_types::ByteSize;

use super::model::{Page, Screen};
use crate::output::printable;
use crate::rates::{bytes, count, short};

/// Lines above the table.
const HEAD_LINES: u16 = 4;

pub fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let [head, table, foot] =
        Layout::vertical([Constraint::Length(HEAD_LINES), Constraint::Min(2), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(screen)), head);
    frame.render_widget(rows(screen, usize::from(table.height).saturating_sub(1)), table);
    frame.render_widget(Paragraph::new(keys(screen)), foot);
}

fn summary(screen: &Screen) -> Text<'static> {
    let Some(status) = screen.status() else { return Text::raw("no answer yet") };
    let colour = match status.health.level {
        HealthLevel::Critical => Color::Red,
        HealthLevel::Warning => Color::Yellow,
        _ => Color::Green,
    };
    let (pools, memory) = (&status.pools, &status.memory);
    let (read, written) = screen.totals();
    let cause = status.health.causes.first().map_or_else(String::new, |cause| cause.message.clone());
    let problem = screen.problem.clone().map(|problem| format!("no answer: {problem}"));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Text::from(vec![
        Line::from(vec![
            Span::styled("quarry ", bold),
            Span::raw(format!("{}  up {} s  ", status.version, status.uptime_s)),
            Span::styled(
                status.health.level.to_string(),
                Style::new().fg(colour).add_modifier(Modifier::BOLD),
            ),
            Span::raw(format!("  {}", printable(&problem.unwrap_or(cause)))),
        ]),
        Line::raw(format!(
            "pools {} online, {} degraded, {} offline; {} of {} used    memory {} of {}",
            pools.online,
            pools.degraded,
            pools.offline,
            ByteSize(pools.used_bytes),
            ByteSize(pools.total_bytes),
            ByteSize(memory.used_bytes),
            ByteSize(memory.budget_bytes)
        )),
        Line::raw(format!(
            "reads {}/s {} p99 {}    writes {}/s {} p99 {}",
            count(read.per_second),
            bytes(read.bytes_per_second),
            short(read.latency.quantile(0.99)),
            count(written.per_second),
            bytes(written.bytes_per_second),
            short(written.latency.quantile(0.99))
        )),
    ])
}

fn rows(screen: &Screen, height: usize) -> Table<'static> {
    let headings = screen.headings();
    let is_wide = screen.page != Page::Work;
    let align = move |column: usize| match is_wide && column >= 2 {
        true => Alignment::Right,
        false => Alignment::Left,
    };
    let cell = move |(column, text): (usize, String)| {
        Cell::from(Text::raw(printable(&text)).alignment(align(column)))
    };
    let heading = TableRow::new(headings.iter().map(ToString::to_string).enumerate().map(cell))
        .style(Style::new().add_modifier(Modifier::REVERSED));
    let lines = screen.rows().into_iter().skip(screen.first).take(height);
    let lines = lines.map(|row| TableRow::new(row.cells.into_iter().enumerate().map(cell)));
    let widths = headings.iter().enumerate().map(|(column, heading)| match (column, is_wide) {
        (0, true) => Constraint::Fill(3),
        (1, true) => Constraint::Fill(1),
        (_, true) => Constraint::Length((heading.len() as u16).max(10)),
        _ => Constraint::Fill(1),
    });
    Table::new(lines, widths).header(heading).column_spacing(1)
}

fn keys(screen: &Screen) -> Line<'static> {
    let on = |text: &'static str, is_on: bool| match is_on {
        true => Span::styled(text, Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)),
        false => Span::raw(text),
    };
    Line::from(vec![
        on("v volumes", screen.page == Page::Volumes),
        Span::raw("  "),
        on("d devices", screen.page == Page::Devices),
        Span::raw("  "),
        on("N nodes", screen.page == Page::Nodes),
        Span::raw("  "),
        on("w work", screen.page == Page::Work),
        Span::raw(format!(
            "   sorted by {}: o operations  b bytes  l latency  n name   q quit",
            screen.sort.as_str()
        )),
    ])
}
