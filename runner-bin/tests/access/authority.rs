//! A CA of a test's own, and what it signs, as an operator has them in files.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// Its own certificate is `ca.pem` in that folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a CA");
        fs::write(folder.join("ca.pem"), issuer.pem()).expect("write the CA");
        Self {
            issuer,
            folder: folder.to_owned(),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Writes `cert.pem` and `key.pem` for a server at this host.
    pub(crate) fn server(&self) -> [PathBuf; 2] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let (certificate, key) = self.sign(params, ExtendedKeyUsagePurpose::ServerAuth);
        let files = ["cert.pem", "key.pem"].map(|name| self.folder.join(name));
        fs::write(&files[0], certificate).expect("write the certificate");
        write_secret(&files[1], &key);
        files
    }

    /// Writes a client's certificate and key into one file.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        let (certificate, key) = self.sign(params, ExtendedKeyUsagePurpose::ClientAuth);
        let file = self.folder.join(format!("{name}.pem"));
        write_secret(&file, &format!("{certificate}{key}"));
        file
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> (String, String) {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        (signed.pem(), key.serialize_pem())
    }
}

/// A file that only its owner reads.
pub(crate) fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("write a secret");
    let own = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, own).expect("keep it to its owner");
}
