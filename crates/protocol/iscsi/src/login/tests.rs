use std::sync::Arc;

use quarry_target::{Chap, Host};

use super::*;

struct One(Option<Chap>);

impl Directory for One {
    fn host_of(&self, _: &str) -> (Option<Arc<Host>>, bool) {
        let host =
            |chap| Host { name: "host".to_owned(), initiators: vec![], networks: vec![], chap: Some(chap) };
        (self.0.clone().map(host).map(Arc::new), true)
    }

    fn has_session(&self, isid: [u8; 6], handle: u16) -> bool {
        (isid, handle) == ([1, 2, 3, 4, 5, 6], 3)
    }

    fn target_name(&self) -> &str {
        "iqn.t"
    }

    fn challenge(&self) -> (u8, [u8; CHALLENGE_BYTES]) {
        (1, [2; CHALLENGE_BYTES])
    }
}

const NAMES: &[u8] = b"InitiatorName=iqn.i\0TargetName=iqn.t\0";

fn header(flag: u8) -> Header {
    let mut header = Header::new(opcode::LOGIN);
    header.0[1] = flag;
    header.0[8..14].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
    header.set_u32(16, 9);
    header.set_u32(24, 100);
    header.set_u32(28, 200);
    header
}

fn step(login: &mut Login, flag: u8, text: &[u8]) -> (Header, Vec<u8>, Progress) {
    login.request(&One(None), &header(flag), text)
}

#[test]
fn answers_are_numbered_as_the_initiator_wants_them() {
    let mut login = Login::default();
    let (answer, _, _) = step(&mut login, 0x81, NAMES);
    assert_eq!((answer.u32(24), answer.u32(28), answer.u32(16)), (200, 100, 9));
    let (answer, _, progress) = step(&mut login, 0x87, b"");
    assert_eq!(answer.u32(24), 201);
    let Progress::Done(agreed) = progress else { panic!("{progress:?}") };
    assert_eq!((agreed.command_number, agreed.status_number, agreed.isid), (100, 202, [1, 2, 3, 4, 5, 6]));
    assert_eq!((agreed.initiator.as_str(), agreed.discovery), ("iqn.i", false));
}

#[test]
fn long_texts_come_in_parts() {
    let mut login = Login::default();
    let (answer, text, _) = step(&mut login, 0x44, &NAMES[..10]);
    assert_eq!((answer.0[1], text.len()), (0x04, 0), "nothing is said before all has come");
    let (answer, text, _) = step(&mut login, 0x87, &[&NAMES[10..], b"MaxBurstLength=65536\0"].concat());
    assert_eq!(answer.0[1], 0x87);
    assert!(text.starts_with(b"TargetPortalGroupTag=1\0MaxBurstLength=65536\0"));
    let mut login = Login::default();
    let refused = (0..20).map(|_| step(&mut login, 0x44, &[b'a'; 8192]).2);
    assert!(refused.into_iter().any(|progress| matches!(progress, Progress::Failed(_))), "they are bounded");
}

#[test]
fn a_login_keeps_to_its_stages_and_to_itself() {
    let failed = |first: &[u8], second: Header| {
        let mut login = Login::default();
        step(&mut login, 0x81, first);
        match login.request(&One(None), &second, b"").2 {
            Progress::Failed(status) => status,
            progress => panic!("{progress:?}"),
        }
    };
    assert_eq!(failed(NAMES, header(0x81)), LoginStatus::INVALID_REQUEST, "it is not in that stage any more");
    let mut other = header(0x87);
    other.0[8] ^= 1;
    assert_eq!(failed(NAMES, other), LoginStatus::INVALID_REQUEST, "another session");
    let mut newer = header(0x87);
    newer.0[3] = 1;
    assert_eq!(failed(NAMES, newer), LoginStatus::UNSUPPORTED_VERSION);
    assert_eq!(failed(NAMES, header(0xC7)), LoginStatus::INITIATOR_ERROR, "transit in the middle of a text");
    let mut joining = header(0x87);
    for (handle, status) in [(3, LoginStatus::TOO_MANY_CONNECTIONS), (7, LoginStatus::NO_SESSION)] {
        joining.set_u16(14, handle);
        let progress = Login::default().request(&One(None), &joining, NAMES).2;
        assert!(matches!(progress, Progress::Failed(why) if why == status), "{handle}: {progress:?}");
    }
}

#[test]
fn an_endless_login_ends() {
    let mut login = Login::default();
    step(&mut login, 0x04, NAMES);
    let progress = (0..LOGIN_REQUESTS_MAX).map(|_| step(&mut login, 0x04, b"").2).last();
    assert!(matches!(progress, Some(Progress::Failed(LoginStatus::INITIATOR_ERROR))), "{progress:?}");
}

#[test]
fn no_stage_is_left_without_a_proof() {
    let chap = Chap { user: "u".to_owned(), secret: "s".to_owned(), mutual: None };
    let directory = One(Some(chap));
    let mut login = Login::default();
    let text = [NAMES, b"AuthMethod=CHAP\0"].concat();
    let (answer, _, _) = login.request(&directory, &header(0x83), &text);
    assert_eq!(answer.0[1], 0, "it stays where it is");
    for _ in 0..LOGIN_REQUESTS_MAX {
        match login.request(&directory, &header(0x83), b"").2 {
            Progress::Next => {}
            Progress::Failed(status) => return assert_eq!(status, LoginStatus::AUTHENTICATION_FAILURE),
            Progress::Done(agreed) => panic!("it was let in: {agreed:?}"),
        }
    }
    panic!("it has no end");
}
