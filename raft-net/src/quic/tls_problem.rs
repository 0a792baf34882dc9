//! Problems of a node's CA, certificate and key, with words that say what to do.

use std::collections::BTreeSet;

use raftkit_core::NodeId;

use super::tls_files::{GENERIC_NAME, node_name};

/// One of the three PEM files of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsFile {
    /// The file with the certificates of the authorities.
    Ca,
    /// The file with the node's certificate.
    Certificate,
    /// The file with the node's private key.
    Key,
}

impl core::fmt::Display for TlsFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Ca => "the CA file",
            Self::Certificate => "the certificate file",
            Self::Key => "the key file",
        })
    }
}

/// A problem with a file; its words say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// The file is empty.
    #[error("it is empty; was it written completely?")]
    Empty,
    /// The file is binary DER.
    #[error("it is DER, not PEM; convert it with `openssl {command} -inform der -in FILE -out FILE.pem`")]
    Der {
        /// openssl's command for what it should hold.
        command: &'static str,
    },
    /// The file contains no PEM section of the right kind.
    #[error("it holds no PEM section {wanted}{}", found_instead(found))]
    NoSection {
        /// The kind of section that it should contain.
        wanted: &'static str,
        /// The kinds of sections that it contains.
        found: Vec<String>,
    },
    /// A PEM section is broken.
    #[error("it is broken PEM ({reason}); write it anew, whole")]
    BrokenPem {
        /// The error that parsing returned.
        reason: String,
    },
    /// A certificate cannot be read.
    #[error(
        "its certificate number {number} cannot be read ({reason}); make it anew, as an X.509 certificate of version 3"
    )]
    Unreadable {
        /// The certificate's number in the file, from 1.
        number: usize,
        /// The error that parsing returned.
        reason: String,
    },
    /// The key needs a passphrase.
    #[error(
        "the key is encrypted, and a node has to start without a passphrase; decrypt it with \
         `openssl pkey -in FILE -out NEWFILE`, and let nobody but the node's user read the new file"
    )]
    EncryptedKey,
    /// The key is of a kind that TLS here cannot use.
    #[error(
        "the key is of a kind that is not supported ({reason}); use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 bits or more"
    )]
    UnsupportedKey {
        /// The error of TLS.
        reason: String,
    },
    /// The key does not belong to the certificate.
    #[error("the key is not that of the certificate; use the two that were made together")]
    OtherKey,
    /// The certificate has expired.
    #[error("the certificate has ended on {end}; renew it, or correct this machine's clock if it is wrong")]
    Expired {
        /// The last day on which the certificate was valid.
        end: String,
    },
    /// The certificate is not valid yet.
    #[error("the certificate is valid from {begin} on; correct this machine's clock if it is wrong, or wait")]
    NotYetValid {
        /// The first day on which the certificate will be valid.
        begin: String,
    },
    /// An extended key usage is missing.
    #[error(
        "the certificate is not for {usage} authentication; nodes dial each other, so issue it with the extended key \
         usages serverAuth and clientAuth"
    )]
    MissingUsage {
        /// The missing usage: `server` or `client`.
        usage: &'static str,
    },
    /// The name that every node has is missing.
    #[error(
        "the certificate does not name {GENERIC_NAME}, as that of each node must; issue it with this DNS name and node-<id>.raftkit (it names {})",
        listed(names)
    )]
    MissingName {
        /// The names that the certificate has.
        names: BTreeSet<String>,
    },
    /// The certificate names another node.
    #[error("the certificate does not name {}, so it is not node {node}'s; use the one that was issued for this node, or correct node-id (it names {})", node_name(*node), listed(names))]
    OtherNode {
        /// Id of this node.
        node: NodeId,
        /// The names that the certificate has.
        names: BTreeSet<String>,
    },
    /// The certificate is an authority's.
    #[error("the certificate is an authority's; use a node's certificate, as `raft-node cert node` makes")]
    Authority,
    /// No certificate in the CA file has the issuer's name.
    #[error(
        "the certificate was issued by {issuer}, and the CA file holds {}; use the CA file of that issuer, or put the \
         intermediate certificates behind the node's own in the certificate file",
        listed(authorities)
    )]
    UnknownIssuer {
        /// The issuer of the certificate, or of the last intermediate one.
        issuer: String,
        /// The subjects in the CA file.
        authorities: BTreeSet<String>,
    },
    /// A certificate in the CA file has the issuer's name, but another key.
    #[error(
        "the certificate was issued by {issuer}, but not with the key of the authority of this name in the CA file: \
         there are two of the name; use the CA file that the certificate was issued with"
    )]
    OtherAuthority {
        /// The issuer that the certificate names.
        issuer: String,
    },
    /// Anything else that is wrong with the chain.
    #[error(
        "the certificate does not hold under the CA file ({reason}); issue it anew under one of its authorities"
    )]
    BadChain {
        /// The error that verifying the chain returned.
        reason: String,
    },
}

fn found_instead(found: &[String]) -> String {
    if found.is_empty() {
        "; is it the right file?".to_owned()
    } else {
        format!(", but {}; were two files swapped?", found.join(", "))
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} cannot be used: {problem}")]
pub struct TlsError {
    /// The file that cannot be used.
    pub file: TlsFile,
    /// The problem with it.
    pub problem: TlsProblem,
}
