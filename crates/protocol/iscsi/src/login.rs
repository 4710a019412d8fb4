//! The login phase (RFC 7143 section 6.3): who the initiator is, what it wants, and on which terms. A state machine without I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use quarry_target::Host;

use crate::chap::{CHALLENGE_BYTES, Exchange};
use crate::limits::{LOGIN_REQUESTS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, WINDOW};
use crate::parameters::{NEGOTIATED_ONCE, Parameters};
use crate::text::{parse, put};
use quarry_iscsi_wire::pdu::{Header, flags, opcode};

/// The number of the only portal group, and of the only port.
pub const PORTAL_GROUP: u16 = 1;

/// Status of a login: class and detail (RFC 7143 section 11.13.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoginStatus(pub u8, pub u8);

#[expect(missing_docs, reason = "the names are those of the standard")]
impl LoginStatus {
    pub const SUCCESS: Self = Self(0, 0);
    pub const INITIATOR_ERROR: Self = Self(2, 0);
    pub const AUTHENTICATION_FAILURE: Self = Self(2, 1);
    pub const AUTHORIZATION_FAILURE: Self = Self(2, 2);
    pub const NOT_FOUND: Self = Self(2, 3);
    pub const UNSUPPORTED_VERSION: Self = Self(2, 5);
    pub const TOO_MANY_CONNECTIONS: Self = Self(2, 6);
    pub const MISSING_PARAMETER: Self = Self(2, 7);
    pub const SESSION_TYPE_NOT_SUPPORTED: Self = Self(2, 9);
    pub const NO_SESSION: Self = Self(2, 0x0A);
    pub const INVALID_REQUEST: Self = Self(2, 0x0B);
    pub const SERVICE_UNAVAILABLE: Self = Self(3, 1);
    pub const OUT_OF_RESOURCES: Self = Self(3, 2);
}

/// Stages of a login (RFC 7143 section 11.12.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Security = 0,
    Operational = 1,
    FullFeature = 3,
}

impl Stage {
    fn of(bits: u8) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::Security),
            1 => Some(Self::Operational),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }
}

/// What the target knows of initiators.
pub trait Directory {
    /// The host that an initiator of this name is, and whether it sees any unit.
    fn host_of(&self, initiator: &str) -> (Option<Arc<Host>>, bool);
    /// Whether there is a session with this identifier.
    fn has_session(&self, isid: [u8; 6], handle: u16) -> bool;
    /// The name of the target.
    fn target_name(&self) -> &str;
    /// Chance for a CHAP exchange.
    fn challenge(&self) -> (u8, [u8; CHALLENGE_BYTES]);
}

/// What both sides have agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The initiator's name.
    pub initiator: String,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
    /// The number that it has given to its connection.
    pub connection: u16,
    /// The host that it is, whose secret it has proven to know where there is one.
    pub host: Option<Arc<Host>>,
    /// Whether it only asks for targets.
    pub discovery: bool,
    /// The terms.
    pub parameters: Parameters,
    /// The number that the next command has.
    pub command_number: u32,
    /// The number that the next answer has.
    pub status_number: u32,
}

/// What becomes of a login by a request.
#[derive(Debug)]
pub enum Progress {
    /// It goes on.
    Next,
    /// It is done; the session identifying handle is to be put into the answer before that is sent.
    Done(Agreed),
    /// It has failed; the answer says why, and the connection ends.
    Failed(LoginStatus),
}

/// A login under way.
pub struct Login {
    stage: Stage,
    requests: usize,
    isid: [u8; 6],
    connection: u16,
    status_number: u32,
    initiator: Option<String>,
    host: Option<Arc<Host>>,
    discovery: bool,
    exchange: Option<Exchange>,
    authenticated: bool,
    declared: bool,
    parameters: Parameters,
    /// Text that goes on in the next request.
    text: Vec<u8>,
    /// Keys of the session's operation that have been negotiated.
    negotiated: BTreeSet<&'static str>,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            stage: Stage::Security,
            requests: 0,
            isid: [0; 6],
            connection: 0,
            status_number: 0,
            initiator: None,
            host: None,
            discovery: false,
            exchange: None,
            authenticated: false,
            declared: false,
            parameters: Parameters::default(),
            text: Vec::new(),
            negotiated: BTreeSet::new(),
        }
    }
}

/// Makes an answer the end of its login.
pub(crate) fn refuse(response: &mut Header, text: &mut Vec<u8>, status: LoginStatus) {
    text.clear();
    response.0[1] = 0;
    (response.0[36], response.0[37]) = (status.0, status.1);
    response.set_data_bytes(0);
}

/// Appends nothing, or ends the login.
type Step = Result<(), LoginStatus>;

impl Login {
    /// Takes a request; gives the header and the text of the answer.
    pub fn request(
        &mut self,
        directory: &dyn Directory,
        header: &Header,
        text: &[u8],
    ) -> (Header, Vec<u8>, Progress) {
        let mut answer = Vec::new();
        let transit = self.take(directory, header, text, &mut answer);
        let mut response = self.response(header);
        let progress = match transit {
            Ok(next) => self.transit(header, next, &mut response),
            Err(status) => {
                refuse(&mut response, &mut answer, status);
                Progress::Failed(status)
            }
        };
        response.set_data_bytes(answer.len());
        (response, answer, progress)
    }

    fn response(&mut self, request: &Header) -> Header {
        let mut response = Header::new(opcode::LOGIN_RESPONSE);
        response.0[1] = request.0[1] & 0x0C;
        // ISID and TSIH, the task tag.
        response.0[8..16].copy_from_slice(&request.0[8..16]);
        response.set_u32(16, request.task_tag());
        if self.requests <= 1 {
            self.status_number = request.u32(28);
        }
        response.set_u32(24, self.status_number);
        response.set_u32(28, request.command_number());
        response.set_u32(32, request.command_number().wrapping_add(WINDOW - 1));
        self.status_number = self.status_number.wrapping_add(1);
        response
    }

    /// Whether the stage is to change, and to which.
    fn take(
        &mut self,
        directory: &dyn Directory,
        header: &Header,
        text: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<Option<Stage>, LoginStatus> {
        self.requests += 1;
        if self.requests > LOGIN_REQUESTS_MAX {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        let next = self.check(directory, header)?;
        if self.text.len() + text.len() > TEXT_BYTES_MAX {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        self.text.extend_from_slice(text);
        if header.has(flags::CONTINUE) {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.text);
        let pairs = parse(&whole).map_err(|_| LoginStatus::INITIATOR_ERROR)?;
        let mut keys: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|two| two[0] == two[1]) {
            // RFC 7143 section 6.2: a key is negotiated once.
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        if self.initiator.is_none() {
            self.introduce(directory, &pairs, answer)?;
        }
        match self.stage {
            Stage::Security => self.secure(directory, &pairs, answer)?,
            Stage::Operational => {}
            Stage::FullFeature => return Err(LoginStatus::INVALID_REQUEST),
        }
        for key in NEGOTIATED_ONCE.into_iter().filter(|key| keys.contains(key)) {
            if !self.negotiated.insert(key) {
                // RFC 7143 section 6.2: neither within a request nor in a later one.
                return Err(LoginStatus::INITIATOR_ERROR);
            }
        }
        self.operate(&pairs, answer)?;
        self.may_leave(next)
    }

    /// Checks the header against what came before.
    fn check(&mut self, directory: &dyn Directory, header: &Header) -> Result<Option<Stage>, LoginStatus> {
        let flag = header.0[1];
        let current = Stage::of(flag >> 2).ok_or(LoginStatus::INITIATOR_ERROR)?;
        let next = header.has(flags::FINAL).then(|| Stage::of(flag).ok_or(LoginStatus::INITIATOR_ERROR));
        let next = next.transpose()?;
        if next.is_some() && header.has(flags::CONTINUE) {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        if header.0[3] > 0 {
            return Err(LoginStatus::UNSUPPORTED_VERSION);
        }
        if self.requests == 1 {
            self.stage = current;
            self.isid = header.0[8..14].try_into().expect("six bytes");
            self.connection = header.u16(20);
            let handle = header.u16(14);
            if handle != 0 && !directory.has_session(self.isid, handle) {
                return Err(LoginStatus::NO_SESSION);
            }
            if handle != 0 {
                // A further connection to a session, of which each has one.
                return Err(LoginStatus::TOO_MANY_CONNECTIONS);
            }
        }
        let same = self.isid == header.0[8..14] && self.connection == header.u16(20);
        if current != self.stage || !same || next.is_some_and(|next| next <= current) {
            return Err(LoginStatus::INVALID_REQUEST);
        }
        Ok(next)
    }

    /// The first request says who it is and what it wants.
    fn introduce(&mut self, directory: &dyn Directory, pairs: &[(&str, &str)], answer: &mut Vec<u8>) -> Step {
        let value = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let initiator = value("InitiatorName").ok_or(LoginStatus::MISSING_PARAMETER)?;
        if initiator.is_empty() || initiator.len() > NAME_BYTES_MAX {
            return Err(LoginStatus::INITIATOR_ERROR);
        }
        self.discovery = match value("SessionType") {
            Some("Discovery") => true,
            Some("Normal") | None => false,
            Some(_) => return Err(LoginStatus::SESSION_TYPE_NOT_SUPPORTED),
        };
        let (host, sees_any) = directory.host_of(initiator);
        if !self.discovery {
            let target = value("TargetName").ok_or(LoginStatus::MISSING_PARAMETER)?;
            if !target.eq_ignore_ascii_case(directory.target_name()) {
                return Err(LoginStatus::NOT_FOUND);
            }
            if !sees_any {
                return Err(LoginStatus::AUTHORIZATION_FAILURE);
            }
            put(answer, "TargetPortalGroupTag", &PORTAL_GROUP.to_string());
        }
        let chap = host.as_ref().and_then(|host| host.chap.clone());
        self.host = host;
        self.authenticated = chap.is_none();
        self.exchange = chap.map(|chap| {
            let (identifier, challenge) = directory.challenge();
            Exchange::new(chap, identifier, challenge)
        });
        if self.stage == Stage::Operational && !self.authenticated {
            return Err(LoginStatus::AUTHENTICATION_FAILURE);
        }
        self.initiator = Some(initiator.to_owned());
        Ok(())
    }

    fn secure(&mut self, directory: &dyn Directory, pairs: &[(&str, &str)], answer: &mut Vec<u8>) -> Step {
        if let Some((_, offered)) = pairs.iter().find(|(key, _)| *key == "AuthMethod") {
            let wanted = if self.exchange.is_some() { "CHAP" } else { "None" };
            if !offered.split(',').any(|method| method == wanted) {
                return Err(LoginStatus::AUTHENTICATION_FAILURE);
            }
            put(answer, "AuthMethod", wanted);
        }
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        let step = exchange.step(pairs, answer);
        step.map_err(|error| {
            tracing::warn!(initiator = self.initiator, target = directory.target_name(), %error, "login refused");
            LoginStatus::AUTHENTICATION_FAILURE
        })?;
        self.authenticated = exchange.is_done();
        Ok(())
    }

    /// Operational keys, which may come in the security stage as well.
    fn operate(&mut self, pairs: &[(&str, &str)], answer: &mut Vec<u8>) -> Step {
        const SECURITY: [&str; 7] =
            ["AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R", "TargetAlias"];
        for (key, value) in pairs.iter().filter(|(key, _)| !SECURITY.contains(key)) {
            let negotiated = self.parameters.negotiate(key, value, self.discovery);
            let own = negotiated.map_err(|error| {
                tracing::warn!(initiator = self.initiator, %error, "login refused");
                LoginStatus::INITIATOR_ERROR
            })?;
            if let Some(own) = own {
                put(answer, key, &own);
            }
        }
        if self.stage == Stage::Operational && !self.declared {
            self.declared = true;
            Parameters::declare(answer);
        }
        Ok(())
    }

    fn may_leave(&self, next: Option<Stage>) -> Result<Option<Stage>, LoginStatus> {
        // An initiator that wants to go on before it has proved itself is told to stay, once it has begun to.
        if self.stage == Stage::Security && next.is_some() && !self.authenticated {
            let begun = self.exchange.is_some() && self.requests < LOGIN_REQUESTS_MAX / 2;
            return if begun { Ok(None) } else { Err(LoginStatus::AUTHENTICATION_FAILURE) };
        }
        Ok(next)
    }

    fn transit(&mut self, request: &Header, next: Option<Stage>, response: &mut Header) -> Progress {
        let Some(next) = next else { return Progress::Next };
        response.0[1] |= flags::FINAL | next as u8;
        self.stage = next;
        if next != Stage::FullFeature {
            return Progress::Next;
        }
        self.parameters.settle();
        Progress::Done(Agreed {
            initiator: self.initiator.clone().expect("it was introduced"),
            isid: self.isid,
            connection: self.connection,
            host: self.host.clone(),
            discovery: self.discovery,
            parameters: self.parameters,
            command_number: request.command_number(),
            status_number: self.status_number,
        })
    }
}

#[cfg(test)]
mod tests;
