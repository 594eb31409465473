//! XAES-256-GCM, as specified by C2SP (<https://c2sp.org/XAES-256-GCM>): AES-256-GCM (NIST SP 800-38D) with a key of its own
//! for each record, derived from the record's 24-byte nonce.
//!
//! ```text
//! K1    the CMAC subkey (NIST SP 800-38B) of the key K
//! M1    00 01 58 00 ‖ nonce[0..12]
//! M2    00 02 58 00 ‖ nonce[0..12]
//! Kx    AES-256(K, M1 ⊕ K1) ‖ AES-256(K, M2 ⊕ K1): CMAC in counter mode (NIST SP 800-108r1), each message one block
//! Nx    nonce[12..24]
//! ```
//!
//! Two records share key and nonce only if all 24 bytes agree. Random nonces are safe for 2^80 records a key (then the risk of
//! a collision is 2^-32), where AES-GCM's own 12 bytes are for 2^32.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, aead};
use zeroize::Zeroizing;

/// Length of a key in bytes.
pub(super) const KEY_BYTES: usize = 32;
/// Length of a nonce in bytes.
pub(super) const NONCE_BYTES: usize = 24;
/// Length of the tag in bytes, which follows the ciphertext.
pub(super) const TAG_BYTES: usize = 16;

const BLOCK_BYTES: usize = 16;
type Block = [u8; BLOCK_BYTES];

/// A key, ready for use. Wiped on drop.
pub(super) struct Xaes256Gcm {
    aes: Aes256,
    subkey: Zeroizing<Block>,
}

impl Xaes256Gcm {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let aes = Aes256::new(key.into());
        let mut subkey = Zeroizing::new([0; BLOCK_BYTES]);
        aes.encrypt_block((&mut *subkey).into());
        double(&mut subkey);
        Self { aes, subkey }
    }

    /// Encrypts `text` in place and puts the tag behind it.
    ///
    /// # Errors
    /// The text is beyond AES-GCM's 64 GiB.
    pub(super) fn encrypt(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], text: &mut Vec<u8>) -> Result<(), aead::Error> {
        let (gcm, nonce) = self.derive(nonce);
        gcm.encrypt_in_place(&nonce.into(), aad, text)
    }

    /// Checks the tag at the end of `text`, takes it away and decrypts the rest in place.
    ///
    /// # Errors
    /// Nonce, associated data, ciphertext and tag were not made together with this key.
    pub(super) fn decrypt(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], text: &mut Vec<u8>) -> Result<(), aead::Error> {
        let (gcm, nonce) = self.derive(nonce);
        gcm.decrypt_in_place(&nonce.into(), aad, text)
    }

    /// The cipher of one record, and its nonce.
    fn derive(&self, nonce: &[u8; NONCE_BYTES]) -> (Aes256Gcm, [u8; 12]) {
        let mut context = [0; 12];
        let mut rest = [0; 12];
        context.copy_from_slice(&nonce[..12]);
        rest.copy_from_slice(&nonce[12..]);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (counter, half) in (1..).zip(key.chunks_exact_mut(BLOCK_BYTES)) {
            half[..4].copy_from_slice(&[0, counter, b'X', 0]);
            half[4..].copy_from_slice(&context);
            half.iter_mut().zip(self.subkey.iter()).for_each(|(byte, of_subkey)| *byte ^= of_subkey);
            let block: &mut Block = half.try_into().expect("a half has the length of a block");
            self.aes.encrypt_block(block.into());
        }
        (Aes256Gcm::new((&*key).into()), rest)
    }
}

/// Multiplies by x in GF(2^128), as SP 800-38B says in 6.1, without a branch on the secret.
fn double(block: &mut Block) {
    let carry = block[0] >> 7;
    let value = (u128::from_be_bytes(*block) << 1) ^ (u128::from(carry) * 0x87);
    *block = value.to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha3::digest::{ExtendableOutput, Update, XofReader};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// From the specification: what the two kinds of subkey give.
    #[test]
    fn the_examples_of_the_specification_come_out() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let seal = |key: u8, aad: &[u8]| {
            let mut text = b"XAES-256-GCM".to_vec();
            Xaes256Gcm::new(&[key; 32]).encrypt(nonce, aad, &mut text).unwrap();
            hex(&text)
        };
        assert_eq!(seal(1, b""), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        let second = "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d";
        assert_eq!(seal(3, b"c2sp.org/XAES-256-GCM"), second);
    }

    /// Keys, nonces, texts and associated data out of one SHAKE-128 stream, all ciphertexts into another, as the
    /// specification's accumulated vectors are made.
    fn accumulated(iterations: usize) -> String {
        let mut source = sha3::Shake128::default().finalize_xof();
        let mut sink = sha3::Shake128::default();
        let (mut key, mut nonce, mut length) = ([0; KEY_BYTES], [0; NONCE_BYTES], [0]);
        let (mut text, mut aad) = (Vec::new(), Vec::new());
        for _ in 0..iterations {
            source.read(&mut key);
            source.read(&mut nonce);
            for bytes in [&mut text, &mut aad] {
                source.read(&mut length);
                bytes.resize(length[0].into(), 0);
                source.read(bytes);
            }
            let cipher = Xaes256Gcm::new(&key);
            let plain = text.clone();
            cipher.encrypt(&nonce, &aad, &mut text).unwrap();
            sink.update(&text);
            cipher.decrypt(&nonce, &aad, &mut text).unwrap();
            assert_eq!(text, plain);
        }
        let mut digest = [0; 32];
        sink.finalize_xof().read(&mut digest);
        hex(&digest)
    }

    #[test]
    fn the_accumulated_vector_of_10_000_iterations_comes_out() {
        assert_eq!(accumulated(10_000), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
    }

    #[test]
    #[ignore = "takes minutes without optimisation; scripts/prove-secrecy runs it with"]
    fn the_accumulated_vector_of_1_000_000_iterations_comes_out() {
        assert_eq!(accumulated(1_000_000), "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15");
    }
}
