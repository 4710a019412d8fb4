//! Disks over vhost-user, which a guest has from its start: a script asks for them in comments at its head.
//!
//! `# disk: NAME SIZE [OPTION...]` makes a volume, exports it with these options, and gives it to the guest as a virtio disk with two
//! queues, whose serial number and place are as the guest finds them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::node::{Node, POOL};

const MARK: &str = "# disk: ";
/// QEMU shares it with quarryd, so it has to be a file. As much as `run.sh` gives the guest.
const MEMORY: &str =
    "-object memory-backend-memfd,id=memory,size=1024M,share=on -machine memory-backend=memory";

/// How QEMU is told to connect again: by milliseconds from 9.2 on, by seconds before.
fn reconnect() -> Result<&'static str> {
    let said = command::run(Command::new("qemu-system-x86_64").arg("--version"))?;
    let version = said.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let mut numbers =
        version.context("QEMU's version")?.split('.').map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(if version >= (9, 2) { "reconnect-ms=300" } else { "reconnect=1" })
}

/// Makes the disks that a script asks for; returns QEMU's arguments for them.
pub fn attach(node: &Node, script: &Path) -> Result<String> {
    let text = fs::read_to_string(script)?;
    let mut arguments = String::new();
    for wish in text.lines().filter_map(|line| line.strip_prefix(MARK)) {
        let words: Vec<&str> = wish.split_whitespace().collect();
        let [name, size, options @ ..] = &words[..] else {
            anyhow::bail!("'{MARK}{wish}' names no disk and size")
        };
        let quarry = node.quarry();
        quarry.run(&["volume", "create", name, "--pool", POOL, "--size", size])?;
        let export = ["export", "create", name, "--protocol", "vhost-user"];
        let socket = quarry.run(&[&export[..], options].concat()).context("a disk of the guest")?;
        if arguments.is_empty() {
            arguments.push_str(MEMORY);
        }
        arguments += &format!(
            " -chardev socket,id={name},path={},{} -device vhost-user-blk-pci,chardev={name},num-queues=2",
            socket.trim(),
            reconnect()?
        );
    }
    Ok(arguments)
}
