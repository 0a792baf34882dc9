//! Mutual TLS: PEM files are checked once and become an identity that is trusted from then on.

use std::sync::Arc;

use raftkit_core::NodeId;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::checkup::{self, check_up};
use super::tls_files::{TlsFiles, node_name};
use super::tls_problem::{TlsError, TlsFile, TlsProblem};

/// Application protocol that both sides must offer, which tells a node from another QUIC service.
const ALPN: &[u8] = b"raftkit/1";

/// A node's checked certificate, key and authorities.
#[derive(Clone)]
pub struct TlsIdentity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    /// The private key. Stateless resets are derived from it, as it is secret and the same at every start.
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
    /// The first problem that was found in one of the files.
    pub fn parse(files: &TlsFiles) -> Result<Self, TlsError> {
        match check_up(files, None, UnixTime::now().as_secs()).problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => Self::unchecked(files),
        }
    }

    /// Builds an identity from unchecked files, for tests of how other nodes react to them.
    ///
    /// # Errors
    /// TLS itself cannot use them.
    #[doc(hidden)]
    pub fn unchecked(files: &TlsFiles) -> Result<Self, TlsError> {
        let ca = |problem| TlsError { file: TlsFile::Ca, problem };
        let authorities = checkup::certificates(&files.ca_pem).map_err(ca)?;
        let chain = checkup::certificates(&files.cert_pem)
            .map_err(|problem| TlsError { file: TlsFile::Certificate, problem })?;
        let key = checkup::key(&files.key_pem).map_err(|problem| TlsError { file: TlsFile::Key, problem })?;
        let mut roots = RootCertStore::empty();
        for (at, authority) in authorities.into_iter().enumerate() {
            roots
                .add(authority)
                .map_err(|error| ca(TlsProblem::Unreadable { number: at + 1, reason: error.to_string() }))?;
        }
        let certificate = chain[0].clone();
        let (roots, provider) = (Arc::new(roots), Arc::new(provider()));
        let client = client_config(&provider, &roots, chain.clone(), key.clone_key())?;
        let server = server_config(&provider, roots, chain, key.clone_key())?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), certificate, key: Arc::new(key) })
    }

    /// The last second in which the certificate is valid, in seconds since 1970.
    #[must_use]
    pub fn valid_until(&self) -> Option<i64> {
        valid_until(&self.certificate)
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
    checkup::is_named(certificate, &node_name(node))
}

/// The last second in which a certificate is valid, in seconds since 1970; none when it cannot be read.
pub(crate) fn valid_until(certificate: &CertificateDer<'_>) -> Option<i64> {
    checkup::facts(TlsFile::Certificate, certificate).map(|facts| facts.valid.1)
}

/// The provider of cryptography: ring, named here so that no process-wide default is needed. AES-128 comes first, as it
/// costs less than AES-256.
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
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build().map_err(
        |error| TlsError {
            file: TlsFile::Ca,
            problem: TlsProblem::Unreadable { number: 1, reason: error.to_string() },
        },
    )?;
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
    let problem = if matches!(error, rustls::Error::InconsistentKeys(_)) {
        TlsProblem::OtherKey
    } else {
        TlsProblem::UnsupportedKey { reason: error.to_string() }
    };
    TlsError { file: TlsFile::Key, problem }
}
