//! Certificates made on the fly: an authority, a server's for `localhost` and 127.0.0.1, a client's.

use std::path::{Path, PathBuf};

use super::{run, temporary_folder};

pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    pub fn make() -> Self {
        let folder = temporary_folder("tls");
        let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let authority = ["-x509", "-days", "2", "-subj", "/CN=a test's authority"];
        let ca = ["-keyout", &at("ca.key"), "-out", &at("ca.pem")];
        openssl(&[&["req"][..], &key, &authority, &ca].concat());
        for (name, extensions) in [
            ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            ("client", "extendedKeyUsage=clientAuth"),
        ] {
            let (request, list) = (at(&format!("{name}.csr")), at(&format!("{name}.ext")));
            std::fs::write(&list, format!("basicConstraints=CA:FALSE\n{extensions}\n"))
                .expect("a file in a temporary folder");
            let private = at(&format!("{name}.key"));
            let subject = format!("/CN={name}");
            let wanted = ["-subj", &subject, "-keyout", &private, "-out", &request];
            openssl(&[&["req"][..], &key, &wanted].concat());
            let (ca, ca_key, signed) = (at("ca.pem"), at("ca.key"), at(&format!("{name}.pem")));
            let sign =
                ["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
            let into = ["-CAcreateserial", "-extfile", &list, "-out", &signed];
            openssl(&[&sign[..], &into].concat());
        }
        Self { folder }
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// What a server is started with to serve TLS on `port`.
    pub fn settings(&self, port: u16, asks_clients: bool) -> Vec<String> {
        let settings = [
            ("--port", "0".to_owned()),
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", self.file("server.pem")),
            ("--tls-key-file", self.file("server.key")),
            ("--tls-ca-cert-file", self.file("ca.pem")),
            ("--tls-auth-clients", if asks_clients { "yes" } else { "no" }.to_owned()),
        ];
        settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.folder));
    }
}

fn openssl(arguments: &[&str]) {
    run("openssl", arguments);
}
