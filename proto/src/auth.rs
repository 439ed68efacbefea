//! The cluster token: a shared secret in the metadata of every call.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Adds the token to outgoing calls, or checks it on incoming ones (see [`Token::check`]).
#[derive(Clone)]
pub struct Token {
    header: MetadataValue<Ascii>,
}

impl Token {
    /// `secret` is the cluster token: printable ASCII without spaces.
    ///
    /// # Errors
    /// When the secret cannot stand in a header.
    pub fn new(secret: &str) -> Result<Self, tonic::metadata::errors::InvalidMetadataValue> {
        let mut header: MetadataValue<Ascii> = format!("Bearer {}", secret.trim()).parse()?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// An interceptor for a server: `unauthenticated` unless the call carries the token.
    pub fn check(&self) -> impl Interceptor + Clone + 'static {
        let expected = self.header.clone();
        move |request: Request<()>| match request.metadata().get("authorization") {
            Some(given) if constant_time_eq(given.as_bytes(), expected.as_bytes()) => Ok(request),
            _ => Err(Status::unauthenticated("the cluster token is missing or wrong")),
        }
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.header.clone());
        Ok(request)
    }
}

/// Compares without leaking the position of the first difference.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_the_token_is_refused() {
        let token = Token::new("secret\n").unwrap();
        let mut check = token.check();
        assert!(check.call(Request::new(())).is_err());
        let request = token.clone().call(Request::new(())).unwrap();
        assert!(check.call(request).is_ok());
        let wrong = Token::new("other").unwrap().call(Request::new(())).unwrap();
        assert!(check.call(wrong).is_err());
    }
}
