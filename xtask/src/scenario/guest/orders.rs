//! What a script in the guest asks of its host, through files in the folder that they share.
//!
//! The guest puts words, one a line, into `order` (by a rename, so that we never see half of one) and waits for `answer`: the
//! exit status in the first line, and behind it what was printed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::node::Node;

/// The host's end of the folder.
pub struct Orders {
    order: PathBuf,
    answer: PathBuf,
}

impl Orders {
    /// Looks into `share` for orders.
    pub fn new(share: &Path) -> Self {
        Self { order: share.join("order"), answer: share.join("answer") }
    }

    /// Performs the order that is there, if one is. An order that fails is told to the guest, which judges it.
    pub fn perform(&mut self, node: &mut Node) -> Result<()> {
        let text = match fs::read_to_string(&self.order) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).context("an order of the guest"),
        };
        fs::remove_file(&self.order)?;
        let words: Vec<&str> = text.lines().collect();
        let (status, said) = match perform(node, &words) {
            Ok(said) => (0, said),
            Err(error) => (1, format!("{error:#}\n")),
        };
        let part = self.answer.with_extension("part");
        fs::write(&part, format!("{status}\n{said}"))?;
        fs::rename(&part, &self.answer)?;
        Ok(())
    }
}

fn perform(node: &mut Node, words: &[&str]) -> Result<String> {
    match words {
        ["quarry", words @ ..] => command::run(node.quarry().command().args(words)),
        ["kill"] => node.kill().map(|()| String::new()),
        ["stop"] => node.stop().map(|()| String::new()),
        ["start"] => node.restart().map(|_| String::new()),
        _ => bail!("the host knows no order '{}', but quarry, kill, stop and start", words.join(" ")),
    }
}
