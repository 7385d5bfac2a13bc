use std::path::{Path, PathBuf};

use changes::{Clock, KafkaConfig};
use sha2::{Digest, Sha256};
use sources::LsnAllocator;
use sources::generator::{self, GeneratorConfig, Progress};
use sources::hr::{self, HrConfig, ImportOptions, Workbook};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::commands::{Context, lsn};

/// The embedded sources, in the order in which a company would have them: topics, employees, activities.
pub(super) struct Feed {
    kafka: KafkaConfig,
    lsn: LsnAllocator,
    clock: Clock,
    topics: sources::topics::TopicsConfig,
    generator: GeneratorConfig,
    hr: HrConfig,
    workbook: Workbook,
    /// Names the configured workbook that was imported last.
    imported: PathBuf,
}

impl Feed {
    /// Reads the workbooks, so that a bad one is refused before anything runs. None when a real source feeds.
    pub(super) fn prepare(context: &Context, kafka: &KafkaConfig) -> anyhow::Result<Option<Self>> {
        let config = &context.config;
        // The rows of a configured PostgreSQL are the real ones: nothing is invented beside them.
        if config.database.postgres()?.is_some() {
            return Ok(None);
        }
        if !config.generator.enabled && config.hr.workbook.is_empty() {
            return Ok(None);
        }
        config.generator.validate()?;
        Ok(Some(Self {
            kafka: kafka.clone(),
            lsn: lsn(config)?,
            clock: context.clock.clone(),
            topics: config.topics.clone(),
            generator: config.generator.clone(),
            workbook: config.hr.load()?,
            hr: config.hr.clone(),
            imported: config.broker.path.with_file_name("hr.imported"),
        }))
    }

    pub(super) async fn run(
        self,
        stop: CancellationToken,
        told: watch::Sender<Option<Progress>>,
    ) -> anyhow::Result<()> {
        sources::topics::ensure(&self.kafka, &self.topics).await?;
        self.import().await?;
        if self.generator.enabled {
            let tell = move |progress| {
                told.send_replace(Some(progress));
            };
            let (generator, clock) = (self.generator, self.clock);
            generator::run(&self.kafka, &self.lsn, generator, clock, stop, tell).await?;
        }
        Ok(())
    }

    /// Imports at the first start, and when the configured workbook is not the one imported last: what somebody
    /// brought in with `hr import` stays.
    async fn import(&self) -> anyhow::Result<()> {
        let digest = self.digest()?;
        let look = ImportOptions {
            dry_run: true,
            ..ImportOptions::default()
        };
        let found = self.hr_import(look).await?.employees;
        let first = found.unchanged + found.updated + found.deleted == 0;
        let changed = digest.is_some() && digest != std::fs::read_to_string(&self.imported).ok();
        if !first && !changed {
            return Ok(());
        }
        self.hr_import(ImportOptions::default()).await?;
        if let Some(digest) = digest {
            disk::replace_file(&self.imported, digest.as_bytes())?;
        }
        Ok(())
    }

    async fn hr_import(&self, options: ImportOptions) -> anyhow::Result<hr::ImportReport> {
        let (workbook, clock) = (self.workbook.clone(), self.clock.clone());
        Ok(hr::import(&self.kafka, &self.lsn, workbook, options, clock).await?)
    }

    /// Of the configured workbooks; none for the sample.
    fn digest(&self) -> anyhow::Result<Option<String>> {
        if self.hr.workbook.is_empty() {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        for path in [&self.hr.workbook, &self.hr.sports] {
            if !path.is_empty() {
                hash.update(std::fs::read(Path::new(path))?);
            }
        }
        Ok(Some(format!("{:x}", hash.finalize())))
    }
}
