//! Comma-separated values (RFC 4180), as spreadsheets read them.

use std::fmt::Write;

/// Lines of values.
#[derive(Debug, Default)]
pub struct Csv {
    text: String,
}

impl Csv {
    /// With the names of the columns.
    pub fn with_head<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut csv = Self::default();
        csv.line(names);
        csv
    }

    /// Adds a line.
    pub fn line<T: AsRef<str>>(&mut self, values: impl IntoIterator<Item = T>) {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(value.as_ref());
        }
        self.text.push_str("\r\n");
    }

    /// A spreadsheet takes what begins with one of these signs for a formula and runs it; behind an
    /// apostrophe it is text. Callers choose names, so that a name must never be run.
    fn value(&mut self, value: &str) {
        let runs =
            value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
        let apostrophe = if runs { "'" } else { "" };
        if value.contains(['"', ',', '\r', '\n']) {
            let quoted = value.replace('"', "\"\"");
            write!(self.text, "\"{apostrophe}{quoted}\"").ok();
        } else {
            write!(self.text, "{apostrophe}{value}").ok();
        }
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[&str]) -> String {
        let mut csv = Csv::default();
        csv.line(values);
        csv.into_text()
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        assert_eq!(line(&["a", "b c", ""]), "a,b c,\r\n");
        assert_eq!(line(&["a,b", "c\"d", "e\nf"]), "\"a,b\",\"c\"\"d\",\"e\nf\"\r\n");
    }

    #[test]
    fn no_value_is_a_formula() {
        for value in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1"] {
            assert_eq!(line(&[value]), format!("'{value}\r\n"));
        }
        assert_eq!(line(&["=HYPERLINK(\"x\",\"y\")"]), "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"\r\n");
        assert_eq!(line(&["\r=1"]), "\"'\r=1\"\r\n");
        assert_eq!(line(&["1-1", "a=b", "'=1"]), "1-1,a=b,'=1\r\n");
    }
}
