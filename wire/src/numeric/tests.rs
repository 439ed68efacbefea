use proptest::prelude::*;

use super::*;

/// What PostgreSQL 15 computed: a, b, numeric_send(a), a + b, a - b, a * b, a / b, the order of a and b, k, round(a, k), n, a / n.
/// An exclamation mark precedes the SQLSTATE of an error. These are samples from 20,000 random pairs that were compared.
const COMPUTED: &str = "\
-2941.60 612.249876 00020000400000020b7d1770 -2329.350124 -3553.849876 -1800994.23524160 -4.8045742683008726 -1 12 -2941.600000000000 695069 -0.00423209782050415139
-3004167415996560003 50895074090019004490.30 0005000440000000012c1047103f25b80003 47890906674022444487.30 -53899241506015564493.30 -152897323215965865208332504959410381470.90 -0.05902668322445187408 -1 -7 -3004167416000000000 9110 -329765907354177.8269
0.9906 0.9097000070 0001ffff0000000426b2 1.9003000070 0.0808999930 0.90114882693420 1.0889304082417139 1 12 0.990600000000 628179 0.000001576939057179561876
-0.00300 -0.02010217 0001ffff40000005001e -0.02310217 0.01710217 0.0000603065100 0.14923761962017035972 1 5 -0.00300 772619 -0.0000000038828970035683823463
425009416903.1 73585 0004000200000001109a03ad1af703e8 425009490488.1 425009343318.1 31274317942814613.5 5775761.594117007542 1 4 425009416903.1000 770426 551655.080310243943
-0.9000 -7008069090910065.8 0001ffff400000042328 -7008069090910066.7000 7008069090910064.9000 6307262181819059.22000 0.00000000000000012842339142565820 1 8 -0.90000000 85169 -0.000010567225164085524076
40500927.75033100 -231803090.90 00040001000000080fd2039f1d4f0c1c -191302163.14966900 272304018.65033100 -9388240236844309.2980879000 -0.17472125843137754295 1 10 40500927.7503310000 304822 132.8674693766558844
-0.60595309609243606 0.4748790595 0005ffff4000001117ab14bd17cc11081770 -0.13107403659243606 -1.08083215559243606 -0.287754436373489161236685570 -1.27601561696665224 -1 3 -0.606 525836 -0.000001152361375205265634
469.90099 0 000300000000000501d523312328 469.90099 469.90099 0.00000 !22012 1 -4 0 59992 0.00783272753033737832
-1505399049.7 -560785080.600660 0004000240000001000f021b23591b58 -2066184130.300660 -944613969.099340 844205327422171469.1928020 2.6844491798668373 -1 11 -1505399049.70000000000 737688 -2040.6988451757382525
-408.3950 -0.90009 000200004000000401980f6e -409.29509 -407.49491 367.592255550 453.7268495372684954 -1 -7 0 759811 -0.00053749550875151847
5.3098599069 33.403200 000400000000000a00050c1a17661af4 38.7130599069 -28.0933400931 177.3663124421620800 0.15896261157314269292 -1 5 5.30986 778666 0.000006819175239319554212
0.80037924 0 0002ffff000000081f431ef4 0.80037924 0.80037924 0.00000000 !22012 1 8 0.80037924 766152 0.000001044674216082448391
0 150205332031648.300207 0000000000000000 150205332031648.300207 -150205332031648.300207 0.000000 0.00000000000000000000000000000000 -1 1 0.0 713081 0.000000000000000000000000
-7.12498009 -365.50908009203148080 0003000040000008000704e11f49 -372.63406018203148080 358.38410000203148080 2604.2449183699396683532172720 0.01949330530504468520 1 3 -7.125 910413 -0.000007826096606704869109
-82806.05090560539064996 -82806.05090560539064996 000700014000001100080af601fd0230150e19631770 -165612.10181121078129992 0.00000000000000000 6856842066.5817113369813640902666589912480016 1.00000000000000000000 0 -7 0 553007 -0.14973779880834309629
-0.09800092 280.00900 0002ffff4000000803d4005c 279.91099908 -280.10700092 -27.4411396082800 -0.00034999203597027238 -1 -4 0 967041 -0.000000101341018633129309
929.3004038810 0.0 000400000000000a03a10bbc018403e8 929.3004038810 929.3004038810 0.00000000000 !22012 1 -2 900 688999 0.00134876887177049604
-0.0491 -61843086061007000249.019691 0001ffff4000000401eb -61843086061007000249.068791 61843086061007000248.970591 3036495525595443712.2268668281 0.0000000000000000000007939448550734322351 1 6 -0.049100 86377 -0.000000568438357433112981
69400.0496 96.041527 0003000100000004000624b801f0 69496.091127 69304.008073 6665286.7374597392 722.6046041521184893 1 -2 69400 105562 0.65743401602849510240
45940.58908 0.11090543080709008 00040001000000050004173417021f40 45940.69998543080709008 45940.47817456919290992 5095.0608234488981158243264 414232.09617128200452000 1 2 45940.59 931224 0.04933355355961616110
0.44 0.8087482629 0001ffff000000021130 1.2487482629 -0.3687482629 0.355849235676 0.54405062759857211929 -1 -7 0 735615 0.000000598138972152552626
-24.972410 0.53079 0003000040000006001825fc03e8 -24.441620 -25.503200 -13.25510550390 -47.0476271218372614 -1 9 -24.972410000 954847 -0.000026153310425649344869
0 -0.53239537 0000000000000000 -0.53239537 0.53239537 0.00000000 0.0000000000000000 1 -1 0 399605 0.000000000000000000000000
-223 -446 000100004000000000df -669 223 99458 0.50000000000000000000 1 10 -223.0000000000 329985 -0.00067578829340727609
-31009480044496069900.3969 -17.8 00060004400000040c1c250801bc258626ac0f81 -31009480044496069918.1969 -31009480044496069882.5969 551968744792030044227.06482 1742105620477307297.7751 -1 -4 -31009480044496070000 476330 -65100833549211.8277
-47 NaN 0001000040000000002f NaN NaN NaN NaN -1 0 -47 31240 -0.00150448143405889885
-90.75291 -Infinity 0003000040000005005a1d6903e8 -Infinity Infinity Infinity 0 1 -2 -100 901891 -0.000100625142062621758062
-0.3 NaN 0001ffff400000010bb8 NaN NaN NaN NaN -1 6 -0.300000 911518 -0.000000329121311921432160
-Infinity 0 00000000f0000020 -Infinity -Infinity NaN !22012 -1 4 -Infinity 283508 -Infinity
NaN 904.897 00000000c0000000 NaN NaN NaN NaN 1 12 NaN 201598 NaN
NaN -307319059004 00000000c0000000 NaN NaN NaN NaN 1 -2 NaN 344867 NaN
0.0 0.0 0000000000000001 0.0 0.0 0.00 !22012 0 1 0.0 488007 0.000000000000000000000000
-80 0 00010000400000000050 -80 -80 0 !22012 -1 10 -80.0000000000 172479 -0.00046382458154326034
";

/// Input and what PostgreSQL 15 made of it.
const READ: &[(&str, &str)] = &[
    (".5", "0.5"),
    ("5.", "5"),
    (".", "!22P02"),
    ("", "!22P02"),
    ("1e5", "100000"),
    ("1E+5", "100000"),
    ("1e-3", "0.001"),
    (" 12 ", "12"),
    ("+5", "5"),
    ("--5", "!22P02"),
    ("1e", "!22P02"),
    ("1e+", "!22P02"),
    ("+NaN", "!22P02"),
    ("-NaN", "!22P02"),
    ("nan ", "NaN"),
    ("-inf", "-Infinity"),
    ("+Infinity", "Infinity"),
    ("infinit", "!22P02"),
    ("1e131072", "!22003"),
    ("1e400000", "!22003"),
    ("0e400000", "0"),
    ("0e-400000", "!22003"),
    ("1e-16384", "!22003"),
    ("0e-5", "0.00000"),
    ("-0", "0"),
    ("-0.00", "0.00"),
    ("1.5e1", "15"),
    ("1.25e-1", "0.125"),
    ("12.50e1", "125.0"),
    ("12.5e4", "125000"),
    ("1_000", "!22P02"),
    ("1e99999999999999", "!22003"),
    ("0e99999999999999", "!22003"),
    ("0e-99999999999999", "!22003"),
    ("1e1073741823", "!22003"),
    ("0e1073741823", "!22003"),
    ("0e1073741824", "!22003"),
    ("0x10", "!22P02"),
    ("1 2", "!22P02"),
    ("００", "!22P02"),
    ("1e5.5", "!22P02"),
    ("\t7\n", "7"),
    ("1e-1073741823", "!22003"),
    ("1.0e0", "1.0"),
    ("00012.3400", "12.3400"),
    ("1.00000000000000000000e16", "10000000000000000.0000"),
];

/// Value, precision, scale, and what PostgreSQL 15 stored.
const STORED: &[(&str, i32, i32, &str)] = &[
    ("999.995", 5, 2, "!22003"),
    ("999.994", 5, 2, "999.99"),
    ("-999.995", 5, 2, "!22003"),
    ("0.5", 1, 0, "1"),
    ("0.5", 1, 1, "0.5"),
    ("0.05", 2, 4, "!22003"),
    ("0.005", 2, 4, "0.0050"),
    ("0.00995", 2, 4, "!22003"),
    ("0.009949", 2, 4, "0.0099"),
    ("12345", 3, -2, "12300"),
    ("99950", 3, -2, "!22003"),
    ("99949", 3, -2, "99900"),
    ("0", 3, -2, "0"),
    ("49", 3, -2, "0"),
    ("50", 3, -2, "100"),
    ("NaN", 3, 2, "NaN"),
    ("Infinity", 3, 2, "!22003"),
    ("-Infinity", 3, 2, "!22003"),
    ("1", 1000, 1000, "!22003"),
    ("1e5", 1000, -1000, "0"),
    ("0.000", 3, 2, "0.00"),
];

/// Value, digits, and what PostgreSQL 15 rounded it to.
const ROUNDED: &[(&str, i32, &str)] = &[
    ("2.5", 0, "3"),
    ("-2.5", 0, "-3"),
    ("0.5", 0, "1"),
    ("-0.5", 0, "-1"),
    ("-0.4", 0, "0"),
    ("55", -1, "60"),
    ("45", -2, "0"),
    ("55", -2, "100"),
    ("5", -5000, "0"),
    ("Infinity", 2, "Infinity"),
    ("NaN", 1, "NaN"),
];

/// Special values and far ends, as PostgreSQL 15 computed them.
const OPERATED: &[(&str, &str, &str, &str)] = &[
    ("1", "/", "3", "0.33333333333333333333"),
    ("10", "/", "3", "3.3333333333333333"),
    ("2", "/", "3", "0.66666666666666666667"),
    ("100000", "/", "3", "33333.333333333333"),
    ("1", "/", "0", "!22012"),
    ("0", "/", "0", "!22012"),
    ("NaN", "/", "0", "NaN"),
    ("Infinity", "/", "0", "!22012"),
    ("Infinity", "/", "-3", "-Infinity"),
    ("Infinity", "/", "Infinity", "NaN"),
    ("3", "/", "-Infinity", "0"),
    ("1.000", "/", "4", "0.25000000000000000000"),
    ("6.0", "/", "2.000", "3.0000000000000000"),
    ("5000", "/", "5000", "1.00000000000000000000"),
    ("4999", "/", "5000", "0.99980000000000000000"),
    ("1e131000", "/", "1e-1000", "!22003"),
    ("0.00", "/", "7.123", "0.00000000000000000000"),
    ("1e131000", "*", "1e1000", "!22003"),
    ("Infinity", "*", "0", "NaN"),
    ("Infinity", "*", "-2", "-Infinity"),
    ("NaN", "*", "0", "NaN"),
    ("-0.5", "*", "0.0", "0.00"),
    ("Infinity", "+", "-Infinity", "NaN"),
    ("Infinity", "+", "1", "Infinity"),
    ("1.50", "+", "-1.5", "0.00"),
    ("NaN", "+", "-Infinity", "NaN"),
];

fn number(text: &str) -> Numeric {
    text.parse().expect("a numeric")
}

fn shown(result: Result<Numeric, NumericError>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(error) => format!("!{}", error.sqlstate()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn typmod(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7FF)) + 4
}

#[test]
fn computes_what_postgresql_computes() {
    for case in COMPUTED.lines() {
        let fields: Vec<&str> = case.split(' ').collect();
        let [a, b, sent, sum, difference, product, quotient, order, k, rounded, n, average] = fields[..] else {
            panic!("twelve fields: {case}");
        };
        let (left, right) = (number(a), number(b));
        let order: i8 = order.parse().expect("an order");
        assert_eq!(left.to_string(), a);
        assert_eq!(hex(&left.to_binary()), sent, "{case}");
        assert_eq!(Numeric::from_binary(&left.to_binary()).expect("its own").to_string(), a);
        assert_eq!(shown(left.add(&right)), sum, "{case}");
        assert_eq!(shown(left.sub(&right)), difference, "{case}");
        assert_eq!(shown(left.mul(&right)), product, "{case}");
        assert_eq!(shown(left.div(&right)), quotient, "{case}");
        assert_eq!(left.cmp(&right) as i8, order, "{case}");
        assert_eq!(left.sort_key().cmp(&right.sort_key()) as i8, order, "{case}");
        assert_eq!(shown(left.round(k.parse().expect("digits"))), rounded, "{case}");
        assert_eq!(shown(avg(&left, n.parse().expect("a count"))), average, "{case}");
    }
}

#[test]
fn reads_what_postgresql_reads() {
    for (text, expected) in READ {
        assert_eq!(shown(text.parse()), *expected, "{text:?}");
    }
}

#[test]
fn the_far_ends_of_the_type() {
    // Checked with PostgreSQL 15: 131072 digits before the point and 16383 after are the most.
    assert_eq!(number("1e131071").to_string().len(), 131_072);
    assert_eq!(number("1e-16383").to_string().len(), 16_385);
    let largest = number(&"9".repeat(131_072));
    assert_eq!(Numeric::from_binary(&largest.to_binary()), Ok(largest.clone()));
    assert_eq!(largest.add(&Numeric::from_i64(1)), Err(NumericError::Overflow));
    assert_eq!(number("1e131000").mul(&number("1e1000")), Err(NumericError::Overflow));
    // A product's digits past the limit are rounded off.
    let long = number(&format!("0.{}", "3".repeat(9000)));
    assert_eq!(long.mul(&long).expect("fits").dscale(), Some(16_383));
    assert_eq!(number("1.5").round(20_000).expect("fits").dscale(), Some(16_383));
}

#[test]
fn columns_store_what_fits_them() {
    for (text, precision, scale, expected) in STORED {
        assert_eq!(shown(number(text).rescale(typmod(*precision, *scale))), *expected, "{text} {precision} {scale}");
    }
    assert_eq!(shown(number("1.25").rescale(-1)), "1.25");
}

#[test]
fn rounds_half_away_from_zero() {
    for (text, digits, expected) in ROUNDED {
        assert_eq!(shown(number(text).round(*digits)), *expected, "{text} {digits}");
    }
}

#[test]
fn special_values_operate_as_in_postgresql() {
    for (left, operator, right, expected) in OPERATED {
        let (a, b) = (number(left), number(right));
        let result = match *operator {
            "+" => a.add(&b),
            "*" => a.mul(&b),
            _ => a.div(&b),
        };
        assert_eq!(shown(result), *expected, "{left} {operator} {right}");
    }
    assert_eq!(avg(&Numeric::zero(), 0), Err(NumericError::DivisionByZero));
}

#[test]
fn equal_values_are_equal_whatever_their_scale() {
    assert_eq!(number("1.0"), number("1.000"));
    assert_eq!(number("1.0").sort_key(), number("1.000").sort_key());
    assert_eq!(number("-0.00").sort_key(), number("0").sort_key());
    assert_eq!(Numeric::NAN, Numeric::NAN);
    let mut values =
        ["NaN", "Infinity", "1e100", "2", "1.5", "0.00001", "0", "-0.1", "-1e100", "-Infinity"].map(number);
    values.sort();
    let texts: Vec<String> = values.iter().take(4).map(Numeric::to_string).collect();
    assert_eq!((texts[0].as_str(), texts[2].as_str(), texts[3].as_str()), ("-Infinity", "-0.1", "0"));
    assert!(values[9].is_nan());
    assert_eq!((number("42.00").to_i64(), number("42.5").to_i64(), Numeric::NAN.to_i64()), (Some(42), None, None));
    assert_eq!(number("9223372036854775808").to_i64(), None);
}

#[test]
fn malformed_binary_is_refused() {
    let good = number("12345.678").to_binary();
    for cut in 0..good.len() {
        assert_eq!(Numeric::from_binary(&good[..cut]), Err(NumericError::Binary), "cut at {cut}");
    }
    // A digit of 10000, a sign that is none, a display scale past the limit.
    for bytes in
        [[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10], [0, 1, 0, 0, 0x10, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0x40, 0, 0, 1]]
    {
        assert_eq!(Numeric::from_binary(&bytes), Err(NumericError::Binary));
    }
}

prop_compose! {
    fn numeric()(digits in "-?[0-9]{1,40}", fraction in "[0-9]{0,30}") -> Numeric {
        number(&format!("{digits}.{fraction}"))
    }
}

proptest! {
    #[test]
    fn binary_and_text_round_trip(value in numeric()) {
        let back = Numeric::from_binary(&value.to_binary()).expect("its own");
        prop_assert_eq!(back.to_string(), value.to_string());
        prop_assert_eq!(number(&value.to_string()).to_binary(), value.to_binary());
    }

    #[test]
    fn arithmetic_is_exact(a in numeric(), b in numeric(), c in numeric()) {
        let sum = a.add(&b).expect("small");
        prop_assert_eq!(sum.sub(&b).expect("small"), a.clone());
        let apart = a.mul(&c).expect("small").add(&b.mul(&c).expect("small")).expect("small");
        prop_assert_eq!(sum.mul(&c).expect("small"), apart);
    }

    #[test]
    fn keys_sort_as_values_do(a in numeric(), b in numeric()) {
        prop_assert_eq!(a.sort_key().cmp(&b.sort_key()), a.cmp(&b));
        prop_assert_eq!(a.neg().sort_key().cmp(&b.neg().sort_key()), b.cmp(&a));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        if let Ok(value) = Numeric::from_binary(&bytes) {
            value.to_binary();
        }
    }
}
