use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{Field, SchemaRef};
use bytes::{Bytes, BytesMut};

use super::*;
use crate::backend::data_row;

fn column(name: &str, type_oid: u32) -> Column {
    Column { name: name.to_owned(), table_oid: 0, attribute: 0, type_oid, type_len: -1, typmod: 36, format: 1 }
}

fn row(fields: &[Option<&[u8]>]) -> Bytes {
    let mut out = BytesMut::new();
    data_row(fields.iter().copied(), &mut out);
    out.freeze().slice(5..)
}

fn two_columns() -> SchemaRef {
    Arc::new(schema(&[column("id", oid::INT4), column("name", oid::TEXT)], &[]))
}

fn one_column(type_oid: u32) -> BatchBuilder {
    BatchBuilder::new(Arc::new(schema(&[column("c", type_oid)], &[]))).expect("a known type")
}

fn two_rows() -> RecordBatch {
    let mut builder = BatchBuilder::new(two_columns()).expect("known types");
    builder.push_row(&row(&[Some(&7i32.to_be_bytes()), Some(b"seven")])).expect("a good row");
    builder.push_row(&row(&[None, None])).expect("a good row");
    builder.finish()
}

#[test]
fn a_schema_says_where_its_columns_come_from() {
    let formats = [ColumnFormat::Typed, ColumnFormat::RawText, ColumnFormat::RawBinary];
    let columns = [column("a", oid::INT8), column("b", oid::INT8), column("c", oid::INT8), column("d", oid::NUMERIC)];
    let schema = schema(&columns, &formats);
    let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types, [&DataType::Int64, &DataType::Binary, &DataType::Binary, &DataType::Binary]);
    let said: Vec<_> = schema.fields().iter().map(|field| field_format(field)).collect();
    assert_eq!(said, [Some(formats[0]), Some(formats[1]), Some(formats[2]), Some(ColumnFormat::Typed)]);
    assert_eq!((field_oid(schema.field(3)), field_typmod(schema.field(3))), (Some(oid::NUMERIC), 36));
    assert_eq!(schema.field(1).metadata()[PG_FORMAT], "text");
    assert!(schema.fields().iter().all(|field| field.is_nullable()));
    assert_eq!(ColumnFormat::RawText.wire_format(), 0);
    let silent = Field::new("e", DataType::Int64, true);
    assert_eq!((field_oid(&silent), field_typmod(&silent), field_format(&silent)), (None, -1, None));
}

#[test]
fn rows_become_batches() {
    let mut builder = BatchBuilder::new(two_columns()).expect("known types");
    let first = row(&[Some(&7i32.to_be_bytes()), Some(b"seven")]);
    builder.push_row(&first).expect("a good row");
    assert_eq!((builder.rows(), builder.len_bytes()), (1, first.len()));
    builder.push_row(&row(&[None, None])).expect("a good row");
    let batch = builder.finish();
    assert_eq!((builder.rows(), builder.len_bytes()), (0, 0));
    let ids = batch.column(0).as_primitive::<Int32Type>();
    assert_eq!((ids.value(0), ids.is_null(1)), (7, true));
    let names = batch.column(1).as_string::<i32>();
    assert_eq!((names.value(0), names.is_null(1)), ("seven", true));
    builder.push_row(&row(&[None, None])).expect("the builder starts again");
    assert_eq!(builder.finish().num_rows(), 1);
}

#[test]
fn rows_without_columns_are_counted() {
    let mut builder = BatchBuilder::new(Arc::new(schema(&[], &[]))).expect("no types");
    builder.push_row(&row(&[])).expect("a good row");
    builder.push_row(&row(&[])).expect("a good row");
    assert_eq!(builder.finish().num_rows(), 2);
}

#[test]
fn times_are_counted_from_1970() {
    let mut dates = one_column(oid::DATE);
    for days in [0, -EPOCH_DAYS, i32::MAX, i32::MIN] {
        dates.push_row(&row(&[Some(&days.to_be_bytes())])).expect("a date");
    }
    let batch = dates.finish();
    assert_eq!(batch.column(0).as_primitive::<Date32Type>().values()[..], [EPOCH_DAYS, 0, i32::MAX, i32::MIN]);
    let mut timestamps = one_column(oid::TIMESTAMPTZ);
    let last = i64::MAX - EPOCH_US - 1;
    for us in [0, -EPOCH_US, last, i64::MAX, i64::MIN] {
        timestamps.push_row(&row(&[Some(&us.to_be_bytes())])).expect("a timestamp");
    }
    let batch = timestamps.finish();
    let values = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(values.values()[..], [EPOCH_US, 0, i64::MAX - 1, i64::MAX, i64::MIN]);
    // One more would read as infinity, and beyond that there is no room.
    for us in [last + 1, 9_223_371_331_199_999_999] {
        let error = timestamps.push_row(&row(&[Some(&us.to_be_bytes())])).expect_err("out of range");
        assert_eq!(error.sqlstate(), "22008");
    }
}

#[test]
fn bad_rows_are_refused() {
    let cases: [(&[Option<&[u8]>], &str); 4] = [
        (&[None], "08P01"),
        (&[None, None, None], "08P01"),
        (&[Some(b"123"), None], "08P01"),
        (&[None, Some(b"\xff")], "22021"),
    ];
    for (fields, sqlstate) in cases {
        let mut builder = BatchBuilder::new(two_columns()).expect("known types");
        let error = builder.push_row(&row(fields)).expect_err("a bad row");
        assert_eq!(error.sqlstate(), sqlstate, "{error}");
    }
    let good = row(&[Some(&7i32.to_be_bytes()), Some(b"seven")]);
    for cut in 0..good.len() {
        let mut builder = BatchBuilder::new(two_columns()).expect("known types");
        assert_eq!(builder.push_row(&good[..cut]).expect_err("a short row").sqlstate(), "08P01", "cut at {cut}");
    }
    let mut builder = BatchBuilder::new(two_columns()).expect("known types");
    assert!(builder.push_row(&[&good[..], b"more"].concat()).is_err());
    let strange = Schema::new(vec![Field::new("c", DataType::Float16, true)]);
    assert_eq!(BatchBuilder::new(Arc::new(strange)).expect_err("no such column").sqlstate(), "XX000");
}

#[test]
fn batches_travel_in_chunks_of_any_size() {
    let batch = two_rows();
    let mut writer = IpcWriter::new(batch.schema_ref()).expect("a schema");
    let mut stream = BytesMut::new();
    stream.extend_from_slice(&writer.take());
    assert!(!stream.is_empty(), "the schema goes first");
    stream.extend_from_slice(&writer.write(&batch).expect("its schema"));
    stream.extend_from_slice(&writer.write(&batch).expect("its schema"));
    stream.extend_from_slice(&writer.finish().expect("not finished before"));
    let stream = stream.freeze();
    for size in [1, 7, 64, 1000, stream.len()] {
        let mut reader = IpcReader::new();
        let mut batches = Vec::new();
        for start in (0..stream.len()).step_by(size) {
            reader.push(stream.slice(start..stream.len().min(start + size)));
            while let Some(batch) = reader.next_batch().expect("a stream") {
                batches.push(batch);
            }
        }
        reader.finish().expect("whole");
        assert_eq!(batches, [batch.clone(), batch.clone()], "chunks of {size}");
        assert_eq!(reader.schema(), Some(batch.schema()), "metadata travels along");
    }
    let mut reader = IpcReader::new();
    reader.push(stream.slice(..stream.len() / 2));
    while reader.next_batch().expect("a stream").is_some() {}
    assert!(reader.finish().is_err(), "half a stream");
}

#[test]
fn a_schema_alone_is_a_stream() {
    let mut writer = IpcWriter::new(&two_columns()).expect("a schema");
    let mut reader = IpcReader::new();
    reader.push(writer.finish().expect("not finished before"));
    assert_eq!(reader.next_batch().expect("a stream"), None);
    assert_eq!(reader.schema(), Some(two_columns()));
    reader.finish().expect("whole");
}

#[test]
fn copies_have_head_and_tail() {
    let mut out = BytesMut::new();
    copy_binary_header(&mut out);
    encode_copy_binary(&two_rows(), &mut out).expect("typed");
    copy_binary_trailer(&mut out);
    let expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\
        \0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x05seven\
        \0\x02\xff\xff\xff\xff\xff\xff\xff\xff\
        \xff\xff";
    assert_eq!(&out[..], expected);
    let schema = Arc::new(schema(&[column("c", oid::INT4)], &[ColumnFormat::RawText]));
    let mut builder = BatchBuilder::new(schema).expect("known types");
    builder.push_row(&row(&[Some(b"7")])).expect("a good row");
    let error = encode_copy_binary(&builder.finish(), &mut BytesMut::new()).expect_err("text");
    assert!(matches!(error, RowError::TextInCopy { .. }));
}
