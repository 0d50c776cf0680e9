//! The worked examples of IEX's specifications, transcribed byte for byte.
//!
//! Their comments give times of 2016 in New York and times of 2017 in UTC: the bytes decide.
#![allow(dead_code)] // each test file uses its own part

/// Bytes from the specifications' notation.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

pub(crate) const SYSTEM_EVENT: &str = "53 45 00 a0 99 97 e9 3d b6 14";

pub(crate) const SECURITY_DIRECTORY: &str = "44 80 00 20 89 7b 5a 1f b6 14 5a 49 45 58 54 20 20 20 \
     64 00 00 00 24 1d 0f 00 00 00 00 00 01";

pub(crate) const TRADING_STATUS: &str =
    "48 48 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20 54 31 20 20";

pub(crate) const RETAIL_LIQUIDITY_INDICATOR: &str =
    "49 41 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20";

pub(crate) const OPERATIONAL_HALT_STATUS: &str =
    "4f 4f ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20";

pub(crate) const SHORT_SALE_PRICE_TEST_STATUS: &str =
    "50 01 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20 41";

pub(crate) const SECURITY_EVENT: &str = "45 4f 00 f0 30 2a 5b 25 b6 14 5a 49 45 58 54 20 20 20";

pub(crate) const PRICE_LEVEL_UPDATE: &str = "38 01 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20 \
     e4 25 00 00 24 1d 0f 00 00 00 00 00";

pub(crate) const QUOTE_UPDATE: &str = "51 00 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20 \
     e4 25 00 00 24 1d 0f 00 00 00 00 00 ec 1d 0f 00 00 00 00 00 e8 03 00 00";

pub(crate) const TRADE_REPORT: &str = "54 00 c3 df f7 05 a2 86 6d 14 5a 49 45 58 54 20 20 20 \
     64 00 00 00 24 1d 0f 00 00 00 00 00 96 8f 06 00 00 00 00 00";

pub(crate) const OFFICIAL_PRICE: &str = "58 51 00 f0 30 2a 5b 25 b6 14 5a 49 45 58 54 20 20 20 \
     24 1d 0f 00 00 00 00 00";

pub(crate) const TRADE_BREAK: &str = "42 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     64 00 00 00 24 1d 0f 00 00 00 00 00 96 8f 06 00 00 00 00 00";

/// As in the TOPS specification.  DEEP's prints the paired shares as `a0 86 10 00`, which isn't the
/// 100,000 of its own comment.
pub(crate) const AUCTION_INFORMATION: &str = "41 43 dd c7 f0 9a 1a 3a b6 14 5a 49 45 58 54 20 20 20 \
     a0 86 01 00 24 1d 0f 00 00 00 00 00 18 1f 0f 00 00 00 00 00 10 27 00 00 42 00 \
     80 e6 f4 58 0c 21 0f 00 00 00 00 00 c0 1c 0f 00 00 00 00 00 a4 99 0d 00 00 00 00 00 \
     dc 9f 10 00 00 00 00 00";

pub(crate) const ADD_ORDER: &str = "61 38 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     96 8f 06 00 00 00 00 00 64 00 00 00 24 1d 0f 00 00 00 00 00";

pub(crate) const ORDER_MODIFY: &str = "4D 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     96 8f 06 00 00 00 00 00 64 00 00 00 24 1d 0f 00 00 00 00 00";

pub(crate) const ORDER_DELETE: &str = "52 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     96 8f 06 00 00 00 00 00";

pub(crate) const ORDER_EXECUTED: &str = "4C 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     96 8f 06 00 00 00 00 00 64 00 00 00 24 1d 0f 00 00 00 00 00 96 8f 02 00 00 00 00 00";

/// DEEP+'s trade between orders that aren't displayed.
pub(crate) const TRADE: &str = "54 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     64 00 00 00 24 1d 0f 00 00 00 00 00 96 8f 02 00 00 00 00 00";

pub(crate) const CLEAR_BOOK: &str = "43 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20";

/// TOPS 1.5: four reserved bytes at the end.
pub(crate) const TRADE_REPORT_15: &str = "54 00 c3 df f7 05 a2 86 6d 14 5a 49 45 58 54 20 20 20 \
     64 00 00 00 24 1d 0f 00 00 00 00 00 96 8f 06 00 00 00 00 00 00 00 00 00";

pub(crate) const TRADE_BREAK_15: &str = "42 00 b2 8f a5 a0 ab 86 6d 14 5a 49 45 58 54 20 20 20 \
     64 00 00 00 24 1d 0f 00 00 00 00 00 96 8f 06 00 00 00 00 00 00 00 00 00";

/// Every example that TOPS 1.6 has.
pub(crate) const TOPS: &[&str] = &[
    SYSTEM_EVENT,
    SECURITY_DIRECTORY,
    TRADING_STATUS,
    RETAIL_LIQUIDITY_INDICATOR,
    OPERATIONAL_HALT_STATUS,
    SHORT_SALE_PRICE_TEST_STATUS,
    QUOTE_UPDATE,
    TRADE_REPORT,
    OFFICIAL_PRICE,
    TRADE_BREAK,
    AUCTION_INFORMATION,
];

/// Every example that TOPS 1.5 has.
pub(crate) const TOPS_15: &[&str] = &[QUOTE_UPDATE, TRADE_REPORT_15, TRADE_BREAK_15];

/// Every example that DEEP has.
pub(crate) const DEEP: &[&str] = &[
    SYSTEM_EVENT,
    SECURITY_DIRECTORY,
    TRADING_STATUS,
    RETAIL_LIQUIDITY_INDICATOR,
    OPERATIONAL_HALT_STATUS,
    SHORT_SALE_PRICE_TEST_STATUS,
    SECURITY_EVENT,
    PRICE_LEVEL_UPDATE,
    TRADE_REPORT,
    OFFICIAL_PRICE,
    TRADE_BREAK,
    AUCTION_INFORMATION,
];

/// Every example that DEEP+ has.
pub(crate) const DEEPPLUS: &[&str] = &[
    SYSTEM_EVENT,
    SECURITY_DIRECTORY,
    TRADING_STATUS,
    RETAIL_LIQUIDITY_INDICATOR,
    OPERATIONAL_HALT_STATUS,
    SHORT_SALE_PRICE_TEST_STATUS,
    SECURITY_EVENT,
    ADD_ORDER,
    ORDER_MODIFY,
    ORDER_DELETE,
    ORDER_EXECUTED,
    TRADE,
    TRADE_BREAK,
    CLEAR_BOOK,
];

/// "Multicast Publication" of the transport's specification: a trade report and a level update.
pub(crate) const SEGMENT: &str = "01 00 04 80 01 00 00 00 00 00 87 42 48 00 02 00 \
     8c a6 21 00 00 00 00 00 ca c3 00 00 00 00 00 00 ec 45 c2 20 96 86 6d 14 \
     26 00 54 00 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20 64 00 00 00 \
     24 1d 0f 00 00 00 00 00 96 8f 06 00 00 00 00 00 \
     1e 00 38 01 ac 63 c0 20 96 86 6d 14 5a 49 45 58 54 20 20 20 e4 25 00 00 \
     24 1d 0f 00 00 00 00 00";

/// "Gap Fill Test Response": what a heartbeat looks like.
pub(crate) const HEARTBEAT: &str = "01 00 02 80 01 00 00 00 00 00 87 42 00 00 00 00 \
     8c a6 21 00 00 00 00 00 ca c3 00 00 00 00 00 00 ec 45 c2 20 96 86 6d 14";

/// "Gap Fill Request" with two ranges.
pub(crate) const GAP_FILL_REQUEST: &str = "01 01 04 80 01 00 00 00 00 00 87 42 02 00 00 00 \
     34 30 00 00 00 00 00 00 3e 30 00 00 00 00 00 00 \
     d5 dd 00 00 00 00 00 00 df dd 00 00 00 00 00 00";

/// "UDP Gap Fill Test Request".
pub(crate) const GAP_FILL_TEST_REQUEST: &str = "01 01 04 80 01 00 00 00 00 00 87 42 00 00 00 00";
