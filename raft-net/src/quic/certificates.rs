//! Makes certificates: an authority for a cluster, and a certificate for each node. They do not expire, unless an end is
//! given for a node's.

use core::time::Duration;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use raftkit_core::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::tls_files::{GENERIC_NAME, TlsFiles, node_name};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate authority. Anyone who holds its key can make certificates for nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaPem {
    /// The authority's certificate, which every node needs.
    pub cert: String,
    /// The authority's private key, for the operator alone.
    pub key: String,
}

/// A node's certificate with its private key, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePem {
    /// The certificate, for the node to present.
    pub cert: String,
    /// The certificate's private key, for that node alone.
    pub key: String,
}

/// Error of making a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The authority's certificate or key cannot be used.
    #[error("the CA's {part} cannot be used: {reason}")]
    BadCa {
        /// The part that cannot be used: `certificate` or `key`.
        part: &'static str,
        /// The problem with it.
        reason: rcgen::Error,
    },
    /// A host is neither a DNS name nor an IP address.
    #[error("{host:?} is neither a DNS name nor an IP address: {reason}")]
    BadHost {
        /// The malformed host.
        host: String,
        /// The problem with it.
        reason: rcgen::Error,
    },
    /// A file or folder cannot be used.
    #[error("the folder for certificates cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The key or the certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Failed(#[from] rcgen::Error),
}

/// Makes what nodes on one machine need for trying something out: an authority in `dir`, made by the node that comes
/// first, and a certificate for `node`, made anew each time. For anything else make them apart and keep the authority's
/// key away.
///
/// # Errors
/// The folder cannot be used, or what it holds is no authority.
pub fn for_trying_out(dir: &Path, node: NodeId) -> Result<TlsFiles, CertificateError> {
    let path = dir.join("trial-ca.pem");
    if !path.exists() {
        std::fs::create_dir_all(dir)?;
        let ca = create_ca("trial")?;
        let aside = dir.join(format!("trial-ca-{node}.tmp"));
        std::fs::write(&aside, ca.cert + &ca.key)?;
        // A link appears whole, and only where there is none: another node may be doing the same now.
        let linked = std::fs::hard_link(&aside, &path);
        std::fs::remove_file(&aside)?;
        if let Err(error) = linked
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error.into());
        }
    }
    let both = std::fs::read_to_string(path)?;
    let key_at = both.find("-----BEGIN PRIVATE KEY").unwrap_or(both.len());
    let (cert, key) = both.split_at(key_at);
    let ca = CaPem { cert: cert.to_owned(), key: key.to_owned() };
    let own = create_node_certificate(&ca, node, &["127.0.0.1".to_owned()])?;
    Ok(TlsFiles { ca_pem: ca.cert.into(), cert_pem: own.cert.into(), key_pem: own.key.into() })
}

/// Makes an authority with this common name.
///
/// # Errors
/// The machine's random source or signing failed.
pub fn create_ca(name: &str) -> Result<CaPem, CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(&key)?;
    Ok(CaPem { cert: cert.pem(), key: key.serialize_pem() })
}

/// Makes the certificate of `node`. Besides `hosts` (DNS names or IP addresses, for tools that check them) it names
/// `raft-node.raftkit`, which every node answers to, and `node-<id>.raftkit`, which proves the id that it claims.
///
/// # Errors
/// The authority's PEM cannot be used, a host is malformed, or the random source failed.
pub fn create_node_certificate(
    ca: &CaPem,
    node: NodeId,
    hosts: &[String],
) -> Result<NodePem, CertificateError> {
    issue(ca, node, hosts, None)
}

/// As [`create_node_certificate`], for a certificate that ends `days` days from now.
///
/// # Errors
/// As [`create_node_certificate`].
#[expect(clippy::disallowed_methods, reason = "a certificate ends on a date")]
pub fn create_node_certificate_for(
    ca: &CaPem,
    node: NodeId,
    hosts: &[String],
    days: u32,
) -> Result<NodePem, CertificateError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    issue(ca, node, hosts, Some(now + DAY * days))
}

/// Makes a node's certificate; `end` is counted from 1970.
fn issue(
    ca: &CaPem,
    node: NodeId,
    hosts: &[String],
    end: Option<Duration>,
) -> Result<NodePem, CertificateError> {
    let ca_key =
        KeyPair::from_pem(&ca.key).map_err(|reason| CertificateError::BadCa { part: "key", reason })?;
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, ca_key)
        .map_err(|reason| CertificateError::BadCa { part: "certificate", reason })?;
    let mut params = CertificateParams::new(vec![GENERIC_NAME.to_owned(), node_name(node)])?;
    for host in hosts {
        let named = CertificateParams::new(vec![host.clone()])
            .map_err(|reason| CertificateError::BadHost { host: host.clone(), reason })?;
        params.subject_alt_names.extend(named.subject_alt_names);
    }
    if let Some(end) = end {
        params.not_after = date_time_ymd(1970, 1, 1) + end;
    }
    params.distinguished_name.push(DnType::CommonName, node_name(node));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &issuer)?;
    Ok(NodePem { cert: cert.pem(), key: key.serialize_pem() })
}
