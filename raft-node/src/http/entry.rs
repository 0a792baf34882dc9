//! The entry of a key as JSON.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use raftkit_kv::KvEntryRef;
use serde::{Serialize, Serializer};

/// An entry with its fields in Consul's order.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EntryJson<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    #[serde(serialize_with = "base64_or_null")]
    value: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    create_index: u64,
    modify_index: u64,
}

impl<'a> From<KvEntryRef<'a>> for EntryJson<'a> {
    fn from(entry: KvEntryRef<'a>) -> Self {
        Self {
            lock_index: entry.lock_index,
            key: entry.key,
            flags: entry.flags,
            value: entry.value,
            session: entry.session,
            create_index: entry.create_index,
            modify_index: entry.modify_index,
        }
    }
}

/// Writes a value in base64, and an empty value as `null`, like Consul.
fn base64_or_null<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_empty() {
        serializer.serialize_none()
    } else {
        serializer.collect_str(&Base64Display::new(value, &STANDARD))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use bytes::Bytes;
    use raftkit_kv::KvEntry;

    use super::*;

    #[test]
    fn an_entry_has_its_fields_in_order_and_a_session_only_when_locked() {
        let mut entry = KvEntry {
            key: "a/\"b".into(),
            value: Bytes::from_static(b"two"),
            flags: u64::MAX,
            create_index: 5,
            modify_index: 7,
            lock_index: 1,
            session: Some("s".into()),
        };
        let json = |entry: &KvEntry| serde_json::to_string(&EntryJson::from(entry.borrowed())).unwrap();
        assert_eq!(
            json(&entry),
            r#"{"LockIndex":1,"Key":"a/\"b","Flags":18446744073709551615,"Value":"dHdv","Session":"s","CreateIndex":5,"ModifyIndex":7}"#
        );
        entry.session = None;
        entry.value = Bytes::new();
        assert_eq!(
            json(&entry),
            r#"{"LockIndex":1,"Key":"a/\"b","Flags":18446744073709551615,"Value":null,"CreateIndex":5,"ModifyIndex":7}"#
        );
    }
}
