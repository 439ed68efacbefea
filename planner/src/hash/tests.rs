//! Hashes that PostgreSQL 15 gave for these values under [`super::SEED`].

use super::*;

const VALUES: &[(KeyType, &str, i64)] = &[
    (KeyType::Int8, "0", -4403592609991167795),
    (KeyType::Int8, "1", 5968994663651403477),
    (KeyType::Int8, "-1", -5017072347659237694),
    (KeyType::Int8, "7", 1708571371176205364),
    (KeyType::Int8, "42", 7363975540656877951),
    (KeyType::Int8, "2147483647", -6050265599104649060),
    (KeyType::Int8, "2147483648", 4938542303000433043),
    (KeyType::Int8, "-2147483648", 4938542303000433043),
    (KeyType::Int8, "-2147483649", -6050265599104649060),
    (KeyType::Int8, "9223372036854775807", 4938542303000433043),
    (KeyType::Int8, "-9223372036854775808", -6050265599104649060),
    (KeyType::Int8, "1234567890123", 4234184308168508908),
    (KeyType::Int4, "0", -4403592609991167795),
    (KeyType::Int4, "7", 1708571371176205364),
    (KeyType::Int4, "-7", -7298374200968567817),
    (KeyType::Int4, "2147483647", -6050265599104649060),
    (KeyType::Int4, "-2147483648", 4938542303000433043),
    (KeyType::Int2, "0", -4403592609991167795),
    (KeyType::Int2, "7", 1708571371176205364),
    (KeyType::Int2, "-7", -7298374200968567817),
    (KeyType::Int2, "32767", -6436696229286267413),
    (KeyType::Int2, "-32768", 5885242512097991578),
    (KeyType::Text, "", -5700645584453517373),
    (KeyType::Text, "a", -6705225459120232837),
    (KeyType::Text, "ab", 596009030900183869),
    (KeyType::Text, "abc", 3628778498291917250),
    (KeyType::Text, "abcd", 4029384952263848046),
    (KeyType::Text, "abcde", 4809259092934399961),
    (KeyType::Text, "hello world", 7664296498819024037),
    (KeyType::Text, "twelve bytes", 1551002018851372083),
    (KeyType::Text, "thirteen byte", -7829037210646445165),
    (KeyType::Text, "it's", -4857580872960720066),
    (KeyType::Text, "héllo wörld, this is longer than twelve", -5446199734775870952),
    (KeyType::Text, "trailing  ", -3019240393564911343),
    (KeyType::Text, "日本語テキスト", 3781793241886115942),
    (KeyType::Bpchar, "a", -6705225459120232837),
    (KeyType::Bpchar, "a   ", -6705225459120232837),
    (KeyType::Bpchar, "abc  def   ", 2042332244580546526),
    (KeyType::Bpchar, "", -5700645584453517373),
    (KeyType::Uuid, "00000000-0000-0000-0000-000000000000", -5281082146396728638),
    (KeyType::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", 424513190990560493),
    (KeyType::Uuid, "12345678-1234-5678-1234-567812345678", -8357386610867973653),
    (KeyType::Date, "2000-01-01", -4403592609991167795),
    (KeyType::Date, "1999-12-31", -5017072347659237694),
    (KeyType::Date, "2024-02-29", -7425094147693931516),
    (KeyType::Date, "0001-01-01", -7515971407706873240),
    (KeyType::Date, "1900-03-01", -2663328575615561526),
    (KeyType::Date, "9999-12-31", 593758160263801724),
    (KeyType::Date, "1970-01-01", -7791128061482025433),
    (KeyType::Date, "2026-11-23", -6401470417576662474),
    (KeyType::Timestamp, "2000-01-01 00:00:00", -4403592609991167795),
    (KeyType::Timestamp, "1999-12-31 23:59:59.999999", -5017072347659237694),
    (KeyType::Timestamp, "2024-02-29 12:34:56.5", 1984364736093248607),
    (KeyType::Timestamp, "2024-02-29", 5287942308240390230),
    (KeyType::Timestamp, "0001-01-01 00:00:00", -9036721804170987338),
    (KeyType::Timestamp, "2024-02-29T01:02:03", 5999286895118426738),
    (KeyType::Timestamptz, "2000-01-01 00:00:00+00", -4403592609991167795),
    (KeyType::Timestamptz, "2024-02-29 12:34:56.5+02", -7158024548877456741),
    (KeyType::Timestamptz, "2024-02-29 12:34:56-03:30", 4092983874184847140),
    (KeyType::Timestamptz, "2024-02-29 12:34:56Z", 7300046663509523105),
    (KeyType::Numeric, "0", 8816678312871386364),
    (KeyType::Numeric, "0.00", 8816678312871386364),
    (KeyType::Numeric, "-0", 8816678312871386364),
    (KeyType::Numeric, "1", -3231555093127941538),
    (KeyType::Numeric, "-1", -3231555093127941538),
    (KeyType::Numeric, "1.0", -3231555093127941538),
    (KeyType::Numeric, "1.50", 1234047083305210387),
    (KeyType::Numeric, "10000", -3231555093127941537),
    (KeyType::Numeric, "100000000", -3231555093127941540),
    (KeyType::Numeric, "123456789.987654321", -208004492532973033),
    (KeyType::Numeric, "0.0001", 3231555093127941537),
    (KeyType::Numeric, "0.00001", -7869483101049934923),
    (KeyType::Numeric, "-12345.678", -4016348884958903928),
    (KeyType::Numeric, "99999999999999999999999999", 1857156834591907966),
    (KeyType::Numeric, ".5", 1392207227984804232),
    (KeyType::Numeric, "5.", 2412887143868902394),
    (KeyType::Numeric, "0012.3400", -1080289568197353007),
    (KeyType::Numeric, "10000.0001", -3921766085204376322),
    (KeyType::Numeric, "100010000.5", 3995573644335587360),
];

#[test]
fn hashes_are_postgresql_s() {
    for (key_type, text, expected) in VALUES {
        let value = parse_text(*key_type, text).unwrap_or_else(|error| panic!("{key_type:?} {text}: {error}"));
        assert_eq!(hash(&value), *expected, "{key_type:?} {text}");
    }
}

#[test]
fn other_forms_are_left_to_postgresql() {
    for (key_type, texts) in [
        (KeyType::Int8, &[" 7", "+7", "0x7", "7.0", "", "-", "9223372036854775808", "--7"][..]),
        (KeyType::Uuid, &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "é"]),
        (
            KeyType::Date,
            &[
                "1 Jan 2020",
                "2020-1-1",
                "2023-02-29",
                "0000-01-01",
                "today",
                "infinity",
                "2020-01-01 BC",
                "12020-01-01",
            ],
        ),
        (
            KeyType::Timestamp,
            &["now", "2020-01-01 24:00:00", "2020-01-01 1:02", "2020-01-01 01:02:03.1234567", "2020-01-01 00:00:60"],
        ),
        (KeyType::Timestamptz, &["2020-01-01 00:00:00", "2020-01-01 00:00:00 UTC", "2020-01-01 00:00:00+15"]),
        (KeyType::Numeric, &["1e3", "NaN", " 1", "Infinity", "", ".", "-", "+1"]),
        (KeyType::Bytea, &["\\xf", "\\x0g", "\\1", "\\999"]),
    ] {
        for text in texts {
            assert_eq!(parse_text(key_type, text), Err(KeyError::AskPostgres), "{key_type:?} {text}");
        }
    }
}

#[test]
fn binary_and_text_agree() {
    let same = |key_type, parameter_type, bytes: &[u8], text: &str| {
        assert_eq!(parse_binary(key_type, parameter_type, bytes).ok(), parse_text(key_type, text).ok(), "{text}");
    };
    same(KeyType::Int8, 21, &(-7_i16).to_be_bytes(), "-7");
    same(KeyType::Int4, 20, &7_i64.to_be_bytes(), "7");
    same(KeyType::Int2, 0, &7_i32.to_be_bytes(), "7");
    same(KeyType::Text, 1043, b"abc", "abc");
    same(KeyType::Bpchar, 1042, b"abc  ", "abc");
    same(KeyType::Uuid, 2950, &[0x12; 16], "12121212-1212-1212-1212-121212121212");
    same(KeyType::Date, 1082, &(-1_i32).to_be_bytes(), "1999-12-31");
    same(KeyType::Timestamp, 1114, &1_500_000_i64.to_be_bytes(), "2000-01-01 00:00:01.5");
    same(KeyType::Numeric, 1700, &[0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88], "1.5");
    same(KeyType::Numeric, 23, &70_000_i32.to_be_bytes(), "70000");
    same(KeyType::Bytea, 17, b"\x00\xff", "\\x00ff");
    same(KeyType::Bytea, 17, b"a\\\x01", "a\\\\\\001");
    assert_eq!(parse_binary(KeyType::Int8, 701, &[0; 8]), Err(KeyError::NotComparable));
    assert_eq!(parse_binary(KeyType::Int8, 23, &[0; 3]), Err(KeyError::Malformed));
    assert_eq!(parse_binary(KeyType::Numeric, 1700, &[0, 9]), Err(KeyError::Malformed));
    assert_eq!(parse_binary(KeyType::Text, 25, &[0xff]), Err(KeyError::Malformed));
}
