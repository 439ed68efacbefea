//! The certificate with which a member's PostgreSQL encrypts replication. Nobody has to trust it: SCRAM with channel binding proves that the
//! server at the other end of the connection knows the cluster's secret.

use std::io;
use std::path::PathBuf;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::PostgresError;
use super::data_dir::{file, replace, replace_private};
use crate::settings::Settings;

/// Where PostgreSQL finds certificate and key, PEM.
pub(super) fn paths(settings: &Settings) -> (PathBuf, PathBuf) {
    (settings.run_dir.join("postgres.crt"), settings.run_dir.join("postgres.key"))
}

/// Makes certificate and key where there are none.
///
/// # Errors
/// When they cannot be made or written.
pub(super) fn ensure(settings: &Settings) -> Result<(), PostgresError> {
    let (certificate, key) = paths(settings);
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let (certificate_pem, key_pem) =
        make(settings).map_err(|error| file("make", &certificate, io::Error::other(error)))?;
    replace_private(&key, &key_pem)?;
    replace(&certificate, &certificate_pem)
}

fn make(settings: &Settings) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![settings.name.clone()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, settings.name.as_str());
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { run_dir: folder.path().to_owned(), name: "g1-n1".into(), ..Settings::default() };
        ensure(&settings).unwrap();
        let (certificate, key) = paths(&settings);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read_to_string(&certificate).unwrap();
        assert!(first.starts_with("-----BEGIN CERTIFICATE-----"), "{first}");
        ensure(&settings).unwrap();
        assert_eq!(fs::read_to_string(&certificate).unwrap(), first);
    }
}
