use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::frames::{Frame, next_frame};

fn built(build: impl FnOnce(&mut BytesMut)) -> Frame {
    let mut buffer = BytesMut::new();
    build(&mut buffer);
    let frame = next_frame(&mut buffer, 1 << 20).expect("well-formed").expect("whole");
    assert!(buffer.is_empty(), "one message");
    frame
}

fn column(name: &str, type_oid: u32) -> Column {
    Column { name: name.to_owned(), table_oid: 16_400, attribute: 2, type_oid, type_len: -1, typmod: 36, format: 1 }
}

/// Runs every decoder over a body and says which took it.
fn decode_all(body: &[u8]) -> Vec<&'static str> {
    let mut taken = Vec::new();
    let mut note = |name, ok: bool| {
        if ok {
            taken.push(name);
        }
    };
    note("row_description", decode::row_description(body).is_ok());
    note("parameter_description", decode::parameter_description(body).is_ok());
    note("command_complete", decode::command_complete(body).is_ok());
    note("error_fields", decode::error_fields(body).is_ok());
    note("data_row", decode::data_row_owned(&Bytes::copy_from_slice(body)).is_ok());
    note("ready_for_query", decode::ready_for_query(body).is_ok());
    note("parameter_status", decode::parameter_status(body).is_ok());
    note("backend_key_data", decode::backend_key_data(body).is_ok());
    note("copy_response", decode::copy_response(body).is_ok());
    note("notification_response", decode::notification_response(body).is_ok());
    note("authentication", decode::authentication(body).is_ok());
    taken
}

#[test]
fn descriptions_read_back() {
    let columns = vec![column("id", 23), column("größe", 1700)];
    let frame = built(|out| row_description(&columns, out));
    assert_eq!((frame.tag, decode::row_description(&frame.body())), (b'T', Ok(columns)));
    let frame = built(|out| parameter_description(&[23, 25], out));
    assert_eq!((frame.tag, decode::parameter_description(&frame.body())), (b't', Ok(vec![23, 25])));
}

#[test]
fn rows_read_back() {
    let fields: [Option<&[u8]>; 3] = [Some(b"1"), None, Some(b"")];
    let frame = built(|out| data_row(fields, out));
    let body = frame.body();
    let borrowed: Result<Vec<_>, _> = decode::data_row(&body).expect("a count").collect();
    assert_eq!(borrowed, Ok(fields.to_vec()));
    let owned = decode::data_row_owned(&body).expect("well-formed");
    assert_eq!(owned, [Some(Bytes::from_static(b"1")), None, Some(Bytes::new())]);
    for cut in 0..body.len() {
        assert!(decode::data_row_owned(&body.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut row = decode::data_row(b"\0\x01\xff\xff\xff\xffmore").expect("a count");
    assert_eq!(row.next_field(), Ok(Some(None)));
    assert_eq!(row.next_field().map_err(|error| error.sqlstate()), Err("08P01"));
}

#[test]
fn the_small_ones_read_back() {
    let frame = built(|out| command_complete("INSERT 0 17", out));
    let body = frame.body();
    let tag = decode::command_complete(&body).expect("well-formed");
    assert_eq!((tag, decode::rows_of_tag(tag)), ("INSERT 0 17", Some(17)));
    assert_eq!(decode::rows_of_tag("CREATE TABLE"), None);
    assert_eq!(decode::rows_of_tag("BEGIN"), None);
    let frame = built(|out| ready_for_query(b'T', out));
    assert_eq!(decode::ready_for_query(&frame.body()), Ok(b'T'));
    assert!(decode::ready_for_query(b"X").is_err());
    let frame = built(|out| parameter_status("TimeZone", "UTC", out));
    assert_eq!(decode::parameter_status(&frame.body()), Ok(("TimeZone", "UTC")));
    let frame = built(|out| backend_key_data(42, -1, out));
    assert_eq!(decode::backend_key_data(&frame.body()), Ok((42, -1)));
    let frame = built(|out| copy_out_response(1, 2, out));
    let formats = decode::CopyFormats { overall: 1, columns: vec![1, 1] };
    assert_eq!((frame.tag, decode::copy_response(&frame.body())), (b'H', Ok(formats)));
    let frame = built(|out| copy_in_response(0, 1, out));
    let formats = decode::CopyFormats { overall: 0, columns: vec![0] };
    assert_eq!((frame.tag, decode::copy_response(&frame.body())), (b'G', Ok(formats)));
    assert_eq!(decode::notification_response(b"\0\0\0\x07c\0hello\0"), Ok((7, "c", "hello")));
}

#[test]
fn messages_are_laid_out_as_the_manual_says() {
    let mut out = BytesMut::new();
    authentication_ok(&mut out);
    assert_eq!(&out[..], b"R\0\0\0\x08\0\0\0\0");
    out.clear();
    authentication_sasl(&["SCRAM-SHA-256"], &mut out);
    assert_eq!(&out[..], b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
    out.clear();
    authentication_sasl_continue(b"r=", &mut out);
    assert_eq!(&out[..], b"R\0\0\0\x0a\0\0\0\x0br=");
    out.clear();
    authentication_sasl_final(b"v=", &mut out);
    assert_eq!(&out[..], b"R\0\0\0\x0a\0\0\0\x0cv=");
    out.clear();
    negotiate_protocol_version(0, &["_pq_.x"], &mut out);
    assert_eq!(&out[..], b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0");
    out.clear();
    for build in
        [empty_query_response, parse_complete, bind_complete, close_complete, no_data, portal_suspended, copy_done]
    {
        build(&mut out);
    }
    assert_eq!(&out[..], b"I\0\0\0\x041\0\0\0\x042\0\0\0\x043\0\0\0\x04n\0\0\0\x04s\0\0\0\x04c\0\0\0\x04");
}

#[test]
fn errors_keep_fields_and_order() {
    let body = b"SFEHLER\0VERROR\0C42P01\0Mmissing\0P15\0z?\0Fparse.c\0L1\0Rf\0\0";
    let mut fields = decode::error_fields(body).expect("well-formed");
    assert_eq!(built(|out| error_response(&fields, out)).body_slice(), body);
    assert_eq!((fields.severity(), fields.sqlstate(), fields.message()), ("ERROR", "42P01", "missing"));
    assert_eq!((fields.position(), fields.get(b'z'), fields.detail()), (Some(15), Some("?"), None));
    fields.set_hint("try another");
    fields.set_detail("no such table");
    fields.add_context("shard 7");
    fields.add_context("group g2");
    fields.set_position(None);
    let expected =
        b"SFEHLER\0VERROR\0C42P01\0Mmissing\0Dno such table\0Htry another\0Wshard 7\ngroup g2\0z?\0Fparse.c\0L1\0Rf\0\0";
    assert_eq!(
        String::from_utf8_lossy(built(|out| notice_response(&fields, out)).body_slice()),
        String::from_utf8_lossy(expected)
    );
    assert_eq!(fields.to_string(), "ERROR 42P01: missing");
}

#[test]
fn new_errors_have_what_every_client_needs() {
    let fields = ErrorFields::new("ERROR", "0A000", "cannot").with_hint("do").with_detail("why");
    let frame = built(|out| error_response(&fields, out));
    assert_eq!(frame.body_slice(), b"SERROR\0VERROR\0C0A000\0Mcannot\0Dwhy\0Hdo\0\0");
    assert_eq!(decode::error_fields(&frame.body()), Ok(fields));
}

#[test]
fn truncations_are_malformed() {
    let frames = [
        ("row_description", built(|out| row_description(&[column("id", 23)], out))),
        ("parameter_description", built(|out| parameter_description(&[23], out))),
        ("command_complete", built(|out| command_complete("SELECT 1", out))),
        ("error_fields", built(|out| error_response(&ErrorFields::new("ERROR", "XX000", "m"), out))),
        ("parameter_status", built(|out| parameter_status("a", "b", out))),
        ("backend_key_data", built(|out| backend_key_data(1, 2, out))),
        ("copy_response", built(|out| copy_in_response(1, 3, out))),
    ];
    for (name, frame) in frames {
        assert!(decode_all(&frame.body()).contains(&name), "{name}");
        for cut in 0..frame.body_slice().len() {
            assert!(!decode_all(&frame.body_slice()[..cut]).contains(&name), "{name} at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn no_body_makes_a_decoder_panic(
        body in proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..60),
    ) {
        decode_all(&body);
    }
}
