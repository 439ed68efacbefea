//! Dates and times as text, DateStyle ISO.

use std::fmt::Write as _;

const DAY_US: i64 = 86_400_000_000;

/// A date given in days since 1970-01-01, as PostgreSQL prints it; `i32::MAX` and `i32::MIN` are the infinities.
pub fn date_text(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let date = Civil::of_days(days.into());
            let mut text = String::with_capacity(16);
            date.put(&mut text);
            date.put_era(&mut text);
            text
        }
    }
}

/// A timestamp without time zone given in microseconds since 1970-01-01, as PostgreSQL prints it; `i64::MAX` and `i64::MIN` are
/// the infinities.
pub fn timestamp_text(us: i64) -> String {
    match us {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        us => {
            let date = Civil::of_days(us.div_euclid(DAY_US));
            let mut text = String::with_capacity(32);
            date.put(&mut text);
            text.push(' ');
            put_time(&mut text, us.rem_euclid(DAY_US));
            date.put_era(&mut text);
            text
        }
    }
}

/// A time of day given in microseconds since midnight, as PostgreSQL prints it.
pub fn time_text(us: i64) -> String {
    let mut text = String::with_capacity(16);
    put_time(&mut text, us);
    text
}

fn put_time(text: &mut String, us: i64) {
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    put(text, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        put(text, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

/// A day of the proleptic Gregorian calendar; year 0 is 1 BC.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
}

impl Civil {
    /// The day so many days after 1970-01-01. Works in years that start in March, so that leap days come last, and in
    /// eras of 400 years, which all have the same number of days.
    fn of_days(days: i64) -> Self {
        const ERA_DAYS: i64 = 146_097;
        // Days from 0000-03-01 to 1970-01-01.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(ERA_DAYS);
        let day_of_era = shifted.rem_euclid(ERA_DAYS);
        let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // From March, month lengths repeat 31 30 31 30 31: 153 days in five months.
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day }
    }

    fn put(&self, text: &mut String) {
        let year = if self.year > 0 { self.year } else { 1 - self.year };
        put(text, format_args!("{year:04}-{:02}-{:02}", self.month, self.day));
    }

    fn put_era(&self, text: &mut String) {
        if self.year <= 0 {
            text.push_str(" BC");
        }
    }
}
