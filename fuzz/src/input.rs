//! Bytes, taken apart. By hand, because inputs shall stay readable and the tests need no crate for it.

/// What is left of an input. When nothing is left, everything is zero or empty.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub fn number(&mut self) -> u64 {
        self.take(8).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// At most so many bytes.
    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// What lies before the next separator, which is skipped.
    pub fn until(&mut self, separator: &[u8]) -> &'a [u8] {
        let place = self.0.windows(separator.len()).position(|window| window == separator);
        let taken = self.take(place.unwrap_or(self.0.len()));
        self.take(separator.len());
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }
}
