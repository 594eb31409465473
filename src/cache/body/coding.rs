//! The content codings of answers, and what they do to bytes.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Moderate levels, because each form is made once and while a caller waits: under a millisecond for 16 KB.
const GZIP_LEVEL: Compression = Compression::new(6);
const BROTLI_LEVEL: i32 = 5;
/// Of 16 KB that were recorded 13 % are left at level 3 and 11 % at 6, after 0.05 ms and 0.2 ms; at level 9 it takes
/// 0.5 ms and nothing is gained. Once for each call to the upstream, 0.2 ms are little beside that call, and the memory
/// and the Redis that are saved are saved for as long as the record lives.
const ZSTD_LEVEL: i32 = 6;
/// Brotli's window, as a power of two: 256 KiB. The encoder's tables grow with it: at its default of 22 one run takes
/// 9 MiB instead of 2, and twice the time, for the same result on 16 KB. At 16 and below it changes to a slower method.
const BROTLI_WINDOW_BITS: i32 = 18;

/// A way to compress a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878. The window never exceeds the 8 MiB that RFC 9659 allows over HTTP: level 6 stays at 2 MiB.
    Zstd,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// The registered name of the content coding (RFC 9110, section 8.4.1, RFC 7932 and RFC 8878).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// `None` if the encoder fails, which none does that writes to memory.
    pub(super) fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), GZIP_LEVEL);
                encoder.write_all(bytes).ok()?;
                encoder.finish().ok()
            }
            Self::Brotli => {
                let parameters =
                    BrotliEncoderParams { quality: BROTLI_LEVEL, lgwin: BROTLI_WINDOW_BITS, ..Default::default() };
                let mut compressed = Vec::new();
                brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters).ok()?;
                Some(compressed)
            }
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).ok(),
        }
    }
}
