use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{ArrayRef, Int32Array};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::backend::{Column, data_row, decode};
use crate::frames::next_frame;
use crate::rows::{BatchBuilder, encode_copy_binary, field, schema};

/// Type, what its send function gives, and what PostgreSQL 15 prints. The ways of printing were compared on 264,000 floats and 28,000
/// dates, times and timestamps besides.
const PRINTED: &[(u32, &str, &str)] = &[
    (oid::BOOL, "01", "t"),
    (oid::BOOL, "00", "f"),
    (oid::INT2, "8000", "-32768"),
    (oid::INT2, "0007", "7"),
    (oid::INT4, "80000000", "-2147483648"),
    (oid::INT4, "0000002a", "42"),
    (oid::INT8, "8000000000000000", "-9223372036854775808"),
    (oid::INT8, "7fffffffffffffff", "9223372036854775807"),
    (oid::OID, "ffffffff", "4294967295"),
    (oid::FLOAT4, "3dcccccd", "0.1"),
    (oid::FLOAT4, "49742400", "1e+06"),
    (oid::FLOAT4, "497423f0", "999999"),
    (oid::FLOAT4, "3727c5ac", "1e-05"),
    (oid::FLOAT4, "38d1b717", "0.0001"),
    (oid::FLOAT4, "80000000", "-0"),
    (oid::FLOAT4, "7fc00000", "NaN"),
    (oid::FLOAT4, "ff800000", "-Infinity"),
    (oid::FLOAT4, "4b800000", "1.6777216e+07"),
    (oid::FLOAT4, "7f7fffff", "3.4028235e+38"),
    (oid::FLOAT4, "00000001", "1e-45"),
    (oid::FLOAT4, "505f8476", "1.5000001e+10"),
    (oid::FLOAT8, "3fb999999999999a", "0.1"),
    (oid::FLOAT8, "4415af1d78b58c40", "1e+20"),
    (oid::FLOAT8, "40f86a0000000000", "100000"),
    (oid::FLOAT8, "430c6bf526340000", "1e+15"),
    (oid::FLOAT8, "42dc12218377de40", "123456789012345"),
    (oid::FLOAT8, "42d6bcc41e900000", "100000000000000"),
    (oid::FLOAT8, "3ee4f8b588e368f1", "1e-05"),
    (oid::FLOAT8, "3f1a36e2eb1c432d", "0.0001"),
    (oid::FLOAT8, "8000000000000000", "-0"),
    (oid::FLOAT8, "7ff8000000000000", "NaN"),
    (oid::FLOAT8, "7ff0000000000000", "Infinity"),
    (oid::FLOAT8, "fff0000000000000", "-Infinity"),
    (oid::FLOAT8, "44b52d02c7e14af6", "9.999999999999999e+22"),
    (oid::FLOAT8, "4340000000000000", "9.007199254740992e+15"),
    (oid::FLOAT8, "0000000000000001", "5e-324"),
    (oid::FLOAT8, "7fefffffffffffff", "1.7976931348623157e+308"),
    (oid::FLOAT8, "3e60000000000000", "2.9802322387695312e-08"),
    (oid::FLOAT8, "3d2fffffffffffff", "5.684341886080801e-14"),
    (oid::FLOAT8, "430999999999999a", "900719925474099.2"),
    (oid::FLOAT8, "c029000000000000", "-12.5"),
    (oid::FLOAT8, "54b249ad2594c37d", "1e+100"),
    (oid::TEXT, "6772c3bc6e", "grün"),
    (oid::BPCHAR, "6162202020", "ab   "),
    (oid::NAME, "70675f636c617373", "pg_class"),
    (oid::BYTEA, "00ff10", "\\x00ff10"),
    (oid::DATE, "00000000", "2000-01-01"),
    (oid::DATE, "ffffd533", "1970-01-01"),
    (oid::DATE, "00002279", "2024-02-29"),
    (oid::DATE, "fff4dbf9", "0001-01-01"),
    (oid::DATE, "fff4dbf8", "0001-12-31 BC"),
    (oid::DATE, "ffda97cd", "4713-01-01 BC"),
    (oid::DATE, "0039a81f", "12345-06-07"),
    (oid::DATE, "7fda970c", "5874897-12-31"),
    (oid::DATE, "7fffffff", "infinity"),
    (oid::DATE, "80000000", "-infinity"),
    (oid::TIMESTAMP, "0000000000000000", "2000-01-01 00:00:00"),
    (oid::TIMESTAMP, "ffffffffffffffff", "1999-12-31 23:59:59.999999"),
    (oid::TIMESTAMP, "0002b583416e1d20", "2024-02-29 12:34:56.5"),
    (oid::TIMESTAMP, "fffca2fec4b8ddc1", "1969-12-31 23:59:59.000001"),
    (oid::TIMESTAMP, "ff1af9e8fb46d000", "0044-03-15 12:00:00 BC"),
    (oid::TIMESTAMP, "0380e70b913d06a0", "10000-01-01 00:00:00.1"),
    (oid::TIMESTAMP, "7ffca2465a941dc0", "294246-12-31 23:59:59"),
    (oid::TIMESTAMP, "7fffffffffffffff", "infinity"),
    (oid::TIMESTAMP, "8000000000000000", "-infinity"),
    (oid::TIME, "0000000000000000", "00:00:00"),
    (oid::TIME, "000000141dd76000", "24:00:00"),
    (oid::TIME, "000000141dd75fff", "23:59:59.999999"),
    (oid::TIME, "00000000ddf019e0", "01:02:03.5"),
    (oid::UUID, "a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    (oid::NUMERIC, "0000000000000002", "0.00"),
    (oid::NUMERIC, "0003000140000004000109291a2c", "-12345.6700"),
    (oid::NUMERIC, "00000000c0000000", "NaN"),
    (oid::NUMERIC, "00000000d0000020", "Infinity"),
    (oid::NUMERIC, "00000000f0000020", "-Infinity"),
    (oid::NUMERIC, "00010005000000000001", "100000000000000000000"),
    (oid::NUMERIC, "0001fffe0000000804d2", "0.00001234"),
];

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn column(type_oid: u32) -> Column {
    Column { name: "c".to_owned(), table_oid: 0, attribute: 0, type_oid, type_len: -1, typmod: -1, format: 1 }
}

/// A batch of one column, from the fields of its rows.
fn batch(type_oid: u32, format: ColumnFormat, fields: &[Option<&[u8]>]) -> RecordBatch {
    let schema = Arc::new(schema(&[column(type_oid)], &[format]));
    let mut builder = BatchBuilder::new(schema).expect("a known type");
    for field in fields {
        let mut out = BytesMut::new();
        data_row([*field], &mut out);
        builder.push_row(&out[5..]).expect("a good row");
    }
    assert_eq!(builder.rows(), fields.len());
    builder.finish()
}

/// The fields of all rows as DataRows.
fn encoded(batch: &RecordBatch, format: i16) -> Vec<Option<Bytes>> {
    let encoder = RowEncoder::new(batch.schema_ref(), &[format]).expect("encodable");
    let mut out = BytesMut::new();
    encoder.encode(batch, &mut out).expect("a batch of the schema");
    let mut fields = Vec::new();
    while let Some(frame) = next_frame(&mut out, 1 << 20).expect("well-formed") {
        assert_eq!(frame.tag, tag::DATA_ROW);
        fields.extend(decode::data_row_owned(&frame.body()).expect("well-formed"));
    }
    assert!(out.is_empty());
    fields
}

#[test]
fn typed_values_print_as_postgresql_prints_them() {
    for (type_oid, sent, printed) in PRINTED {
        let sent = unhex(sent);
        let batch = batch(*type_oid, ColumnFormat::Typed, &[Some(&sent), None]);
        assert_eq!(encoded(&batch, 1), [Some(Bytes::from(sent.clone())), None], "{type_oid} {printed} in binary");
        let text = encoded(&batch, 0);
        assert_eq!(text[1], None);
        assert_eq!(text[0].as_deref().map(String::from_utf8_lossy), Some((*printed).into()), "{type_oid}");
        let mut copied = BytesMut::new();
        encode_copy_binary(&batch, &mut copied).expect("typed");
        let mut expected = vec![0, 1];
        expected.extend_from_slice(&u32::try_from(sent.len()).expect("short").to_be_bytes());
        expected.extend_from_slice(&sent);
        expected.extend_from_slice(&[0, 1, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(copied, expected, "{type_oid} {printed} in COPY");
    }
}

#[test]
fn timestamptz_is_sent_in_binary_only() {
    let batch = batch(oid::TIMESTAMPTZ, ColumnFormat::Typed, &[Some(&[0; 8])]);
    assert!(!encodable(batch.schema_ref(), &[]));
    assert!(encodable(batch.schema_ref(), &[1]));
    assert_eq!(encoded(&batch, 1), [Some(Bytes::from_static(&[0; 8]))]);
    let error = RowEncoder::new(batch.schema_ref(), &[0]).expect_err("needs a time zone");
    assert_eq!(error.sqlstate(), "XX000");
}

#[test]
fn raw_columns_pass_in_their_own_format_only() {
    const JSONB: u32 = 3802;
    for (format, own) in [(ColumnFormat::RawText, 0), (ColumnFormat::RawBinary, 1)] {
        let batch = batch(JSONB, format, &[Some(b"\x01{}"), None, Some(b"")]);
        assert_eq!(encoded(&batch, own), [Some(Bytes::from_static(b"\x01{}")), None, Some(Bytes::new())]);
        assert!(!encodable(batch.schema_ref(), &[1 - own]));
    }
    let typed = batch(JSONB, ColumnFormat::Typed, &[Some(b"\x01{}")]);
    assert!(!encodable(typed.schema_ref(), &[0]), "its text is not known");
    assert_eq!(encoded(&typed, 1), [Some(Bytes::from_static(b"\x01{}"))]);
    // Raw numerics and dates are bytes like any other.
    let raw = batch(oid::NUMERIC, ColumnFormat::RawText, &[Some(b"1.50")]);
    assert_eq!(encoded(&raw, 0), [Some(Bytes::from_static(b"1.50"))]);
}

#[test]
fn formats_are_given_as_in_a_bind() {
    let two = Schema::new(vec![
        field("a", oid::INT4, -1, ColumnFormat::Typed),
        field("b", oid::INT4, -1, ColumnFormat::Typed),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1])), Arc::new(Int32Array::from(vec![2]))];
    let batch = RecordBatch::try_new(Arc::new(two.clone()), columns).expect("two columns");
    for (formats, body) in [
        (&[][..], &b"\0\x02\0\0\0\x011\0\0\0\x012"[..]),
        (&[1], b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x02"),
        (&[0, 1], b"\0\x02\0\0\0\x011\0\0\0\x04\0\0\0\x02"),
    ] {
        let mut out = BytesMut::new();
        RowEncoder::new(&two, formats).expect("encodable").encode(&batch, &mut out).expect("its batch");
        assert_eq!(&out[5..], body);
    }
    let error = RowEncoder::new(&two, &[0, 1, 0]).expect_err("three formats");
    assert_eq!(error.sqlstate(), "08P01");
    assert!(!encodable(&two, &[0, 1, 0]));
    assert!(!encodable(&two, &[2]));
}

#[test]
fn other_batches_are_refused() {
    let encoder = RowEncoder::new(&Schema::new(vec![field("a", oid::INT8, -1, ColumnFormat::Typed)]), &[]);
    let encoder = encoder.expect("encodable");
    let int4 = batch(oid::INT4, ColumnFormat::Typed, &[None]);
    assert_eq!(encoder.encode(&int4, &mut BytesMut::new()), Err(EncodeError::Batch));
    // Bytes that are no numeric.
    let schema = Arc::new(Schema::new(vec![field("a", oid::NUMERIC, -1, ColumnFormat::Typed)]));
    let mut bytes = BinaryBuilder::new();
    bytes.append_value(b"?");
    let broken = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(bytes.finish())]).expect("one column");
    let encoder = RowEncoder::new(&schema, &[]).expect("encodable");
    assert_eq!(encoder.encode(&broken, &mut BytesMut::new()), Err(EncodeError::Batch));
    // A field that does not say what it is.
    let silent = Field::new("a", DataType::Int32, true);
    assert!(!encodable_field(&silent, 0) && !encodable_field(&silent, 1));
    // A field that is not what it says.
    let liar = silent.with_metadata(field("a", oid::INT8, -1, ColumnFormat::Typed).metadata().clone());
    assert!(!encodable_field(&liar, 0) && !encodable_field(&liar, 1));
}

proptest! {
    #[test]
    fn floats_read_back(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        if double.is_finite() {
            prop_assert_eq!(float8_text(double).parse::<f64>().expect("a number").to_bits(), bits);
        }
        let single = f32::from_bits(u32::try_from(bits >> 32).expect("half"));
        if single.is_finite() {
            prop_assert_eq!(float4_text(single).parse::<f32>().expect("a number").to_bits(), single.to_bits());
        }
    }

    #[test]
    fn dates_go_up_by_one_day(days in -2_462_422i32..2_145_042_000) {
        let part = |text: &str, at: usize| -> i64 {
            let reversed: Vec<&str> = text.trim_end_matches(" BC").rsplit('-').collect();
            reversed[at].parse().expect("digits")
        };
        let (today, tomorrow) = (date_text(days), date_text(days + 1));
        if part(&tomorrow, 0) == 1 {
            prop_assert!((28..=31).contains(&part(&today, 0)));
        } else {
            prop_assert_eq!(part(&today, 0) + 1, part(&tomorrow, 0));
            prop_assert_eq!(part(&today, 1), part(&tomorrow, 1));
        }
    }

    #[test]
    fn timestamps_never_panic(us in any::<i64>()) {
        timestamp_text(us);
    }
}
