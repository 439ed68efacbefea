use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::{backend, frontend};

#[test]
fn frames_are_cut_where_they_end() {
    let mut stream = BytesMut::new();
    frontend::query("SELECT 1", &mut stream);
    frontend::sync(&mut stream);
    let whole = stream.clone();
    for cut in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..cut]);
        let mut frames = Vec::new();
        while let Some(frame) = next_frame(&mut buffer, 1 << 20).expect("well-formed") {
            frames.push(frame);
        }
        assert_eq!(frames.len(), usize::from(cut >= 14), "cut at {cut}");
        buffer.put_slice(&whole[cut..]);
        while let Some(frame) = next_frame(&mut buffer, 1 << 20).expect("well-formed") {
            frames.push(frame);
        }
        assert!(buffer.is_empty());
        assert_eq!(frames.iter().map(|frame| frame.tag).collect::<Vec<_>>(), b"QS");
        assert_eq!(frames[0].body(), Bytes::from_static(b"SELECT 1\0"));
        assert_eq!(frames[1].body_slice(), b"");
    }
}

#[test]
fn a_frame_shares_the_memory_it_was_read_into() {
    let mut stream = BytesMut::new();
    frontend::query("SELECT 1", &mut stream);
    let start = stream.as_ptr();
    let frame = next_frame(&mut stream, 100).expect("well-formed").expect("whole");
    assert_eq!(frame.raw.as_ptr(), start);
    assert_eq!(frame.body().as_ptr(), frame.raw[5..].as_ptr());
}

#[test]
fn lengths_outside_the_limits_are_errors() {
    for (len, ok) in [(0u32, false), (3, false), (4, true), (100, true), (101, false), (u32::MAX, false)] {
        let mut buffer = BytesMut::new();
        buffer.put_u8(b'Q');
        buffer.put_u32(len);
        assert_eq!(peek(&buffer), Some((b'Q', 1 + len as usize)));
        match next_frame(&mut buffer, 100) {
            Ok(_) => assert!(ok, "{len}"),
            Err(error) => {
                assert!(!ok, "{len}");
                assert_eq!(error.sqlstate(), "08P01");
            }
        }
    }
    assert_eq!(peek(b"Q\0\0\0"), None);
}

#[test]
fn from_raw_takes_exactly_one_message() {
    let mut buffer = BytesMut::new();
    backend::ready_for_query(b'I', &mut buffer);
    let raw = buffer.freeze();
    assert_eq!(Frame::from_raw(raw.clone()).expect("one").tag, b'Z');
    assert!(Frame::from_raw(raw.slice(..5)).is_err());
    assert!(Frame::from_raw(Bytes::from_static(b"Z\0\0\0\x02")).is_err());
    assert!(Frame::from_raw(Bytes::new()).is_err());
}

#[test]
fn startup_packets() {
    let mut buffer = BytesMut::new();
    frontend::ssl_request(&mut buffer);
    frontend::startup([("user", "bob"), ("database", "app")], &mut buffer);
    assert_eq!(next_startup(&mut buffer), Ok(Some(Startup::Ssl)));
    let parameters = vec![("user".to_owned(), "bob".to_owned()), ("database".to_owned(), "app".to_owned())];
    assert_eq!(next_startup(&mut buffer), Ok(Some(Startup::Start { minor: 0, parameters })));
    frontend::cancel_request(-7, 9, &mut buffer);
    assert_eq!(next_startup(&mut buffer), Ok(Some(Startup::Cancel { pid: -7, secret: 9 })));
    assert_eq!(next_startup(&mut buffer), Ok(None));
}

fn startup_of(version: u32, rest: &[u8]) -> Result<Option<Startup>, FrameError> {
    let mut buffer = BytesMut::new();
    buffer.put_u32(u32::try_from(8 + rest.len()).expect("short"));
    buffer.put_u32(version);
    buffer.put_slice(rest);
    next_startup(&mut buffer)
}

#[test]
fn startup_packets_of_other_versions_and_shapes() {
    assert_eq!(startup_of(PROTOCOL_GSSENC, b""), Ok(Some(Startup::Gssenc)));
    assert_eq!(startup_of(2 << 16, b"anything"), Ok(Some(Startup::Unsupported { major: 2, minor: 0 })));
    assert_eq!(startup_of((3 << 16) | 2, b"\0"), Ok(Some(Startup::Start { minor: 2, parameters: vec![] })));
    assert_eq!(startup_of(3 << 16, b""), Err(FrameError::StartupLayout));
    assert_eq!(startup_of(3 << 16, b"user\0bob\0"), Err(FrameError::StartupLayout));
    assert_eq!(startup_of(3 << 16, b"user\0bob\0\0more"), Err(FrameError::StartupLayout));
    assert_eq!(startup_of(3 << 16, b"user\0"), Err(FrameError::StartupLayout));
    assert_eq!(startup_of(3 << 16, b"user\0b\xff\0\0").map_err(|error| error.sqlstate()), Err("22021"));
    assert_eq!(startup_of(PROTOCOL_CANCEL, b"\0\0\0\x01").map_err(|error| error.sqlstate()), Err("08P01"));
    for len in [0u32, 7, 10_001, u32::MAX] {
        let mut buffer = BytesMut::new();
        buffer.put_u32(len);
        assert_eq!(next_startup(&mut buffer), Err(FrameError::StartupLength));
    }
}

#[test]
fn a_zero_byte_ends_a_string() {
    let mut buffer = BytesMut::new();
    frontend::query("SELECT 1\0; DROP TABLE t", &mut buffer);
    let frame = next_frame(&mut buffer, 100).expect("well-formed").expect("whole");
    assert_eq!(frontend::Query::decode(&frame).expect("well-formed").sql, "SELECT 1");
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = next_frame(&mut buffer, 150) {}
        let mut buffer = BytesMut::from(&bytes[..]);
        let _ = next_startup(&mut buffer);
    }
}
