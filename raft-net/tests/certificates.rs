//! Problems of a node's certificate files are explained in words, by a check beforehand and by both sides of a handshake.
#![cfg(feature = "quic")]
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use raftkit_core::NodeId;
use raftkit_net::certificates::{CaPem, create_ca, create_node_certificate};
use raftkit_net::{HelloError, Inbound, TlsFile, TlsFiles, TlsIdentity, TlsProblem, Transport, check_up};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use support::{Plan, plan, within};

const GENERIC: &str = "raft-node.raftkit";

#[expect(clippy::disallowed_methods, reason = "a certificate ends on a date")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns the parameters of a certificate by `raft-node cert node`, for a test to change.
fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params.distinguished_name.push(DnType::CommonName, "tested");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn good() -> CertificateParams {
    params(&[GENERIC, "node-1.raftkit"])
}

fn issued(ca: &CaPem, params: &CertificateParams) -> TlsFiles {
    let issuer = Issuer::from_ca_cert_pem(&ca.cert, KeyPair::from_pem(&ca.key).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap().pem();
    TlsFiles { ca_pem: ca.cert.clone().into(), cert_pem: cert.into(), key_pem: key.serialize_pem().into() }
}

/// Returns the problems of all three files.
fn problems(files: &TlsFiles) -> Vec<(TlsFile, TlsProblem)> {
    let checkup = check_up(files, Some(NodeId(1)), now());
    checkup.problems.into_iter().map(|error| (error.file, error.problem)).collect()
}

/// Returns the text of the only problem, and the file that has it.
fn only(files: &TlsFiles) -> (TlsFile, String) {
    let problems = problems(files);
    assert!(matches!(problems.as_slice(), [_]), "{problems:?}");
    (problems[0].0, problems[0].1.to_string())
}

fn assert_said(files: &TlsFiles, file: TlsFile, parts: &[&str]) {
    let (found, said) = only(files);
    assert_eq!(found, file, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
}

#[test]
fn good_files_have_no_problem_and_show_their_facts() {
    let ca = create_ca("an authority").unwrap();
    let files = issued(&ca, &good());
    assert_eq!(problems(&files), []);
    assert!(TlsIdentity::parse(&files).is_ok());
    let facts = check_up(&files, None, now()).certificates;
    let seen: Vec<_> = facts.iter().map(|it| (it.file, it.subject.as_str(), it.issuer.as_str())).collect();
    let authority = "\"CN=an authority\"";
    assert_eq!(
        seen,
        [(TlsFile::Ca, authority, authority), (TlsFile::Certificate, "\"CN=tested\"", authority)]
    );
    assert_eq!(facts[1].names, ["node-1.raftkit", GENERIC].map(str::to_owned).into());
    assert_eq!(facts[1].end, "4096-01-01");
}

#[test]
fn a_missing_usage_is_named() {
    let ca = create_ca("test").unwrap();
    let mut params = good();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_said(&issued(&ca, &params), TlsFile::Certificate, &["client authentication", "clientAuth"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_said(&issued(&ca, &params), TlsFile::Certificate, &["server authentication", "serverAuth"]);
    // No such extension at all allows everything.
    params.extended_key_usages = vec![];
    assert_eq!(problems(&issued(&ca, &params)), []);
}

#[test]
fn a_missing_name_is_named_with_those_that_are_there() {
    let ca = create_ca("test").unwrap();
    let files = issued(&ca, &params(&["node-1.raftkit", "db1.example"]));
    assert_said(&files, TlsFile::Certificate, &[GENERIC, "db1.example", "issue it with"]);
    let files = issued(&ca, &params(&[GENERIC, "node-2.raftkit"]));
    assert_said(&files, TlsFile::Certificate, &["node-1.raftkit", "node-2.raftkit", "node-id"]);
    let without = check_up(&files, None, now());
    assert_eq!(without.problems, [], "any node's will do where none is given");
}

#[test]
fn a_certificate_out_of_its_time_says_which_day() {
    let ca = create_ca("test").unwrap();
    let mut params = good();
    params.not_after = date_time_ymd(2021, 3, 4);
    let files = issued(&ca, &params);
    assert_said(&files, TlsFile::Certificate, &["ended on 2021-03-04", "clock"]);
    assert!(TlsIdentity::parse(&files).is_err());
    params.not_after = date_time_ymd(4000, 1, 1);
    params.not_before = date_time_ymd(3000, 5, 6);
    assert_said(&issued(&ca, &params), TlsFile::Certificate, &["from 3000-05-06", "clock"]);
}

#[test]
fn an_issuer_that_is_not_there_is_told_from_one_with_another_key() {
    let (ca, other, twin) =
        (create_ca("ours").unwrap(), create_ca("theirs").unwrap(), create_ca("ours").unwrap());
    let mut files = issued(&ca, &good());
    files.ca_pem = other.cert.into();
    assert_said(
        &files,
        TlsFile::Certificate,
        &["issued by \"CN=ours\"", "holds \"CN=theirs\"", "intermediate"],
    );
    files.ca_pem = twin.cert.into();
    assert_said(&files, TlsFile::Certificate, &["issued by \"CN=ours\"", "there are two of the name"]);
}

#[test]
fn a_missing_intermediate_is_named() {
    let root_key = KeyPair::generate().unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    };
    let root = authority("root").self_signed(&root_key).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&root.pem(), root_key).unwrap();
    let middle_key = KeyPair::generate().unwrap();
    let middle = authority("middle").signed_by(&middle_key, &issuer).unwrap();
    let ca = CaPem { cert: middle.pem(), key: middle_key.serialize_pem() };
    let mut files = issued(&ca, &good());
    files.ca_pem = root.pem().into();
    assert_said(
        &files,
        TlsFile::Certificate,
        &["issued by \"CN=middle\"", "holds \"CN=root\"", "intermediate"],
    );
    files.cert_pem.extend_from_slice(middle.pem().as_bytes());
    assert_eq!(problems(&files), []);
}

#[test]
fn an_authoritys_certificate_is_no_nodes() {
    let ca = create_ca("test").unwrap();
    let files = TlsFiles { ca_pem: ca.cert.clone().into(), cert_pem: ca.cert.into(), key_pem: ca.key.into() };
    assert_said(&files, TlsFile::Certificate, &["authority's", "cert node"]);
}

const ENCRYPTED: &str =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHsMFcGCSqGSIb3DQEFDTBK\n-----END ENCRYPTED PRIVATE KEY-----\n";
const ENCRYPTED_OLD: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIHsMFcGCSqG\n-----END RSA PRIVATE KEY-----\n";
const CURVE_25519: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIHBz2bIFE2hbpLPjL4y7gGYWBvL5FzGJKcDVnCsGYOxv\n-----END PRIVATE KEY-----\n";

#[test]
fn every_form_of_key_is_taken_or_named() {
    let ca = create_ca("test").unwrap();
    let good = issued(&ca, &good());
    let with = |key: &[u8]| TlsFiles { key_pem: key.to_vec(), ..good.clone() };
    let said = |key: &[u8], parts: &[&str]| assert_said(&with(key), TlsFile::Key, parts);
    said(ENCRYPTED.as_bytes(), &["encrypted", "openssl pkey"]);
    said(ENCRYPTED_OLD.as_bytes(), &["encrypted", "openssl pkey"]);
    said(CURVE_25519.as_bytes(), &["not supported", "ECDSA", "Ed25519", "RSA"]);
    said(b"", &["empty"]);
    said(b" \n", &["empty"]);
    said(&good.cert_pem, &["no PEM section PRIVATE KEY", "CERTIFICATE", "swapped"]);
    said(&[0x30, 0x82, 1, 2, 3], &["DER", "openssl pkey"]);
    said(b"nonsense", &["no PEM section PRIVATE KEY", "right file"]);
    said(KeyPair::generate().unwrap().serialize_pem().as_bytes(), &["not that of the certificate"]);
    let text = String::from_utf8(good.key_pem.clone()).unwrap();
    said(text.split("-----END").next().unwrap().as_bytes(), &["broken PEM"]);
    // Parameters before the key, as openssl writes them, and the certificate behind it, do no harm.
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let more = [parameters.as_bytes(), &good.key_pem, &good.cert_pem].concat();
    assert_eq!(problems(&with(&more)), []);
}

#[test]
fn every_form_of_certificate_file_is_taken_or_named() {
    let ca = create_ca("test").unwrap();
    let good = issued(&ca, &good());
    let cert = |pem: &[u8]| TlsFiles { cert_pem: pem.to_vec(), ..good.clone() };
    let authority = |pem: &[u8]| TlsFiles { ca_pem: pem.to_vec(), ..good.clone() };
    assert_said(&cert(b""), TlsFile::Certificate, &["empty"]);
    assert_said(&cert(&good.key_pem), TlsFile::Certificate, &["no PEM section CERTIFICATE", "PRIVATE KEY"]);
    assert_said(&cert(&[0x30, 0x82, 1, 2, 3]), TlsFile::Certificate, &["DER", "openssl x509"]);
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_said(&cert(rubbish.as_bytes()), TlsFile::Certificate, &["number 1 cannot be read"]);
    assert_said(&authority(b""), TlsFile::Ca, &["empty"]);
    assert_said(&authority(b"nonsense"), TlsFile::Ca, &["no PEM section CERTIFICATE", "right file"]);
    assert_said(&authority(ca.key.as_bytes()), TlsFile::Ca, &["no PEM section CERTIFICATE", "swapped"]);
    assert_eq!(
        problems(&cert(&[&good.key_pem[..], &good.cert_pem].concat())),
        [],
        "a key beside it does no harm"
    );
    let both = [create_ca("older").unwrap().cert.as_bytes(), ca.cert.as_bytes()].concat();
    assert_eq!(problems(&authority(&both)), [], "two authorities, as while one replaces the other");
}

#[test]
fn all_problems_are_told_at_once() {
    let ca = create_ca("test").unwrap();
    let mut params = params(&["node-2.raftkit"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_after = date_time_ymd(2021, 3, 4);
    let mut files = issued(&ca, &params);
    files.key_pem.clear();
    let kinds: Vec<_> = problems(&files).into_iter().map(|(file, _)| file).collect();
    let certificate = TlsFile::Certificate;
    assert_eq!(kinds, [TlsFile::Key, certificate, certificate, certificate, certificate]);
}

/// Starts a node with these files, unchecked.
fn node(ca: &CaPem, id: u64, own: &TlsFiles) -> Transport {
    let mut config = Plan { node: id, ..plan(ca, id) }.config();
    config.tls = TlsIdentity::unchecked(own).unwrap();
    Transport::start(config).unwrap().0
}

#[tokio::test]
async fn both_sides_of_a_refused_handshake_say_why() {
    let ca = create_ca("test").unwrap();
    let good_files = issued(&ca, &params(&[GENERIC, "node-1.raftkit"]));
    let mut expired = params(&[GENERIC, "node-2.raftkit"]);
    expired.not_after = date_time_ymd(2021, 3, 4);
    let mut early = params(&[GENERIC, "node-2.raftkit"]);
    (early.not_before, early.not_after) = (date_time_ymd(3000, 1, 1), date_time_ymd(4000, 1, 1));
    let mut server_only = params(&[GENERIC, "node-2.raftkit"]);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut client_only = params(&[GENERIC, "node-2.raftkit"]);
    client_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let nameless = params(&["node-2.raftkit"]);
    // What the node with the good certificate says, and what the other one; none where TLS lets it in.
    let table = [
        (expired, Some("has ended, by the clock here"), Some("by the clock there")),
        (early, Some("not valid yet, by the clock here"), Some("by the clock there")),
        (server_only, None, Some("serverAuth and clientAuth")),
        (client_only, Some("serverAuth and clientAuth"), None),
        (nameless, Some("does not name raft-node.raftkit"), None),
    ];
    for (bad, dialling_it, dialled_by_it) in table {
        let one = node(&ca, 1, &good_files);
        let two = node(&ca, 2, &issued(&ca, &bad));
        if let Some(part) = dialling_it {
            let error = within("a failure", one.hello(&two.local_addr().to_string())).await.unwrap_err();
            assert!(matches!(error, HelloError::TheirCertificate { .. }), "{error}");
            assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
        }
        if let Some(part) = dialled_by_it {
            let error = within("a failure", two.hello(&one.local_addr().to_string())).await.unwrap_err();
            assert!(matches!(error, HelloError::OurCertificate { .. }), "{error}");
            assert!(error.to_string().contains(part), "{part:?} is missing: {error}");
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_new_connections_and_standing_ones_are_kept() {
    let (old, new) = (create_ca("old").unwrap(), create_ca("new").unwrap());
    let both =
        |files: TlsFiles| TlsFiles { ca_pem: [old.cert.as_bytes(), new.cert.as_bytes()].concat(), ..files };
    let of = |ca: &CaPem, id: u64| {
        let made = create_node_certificate(ca, NodeId(id), &[]).unwrap();
        TlsFiles { ca_pem: ca.cert.clone().into(), cert_pem: made.cert.into(), key_pem: made.key.into() }
    };
    let (mut one, mut two) = (plan(&old, 1).start(), plan(&old, 2).start());
    one.knows(&two);
    two.knows(&one);
    one.connected(2).await;
    two.connected(1).await;
    // The authority is replaced as one does it: everybody trusts both, shows the new one, forgets the old one.
    for change in
        [&(|id| both(of(&old, id))) as &dyn Fn(u64) -> TlsFiles, &|id| both(of(&new, id)), &|id| of(&new, id)]
    {
        for (node, id) in [(&one, 1), (&two, 2)] {
            node.transport.set_tls(&TlsIdentity::parse(&change(id)).unwrap()).unwrap();
        }
        let found = within("a greeting", one.transport.hello(&two.address())).await.unwrap();
        assert_eq!(found.node, NodeId(2));
    }
    let stranger = plan(&old, 3).start();
    let error = within("a failure", stranger.transport.hello(&one.address())).await.unwrap_err();
    assert!(matches!(error, HelloError::TheirCertificate { .. }), "the old authority is forgotten: {error}");
    let answer = within("an answer", async {
        let (asked, answered) =
            tokio::join!(one.transport.request(NodeId(2), bytes::Bytes::from_static(b"?")), async {
                two.request().await.2.send(bytes::Bytes::from_static(b"!"))
            });
        ((), answered, asked)
    });
    assert_eq!(answer.await.2.unwrap(), "!");
    while let Some(event) = one.events.try_recv() {
        assert!(!matches!(event, Inbound::Unreachable(_)), "the connection stands");
    }
    let other = TlsIdentity::parse(&of(&new, 5)).unwrap();
    assert!(one.transport.set_tls(&other).is_err(), "another node's certificate is refused");
}

#[tokio::test]
async fn the_end_of_certificates_is_known_of_this_node_and_of_those_it_met() {
    let ca = create_ca("test").unwrap();
    let mut ending = params(&[GENERIC, "node-2.raftkit"]);
    ending.not_after = date_time_ymd(2500, 1, 2);
    let one = plan(&ca, 1).start();
    let mut config = plan(&ca, 2).config();
    config.tls = TlsIdentity::parse(&issued(&ca, &ending)).unwrap();
    let two = Transport::start(config).unwrap().0;
    let end = ending.not_after.unix_timestamp();
    assert_eq!(two.certificates()[&NodeId(2)], end);
    within("a greeting", two.hello(&one.address())).await.unwrap();
    assert_eq!(one.transport.certificates()[&NodeId(2)], end);
    assert!(two.certificates()[&NodeId(1)] > end, "it does not end");
}
