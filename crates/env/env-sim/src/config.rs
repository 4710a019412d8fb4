//! What a world is like, apart from its disks.

use std::ops::Range;
use std::time::Duration;

/// The knobs of a world. The default is a quick machine without faults but with every freedom that the contracts of
/// `quarry-env` leave: completions in any order, short receives, segments of any size.
#[derive(Clone, Debug)]
pub struct Config {
    /// Virtual time that one poll of a task takes.
    pub poll_cost: Range<Duration>,
    /// Polls without any event between them after which the world counts as spinning.
    pub polls_without_event_max: u32,
    /// How late a timer may be.
    pub timer_lateness: Range<Duration>,
    /// When the in-flight I/O of a killed process ends, counted from its death.
    pub late_landing: Range<Duration>,
    /// How long an exclusive open waits for the lock; longer than `late_landing`, so that a successor gets it.
    pub lock_wait: Duration,
    /// Chance that reading the wall clock finds that somebody has set it.
    pub wall_jump: f64,
    /// How far the wall clock jumps, forwards or backwards.
    pub wall_jump_max: Duration,
    /// The last lines of the trace that are kept in words; 0 costs nothing.
    pub trace_lines_max: usize,
    /// Sockets.
    pub network: NetworkConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_cost: Duration::from_nanos(100)..Duration::from_nanos(1_000),
            polls_without_event_max: 1_000_000,
            timer_lateness: Duration::ZERO..Duration::from_micros(50),
            late_landing: Duration::ZERO..Duration::from_secs(2),
            lock_wait: Duration::from_secs(5),
            wall_jump: 0.0,
            wall_jump_max: Duration::from_secs(3_600),
            trace_lines_max: 0,
            network: NetworkConfig::default(),
        }
    }
}

/// How sockets behave.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Time from one end to the other.
    pub delay: Range<Duration>,
    /// Bytes that one direction of a connection holds before its sender waits; drawn for each connection.
    pub socket_bytes: Range<u64>,
    /// Largest segments of a connection; drawn for each connection from these.
    pub segment_bytes_max: Vec<u64>,
    /// Chance that a receive gets fewer bytes than there are.
    pub short_receive: f64,
    /// Connections that wait in a listener before more are refused.
    pub backlog_max: usize,
    /// Chance, for each segment, that the connection is cut as it arrives.
    pub cut: f64,
    /// Chance, for each connection, that at some moment nothing arrives any more in either direction.
    pub half_dead: f64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(5)..Duration::from_micros(200),
            socket_bytes: 4 << 10..256 << 10,
            segment_bytes_max: vec![100, 1_448, 4_096, 65_536, 65_536, 65_536],
            short_receive: 0.05,
            backlog_max: 128,
            cut: 0.0,
            half_dead: 0.0,
        }
    }
}
