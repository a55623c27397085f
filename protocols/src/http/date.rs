//! The date of a message: IMF-fixdate, RFC 9110 section 5.6.7.

/// Bytes of an IMF-fixdate.
pub const DATE_BYTES: usize = 29;

const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// Writes a time as `Sun, 06 Nov 1994 08:49:37 GMT`. The caller keeps the result for the second it is true.
///
/// `unix_seconds` counts from 1970 without leap seconds. Times from the year 10000 on have no such date and are
/// written as the last second of 9999.
///
/// ```
/// use ringgate_protocols::http::date::imf_fixdate;
/// assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[must_use]
pub fn imf_fixdate(unix_seconds: u64) -> [u8; DATE_BYTES] {
    let seconds = unix_seconds.min(253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut date = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    date[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    put_two(&mut date, 5, day);
    let name = (month as usize - 1) * 3;
    date[8..11].copy_from_slice(&MONTHS[name..name + 3]);
    put_two(&mut date, 12, year / 100);
    put_two(&mut date, 14, year % 100);
    put_two(&mut date, 17, second / 3600);
    put_two(&mut date, 20, second / 60 % 60);
    put_two(&mut date, 23, second % 60);
    date
}

fn put_two(date: &mut [u8; DATE_BYTES], at: usize, number: u64) {
    date[at] = b'0' + (number / 10) as u8;
    date[at + 1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day counted from 1970. The year is taken to begin in March, so that the leap day is its
/// last; 719,468 days lie between the first of March of the year 0 and 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::imf_fixdate;

    #[test]
    fn h1_15_dates_around_every_corner() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)).unwrap(), date);
        }
    }

    #[test]
    fn h1_15_days_follow_each_other() {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut day = 0u64;
        for year in 1970..if cfg!(miri) { 1973 } else { 2500u64 } {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, length) in lengths.iter().enumerate() {
                let length = length + u64::from(leap && month == 1);
                for number in 1..=length {
                    assert_eq!(super::civil(day), (year, month as u64 + 1, number));
                    day += 1;
                }
            }
        }
    }
}
