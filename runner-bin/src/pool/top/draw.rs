//! The screen's picture of what is seen. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};
use tokio::time::Instant;
use vmpool_proto::v1::StatusResponse;

use super::follow::Seen;
use crate::pool::ls::{MACHINES, POOLS, headline, machine_rows, no_machines, pool_row, remarks};
use crate::screen::printable;

/// Remarks take no more lines than this.
const MOST_REMARKS: usize = 8;

const KEYS: &str = "q ends  ↑↓ move";

/// Draws what is seen, the machines from the line `scroll` on. Returns how far
/// may be scrolled.
pub(super) fn draw(frame: &mut Frame<'_>, seen: &Seen, scroll: usize) -> usize {
    let Some((status, at)) = &seen.told else {
        let wait = seen.lost.as_deref().unwrap_or("asking …");
        frame.render_widget(
            Line::from(format!("{}: {}", seen.source, printable(wait))),
            frame.area(),
        );
        return 0;
    };
    let age = Instant::now().saturating_duration_since(*at).as_millis();
    let now = status
        .at_unix_ms
        .saturating_add(u64::try_from(age).unwrap_or(u64::MAX));
    let remarks = remarks(status, now);
    let machines = machine_rows(status, now);
    let height = |lines: usize| Constraint::Length(u16::try_from(lines).unwrap_or(u16::MAX));
    let [top, pools, said, table, keys] = Layout::vertical([
        Constraint::Length(2),
        height(status.pools.len() + 2),
        height(match remarks.len() {
            0 => 0,
            lines => lines.min(MOST_REMARKS) + 1,
        }),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(head(seen, status), top);
    let rows = status.pools.iter().map(|pool| pool_row(status, pool));
    grid(frame, pools, POOLS, rows.collect(), |_| Style::new());
    let warnings = remarks.iter().take(MOST_REMARKS);
    let warnings: Vec<_> = warnings.map(|remark| remark_line(remark)).collect();
    frame.render_widget(Paragraph::new(warnings), said);
    let visible = usize::from(table.height.saturating_sub(1));
    let most = machines.len().saturating_sub(visible);
    if machines.is_empty() {
        frame.render_widget(Line::from(no_machines(status)).dim(), table);
    } else {
        let rows = machines.into_iter().skip(scroll.min(most)).take(visible);
        grid(frame, table, MACHINES, rows.collect(), |row| {
            of_state(&row[2])
        });
    }
    frame.render_widget(Line::from(KEYS).dim(), keys);
    most
}

fn head(seen: &Seen, status: &StatusResponse) -> Paragraph<'static> {
    let headline = printable(&headline(&seen.source, status));
    let mut lines = vec![Line::from(headline).bold()];
    if let Some(lost) = &seen.lost {
        let text = format!("lost, and looked for again: {}", printable(lost));
        lines.push(Line::from(text).red());
    }
    Paragraph::new(lines)
}

fn remark_line(remark: &str) -> Line<'static> {
    let line = Line::from(printable(remark));
    if remark.contains("not accounted for") {
        line.red().bold()
    } else {
        line.yellow()
    }
}

fn of_state(state: &str) -> Style {
    match state {
        "ready" => Style::new().fg(Color::Green),
        "claimed" => Style::new().fg(Color::Cyan),
        "lost" => Style::new().fg(Color::Red),
        "draining" | "terminating" => Style::new().dim(),
        _ => Style::new().fg(Color::Yellow),
    }
}

/// A table whose columns are as wide as what is in them; the last has the rest.
fn grid<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    header: [&'static str; N],
    rows: Vec<[String; N]>,
    style: impl Fn(&[String; N]) -> Style,
) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        let widest = cells.chain([header[column].len()]).max().unwrap_or(0);
        Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
    };
    let last = [Constraint::Fill(1)];
    let widths: Vec<_> = (0..N - 1).map(width).chain(last).collect();
    let lines = rows.into_iter().map(|row| {
        let style = style(&row);
        Row::new(row).style(style)
    });
    let table = Table::new(lines, widths)
        .header(Row::new(header).dim())
        .column_spacing(2);
    frame.render_widget(table, area);
}
