//! Files in, choices out: what is taken, refused, chosen and replaced.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::log::{Format, Level, channel};

/// A directory of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("ringwire-certificates-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Writes a pair for `names`, and says where.
    fn pair(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let files = self.files(file);
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    fn files(&self, file: &str) -> CertificateFiles {
        let path = |ending: &str| self.0.join(format!("{file}.{ending}"));
        CertificateFiles { certificate: path("crt"), key: path("key") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn refusal(files: &CertificateFiles) -> String {
    let failure = Certificates::read(std::slice::from_ref(files), &Logger::silent()).unwrap_err();
    assert_eq!(failure.code, 78);
    assert!(!failure.line.contains('\n'), "{}", failure.line);
    failure.line
}

/// The certificate that a client gets who asks for `name`.
fn chosen(certificates: &Certificates, name: Option<&str>) -> Vec<u8> {
    let wanted = name.map(|name| ServerName::try_from(name.to_owned()).unwrap());
    certificates.chooser.choose(wanted.as_ref()).unwrap().cert[0].to_vec()
}

#[test]
fn what_cannot_be_used_is_blamed_on_its_file() {
    let folder = Folder::new("blame");
    let (one, other) = (folder.pair("one", &["a"]), folder.pair("other", &["a"]));
    let mixed = CertificateFiles { key: other.key.clone(), ..one.clone() };
    let line = refusal(&mixed);
    assert!(line.starts_with(&format!("{}: it is not the key of", other.key.display())), "{line}");
    let swapped = CertificateFiles { certificate: one.key.clone(), key: one.certificate.clone() };
    assert!(refusal(&swapped).contains("no CERTIFICATE in it"));
    let twice = CertificateFiles { key: one.certificate.clone(), ..one.clone() };
    assert!(refusal(&twice).contains("no PRIVATE KEY in it"));
    let absent = folder.files("absent");
    assert!(refusal(&absent).contains("cannot be read: No such file"));
    let damaged = folder.pair("damaged", &["a"]);
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&damaged.certificate, text).unwrap();
    assert!(refusal(&damaged).contains("cannot be understood"));
    fs::write(&damaged.certificate, "-----BEGIN CERTIFICATE-----\n!!\n").unwrap();
    assert!(refusal(&damaged).contains("not PEM"));
    fs::write(&damaged.certificate, vec![b'a'; (1 << 20) + 1]).unwrap();
    assert!(refusal(&damaged).contains("longer than 1 MiB"));
}

#[test]
fn the_name_chooses_and_the_first_is_for_the_others() {
    let folder = Folder::new("names");
    let files = [
        folder.pair("first", &["first.example"]),
        folder.pair("wild", &["*.wild.example", "two.example"]),
    ];
    let certificates = Certificates::read(&files, &Logger::silent()).unwrap();
    let first = chosen(&certificates, None);
    let wild = chosen(&certificates, Some("two.example"));
    assert_ne!(first, wild);
    assert_eq!(chosen(&certificates, Some("first.example")), first);
    assert_eq!(chosen(&certificates, Some("any.wild.example")), wild);
    assert_eq!(chosen(&certificates, Some("too.deep.wild.example")), first);
    assert_eq!(chosen(&certificates, Some("unknown.example")), first);
}

#[test]
fn a_pair_is_replaced_once_it_keeps_still_and_a_bad_one_never() {
    let folder = Folder::new("replace");
    let files = [folder.pair("pair", &["a"]), folder.pair("other", &["b"])];
    let (logger, mut writer) = channel(Level::Info, Format::Text);
    let mut certificates = Certificates::read(&files, &logger).unwrap();
    let before = chosen(&certificates, None);
    certificates.look(&logger);
    assert_eq!(certificates.figures.reloads(), (0, 0), "nothing has changed");

    // The certificate comes first: for a while the two do not fit.
    let next = folder.pair("next", &["a"]);
    fs::rename(&next.certificate, &files[0].certificate).unwrap();
    certificates.look(&logger);
    assert_eq!(certificates.figures.reloads(), (0, 0), "it has just changed");
    certificates.look(&logger);
    assert_eq!(certificates.figures.reloads(), (0, 1));
    assert_eq!(chosen(&certificates, None), before);
    for _ in 0..5 {
        certificates.look(&logger);
    }
    assert_eq!(certificates.figures.reloads(), (0, 1), "said once");

    fs::rename(&next.key, &files[0].key).unwrap();
    certificates.look(&logger);
    certificates.look(&logger);
    assert_eq!(certificates.figures.reloads(), (1, 1));
    let after = chosen(&certificates, None);
    assert_ne!(after, before);

    // Asked for, everything is read again; what is gone leaves the old one in use.
    fs::remove_file(&files[1].key).unwrap();
    certificates.reload_all(&logger);
    assert_eq!(certificates.figures.reloads(), (2, 2));
    assert_eq!(chosen(&certificates, None), after);
    let mut log = Vec::new();
    writer.drain(&mut log).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("is not the key of") && log.contains("the pair before stays"), "{log}");
    assert!(log.contains("new handshakes use it"), "{log}");
}

#[test]
fn the_end_of_each_certificate_is_shown_and_one_that_is_over_is_warned_of() {
    let folder = Folder::new("over");
    let files = folder.pair("over", &["a"]);
    let mut params = rcgen::CertificateParams::new(["a".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    let (logger, mut writer) = channel(Level::Info, Format::Text);
    let certificates = Certificates::read(&[files], &logger).unwrap();
    let shown: Vec<_> = certificates.figures.not_after().map(|(_, at)| at).collect();
    assert_eq!(shown, [1_577_836_800]);
    let mut log = Vec::new();
    writer.drain(&mut log).unwrap();
    assert!(String::from_utf8(log).unwrap().contains("has expired"));
}
