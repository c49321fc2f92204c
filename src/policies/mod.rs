//! Policies: from a directory of files to a set that can decide.
//!
//! | module | what it does |
//! |---|---|
//! | here | reads the directory |
//! | [`scenario`] | questions that nobody asked: who, what, under which circumstances |
//! | [`expectations`] | a file of questions with the answers they should get |
//!
//! What policies mean is in [`sluicegate_filters::authorize`].

pub mod expectations;
pub mod scenario;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use sluicegate_filters::authorize::policies::MAX_BYTES;
use sluicegate_filters::authorize::{self, Policies, Source, schema};

use crate::config::{Problem, Problems};

/// The schema's name, where a directory has one.
pub const SCHEMA_FILE: &str = "schema.cedarschema";
/// Files of one directory, at most.
const MAX_FILES: usize = 1000;

/// A directory's policies.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub policies: Policies,
    /// The files, in the order in which they were read.
    pub files: Vec<PathBuf>,
    /// What is valid and yet hardly meant.
    pub warnings: Vec<Problem>,
}

/// Loads `*.cedar` of `directory` in the order of their names, under the directory's
/// [`SCHEMA_FILE`] or else the built-in one. What begins with a dot does not count.
///
/// # Errors
/// Everything that is wrong, unreadable files and a directory without any policy too: to refuse every
/// request is hardly meant.
pub fn load(directory: &Path) -> Result<Loaded, Problems> {
    let files = Files::read(directory)?;
    let sources: Vec<_> = files.policies.iter().map(|file| file.source()).collect();
    let schema = files.schema.as_ref().map(|file| file.source());
    let problems = |problems: &[authorize::Problem]| -> Vec<Problem> {
        problems.iter().map(|problem| at(directory, problem)).collect()
    };
    match Policies::parse(&sources, schema) {
        Ok(policies) => Ok(Loaded {
            warnings: problems(policies.warnings()),
            files: files.policies.iter().map(|file| directory.join(&file.name)).collect(),
            policies,
        }),
        Err(found) => Err(Problems(problems(&found))),
    }
}

/// SHA-256 of all that [`load`] would read, valid or not: where it differs, it is time to load again.
/// `None` where it can't be read.
pub fn fingerprint(directory: &Path) -> Option<[u8; 32]> {
    let files = Files::read(directory).ok()?;
    let mut hash = Sha256::new();
    for file in files.policies.iter().chain(&files.schema) {
        for part in [&file.name, &file.text] {
            // With its length, so that no text can pass for two.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    Some(hash.finalize().into())
}

/// The texts of a directory.
struct Files {
    policies: Vec<Text>,
    schema: Option<Text>,
}

/// A file's text, under its name within the directory: in explanations and in what callers are told,
/// the way to the directory has no place.
struct Text {
    name: String,
    text: String,
}

impl Files {
    fn read(directory: &Path) -> Result<Self, Problems> {
        let names = match names(directory) {
            Ok(names) => names,
            Err(error) => return Err(unreadable(directory, &error)),
        };
        let (mut read, mut problems) = (Vec::new(), Vec::new());
        let mut left = MAX_BYTES;
        let count = names.len();
        for name in names {
            let limit = if name == SCHEMA_FILE { schema::MAX_BYTES } else { left };
            match text(&directory.join(&name), limit) {
                Ok(text) => {
                    if name != SCHEMA_FILE {
                        left -= text.len();
                    }
                    read.push(Text { name, text });
                }
                Err(message) => problems.push(whole(&directory.join(&name), message, None)),
            }
        }
        let (schema, policies): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|file| file.name == SCHEMA_FILE);
        if count > MAX_FILES {
            let message = format!("there are more than {MAX_FILES} files");
            problems.push(whole(directory, message, None));
        } else if policies.is_empty() && problems.is_empty() {
            let hint = "without policies every request would be refused";
            problems.push(whole(directory, "there is no *.cedar file".to_owned(), Some(hint)));
        }
        if problems.is_empty() {
            Ok(Self { policies, schema: schema.into_iter().next() })
        } else {
            Err(Problems(problems))
        }
    }
}

impl Text {
    fn source(&self) -> Source<'_> {
        Source { file: &self.name, text: &self.text }
    }
}

/// The names of the files that count, sorted; a few more than there may be, at most.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let counts = Path::new(&name).extension() == Some(OsStr::new("cedar"));
        // A name that is not UTF-8 is shown as well as can be; it can't be opened under it.
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with('.') && (counts || name == SCHEMA_FILE) {
            names.push(name);
        }
        if names.len() > MAX_FILES + 1 {
            break;
        }
    }
    names.sort();
    Ok(names)
}

fn text(path: &Path, limit: usize) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("this is no file".to_owned());
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells that there is more.
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > limit {
        return Err(format!("with it there are more than {limit} bytes"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
}

fn at(directory: &Path, problem: &authorize::Problem) -> Problem {
    Problem {
        file: directory.join(&problem.file).display().to_string(),
        line: problem.line,
        column: problem.column,
        path: String::new(),
        message: problem.message.clone(),
        hint: problem.help.clone(),
    }
}

/// A problem with a file as a whole.
fn whole(path: &Path, message: String, hint: Option<&str>) -> Problem {
    let (file, hint) = (path.display().to_string(), hint.map(str::to_owned));
    Problem { file, line: 0, column: 0, path: String::new(), message, hint }
}

/// A file that can't be read, as the only problem.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Problems {
    Problems(vec![whole(path, error.to_string(), None)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERMIT: &str = "permit(principal, action, resource);\n";

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn with(files: &[(&str, &str)]) -> Self {
            let directory = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                directory.write(name, text.as_bytes());
            }
            directory
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.0.path().join(name), bytes).unwrap();
        }

        fn problems(&self) -> String {
            load(self.0.path()).unwrap_err().to_string()
        }
    }

    #[test]
    fn the_files_that_count_are_read_in_the_order_of_their_names() {
        let directory = Directory::with(&[
            ("b.cedar", PERMIT),
            ("a.cedar", PERMIT),
            (".hidden.cedar", "nonsense"),
            ("notes.txt", "nonsense"),
            ("tests.yaml", "nonsense"),
        ]);
        let loaded = load(directory.0.path()).unwrap();
        let names: Vec<_> = loaded.files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.cedar", "b.cedar"]);
        let ids: Vec<_> = loaded.policies.iter().map(|policy| &*policy.id).collect();
        assert_eq!(ids, ["a.cedar:1", "b.cedar:1"], "without the way to the directory");
    }

    #[test]
    fn a_mounted_directory_of_symlinks_is_read() {
        let directory = Directory::with(&[]);
        let at = |name: &str| directory.0.path().join(name);
        fs::create_dir(at("..v1")).unwrap();
        directory.write("..v1/a.cedar", PERMIT.as_bytes());
        std::os::unix::fs::symlink("..v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.cedar", at("a.cedar")).unwrap();
        assert_eq!(load(directory.0.path()).unwrap().files.len(), 1);
    }

    #[test]
    fn every_problem_has_its_file_and_place() {
        let directory = Directory::with(&[("a.cedar", "\n nonsense;"), ("b.cedar", PERMIT)]);
        directory.write("c.cedar", b"\xff");
        fs::create_dir(directory.0.path().join("d.cedar")).unwrap();
        let path = |name: &str| directory.0.path().join(name).display().to_string();
        let problems = directory.problems();
        assert!(problems.contains(&format!("{}: byte 0 is not UTF-8", path("c.cedar"))));
        assert!(problems.contains(&format!("{}: this is no file", path("d.cedar"))), "{problems}");
        let directory = Directory::with(&[("a.cedar", "\n nonsense;"), ("b.cedar", "more;")]);
        let path = |name: &str| directory.0.path().join(name).display().to_string();
        let problems = directory.problems();
        assert!(problems.contains(&format!("{}:2:10: ", path("a.cedar"))), "{problems}");
        assert!(problems.contains(&format!("{}:1:5: ", path("b.cedar"))), "{problems}");
    }

    #[test]
    fn a_directory_without_policies_is_a_mistake() {
        for directory in [Directory::with(&[]), Directory::with(&[(SCHEMA_FILE, "")])] {
            assert!(directory.problems().contains("there is no *.cedar file; without policies"));
        }
        let error = load(Path::new("/nowhere/policies")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/policies: "), "{error}");
        let commented = Directory::with(&[("a.cedar", "// none\n")]);
        assert!(load(commented.0.path()).unwrap().policies.is_empty(), "that is meant");
    }

    #[test]
    fn a_schema_of_its_own_is_used_and_checked() {
        let schema = authorize::schema::BUILT_IN;
        let more =
            schema.replace("  tags: Set<String>,", "  tags: Set<String>,\n  region?: String,");
        let text = "permit(principal, action, resource) when { principal has region };";
        let directory = Directory::with(&[("a.cedar", text), (SCHEMA_FILE, &more)]);
        load(directory.0.path()).unwrap();
        directory.write(SCHEMA_FILE, more.replace("region?", "region").as_bytes());
        assert!(directory.problems().contains("schema.cedarschema:1:1: the schema does not fit"));
    }

    #[test]
    fn too_much_is_not_read() {
        let directory = Directory::with(&[("a.cedar", PERMIT)]);
        directory.write("b.cedar", &vec![b' '; MAX_BYTES]);
        assert!(directory.problems().contains("b.cedar: with it there are more than"));
        let directory = Directory::with(&[]);
        for n in 0..=MAX_FILES {
            directory.write(&format!("{n}.cedar"), b"");
        }
        assert!(directory.problems().contains("more than 1000 files"));
    }

    #[test]
    fn the_fingerprint_changes_with_what_would_be_read() {
        let directory = Directory::with(&[("a.cedar", PERMIT)]);
        let print = || fingerprint(directory.0.path());
        let first = print();
        assert!(first.is_some());
        directory.write("notes.txt", b"x");
        assert_eq!(print(), first);
        for (name, text) in [("a.cedar", "nonsense"), ("b.cedar", ""), (SCHEMA_FILE, "")] {
            let before = print();
            directory.write(name, text.as_bytes());
            assert!(print().is_some() && print() != before, "{name}");
        }
        assert_eq!(fingerprint(Path::new("/nowhere")), None);
    }

    #[test]
    fn the_shipped_policies_are_valid_and_do_what_their_tests_say() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let loaded = load(&directory).unwrap();
        assert_eq!(loaded.warnings, []);
        let shipped = fs::read_to_string(directory.join(SCHEMA_FILE)).unwrap();
        assert_eq!(shipped, authorize::schema::BUILT_IN);
        let path = directory.join("tests.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let expectations = expectations::parse(&path.display().to_string(), &text).unwrap();
        let failures: Vec<_> = expectations.run(&loaded.policies).failures;
        assert_eq!(failures, []);
    }
}
