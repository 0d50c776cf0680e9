//! Names of recorded files.

use time::OffsetDateTime;

/// What each name begins with.
const STEM: &str = "tickcast";

/// `tickcast-20261124T214815Z-000001.pcapng`, with `.zst` if it is compressed: the UTC time of the first
/// packet and the number of the file.  They sort as they were recorded.
pub(super) fn file_name(ts: u64, number: u32, zstd: bool) -> String {
    // 64 bits of nanoseconds end in the year 2554.
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ts))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    let suffix = if zstd { ".zst" } else { "" };
    format!(
        "{STEM}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{number:06}.pcapng{suffix}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_time_in_utc_and_the_number() {
        let ts = 1_709_210_096_999_999_999;
        assert_eq!(
            file_name(ts, 7, false),
            "tickcast-20240229T123456Z-000007.pcapng"
        );
        assert_eq!(
            file_name(0, 1_234_567, true),
            "tickcast-19700101T000000Z-1234567.pcapng.zst"
        );
        assert!(file_name(u64::MAX, 1, false).starts_with("tickcast-25540721T"));
    }
}
