//! `quarry top`: volumes, devices and work of a node on a screen that is drawn anew again and again.
//!
//! What is shown is made by [`model`], which knows no terminal; [`view`] draws it; this module asks the node and reads keys.

mod model;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use quarry_api_types::JobState;
use quarry_client::Client;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::failure::{Exit, Failure};
use model::{Screen, Seen};

/// How often keys are looked for while a look at the node is due later.
const KEY_POLL: Duration = Duration::from_millis(100);

type Result<T> = std::result::Result<T, Failure>;

/// Runs until somebody presses q.
pub async fn run(client: &Client, every_s: u64) -> Result<()> {
    if !std::io::stdout().is_terminal() {
        return Err(Failure {
            exit: Exit::Usage,
            message: "`quarry top` needs a terminal".to_owned(),
            cause: None,
            next_step: "Use `quarry volume stats --watch` where there is none.".to_owned(),
        });
    }
    let mut screen = Screen::default();
    screen.take(look(client).await?);
    let mut terminal = ratatui::init();
    let ended = show(client, &mut screen, &mut terminal, Duration::from_secs(every_s.max(1))).await;
    ratatui::restore();
    ended
}

async fn show(
    client: &Client,
    screen: &mut Screen,
    terminal: &mut ratatui::DefaultTerminal,
    every: Duration,
) -> Result<()> {
    let failed = |error: std::io::Error| Failure::local("the terminal cannot be used", &error);
    // The first rates soon.
    let mut due = tokio::time::Instant::now() + Duration::from_millis(500).min(every);
    loop {
        terminal.draw(|frame| view::draw(frame, screen)).map_err(failed)?;
        while tokio::time::Instant::now() < due {
            let wait = KEY_POLL.min(due - tokio::time::Instant::now());
            let pressed = tokio::task::spawn_blocking(move || key(wait)).await;
            if let Ok(Some(key)) =
                pressed.map_err(|error| Failure::local("keys cannot be read", &error))?.map_err(failed)
            {
                if !screen.press(key) {
                    return Ok(());
                }
                terminal.draw(|frame| view::draw(frame, screen)).map_err(failed)?;
            }
        }
        match look(client).await {
            Ok(seen) => screen.take(seen),
            // It may be back soon; what was seen last stays on the screen.
            Err(failure) => screen.problem = Some(failure.message),
        }
        due = tokio::time::Instant::now() + every;
    }
}

/// The next key, if one is pressed within `wait`. Blocks.
fn key(wait: Duration) -> std::io::Result<Option<KeyCode>> {
    if !event::poll(wait)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(KeyEvent { code: KeyCode::Char('c'), modifiers: KeyModifiers::CONTROL, .. }) => {
            Some(KeyCode::Char('q'))
        }
        Event::Key(KeyEvent { code, kind: KeyEventKind::Press, .. }) => Some(code),
        _ => None,
    })
}

async fn look(client: &Client) -> Result<Seen> {
    let (status, stats, jobs) =
        tokio::join!(client.status(), client.show_stats(), client.list_jobs(Some(JobState::Running)));
    Ok(Seen { status: status?, stats: stats?, jobs: jobs? })
}
