//! The file that says which devices a fleet is made of: `name,secret` a line, as `device register --out`
//! writes it; a third word, where there is one, says how the device behaves.

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
        let mut words = line.splitn(3, ',').map(str::trim);
        let (name, secret, temper) = (words.next(), words.next(), words.next());
        let temper = Temper::parse(temper.unwrap_or("good"));
        match (name, secret, temper) {
            (Some(name), Some(secret), Some(temper)) if !name.is_empty() && !secret.is_empty() => {
                devices.push(Identity { name: name.into(), secret: secret.into(), temper });
            }
            (_, _, None) => {
                bail!("line {} names neither good, failing, flaky, silent nor stalling", number + 1)
            }
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
    fn a_third_word_says_how_a_device_behaves() {
        let devices = parse("d1,s1,silent\nd2,s2\nd3,s3,flaky\n".as_bytes(), None).unwrap();
        let tempers: Vec<_> = devices.iter().map(|device| device.temper).collect();
        assert_eq!(tempers, [Temper::Silent, Temper::Good, Temper::Flaky]);
        let error = parse("d1,s1,lazy\n".as_bytes(), None).unwrap_err();
        assert!(error.to_string().starts_with("line 1 names neither good"), "{error}");
    }

    #[test]
    fn a_line_without_a_secret_is_named() {
        let error = parse("d1,s1\nd2\n".as_bytes(), None).unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not `name,secret`");
        assert!(parse("\n".as_bytes(), None).is_err());
    }
}
