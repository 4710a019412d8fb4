//! What cannot be undone, and the question before it.
//!
//! The question comes only where somebody can answer it: when standard input and standard error are a terminal. Scripts are never
//! asked; their commands do what they say.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::arguments::{
    Arguments, Command, DeviceCommand, ExportCommand, GroupCommand, PoolCommand, SnapshotCommand,
    TenantCommand, UserCommand, VolumeCommand,
};
use crate::failure::{Exit, Failure};
use crate::output::printable;

/// What `command` destroys, if it does. Everything that does is in this list.
fn destroys(command: &Command) -> Option<String> {
    Some(match command {
        Command::Volume(command) => return of_volumes(command),
        Command::Snapshot(SnapshotCommand::Delete { snapshot, .. }) => {
            format!("Snapshot {snapshot} will be deleted.")
        }
        Command::Group(GroupCommand::SnapshotDelete { group, name, .. }) => {
            format!("Snapshot {name} of every volume of group {group} will be deleted.")
        }
        Command::Group(GroupCommand::Rollback { group, snapshot }) => {
            format!(
                "What was written to the volumes of group {group} since snapshot {snapshot} will be lost."
            )
        }
        Command::Pool(PoolCommand::Create(create)) if create.force => {
            let devices: Vec<_> = create.devices.iter().map(|path| path.display().to_string()).collect();
            format!("Everything on {} will be lost.", devices.join(", "))
        }
        Command::Pool(PoolCommand::Delete { name }) => {
            format!("Pool {name} will be deleted, and its devices be blank.")
        }
        Command::Device(DeviceCommand::Add { path, force: true, .. })
        | Command::Device(DeviceCommand::Replace { new: path, force: true, .. }) => {
            format!("Everything on {} will be lost.", path.display())
        }
        Command::Export(ExportCommand::Delete { selector, force: true }) => {
            format!("Clients that use {selector} will lose it while they do.")
        }
        Command::User(UserCommand::Delete { name }) => {
            format!("User {name} and every token of it will be deleted.")
        }
        Command::Tenant(TenantCommand::Delete { name }) => format!("Tenant {name} will be deleted."),
        _ => return None,
    })
}

fn of_volumes(command: &VolumeCommand) -> Option<String> {
    Some(match command {
        VolumeCommand::Delete { name, with_snapshots, .. } => {
            let snapshots = if *with_snapshots { ", its snapshots" } else { "" };
            format!("Volume {name}{snapshots} and everything on it will be destroyed.")
        }
        VolumeCommand::Rollback { to, at } => {
            let since = match (&to.snapshot, at) {
                (Some(snapshot), _) => format!("snapshot {snapshot}"),
                (None, Some(at)) => at.to_string(),
                (None, None) => "then".to_owned(),
            };
            format!("What was written to volume {} since {since} will be lost.", to.volume)
        }
        VolumeCommand::Migrate(migrate) => {
            let device = migrate.to_device.as_ref().filter(|_| migrate.force);
            let lost = [
                device.map(|device| format!("Everything on {} will be lost.", device.display())),
                migrate
                    .drop_history
                    .then(|| format!("Volume {} will lose its snapshots and its history.", migrate.name)),
            ];
            let lost: Vec<_> = lost.into_iter().flatten().collect();
            return (!lost.is_empty()).then(|| lost.join(" "));
        }
        _ => return None,
    })
}

/// Asks before something is destroyed, where there is somebody to ask. Fails when the answer is not yes.
pub fn ask(arguments: &Arguments) -> Result<(), Failure> {
    let Some(loss) = destroys(&arguments.command) else { return Ok(()) };
    if arguments.yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    let unheard = |error: io::Error| Failure::local("cannot ask on the terminal", &error);
    write!(io::stderr(), "{} Go on? [y/N] ", printable(&loss)).map_err(unheard)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(unheard)?;
    if is_yes(&answer) {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Failure,
        message: "not confirmed; nothing was changed".to_owned(),
        cause: None,
        next_step: "Answer y, or give --yes.".to_owned(),
    })
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn loss(line: &str) -> Option<String> {
        destroys(&Arguments::try_parse_from(line.split(' ')).unwrap().command)
    }

    #[test]
    fn what_destroys_says_what() {
        for (line, said) in [
            ("volume delete v", "Volume v and everything on it will be destroyed."),
            (
                "volume delete v --with-snapshots",
                "Volume v, its snapshots and everything on it will be destroyed.",
            ),
            ("volume rollback v@s", "What was written to volume v since snapshot s will be lost."),
            (
                "volume rollback v --at 2026-11-21T10:31:59Z",
                "What was written to volume v since 2026-11-21T10:31:59Z will be lost.",
            ),
            ("volume migrate v --to-device /dev/sdx --force", "Everything on /dev/sdx will be lost."),
            (
                "volume migrate v --to-pool p --drop-history",
                "Volume v will lose its snapshots and its history.",
            ),
            ("snapshot delete v@s", "Snapshot v@s will be deleted."),
            ("group snapshot-delete g s", "Snapshot s of every volume of group g will be deleted."),
            (
                "group rollback g s",
                "What was written to the volumes of group g since snapshot s will be lost.",
            ),
            (
                "pool create p --device /dev/sdb /dev/sdc --force",
                "Everything on /dev/sdb, /dev/sdc will be lost.",
            ),
            ("pool delete p", "Pool p will be deleted, and its devices be blank."),
            ("device add p /dev/sdb --force", "Everything on /dev/sdb will be lost."),
            ("device replace p /dev/sdb /dev/sdc --force", "Everything on /dev/sdc will be lost."),
            ("export delete v --force", "Clients that use v will lose it while they do."),
            ("user delete u", "User u and every token of it will be deleted."),
            ("tenant delete t", "Tenant t will be deleted."),
        ] {
            assert_eq!(loss(&format!("quarry {line}")).as_deref(), Some(said), "{line}");
        }
    }

    #[test]
    fn what_can_be_undone_is_not_asked_about() {
        for line in [
            "volume list",
            "volume migrate v --to-pool p",
            "volume migrate v --cancel",
            "pool create p --device /dev/sdb",
            "device add p /dev/sdb",
            "device remove p /dev/sdb",
            "export delete v",
            "group delete g",
            "status",
        ] {
            assert_eq!(loss(&format!("quarry {line}")), None, "{line}");
        }
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(["y\n", "Y\n", " yes \r\n", "YES"].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "no\n", "yy\n", "j\n", "q\n"].into_iter().any(is_yes));
    }
}
