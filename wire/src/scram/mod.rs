//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), as PostgreSQL speaks it.
//!
//! 1. The server offers [`ServerScram::mechanisms`] in AuthenticationSASL.
//! 2. [`ServerScram::on_client_first`] answers the client's first message with salt, iterations and nonces.
//! 3. [`ServerScram::on_client_final`] checks the client's proof and answers with the server's own.
//!
//! Randomness comes in as arguments.

mod message;
mod verifier;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use verifier::{Verifier, make_verifier};

use message::{ClientFinal, ClientFirst, Gs2};
use verifier::{hmac_sha256, sha256};

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism bound to the TLS channel.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Why a login does not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed { detail: &'static str },
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    #[error("SCRAM channel binding check failed")]
    ChannelBinding,
    #[error("client requires an unsupported SCRAM feature")]
    Unsupported { detail: &'static str },
    /// A wrong password, or a role that cannot log in: the client must not learn which.
    #[error("password authentication failed")]
    Failed,
    #[error("invalid SCRAM-SHA-256 verifier")]
    Verifier,
}

impl ScramError {
    /// The SQLSTATE that PostgreSQL gives.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::Mechanism => "08P01",
            Self::Downgrade | Self::ChannelBinding => "28000",
            Self::Unsupported { .. } => "0A000",
            Self::Failed => "28P01",
            Self::Verifier => "XX000",
        }
    }

    /// More about a malformed message, for the DETAIL field.
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Malformed { detail } | Self::Unsupported { detail } => Some(detail),
            _ => None,
        }
    }
}

/// One login.
#[derive(Debug)]
pub struct ServerScram {
    verifier: Verifier,
    /// Hash of the server's certificate (`tls-server-end-point`, RFC 5929), when the connection is TLS.
    certificate_hash: Option<Vec<u8>>,
    state: State,
}

#[derive(Debug)]
enum State {
    Initial,
    /// The client's first message was answered.
    Challenged {
        gs2: Gs2,
        client_first_bare: String,
        server_first: String,
        nonce: String,
    },
    Over,
}

impl ServerScram {
    /// For a role with this `rolpassword`.
    ///
    /// # Errors
    /// XX000 when it is not a SCRAM-SHA-256 verifier (no password, or MD5): such a role logs in as [`ServerScram::mock`] does,
    /// never.
    pub fn new(verifier: &str) -> Result<Self, ScramError> {
        Ok(Self { verifier: verifier.parse()?, certificate_hash: None, state: State::Initial })
    }

    /// For a role that does not exist or has no password: talks like the others and fails at the end. `secret` must stay the same
    /// for a cluster's life, so that a role's salt does not change between attempts.
    pub fn mock(role: &str, secret: &[u8]) -> Self {
        Self { verifier: Verifier::mock(role, secret), certificate_hash: None, state: State::Initial }
    }

    /// Offers channel binding: `hash` is that of the server's certificate with its signature's hash function (SHA-256 instead
    /// of MD5 and SHA-1).
    #[must_use]
    pub fn with_certificate_hash(mut self, hash: Vec<u8>) -> Self {
        self.certificate_hash = Some(hash);
        self
    }

    /// What to offer, the preferred first.
    pub fn mechanisms(&self) -> &'static [&'static str] {
        if self.certificate_hash.is_some() { &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256] } else { &[SCRAM_SHA_256] }
    }

    /// Answers the data of SASLInitialResponse with the data of AuthenticationSASLContinue. `nonce` are random bytes, 18 as
    /// PostgreSQL has them.
    ///
    /// # Errors
    /// 08P01 for a mechanism not offered or a malformed message, 28000 when channel binding does not fit, 0A000 for extensions.
    pub fn on_client_first(&mut self, mechanism: &str, data: &[u8], nonce: &[u8]) -> Result<Vec<u8>, ScramError> {
        if !matches!(self.state, State::Initial) {
            return Err(ScramError::Malformed { detail: "A first message is not due." });
        }
        self.state = State::Over;
        if !self.mechanisms().contains(&mechanism) {
            return Err(ScramError::Mechanism);
        }
        let first = ClientFirst::parse(data)?;
        match (first.gs2, mechanism == SCRAM_SHA_256_PLUS) {
            (Gs2::Bound, true) | (Gs2::NotSupported, false) => {}
            (Gs2::Bound, false) => {
                return Err(ScramError::Malformed {
                    detail: "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
                });
            }
            (Gs2::NotSupported | Gs2::NotOffered, true) => {
                return Err(ScramError::Malformed {
                    detail: "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.",
                });
            }
            // The client thinks that PLUS was not offered: if it was, somebody in between took it out.
            (Gs2::NotOffered, false) if self.certificate_hash.is_some() => return Err(ScramError::Downgrade),
            (Gs2::NotOffered, false) => {}
        }
        let nonce = format!("{}{}", first.nonce, BASE64.encode(nonce));
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&self.verifier.salt), self.verifier.iterations);
        self.state = State::Challenged {
            gs2: first.gs2,
            client_first_bare: first.bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok(server_first.into_bytes())
    }

    /// Answers the data of SASLResponse with the data of AuthenticationSASLFinal, after which the client is who it says it is.
    ///
    /// # Errors
    /// 28P01 for a wrong proof, 08P01 for a malformed message, 28000 when the channel is another one.
    pub fn on_client_final(&mut self, data: &[u8]) -> Result<Vec<u8>, ScramError> {
        let State::Challenged { gs2, client_first_bare, server_first, nonce } =
            std::mem::replace(&mut self.state, State::Over)
        else {
            return Err(ScramError::Malformed { detail: "A final message is not due." });
        };
        let last = ClientFinal::parse(data)?;
        let mut expected = gs2.header().to_vec();
        if gs2 == Gs2::Bound {
            expected.extend_from_slice(self.certificate_hash.as_deref().unwrap_or_default());
        }
        if last.channel_binding != expected {
            return Err(ScramError::ChannelBinding);
        }
        if last.nonce != nonce {
            return Err(ScramError::Malformed { detail: "Nonce does not match." });
        }
        let signed = format!("{client_first_bare},{server_first},{}", last.without_proof);
        let signature = hmac_sha256(&self.verifier.stored_key, signed.as_bytes());
        let mut client_key = last.proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        // Both are computed before either is looked at, so that a mock takes as long as a wrong password.
        let proven = same(&sha256(&[&client_key]), &self.verifier.stored_key);
        if !(proven & self.verifier.genuine) {
            return Err(ScramError::Failed);
        }
        let server_signature = hmac_sha256(&self.verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", BASE64.encode(server_signature)).into_bytes())
    }
}

/// Equality in a time that does not depend on where the difference is.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    std::hint::black_box(left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right))) == 0
}

#[cfg(test)]
mod tests;
