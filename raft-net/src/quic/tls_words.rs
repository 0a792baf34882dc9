//! Explanations of handshakes that failed over a certificate. The words of TLS itself are written for its implementers.

const SAME_CA: &str = "give both nodes certificates that the same CA signed";
const CLOCKS: &str = "renew it if it is over, and look at the clocks of both machines";
const USAGES: &str = "issue it with the extended key usages serverAuth and clientAuth";
const NAMES: &str =
    "issue it with the DNS names raft-node.raftkit and node-<id>.raftkit, as `raft-node cert node` does";

/// Explains from the TLS error why the other side's certificate is not valid here.
pub(crate) fn theirs(said: &str) -> String {
    let about = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if about(&["UnknownIssuer"]) {
        format!("none of the authorities in our CA file issued it; {SAME_CA}")
    } else if about(&["BadSignature"]) {
        format!("it bears the name of an authority in our CA file, and another key signed it; {SAME_CA}")
    } else if about(&["xpired"]) {
        format!("it has ended, by the clock here; {CLOCKS}")
    } else if about(&["NotValidYet", "not valid yet"]) {
        format!("it is not valid yet, by the clock here; {CLOCKS}")
    } else if about(&["InvalidPurpose", "extended key usage"]) {
        format!("it is not for server and client authentication both; {USAGES}")
    } else if about(&["NotValidForName", "not valid for name"]) {
        format!("it does not name raft-node.raftkit; {NAMES}")
    } else if about(&["NoCertificatesPresented", "peer sent no certificates"]) {
        "it was not shown; only nodes can connect here".to_owned()
    } else {
        format!("TLS says: {said}")
    }
}

/// Explains from the other side's TLS alert why our certificate is not valid there; none when the alert is about
/// something else. QUIC carries alert `n` as error 0x100 + n (RFC 9001, section 4.8).
pub(crate) fn ours(code: u64) -> Option<String> {
    Some(match code.checked_sub(0x100)? {
        42 => format!("it is malformed, or does not name raft-node.raftkit; {NAMES}"),
        43 => format!("it is not for server and client authentication both; {USAGES}"),
        44 => "it was revoked".to_owned(),
        45 => format!("it has ended or is not valid yet, by the clock there; {CLOCKS}"),
        46 => "it is not accepted there, without a reason".to_owned(),
        48 => format!("none of the authorities in the CA file there issued it; {SAME_CA}"),
        // What a signature by another CA of the same name comes out as.
        51 => format!("it bears the name of an authority there, and another key signed it; {SAME_CA}"),
        116 => "none was shown".to_owned(),
        _ => return None,
    })
}
