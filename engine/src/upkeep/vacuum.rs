use std::collections::HashSet;

use chrono::{DateTime, Duration, Utc};

use super::{AT_ONCE, Census, Chore, Needs, Task};
use crate::delta::Table;
use crate::error::Result;
use crate::lake::{Lake, ListedFile};

/// Removes the data files in a table's directory that no needed version names, those of crashes and of failed attempts
/// included, once they are older than `grace`.
pub(crate) async fn vacuum(
    lake: &Lake,
    path: &str,
    needs: &Needs,
    census: &mut Census,
    now: DateTime<Utc>,
    grace: Duration,
    dry_run: bool,
) -> Result<Option<Chore>> {
    let mut doomed = lake.walk(path).await?;
    let Some(newest) = Table::open(lake, path, None).await? else {
        return Ok(None);
    };
    let current: HashSet<String> = newest.files()?.into_iter().map(|file| file.path).collect();
    doomed.retain(|file| {
        let age = file
            .modified
            .map(|modified| now.signed_duration_since(modified));
        is_data(file) && !current.contains(&file.name) && age.is_some_and(|age| age > grace)
    });
    if doomed.is_empty() {
        return Ok(None);
    }
    census.take(lake, path, &newest, needs).await?;
    doomed.retain(|file| !census.names(&file.name));
    if !dry_run {
        doomed.truncate(AT_ONCE);
        for file in &doomed {
            lake.remove_listed(path, &file.name).await?;
        }
    }
    Ok((!doomed.is_empty()).then(|| Chore {
        task: Task::Vacuum,
        target: path.replace('/', "."),
        files: doomed.len() as u64,
        bytes: doomed.iter().map(|file| file.bytes).sum(),
    }))
}

/// Whether this program writes such files into a table's directory. A name that the log would write in another form
/// is none.
fn is_data(file: &ListedFile) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=/#".contains(&byte);
    file.name.bytes().all(is_plain)
        && (file.name.ends_with(".parquet") || file.name.contains(".parquet#"))
}
