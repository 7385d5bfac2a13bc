//! The employees that nothing is told of, as configuration and file say at the moment.

use std::collections::HashSet;

use changes::{Error, ErrorKind, Result};
use tracing::{info, warn};

use crate::config::NotifyConfig;

/// Size of the file that is read, at most.
const LONGEST_LIST: u64 = 1 << 20;

pub(crate) struct OptOuts {
    ids: HashSet<i64>,
    /// Whether the file is not as it should be, so that `ids` is what it said before.
    is_stale: bool,
}

impl OptOuts {
    /// # Errors
    /// `NotFound` for a file that cannot be read, `InvalidRequest` for one with a line that is no id.
    pub(crate) fn read(config: &NotifyConfig) -> Result<Self> {
        Ok(Self {
            ids: read(config)?,
            is_stale: false,
        })
    }

    /// Reads the file again. While it has a fault, what it said last holds: nobody is told of who opted out.
    pub(crate) fn refresh(&mut self, config: &NotifyConfig) {
        match read(config) {
            Ok(ids) => {
                if self.is_stale {
                    info!("the file of those who opted out is read again");
                }
                (self.ids, self.is_stale) = (ids, false);
            }
            Err(error) => {
                if !self.is_stale {
                    warn!(%error, "what the file of those who opted out said last holds");
                }
                self.is_stale = true;
            }
        }
    }

    pub(crate) fn ids(&self) -> &HashSet<i64> {
        &self.ids
    }
}

fn read(config: &NotifyConfig) -> Result<HashSet<i64>> {
    let mut ids: HashSet<i64> = config.opt_out.iter().copied().collect();
    if config.opt_out_file.is_empty() {
        return Ok(ids);
    }
    let path = &config.opt_out_file;
    let refused = |kind, why: &str| {
        Error::new(kind, format!("notify.opt_out_file \"{path}\" {why}"))
            .hint("It has one employee's id a line; what follows a # is not read.")
    };
    let unread = |error| refused(ErrorKind::NotFound, "could not be read").caused_by(error);
    if std::fs::metadata(path).map_err(unread)?.len() > LONGEST_LIST {
        return Err(refused(ErrorKind::InvalidRequest, "is larger than 1 MiB"));
    }
    let bytes = std::fs::read(path).map_err(unread)?;
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let id = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let id = id.trim_ascii();
        if id.is_empty() {
            continue;
        }
        let parsed = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        let why = format!("has no id in line {}", number + 1);
        ids.insert(parsed.ok_or_else(|| refused(ErrorKind::InvalidRequest, &why))?);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_line_and_what_was_said_last_holds() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let config = NotifyConfig {
            opt_out: vec![1],
            opt_out_file: file.path().display().to_string(),
            ..NotifyConfig::default()
        };
        let write = |text: &[u8]| std::fs::write(file.path(), text).expect("written");
        write("2 # Zoé\r\n\n".as_bytes());
        let mut opt_outs = OptOuts::read(&config).expect("ids");
        let both = HashSet::from([1, 2]);
        assert_eq!(opt_outs.ids(), &both);
        for text in [&b"2\n3x\n"[..], b"2\n\xff\n", b"2\n99999999999999999999\n"] {
            write(text);
            let error = OptOuts::read(&config).err().expect("a fault");
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            assert!(
                error.to_string().ends_with("has no id in line 2"),
                "{error}"
            );
            opt_outs.refresh(&config);
            assert_eq!(opt_outs.ids(), &both);
        }
        std::fs::remove_file(file.path()).expect("removed");
        let error = OptOuts::read(&config).err().expect("no file");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        opt_outs.refresh(&config);
        assert_eq!(opt_outs.ids(), &both);
        write(b"3");
        opt_outs.refresh(&config);
        assert_eq!(opt_outs.ids(), &HashSet::from([1, 3]));
    }
}
