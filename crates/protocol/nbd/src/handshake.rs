//! Fixed newstyle negotiation (proto.md, "Newstyle negotiation" and "Fixed newstyle negotiation").
//!
//! A client is told about its mistakes and may go on, except where the protocol leaves no way to say so: a bad magic
//! number, unknown client flags, an `EXPORT_NAME` that cannot be served, and data beyond all measure end the connection.

use std::io;

use quarry_env::Env;
use quarry_target::{Export, Exports, Inbox, Session};
use quarry_tls::ServerTls;

use crate::constants::{
    NBD_MAGIC, OPTION_MAGIC, handshake_flags, option_replies as reply, options, transmission_flags,
};
use crate::limits::{
    BLOCK_BYTES_MIN, OPTION_BYTES_MAX, OPTION_BYTES_SKIPPED_MAX, OPTIONS_MAX, PAYLOAD_BYTES_MAX,
};
use crate::meta_context::{self, BASE_ALLOCATION};
use crate::option::{self, ContextRequest, InfoRequest, Malformed, put_server};
use crate::request::{CONTEXT_ID, Terms};
use crate::wire::{BadMagic, OptionHeader, Style, put_option_reply};

/// Zero bytes behind the reply to `EXPORT_NAME`, unless both sides agreed on `NO_ZEROES`.
const PADDING_BYTES: usize = 124;

/// How a negotiation ends without a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The connection broke or was closed.
    #[error("the connection ended")]
    Io(#[from] io::Error),
    /// The connection could not be encrypted.
    #[error("the handshake of TLS failed: {0}")]
    Tls(#[source] io::Error),
    /// The client sent `ABORT`.
    #[error("the client ended the negotiation")]
    Aborted,
    /// The two sides do not understand each other.
    #[error("not an option")]
    BadMagic(#[from] BadMagic),
    /// The client demands what nobody offered.
    #[error("the client flags {flags:#x} were not offered")]
    ClientFlags {
        /// What it demands.
        flags: u32,
    },
    /// An option that cannot be refused in the protocol's words.
    #[error("option {option} cannot be served")]
    Unserved {
        /// Its type.
        option: u32,
    },
    /// An option longer than anyone needs.
    #[error("option {option} has {bytes} bytes")]
    TooLong {
        /// Its type.
        option: u32,
        /// Its length.
        bytes: u32,
    },
    /// More options than anyone needs.
    #[error("more than {OPTIONS_MAX} options")]
    TooMany,
}

/// What a client and the server have agreed on.
pub(crate) struct Agreed {
    pub(crate) export: Export,
    pub(crate) terms: Terms,
}

/// What to do after an option.
enum Next {
    Option,
    Secure,
    Begin(Agreed),
}

/// Whether a connection is encrypted ("The security policy": `FORCEDTLS` or `NOTLS`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Security {
    /// It need not be, and cannot.
    Clear,
    /// It has to be first.
    Required,
    /// It is.
    Encrypted,
}

/// The state of a negotiation.
struct Negotiation<'a> {
    exports: &'a Exports,
    session: &'a Session,
    security: Security,
    fixed: bool,
    no_zeroes: bool,
    style: Style,
    /// The export for which `base:allocation` was selected last.
    context_of: Option<String>,
    out: Vec<u8>,
}

/// Negotiates until the client has chosen an export, which `session` is then bound to. With `tls` the client has to begin by
/// encrypting the connection. What is left in the inbox comes behind the negotiation, over its stream.
pub(crate) async fn negotiate(
    mut inbox: Inbox,
    exports: &Exports,
    session: &Session,
    tls: Option<(&Env, &ServerTls)>,
) -> Result<(Agreed, Inbox), HandshakeError> {
    let mut negotiation = greet(&mut inbox, exports, session).await?;
    if tls.is_some() {
        negotiation.security = Security::Required;
    }
    for _ in 0..OPTIONS_MAX {
        let header = OptionHeader::decode(&inbox.take_array().await?)?;
        let next = negotiation.answer(&mut inbox, header).await?;
        inbox.send(&std::mem::take(&mut negotiation.out)).await?;
        match (next, tls) {
            (Next::Begin(agreed), _) => return Ok((agreed, inbox)),
            (Next::Secure, Some((env, tls))) => {
                let (stream, rest) = inbox.into_parts();
                let stream = quarry_tls::accept(env, stream, rest, tls).await.map_err(HandshakeError::Tls)?;
                inbox = Inbox::new(stream, env.buffers.clone());
                negotiation.begin_anew();
            }
            (Next::Option | Next::Secure, _) => {}
        }
    }
    Err(HandshakeError::TooMany)
}

async fn greet<'a>(
    inbox: &mut Inbox,
    exports: &'a Exports,
    session: &'a Session,
) -> Result<Negotiation<'a>, HandshakeError> {
    let offered = handshake_flags::FIXED_NEWSTYLE | handshake_flags::NO_ZEROES;
    let mut greeting = Vec::with_capacity(18);
    greeting.extend_from_slice(&NBD_MAGIC.to_be_bytes());
    greeting.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    greeting.extend_from_slice(&offered.to_be_bytes());
    inbox.send(&greeting).await?;
    let flags = u32::from_be_bytes(inbox.take_array().await?);
    if flags & !u32::from(offered) != 0 {
        return Err(HandshakeError::ClientFlags { flags });
    }
    Ok(Negotiation {
        exports,
        session,
        security: Security::Clear,
        fixed: flags & u32::from(handshake_flags::FIXED_NEWSTYLE) != 0,
        no_zeroes: flags & u32::from(handshake_flags::NO_ZEROES) != 0,
        style: Style::Simple,
        context_of: None,
        out: Vec::new(),
    })
}

impl Negotiation<'_> {
    async fn answer(&mut self, inbox: &mut Inbox, header: OptionHeader) -> Result<Next, HandshakeError> {
        let OptionHeader { option, length } = header;
        if length > OPTION_BYTES_SKIPPED_MAX {
            return Err(HandshakeError::TooLong { option, bytes: length });
        }
        // A client that did not agree on fixed newstyle cannot understand a reply to any other option.
        if !self.fixed && option != options::EXPORT_NAME {
            return Err(HandshakeError::Unserved { option });
        }
        if option == options::ABORT {
            inbox.skip(length as usize).await?;
            self.reply(option, reply::ACK);
            // It may have closed already, which proto.md asks us to take well.
            let _ = inbox.send(&self.out).await;
            return Err(HandshakeError::Aborted);
        }
        if length > OPTION_BYTES_MAX {
            inbox.skip(length as usize).await?;
            return self.refuse_too_big(option);
        }
        let data = inbox.take(length as usize).await?;
        match option {
            options::STARTTLS if data.is_empty() => Ok(self.start_tls()),
            options::EXPORT_NAME if self.security == Security::Required => {
                Err(HandshakeError::Unserved { option })
            }
            _ if self.security == Security::Required => {
                self.refuse(option, reply::ERR_TLS_REQD, "this server wants TLS first");
                Ok(Next::Option)
            }
            options::EXPORT_NAME => self.export_name(data),
            options::INFO | options::GO => Ok(self.info(option, data)),
            _ => {
                self.simple_option(option, data);
                Ok(Next::Option)
            }
        }
    }

    /// What was agreed on before the connection was encrypted counts no more ("STARTTLS"): anybody could have said it.
    fn begin_anew(&mut self) {
        (self.security, self.style, self.context_of) = (Security::Encrypted, Style::Simple, None);
    }

    fn start_tls(&mut self) -> Next {
        let option = options::STARTTLS;
        match self.security {
            Security::Clear => self.refuse(option, reply::ERR_POLICY, "TLS is not configured"),
            Security::Encrypted => self.refuse(option, reply::ERR_INVALID, "the connection is encrypted"),
            Security::Required => {
                self.reply(option, reply::ACK);
                return Next::Secure;
            }
        }
        Next::Option
    }

    fn reply(&mut self, option: u32, kind: u32) {
        put_option_reply(&mut self.out, option, kind, &[]);
    }

    fn refuse(&mut self, option: u32, kind: u32, message: &str) {
        put_option_reply(&mut self.out, option, kind, &[message.as_bytes()]);
    }

    fn refuse_too_big(&mut self, option: u32) -> Result<Next, HandshakeError> {
        if option == options::EXPORT_NAME {
            return Err(HandshakeError::Unserved { option });
        }
        if option == options::SET_META_CONTEXT {
            self.context_of = None;
        }
        self.refuse(option, reply::ERR_TOO_BIG, "the option is too long");
        Ok(Next::Option)
    }

    /// Options whose whole effect is a reply and a change of the negotiation's state.
    fn simple_option(&mut self, option: u32, data: &[u8]) {
        match option {
            options::LIST | options::STRUCTURED_REPLY | options::EXTENDED_HEADERS | options::STARTTLS
                if !data.is_empty() =>
            {
                self.refuse(option, reply::ERR_INVALID, "this option has no data");
            }
            options::LIST => self.list(),
            options::STRUCTURED_REPLY if self.style == Style::Extended => {
                self.refuse(option, reply::ERR_EXT_HEADER_REQD, "extended headers were agreed on");
            }
            options::STRUCTURED_REPLY => self.agree(option, Style::Structured),
            options::EXTENDED_HEADERS => self.agree(option, Style::Extended),
            options::LIST_META_CONTEXT | options::SET_META_CONTEXT => self.contexts(option, data),
            _ => self.refuse(option, reply::ERR_UNSUP, "unknown option"),
        }
    }

    fn agree(&mut self, option: u32, style: Style) {
        self.style = style;
        self.reply(option, reply::ACK);
    }

    fn list(&mut self) {
        for export in self.exports.list() {
            put_server(&mut self.out, &export);
        }
        self.reply(options::LIST, reply::ACK);
    }

    /// The export of this name; the empty name is that of the only export, if there is only one.
    fn resolve(&self, name: &str) -> Option<Export> {
        if name.is_empty() { self.exports.only() } else { self.exports.find(name) }
    }

    fn contexts(&mut self, option: u32, data: &[u8]) {
        let set = option == options::SET_META_CONTEXT;
        if set {
            // It replaces what was selected before, also when it fails.
            self.context_of = None;
        }
        if !self.style.has_chunks() {
            return self.refuse(option, reply::ERR_INVALID, "structured replies come first");
        }
        let Ok(request) = ContextRequest::decode(data) else {
            return self.refuse(option, reply::ERR_INVALID, "malformed option data");
        };
        let Some(export) = self.resolve(request.export) else {
            return self.refuse(option, reply::ERR_UNKNOWN, "no such export");
        };
        let found =
            if set { meta_context::selects(&request.queries) } else { meta_context::lists(&request.queries) };
        if found {
            let id = if set { CONTEXT_ID } else { 0 }.to_be_bytes();
            put_option_reply(&mut self.out, option, reply::META_CONTEXT, &[&id, BASE_ALLOCATION.as_bytes()]);
            if set {
                self.context_of = Some(export.name);
            }
        }
        self.reply(option, reply::ACK);
    }

    fn terms(&self, export: &Export) -> Terms {
        let volume = &export.volume;
        // A volume that takes less than one block at once cannot be served in any case: its requests will fail.
        let payload_bytes_max = volume.request_bytes_max.clamp(BLOCK_BYTES_MIN, PAYLOAD_BYTES_MAX);
        Terms {
            style: self.style,
            size_bytes: volume.size_bytes,
            payload_bytes_max,
            read_only: volume.read_only,
            block_status: self.context_of.as_ref() == Some(&export.name),
        }
    }

    fn info(&mut self, option: u32, data: &[u8]) -> Next {
        let request = match InfoRequest::decode(data) {
            Ok(request) => request,
            Err(Malformed) => {
                self.refuse(option, reply::ERR_INVALID, "malformed option data");
                return Next::Option;
            }
        };
        let export = self.resolve(request.export);
        let export = match option {
            options::GO => export.and_then(|export| self.session.bind(&export.name).ok()),
            _ => export,
        };
        let Some(export) = export else {
            self.refuse(option, reply::ERR_UNKNOWN, "no such export");
            return Next::Option;
        };
        let terms = self.terms(&export);
        let flags = transmission_flags(&terms);
        option::put_info(&mut self.out, option, &request, &export, flags, terms.payload_bytes_max);
        if option == options::GO { Next::Begin(Agreed { export, terms }) } else { Next::Option }
    }

    fn export_name(&mut self, data: &[u8]) -> Result<Next, HandshakeError> {
        let unserved = HandshakeError::Unserved { option: options::EXPORT_NAME };
        let found = match option::text(data) {
            // A client that agreed on extended headers must not use this option.
            Ok(name) if self.style != Style::Extended => self.resolve(name),
            _ => None,
        };
        let Some(export) = found.and_then(|export| self.session.bind(&export.name).ok()) else {
            return Err(unserved);
        };
        let terms = self.terms(&export);
        self.out.extend_from_slice(&export.volume.size_bytes.to_be_bytes());
        self.out.extend_from_slice(&transmission_flags(&terms).to_be_bytes());
        if !self.no_zeroes {
            self.out.extend_from_slice(&[0; PADDING_BYTES]);
        }
        Ok(Next::Begin(Agreed { export, terms }))
    }
}

/// What a session offers ("Transmission flags").
fn transmission_flags(terms: &Terms) -> u16 {
    use transmission_flags as flag;
    let when = |condition: bool, flag: u16| if condition { flag } else { 0 };
    flag::HAS_FLAGS
        | flag::SEND_FLUSH
        | flag::SEND_FUA
        | flag::SEND_TRIM
        | flag::SEND_WRITE_ZEROES
        | flag::CAN_MULTI_CONN
        | flag::SEND_CACHE
        | flag::SEND_FAST_ZERO
        | when(terms.read_only, flag::READ_ONLY)
        | when(terms.style.has_chunks(), flag::SEND_DF)
        | when(terms.style == Style::Extended && terms.block_status, flag::BLOCK_STATUS_PAYLOAD)
}
