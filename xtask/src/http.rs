//! A web server of one file, with ranges (RFC 9110 section 14): what an image is imported from.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::Result;

/// Serves until the process ends, each connection on a thread of its own. Returns the address.
pub fn serve(file: &Path) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (address, file) = (listener.local_addr()?, Arc::new(File::open(file)?));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let file = file.clone();
            // A client that goes away is none of our business.
            thread::spawn(move || answer(&stream, &file));
        }
    });
    Ok(address)
}

/// Answers one request after another.
fn answer(stream: &TcpStream, file: &File) -> Result<()> {
    let size = file.metadata()?.len();
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    loop {
        let Some(request) = lines.next().transpose()? else { return Ok(()) };
        let mut range = None;
        for header in lines.by_ref() {
            let header = header?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            range = range.or_else(|| parse(header.strip_prefix("range: bytes=")?));
        }
        let (first, last) = range.unwrap_or((0, size - 1));
        let last = last.min(size - 1);
        let mut out = stream;
        write!(
            out,
            "HTTP/1.1 {}\r\nAccept-Ranges: bytes\r\n",
            if range.is_some() { "206 P" } else { "200 OK" }
        )?;
        write!(
            out,
            "Content-Range: bytes {first}-{last}/{size}\r\nContent-Length: {}\r\n\r\n",
            last + 1 - first
        )?;
        if request.starts_with("GET") {
            let mut body = vec![0; (last + 1 - first) as usize];
            file.read_exact_at(&mut body, first)?;
            out.write_all(&body)?;
        }
    }
}

fn parse(range: &str) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.trim().parse().ok()?))
}
