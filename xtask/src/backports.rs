//! Debian's backports, from the mirror that this machine uses already.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the source is written.
pub(crate) const FILE: &str = "/etc/apt/sources.list.d/sinew-backports.list";

/// Whether apt could install a package as things are.
pub(crate) fn has_candidate(package: &str) -> bool {
    let policy = Command::new("apt-cache").args(["policy", package]).output();
    policy.is_ok_and(|policy| {
        let text = String::from_utf8_lossy(&policy.stdout).into_owned();
        text.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)"))
    })
}

/// Adds the source.
///
/// # Errors
/// When the machine's own source is of a kind that we do not know.
pub(crate) fn add() -> Result<(), String> {
    let source = source().ok_or(
        "no apt source of Debian's main component found: add its backports by hand, for valkey-server",
    )?;
    println!("adding to {FILE}: {source}");
    fs::write(FILE, format!("{source}\n")).map_err(|e| format!("{FILE}: {e}"))
}

/// The line of the source, after the one of the release itself.
pub(crate) fn source() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let codename = codename.trim_matches('"');
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut files: Vec<_> = folder.map(|file| file.path()).collect();
    files.push("/etc/apt/sources.list".into());
    files.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        match is_deb822(file) {
            true => of_deb822(&text, codename),
            false => of_list(&text, codename),
        }
    })
}

fn is_deb822(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "sources")
}

/// `Types: deb`, `URIs: …`, `Suites: bookworm …`, a paragraph a source.
fn of_deb822(text: &str, codename: &str) -> Option<String> {
    text.split("\n\n").find_map(|paragraph| {
        let field = |name: &str| {
            let lines = paragraph.lines().filter(|line| !line.starts_with('#'));
            lines.filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)
        };
        let has = |name: &str, word: &str| {
            field(name).is_some_and(|(_, value)| value.split_whitespace().any(|w| w == word))
        };
        if !(has("Suites", codename) && has("Components", "main")) {
            return None;
        }
        let uri = field("URIs")?.1.split_whitespace().next()?;
        let key = field("Signed-By").map(|(_, value)| value.trim());
        Some(line(uri, key.filter(|key| key.starts_with('/')), codename))
    })
}

/// `deb [options] uri bookworm main`, a line a source.
fn of_list(text: &str, codename: &str) -> Option<String> {
    text.lines().find_map(|source| {
        let source = source.trim().strip_prefix("deb ")?.trim();
        let (options, rest) = match source.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", source),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let key = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        (suite == codename && words.any(|component| component == "main"))
            .then(|| line(uri, key, codename))
    })
}

fn line(uri: &str, key: Option<&str>, codename: &str) -> String {
    let key = key.map_or(String::new(), |key| format!("[signed-by={key}] "));
    format!("deb {key}{uri} {codename}-backports main")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_that_the_machine_uses() {
        let sources = "Types: deb\n# note\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nComponents: main\n";
        let expected = Some(
            "deb [signed-by=/k.gpg] http://mirror.test/debian bookworm-backports main".to_owned(),
        );
        assert_eq!(of_deb822(sources, "bookworm"), expected);
        assert_eq!(of_deb822(sources, "trixie"), None);
        let list =
            "# deb http://old.test x main\ndeb http://mirror.test/debian bookworm main contrib\n";
        let expected = Some("deb http://mirror.test/debian bookworm-backports main".to_owned());
        assert_eq!(of_list(list, "bookworm"), expected);
        assert_eq!(of_list(list, "trixie"), None);
    }
}
