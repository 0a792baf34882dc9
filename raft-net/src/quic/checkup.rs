//! Checks the PEM files of a node before they are used, and explains which one is wrong, how, and what to do.
//!
//! TLS libraries say no; an operator with certificates from a PKI of their own needs to know why.

use std::collections::BTreeSet;

use raftkit_core::NodeId;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::tls_files::{GENERIC_NAME, TlsFiles, node_name};
use super::tls_problem::{TlsError, TlsFile, TlsProblem};

/// The facts of a certificate that matter to an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The file that contains the certificate.
    pub file: TlsFile,
    /// The subject that the certificate is for.
    pub subject: String,
    /// The authority that issued the certificate.
    pub issuer: String,
    /// The first and the last second in which the certificate is valid, in seconds since 1970.
    pub valid: (i64, i64),
    /// The last day on which the certificate is valid, for display.
    pub end: String,
    /// The DNS names that the certificate carries.
    pub names: BTreeSet<String>,
}

/// Result of checking the three files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkup {
    /// The problems; empty when the files can be used.
    pub problems: Vec<TlsError>,
    /// The certificates that can be read, those of the CA file first.
    pub certificates: Vec<CertificateFacts>,
}

/// Looks at all three files, at a time in seconds since 1970. With a node, the certificate must be that node's.
#[must_use]
pub fn check_up(files: &TlsFiles, node: Option<NodeId>, now: u64) -> Checkup {
    let mut checkup = Checkup::default();
    let roots = checkup.take(TlsFile::Ca, certificates(&files.ca_pem));
    let chain = checkup.take(TlsFile::Certificate, certificates(&files.cert_pem));
    let key = checkup.take(TlsFile::Key, key(&files.key_pem));
    for (file, found) in [(TlsFile::Ca, &roots), (TlsFile::Certificate, &chain)] {
        checkup.certificates.extend(found.iter().flatten().filter_map(|it| facts(file, it)));
    }
    let Some(chain) = chain else { return checkup };
    if let Some(key) = key
        && let Err(problem) = fits(&key, &chain)
    {
        checkup.problems.push(TlsError { file: TlsFile::Key, problem });
    }
    let mut problems = own(&chain[0], node, now);
    if let Some(roots) = roots {
        let same = |a: &TlsProblem, b: &TlsProblem| core::mem::discriminant(a) == core::mem::discriminant(b);
        if let Err(problem) = holds(&chain, roots, now)
            && !problems.iter().any(|known| same(known, &problem))
        {
            problems.push(problem);
        }
    }
    checkup
        .problems
        .extend(problems.into_iter().map(|problem| TlsError { file: TlsFile::Certificate, problem }));
    checkup
}

impl Checkup {
    fn take<T>(&mut self, file: TlsFile, found: Result<T, TlsProblem>) -> Option<T> {
        found.map_err(|problem| self.problems.push(TlsError { file, problem })).ok()
    }
}

/// Reads the certificates in a PEM file.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    sections(pem, "CERTIFICATE", "x509", |label| label == "CERTIFICATE")?;
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsProblem::BrokenPem { reason: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsProblem::BrokenPem { reason: "a section has no end".to_owned() });
    }
    for (at, certificate) in found.iter().enumerate() {
        let readable = EndEntityCert::try_from(certificate).map_err(|error| error.to_string());
        readable.map_err(|reason| TlsProblem::Unreadable { number: at + 1, reason })?;
    }
    Ok(found)
}

/// Reads the private key in a PEM file.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let labels = sections(pem, "PRIVATE KEY", "pkey", |label| label.ends_with("PRIVATE KEY"))?;
    let text = String::from_utf8_lossy(pem);
    let plain = labels.iter().any(|label| label.ends_with("PRIVATE KEY") && label != "ENCRYPTED PRIVATE KEY");
    if !plain || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsProblem::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| TlsProblem::BrokenPem { reason: error.to_string() })
}

/// Reads the labels of all PEM sections; at least one of them must be of a wanted kind.
fn sections(
    pem: &[u8],
    wanted: &'static str,
    command: &'static str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, TlsProblem> {
    if pem.iter().all(u8::is_ascii_whitespace) {
        return Err(TlsProblem::Empty);
    }
    let text = String::from_utf8_lossy(pem);
    let label = |line: &str| Some(line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned());
    let found: Vec<String> = text.lines().filter_map(label).collect();
    // A DER file is a SEQUENCE of more than 127 bytes.
    if found.is_empty() && pem.starts_with(&[0x30, 0x82])
        || found.is_empty() && pem.starts_with(&[0x30, 0x81])
    {
        return Err(TlsProblem::Der { command });
    }
    if found.iter().any(|label| is_wanted(label)) {
        Ok(found)
    } else {
        Err(TlsProblem::NoSection { wanted, found })
    }
}

/// Checks that the key belongs to the certificate.
fn fits(key: &PrivateKeyDer<'static>, chain: &[CertificateDer<'static>]) -> Result<(), TlsProblem> {
    let unsupported = |error: rustls::Error| TlsProblem::UnsupportedKey { reason: error.to_string() };
    let provider: CryptoProvider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key.clone_key()).map_err(unsupported)?;
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsProblem::OtherKey),
        Err(error) => Err(unsupported(error)),
    }
}

/// Checks the node's certificate itself.
fn own(certificate: &CertificateDer<'_>, node: Option<NodeId>, now: u64) -> Vec<TlsProblem> {
    let mut problems = Vec::new();
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return problems };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now > validity.not_after.timestamp() {
        problems.push(TlsProblem::Expired { end: day(&validity.not_after) });
    }
    if now < validity.not_before.timestamp() {
        problems.push(TlsProblem::NotYetValid { begin: day(&validity.not_before) });
    }
    if parsed.is_ca() {
        problems.push(TlsProblem::Authority);
        return problems;
    }
    if let Ok(Some(usage)) = parsed.extended_key_usage() {
        if !usage.value.server_auth {
            problems.push(TlsProblem::MissingUsage { usage: "server" });
        }
        if !usage.value.client_auth {
            problems.push(TlsProblem::MissingUsage { usage: "client" });
        }
    }
    let names = names(&parsed);
    if !is_named(certificate, GENERIC_NAME) {
        problems.push(TlsProblem::MissingName { names: names.clone() });
    }
    if let Some(node) = node.filter(|node| !is_named(certificate, &node_name(*node))) {
        problems.push(TlsProblem::OtherNode { node, names });
    }
    problems
}

pub(super) fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name.to_owned()) else { return false };
    EndEntityCert::try_from(certificate).is_ok_and(|it| it.verify_is_valid_for_subject_name(&name).is_ok())
}

/// Checks that the chain leads to one of the authorities.
#[expect(clippy::wildcard_enum_match_arm, reason = "the verifier's errors are many, and grow")]
fn holds(
    chain: &[CertificateDer<'static>],
    authorities: Vec<CertificateDer<'static>>,
    now: u64,
) -> Result<(), TlsProblem> {
    let bad = |reason: String| TlsProblem::BadChain { reason };
    let subjects: BTreeSet<String> =
        authorities.iter().filter_map(|it| Some(facts(TlsFile::Ca, it)?.subject)).collect();
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| bad(error.to_string()))?;
    }
    let end = EndEntityCert::try_from(&chain[0]).map_err(|error| bad(error.to_string()))?;
    let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now));
    for (usage, name) in [(KeyUsage::server_auth(), "server"), (KeyUsage::client_auth(), "client")] {
        let verified = end.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &roots.roots,
            &chain[1..],
            now,
            usage,
            None,
            None,
        );
        let Err(error) = verified else { continue };
        let issuer = || top_issuer(chain);
        return Err(match error {
            webpki::Error::UnknownIssuer => {
                TlsProblem::UnknownIssuer { issuer: issuer(), authorities: subjects }
            }
            webpki::Error::InvalidSignatureForPublicKey => TlsProblem::OtherAuthority { issuer: issuer() },
            webpki::Error::CaUsedAsEndEntity => TlsProblem::Authority,
            webpki::Error::CertExpired { not_after, .. } => {
                TlsProblem::Expired { end: day_of(not_after.as_secs()) }
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                TlsProblem::NotYetValid { begin: day_of(not_before.as_secs()) }
            }
            webpki::Error::RequiredEkuNotFoundContext(_) => TlsProblem::MissingUsage { usage: name },
            other => bad(other.to_string()),
        });
    }
    Ok(())
}

/// Returns the issuer of the chain's last certificate in the file.
fn top_issuer(chain: &[CertificateDer<'static>]) -> String {
    let all: Vec<CertificateFacts> = chain.iter().filter_map(|it| facts(TlsFile::Certificate, it)).collect();
    let Some(first) = all.first() else { return "nobody".to_owned() };
    let mut issuer = first.issuer.clone();
    // No longer than the chain: two certificates may name each other.
    for _ in &all {
        match all.iter().skip(1).find(|it| it.subject == issuer && it.issuer != issuer) {
            Some(next) => issuer.clone_from(&next.issuer),
            None => break,
        }
    }
    issuer
}

/// Returns the facts of a certificate that an operator needs; none when the certificate cannot be read.
pub(super) fn facts(file: TlsFile, certificate: &CertificateDer<'_>) -> Option<CertificateFacts> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(CertificateFacts {
        file,
        subject: format!("{:?}", parsed.subject().to_string()),
        issuer: format!("{:?}", parsed.issuer().to_string()),
        valid: (validity.not_before.timestamp(), validity.not_after.timestamp()),
        end: day(&validity.not_after),
        names: names(&parsed),
    })
}

fn names(parsed: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return BTreeSet::new() };
    let dns = names.value.general_names.iter().filter_map(|name| {
        let x509_parser::extensions::GeneralName::DNSName(name) = name else { return None };
        Some((*name).to_owned())
    });
    dns.collect()
}

/// Formats the day of a time for display.
fn day(time: &x509_parser::time::ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

/// Formats the day of a time in seconds since 1970 for display.
#[must_use]
pub fn date(seconds: i64) -> String {
    let time = x509_parser::time::ASN1Time::from_timestamp(seconds);
    time.map_or_else(|_| format!("second {seconds} since 1970"), |time| day(&time))
}

fn day_of(seconds: u64) -> String {
    date(i64::try_from(seconds).unwrap_or(i64::MAX))
}
