//! What a server knows of a password (`pg_authid.rolpassword`).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::ScramError;

const PREFIX: &str = "SCRAM-SHA-256";
/// PostgreSQL's default.
const ITERATIONS: u32 = 4096;
/// PostgreSQL's salts, in bytes.
const SALT_LEN: usize = 16;

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; 32],
    pub(super) server_key: [u8; 32],
    /// False for a verifier that must never verify.
    pub(super) genuine: bool,
}

impl Verifier {
    /// Of a password, after SASLprep where that applies (as PostgreSQL, not where the password has prohibited characters).
    pub fn of_password(password: &str, salt: &[u8], iterations: u32) -> Self {
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let salted = salted_password(prepared.as_bytes(), salt, iterations.max(1));
        let client_key = hmac_sha256(&salted, b"Client Key");
        Self {
            iterations: iterations.max(1),
            salt: salt.to_vec(),
            stored_key: sha256(&[&client_key]),
            server_key: hmac_sha256(&salted, b"Server Key"),
            genuine: true,
        }
    }

    pub(super) fn mock(role: &str, secret: &[u8]) -> Self {
        let salt = sha256(&[role.as_bytes(), secret]);
        Self {
            iterations: ITERATIONS,
            salt: salt[..SALT_LEN].to_vec(),
            stored_key: sha256(&[secret, role.as_bytes()]),
            server_key: [0; 32],
            genuine: false,
        }
    }
}

impl FromStr for Verifier {
    type Err = ScramError;

    fn from_str(text: &str) -> Result<Self, ScramError> {
        let parse = || {
            let mut parts = text.split('$');
            let (prefix, parameters, keys) = (parts.next()?, parts.next()?, parts.next()?);
            let (iterations, salt) = parameters.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let key = |text: &str| <[u8; 32]>::try_from(BASE64.decode(text).ok()?).ok();
            let iterations = iterations.parse().ok().filter(|iterations| *iterations > 0)?;
            if prefix != PREFIX || parts.next().is_some() {
                return None;
            }
            let salt = BASE64.decode(salt).ok()?;
            Some(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)?, genuine: true })
        };
        parse().ok_or(ScramError::Verifier)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored) = (BASE64.encode(&self.salt), BASE64.encode(self.stored_key));
        write!(f, "{PREFIX}${}:{salt}${stored}:{}", self.iterations, BASE64.encode(self.server_key))
    }
}

impl fmt::Debug for Verifier {
    /// Without the keys: who has ServerKey can pose as the server.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The verifier of a password, as PostgreSQL stores it. `salt` are random bytes, 16 as PostgreSQL has them; PostgreSQL's
/// `iterations` are 4096.
pub fn make_verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    Verifier::of_password(password, salt, iterations).to_string()
}

/// `Hi` of RFC 5802, which is PBKDF2 for one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let keyed = keyed(password);
    let mut block = keyed.clone().chain_update(salt).chain_update(1u32.to_be_bytes()).finalize().into_bytes();
    let mut result: [u8; 32] = block.into();
    for _ in 1..iterations {
        block = keyed.clone().chain_update(block).finalize().into_bytes();
        for (byte, mask) in result.iter_mut().zip(block) {
            *byte ^= mask;
        }
    }
    result
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

pub(super) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(message).finalize().into_bytes().into()
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
