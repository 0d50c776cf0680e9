//! Offsets and lengths of every Nasdaq wire struct, transcribed from the tables of the specifications
//! and compared with what the compiler made of the declarations.

use std::mem::{offset_of, size_of};

use tickcast_codecs::{glimpse, itch50, moldudp64, soupbintcp};

/// The size of the field that `field` gives.
fn size_of_field<T, F>(_field: impl FnOnce(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Compares a struct with the specification's table of (field, offset, length).
macro_rules! layout {
    ($type:path, $total:literal, [$(($field:ident, $offset:literal, $length:literal)),+ $(,)?]) => {{
        let mut end = 0;
        $(
            assert_eq!(
                offset_of!($type, $field), $offset,
                concat!(stringify!($type), ".", stringify!($field), " begins elsewhere"),
            );
            assert_eq!(
                size_of_field(|message: &$type| &message.$field), $length,
                concat!(stringify!($type), ".", stringify!($field), " has another length"),
            );
            assert_eq!($offset, end, concat!(stringify!($type), " has a hole"));
            end = $offset + $length;
        )+
        assert_eq!(end, $total, stringify!($type));
        assert_eq!(size_of::<$type>(), $total, stringify!($type));
    }};
}

#[test]
fn moldudp64_structs_have_the_layout_of_version_1_00() {
    layout! {
        moldudp64::Header, 20, [
            (session, 0, 10),
            (sequence_number, 10, 8),
            (message_count, 18, 2),
        ]
    }
    layout! {
        moldudp64::Request, 20, [
            (session, 0, 10),
            (sequence_number, 10, 8),
            (requested_message_count, 18, 2),
        ]
    }
}

#[test]
fn soupbintcp_structs_have_the_layout_of_version_3_00() {
    layout! {
        soupbintcp::Header, 3, [
            (packet_length, 0, 2),
            (packet_type, 2, 1),
        ]
    }
    layout! {
        soupbintcp::LoginAcceptedPacket, 33, [
            (packet_length, 0, 2),
            (packet_type, 2, 1),
            (session, 3, 10),
            (sequence_number, 13, 20),
        ]
    }
    layout! {
        soupbintcp::LoginRejectedPacket, 4, [
            (packet_length, 0, 2),
            (packet_type, 2, 1),
            (reject_reason_code, 3, 1),
        ]
    }
    layout! {
        soupbintcp::LoginRequestPacket, 49, [
            (packet_length, 0, 2),
            (packet_type, 2, 1),
            (username, 3, 6),
            (password, 9, 10),
            (requested_session, 19, 10),
            (requested_sequence_number, 29, 20),
        ]
    }
}

#[test]
fn glimpse_end_of_snapshot_has_the_layout_of_version_5_0() {
    layout! {
        glimpse::EndOfSnapshot, 21, [
            (message_type, 0, 1),
            (sequence_number, 1, 20),
        ]
    }
}

#[test]
fn itch_structs_have_the_layout_of_the_edition_of_2026() {
    layout! {
        itch50::SystemEvent, 12, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (event_code, 11, 1),
        ]
    }
    layout! {
        itch50::StockDirectory, 39, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (market_category, 19, 1),
            (financial_status_indicator, 20, 1),
            (round_lot_size, 21, 4),
            (round_lots_only, 25, 1),
            (issue_classification, 26, 1),
            (issue_sub_type, 27, 2),
            (authenticity, 29, 1),
            (short_sale_threshold_indicator, 30, 1),
            (ipo_flag, 31, 1),
            (luld_reference_price_tier, 32, 1),
            (etp_flag, 33, 1),
            (etp_leverage_factor, 34, 4),
            (inverse_indicator, 38, 1),
        ]
    }
    layout! {
        itch50::StockTradingAction, 25, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (trading_state, 19, 1),
            (reserved, 20, 1),
            (reason, 21, 4),
        ]
    }
    layout! {
        itch50::RegShoRestriction, 20, [
            (message_type, 0, 1),
            (locate_code, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (reg_sho_action, 19, 1),
        ]
    }
    layout! {
        itch50::MarketParticipantPosition, 26, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (mpid, 11, 4),
            (stock, 15, 8),
            (primary_market_maker, 23, 1),
            (market_maker_mode, 24, 1),
            (market_participant_state, 25, 1),
        ]
    }
    layout! {
        itch50::MwcbDeclineLevel, 35, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (level_1, 11, 8),
            (level_2, 19, 8),
            (level_3, 27, 8),
        ]
    }
    layout! {
        itch50::MwcbStatus, 12, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (breached_level, 11, 1),
        ]
    }
    layout! {
        itch50::IpoQuotingPeriodUpdate, 28, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (ipo_quotation_release_time, 19, 4),
            (ipo_quotation_release_qualifier, 23, 1),
            (ipo_price, 24, 4),
        ]
    }
    layout! {
        itch50::LuldAuctionCollar, 35, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (auction_collar_reference_price, 19, 4),
            (upper_auction_collar_price, 23, 4),
            (lower_auction_collar_price, 27, 4),
            (auction_collar_extension, 31, 4),
        ]
    }
    layout! {
        itch50::OperationalHalt, 21, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (market_code, 19, 1),
            (operational_halt_action, 20, 1),
        ]
    }
    layout! {
        itch50::AddOrder, 36, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
            (buy_sell_indicator, 19, 1),
            (shares, 20, 4),
            (stock, 24, 8),
            (price, 32, 4),
        ]
    }
    layout! {
        itch50::AddOrderWithMpid, 40, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
            (buy_sell_indicator, 19, 1),
            (shares, 20, 4),
            (stock, 24, 8),
            (price, 32, 4),
            (attribution, 36, 4),
        ]
    }
    layout! {
        itch50::OrderExecuted, 31, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
            (executed_shares, 19, 4),
            (match_number, 23, 8),
        ]
    }
    layout! {
        itch50::OrderExecutedWithPrice, 36, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
            (executed_shares, 19, 4),
            (match_number, 23, 8),
            (printable, 31, 1),
            (execution_price, 32, 4),
        ]
    }
    layout! {
        itch50::OrderCancel, 23, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
            (canceled_shares, 19, 4),
        ]
    }
    layout! {
        itch50::OrderDelete, 19, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
        ]
    }
    layout! {
        itch50::OrderReplace, 35, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (original_order_reference_number, 11, 8),
            (new_order_reference_number, 19, 8),
            (shares, 27, 4),
            (price, 31, 4),
        ]
    }
    layout! {
        itch50::Trade, 44, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (order_reference_number, 11, 8),
            (buy_sell_indicator, 19, 1),
            (shares, 20, 4),
            (stock, 24, 8),
            (price, 32, 4),
            (match_number, 36, 8),
        ]
    }
    layout! {
        itch50::CrossTrade, 40, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (shares, 11, 8),
            (stock, 19, 8),
            (cross_price, 27, 4),
            (match_number, 31, 8),
            (cross_type, 39, 1),
        ]
    }
    layout! {
        itch50::BrokenTrade, 19, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (match_number, 11, 8),
        ]
    }
    layout! {
        itch50::Noii, 50, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (paired_shares, 11, 8),
            (imbalance_shares, 19, 8),
            (imbalance_direction, 27, 1),
            (stock, 28, 8),
            (far_price, 36, 4),
            (near_price, 40, 4),
            (current_reference_price, 44, 4),
            (cross_type, 48, 1),
            (price_variation_indicator, 49, 1),
        ]
    }
    layout! {
        itch50::RetailPriceImprovementIndicator, 20, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (interest_flag, 19, 1),
        ]
    }
    layout! {
        itch50::DirectListingWithCapitalRaise, 48, [
            (message_type, 0, 1),
            (stock_locate, 1, 2),
            (tracking_number, 3, 2),
            (timestamp, 5, 6),
            (stock, 11, 8),
            (open_eligibility_status, 19, 1),
            (minimum_allowable_price, 20, 4),
            (maximum_allowable_price, 24, 4),
            (near_execution_price, 28, 4),
            (near_execution_time, 32, 8),
            (lower_price_range_collar, 40, 4),
            (upper_price_range_collar, 44, 4),
        ]
    }
}

#[test]
fn itch_length_table_has_every_message_of_the_specification_and_no_other() {
    let table = [
        (b'S', 12),
        (b'R', 39),
        (b'H', 25),
        (b'Y', 20),
        (b'L', 26),
        (b'V', 35),
        (b'W', 12),
        (b'K', 28),
        (b'J', 35),
        (b'h', 21),
        (b'A', 36),
        (b'F', 40),
        (b'E', 31),
        (b'C', 36),
        (b'X', 23),
        (b'D', 19),
        (b'U', 35),
        (b'P', 44),
        (b'Q', 40),
        (b'B', 19),
        (b'I', 50),
        (b'N', 20),
        (b'O', 48),
    ];
    assert_eq!(
        itch50::Message::TYPES,
        table.map(|(message_type, _)| message_type)
    );
    for message_type in 0..=u8::MAX {
        let length = table
            .iter()
            .find(|row| row.0 == message_type)
            .map(|row| row.1);
        assert_eq!(
            itch50::Message::length_of(message_type),
            length,
            "{message_type:#04x}"
        );
    }
}
