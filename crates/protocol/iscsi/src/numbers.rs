//! The numbers of a session (RFC 7143 section 4.2.2): which command comes next, how many may come, and which answer this is.

use crate::limits::WINDOW;
use quarry_iscsi_wire::pdu::Header;

/// What becomes of a command by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It is the next one.
    Next,
    /// It is outside the window, and nothing happens (RFC 7143 section 4.2.2.1).
    Ignored,
    /// Others are missing in front of it, which do not come any more: there is one connection, and it keeps the order.
    Gap,
}

/// The counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    expected_command: u32,
    /// Commands of the window that are not answered.
    open: u32,
    status: u32,
}

impl Numbers {
    /// As they are after a login.
    pub fn new(command: u32, status: u32) -> Self {
        Self { expected_command: command, open: 0, status }
    }

    fn last_command(&self) -> u32 {
        self.expected_command.wrapping_add(WINDOW - self.open).wrapping_sub(1)
    }

    /// A command has arrived that is not immediate.
    pub fn arrive(&mut self, number: u32) -> Arrival {
        let ahead = number.wrapping_sub(self.expected_command);
        if ahead >= WINDOW - self.open {
            return Arrival::Ignored;
        }
        if ahead > 0 {
            return Arrival::Gap;
        }
        self.expected_command = self.expected_command.wrapping_add(1);
        self.open += 1;
        Arrival::Next
    }

    /// A command of the window is answered, or given up.
    pub fn close(&mut self) {
        self.open -= 1;
    }

    /// Puts the window into a header.
    pub fn stamp_window(&self, header: &mut Header) {
        header.set_u32(28, self.expected_command);
        header.set_u32(32, self.last_command());
    }

    /// Puts the window and the number of the answer into a header, without counting it.
    pub fn stamp_next(&self, header: &mut Header) {
        header.set_u32(24, self.status);
        self.stamp_window(header);
    }

    /// Puts the window and the number of the answer into a header.
    pub fn stamp(&mut self, header: &mut Header) {
        self.stamp_next(header);
        self.status = self.status.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_iscsi_wire::pdu::opcode;

    fn window(numbers: &Numbers) -> (u32, u32) {
        let mut header = Header::new(opcode::NOP_IN);
        numbers.stamp_window(&mut header);
        (header.u32(28), header.u32(32))
    }

    #[test]
    fn commands_come_in_order_and_inside_the_window() {
        let mut numbers = Numbers::new(u32::MAX, 5);
        assert_eq!(window(&numbers), (u32::MAX, WINDOW - 2));
        assert_eq!(numbers.arrive(u32::MAX - 1), Arrival::Ignored);
        assert_eq!(numbers.arrive(WINDOW - 1), Arrival::Ignored);
        assert_eq!(numbers.arrive(0), Arrival::Gap);
        assert_eq!(numbers.arrive(u32::MAX), Arrival::Next);
        assert_eq!(window(&numbers), (0, WINDOW - 2), "it stays until the command is answered");
        numbers.close();
        assert_eq!(window(&numbers), (0, WINDOW - 1));
        for number in 0..WINDOW {
            assert_eq!(numbers.arrive(number), Arrival::Next);
        }
        assert_eq!(window(&numbers), (WINDOW, WINDOW - 1), "the window is closed");
        assert_eq!(numbers.arrive(WINDOW), Arrival::Ignored);
    }

    #[test]
    fn answers_are_counted() {
        let mut numbers = Numbers::new(1, u32::MAX);
        let mut header = Header::new(opcode::NOP_IN);
        numbers.stamp_next(&mut header);
        numbers.stamp(&mut header);
        assert_eq!(header.u32(24), u32::MAX);
        numbers.stamp(&mut header);
        assert_eq!(header.u32(24), 0);
    }
}
