//! A market of Nasdaq's size as a BinaryFILE in memory, from a seed.

use tickcast_codecs::binaryfile;
use tickcast_replay::exchange::{Market, MarketConfig};

use crate::Step;

/// A message with its length, on average; room beyond the last one is given back.
const BYTES_A_MESSAGE: usize = 36;

/// Messages between two words on progress.
const TELL_EVERY: u64 = 1 << 16;

/// Which market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generate {
    /// Decides everything else.
    pub seed: u64,
    /// Messages.
    pub messages: u64,
    /// Instruments.
    pub instruments: u16,
}

/// A market as a file.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The BinaryFILE.
    pub file: Vec<u8>,
    /// Messages until every instrument has its definition and its first orders; `None` if there are too few for
    /// that.
    pub opening: Option<u64>,
    /// The instruments' symbols, the busiest first.
    pub symbols: Vec<String>,
}

impl Generate {
    /// What it is, in words.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "generated market, seed {}, {} instruments",
            self.seed, self.instruments
        )
    }

    /// The market.  The same values give the same bytes.
    #[must_use]
    pub fn run(&self, progress: &dyn Fn(Step<'_>)) -> Generated {
        let mut market = Market::new(MarketConfig {
            seed: self.seed,
            instruments: self.instruments,
            ..MarketConfig::full_size()
        });
        let room = usize::try_from(self.messages).unwrap_or(0) * BYTES_A_MESSAGE;
        let mut file = Vec::with_capacity(room);
        let mut message = Vec::with_capacity(64);
        let mut opening = None;
        for number in 0..self.messages {
            if opening.is_none() && market.is_open() {
                opening = Some(number);
            }
            message.clear();
            market.next(&mut message);
            if !binaryfile::encode(&message, &mut file) {
                // The market's day is over.
                break;
            }
            if number % TELL_EVERY == 0 {
                progress(Step {
                    what: "messages are generated",
                    done: number,
                    of: self.messages,
                });
            }
        }
        binaryfile::encode_end_of_session(&mut file);
        file.shrink_to_fit();
        let symbols = (1..=self.instruments).filter_map(|locate| market.symbol(locate));
        Generated {
            file,
            opening,
            symbols: symbols
                .map(|symbol| String::from_utf8_lossy(symbol).trim_end().to_owned())
                .collect(),
        }
    }
}
