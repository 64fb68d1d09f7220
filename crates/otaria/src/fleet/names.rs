//! The file that says which devices a fleet is made of: `name,secret` a line, as `device register --out`
//! writes it.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, bail};

use super::{Identity, Temper};

/// Reads at most `most` devices.
pub(crate) fn read(path: &Path, most: Option<usize>) -> anyhow::Result<Vec<Identity>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(std::io::BufReader::new(file), most).with_context(|| format!("in {}", path.display()))
}

fn parse(lines: impl BufRead, most: Option<usize>) -> anyhow::Result<Vec<Identity>> {
    let mut devices = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let line = line?;
        let line = line.trim_start_matches('\u{feff}').trim();
        let is_title = number == 0 && line.eq_ignore_ascii_case("name,secret");
        if line.is_empty() || is_title {
            continue;
        }
        if most.is_some_and(|most| devices.len() >= most) {
            break;
        }
        match line.split_once(',') {
            Some((name, secret)) if !name.is_empty() && !secret.is_empty() => devices.push(Identity {
                name: name.trim().into(),
                secret: secret.trim().into(),
                temper: Temper::Good,
            }),
            _ => bail!("line {} is not `name,secret`", number + 1),
        }
    }
    if devices.is_empty() {
        bail!("there is no device");
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_blank_lines_and_windows_line_ends_are_fine() {
        let text = "\u{feff}name,secret\r\nd1,s1\r\n\r\nd2,s2\n";
        let devices = parse(text.as_bytes(), None).unwrap();
        let read: Vec<_> = devices.iter().map(|device| (&*device.name, &*device.secret)).collect();
        assert_eq!(read, [("d1", "s1"), ("d2", "s2")]);
        assert_eq!(parse(text.as_bytes(), Some(1)).unwrap().len(), 1);
    }

    #[test]
    fn a_line_without_a_secret_is_named() {
        let error = parse("d1,s1\nd2\n".as_bytes(), None).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not `name,secret`");
        assert!(parse("\n".as_bytes(), None).is_err());
    }
}
