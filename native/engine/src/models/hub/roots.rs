//! The certificates that a server's own is checked against.
//!
//! `SSL_CERT_FILE` (or `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`) is taken alone, as OpenSSL takes it. Else
//! the system's store is, to which a company adds the certificate of its proxy: on Linux and the BSDs the
//! bundle where distributions have it, on macOS and Windows the system's own verifier. Mozilla's roots,
//! which are part of the program, serve where there is no store, as in a small container.

use std::fs;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};
use x2i_core::{Error, Result};

use super::cache::set;

/// Variables that name a file of certificates.
const NAMED: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Where systems have their bundle: Debian and Alpine, Fedora, RHEL, openSUSE, FreeBSD.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/etc/ssl/cert.pem",
];

/// The roots that this machine trusts.
///
/// # Errors
/// [`Error::Config`] for a file that a variable names and that holds no certificate.
pub(super) fn roots() -> Result<RootCerts> {
    if let Some((name, path)) = NAMED.iter().find_map(|name| Some((*name, set(name)?))) {
        return named(name, &path);
    }
    if cfg!(any(windows, target_os = "macos")) {
        return Ok(RootCerts::PlatformVerifier);
    }
    Ok(of_bundles(BUNDLES.map(PathBuf::from)))
}

fn named(name: &str, path: &Path) -> Result<RootCerts> {
    let found = certificates(path);
    if found.is_empty() {
        let reason = format!("{} holds no certificate", path.display());
        return Err(Error::config(name.to_owned(), reason));
    }
    Ok(RootCerts::from(found))
}

/// The first bundle that holds certificates, else Mozilla's roots.
fn of_bundles(bundles: impl IntoIterator<Item = PathBuf>) -> RootCerts {
    let mut read = bundles.into_iter().map(|path| certificates(&path));
    match read.find(|found| !found.is_empty()) {
        Some(found) => RootCerts::from(found),
        None => RootCerts::WebPki,
    }
}

/// The certificates of a file; none where it can't be read. What is no certificate is passed over.
fn certificates(path: &Path) -> Vec<Certificate<'static>> {
    let pem = fs::read(path).unwrap_or_default();
    let items = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a PEM file of one certificate looks like; its content is not read here.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_named_file_is_taken_alone_and_must_hold_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("company.pem");
        fs::write(&file, PEM.repeat(2)).unwrap();
        let roots = named("SSL_CERT_FILE", &file).unwrap();
        assert!(matches!(roots, RootCerts::Specific(found) if found.len() == 2));
        fs::write(&file, "none").unwrap();
        let error = named("SSL_CERT_FILE", &file).unwrap_err().to_string();
        assert!(
            error.ends_with("company.pem holds no certificate"),
            "{error}"
        );
    }

    #[test]
    fn the_first_bundle_is_taken_and_mozillas_roots_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let [none, bundle] = ["none", "bundle"].map(|name| folder.path().join(name));
        fs::write(&bundle, PEM).unwrap();
        let found = of_bundles([none.clone(), bundle]);
        assert!(matches!(found, RootCerts::Specific(found) if found.len() == 1));
        assert!(matches!(of_bundles([none]), RootCerts::WebPki));
    }
}
