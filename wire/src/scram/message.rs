//! The client's two messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::ScramError;

/// What the client says of channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gs2 {
    /// `n`: it cannot.
    NotSupported,
    /// `y`: it could, but was not offered it.
    NotOffered,
    /// `p=tls-server-end-point`.
    Bound,
}

impl Gs2 {
    /// The header that said so.
    pub(super) fn header(self) -> &'static [u8] {
        match self {
            Self::NotSupported => b"n,,",
            Self::NotOffered => b"y,,",
            Self::Bound => b"p=tls-server-end-point,,",
        }
    }
}

fn malformed(detail: &'static str) -> ScramError {
    ScramError::Malformed { detail }
}

fn text(data: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(data)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or(malformed("The message is not a string of UTF-8."))
}

/// The value of an attribute such as `r=...`.
fn attribute<'a>(part: Option<&'a str>, name: &str, detail: &'static str) -> Result<&'a str, ScramError> {
    part.and_then(|part| part.strip_prefix(name)).and_then(|part| part.strip_prefix('=')).ok_or(malformed(detail))
}

pub(super) struct ClientFirst<'a> {
    pub(super) gs2: Gs2,
    /// What follows the GS2 header; signed.
    pub(super) bare: &'a str,
    pub(super) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ScramError> {
        let message = text(data)?;
        let mut header = message.splitn(3, ',');
        let (flag, authorization, bare) = (header.next(), header.next(), header.next());
        let gs2 = match flag.unwrap_or_default() {
            "n" => Gs2::NotSupported,
            "y" => Gs2::NotOffered,
            "p=tls-server-end-point" => Gs2::Bound,
            binding if binding.starts_with("p=") => {
                return Err(ScramError::Unsupported {
                    detail: "Only tls-server-end-point channel binding is offered.",
                });
            }
            _ => return Err(malformed("Unexpected channel-binding flag.")),
        };
        match authorization {
            Some("") => {}
            Some(other) if other.starts_with("a=") => {
                return Err(ScramError::Unsupported { detail: "The client uses an authorization identity." });
            }
            _ => return Err(malformed("Unexpected attribute in the header.")),
        }
        let bare = bare.ok_or(malformed("The message ends within its header."))?;
        if bare.starts_with('m') {
            return Err(ScramError::Unsupported { detail: "The client requires a SCRAM extension." });
        }
        let mut parts = bare.split(',');
        // The user name of the startup packet counts, not this one.
        attribute(parts.next(), "n", "The user name is missing.")?;
        let nonce = attribute(parts.next(), "r", "The nonce is missing.")?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed("Non-printable characters in SCRAM nonce."));
        }
        Ok(Self { gs2, bare, nonce })
    }
}

pub(super) struct ClientFinal<'a> {
    /// The GS2 header again, then the channel's data; decoded.
    pub(super) channel_binding: Vec<u8>,
    pub(super) nonce: &'a str,
    /// Everything before the proof; signed.
    pub(super) without_proof: &'a str,
    pub(super) proof: [u8; 32],
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, ScramError> {
        let message = text(data)?;
        // The proof is last, and base64 holds no comma.
        let (without_proof, proof) = message.rsplit_once(',').ok_or(malformed("The proof is missing."))?;
        let proof = attribute(Some(proof), "p", "The proof is missing.")?;
        let proof = BASE64
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(malformed("Malformed proof in client-final-message."))?;
        let mut parts = without_proof.split(',');
        let channel_binding = attribute(parts.next(), "c", "The channel binding is missing.")?;
        let channel_binding =
            BASE64.decode(channel_binding).map_err(|_| malformed("The channel binding is not base64."))?;
        let nonce = attribute(parts.next(), "r", "The nonce is missing.")?;
        Ok(Self { channel_binding, nonce, without_proof, proof })
    }
}
