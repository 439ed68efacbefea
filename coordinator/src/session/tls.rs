//! The server's certificate.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::ServerConfig;

/// The TLS settings for a certificate chain and its key, both PEM files; `None` when none is configured.
///
/// # Errors
/// Files that cannot be read, hold no certificate or key, or do not belong together.
pub fn server_config(certificate_file: &Path, key_file: &Path) -> Result<Option<Arc<ServerConfig>>> {
    if certificate_file.as_os_str().is_empty() && key_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let open =
        |path: &Path| File::open(path).map(BufReader::new).with_context(|| format!("cannot open {}", path.display()));
    let (certificate, key) = (certificate_file.display(), key_file.display());
    let chain = rustls_pemfile::certs(&mut open(certificate_file)?)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("cannot read {certificate}"))?;
    ensure!(!chain.is_empty(), "{certificate} holds no certificate");
    let private_key = rustls_pemfile::private_key(&mut open(key_file)?)
        .with_context(|| format!("cannot read {key}"))?
        .with_context(|| format!("{key} holds no private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .context("the certificate and its key do not fit")?;
    Ok(Some(Arc::new(config)))
}
