//! HTTPS on the public listener.

use std::time::SystemTime;

use super::reader::Reader;
use crate::certificate::PairFiles;
use crate::http::{Tls, read_tls};
use crate::reload::Live;

/// The settings that name the certificate and its key.
const SETTINGS: [&str; 2] = ["server.tls_cert_file", "server.tls_key_file"];

/// HTTPS if both files are given, which are read again when they change; plain HTTP if neither is.
pub(super) fn https(reader: &mut Reader) -> Option<Tls> {
    let [certificate_setting, key_setting] = SETTINGS;
    let (certificate, key) = match SETTINGS.map(|setting| reader.path(setting)) {
        [Some(certificate), Some(key)] => (certificate, key),
        [None, None] => return None,
        [Some(_), None] => {
            reader.fault(key_setting, format!("HTTPS needs the key, too, and there is only {certificate_setting}"));
            return None;
        }
        [None, Some(_)] => {
            reader.fault(
                certificate_setting,
                format!("HTTPS needs the certificate, too, and there is only {key_setting}"),
            );
            return None;
        }
    };
    let readers = reader.readers_of(key_setting, &key);
    let files = PairFiles { settings: SETTINGS, certificate, key, readers };
    match read_tls(&files, SystemTime::now()) {
        Ok(first) => {
            let (handshakes, fingerprint) = (Live::new(first.value), first.fingerprint);
            let (in_use, watched) = (handshakes.clone(), files.clone());
            let read = move || {
                let faults = |faults: Vec<_>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                read_tls(&watched, SystemTime::now()).map_err(faults)
            };
            reader.watch(certificate_setting, fingerprint, read, move |value| {
                in_use.replace(value);
                Ok(())
            });
            Some(Tls { handshakes, files })
        }
        Err(faults) => {
            for fault in faults {
                reader.fault(fault.key, fault.what);
            }
            None
        }
    }
}
