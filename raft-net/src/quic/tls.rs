//! Mutual TLS: PEM files become a checked identity once, and inside it is trusted.

use std::sync::Arc;

use raftkit_core::NodeId;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

/// The name that every node's certificate carries, so that an address can be dialled before its node id is known.
pub(crate) const GENERIC_NAME: &str = "raft-node.raftkit";

/// Both sides must offer it, so that another QUIC service is told from a node.
const ALPN: &[u8] = b"raftkit/1";

/// The name that proves a node id.
pub(crate) fn node_name(node: NodeId) -> String {
    format!("node-{node}.raftkit")
}

/// What a node needs to prove itself, as PEM.
#[derive(Clone)]
pub struct TlsFiles {
    /// The certificates of the authorities that peers' certificates are signed by.
    pub ca_pem: Vec<u8>,
    /// This node's certificate, with intermediate ones behind it if there are any.
    pub cert_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
}

/// Which of the three PEM files is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// No usable certificate in the CA file.
    #[error("the CA file holds no usable certificate: {reason}")]
    Ca {
        /// What is wrong with it.
        reason: String,
    },
    /// No usable certificate in the certificate file.
    #[error("the certificate file holds no usable certificate: {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// No usable private key in the key file.
    #[error("the key file holds no usable private key: {reason}")]
    Key {
        /// What is wrong with it.
        reason: String,
    },
    /// The key is of another certificate.
    #[error(
        "the private key does not belong to the certificate: {reason}; use the two that were made together"
    )]
    KeyMismatch {
        /// What is wrong.
        reason: String,
    },
    /// The certificate is not signed by the CA, or not valid now.
    #[error(
        "the certificate is not good under the given CA: {reason}; use a certificate that this CA signed"
    )]
    NotSigned {
        /// What is wrong.
        reason: String,
    },
}

/// A node's checked certificate, key and authorities.
#[derive(Clone)]
pub struct TlsIdentity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    /// Secret, and the same at every start: what stateless resets are derived from.
    key: Arc<PrivateKeyDer<'static>>,
}

impl core::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads and checks the three files against each other.
    ///
    /// # Errors
    /// Which of them is wrong, and how.
    pub fn parse(files: &TlsFiles) -> Result<Self, TlsError> {
        let authorities = certificates(&files.ca_pem).map_err(|reason| TlsError::Ca { reason })?;
        let chain = certificates(&files.cert_pem).map_err(|reason| TlsError::Certificate { reason })?;
        let key = PrivateKeyDer::from_pem_slice(&files.key_pem)
            .map_err(|error| TlsError::Key { reason: error.to_string() })?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| TlsError::Ca { reason: error.to_string() })?;
        }
        check_signed(&chain, &roots)?;
        let certificate = chain[0].clone();
        let (roots, provider) = (Arc::new(roots), Arc::new(provider()));
        let client = client_config(&provider, &roots, chain.clone(), key.clone_key())?;
        let server = server_config(&provider, roots, chain, key.clone_key())?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), certificate, key: Arc::new(key) })
    }

    /// True when the certificate proves this node id.
    #[must_use]
    pub fn names(&self, node: NodeId) -> bool {
        names_node(&self.certificate, node)
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.key.secret_der()
    }
}

/// True when a peer's certificate, which TLS has already checked against the authorities, proves this node id.
pub(crate) fn names_node(certificate: &CertificateDer<'_>, node: NodeId) -> bool {
    let Ok(name) = ServerName::try_from(node_name(node)) else { return false };
    EndEntityCert::try_from(certificate).is_ok_and(|it| it.verify_is_valid_for_subject_name(&name).is_ok())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    for certificate in &found {
        EndEntityCert::try_from(certificate).map_err(|error| error.to_string())?;
    }
    if found.is_empty() { Err("no PEM section CERTIFICATE in it".to_owned()) } else { Ok(found) }
}

fn check_signed(chain: &[CertificateDer<'static>], roots: &RootCertStore) -> Result<(), TlsError> {
    let malformed = |error: webpki::Error| TlsError::Certificate { reason: error.to_string() };
    let own = EndEntityCert::try_from(&chain[0]).map_err(malformed)?;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        own.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &roots.roots,
            &chain[1..],
            UnixTime::now(),
            usage,
            None,
            None,
        )
        .map_err(|error| TlsError::NotSigned { reason: error.to_string() })?;
    }
    Ok(())
}

/// ring, named here so that no process-wide default is needed. AES-128 comes first: it costs less than AES-256.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_root_certificates(Arc::clone(roots))
        .with_client_auth_cert(chain, key)
        .map_err(|error| key_error(&error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection proves both certificates anew: a certificate that was replaced is not remembered.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Ca { reason: error.to_string() })?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| key_error(&error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn key_error(error: &rustls::Error) -> TlsError {
    let reason = error.to_string();
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        TlsError::KeyMismatch { reason }
    } else {
        TlsError::Key { reason }
    }
}
