//! Running qemu-img: its output, its progress, and what it says when it fails.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::interrupt::{Interrupt, interrupted};
use crate::failure::{Exit, Failure};
use crate::progress::Progress;

const PROGRAM: &str = "qemu-img";
/// What `qemu-img compare` ends with when the images differ.
const CODE_DIFFERENT: i32 = 1;
/// What `qemu-img check` ends with when an image has clusters that nothing refers to, and when its format has no check.
const CODE_LEAKS: i32 = 3;
const CODE_NO_CHECK: i32 = 63;
/// Of an answer in JSON. That of an image with hundreds of extents fits.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Of what a program says about its failure: the end counts.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// A run of qemu-img that came to its end.
pub struct Ended {
    status: ExitStatus,
    answer: Vec<u8>,
    complaint: String,
}

impl Ended {
    fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// What it printed, in one line.
    fn answer(&self) -> String {
        String::from_utf8_lossy(&self.answer).trim().to_owned()
    }

    /// Fails with `message` unless it ended with 0.
    pub fn require(self, message: &str) -> Result<Self, Failure> {
        if self.status.success() { Ok(self) } else { Err(self.failure(message)) }
    }

    /// A failure with what qemu-img said as the cause.
    pub fn failure(self, message: &str) -> Failure {
        let is_full = self.complaint.contains("No space left on device");
        let cause = match self.complaint.is_empty() {
            true => format!("qemu-img ended with {}", self.status),
            false => self.complaint,
        };
        Failure {
            exit: if is_full { Exit::NoSpace } else { Exit::Failure },
            message: message.to_owned(),
            next_step: next_step(&cause, is_full).to_owned(),
            cause: Some(cause),
        }
    }
}

fn next_step(cause: &str, is_full: bool) -> &'static str {
    let lacks_driver = cause.contains("Unknown protocol") || cause.contains("Unable to load module");
    match (is_full, lacks_driver) {
        (true, _) => "Free space, or choose another place, and run the command again.",
        (_, true) => {
            "For http and https install nbdkit with its curl plugin (Debian, Ubuntu: `apt install nbdkit`); for other \
             protocols the part of QEMU that reads them (qemu-block-extra)."
        }
        _ => "Correct the cause and run the command again.",
    }
}

/// Runs qemu-img to its end, or kills it when the command is interrupted. `-p` among `arguments` makes it tell how far it is,
/// which goes to `progress` instead of the answer.
pub async fn run(
    arguments: &[&OsStr],
    interrupt: &Interrupt,
    progress: Option<&mut Progress>,
) -> Result<Ended, Failure> {
    interrupt.check()?;
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
    // A group of its own: Ctrl-C at the terminal reaches this command alone, which ends both in order.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot_start(&error))?;
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let work = async {
        let (answer, complaint) = tokio::join!(read_answer(stdout, progress), read_end(stderr));
        (child.wait().await, answer, complaint)
    };
    let (status, answer, complaint) = tokio::select! {
        ended = work => ended,
        () = interrupt.requested() => {
            // An error would mean that it has ended already.
            let _ = child.kill().await;
            return Err(interrupted());
        }
    };
    let status = status.map_err(|error| Failure::local("cannot wait for qemu-img", &error))?;
    Ok(Ended { status, answer, complaint: complaint.replace("qemu-img: ", "") })
}

/// Runs qemu-img for an answer in JSON.
pub async fn ask<T: DeserializeOwned>(
    arguments: &[&OsStr],
    interrupt: &Interrupt,
    message: &str,
) -> Result<T, Failure> {
    let ended = run(arguments, interrupt, None).await?.require(message)?;
    serde_json::from_slice(&ended.answer).map_err(|error| Failure::local(message, &error))
}

/// What is wrong with an image, if something is and QEMU can tell.
pub async fn check(format: &str, location: &OsStr, interrupt: &Interrupt) -> Result<Option<String>, Failure> {
    let words = ["check", "-q", "-f", format].map(OsStr::new);
    let ended = run(&[&words[..], &[location]].concat(), interrupt, None).await?;
    match ended.code() {
        Some(0 | CODE_LEAKS | CODE_NO_CHECK) => Ok(None),
        _ => Ok(ended.failure("").cause),
    }
}

/// Fails unless two images, each of a format and a place, hold the same; what one has more at its end must be zeroes.
pub async fn compare(
    one: (&str, &OsStr),
    other: (&str, &OsStr),
    data_bytes: u64,
    is_shown: bool,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let mut progress = Progress::begin("comparing", data_bytes, is_shown);
    let words = ["compare", "-p", "-f", one.0, "-F", other.0].map(OsStr::new);
    let ended = run(&[&words[..], &[one.1, other.1]].concat(), interrupt, Some(&mut progress)).await;
    progress.end();
    let ended = ended?;
    match ended.code() {
        Some(CODE_DIFFERENT) => {
            Err(Failure { cause: Some(ended.answer()), ..ended.failure("source and copy differ") })
        }
        _ => ended.require("source and copy could not be compared").map(drop),
    }
}

fn cannot_start(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure {
            exit: Exit::Failure,
            message: "qemu-img is needed to read and write images, and is not installed".to_owned(),
            cause: None,
            next_step: "Install it on the machine where you run this command. Debian, Ubuntu: `apt install \
                        qemu-utils`; Fedora, RHEL: `dnf install qemu-img`."
                .to_owned(),
        },
        _ => Failure::local("cannot start qemu-img", error),
    }
}

/// Reads to the end. Lines that tell how far it is go to `progress`, the others are the answer, up to its bound: what is
/// longer is no answer.
async fn read_answer(mut stdout: impl AsyncRead + Unpin, mut progress: Option<&mut Progress>) -> Vec<u8> {
    let (mut answer, mut pending, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stdout.read(&mut buffer).await {
        pending.extend_from_slice(&buffer[..count]);
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        while let (Some(progress), Some(end)) = (&mut progress, pending.iter().position(is_end)) {
            let line: Vec<u8> = pending.drain(..=end).collect();
            match percent(&String::from_utf8_lossy(&line)) {
                Some(percent) => progress.show(percent),
                None => answer.extend(line),
            }
        }
        pending.truncate(ANSWER_BYTES_MAX);
        answer.truncate(ANSWER_BYTES_MAX);
    }
    answer.extend(pending);
    answer
}

/// The number in `    (12.34/100%)`.
fn percent(line: &str) -> Option<f64> {
    line.trim().strip_prefix('(')?.strip_suffix("/100%)")?.parse().ok()
}

/// Reads to the end and keeps the last part, in one line. Of complaints that differ in numbers alone, one for each request that failed,
/// the first is enough.
async fn read_end(mut stderr: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut buffer, mut is_cut) = (Vec::new(), [0; 4096], false);
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        is_cut |= kept.len() > COMPLAINT_BYTES_MAX;
        kept.drain(..kept.len().saturating_sub(COMPLAINT_BYTES_MAX));
    }
    let text = String::from_utf8_lossy(&kept);
    // The beginning of a line that was cut off says nothing.
    let text = text.split_once('\n').filter(|_| is_cut).map_or(&*text, |(_, rest)| rest);
    let mut said = Vec::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.filter(|line| is_new(&mut said, line)).collect::<Vec<_>>().join("; ")
}

/// Whether none of the lines `said` before is the same but for its numbers.
fn is_new(said: &mut Vec<String>, line: &str) -> bool {
    let words = line.split_whitespace().filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
    let kind = words.collect::<Vec<_>>().join(" ");
    let is_new = !said.contains(&kind);
    said.push(kind);
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_as_qemu_img_prints_it() {
        assert_eq!(percent("    (0.00/100%)\r"), Some(0.0));
        assert_eq!(percent("    (12.34/100%)\r"), Some(12.34));
        assert_eq!(percent("    (100.00/100%)\n"), Some(100.0));
        for line in ["", "Images are identical.", "(x/100%)", "12/100"] {
            assert_eq!(percent(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn progress_is_no_part_of_the_answer() {
        let printed = "    (0.00/100%)\r    (50.00/100%)\rContent mismatch at offset 512!\n";
        let mut progress = Progress::begin("comparing", 1, false);
        let answer = read_answer(printed.as_bytes(), Some(&mut progress)).await;
        assert_eq!(String::from_utf8_lossy(&answer), "Content mismatch at offset 512!\n");
        assert_eq!(read_answer(&b"{}\n"[..], None).await, b"{}\n");
    }

    #[tokio::test]
    async fn of_a_long_complaint_the_end_is_kept() {
        let text = format!("{}\n\nqemu-img: the end\n", "x".repeat(3 * COMPLAINT_BYTES_MAX));
        assert_eq!(read_end(text.as_bytes()).await, "qemu-img: the end");
        assert_eq!(read_end(&b"one\n\ntwo\n"[..]).await, "one; two");
    }

    #[tokio::test]
    async fn of_the_same_complaint_again_and_again_one_is_kept() {
        let lines: String = (0..300)
            .map(|at| format!("qemu-img: error while writing at byte {at}000: No space left on device\n"))
            .collect();
        let kept = read_end(lines.as_bytes()).await;
        assert!(kept.starts_with("qemu-img: error while writing at byte") && !kept.contains(';'), "{kept}");
    }

    #[test]
    fn what_is_full_and_what_is_missing_is_told_apart() {
        assert!(next_step("error while writing: No space left on device", true).contains("Free space"));
        assert!(next_step("Unable to load module curl.", false).contains("nbdkit"));
        assert!(next_step("Image is not in qcow2 format", false).contains("Correct the cause"));
    }
}
