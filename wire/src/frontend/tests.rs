use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::frames::next_frame;

fn built(build: impl FnOnce(&mut BytesMut)) -> Frame {
    let mut buffer = BytesMut::new();
    build(&mut buffer);
    let frame = next_frame(&mut buffer, 1 << 20).expect("well-formed").expect("whole");
    assert!(buffer.is_empty(), "one message");
    frame
}

/// A frame with any body.
fn framed(tag: u8, body: &[u8]) -> Frame {
    built(|out| {
        out.put_u8(tag);
        out.put_u32(u32::try_from(body.len() + 4).expect("short"));
        out.put_slice(body);
    })
}

/// Every decoder, by name.
fn decode_all(frame: &Frame) -> Vec<(&'static str, Result<(), FrameError>)> {
    vec![
        ("Parse", Parse::decode(frame).map(|_| ())),
        ("Bind", Bind::decode(frame).map(|_| ())),
        ("Execute", Execute::decode(frame).map(|_| ())),
        ("Describe", Describe::decode(frame).map(|_| ())),
        ("Close", Close::decode(frame).map(|_| ())),
        ("Query", Query::decode(frame).map(|_| ())),
        ("Password", Password::decode(frame).map(|_| ())),
        ("SASLInitialResponse", SaslInitialResponse::decode(frame).map(|_| ())),
        ("CopyFail", CopyFail::decode(frame).map(|_| ())),
    ]
}

#[test]
fn parse_reads_back() {
    let frame = built(|out| parse("s1", "SELECT $1, 'é'", &[23, 0, 25], out));
    let expected = Parse { name: "s1", sql: "SELECT $1, 'é'", types: vec![23, 0, 25] };
    assert_eq!(Parse::decode(&frame), Ok(expected));
}

#[test]
fn bind_reads_back_without_copying_parameters() {
    let values: [Option<&[u8]>; 3] = [Some(b"1"), None, Some(b"")];
    let frame = built(|out| bind("p", "s", &[1], values, &[0, 1], out));
    let decoded = Bind::decode(&frame).expect("well-formed");
    assert_eq!((decoded.portal, decoded.statement), ("p", "s"));
    assert_eq!(decoded.parameters, [Some(Bytes::from_static(b"1")), None, Some(Bytes::new())]);
    assert_eq!((decoded.parameter_format(2), decoded.result_format(0), decoded.result_format(1)), (1, 0, 1));
    let first = decoded.parameters[0].as_ref().expect("not NULL");
    assert!(frame.raw.as_ptr_range().contains(&first.as_ptr()));
}

#[test]
fn a_renamed_bind_keeps_everything_but_the_names() {
    let values: [Option<&[u8]>; 2] = [Some(&[0, 1, 2]), None];
    let frame = built(|out| bind("portal", "", &[1, 0], values, &[1], out));
    let renamed = built(|out| bind_renamed(&frame, "", "atoll_17", out).expect("a Bind"));
    assert_eq!(renamed, built(|out| bind("", "atoll_17", &[1, 0], values, &[1], out)));
    assert!(bind_renamed(&framed(tag::BIND, b"cut"), "", "", &mut BytesMut::new()).is_err());
    assert!(bind_renamed(&framed(tag::QUERY, b"a\0b\0"), "", "", &mut BytesMut::new()).is_err());
}

#[test]
fn the_small_ones_read_back() {
    let frame = built(|out| execute("p", 10, out));
    assert_eq!(Execute::decode(&frame), Ok(Execute { portal: "p", max_rows: 10 }));
    let frame = built(|out| describe(b'S', "s", out));
    assert_eq!(Describe::decode(&frame), Ok(Describe { kind: b'S', name: "s" }));
    let frame = built(|out| close(b'P', "", out));
    assert_eq!(Close::decode(&frame), Ok(Close { kind: b'P', name: "" }));
    let frame = built(|out| query("SELECT 1; SELECT 2", out));
    assert_eq!(Query::decode(&frame), Ok(Query { sql: "SELECT 1; SELECT 2" }));
    let frame = built(|out| copy_fail("enough", out));
    assert_eq!(CopyFail::decode(&frame), Ok(CopyFail { reason: "enough" }));
    let frame = built(|out| sasl_initial_response("SCRAM-SHA-256", Some(b"n,,"), out));
    let expected = SaslInitialResponse { mechanism: "SCRAM-SHA-256", data: Some(Bytes::from_static(b"n,,")) };
    assert_eq!(SaslInitialResponse::decode(&frame), Ok(expected));
    let frame = built(|out| sasl_response(b"c=biws", out));
    assert_eq!(SaslResponse::decode(&frame), Ok(SaslResponse { data: Bytes::from_static(b"c=biws") }));
    for (frame, tag) in [
        (built(sync), b'S'),
        (built(flush), b'H'),
        (built(copy_done), b'c'),
        (built(terminate), b'X'),
        (built(|out| copy_data(b"", out)), b'd'),
    ] {
        assert_eq!((frame.tag, frame.body_slice()), (tag, &b""[..]));
    }
}

#[test]
fn every_truncation_is_malformed() {
    let values: [Option<&[u8]>; 2] = [Some(b"value"), None];
    for frame in [
        built(|out| parse("s", "SELECT 1", &[23], out)),
        built(|out| bind("p", "s", &[1, 0], values, &[1], out)),
        built(|out| execute("p", 0, out)),
        built(|out| describe(b'S', "s", out)),
        built(|out| close(b'S', "s", out)),
        built(|out| query("SELECT 1", out)),
        built(|out| copy_fail("reason", out)),
        built(|out| sasl_initial_response("SCRAM-SHA-256", Some(b"n,,"), out)),
    ] {
        for cut in 0..frame.body_slice().len() {
            for (name, decoded) in decode_all(&framed(frame.tag, &frame.body_slice()[..cut])) {
                // A password is any string, also the head of a SASL message.
                if name != "Password" {
                    assert_eq!(decoded.map_err(|error| error.sqlstate()), Err("08P01"), "{name} at {cut}");
                }
            }
        }
    }
}

#[test]
fn nonsense_inside_is_malformed() {
    for (tag, body) in [
        (tag::DESCRIBE, &b"Xname\0"[..]),
        (tag::CLOSE, b"Sname\0more"),
        // A length of -2.
        (tag::BIND, b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        (tag::QUERY, b"SELECT 1\0SELECT 2\0"),
    ] {
        for (name, decoded) in decode_all(&framed(tag, body)) {
            assert!(decoded.is_err(), "{name} of {body:?}");
        }
    }
    let latin1 = framed(tag::QUERY, b"SELECT '\xe9'\0");
    assert_eq!(Query::decode(&latin1).map_err(|error| error.sqlstate()), Err("22021"));
}

proptest! {
    #[test]
    fn no_body_makes_a_decoder_panic(
        tag in proptest::sample::select(&b"PBEDCQpf"[..]),
        body in proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..60),
    ) {
        decode_all(&framed(tag, &body));
    }
}
