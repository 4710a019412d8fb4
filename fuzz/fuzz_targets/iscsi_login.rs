//! A login by any requests in any order: nobody gets in without the proof that is asked for.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use quarry_iscsi::CHALLENGE_BYTES;
use quarry_iscsi::login::{Directory, Login, Progress};
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header};
use quarry_target::{Chap, Host};

struct Strict;

impl Directory for Strict {
    fn host_of(&self, _: &str) -> (Option<Arc<Host>>, bool) {
        let chap =
            Chap { user: "user".to_owned(), secret: "a secret that is not guessed".to_owned(), mutual: None };
        let host = Host { name: "host".to_owned(), initiators: vec![], networks: vec![], chap: Some(chap) };
        (Some(Arc::new(host)), true)
    }

    fn has_session(&self, isid: [u8; 6], handle: u16) -> bool {
        (isid, handle) == ([0; 6], 1)
    }

    fn target_name(&self) -> &str {
        "iqn.t"
    }

    fn challenge(&self) -> (u8, [u8; CHALLENGE_BYTES]) {
        (7, [9; CHALLENGE_BYTES])
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut login, mut rest) = (Login::default(), data);
    while rest.len() > HEADER_BYTES {
        let header = Header::decode(rest);
        rest = &rest[HEADER_BYTES..];
        let (text, behind) = rest.split_at(header.data_bytes().min(rest.len()));
        rest = behind;
        let (answer, said, progress) = login.request(&Strict, &header, text);
        assert_eq!(answer.data_bytes(), said.len());
        match progress {
            Progress::Next => {}
            Progress::Failed(_) => return,
            Progress::Done(agreed) => panic!("it was let in: {agreed:?}"),
        }
    }
});
